"""One environment of a user, checked and ready for Gymnasium's vector classes.

The vector classes cast silently and pair entries by name only, so everything is
checked and converted before: see `leaves`. Every error is a `FactoryError` that
names the environment and its index.
"""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from absl import logging
import gymnasium
import numpy as np

from envs import factories
from envs.custom import apis
from envs.custom import copies
from envs.custom import leaves
from envs.custom import spaces


class Declared(NamedTuple):
  """What an environment declares; the same for all copies."""

  observation: leaves.Tree
  action: leaves.Leaf
  frames_per_step: int  # Its attribute `frames_per_step`, or 1.
  num_stacked: int  # Its attribute `num_stacked`, or 1.
  takes_seed: bool  # Its `reset` does.


class Recipe(NamedTuple):
  """How to make a copy of an environment, in this or another process."""

  name: str  # 'module:factory', or a name for messages.
  factory: Callable[..., Any] | None  # None: found by its name.
  kwargs: dict[str, Any]  # The user's arguments of the factory.
  settings: dict[str, Any]  # Ours, such as render_mode.
  records: bool = False  # Whether checksums of raw observations are in `info`.


class Adapter(gymnasium.Env):
  """A checked environment whose actions, if discrete, are counted from 0."""

  def __init__(
    self, env: Any, recipe: Recipe, index: int, seed: int | None = None
  ):
    """Wraps `env`, the copy with this index.

    Raises:
      FactoryError: if the environment is not supported, or is a copy that was
        handed out before.
    """
    self._env, self._name, self.index = env, recipe.name, index
    self._seed = seed  # First reset only; a new seed would repeat episodes.
    self._records = recipe.records
    self.busy = False  # Within reset() or step().
    try:
      self._api = apis.make(env)
      self.declared = Declared(
        self._api.observation,
        self._api.action,
        stated(env, 'frames_per_step'),
        stated(env, 'num_stacked'),
        self._api.takes_seed,
      )
    except factories.FactoryError as error:
      raise factories.FactoryError(
        f'{self._name} is not supported: {error}.'
      ) from error
    except Exception as error:
      raise factories.FactoryError(
        f'Cannot make {self._name}: {type(error).__name__}: {error}.'
      ) from error
    self._tree = self.declared.observation
    self._to_declared = leaves.converter(self._tree)
    self.observation_space = spaces.batchable(self._tree)
    self.action_space = spaces.action_space(self.declared.action)
    self.render_mode = getattr(env, 'render_mode', None)
    copies.claim(env, self._name)

  def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict]:
    """Starts an episode; the first one with the seed of this copy."""
    del seed, options
    self.busy = True
    try:
      raw = self._api.reset(self._seed)
      observation = self._to_declared(raw)
    except factories.RAISED as error:
      raise self._failure('reset', error) from error
    self._seed = None
    self.busy = False
    return observation, self._info(raw) if self._records else {}

  def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
    """Steps once; `info` holds a discount that is not the usual one."""
    self.busy = True
    try:
      raw, reward, terminated, truncated, discount = self._api.step(action)
      observation = self._to_declared(raw)
    except factories.RAISED as error:
      raise self._failure('step', error) from error
    self.busy = False
    info = self._info(raw) if self._records else {}
    if discount is not None:
      info['discount'] = discount
    return observation, reward, terminated, truncated, info

  def render(self) -> np.ndarray:
    """Returns an image, `[H, W, 3]` in most environments.

    Raises:
      FactoryError: if the environment renders no image.
    """
    render = getattr(self._env, 'render', None)
    if render is None:
      raise factories.FactoryError(f'{self._name} has no method render().')
    try:
      return checked_image(render())
    except factories.RAISED as error:
      raise self._failure('render', error) from error

  def close(self) -> None:
    """Closes the environment; logs what it raises."""
    copies.release(self._env)
    try:
      getattr(self._env, 'close', lambda: None)()
    except factories.RAISED as error:  # Results must not be lost.
      logging.error(
        'Closing %s, environment %d, failed: %r', self._name, self.index, error
      )

  def _info(self, raw: Any) -> dict[str, Any]:
    return {'checksum': leaves.values_checksum(raw, self._tree)}

  def _failure(
    self, method: str, error: BaseException
  ) -> factories.FactoryError:
    return failure(f'{self._name}, environment {self.index}', method, error)


def failure(
  where: str, method: str, error: BaseException
) -> factories.FactoryError:
  """Returns the error of a method as a sentence that names the environment."""
  if isinstance(error, factories.FactoryError):
    return factories.FactoryError(f'{where}: {error}.')
  return factories.FactoryError(
    f'{where}, failed in {method}(): {type(error).__name__}: {error}.'
  )


def checked_image(image: Any) -> np.ndarray:
  """Returns what `render` returned.

  Raises:
    FactoryError: if it is no image.
  """
  if image is None or np.ndim(image) not in (2, 3):
    raise factories.FactoryError(
      'render() returned no image: it must return an array [H, W, 3], and its '
      'factory should take render_mode'
    )
  return np.asarray(image)


def make_env(recipe: Recipe, seed: int | None, **settings: Any) -> Any:
  """Calls the factory of a recipe; `seed` None: without one if it can be.

  Raises:
    FactoryError: if the factory cannot be called or raises.
  """
  factory = recipe.factory or factories.find(recipe.name)
  if seed is not None:
    settings['seed'] = seed
  return factories.call(
    recipe.name, factory, recipe.kwargs, **recipe.settings, **settings
  )


def make(recipe: Recipe, index: int, seed: int | None) -> Adapter:
  """Makes copy `index` of an environment.

  Raises:
    FactoryError: if it cannot be made, is not supported, or is many
      environments.
  """
  env = make_env(recipe, seed)
  if isinstance(env, gymnasium.vector.VectorEnv):
    raise factories.FactoryError(
      f'{recipe.name} makes a VectorEnv, which divides its work itself: omit '
      '--env_processes.'
    )
  return Adapter(env, recipe, index, seed)


def check_agree(name: str, declared: Any, first: Declared, index: int) -> None:
  """Raises a FactoryError if copy `index` declares something else."""
  for field, one, other in zip(Declared._fields, first, declared, strict=True):
    if one != other:
      raise factories.FactoryError(
        f'{name}: environments 0 and {index} differ in their {field}: {one} '
        f'and {other}.'
      )


def stated(env: Any, name: str) -> int:
  """Returns a positive integer attribute of the environment, by default 1."""
  value = 1
  for each in (env, getattr(env, 'unwrapped', env)):
    if hasattr(each, name):
      value = getattr(each, name)
      break
  if not isinstance(value, (int, np.integer)) or value < 1:
    raise factories.FactoryError(
      f'its {name} must be a positive integer, not {value!r}'
    )
  return int(value)
