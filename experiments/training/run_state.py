"""The state of a run, which a checkpoint stores with the replay buffer."""

from collections.abc import Callable
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
from experiments.training.checkpoints import checkpoint

Actors = tuple[actor.ActorState, ...]  # In the order of actor_id.


class RunState(NamedTuple):
  """A run between two updates."""

  train_state: learner.TrainState
  # With --lag: parameters of earlier updates, oldest first, that act for the
  # next batches.
  older_params: tuple[Any, ...]
  actors: Actors  # After the rollouts of the last update.
  statistics: metrics_lib.State

  @property
  def num_updates(self) -> int:
    """Learner updates so far."""
    return self.statistics.num_updates

  @property
  def num_frames(self) -> int:
    """Environment frames trained on so far."""
    return self.statistics.num_frames


def initial(
  config: config_lib.Config, train_state: learner.TrainState, key: jax.Array
) -> RunState:
  """Returns the state before the first update.

  Each actor gets its own key, derived from `key`.
  """
  actors = tuple(
    actor.ActorState(jax.random.fold_in(key, actor_id), None)
    for actor_id in range(config.num_actors)
  )
  return RunState(train_state, (), actors, metrics_lib.initial())


def after(
  run: RunState,
  progress: learner.Progress,
  older_params: tuple[Any, ...],
  statistics: metrics_lib.State,
) -> RunState:
  """Returns the state after one more update, which `progress` describes."""
  states = dict(enumerate(run.actors)) | progress.batch.actors
  return RunState(
    train_state=progress.train_state,
    older_params=older_params,
    actors=tuple(states.values()),
    statistics=statistics,
  )


def pack(
  run: RunState, replay_buffer: replay.ReplayBuffer | None
) -> Callable[[], dict[str, Any]]:
  """Returns a function that makes the contents of a checkpoint, by name.

  The function may be called later and in another thread. It holds references to
  the run and to the contents of the replay buffer, which nobody changes.
  """
  contents = replay_buffer.state(run.num_updates) if replay_buffer else ()
  # 'memory' is the name of the replay buffer in existing checkpoints.
  return lambda: run._asdict() | {'memory': replay.pack(contents)}


def saved_updates(flat: checkpoint.Flat) -> int:
  """Returns the number of updates of a saved run.

  Raises:
    CheckpointError: if the arrays are not those of a run.
  """
  return checkpoint.unflatten(flat, 0, 'statistics/num_updates')


def restore(
  flat: checkpoint.Flat,
  template: RunState,
  carries: list[actor.Carry | None],
  lag: int,
) -> RunState:
  """Returns the run state that was saved.

  Args:
    flat: the arrays from `checkpoint.read`.
    template: a state from `initial`, which gives the structure.
    carries: a template of each actor's carry; None if its environments cannot
      save their state.
    lag: the largest number of older parameters that were saved.

  Raises:
    CheckpointError: if the arrays do not fit the templates.
  """
  num_updates = saved_updates(flat)
  params = template.train_state.params
  actors = tuple(
    state._replace(carry=carry if _has(flat, f'actors/{i}/carry') else None)
    for i, (state, carry) in enumerate(zip(template.actors, carries))
  )
  filled = template._replace(
    older_params=(params,) * min(max(lag, 0), num_updates), actors=actors
  )
  _check_same_keys(flat, template)
  run = checkpoint.unflatten(flat, filled)
  # The template lacks the names of the metrics, which only an update knows.
  sums = checkpoint.nested(flat, 'statistics/interval/sums')
  interval = run.statistics.interval._replace(sums=sums)
  return run._replace(statistics=run.statistics._replace(interval=interval))


def restore_replayed(
  flat: checkpoint.Flat,
  template: trajectory_lib.Trajectory,
  device: jax.Device,
) -> replay.Contents:
  """Returns the saved contents of the replay buffer, on `device`; () if none.

  Args:
    flat: the arrays from `checkpoint.read`.
    template: the trajectory of one rollout.
    device: the device to put the contents on.

  Raises:
    CheckpointError: if the arrays do not fit the template.
  """
  if not _has(flat, 'memory'):
    return ()
  any_length = jax.tree.map(
    lambda x: np.empty((0, *x.shape), x.dtype), template
  )
  packed = checkpoint.unflatten(flat, any_length, 'memory')
  return replay.unpack(packed, device)


def _check_same_keys(flat: checkpoint.Flat, template: RunState) -> None:
  """Raises a CheckpointError if keys of another kind were saved."""
  saved = flat.get('actors/0/key')
  key = template.actors[0].key
  size = jax.random.key_data(key).size
  if saved is not None and saved.size != size:
    raise checkpoint.CheckpointError(
      'The run was trained with another random number generator: its keys have '
      f'{saved.size} integers, those of {jax.random.key_impl(key)} {size}. Set '
      'JAX_DEFAULT_PRNG_IMPL as it was then.'
    )


def _has(flat: checkpoint.Flat, prefix: str) -> bool:
  return any(name.startswith(f'{prefix}/') for name in flat)
