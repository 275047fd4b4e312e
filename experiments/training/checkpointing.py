"""When checkpoints are written: now and then, and at every kind of end."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import ctypes
import pathlib
import time
from typing import Any

from absl import logging

from experiments.training import checkpoint
from experiments.training import run_state


class Keeper:
  """Writes the newest run that it was offered, when it is time."""

  def __init__(
    self,
    directory: pathlib.Path,
    run: run_state.RunState,
    seconds: float,
    pack: Callable[[run_state.RunState], Any],
  ):
    """Writes `run` before it returns; from then on there is a checkpoint.

    Args:
      directory: of the checkpoints.
      run: the first to be written.
      seconds: between two of them.
      pack: makes of a run what is written.
    """
    self._pack = pack
    self._writer = checkpoint.Writer(directory)
    self._seconds = seconds
    self._newest = run
    self._finish()

  def offer(self, run: run_state.RunState) -> None:
    """Begins a checkpoint every `seconds`, unless one is still being written.

    Raises:
      CheckpointError: if one could not be written; those before stay.
    """
    self._newest = run
    self._writer.check()
    due = time.monotonic() - self._saved >= self._seconds
    if due and not self._writer.busy:
      self._save()
      return_freed_memory()

  @contextlib.contextmanager
  def at_every_end(self) -> Iterator[None]:
    """Writes what is newest on leaving, for whatever reason.

    Raises:
      CheckpointError: if it cannot be written, and that is the reason.
    """
    try:
      yield
    except checkpoint.CheckpointError:
      raise
    except BaseException:
      try:
        self._finish()
      except checkpoint.CheckpointError as error:
        logging.error('%s', error)  # What went wrong first matters more.
      raise
    else:
      self._finish()

  def close(self) -> None:
    """Ends the writer's threads."""
    self._writer.close()

  def _save(self) -> None:
    self._saved = time.monotonic()
    if not self._writer.has(self._newest.num_updates):
      self._writer.save(self._newest.num_updates, self._pack(self._newest))

  def _finish(self) -> None:
    self._save()
    self._writer.wait()


def newest(directory: pathlib.Path) -> checkpoint.Flat | None:
  """The newest whole checkpoint; the damaged after it are put aside.

  Raises:
    CheckpointError: if there are checkpoints, and all are damaged.
  """
  found = checkpoint.read_newest(directory)
  if found is None:
    return None
  step, flat = found
  for damaged in checkpoint.steps(directory):
    if damaged > step:
      _put_aside(directory / str(damaged))
  return flat


def _put_aside(path: pathlib.Path) -> None:
  """A step that a run reaches again must be free to be written."""
  aside = path.parent.parent / 'damaged_checkpoints'
  aside.mkdir(exist_ok=True)
  number = sum(1 for _ in aside.glob(f'{path.name}.*'))
  path = path.rename(aside / f'{path.name}.{number}')
  logging.error('The damaged checkpoint is now %s', path)


def return_freed_memory() -> None:
  """Asks glibc to return what it holds free; elsewhere does nothing.

  Rollouts come and go in many threads: what is free between them lies in pieces
  that glibc would keep, ever more of them.
  """
  trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
  if trim is not None:
    trim(0)
