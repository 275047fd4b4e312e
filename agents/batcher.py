"""The batcher: joins rollouts into batches and prefetches them for the learner.

Rollouts are on the device that acts; no function here copies their trajectories
to the host.
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
  """The rollouts of one update, with statistics for the log."""

  # rows [D, T+1, B/D, ...], core_state [D, B/D, ...]
  trajectory: trajectory.Trajectory
  num_transitions: int  # Agent steps in new rollouts, without resets.
  # [number of new rollouts]: versions of the parameters that acted.
  versions: np.ndarray
  # actor_id -> `actor.ActorState` after the actor's last rollout in the batch.
  actors: dict[int, Any]
  wait_seconds: float  # Sum of `Rollout.wait_seconds`.
  episode_returns: np.ndarray  # [number of episodes that ended]
  episode_lengths: np.ndarray  # [number of episodes that ended]


def batches(
  get: Callable[[], trajectory.Rollout | None],
  rollouts_per_batch: int,
  num_devices: int,
  replay_buffer: replay.ReplayBuffer | None = None,
) -> Iterator[Batch]:
  """Yields batches of the rollouts from `get`, until `get` returns None.

  Args:
    get: waits for the next rollout and returns it.
    rollouts_per_batch: number of new rollouts in a batch.
    num_devices: number of devices that share a batch.
    replay_buffer: samples the replayed unrolls of a batch. None: no replay.
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
  """Joins the unrolls of several rollouts and splits them over devices.

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
  """Joins trajectories and splits them over devices; leaves are `[D, ...]`.

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
  """Yields `place(item)` for each item, prepared in a background thread.

  The next item is fetched and placed while the consumer uses the current one.

  Args:
    items: iterated in the background thread.
    place: called in the background thread.
    wake: called when the consumer stops, for any reason. It must end a wait
      inside `items`, so that the thread can be joined.
  """

  def placed_next():
    item = next(items, None)
    return None if item is None else place(item)

  with futures.ThreadPoolExecutor(1, 'prefetch') as executor:
    try:
      pending = executor.submit(placed_next)
      while (item := pending.result()) is not None:
        pending = executor.submit(placed_next)
        yield item
    finally:
      wake()
