"""Batches for the learner: rollouts side by side, placed while it learns.

Rollouts lie on the device that acts; nothing here comes back to the host.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import replay
from agents import trajectory


class Batch(NamedTuple):
  """One update's worth of rollouts, and what to log about them."""

  # rows [D, T+1, B/D, ...], core_state [D, B/D, ...]
  trajectory: trajectory.Trajectory
  num_transitions: int  # Agent steps in it, resets not counted.
  versions: np.ndarray  # [number of rollouts]: of the parameters that acted.
  actors: dict[int, Any]  # By actor_id: its state after its last rollout here.
  wait_seconds: float  # Of the actors for the learner, added up.
  episode_returns: np.ndarray  # [number of episodes that ended in it]
  episode_lengths: np.ndarray  # [same]


def batches(
  get: Callable[[], trajectory.Rollout | None],
  rollouts_per_batch: int,
  num_devices: int,
  replay_buffer: replay.ReplayBuffer | None = None,
) -> Iterator[Batch]:
  """Yields batches of what `get` gives until it gives None.

  Args:
    get: waits for the next rollout.
    rollouts_per_batch: how many of a batch's rollouts are new.
    num_devices: how many devices share a batch.
    replay_buffer: gives the unrolls that a batch replays; None: it has none.
  """
  while True:
    rollouts = []
    for _ in range(rollouts_per_batch):
      rollout = get()
      if rollout is None:
        return
      rollouts.append(rollout)
    replayed = []
    if replay_buffer is not None:
      new = [rollout.trajectory for rollout in rollouts]
      replayed = [replay_buffer.add_and_sample(new)]
    yield stack(rollouts, num_devices, replayed)


def stack(
  rollouts: Sequence[trajectory.Rollout],
  num_devices: int,
  replayed: Sequence[trajectory.Trajectory] = (),
) -> Batch:
  """Joins the environments of several rollouts, and shards them over devices.

  Replayed unrolls are added to the trajectory only; episode statistics and
  counters cover new unrolls.

  Raises:
    ValueError: if the number of environments does not divide over the devices.
  """
  new = [rollout.trajectory for rollout in rollouts]
  return Batch(
    trajectory=shard([*new, *replayed], num_devices),
    num_transitions=sum(rollout.num_transitions for rollout in rollouts),
    versions=np.array([rollout.version for rollout in rollouts]),
    actors={rollout.actor_id: rollout.state for rollout in rollouts},
    wait_seconds=sum(rollout.wait_seconds for rollout in rollouts),
    episode_returns=np.concatenate([r.episode_returns for r in rollouts]),
    episode_lengths=np.concatenate([r.episode_lengths for r in rollouts]),
  )


@functools.partial(jax.jit, static_argnames='num_devices')
def shard(
  trajectories: Sequence[trajectory.Trajectory], num_devices: int
) -> trajectory.Trajectory:
  """Lays trajectories side by side, and shards them over devices: `[D, ...]`.

  Raises:
    ValueError: if the number of environments does not divide over the devices.
  """

  def join(axis, *xs):
    joined = jnp.concatenate(xs, axis)
    return jnp.stack(jnp.split(joined, num_devices, axis))

  return trajectory.map_unrolls(join, *trajectories)


def prefetch(
  items: Iterator[Batch],
  place: Callable[[Batch], Batch],
  wake: Callable[[], None],
) -> Iterator[Batch]:
  """Yields `place(item)`, taking and placing the next one in the meantime.

  Args:
    items: taken in another thread.
    place: applied there.
    wake: called when the consumer stops, for whatever reason: it ends a wait
      inside `items`, so that the thread can be joined.
  """

  def placed_next():
    item = next(items, None)
    return None if item is None else place(item)

  with futures.ThreadPoolExecutor(1, 'prefetch') as executor:
    try:
      coming = executor.submit(placed_next)
      while (item := coming.result()) is not None:
        coming = executor.submit(placed_next)
        yield item
    finally:
      wake()
