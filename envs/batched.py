"""A user's own environment, dm_env's or Gymnasium's, as a batch.

It is named by what makes it, 'module:factory', a function or a class:

    def make_maze(seed): ...  # in my_envs.py: --env=my_envs:make_maze

Each copy is made with a `seed` of its own if the factory takes one, and with
`render_mode='rgb_array'` if it takes that and pictures are wanted; Gymnasium's
are seeded at their first reset besides. They are stepped one after the other:
what is slow in Python is slow here, while EnvPool's tasks step in threads.
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
  """There is no such factory, or what it makes cannot be used."""


class Single(NamedTuple):
  """One environment, whichever kind it is, in dm_env's words."""

  observation_spec: Any
  action_spec: dm_env.specs.Array
  reset: Callable[[], dm_env.TimeStep]
  step: Callable[[int], dm_env.TimeStep]
  render: Callable[[], np.ndarray]
  close: Callable[[], None]


class Batched:
  """A batch of a user's environment; an `environment.Environment`."""

  frames_per_step = 1
  num_stacked = 1

  def __init__(
    self, name: str, num_envs: int, seed: int, renders: bool = False
  ):
    """Makes `num_envs` of them, environment i with seed `seed` + i.

    Args:
      name: 'module:factory'.
      num_envs: how many.
      seed: decides everything random in them, if they heed it.
      renders: whether `render` will be called.

    Raises:
      FactoryError: if there is none, or it makes no environment of one agent.
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
    """Spec of one observation, or a dict of specs."""
    return self._envs[0].observation_spec

  def action_spec(self) -> dm_env.specs.Array:
    """Spec of one action; discrete ones begin at 0."""
    return self._envs[0].action_spec

  def reset(self) -> dm_env.TimeStep:
    """Begins an episode in every environment."""
    return self._join([env.reset() for env in self._envs])

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Steps every environment; one whose episode was over begins anew."""
    return self._join(
      [
        env.reset() if over else env.step(action)
        for env, over, action in zip(self._envs, self._over, actions)
      ]
    )

  def get_state(self) -> None:
    """None: whoever wrote them, few can give it."""

  def set_state(self, state: Any) -> None:
    """There is none to be set."""
    raise NotImplementedError(f'{self._name} gives no state.')

  def render(self, index: int) -> np.ndarray:
    """The picture that environment `index` draws of itself.

    Raises:
      FactoryError: if it draws none.
    """
    image = self._envs[index].render()
    if image is None or np.ndim(image) != 3:
      raise FactoryError(
        f'{self._name} draws no picture: its render() should give an array '
        '[H, W, 3], and its factory take render_mode.'
      )
    return np.asarray(image)

  def close(self) -> None:
    """Closes each of them."""
    for env in self._envs:
      env.close()

  def _join(self, timesteps: list[dm_env.TimeStep]) -> dm_env.TimeStep:
    """Their timesteps `[B, ...]`, in new arrays."""
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
  """Whether `env_id` names a factory."""
  return ':' in env_id


def find(name: str) -> Callable[..., Any]:
  """The factory called 'module:factory'.

  Raises:
    FactoryError: if there is none.
  """
  module_name, _, attribute = name.partition(':')
  try:
    module = importlib.import_module(module_name)
  except ModuleNotFoundError as error:
    raise FactoryError(
      f'{name} cannot be made: {error}. Modules are looked for here and where '
      'packages are installed.'
    ) from error
  except (ValueError, TypeError) as error:  # No name, or one with a path.
    raise FactoryError(f'{name!r} is no module:factory.') from error
  factory = getattr(module, attribute, None)
  if not callable(factory):
    raise FactoryError(
      f'{name} cannot be made: module {module_name} has no function or class '
      f'{attribute!r}.'
    )
  return factory


def _make(name: str, factory: Callable[..., Any], **settings: Any) -> Any:
  """Calls it with those of the settings that it names."""
  signature = inspect.signature(factory)
  known = {k: v for k, v in settings.items() if k in signature.parameters}
  try:
    signature.bind(**known)
  except TypeError as error:
    raise FactoryError(
      f'{name} cannot be called with {", ".join(known) or "nothing"}: {error}.'
    ) from error
  return factory(**known)


