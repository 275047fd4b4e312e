"""The schedule of checkpoints: periodically, and whenever a run ends."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import ctypes
import pathlib
import time
from typing import Any

from absl import logging

from experiments import config as config_lib
from experiments.training import run_state
from experiments.training.checkpoints import checkpoint


class Keeper:
  """Writes the newest run state at intervals and at the end of the run."""

  def __init__(
    self,
    directory: pathlib.Path,
    run: run_state.RunState,
    seconds: float,
    pack: Callable[[run_state.RunState], Callable[[], Any]],
    keep_every: int = 0,
  ):
    """Initializes the keeper and waits until `run` is written.

    Args:
      directory: the directory of the checkpoints.
      run: the first run state to write.
      seconds: the interval between two checkpoints.
      pack: takes what a run state consists of, in the caller's thread; the
        result converts it to the tree that is written, in the writer's thread.
      keep_every: if not 0, every n-th checkpoint is kept forever.
    """
    self._pack = pack
    self._writer = checkpoint.Writer(directory, keep_every=keep_every)
    self._seconds = seconds
    self._newest = run
    self._finish()

  def offer(self, run: run_state.RunState) -> None:
    """Sets the newest run state and starts a checkpoint if one is due.

    A checkpoint is due `seconds` after the start of the previous one. While the
    previous one is still being written, the next calls try again.

    Raises:
      CheckpointError: if an earlier checkpoint could not be written. Complete
        checkpoints are kept.
    """
    self._newest = run
    self._writer.check()
    due = time.monotonic() - self._saved >= self._seconds
    if due and not self._writer.busy:
      self._save()

  @contextlib.contextmanager
  def at_every_end(self) -> Iterator[None]:
    """Runs the body, then writes the newest run state, even after an error.

    After a CheckpointError in the body nothing is written, because writing has
    just failed. If the body raises another error, a failure of this last write
    is logged instead of raised.

    Raises:
      CheckpointError: if the checkpoint cannot be written after a successful
        body.
    """
    try:
      yield
    except checkpoint.CheckpointError:
      raise
    except BaseException:
      try:
        self._finish()
      except checkpoint.CheckpointError as error:
        logging.error('%s', error)  # It must not mask the first error.
      raise
    else:
      self._finish()

  def close(self) -> None:
    """Stops the writer's threads."""
    self._writer.close()

  def _save(self) -> None:
    self._saved = time.monotonic()
    make_tree = self._pack(self._newest)

    def make_with_free_memory():
      return_freed_memory()
      return make_tree()

    self._writer.save(self._newest.num_updates, make_with_free_memory)

  def _finish(self) -> None:
    self._save()
    self._writer.wait()


def newest(directory: pathlib.Path) -> checkpoint.Flat | None:
  """Reads the newest undamaged checkpoint; None if there are no checkpoints.

  Moves newer, damaged checkpoints out of `directory`.

  Raises:
    CheckpointError: if there are checkpoints and all are damaged.
  """
  found = checkpoint.read_newest(directory)
  if found is None:
    return None
  step, flat = found
  for damaged in checkpoint.steps(directory):
    if damaged > step:
      _move_aside(directory / str(damaged))
  return flat


def read(
  directory: pathlib.Path, step: int | None
) -> tuple[int, checkpoint.Flat]:
  """Reads the checkpoint of `step`, or the newest undamaged one.

  Returns:
    (number of updates, arrays).

  Raises:
    ConfigError: if there is none.
    CheckpointError: if the checkpoint of `step` is damaged, or all of them.
  """
  existing = checkpoint.steps(directory)
  if step is not None and step not in existing:
    raise config_lib.ConfigError(
      f'There is no checkpoint of --step={step} in {directory}; there are: '
      f'{", ".join(map(str, existing)) or "none"}.'
    )
  if step is not None:
    return step, checkpoint.read(directory, step)
  newest = checkpoint.read_newest(directory)
  if newest is None:
    raise config_lib.ConfigError(f'There are no checkpoints in {directory}.')
  return newest


def _move_aside(path: pathlib.Path) -> None:
  """Moves a damaged checkpoint, so that its update can be written again."""
  aside = path.parent.parent / 'damaged_checkpoints'
  aside.mkdir(exist_ok=True)
  number = sum(1 for _ in aside.glob(f'{path.name}.*'))
  path = path.rename(aside / f'{path.name}.{number}')
  logging.error('Moved the damaged checkpoint to %s', path)


def return_freed_memory() -> None:
  """Gives freed heap memory back to the operating system, if glibc is used.

  Many threads allocate and free rollouts. This fragments the heap, and glibc
  would keep ever more free fragments.
  """
  trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
  if trim is not None:
    trim(0)
