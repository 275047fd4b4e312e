"""The notebooks run, and what is saved of them is what their sources say."""

import ast
import pathlib
import re
import subprocess
import sys

import nbformat
import pytest

from notebooks import build
from notebooks import compiling
from notebooks import executing

NAMES = compiling.names()
URL = 'https://github.com/someone/a-project'
SOURCE = """\
# %% [markdown]
# # A title
#
# An introduction.

# %%
# %matplotlib inline
x = 1  # A comment.

# %%
x
"""
# What notebooks may import besides the standard library.
PUBLIC = {'vtrace', 'agents', 'envs', 'experiments', 'examples'}
LIBRARIES = set(
  """
  IPython chex dm_env gymnasium haiku imageio ipywidgets jax matplotlib numpy
  optax scipy tqdm
  """.split()  # noqa: SIM905
)
# Folders of this machine, the home of a user and objects in memory.
MACHINE = re.compile(
  r'/(home|root|Users|tmp|work|opt)/|site-packages|0x[0-9a-f]{6}'
)
NAMED_TUPLE = {'_asdict', '_fields', '_replace'}  # Public, in spite of the _.
MOST_LINES = 20
MOST_LINES_OF_A_FUNCTION = 12
MOST_BYTES = 1_500_000


def read(name):
  return nbformat.read(compiling.FOLDER / f'{name}.ipynb', as_version=4)


def code_cells(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == 'code']


def outputs(notebook):
  return [out for cell in code_cells(notebook) for out in cell.outputs]


def trees(notebook):
  """Yields the syntax tree of every cell of code, without magic commands."""
  for cell in code_cells(notebook):
    yield ast.parse(re.sub(r'^%.*$', '', cell.source, flags=re.MULTILINE))


def shown_text(output):
  """Returns all texts of an output, without images."""
  data = output.get('data', {})
  texts = [text for kind, text in data.items() if not kind.startswith('image')]
  text = '\n'.join([output.get('text', ''), *map(str, texts)])
  return re.sub(r'data:image/\w+;base64,[\w+/=]+', '', text)


def test_every_notebook_has_a_source():
  saved = {path.stem for path in compiling.FOLDER.glob('*.ipynb')}
  assert saved == set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_the_saved_notebook_is_what_its_source_says(name):
  expected, saved = build.compiled(name), read(name)
  assert [(c.id, c.cell_type, c.source) for c in saved.cells] == [
    (c.id, c.cell_type, c.source) for c in expected.cells
  ], 'Run make notebooks.'


@pytest.mark.parametrize('name', NAMES)
def test_cells_are_short(name):
  for cell in read(name).cells:
    lines = cell.source.splitlines()
    if cell.cell_type == 'code':
      assert len(lines) <= MOST_LINES, cell.source
      assert all(len(line) <= 80 for line in lines), cell.source


@pytest.mark.parametrize('name', NAMES)
def test_functions_of_notebooks_are_short_and_imports_are_public(name):
  for tree in trees(read(name)):
    for node in ast.walk(tree):
      if isinstance(node, ast.FunctionDef):
        length = node.end_lineno - node.lineno + 1
        assert length <= MOST_LINES_OF_A_FUNCTION, node.name
      if isinstance(node, ast.Import):
        check_modules([alias.name for alias in node.names])
      if isinstance(node, ast.ImportFrom):
        check_modules([f'{node.module}.{alias.name}' for alias in node.names])
      if isinstance(node, ast.Attribute):
        is_private = re.match(r'_[^_]', node.attr)
        assert not is_private or node.attr in NAMED_TUPLE, node.attr


def check_modules(dotted_names):
  for dotted in dotted_names:
    parts = dotted.split('.')
    assert parts[0] in PUBLIC | LIBRARIES | sys.stdlib_module_names, dotted
    assert not any(re.match(r'_[^_]', part) for part in parts), dotted


@pytest.mark.parametrize('name', NAMES)
def test_outputs_are_saved_with_pictures_and_without_warnings(name):
  notebook = read(name)
  counts = [cell.execution_count for cell in code_cells(notebook)]
  assert counts == list(range(1, len(counts) + 1))
  shown = outputs(notebook)
  assert any('image/png' in output.get('data', {}) for output in shown)
  for output in shown:
    assert output.output_type != 'error'
    assert output.get('name') != 'stderr', output.text
    assert 'warning' not in shown_text(output).lower()
    assert not MACHINE.search(shown_text(output)), shown_text(output)
  path = compiling.FOLDER / f'{name}.ipynb'
  assert path.stat().st_size <= MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_a_notebook_runs_in_a_clean_kernel(name):
  executed = executing.execute(build.compiled(name))
  for output in outputs(executed):
    assert output.get('name') != 'stderr', output.text
  saved = [len(c.outputs) > 0 for c in code_cells(read(name))]
  assert [len(c.outputs) > 0 for c in code_cells(executed)] == saved


def test_a_source_becomes_cells_with_badge_and_setup():
  notebook = compiling.compile_source('first', SOURCE, URL)
  assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
    (
      'markdown',
      f'# A title\n\n{compiling.badge("first", URL)}\n\nAn introduction.',
    ),
    ('code', compiling.setup_cell(URL)),
    ('code', '%matplotlib inline\nx = 1  # A comment.'),
    ('code', 'x'),
  ]
  nbformat.validate(notebook)


def test_the_badge_leads_to_the_notebook():
  link = compiling.badge('first', URL).rpartition('](')[2].rstrip(')')
  prefix = (
    'https://colab.research.google.com/github/someone/a-project/blob/main/'
  )
  path = compiling.FOLDER.relative_to(compiling.ROOT) / 'first.ipynb'
  assert link == prefix + str(path)


