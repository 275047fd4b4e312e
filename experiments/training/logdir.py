"""A run's log directory: claimed by one process, and asked what it holds."""

from collections.abc import Iterator
import contextlib
import datetime
import fcntl
import os
import pathlib
from typing import TextIO

from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import config_json
from experiments.training import checkpoint

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
    atomic_file.remove_leftovers(logdir)
    try:
      yield logdir
    finally:
      if is_new:
        _remove_if_empty(logdir)


def check_resumable(config: config_lib.Config, logdir: pathlib.Path) -> None:
  """Refuses to go on with a run in another meaning.

  Raises:
    ConfigError: naming the flags that would change it; or if what is there
      cannot go on.
  """
  old = config_json.read(logdir)
  steps = checkpoint.steps(logdir / 'checkpoints')
  if (logdir / 'metrics.csv').exists() and not (old and steps):
    raise config_lib.ConfigError(
      f'--logdir={logdir} already holds a run, without checkpoints to go on '
      'from; choose another.'
    )
  changed = config_json.changes(old, config) if old is not None else []
  if changed:
    flags = ', '.join(
      f'--{name}={getattr(config, name)} (it has {old.get(name)})'
      for name in changed
    )
    raise config_lib.ConfigError(
      f'--logdir={logdir} already holds a run that cannot go on with {flags}: '
      'that would be another run. Choose another --logdir.'
    )


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
