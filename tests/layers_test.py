"""Imports go one way: experiments -> agents and envs; agents -> vtrace."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
MAY_IMPORT = {
  'vtrace': {'vtrace'},
  'agents': {'agents', 'vtrace'},
  'envs': {'envs'},
  'experiments': {'experiments', 'agents', 'envs', 'vtrace'},
  'benchmarks': {'benchmarks', 'experiments', 'agents', 'envs', 'vtrace'},
}
GROUND = {'chex', 'jax', 'typing'}  # All that vtrace may stand on.
FILES = [
  path for package in MAY_IMPORT for path in (ROOT / package).rglob('*.py')
]


def imported_modules(path):
  """Dotted names of all that a file imports, wherever it does."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def tops(path):
  return {name.split('.')[0] for name in imported_modules(path)}


@pytest.mark.parametrize('path', FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
  package = path.relative_to(ROOT).parts[0]
  assert tops(path) & set(MAY_IMPORT) <= MAY_IMPORT[package]
  if package == 'vtrace':
    assert tops(path) <= GROUND | {'vtrace'}
  if package not in ('experiments', 'benchmarks'):
    flags = {'absl.flags', 'absl.app'}
    assert not flags & set(imported_modules(path)), 'flags stay in experiments'
  assert 'tests' not in tops(path)


@pytest.mark.parametrize('name', ('actor', 'learner'))
def test_actor_and_learner_take_callables(name):
  strangers = {
    f'agents.{other}'
    for other in ('actor', 'learner', 'trajectory_queue', 'parameter_store')
  }
  assert not strangers & set(imported_modules(ROOT / 'agents' / f'{name}.py'))


def test_the_files_are_where_they_are_looked_for():
  assert len(FILES) > 20
