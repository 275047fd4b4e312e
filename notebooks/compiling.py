"""From a readable source to the cells of a notebook, without outputs.

A source is a Python file in the percent format. `# %%` begins a cell of code
and `# %% [markdown]` a cell of text, whose lines are comments. A line of code
`# %name` becomes the magic command `%name`. The first cell is text and begins
with the title. Here it gets the badge, and the cell that installs the project
on Colab comes after it.
"""

import ast
import hashlib
import pathlib
import re

import nbformat

ROOT = pathlib.Path(__file__).parent.parent
FOLDER = pathlib.Path(__file__).parent
_CELL = '# %%'
_MARKDOWN = '# %% [markdown]'
_GITHUB = 'https://github.com/'
_COLAB = 'https://colab.research.google.com'
_PLACEHOLDER = 'OWNER'
_NOTICE = (
  '> **Placeholder**: this project has no public address yet (`url` in '
  'setup.py), so the badge\n> leads nowhere, and the next cell fails on Colab.'
)
_SETUP = """\
# On Colab this cell installs the project. Elsewhere it does nothing.
import os
import subprocess
import sys

if 'google.colab' in sys.modules:
  url = '{url}'{mark}
  folder = '/content/{name}'
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet']
  if not os.path.exists(folder):
    subprocess.run(['git', 'clone', '--depth=1', url, folder], check=True)
  subprocess.run([*pip, '-e', folder], check=True)
  os.chdir(folder)
  sys.path.insert(0, folder)  # A running kernel does not see what pip adds.\
"""


def names() -> list[str]:
  """Returns the names of all notebooks, sorted."""
  return sorted(path.stem for path in (FOLDER / 'src').glob('*.py'))


def project_url(setup_py: str) -> str:
  """Returns the argument `url` of `setup()` from the text of a setup.py.

  Raises:
    ValueError: if there is none, or it is not an address on GitHub. Colab opens
      notebooks from there.
  """
  for node in ast.walk(ast.parse(setup_py)):
    if isinstance(node, ast.keyword) and node.arg == 'url':
      url = ast.literal_eval(node.value)
      if url.startswith(_GITHUB):
        return url.rstrip('/').removesuffix('.git')
  raise ValueError('setup.py has no url that begins with https://github.com/.')


def compile_source(name: str, text: str, url: str) -> nbformat.NotebookNode:
  """Compiles the source of a notebook.

  Args:
    name: the name of the notebook, without a suffix.
    text: the source.
    url: the address of the project.

  Returns:
    The notebook, with the badge and the setup cell, without outputs.

  Raises:
    ValueError: if the source is not in the percent format, or does not begin
      with a title.
  """
  first, *cells = _cells(text)
  title, _, introduction = first.source.partition('\n')
  if first.cell_type != 'markdown' or not title.startswith('# '):
    raise ValueError(f'{name}: the first cell does not begin with a title.')
  first.source = '\n\n'.join([title, badge(name, url), introduction.strip()])
  notebook = nbformat.v4.new_notebook(
    cells=[first, nbformat.v4.new_code_cell(setup_cell(url)), *cells],
    metadata={
      'kernelspec': {
        'display_name': 'Python 3',
        'language': 'python',
        'name': 'python3',
      },
      'language_info': {'name': 'python'},
    },
  )
  _set_ids(notebook.cells)
  return notebook


def badge(name: str, url: str) -> str:
  """Returns the badge that opens a notebook on Colab, as Markdown."""
  path = url.removeprefix(_GITHUB)
  image = f'[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]'
  link = f'({_COLAB}/github/{path}/blob/main/notebooks/{name}.ipynb)'
  return image + link + f'\n\n{_NOTICE}' * (_PLACEHOLDER in url)


def setup_cell(url: str) -> str:
  """Returns the code that installs the project on Colab."""
  mark = '  # A placeholder.' if _PLACEHOLDER in url else ''
  return _SETUP.format(url=url, mark=mark, name=url.rpartition('/')[-1])


def _cells(text: str) -> list[nbformat.NotebookNode]:
  """Returns the cells of a source; drops cells without content."""
  before, *parts = re.split(rf'^(?={_CELL})', text, flags=re.MULTILINE)
  if before.strip() or not parts:
    raise ValueError(f'A source begins with the line {_CELL!r}.')
  cells = []
  for part in parts:
    head, _, body = part.partition('\n')
    if head not in (_CELL, _MARKDOWN):
      raise ValueError(f'Unknown kind of cell: {head!r}.')
    make = _markdown_cell if head == _MARKDOWN else _code_cell
    if body.strip():
      cells.append(make(body.strip()))
  return cells


def _code_cell(body: str) -> nbformat.NotebookNode:
  source = re.sub(r'^# (%\w)', r'\1', body, flags=re.MULTILINE)
  return nbformat.v4.new_code_cell(source)


def _markdown_cell(body: str) -> nbformat.NotebookNode:
  lines = body.splitlines()
  for line in lines:
    if not line.startswith('#'):
      raise ValueError(f'A line of text is not a comment: {line!r}.')
  text = '\n'.join(line.removeprefix('#').removeprefix(' ') for line in lines)
  return nbformat.v4.new_markdown_cell(text)


def _set_ids(cells: list[nbformat.NotebookNode]) -> None:
  """Sets ids that a change of another cell leaves as they are."""
  seen = set()
  for cell in cells:
    number = 0
    while True:
      content = f'{number} {cell.source}'.encode()
      cell.id = hashlib.sha256(content).hexdigest()[:8]
      if cell.id not in seen:
        break
      number += 1
    seen.add(cell.id)
