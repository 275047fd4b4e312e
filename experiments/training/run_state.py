"""What the rest of a run depends on: with the replay buffer, a checkpoint."""

from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from agents import actor
from agents import learner
from agents import replay
from agents import trajectory as trajectory_lib
from experiments import config as config_lib
from experiments.records import metrics as metrics_lib
from experiments.training import checkpoint

Actors = tuple[actor.ActorState, ...]  # In the order of their numbers.


class RunState(NamedTuple):
  """A run between two updates."""

  train_state: learner.TrainState
  # Under --lag: those of the updates before, oldest first, that batches to come
  # act on.
  older_params: tuple[Any, ...]
  actors: Actors  # After the rollouts that were learnt from.
  statistics: metrics_lib.State

  @property
  def num_updates(self) -> int:
    """Made so far."""
    return self.statistics.num_updates

  @property
  def num_frames(self) -> int:
    """Environment frames learnt from so far."""
    return self.statistics.num_frames


def initial(
  config: config_lib.Config, train_state: learner.TrainState, key: jax.Array
) -> RunState:
  """Before the first update; `key` is the actors'."""
  actors = tuple(
    actor.ActorState(jax.random.fold_in(key, actor_id), None)
    for actor_id in range(config.num_actors)
  )
  return RunState(train_state, (), actors, metrics_lib.initial())


def after(
  run: RunState,
  progress: learner.Progress,
  older_params: tuple[Any, ...],
  of_rows: metrics_lib.State,
) -> RunState:
  """`run` one update later."""
  states = dict(enumerate(run.actors)) | progress.batch.actors
  return RunState(
    train_state=progress.train_state,
    older_params=older_params,
    actors=tuple(states.values()),
    statistics=of_rows,
  )


def pack(
  run: RunState, replay_buffer: replay.ReplayBuffer | None
) -> dict[str, Any]:
  """Returns what a checkpoint of `run` holds, by name."""
  contents = replay_buffer.state(run.num_updates) if replay_buffer else ()
  # Checkpoints have always called the contents of the replay buffer 'memory'.
  return run._asdict() | {'memory': replay.pack(contents)}


def restore(
  flat: checkpoint.Flat,
  template: RunState,
  carries: list[actor.Carry | None],
  lag: int,
) -> RunState:
  """Returns the run that was saved.

  Args:
    flat: from `checkpoint.read`.
    template: from `initial`, for the structures.
    carries: each actor's, if its environments give their state, likewise.
    lag: how many versions of parameters were kept, at most.

  Raises:
    CheckpointError: if what was saved does not fit.
  """
  num_updates = int(flat['statistics/num_updates'])
  params = template.train_state.params
  actors = tuple(
    state._replace(carry=carry if _has(flat, f'actors/{i}/carry') else None)
    for i, (state, carry) in enumerate(zip(template.actors, carries))
  )
  filled = template._replace(
    older_params=(params,) * min(max(lag, 0), num_updates), actors=actors
  )
  run = checkpoint.unflatten(flat, filled)
  # The names of the metrics are known to the update alone.
  sums = checkpoint.nested(flat, 'statistics/interval/sums')
  interval = run.statistics.interval._replace(sums=sums)
  return run._replace(statistics=run.statistics._replace(interval=interval))


def restore_replayed(
  flat: checkpoint.Flat,
  template: trajectory_lib.Trajectory,
  device: jax.Device,
) -> replay.Contents:
  """Returns the contents of the replay buffer that was saved, on `device`.

  Args:
    flat: from `checkpoint.read`.
    template: a rollout's trajectory.
    device: where the contents are to lie.

  Raises:
    CheckpointError: if what was saved does not fit.
  """
  any_number = jax.tree.map(
    lambda x: np.empty((0, *x.shape), x.dtype), template
  )
  packed = checkpoint.unflatten(flat, any_number, 'memory')
  return replay.unpack(packed, device)


def _has(flat: checkpoint.Flat, prefix: str) -> bool:
  return any(name.startswith(f'{prefix}/') for name in flat)
