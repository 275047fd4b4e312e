"""Any EnvPool task, by EnvPool's id, as a batch with `dm_env.TimeStep`.

EnvPool steps its environments in C++ threads. This module uses its Gymnasium
interface, which distinguishes termination from truncation for every task; the
dm_env interface returns discount 0 for both. With the Gymnasium interface, an
episode that terminates exactly at its time limit counts as truncated.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
from typing import Any
import warnings

import dm_env
import numpy as np

from envs import environment


class EnvPoolMissingError(ImportError):
  """EnvPool is not installed."""


class UnsupportedTaskError(ValueError):
  """EnvPool cannot make the task, or the task has several players."""


class EnvPool:
  """A batch of one EnvPool task; an `environment.Environment`."""

  num_stacked = 1

  def __init__(self, task_id: str, num_envs: int, seed: int, **settings: Any):
    """Initializes the environments.

    Args:
      task_id: EnvPool's id, for instance 'CartPole-v1'.
      num_envs: number of environments, stepped together.
      seed: environment i is seeded with `seed` + i.
      **settings: EnvPool's options of the task; `render` needs
        render_mode='rgb_array'.

    Raises:
      EnvPoolMissingError: if EnvPool is not installed.
      UnsupportedTaskError: if EnvPool cannot make the task, or the task has
        several players.
    """
    self.num_envs = num_envs
    self._task_id = task_id
    self._pool = _make_pool(task_id, num_envs=num_envs, seed=seed, **settings)
    # All tasks with action repeats call the option 'frame_skip'.
    self.frames_per_step = int(self._pool.config.get('frame_skip', 1))
    with _ignoring_precision():
      self._space = self._pool.observation_space
    self._over = np.zeros([num_envs], bool)  # The latest step was LAST.

  def observation_spec(self) -> Any:
    """Returns the specs of one observation; images are `[H, W, C]`."""
    return self._spec(self._space)

  def action_spec(self) -> dm_env.specs.Array:
    """Returns the spec of one action."""
    return self._spec(self._pool.action_space)

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode in every environment."""
    observation, info = self._pool.reset()
    nothing = np.zeros([self.num_envs], bool)
    return self._time_step(
      environment.Outcome(~nothing, nothing, nothing, nothing),
      observation,
      info,
    )

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Steps every environment; resets it instead if its episode is over."""
    observation, reward, terminated, truncated, info = self._pool.step(actions)
    return self._time_step(
      environment.Outcome(self._over, reward, terminated, truncated),
      observation,
      info,
    )

  def get_state(self) -> None:
    """Returns None: EnvPool does not return the state of its environments."""

  def set_state(self, state: Any) -> None:
    """Raises NotImplementedError: there is no state to restore."""
    raise NotImplementedError(
      'The state of an EnvPool environment cannot be restored.'
    )

  def render(self, index: int) -> np.ndarray:
    """Returns the task's image of environment `index`, `[H, W, 3]` bytes.

    Raises:
      UnsupportedTaskError: if the task has no images, or was made without
        render_mode='rgb_array'.
    """
    try:
      return self._pool.render(env_ids=[index])[0]
    except Exception as error:  # Each task's library raises other errors.
      raise UnsupportedTaskError(
        f'EnvPool cannot render {self._task_id}: {error}'
      ) from error

  def close(self) -> None:
    """Releases EnvPool; this ends its threads."""
    self._pool = None

  def _time_step(
    self, outcome: environment.Outcome, observation: Any, info: dict[str, Any]
  ) -> dm_env.TimeStep:
    del info  # Subclasses use it.
    self._over = outcome.terminated | outcome.truncated
    return environment.time_step(
      outcome, self._standard(observation, self._space), self._task_id
    )

  def _standard(self, observation: Any, space: Any) -> Any:
    """Returns images as views `[B, H, W, C]`, discrete values from 0."""
    if isinstance(observation, dict):
      return {
        k: self._standard(v, space.spaces[k]) for k, v in observation.items()
      }
    if self._is_channels_first(observation.shape[1:], observation.dtype):
      return np.moveaxis(observation, 1, -1)
    start = getattr(space, 'start', 0)
    if observation.ndim == 1 and np.ndim(start) == 0 and start != 0:
      return observation - observation.dtype.type(start)
    return observation

  def _is_channels_first(self, shape: tuple[int, ...], dtype: Any) -> bool:
    return is_channels_first(shape, dtype, self._pool.config)

  def _spec(self, space: Any) -> Any:
    """Returns the dm_env spec of a Gymnasium space, or a dict of specs."""
    if hasattr(space, 'spaces'):
      return {name: self._spec(part) for name, part in space.spaces.items()}
    if hasattr(space, 'n'):
      return _discrete_spec(space)
    shape = space.shape
    if self._is_channels_first(shape, space.dtype):
      shape = (*shape[1:], shape[0])
    return dm_env.specs.Array(shape, space.dtype)


@contextlib.contextmanager
def _ignoring_precision() -> Iterator[None]:
  """Runs the body without Gymnasium's warnings of bounds cast to float32."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', UserWarning)
    yield


def _make_pool(task_id: str, **settings: Any) -> Any:
  envpool = import_envpool()
  try:
    pool = envpool.make(task_id, env_type='gymnasium', **settings)
  except Exception as error:  # Each task's library raises other errors.
    raise UnsupportedTaskError(
      f'EnvPool cannot make {task_id}: {error}'
    ) from error
  if pool.config.get('max_num_players', 1) > 1:
    raise UnsupportedTaskError(
      f'{task_id} has several players; only single-agent tasks are supported.'
    )
  return pool


def import_envpool() -> Any:
  """Imports and returns the EnvPool package.

  Raises:
    EnvPoolMissingError: if EnvPool is not installed.
  """
  try:
    import envpool  # pylint: disable=g-import-not-at-top
  except ImportError as error:
    raise EnvPoolMissingError(
      'EnvPool is not installed; all environments except Catch, DelayedCatch '
      f'and custom ones need it: pip install envpool ({error}).'
    ) from error
  return envpool


def is_channels_first(
  shape: tuple[int, ...], dtype: Any, config: Mapping[str, Any]
) -> bool:
  """Returns whether an array of EnvPool is an image `[C, H, W]`.

  It is one if its last two axes are the height and width that the task's
  options state, however many channels it has. If they state none, it is one if
  it holds bytes and its last two axes alone are equal (Procgen). Other arrays
  are left as they are.
  """
  if len(shape) != 3:
    return False
  for kind in ('img', 'render'):
    stated = config.get(f'{kind}_height'), config.get(f'{kind}_width')
    if shape[1:] == stated:
      return True
  return dtype == np.uint8 and shape[0] != shape[1] == shape[2]


def _discrete_spec(space: Any) -> dm_env.specs.Array:
  """Returns the spec of a discrete space with the dtype that EnvPool uses.

  Gymnasium's spaces report EnvPool's bool as int8 and its int32 as int64.
  """
  if space.shape:  # MultiBinary.
    return dm_env.specs.Array(space.shape, bool)
  return dm_env.specs.DiscreteArray(int(space.n))
