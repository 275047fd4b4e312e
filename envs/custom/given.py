"""A `gymnasium.vector.VectorEnv` that a user's factory returns."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from envs import factories
from envs.custom import adapter
from envs.custom import apis
from envs.custom import copies
from envs.custom import leaves
from envs.custom import spaces

_NEXT_STEP = gymnasium.vector.AutoresetMode.NEXT_STEP


class Given:
  """A vector environment of the user, whose batches are checked as a whole."""

  def __init__(
    self, recipe: adapter.Recipe, vector: Any, num_envs: int, seed: int
  ):
    """Wraps `vector`.

    Raises:
      FactoryError: if it resets in another way than on the step after the last,
        has another number of environments, or is not supported.
    """
    _check(recipe.name, vector, num_envs)
    copies.claim(vector, recipe.name)
    self._name, self._vector, self._seed = recipe.name, vector, seed
    self._records, self._batch = recipe.records, (num_envs,)
    try:
      self.declared = adapter.Declared(
        spaces.observation_tree(vector.single_observation_space),
        spaces.action_leaf(vector.single_action_space),
        adapter.stated(vector, 'frames_per_step'),
        adapter.stated(vector, 'num_stacked'),
        takes_seed=True,
      )
    except factories.FactoryError as error:
      raise factories.FactoryError(
        f'{self._name} is not supported: {error}.'
      ) from error
    self._to_declared = leaves.converter(self.declared.observation, self._batch)

  def reset(self) -> Any:
    """Resets all environments; the first time with the seed."""
    outcome = self._call('reset', self._reset)
    self._seed = None
    return outcome

  def step(self, actions: np.ndarray) -> Any:
    """Steps all environments."""
    return self._call('step', self._step, actions)

  def render(self, index: int) -> np.ndarray:
    """Returns the image of an environment."""
    image = lambda: adapter.checked_image(self._vector.render()[index])
    return self._call('render', image)

  def late(self) -> list[int]:
    """Returns nothing: the vector environment does not say."""
    return []

  def close(self) -> None:
    """Closes the vector environment."""
    copies.release(self._vector)
    self._vector.close()

  def kill(self) -> None:
    """Does nothing: the processes of the user are not known."""

  def _call(self, method: str, function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function; its errors name the environment and the method."""
    try:
      return function(*args)
    except factories.RAISED as error:
      raise adapter.failure(self._name, method, error) from error

  def _reset(self) -> Any:
    outcome = self._vector.reset(seed=self._seed)
    return self._convert(apis.observation_of_reset(outcome))

  def _step(self, actions: np.ndarray) -> Any:
    leaf = self.declared.action
    if leaf.is_discrete:
      actions = np.asarray(actions, np.int64) + leaf.start
    outcome = self._vector.step(np.asarray(actions, leaf.dtype))
    if len(outcome) != 5:
      raise apis.wrong_step(outcome)
    raw, reward, terminated, truncated, _ = outcome
    observation, infos = self._convert(raw)
    return (
      observation,
      self._one_each('reward', reward, np.float64),
      self._one_each('terminated', terminated, bool),
      self._one_each('truncated', truncated, bool),
      infos,
    )

  def _one_each(self, name: str, values: Any, dtype: Any) -> np.ndarray:
    """Returns a new array of one value for each environment."""
    array = np.array(values, dtype)
    if array.shape != self._batch:
      raise factories.FactoryError(
        f'{name} has shape {list(array.shape)}, not {list(self._batch)}'
      )
    return array

  def _convert(self, raw: Any) -> tuple[Any, dict[str, Any]]:
    """Returns converted observations in new arrays, and an `info`."""
    tree = self.declared.observation
    infos = {}
    observation = self._to_declared(raw)
    if self._records:
      each = lambda i: leaves.values_checksum(_at(raw, i), tree)
      infos['checksum'] = np.array([each(i) for i in range(*self._batch)])
    return leaves.map_leaves(np.array, observation), infos


def _at(tree: Any, i: int) -> Any:
  if isinstance(tree, dict):
    return {key: _at(part, i) for key, part in tree.items()}
  return tree[i]


def _check(name: str, vector: Any, num_envs: int) -> None:
  mode = (vector.metadata or {}).get('autoreset_mode')
  if mode not in (_NEXT_STEP, _NEXT_STEP.value):
    raise factories.FactoryError(
      f'{name} makes a VectorEnv with autoreset_mode {mode}; construct it with '
      'autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP, which must '
      "also be its metadata['autoreset_mode']."
    )
  if vector.num_envs != num_envs:
    raise factories.FactoryError(
      f'{name} makes a VectorEnv of {vector.num_envs} environments, not of '
      f'{num_envs}: take the argument num_envs, or set --envs_per_actor.'
    )
