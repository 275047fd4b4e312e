"""Any EnvPool task, by its own id, as a batch that speaks `dm_env.TimeStep`.

EnvPool steps its environments in C++ threads. Its Gymnasium face is the one
that tells a termination from a truncation for every task (its dm_env face gives
a discount of 0 for both), so that is the one used here. What terminates on the
very last step that the time limit permits counts as truncated there.
"""

from typing import Any
import warnings

import dm_env
import numpy as np

from envs import environment


class EnvPoolMissingError(ImportError):
  """EnvPool is not installed."""


class UnsupportedTaskError(ValueError):
  """EnvPool cannot make the task here, or it is not one for a single agent."""


class EnvPool:
  """A batch of one EnvPool task; an `environment.Environment`."""

  num_stacked = 1

  def __init__(self, task_id: str, num_envs: int, seed: int, **settings: Any):
    """Makes the environments.

    Args:
      task_id: EnvPool's id, for instance 'CartPole-v1'.
      num_envs: how many, stepped together.
      seed: environment i is seeded with `seed` + i.
      **settings: EnvPool's own options of the task; `render` needs
        render_mode='rgb_array'.

    Raises:
      EnvPoolMissingError: if EnvPool is not installed.
      UnsupportedTaskError: if the task cannot be made, or has several players.
    """
    self.num_envs = num_envs
    self._task_id = task_id
    self._pool = _make_pool(task_id, num_envs=num_envs, seed=seed, **settings)
    # An action repeat, where the task has one, is called the same everywhere.
    self.frames_per_step = int(self._pool.config.get('frame_skip', 1))
    self._over = np.zeros([num_envs], bool)  # Whose last step was its last.

  def observation_spec(self) -> Any:
    """Specs of one observation; images are `[H, W, C]`."""
    with warnings.catch_warnings():
      # Gymnasium warns that infinite bounds lose precision as float32.
      warnings.simplefilter('ignore', UserWarning)
      return _spec(self._pool.observation_space)

  def action_spec(self) -> dm_env.specs.Array:
    """Spec of one action."""
    return _spec(self._pool.action_space)

  def reset(self) -> dm_env.TimeStep:
    """Begins an episode in every environment."""
    observation, info = self._pool.reset()
    nothing = np.zeros([self.num_envs], bool)
    return self._time_step(
      environment.Outcome(~nothing, nothing, nothing, nothing),
      observation,
      info,
    )

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Steps every environment; one whose episode was over begins anew."""
    observation, reward, terminated, truncated, info = self._pool.step(actions)
    return self._time_step(
      environment.Outcome(self._over, reward, terminated, truncated),
      observation,
      info,
    )

  def get_state(self) -> None:
    """EnvPool gives none."""

  def set_state(self, state: Any) -> None:
    """There is none to be set."""
    raise NotImplementedError('EnvPool gives no state of its environments.')

  def render(self, index: int) -> np.ndarray:
    """The task's own picture of environment `index`, `[H, W, 3]` bytes.

    Raises:
      UnsupportedTaskError: if the task has none, or was made without
        render_mode='rgb_array'.
    """
    try:
      return self._pool.render(env_ids=[index])[0]
    except Exception as error:  # Whatever a task's own library may raise.
      raise UnsupportedTaskError(
        f'EnvPool cannot render {self._task_id}: {error}'
      ) from error

  def close(self) -> None:
    """Lets go of EnvPool, whose threads end with it."""
    self._pool = None

  def _time_step(
    self, outcome: environment.Outcome, observation: Any, info: dict[str, Any]
  ) -> dm_env.TimeStep:
    del info  # Of use to subclasses.
    self._over = outcome.terminated | outcome.truncated
    return environment.time_step(outcome, _channels_last(observation))


def _make_pool(task_id: str, **settings: Any) -> Any:
  envpool = import_envpool()
  try:
    pool = envpool.make(task_id, env_type='gymnasium', **settings)
  except Exception as error:  # Whatever a task's own library may raise.
    raise UnsupportedTaskError(
      f'EnvPool cannot make {task_id}: {error}'
    ) from error
  if pool.config.get('max_num_players', 1) > 1:
    raise UnsupportedTaskError(
      f'{task_id} has several players; only single-agent tasks are supported.'
    )
  return pool


def import_envpool() -> Any:
  """The EnvPool package, or a sentence about its absence."""
  try:
    import envpool  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise EnvPoolMissingError(
      'EnvPool is not installed, and all but our own and yours need it: '
      f'pip install envpool ({error}).'
    ) from error
  return envpool


def _channels_last(observation: Any) -> Any:
  """EnvPool's images are `[B, C, H, W]`; a view of them as `[B, H, W, C]`."""
  if isinstance(observation, dict):
    return {k: _channels_last(v) for k, v in observation.items()}
  if _is_channels_first(observation.shape[1:]):
    return np.moveaxis(observation, 1, -1)
  return observation


def _is_channels_first(shape: tuple[int, ...]) -> bool:
  return len(shape) == 3 and shape[0] < min(shape[1:])


def _spec(space: Any) -> Any:
  """The dm_env spec of a Gymnasium space, or a dict of specs."""
  if hasattr(space, 'spaces'):
    return {name: _spec(part) for name, part in space.spaces.items()}
  if hasattr(space, 'n'):
    return _discrete_spec(space)
  shape = space.shape
  if _is_channels_first(shape):
    shape = (*shape[1:], shape[0])
  return dm_env.specs.Array(shape, space.dtype)


def _discrete_spec(space: Any) -> dm_env.specs.Array:
  """Gymnasium calls EnvPool's bools int8, and its int32 int64."""
  if space.shape:  # MultiBinary.
    return dm_env.specs.Array(space.shape, bool)
  if space.start != 0:
    return dm_env.specs.Array((), np.int32)
  return dm_env.specs.DiscreteArray(int(space.n))
