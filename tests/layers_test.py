"""Imports go one way, from the commands down to V-trace."""

import ast
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MAY_IMPORT = {
  'vtrace': {'vtrace'},
  'agents': {'agents', 'vtrace'},
  'envs': {'envs'},
  'experiments': {'experiments', 'agents', 'envs', 'vtrace'},
  'benchmarks': {'benchmarks', 'experiments', 'agents', 'envs', 'vtrace'},
  'examples': {'examples', 'experiments', 'agents', 'envs', 'vtrace'},
  'notebooks': {
    'notebooks',
    'examples',
    'experiments',
    'agents',
    'envs',
    'vtrace',
  },
}
# All that vtrace may import besides itself.
VTRACE_IMPORTS = {'chex', 'jax', 'collections', 'typing'}
# Its conformance kit also checks functions of other frameworks, by NumPy.
CONFORMANCE_IMPORTS = VTRACE_IMPORTS | sys.stdlib_module_names | {'numpy'}
# The layers of experiments, from the lowest to the highest: a module imports
# from its own folder and from the layers below it.
LAYERS = (
  {'config', 'process'},
  {'records'},
  {'cli'},
  {'training'},
  {'checking', 'profiling', 'debugging'},
  {'plotting'},
  {'studies'},
  {'commands'},
)
COMMANDS = {
  'ablation',
  'benchmark',
  'check',
  'evaluate',
  'fixed_points',
  'plot',
  'recompute',
  'soak',
  'train',
}
MOST_MODULES = 12  # Per folder.
MOST_AGENTS = 14  # One per box of the diagram, and their helpers.
FILES = [
  path for package in MAY_IMPORT for path in (ROOT / package).rglob('*.py')
]


def imported_modules(path):
  """Yields the dotted names of all imports of a file, also in functions."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def top_packages(path):
  return {name.split('.')[0] for name in imported_modules(path)}


def place(dotted):
  """Returns a module's folder or name in experiments, or 'commands'."""
  name = dotted.split('.')[1]
  return 'commands' if name in COMMANDS else name


def layer(dotted):
  (found,) = (i for i, names in enumerate(LAYERS) if place(dotted) in names)
  return found


def dotted_name(path):
  return '.'.join(path.relative_to(ROOT).with_suffix('').parts)


def modules_in(folder):
  return {p.stem for p in folder.glob('*.py')} - {'__init__'}


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
  package = path.relative_to(ROOT).parts[0]
  assert top_packages(path) & set(MAY_IMPORT) <= MAY_IMPORT[package]
  if package == 'vtrace':
    is_kit = 'conformance' in path.parts
    allowed = CONFORMANCE_IMPORTS if is_kit else VTRACE_IMPORTS
    assert top_packages(path) <= allowed | {'vtrace'}
  if package not in ('experiments', 'benchmarks'):
    flags = {'absl.flags', 'absl.app'}
    assert not flags & set(imported_modules(path)), 'flags stay in experiments'
  assert 'tests' not in top_packages(path)


def test_the_conformance_kit_does_not_use_the_functions_it_checks():
  for path in (ROOT / 'vtrace' / 'conformance').rglob('*.py'):
    ours = {x for x in imported_modules(path) if x.startswith('vtrace')}
    assert all(x.startswith('vtrace.conformance') for x in ours), path


@pytest.mark.parametrize(
  'path',
  [p for p in (ROOT / 'experiments').rglob('*.py') if p.stem != '__init__'],
  ids=lambda p: str(p.relative_to(ROOT / 'experiments')),
)
def test_the_layers_of_experiments_import_downwards(path):
  ours = dotted_name(path)
  for theirs in imported_modules(path):
    if theirs.startswith('experiments.'):
      is_beside = place(theirs) == place(ours) != 'commands'
      assert is_beside or layer(theirs) < layer(ours), theirs


def test_imports_form_no_cycle():
  names = {dotted_name(path).removesuffix('.__init__') for path in FILES}

  def module(name):  # `from a.b import c`: c may be a module or a name in b.
    while name and name not in names:
      name = name.rpartition('.')[0]
    return name

  imports = {}
  for path in FILES:
    ours = dotted_name(path).removesuffix('.__init__')
    imports[ours] = {module(name) for name in imported_modules(path)} - {
      '',
      ours,
    }
  while free := {name for name, others in imports.items() if not others}:
    imports = {
      name: others - free
      for name, others in imports.items()
      if name not in free
    }
  assert not imports


def test_folders_hold_few_modules():
  folders = {path.parent for path in FILES}
  for folder in folders - {ROOT / 'agents'}:
    assert len(modules_in(folder)) <= MOST_MODULES, folder
  assert len(modules_in(ROOT / 'agents')) <= MOST_AGENTS
  assert modules_in(ROOT / 'experiments') == COMMANDS | {
    'cli',
    'config',
    'process',
  }


def test_only_commands_import_flags():
  for path in (ROOT / 'experiments').glob('*/*.py'):
    assert 'absl.flags' not in set(imported_modules(path)), path


@pytest.mark.parametrize('name', ('actor', 'learner'))
def test_actor_and_learner_do_not_import_their_neighbours(name):
  neighbours = {
    f'agents.{other}'
    for other in ('actor', 'learner', 'trajectory_queue', 'parameter_store')
  }
  assert not neighbours & set(imported_modules(ROOT / 'agents' / f'{name}.py'))


def test_workspace_md_lists_every_module():
  """Checks that the map lists every module, and no other, in its folder."""
  page = (ROOT / 'WORKSPACE.md').read_text()
  found, folders = set(), []
  for line in '\n'.join(page.split('```')[1::2]).splitlines():
    match = re.match(r'( *)(\w+/|(?:\w+\.py +)+)', line + ' ')
    if not match:
      continue
    indent = len(match[1])
    folders = [(depth, name) for depth, name in folders if depth < indent]
    if match[2].endswith('/'):
      folders.append((indent, match[2].strip('/')))
    for name in re.findall(r'(\w+)\.py', match[2]):
      found.add('/'.join([name for _, name in folders] + [name]))
  packages = ('vtrace', 'agents', 'envs', 'experiments')
  disk = {
    str(path.relative_to(ROOT).with_suffix(''))
    for path in FILES
    if path.stem != '__init__' and path.relative_to(ROOT).parts[0] in packages
  }
  assert found == disk
