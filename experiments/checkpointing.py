"""When checkpoints are written: now and then, and at every kind of end."""

from collections.abc import Iterator
import contextlib
import pathlib
import shutil
import time

from absl import logging

from agents import checkpoint
from experiments import run_state


class Keeper:
  """Writes the newest run that it was offered, when it is time."""

  def __init__(self, directory: pathlib.Path, seconds: float):
    self._writer = checkpoint.Writer(directory)
    self._seconds = seconds
    self._saved = time.monotonic()
    self._newest: run_state.RunState | None = None

  def offer(self, run: run_state.RunState) -> None:
    """Begins a checkpoint every `seconds`, unless one is still being written.

    Raises:
      CheckpointError: if one could not be written.
    """
    self._newest = run
    self._writer.check()
    due = time.monotonic() - self._saved >= self._seconds
    if due and not self._writer.busy:
      self.save()

  def save(self) -> None:
    """Begins a checkpoint of the newest run."""
    if self._newest is not None:
      self._saved = time.monotonic()
      self._writer.save(self._newest.num_updates, self._newest)

  def wait(self) -> None:
    """Waits until all is written; raises a CheckpointError if it was not."""
    self._writer.wait()

  def close(self) -> None:
    """Waits likewise, and ends the writing."""
    self._writer.close()


@contextlib.contextmanager
def keeping(
  directory: pathlib.Path, run: run_state.RunState, seconds: float
) -> Iterator[Keeper]:
  """Writes `run` at once, and what is newest on leaving, for whatever reason.

  Raises:
    CheckpointError: if a checkpoint cannot be written; those before stay.
  """
  keeper = Keeper(directory, seconds)
  try:
    keeper.offer(run)
    keeper.save()
    keeper.wait()
    yield keeper
  except checkpoint.CheckpointError:
    keeper.close()
    raise
  except BaseException:
    try:
      with contextlib.closing(keeper):
        keeper.save()
    except checkpoint.CheckpointError as error:
      logging.error('%s', error)  # What went wrong first matters more.
    raise
  else:
    with contextlib.closing(keeper):
      keeper.save()


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
  shutil.rmtree(aside / path.name, ignore_errors=True)
  path.rename(aside / path.name)
