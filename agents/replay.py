"""Experience replay on the learner: the last unrolls, drawn again.

Section 5.2.2: uniformly, first in first out.

What is kept is not copied: a rollout's arrays are never written again, so a
memory holds them where they lie. It is state, and its functions are pure: what
is drawn for a batch follows from a seed, the batch's number and the memory.
"""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import trajectory

Memory = tuple[trajectory.Trajectory, ...]  # Of all rollouts, oldest first.


class Settings(NamedTuple):
  """How to replay."""

  num_unrolls: int  # Replayed in each batch.
  capacity: int  # Unrolls that are kept, at most.
  seed: int


def keep(
  memory: Memory, new: Sequence[trajectory.Trajectory], capacity: int
) -> Memory:
  """Adds `new`; the oldest go where there are more than `capacity` unrolls."""
  memory = (*memory, *new)
  most = capacity // num_unrolls(memory[0])
  return memory[-most:] if most else ()


def draw(
  memory: Memory, number: int, settings: Settings
) -> trajectory.Trajectory:
  """Unrolls for batch `number`, uniformly and with replacement.

  Returns:
    Rows `[T+1, num_unrolls, ...]`, core_state `[num_unrolls, ...]`.

  Raises:
    ValueError: if the memory is empty.
  """
  if not memory:
    raise ValueError('Nothing is kept that could be replayed.')
  rng = np.random.default_rng([settings.seed, number])
  each = num_unrolls(memory[0])
  drawn = rng.integers(len(memory) * each, size=settings.num_unrolls)
  return pick([memory[i // each] for i in drawn], drawn % each)


@jax.jit
def pick(
  trajectories: Sequence[trajectory.Trajectory], columns: jax.Array
) -> trajectory.Trajectory:
  """Of trajectory i the unroll `columns[i]`, side by side."""

  def side_by_side(axis):
    def along(*xs):
      unrolls = [jnp.take(x, c, axis) for x, c in zip(xs, columns, strict=True)]
      return jnp.stack(unrolls, axis)

    return along

  return trajectory.Trajectory(
    rows=jax.tree.map(side_by_side(1), *(t.rows for t in trajectories)),
    core_state=jax.tree.map(
      side_by_side(0), *(t.core_state for t in trajectories)
    ),
  )


def num_unrolls(of: trajectory.Trajectory) -> int:
  """How many unrolls lie side by side in it."""
  return of.rows.action.shape[1]


def num_bytes(template: trajectory.Trajectory, capacity: int) -> int:
  """What a full memory of rollouts like `template` takes."""
  on_device = jax.eval_shape(lambda x: x, template)
  leaves = jax.tree.leaves(on_device)
  rollouts = capacity // num_unrolls(template)
  return rollouts * sum(x.size * x.dtype.itemsize for x in leaves)


def pack(memory: Memory) -> trajectory.Trajectory | tuple[()]:
  """All of it in one array for each field, `[rollouts, ...]`, on the host."""
  if not memory:
    return ()
  return jax.tree.map(lambda *xs: np.stack(jax.device_get(xs)), *memory)


def unpack(packed: trajectory.Trajectory | tuple[()], device: Any) -> Memory:
  """What `pack` was given, on `device`; copies, so that each goes by itself."""
  number = len(jax.tree.leaves(packed)[0]) if packed else 0
  return tuple(
    jax.device_put(jax.tree.map(lambda x, i=i: x[i].copy(), packed), device)
    for i in range(number)
  )
