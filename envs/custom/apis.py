"""Gymnasium's and dm_env's interfaces of one environment, as one.

Errors are sentences without the name of the environment: see `adapter`.
"""

from collections.abc import Mapping
import inspect
import math
from typing import Any
from typing import Protocol

import numpy as np

from envs import factories
from envs.custom import leaves
from envs.custom import spaces

# The outcome of a step: the observation as the environment gave it, the reward,
# terminated, truncated, and the discount if it is not the usual one, which is 0
# if terminated and else 1. A plain tuple: named ones take longer to make.
Step = tuple[Any, float, bool, bool, float | None]


class Api(Protocol):
  """One environment; a seed matters in its first reset only."""

  observation: leaves.Tree
  action: leaves.Leaf
  takes_seed: bool  # `reset` does.

  def reset(self, seed: int | None) -> Any:
    """Starts an episode; returns the first observation."""

  def step(self, action: Any) -> Step:
    """Steps by an action as the agent gives it, from 0 if discrete."""


def make(env: Any) -> Api:
  """Returns the interface of a Gymnasium or a dm_env environment.

  Raises:
    FactoryError: if it is neither, or declares what is not supported.
  """
  if hasattr(env, 'observation_space') and hasattr(env, 'action_space'):
    return Gymnasium(env)
  if hasattr(env, 'observation_spec') and hasattr(env, 'action_spec'):
    return DmEnv(env)
  raise factories.FactoryError(
    f'a {type(env).__name__} is neither a dm_env nor a Gymnasium environment'
  )


class Gymnasium:
  """An environment with Gymnasium's interface."""

  takes_seed = True

  def __init__(self, env: Any):
    self._env = env
    self.observation = spaces.observation_tree(env.observation_space)
    self.action = spaces.action_leaf(env.action_space)
    self._to_env = _to_env(self.action)
    for each in (env, getattr(env, 'unwrapped', env)):
      _check_reset(each)

  def reset(self, seed: int | None) -> Any:
    """Starts an episode; returns the first observation."""
    return observation_of_reset(self._env.reset(seed=seed))

  def step(self, action: Any) -> Step:
    """Steps by an action as the agent gives it, from 0 if discrete."""
    outcome = self._env.step(self._to_env(action))
    if len(outcome) != 5:
      raise wrong_step(outcome)
    observation, reward, terminated, truncated, _ = outcome
    if type(reward) is not float:
      reward = _number(reward, 'reward')
    return observation, reward, bool(terminated), bool(truncated), None


class DmEnv:
  """An environment with dm_env's interface."""

  takes_seed = False

  def __init__(self, env: Any):
    self._env = env
    self.observation = spaces.observation_tree(env.observation_spec())
    self.action = spaces.action_leaf(env.action_spec())
    self._to_env = _to_env(self.action)

  def reset(self, seed: int | None) -> Any:
    """Starts an episode; returns the first observation. Ignores the seed."""
    del seed
    timestep = self._env.reset()
    if not timestep.first():
      raise factories.FactoryError('reset() returned a timestep, but not FIRST')
    return timestep.observation

  def step(self, action: Any) -> Step:
    """Steps by an action as the agent gives it, from 0 if discrete."""
    timestep = self._env.step(self._to_env(action))
    if timestep.first():
      raise factories.FactoryError(
        'step() returned FIRST within an episode, without LAST before it'
      )
    discount = _number(timestep.discount, 'discount')
    if not 0.0 <= discount <= 1.0:
      raise factories.FactoryError(f'a discount is {discount}, not in [0, 1]')
    last = timestep.last()
    terminated = last and discount == 0
    return (
      timestep.observation,
      _number(timestep.reward, 'reward'),
      terminated,
      last and not terminated,
      None if discount == (0.0 if terminated else 1.0) else discount,
    )


def observation_of_reset(outcome: Any) -> Any:
  """Returns the first of the two values that Gymnasium's `reset` returns.

  Raises:
    FactoryError: if there are other values.
  """
  if (
    not isinstance(outcome, tuple)
    or len(outcome) != 2
    or not isinstance(outcome[1], Mapping)
  ):
    raise factories.FactoryError(
      'reset() did not return the two values of Gymnasium: observation, info'
    )
  return outcome[0]


def wrong_step(outcome: Any) -> factories.FactoryError:
  """Returns the error of a `step` that does not return Gymnasium's values."""
  return factories.FactoryError(
    f'step() returned {len(outcome)} values, not the five of Gymnasium: '
    'observation, reward, terminated, truncated, info'
  )


def _to_env(leaf: leaves.Leaf) -> Any:
  """Returns a function from the agent's actions to those of the environment."""
  if not leaf.is_discrete:
    return lambda action: np.asarray(action, leaf.dtype)
  number, start = leaf.dtype.type, leaf.start
  if start == 0:  # Every step of every environment calls this.
    return number
  return lambda action: number(int(action) + start)


def _check_reset(env: Any) -> None:
  """Raises a FactoryError if `reset` takes no seed, as in Gym before 0.26."""
  try:
    signature = inspect.signature(env.reset)
  except (ValueError, TypeError):
    return
  try:
    signature.bind(seed=0)
  except TypeError as error:
    raise factories.FactoryError(
      f'reset() of {type(env).__name__} cannot be called with seed= ({error}); '
      "Gymnasium's is reset(*, seed=None, options=None) and returns "
      'observation, info'
    ) from error


def _number(value: Any, what: str) -> float:
  """Returns a number, or the only element of an array, as a float.

  Raises:
    FactoryError: if it is neither.
  """
  try:
    number = float(np.asarray(value).item())
  except (ValueError, TypeError) as error:
    raise factories.FactoryError(
      f'a {what} is {value!r}, not a number'
    ) from error
  if what == 'discount' and math.isnan(number):
    raise factories.FactoryError('a discount is nan')
  return number
