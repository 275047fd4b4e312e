"""Executes a notebook in a clean kernel; normalizes what is saved of it."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import tempfile
from typing import Any

import nbclient
import nbformat

from notebooks import compiling

_SECONDS_PER_CELL = 300
_WIDGET = 'application/vnd.jupyter.widget-view+json'
# Variables that would change what a notebook computes or prints.
_REMOVED = ('XLA_FLAGS', 'MPLBACKEND', 'MATPLOTLIBRC', 'PYTHONWARNINGS')
# Entries of the repository that no notebook reads.
_HIDDEN = ('runs', 'build')


class _Client(nbclient.NotebookClient):
  """A client that ignores what widgets send.

  What is shown inside a widget becomes an output of its cell. Answers to an
  Output widget would go through the socket on which the reply of the cell is
  awaited, and a reply that arrives at that moment is seen when the cell times
  out.
  """

  def handle_comm_msg(
    self, outs: list[Any], msg: dict[str, Any], cell_index: int
  ) -> None:
    """Does nothing."""


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
  """Executes all cells in a new kernel of the running Python.

  The kernel runs on the CPU, in a temporary folder that shows the files of the
  repository: what a notebook writes is removed at the end.

  Args:
    notebook: a notebook; its outputs are replaced.

  Returns:
    The notebook itself, with normalized outputs.

  Raises:
    nbclient.exceptions.CellExecutionError: if a cell raises.
  """
  with _working_folder() as folder:
    client = _Client(
      notebook,
      timeout=_SECONDS_PER_CELL,
      kernel_name='python3',
      coalesce_streams=True,
      record_timing=False,
      extra_arguments=['--log-level=ERROR'],
      resources={'metadata': {'path': str(folder)}},
    )
    client.execute(env=_environment(folder))
    return normalize(notebook, {str(folder): '.', str(compiling.ROOT): '.'})


def normalize(
  notebook: nbformat.NotebookNode, replaced: dict[str, str]
) -> nbformat.NotebookNode:
  """Removes from a notebook what differs between executions and machines.

  Widgets are removed as well: they are not visible without a kernel. What they
  showed stays.

  Args:
    notebook: an executed notebook, which is changed.
    replaced: texts that are replaced in outputs, and by what.

  Returns:
    The notebook itself.
  """
  notebook.metadata.language_info = {'name': 'python'}
  for cell in notebook.cells:
    cell.metadata.clear()
    if cell.cell_type == 'code':
      cell.outputs = [
        _normalize_output(output, replaced)
        for output in cell.outputs
        if _WIDGET not in output.get('data', {})
      ]
  return notebook


def _normalize_output(
  output: nbformat.NotebookNode, replaced: dict[str, str]
) -> nbformat.NotebookNode:
  output.get('metadata', {}).clear()
  for old, new in replaced.items():
    if 'text' in output:
      output.text = output.text.replace(old, new)
    for kind, content in output.get('data', {}).items():
      if kind.startswith('text/'):
        output.data[kind] = content.replace(old, new)
  return output


@contextlib.contextmanager
def _working_folder() -> Iterator[pathlib.Path]:
  """Yields a temporary folder with links to the files of the repository."""
  with tempfile.TemporaryDirectory(prefix='notebook-') as name:
    folder = pathlib.Path(name).resolve()
    for path in compiling.ROOT.iterdir():
      if path.name not in _HIDDEN and not path.name.startswith(('.', '_')):
        (folder / path.name).symlink_to(path)
    yield folder


def _environment(folder: pathlib.Path) -> dict[str, str]:
  """Returns environment variables that do not depend on the user's settings."""
  kept = {k: v for k, v in os.environ.items() if k not in _REMOVED}
  return kept | {
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': str(folder),
    'PYTHONHASHSEED': '0',
    'IPYTHONDIR': str(folder / '.ipython'),
  }
