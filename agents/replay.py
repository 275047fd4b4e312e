"""The replay buffer: samples unrolls of recent rollouts for later batches.

Sampling is uniform over unrolls, removal is first in, first out (section 5.2.2
of the paper). The buffer stores whole rollouts: each is a trajectory with the
unrolls of all environments of an actor.

The buffer holds references to the rollouts' arrays, without copies: nobody may
overwrite or donate them. The sample for a batch is a deterministic function of
the seed, the index of the batch and the contents of the buffer.
"""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import trajectory

# The rollouts that a buffer contains at one time, oldest first.
Contents = tuple[trajectory.Trajectory, ...]

# A buffer remembers its contents for this many batches: the batch of the last
# finished update, of the running update, and the prefetched batch.
_NUM_HELD = 3


class Settings(NamedTuple):
  """The settings of a replay buffer."""

  num_unrolls: int  # Number of unrolls replayed in each batch.
  capacity: int  # Largest number of unrolls in the buffer.
  seed: int


class ReplayBuffer:
  """A replay buffer for two threads, without a lock.

  One thread makes the batches: it adds and samples. Another thread asks for the
  contents when it writes a checkpoint. The batches are ahead of the learner, so
  the current contents already include later batches; the buffer therefore
  remembers earlier contents. No lock is needed, because the tuple of remembered
  contents is replaced and never changed in place.
  """

  def __init__(
    self, settings: Settings, contents: Contents = (), num_updates: int = 0
  ):
    """Initializes a buffer with its contents after `num_updates` updates."""
    self._settings = settings
    self._held = ((num_updates, contents),)  # (number of batches, contents).

  def add_and_sample(
    self, new: Sequence[trajectory.Trajectory]
  ) -> trajectory.Trajectory:
    """Adds the new rollouts of a batch, then samples its replayed unrolls."""
    number, contents = self._held[-1]
    contents = add(contents, new, self._settings.capacity)
    self._held = (*self._held, (number + 1, contents))[-_NUM_HELD:]
    return sample(contents, number, self._settings)

  def state(self, num_updates: int) -> Contents:
    """Returns the contents as they were after `num_updates` updates.

    Raises:
      RuntimeError: if these contents are not held.
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
  """Adds `new`, then removes the oldest rollouts beyond `capacity` unrolls."""
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
  per_rollout = num_unrolls(contents[0])
  indices = rng.integers(len(contents) * per_rollout, size=settings.num_unrolls)
  return gather(
    [contents[i // per_rollout] for i in indices], indices % per_rollout
  )


@jax.jit
def gather(
  trajectories: Sequence[trajectory.Trajectory], columns: jax.Array
) -> trajectory.Trajectory:
  """Gathers unroll `columns[i]` of each trajectory i into one trajectory."""

  def stack(axis, *xs):
    unrolls = [jnp.take(x, c, axis) for x, c in zip(xs, columns, strict=True)]
    return jnp.stack(unrolls, axis)

  return trajectory.map_unrolls(stack, *trajectories)


def num_unrolls(unrolls: trajectory.Trajectory) -> int:
  """Returns the number of unrolls in a trajectory."""
  return unrolls.rows.action.shape[1]


def num_bytes(template: trajectory.Trajectory, capacity: int) -> int:
  """Returns the bytes of a full buffer of rollouts shaped like `template`."""
  on_device = jax.eval_shape(lambda x: x, template)
  leaves = jax.tree.leaves(on_device)
  rollouts = capacity // num_unrolls(template)
  return rollouts * sum(x.size * x.dtype.itemsize for x in leaves)


def pack(contents: Contents) -> trajectory.Trajectory | tuple[()]:
  """Stacks the contents on the host; leaves are `[number of rollouts, ...]`."""
  if not contents:
    return ()
  return jax.tree.map(lambda *xs: np.stack(jax.device_get(xs)), *contents)


def unpack(packed: trajectory.Trajectory | tuple[()], device: Any) -> Contents:
  """Restores packed contents on `device`.

  Each rollout is a copy, so that it can be freed separately.
  """
  number = len(jax.tree.leaves(packed)[0]) if packed else 0
  return tuple(
    jax.device_put(jax.tree.map(lambda x, i=i: x[i].copy(), packed), device)
    for i in range(number)
  )
