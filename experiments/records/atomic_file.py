"""Atomic writing of files: a file is complete or does not exist."""

from collections.abc import Iterator
import contextlib
import errno
import os
import pathlib

import psutil

from experiments import config as config_lib


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a temporary file to write, which replaces `path` on success.

  If the body raises, `path` is unchanged.

  Raises:
    ConfigError: before the body runs, if `path` cannot be written.
  """
  partial = path.with_name(f'.{os.getpid()}.{path.name}')  # Keeps the suffix.
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
  """Removes the temporary files of killed processes from `folder`."""
  for path in folder.glob('.[0-9]*.*'):
    writer = path.name.split('.')[1]
    if writer.isdecimal() and not psutil.pid_exists(int(writer)):
      path.unlink(missing_ok=True)
