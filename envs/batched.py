"""Batches of custom environments, which use the dm_env or the Gymnasium API.

The id of a custom environment is 'module:factory'. The factory is a function or
a class that makes one environment:

    def make_maze(seed): ...  # in my_envs.py: --env=my_envs:make_maze

Each environment gets a different `seed` if the factory has that argument, and
`render_mode='rgb_array'` if the factory has that argument and images are
needed. Gymnasium environments are also seeded at their first reset. The
environments step one after the other, in Python; EnvPool's step in threads.
"""

from collections.abc import Callable
import importlib
import inspect
from typing import Any
from typing import NamedTuple

import dm_env
import numpy as np

FIRST, MID, LAST = dm_env.StepType


class FactoryError(ValueError):
  """The factory does not exist, or its environments are not supported."""


class Single(NamedTuple):
  """One environment with dm_env's interface, whichever API it uses itself."""

  observation_spec: Any
  action_spec: dm_env.specs.Array
  reset: Callable[[], dm_env.TimeStep]
  step: Callable[[int], dm_env.TimeStep]
  render: Callable[[], np.ndarray]
  close: Callable[[], None]


class Batched:
  """A batch of a custom environment; an `environment.Environment`."""

  frames_per_step = 1
  num_stacked = 1

  def __init__(
    self, name: str, num_envs: int, seed: int, renders: bool = False
  ):
    """Makes `num_envs` environments; environment i gets seed `seed` + i.

    Args:
      name: 'module:factory'.
      num_envs: number of environments.
      seed: seed of all randomness, if the environments use it.
      renders: whether `render` will be called.

    Raises:
      FactoryError: if the factory does not exist, cannot be called, or does not
        make a supported environment.
    """
    self.num_envs = num_envs
    self._name = name
    factory = find(name)
    mode = {'render_mode': 'rgb_array'} if renders else {}
    self._envs = [
      _adapt(_make(name, factory, seed=seed + i, **mode), seed + i, name)
      for i in range(num_envs)
    ]
    self._over = np.zeros([num_envs], bool)

  def observation_spec(self) -> Any:
    """Returns the spec of one observation, or a dict of specs."""
    return self._envs[0].observation_spec

  def action_spec(self) -> dm_env.specs.Array:
    """Returns the spec of one action; discrete actions start at 0."""
    return self._envs[0].action_spec

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode in every environment."""
    return self._join([env.reset() for env in self._envs])

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Steps every environment; resets it instead if its episode is over."""
    return self._join(
      [
        env.reset() if over else env.step(action)
        for env, over, action in zip(self._envs, self._over, actions)
      ]
    )

  def get_state(self) -> None:
    """Returns None: few custom environments can return their state."""

  def set_state(self, state: Any) -> None:
    """Raises NotImplementedError: there is no state to restore."""
    raise NotImplementedError(
      f'{self._name}: the state of a custom environment cannot be restored.'
    )

  def render(self, index: int) -> np.ndarray:
    """Returns the image `[H, W, 3]` that environment `index` renders.

    Raises:
      FactoryError: if the environment renders no image.
    """
    image = self._envs[index].render()
    if image is None or np.ndim(image) != 3:
      raise FactoryError(
        f'{self._name} renders no image: its render() must return an array '
        '[H, W, 3], and its factory should take render_mode.'
      )
    return np.asarray(image)

  def close(self) -> None:
    """Closes every environment."""
    for env in self._envs:
      env.close()

  def _join(self, timesteps: list[dm_env.TimeStep]) -> dm_env.TimeStep:
    """Stacks the timesteps of the environments to `[B, ...]`, in new arrays."""
    step_type, reward, discount, observation = zip(*timesteps)
    step_type = np.array(step_type, np.int32)
    self._over = step_type == LAST
    first = step_type == FIRST
    return dm_env.TimeStep(
      step_type,
      _numbers(reward),
      np.where(first, 1, _numbers(discount)).astype(np.float32),
      _stack(observation),
    )


def is_named(env_id: str) -> bool:
  """Returns whether `env_id` names a factory, 'module:factory'."""
  return ':' in env_id


def find(name: str) -> Callable[..., Any]:
  """Returns the factory that `name`, 'module:factory', refers to.

  Raises:
    FactoryError: if the module or the factory does not exist.
  """
  module_name, _, attribute = name.partition(':')
  try:
    module = importlib.import_module(module_name)
  except ModuleNotFoundError as error:
    raise FactoryError(
      f'Cannot make {name}: {error}. Python searches the current directory and '
      'the installed packages.'
    ) from error
  except (ValueError, TypeError) as error:  # An empty or a relative name.
    raise FactoryError(
      f'{name!r} is not of the form module:factory.'
    ) from error
  factory = getattr(module, attribute, None)
  if not callable(factory):
    raise FactoryError(
      f'Cannot make {name}: module {module_name} has no function or class '
      f'{attribute!r}.'
    )
  return factory


