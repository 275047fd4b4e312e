"""A run's log directory: claimed by one process, and asked what it holds."""

from collections.abc import Iterator
import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
from typing import Any
from typing import TextIO

from experiments import atomic
from experiments import config as config_lib

_LOCK = '.lock'


@contextlib.contextmanager
def claimed(config: config_lib.Config) -> Iterator[pathlib.Path]:
  """The log directory, made if need be, and this process's own until the end.

  The claim is a lock of the operating system's: it ends with the process, even
  a killed one. If it was made, and nothing was recorded, it is removed again.

  Raises:
    ConfigError: if it cannot be written, or another run is using it.
  """
  logdir = pathlib.Path(os.path.expanduser(config.logdir or _new_name(config)))
  try:
    is_new = not logdir.exists()
    logdir.mkdir(parents=True, exist_ok=True)
    lock = open(logdir / _LOCK, 'a+')
  except OSError as error:
    raise _cannot_write(logdir, error) from error
  with lock:
    _lock(lock, logdir)
    try:
      yield logdir
    finally:
      if is_new:
        _remove_if_empty(logdir)


def check_goes_on(config: config_lib.Config, logdir: pathlib.Path) -> None:
  """Refuses to go on with a run in another meaning.

  Raises:
    ConfigError: naming the flags that would change it; or if what is there
      cannot go on.
  """
  old = recorded(logdir)
  if (logdir / 'metrics.csv').exists() and not (
    old and (logdir / 'checkpoints').exists()
  ):
    raise config_lib.ConfigError(
      f'--logdir={logdir} already holds a run, without checkpoints to go on '
      'from; choose another.'
    )
  changed = config_lib.changes(old, config) if old is not None else []
  if changed:
    flags = ', '.join(
      f'--{name}={getattr(config, name)} (it has {old.get(name)})'
      for name in changed
    )
    raise config_lib.ConfigError(
      f'--logdir={logdir} already holds a run that cannot go on with {flags}: '
      'that would be another run. Choose another --logdir.'
    )


def recorded(logdir: pathlib.Path) -> dict[str, Any] | None:
  """The configuration of the run that is there, as it was recorded."""
  try:
    return json.loads((logdir / 'config.json').read_text())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError) as error:
    raise config_lib.ConfigError(
      f'{logdir / "config.json"} cannot be read: {error}.'
    ) from error


def record(config: config_lib.Config, logdir: pathlib.Path) -> None:
  """Writes config.json, unless the run that goes on has."""
  if (logdir / 'config.json').exists():
    return
  with atomic.replacing(logdir / 'config.json') as path:
    path.write_text(json.dumps(dataclasses.asdict(config), indent=2) + '\n')


def _lock(lock: TextIO, logdir: pathlib.Path) -> None:
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    lock.seek(0)
    raise config_lib.ConfigError(
      f'--logdir={logdir} is in use by another run, process {lock.read()}.'
    ) from error
  except OSError as error:
    raise _cannot_write(logdir, error) from error
  lock.truncate(0)
  lock.write(str(os.getpid()))
  lock.flush()


def _remove_if_empty(logdir: pathlib.Path) -> None:
  if [path.name for path in logdir.iterdir()] == [_LOCK]:
    (logdir / _LOCK).unlink()
    logdir.rmdir()


def _cannot_write(
  logdir: pathlib.Path, error: OSError
) -> config_lib.ConfigError:
  return config_lib.ConfigError(
    f'Cannot write to --logdir={logdir}: {error.strerror}.'
  )


def _new_name(config: config_lib.Config) -> str:
  """Runs of different processes differ, though they begin in one second."""
  now = datetime.datetime.now().strftime('%Y%m%d-%H%M%S')
  return f'runs/{config.env}-seed{config.seed}-{now}-{os.getpid()}'
