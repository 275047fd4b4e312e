"""A run's log directory: locked by one process, checked before a resume."""

from collections.abc import Iterator
import contextlib
import datetime
import fcntl
import os
import pathlib
import re
from typing import TextIO

from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import config_json
from experiments.records import metrics_csv
from experiments.training.checkpoints import checkpoint

_LOCK = '.lock'


@contextlib.contextmanager
def claimed(config: config_lib.Config) -> Iterator[pathlib.Path]:
  """Yields the log directory, created if missing, locked for this process.

  The operating system releases the lock when the process ends or is killed. A
  directory that was created here is removed on leaving if nothing was recorded
  in it.

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
  """Checks that `config` can start or resume a run in `logdir`.

  Raises:
    ConfigError: if `logdir` holds records without config.json or checkpoints,
      or a metrics.csv that cannot be continued; or a run with other values of
      flags that must not change; the message names these flags.
  """
  old = config_json.read(logdir)
  steps = checkpoint.steps(logdir / 'checkpoints')
  if (logdir / 'metrics.csv').exists() and not (old and steps):
    raise config_lib.ConfigError(
      f'--logdir={logdir} already holds a run, which cannot be resumed because '
      'config.json or its checkpoints are missing. Choose another --logdir.'
    )
  if (logdir / 'metrics.csv').exists():
    metrics_csv.read_until(logdir / 'metrics.csv', config.num_frames)
  changed = config_json.changes(old, config) if old is not None else []
  if changed:
    flags = ', '.join(
      f'--{name}={getattr(config, name)} (recorded: {old.get(name)})'
      for name in changed
    )
    raise config_lib.ConfigError(
      f'--logdir={logdir} already holds a run that cannot be resumed with '
      f'{flags}. Choose another --logdir.'
    )


def check_extendable(
  config: config_lib.Config, logdir: pathlib.Path, num_frames: int
) -> None:
  """Checks a changed --num_frames of a run that has trained on `num_frames`.

  Raises:
    ConfigError: if it is less than that.
  """
  recorded = config_json.read(logdir) or {}
  changed = config_json.extended(recorded, config)
  if 'num_frames' in changed and config.num_frames < num_frames:
    raise config_lib.ConfigError(
      f'--num_frames={config.num_frames} is less than the {num_frames} frames '
      f'that the run in --logdir={logdir} has already trained on.'
    )


def _make_and_lock(logdir: pathlib.Path) -> TextIO:
  """Returns the locked lock file, which holds the process ID."""
  while True:
    logdir.mkdir(parents=True, exist_ok=True)
    lock = open(logdir / _LOCK, 'a+')
    _lock(lock, logdir)
    if _is(lock, logdir / _LOCK):
      lock.truncate(0)
      lock.write(str(os.getpid()))
      lock.flush()
      return lock
    lock.close()  # Its last owner removed the file meanwhile: retry.


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
  with contextlib.suppress(FileNotFoundError):  # The user removed it.
    if [path.name for path in logdir.iterdir()] == [_LOCK]:
      (logdir / _LOCK).unlink()
      logdir.rmdir()


def _new_name(config: config_lib.Config) -> str:
  """Returns a name that is unique among runs started in the same second."""
  now = datetime.datetime.now().strftime('%Y%m%d-%H%M%S')
  env = re.sub(r'[^\w.-]+', '-', config.env)  # module:factory
  return f'runs/{env}-seed{config.seed}-{now}-{os.getpid()}'
