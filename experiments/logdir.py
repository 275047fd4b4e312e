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

from agents import checkpoint
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
  logdir = config_lib.path(config.logdir or _new_name(config))
  is_new = not logdir.exists()
  try:
    lock = _make_and_lock(logdir)
  except OSError as error:
    raise config_lib.ConfigError(
      f'Cannot write to --logdir={logdir}: {error.strerror}.'
    ) from error
  with lock:
    atomic.remove_leftovers(logdir)
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
  steps = checkpoint.steps(logdir / 'checkpoints')
  if (logdir / 'metrics.csv').exists() and not (old and steps):
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
  path = logdir / 'config.json'
  try:
    values = json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError) as error:
    raise config_lib.ConfigError(f'{path} cannot be read: {error}.') from error
  if not isinstance(values, dict):
    raise config_lib.ConfigError(f'{path} is no configuration of a run.')
  return values


def record(config: config_lib.Config, logdir: pathlib.Path) -> None:
  """Writes config.json, unless the run that goes on has."""
  if (logdir / 'config.json').exists():
    return
  with atomic.replacing(logdir / 'config.json') as path:
    path.write_text(json.dumps(dataclasses.asdict(config), indent=2) + '\n')


def _make_and_lock(logdir: pathlib.Path) -> TextIO:
  """The lock file, locked, with this process's number in it."""
  while True:
    logdir.mkdir(parents=True, exist_ok=True)
    lock = open(logdir / _LOCK, 'a+')
    _lock(lock, logdir)
    if _is(lock, logdir / _LOCK):
      lock.truncate(0)
      lock.write(str(os.getpid()))
      lock.flush()
      return lock
    lock.close()  # Who held it has removed it meanwhile: once more.


def _lock(lock: TextIO, logdir: pathlib.Path) -> None:
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    lock.seek(0)
    raise config_lib.ConfigError(
      f'--logdir={logdir} is in use by another run, process {lock.read()}.'
    ) from error


def _is(file: TextIO, path: pathlib.Path) -> bool:
  try:
    return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
  except FileNotFoundError:
    return False


def _remove_if_empty(logdir: pathlib.Path) -> None:
  with contextlib.suppress(FileNotFoundError):  # The user has removed it.
    if [path.name for path in logdir.iterdir()] == [_LOCK]:
      (logdir / _LOCK).unlink()
      logdir.rmdir()


def _new_name(config: config_lib.Config) -> str:
  """Runs of different processes differ, though they begin in one second."""
  now = datetime.datetime.now().strftime('%Y%m%d-%H%M%S')
  env = config.env.replace(':', '-')  # module:factory
  return f'runs/{env}-seed{config.seed}-{now}-{os.getpid()}'
