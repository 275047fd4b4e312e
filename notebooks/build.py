"""Builds notebooks from their sources, and executes them.

python -m notebooks.build               # all of them
python -m notebooks.build read_a_run    # one
python -m notebooks.build --no_execute  # new badges, text and code; old outputs

Each `notebooks/src/NAME.py` becomes `notebooks/NAME.ipynb`, saved with outputs.
"""

import argparse
from collections.abc import Sequence
import pathlib
import sys
import time

import nbformat

from notebooks import compiling
from notebooks import executing


def build(name: str, *, runs: bool) -> pathlib.Path:
  """Builds one notebook.

  Args:
    name: the name of the notebook, without a suffix.
    runs: whether to execute it. If not, cells that have not changed keep the
      outputs that they had.

  Returns:
    The path of the notebook.

  Raises:
    FileNotFoundError: if there is no source of this name.
    ValueError: if the source or setup.py cannot be used.
    nbclient.exceptions.CellExecutionError: if a cell raises.
  """
  notebook = compiled(name)
  path = compiling.FOLDER / f'{name}.ipynb'
  if runs:
    executing.execute(notebook)
  elif path.exists():
    _copy_outputs(nbformat.read(path, as_version=4), notebook)
  path.write_text(nbformat.writes(notebook) + '\n')
  return path


def compiled(name: str) -> nbformat.NotebookNode:
  """Returns a notebook as its source and setup.py say, without outputs."""
  source = (compiling.FOLDER / 'src' / f'{name}.py').read_text()
  url = compiling.project_url((compiling.ROOT / 'setup.py').read_text())
  return compiling.compile_source(name, source, url)


def _copy_outputs(
  old: nbformat.NotebookNode, new: nbformat.NotebookNode
) -> None:
  """Copies the outputs of cells of code with the same id."""
  cells = {cell.id: cell for cell in old.cells if cell.cell_type == 'code'}
  for cell in new.cells:
    if cell.cell_type == 'code' and cell.id in cells:
      cell.outputs = cells[cell.id].outputs
      cell.execution_count = cells[cell.id].execution_count


def main(arguments: Sequence[str]) -> None:
  """Builds the notebooks that the arguments name; all if there are none."""
  parser = argparse.ArgumentParser(description='Builds notebooks.')
  parser.add_argument('names', nargs='*', help=', '.join(compiling.names()))
  parser.add_argument('--no_execute', action='store_true')
  args = parser.parse_args(arguments)
  for name in args.names or compiling.names():
    start = time.monotonic()
    path = build(name, runs=not args.no_execute)
    seconds, kib = time.monotonic() - start, path.stat().st_size / 1024
    print(f'{path.name}: {seconds:.0f} s, {kib:.0f} KiB')


if __name__ == '__main__':
  main(sys.argv[1:])
