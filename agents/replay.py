"""The replay buffer: the last unrolls, sampled again for later batches.

Section 5.2.2: uniformly, first in first out.

Nothing is copied: a rollout's arrays are never written again, so the buffer
holds them where they lie. What is sampled for a batch follows from a seed, the
batch's number and the contents alone.
"""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import trajectory

Contents = tuple[trajectory.Trajectory, ...]  # Of whole rollouts, oldest first.

# How many contents a buffer holds: those after the last update that has ended,
# after the one that is running, and after the batch prefetched meanwhile.
_NUM_HELD = 3


class Settings(NamedTuple):
  """How to replay."""

  num_unrolls: int  # Replayed in each batch.
  capacity: int  # Unrolls in the buffer, at most.
  seed: int


class ReplayBuffer:
  """Contents that change from batch to batch, for two threads without a lock.

  The thread that makes batches adds and samples. It is ahead of the learner, so
  another thread, for a checkpoint, asks for the contents as they were after an
  update. One reference to all that is held is replaced, never changed.
  """

  def __init__(
    self, settings: Settings, contents: Contents = (), num_updates: int = 0
  ):
    """Makes a buffer that holds `contents` after `num_updates` updates."""
    self._settings = settings
    self._held = ((num_updates, contents),)  # (number of batches, contents).

  def add_and_sample(
    self, new: Sequence[trajectory.Trajectory]
  ) -> trajectory.Trajectory:
    """Adds the next batch's new rollouts; returns what it replays."""
    number, contents = self._held[-1]
    contents = add(contents, new, self._settings.capacity)
    self._held = (*self._held, (number + 1, contents))[-_NUM_HELD:]
    return sample(contents, number, self._settings)

  def state(self, num_updates: int) -> Contents:
    """Returns the contents as they were after `num_updates` updates.

    Raises:
      RuntimeError: if they are not held, or no longer.
    """
    held = dict(self._held)
    if num_updates not in held:
      raise RuntimeError(
        f'The replay buffer holds no contents after update {num_updates}.'
      )
    return held[num_updates]


def add(
  contents: Contents, new: Sequence[trajectory.Trajectory], capacity: int
) -> Contents:
  """Adds `new`; drops the oldest beyond `capacity` unrolls."""
  contents = (*contents, *new)
  most = capacity // num_unrolls(contents[0])
  return contents[-most:] if most else ()


def sample(
  contents: Contents, number: int, settings: Settings
) -> trajectory.Trajectory:
  """Samples unrolls for batch `number`, uniformly and with replacement.

  Returns:
    Rows `[T+1, num_unrolls, ...]`, core_state `[num_unrolls, ...]`.

  Raises:
    ValueError: if there are no contents.
  """
  if not contents:
    raise ValueError('The replay buffer is empty.')
  rng = np.random.default_rng([settings.seed, number])
  each = num_unrolls(contents[0])
  drawn = rng.integers(len(contents) * each, size=settings.num_unrolls)
  return gather([contents[i // each] for i in drawn], drawn % each)


@jax.jit
def gather(
  trajectories: Sequence[trajectory.Trajectory], columns: jax.Array
) -> trajectory.Trajectory:
  """Returns unroll `columns[i]` of trajectory i, for all i side by side."""

  def stack(axis, *xs):
    unrolls = [jnp.take(x, c, axis) for x, c in zip(xs, columns, strict=True)]
    return jnp.stack(unrolls, axis)

  return trajectory.map_unrolls(stack, *trajectories)


def num_unrolls(of: trajectory.Trajectory) -> int:
  """Returns how many unrolls lie side by side in a trajectory."""
  return of.rows.action.shape[1]


def num_bytes(template: trajectory.Trajectory, capacity: int) -> int:
  """Returns the size of a full buffer of rollouts like `template`."""
  on_device = jax.eval_shape(lambda x: x, template)
  leaves = jax.tree.leaves(on_device)
  rollouts = capacity // num_unrolls(template)
  return rollouts * sum(x.size * x.dtype.itemsize for x in leaves)


def pack(contents: Contents) -> trajectory.Trajectory | tuple[()]:
  """Stacks the contents on the host: each field is `[rollouts, ...]`."""
  if not contents:
    return ()
  return jax.tree.map(lambda *xs: np.stack(jax.device_get(xs)), *contents)


def unpack(packed: trajectory.Trajectory | tuple[()], device: Any) -> Contents:
  """Undoes `pack`, on `device`; copies, so that each can be freed by itself."""
  number = len(jax.tree.leaves(packed)[0]) if packed else 0
  return tuple(
    jax.device_put(jax.tree.map(lambda x, i=i: x[i].copy(), packed), device)
    for i in range(number)
  )
