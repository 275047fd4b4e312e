"""Writes and reads one checkpoint with Orbax, and explains its errors.

Orbax and TensorStore search folders by pattern, translate backslashes, need
paths that are valid UTF-8, and log the errors that they also raise. This module
hides that: any path works, and each error is logged or raised once.
"""

from collections.abc import Iterator
import contextlib
import errno
import json
import logging as python_logging
import os
import pathlib
import re
import shutil
import textwrap
from typing import Any

from absl import logging
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import type_handlers

Flat = dict[str, np.ndarray]

ITEM = 'default'  # The folder of the arrays in that of a checkpoint.
_TEMPORARY = '.orbax-checkpoint-tmp'
_PLAIN_PATH = re.compile(r'[\w ./=+:,@~-]*', re.ASCII)
# TensorStore's codes for contents that are missing, truncated or not decodable.
# Its other codes are for reasons outside the file, such as PERMISSION_DENIED.
_DAMAGE_CODES = (
  'DATA_LOSS',
  'FAILED_PRECONDITION',
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'OUT_OF_RANGE',
)
_CODE = re.compile(r'([A-Z_]{4,}): ')
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")


def write(directory: pathlib.Path, step: int, flat: Flat, notes: Any) -> None:
  """Writes the checkpoint of `step`; it is complete or absent.

  Args:
    directory: an existing folder.
    step: the name of the checkpoint.
    flat: the arrays by name; they are not copied.
    notes: JSON values to store beside the arrays; see `read_notes`.

  Raises:
    Exception: of many types, if it cannot be written; see `reason`.
  """
  with (
    _plain_path(directory) as plain,
    ocp.Checkpointer(
      ocp.CompositeCheckpointHandler(**{ITEM: _handler()})
    ) as checkpointer,
  ):
    checkpointer.save(
      plain / str(step),
      args=ocp.args.Composite(**{ITEM: ocp.args.PyTreeSave(flat)}),
      custom_metadata=notes,
    )


def read(directory: pathlib.Path, step: int) -> Flat:
  """Reads the arrays of `step`.

  Raises:
    Exception: of many types, if they cannot be read; see `is_damage`.
  """
  with (
    _plain_path(directory) as plain,
    ocp.StandardCheckpointer() as checkpointer,
  ):
    path = plain / str(step) / ITEM
    _check_accessible(path)
    return dict(checkpointer.restore(path))


def read_notes(directory: pathlib.Path, step: int) -> dict[str, Any]:
  """Returns the notes written with the arrays of `step`; {} if there are none.

  Raises:
    OSError: if they cannot be read.
  """
  try:
    text = (directory / str(step) / '_CHECKPOINT_METADATA').read_text()
    return dict(json.loads(text)['custom_metadata'])
  except (FileNotFoundError, KeyError, TypeError, ValueError):
    return {}  # Written by an earlier version.


def remove(directory: pathlib.Path, step: int) -> None:
  """Removes a checkpoint; if this is interrupted, it counts as incomplete."""
  doomed = directory / f'{step}{_TEMPORARY}'
  (directory / str(step)).rename(doomed)
  shutil.rmtree(doomed, ignore_errors=True)


def remove_incomplete(directory: pathlib.Path) -> None:
  """Removes what killed processes left half-written in `directory`."""
  for path in directory.glob(f'*{_TEMPORARY}*'):
    shutil.rmtree(path, ignore_errors=True)


def is_damage(error: Exception) -> bool:
  """Returns whether an error of `read` is due to the contents of the files.

  Other errors (permissions, memory, a missing device) may go away; the
  checkpoint must then be kept as it is. In doubt, it is not damaged.
  """
  if isinstance(error, OSError):
    return isinstance(error, FileNotFoundError)
  os_error = _OS_ERROR.search(str(error))
  if os_error and int(os_error[1]) != errno.ENOENT:
    return False
  code = _CODE.match(str(error))
  if isinstance(error, ValueError) and code:
    return code[1] in _DAMAGE_CODES
  return isinstance(error, (ValueError, KeyError, TypeError, EOFError))


def reason(error: Exception) -> str:
  """Returns the cause of an error in a few words."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  os_error = _OS_ERROR.search(str(error))
  if os_error:
    return os.strerror(int(os_error[1]))
  # TensorStore nests messages, each with a path: the innermost is the cause.
  text = str(error).split(' [tensorstore_spec=')[0].rsplit('": ', 1)[-1]
  return textwrap.shorten(text, 120) or repr(error)


def _handler() -> ocp.PyTreeCheckpointHandler:
  """Returns a handler for NumPy arrays that does not copy them first."""
  numpy_arrays = type_handlers.NumpyHandler(deepcopy_host_arrays=False)
  registry = type_handlers.create_type_handler_registry(
    (np.ndarray, numpy_arrays)
  )
  return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


@contextlib.contextmanager
def _plain_path(directory: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a path of the folder that Orbax can use.

  For a path with other characters, this is the path of an open descriptor.
  """
  directory = directory.absolute()
  descriptors = pathlib.Path('/proc/self/fd')  # Exists on Linux.
  if _PLAIN_PATH.fullmatch(str(directory)) or not descriptors.exists():
    yield directory
    return
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    yield descriptors / str(descriptor)
  finally:
    os.close(descriptor)


def _check_accessible(path: pathlib.Path) -> None:
  """Opens every folder and file; Orbax takes inaccessible ones for missing.

  Raises:
    OSError: if one cannot be opened.
  """

  def fail(error):
    raise error

  for folder, _, names in os.walk(path, onerror=fail):
    for name in names:
      os.close(os.open(os.path.join(folder, name), os.O_RDONLY))


def _is_news(record: python_logging.LogRecord) -> bool:
  """Returns whether a log record is no copy of an exception from Orbax."""
  unretrieved = 'exception was never retrieved' in record.getMessage()
  return 'orbax' not in record.pathname and not unretrieved


for _logger in (logging.get_absl_logger(), python_logging.getLogger('asyncio')):
  _logger.addFilter(_is_news)