def test_a_placeholder_is_marked():
  url = 'https://github.com/OWNER/a-project'
  for text in (compiling.badge, lambda _, url: compiling.setup_cell(url)):
    assert 'laceholder' in text('first', url)
    assert 'laceholder' not in text('first', URL)


def test_ids_of_cells_do_not_depend_on_other_cells():
  def ids(source):
    cells = compiling.compile_source('first', source, URL).cells
    return [cell.id for cell in cells]

  twice = SOURCE.replace('# %%\nx\n', '# %%\nx\n\n# %%\ny\n\n# %%\nx\n')
  assert ids(twice)[:4] == ids(SOURCE)
  assert len(set(ids(twice))) == 6


@pytest.mark.parametrize(
  'source, message',
  (
    ('x = 1', 'begins with'),
    ('# %%\nx = 1', 'title'),
    ('# %% [markdown]\n# No title', 'title'),
    ('# %% [markdown]\n# # A title\nx = 1', 'not a comment'),
    ('# %% [raw]\n# # A title', 'Unknown kind'),
  ),
)
def test_an_invalid_source_is_rejected(source, message):
  with pytest.raises(ValueError, match=message):
    compiling.compile_source('first', source, URL)


def test_the_address_comes_from_setup_py():
  text = f"import x\nx.setup(name='https://github.com/a/b', url={URL + '/'!r})"
  assert compiling.project_url(text) == URL
  assert compiling.project_url(f"setup(url='{URL}.git')") == URL
  with pytest.raises(ValueError, match='no url'):
    compiling.project_url("setup(url='https://example.com/a')")


def run_setup_cell(monkeypatch, tmp_path):
  """Runs the cell with a recorded subprocess.run; returns the commands."""
  commands = []
  monkeypatch.setattr(subprocess, 'run', lambda c, **_: commands.append(c))
  monkeypatch.setattr(sys, 'path', [*sys.path])
  monkeypatch.chdir(tmp_path)
  code = compiling.setup_cell(URL).replace('/content', str(tmp_path))
  exec(code, {})
  return commands


def test_the_setup_cell_does_nothing_on_other_machines(monkeypatch, tmp_path):
  path = [*sys.path]
  assert run_setup_cell(monkeypatch, tmp_path) == []
  assert sys.path == path
  assert pathlib.Path.cwd() == tmp_path


def test_the_setup_cell_installs_on_colab(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, 'google.colab', sys)
  folder = tmp_path / 'a-project'
  monkeypatch.setattr(
    'os.path.exists', lambda path: folder.mkdir() or False, raising=True
  )
  clone, install = run_setup_cell(monkeypatch, tmp_path)
  assert clone[:2] == ['git', 'clone']
  assert clone[-2:] == [URL, str(folder)]
  assert install[-2:] == ['-e', str(folder)]
  assert pathlib.Path.cwd() == folder
  assert sys.path[0] == str(folder)
  monkeypatch.undo()
  monkeypatch.setitem(sys.modules, 'google.colab', sys)  # pip had failed.
  assert run_setup_cell(monkeypatch, tmp_path) == [install]


def code_notebook(*sources):
  cells = [nbformat.v4.new_code_cell(source) for source in sources]
  return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.slow
def test_execution_is_clean_and_its_outputs_are_portable(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=3')
  notebook = executing.execute(
    code_notebook(
      'import os, pathlib, jax, vtrace\nimport ipywidgets',
      'pathlib.Path("new.txt").write_text("x")\nos.getcwd()',
      'jax.devices(), vtrace.__file__',
      'ipywidgets.interact(lambda x: print(x), x=7); print("shown")',
    )
  )
  texts = [shown_text(output).strip() for output in outputs(notebook)]
  assert texts == [
    "'.'",
    "([CpuDevice(id=0)], './vtrace/__init__.py')",
    '7\nshown',
  ]
  assert 'widgets' not in notebook.metadata
  assert not (compiling.ROOT / 'new.txt').exists()


def test_normalized_outputs_have_no_metadata_and_no_folders():
  notebook = code_notebook('x')
  notebook.metadata.language_info = {'name': 'python', 'version': '3.99'}
  (cell,) = notebook.cells
  cell.metadata['execution'] = {'iopub.status.busy': '2026-01-01'}
  widget = {'application/vnd.jupyter.widget-view+json': {'model_id': '7'}}
  cell.outputs = [
    nbformat.v4.new_output('display_data', widget),
    nbformat.v4.new_output('stream', text='/a/b/c.txt'),
    nbformat.v4.new_output('display_data', {'text/plain': 'in /a/b'}),
  ]
  executing.normalize(notebook, {'/a/b': '.'})
  assert [shown_text(o).strip() for o in cell.outputs] == ['./c.txt', 'in .']
  assert not cell.metadata
  assert notebook.metadata.language_info == {'name': 'python'}


def test_building_without_executing_keeps_outputs(monkeypatch, tmp_path):
  monkeypatch.setattr(compiling, 'FOLDER', tmp_path)
  (tmp_path / 'src').mkdir()
  source = tmp_path / 'src' / 'first.py'
  source.write_text(SOURCE)
  notebook = build.compiled('first')
  for number, cell in enumerate(code_cells(notebook)):
    cell.outputs = [nbformat.v4.new_output('stream', text=str(number))]
  nbformat.write(notebook, tmp_path / 'first.ipynb')
  source.write_text(SOURCE.replace('x = 1', 'x = 2'))
  build.build('first', runs=False)
  kept = code_cells(nbformat.read(tmp_path / 'first.ipynb', as_version=4))
  assert [[o.text for o in cell.outputs] for cell in kept] == [['0'], [], ['2']]
