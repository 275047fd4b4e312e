"""Files that are whole or not there at all."""

from collections.abc import Iterator
import contextlib
import errno
import os
import pathlib

import psutil

from experiments import config as config_lib


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a file beside `path`, to be written; it takes its place at the end.

  Should anything be raised meanwhile, `path` stays as it was.

  Raises:
    ConfigError: at once, if that cannot be.
  """
  partial = path.with_name(f'.{os.getpid()}.{path.name}')  # Its ending stays.
  try:
    if path.is_dir():
      raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    partial.touch()
  except OSError as error:
    raise config_lib.ConfigError(
      f'Cannot write {path}: {error.strerror}.'
    ) from error
  try:
    yield partial
    os.replace(partial, path)
  finally:
    partial.unlink(missing_ok=True)


def remove_leftovers(folder: pathlib.Path) -> None:
  """Removes what processes that were killed had half written."""
  for path in folder.glob('.[0-9]*.*'):
    writer = path.name.split('.')[1]
    if writer.isdecimal() and not psutil.pid_exists(int(writer)):
      path.unlink(missing_ok=True)