def _adapt(env: Any, seed: int, name: str) -> Single:
  if hasattr(env, 'observation_space') and hasattr(env, 'action_space'):
    return _adapt_gymnasium(env, seed, name)
  if hasattr(env, 'observation_spec') and hasattr(env, 'action_spec'):
    _check_spec(env.observation_spec(), name)
    return _adapt_dm_env(env)
  raise FactoryError(
    f'{name} makes a {type(env).__name__}, which is neither an environment of '
    'dm_env nor of Gymnasium.'
  )


def _adapt_dm_env(env: Any) -> Single:
  action_spec, least = _from_zero(env.action_spec())

  def standard(timestep):
    """None for what a first step lacks is a number; elsewhere it is wrong."""
    reward = timestep.reward
    if reward is None:
      reward = 0.0 if timestep.first() else np.nan
    discount = 1.0 if timestep.discount is None else timestep.discount
    return timestep._replace(reward=reward, discount=discount)

  return Single(
    observation_spec=env.observation_spec(),
    action_spec=action_spec,
    reset=lambda: standard(env.reset()),
    step=lambda action: standard(env.step(action + least)),
    render=getattr(env, 'render', lambda: None),
    close=getattr(env, 'close', lambda: None),
  )


def _adapt_gymnasium(env: Any, seed: int, name: str) -> Single:
  action_spec, least = _from_zero(_spec(env.action_space, name))
  seeds = [seed]  # Of the first reset; the generator goes on from there.

  def reset():
    observation, _ = env.reset(seed=seeds.pop() if seeds else None)
    return dm_env.TimeStep(FIRST, 0.0, 1.0, observation)

  def step(action):
    outcome = env.step(action + least)
    if len(outcome) != 5:
      raise FactoryError(
        f"{name}'s step gives {len(outcome)} values; Gymnasium's gives five: "
        'observation, reward, terminated, truncated, info.'
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
  """The dm_env spec of a Gymnasium space, or a dict of specs."""
  if isinstance(getattr(space, 'spaces', None), dict):
    return {key: _spec(part, name) for key, part in space.spaces.items()}
  if np.ndim(getattr(space, 'n', ())) == 0 and space.shape == ():
    least, number = int(space.start), int(space.n)
    if least == 0:
      return dm_env.specs.DiscreteArray(number, space.dtype)
    most = least + number - 1
    return dm_env.specs.BoundedArray((), space.dtype, least, most)
  if hasattr(space, 'low'):
    return dm_env.specs.BoundedArray(
      space.shape, space.dtype, space.low, space.high
    )
  if space.shape is None:
    raise FactoryError(f'{name} has a {space}, which is no array of numbers.')
  return dm_env.specs.Array(space.shape, space.dtype)


def _from_zero(
  spec: dm_env.specs.Array,
) -> tuple[dm_env.specs.Array, Any]:
  """One of so many actions as a number from 0, and the least of them."""
  bounded = isinstance(spec, dm_env.specs.BoundedArray)
  if not (bounded and spec.shape == () and spec.dtype.kind in 'iu'):
    return spec, 0
  least = spec.minimum
  return dm_env.specs.DiscreteArray(int(spec.maximum - least) + 1), least


def _check_spec(spec: Any, name: str) -> None:
  parts = spec.values() if isinstance(spec, dict) else [spec]
  for part in parts:
    if isinstance(part, dict):
      _check_spec(part, name)
    elif not isinstance(part, dm_env.specs.Array):
      raise FactoryError(
        f'{name} observes {part}; an array or a dict is known.'
      )


def _numbers(values: Any) -> np.ndarray:
  """`[B]`, of numbers or arrays of one."""
  return np.array([np.asarray(value).item() for value in values], np.float32)


def _stack(observations: Any) -> Any:
  if isinstance(observations[0], dict):
    return {
      key: _stack([each[key] for each in observations])
      for key in observations[0]
    }
  return np.stack(observations)
