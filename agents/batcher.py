"""Batches for the learner: unrolls side by side, placed while it learns."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from agents import trajectory


class Batch(NamedTuple):
  """One update's worth of unrolls, and what to log about them."""

  trajectory: (
    trajectory.Trajectory
  )  # rows [D, T+1, B/D, ...], core [D, B/D, ...]
  num_transitions: int  # Agent steps in it, resets not counted.
  versions: np.ndarray  # [number of unrolls]: of the parameters that acted.
  episode_returns: np.ndarray  # [number of episodes that ended in it]
  episode_lengths: np.ndarray  # [same]


def batches(
  get: Callable[[], trajectory.Unroll | None],
  unrolls_per_batch: int,
  num_devices: int,
) -> Iterator[Batch]:
  """Yields batches of what `get` gives until it gives None."""
  while True:
    unrolls = []
    for _ in range(unrolls_per_batch):
      unroll = get()
      if unroll is None:
        return
      unrolls.append(unroll)
    yield stack(unrolls, num_devices)


def stack(unrolls: Sequence[trajectory.Unroll], num_devices: int) -> Batch:
  """Joins the environments of several unrolls, and deals them to devices.

  Raises:
    ValueError: if the number of environments does not divide over the devices.
  """
  rows = [unroll.trajectory.rows for unroll in unrolls]
  cores = [unroll.trajectory.core_state for unroll in unrolls]
  return Batch(
    trajectory=trajectory.Trajectory(
      rows=_concatenate(rows, num_devices, axis=1),
      core_state=_concatenate(cores, num_devices, axis=0),
    ),
    num_transitions=sum(trajectory.num_transitions(r) for r in rows),
    versions=np.array([unroll.version for unroll in unrolls]),
    episode_returns=np.concatenate([u.episode_returns for u in unrolls]),
    episode_lengths=np.concatenate([u.episode_lengths for u in unrolls]),
  )


def prefetch(
  items: Iterator[Batch],
  place: Callable[[Batch], Batch],
) -> Iterator[Batch]:
  """Yields `place(item)`, taking and placing the next one in the meantime."""

  def placed_next():
    item = next(items, None)
    return None if item is None else place(item)

  with futures.ThreadPoolExecutor(1, 'prefetch') as executor:
    coming = executor.submit(placed_next)
    while (item := coming.result()) is not None:
      coming = executor.submit(placed_next)
      yield item


def _concatenate(trees: Sequence[Any], num_devices: int, axis: int) -> Any:
  """Joins on the environments' axis; `[D, ...]` in front, one part a device."""

  def join(*xs):
    joined = np.concatenate(xs, axis=axis)
    return np.stack(np.split(joined, num_devices, axis=axis))

  return jax.tree.map(join, *trees)