def _make(name: str, factory: Callable[..., Any], **settings: Any) -> Any:
  """Calls the factory with those settings that are among its arguments."""
  signature = inspect.signature(factory)
  known = {k: v for k, v in settings.items() if k in signature.parameters}
  try:
    signature.bind(**known)
  except TypeError as error:
    raise FactoryError(
      f'Cannot call {name} with {", ".join(known) or "no arguments"}: {error}.'
    ) from error
  return factory(**known)


def _adapt(env: Any, seed: int, name: str) -> Single:
  if hasattr(env, 'observation_space') and hasattr(env, 'action_space'):
    return _adapt_gymnasium(env, seed, name)
  if hasattr(env, 'observation_spec') and hasattr(env, 'action_spec'):
    _check_spec(env.observation_spec(), name)
    return _adapt_dm_env(env)
  raise FactoryError(
    f'{name} makes a {type(env).__name__}, which is neither a dm_env nor a '
    'Gymnasium environment.'
  )


def _adapt_dm_env(env: Any) -> Single:
  action_spec, minimum = _from_zero(env.action_spec())

  def standard(timestep):
    """Replaces the None reward and discount of a first timestep by 0 and 1.

    A later reward of None is an error and becomes NaN.
    """
    reward = timestep.reward
    if reward is None:
      reward = 0.0 if timestep.first() else np.nan
    discount = 1.0 if timestep.discount is None else timestep.discount
    return timestep._replace(reward=reward, discount=discount)

  return Single(
    observation_spec=env.observation_spec(),
    action_spec=action_spec,
    reset=lambda: standard(env.reset()),
    step=lambda action: standard(env.step(action + minimum)),
    render=getattr(env, 'render', lambda: None),
    close=getattr(env, 'close', lambda: None),
  )


def _adapt_gymnasium(env: Any, seed: int, name: str) -> Single:
  action_spec, minimum = _from_zero(_spec(env.action_space, name))
  seeds = [seed]  # First reset only; a new seed would restart the generator.

  def reset():
    observation, _ = env.reset(seed=seeds.pop() if seeds else None)
    return dm_env.TimeStep(FIRST, 0.0, 1.0, observation)

  def step(action):
    outcome = env.step(action + minimum)
    if len(outcome) != 5:
      raise FactoryError(
        f'{name}: step() returned {len(outcome)} values, not the five of '
        'Gymnasium: observation, reward, terminated, truncated, info.'
      )
    observation, reward, terminated, truncated, _ = outcome
    step_type = LAST if terminated or truncated else MID
    discount = 0.0 if terminated else 1.0
    return dm_env.TimeStep(step_type, reward, discount, observation)

  return Single(
    observation_spec=_spec(env.observation_space, name),
    action_spec=action_spec,
    reset=reset,
    step=step,
    render=env.render,
    close=env.close,
  )


def _spec(space: Any, name: str) -> Any:
  """Returns the dm_env spec of a Gymnasium space, or a dict of specs."""
  if isinstance(getattr(space, 'spaces', None), dict):
    return {key: _spec(part, name) for key, part in space.spaces.items()}
  if np.ndim(getattr(space, 'n', ())) == 0 and space.shape == ():
    minimum, num_values = int(space.start), int(space.n)
    if minimum == 0:
      return dm_env.specs.DiscreteArray(num_values, space.dtype)
    maximum = minimum + num_values - 1
    return dm_env.specs.BoundedArray((), space.dtype, minimum, maximum)
  if hasattr(space, 'low'):
    return dm_env.specs.BoundedArray(
      space.shape, space.dtype, space.low, space.high
    )
  if space.shape is None:
    raise FactoryError(
      f'{name} has a space that is not an array of numbers: {space}.'
    )
  return dm_env.specs.Array(space.shape, space.dtype)


def _from_zero(
  spec: dm_env.specs.Array,
) -> tuple[dm_env.specs.Array, Any]:
  """Shifts a scalar integer spec to start at 0.

  Returns:
    The new spec, and the minimum, which must be added to actions. Other specs
    are returned as they are, with 0.
  """
  bounded = isinstance(spec, dm_env.specs.BoundedArray)
  if not (bounded and spec.shape == () and spec.dtype.kind in 'iu'):
    return spec, 0
  minimum = spec.minimum
  return dm_env.specs.DiscreteArray(int(spec.maximum - minimum) + 1), minimum


def _check_spec(spec: Any, name: str) -> None:
  parts = spec.values() if isinstance(spec, dict) else [spec]
  for part in parts:
    if isinstance(part, dict):
      _check_spec(part, name)
    elif not isinstance(part, dm_env.specs.Array):
      raise FactoryError(
        f'{name}: an observation must be an array or a dict, not {part}.'
      )


def _numbers(values: Any) -> np.ndarray:
  """Converts B numbers, or arrays with one element, to float32 `[B]`."""
  return np.array([np.asarray(value).item() for value in values], np.float32)


def _stack(observations: Any) -> Any:
  if isinstance(observations[0], dict):
    return {
      key: _stack([each[key] for each in observations])
      for key in observations[0]
    }
  return np.stack(observations)
