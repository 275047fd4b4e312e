"""The environment interface: a batch of environments, stepped together."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import Protocol

import dm_env
import numpy as np


class Environment(Protocol):
  """A batch of environments, stepped together.

  Every field of a `dm_env.TimeStep` has a leading batch axis, `[B, ...]`. Its
  arrays are new and are never written to again.

  An environment auto-resets on the step after LAST: that step ignores its
  action and has step type FIRST and reward 0. `discount` is 0 where the episode
  terminated, or a life was lost in Atari, and 1 where it was truncated. After
  truncation the value of the last observation is thus bootstrapped.
  """

  num_envs: int
  frames_per_step: int  # Action repeats: environment frames per agent step.
  num_stacked: int  # Latest observations that the agent should stack.

  def observation_spec(self) -> Any:
    """Returns the specs of one observation: a pytree without a batch axis."""

  def action_spec(self) -> dm_env.specs.Array:
    """Returns the spec of the action of one environment."""

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode in every environment."""

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Steps every environment."""

  def get_state(self) -> Any:
    """Returns the complete state, or None if the environment cannot return it.

    The state is a pytree of arrays that are never written to again. If it is
    None, a resumed run starts new episodes.
    """

  def set_state(self, state: Any) -> None:
    """Restores a state that `get_state` returned."""

  def render(self, index: int) -> np.ndarray:
    """Returns an image of environment `index` for people, `[H, W, 3]` bytes.

    The image shows the result of the latest `reset` or `step`. Not every
    environment can render, and `renders` must be set: see `registry.make`.
    """

  def close(self) -> None:
    """Frees the resources of the environments."""


def run(env: Environment, function: Callable[[], Any]) -> Any:
  """Calls a function that steps `env`, in the thread that `env` is bound to.

  That is the caller's thread, unless `env` has a method `run`.
  """
  return getattr(env, 'run', _call)(function)


class Outcome(NamedTuple):
  """The outcome of a step, the input of `time_step`; all `[B]`."""

  first: np.ndarray  # bool: this step was a reset.
  reward: np.ndarray
  terminated: np.ndarray  # bool
  truncated: np.ndarray  # bool


class RewardError(ValueError):
  """An environment gave a reward that is not finite."""


def time_step(
  outcome: Outcome, observation: Any, name: str = 'The environment'
) -> dm_env.TimeStep:
  """Returns the `dm_env.TimeStep` of a batch, as `Environment` defines it.

  Args:
    outcome: of the step.
    observation: of the step, `[B, ...]`.
    name: of the environment, for the message.

  Raises:
    RewardError: if a reward is not finite in float32.
  """
  with np.errstate(over='ignore', invalid='ignore'):
    reward = np.where(outcome.first, 0, outcome.reward).astype(np.float32)
  if not np.isfinite(reward).all():
    index = int(np.argmin(np.isfinite(reward)))
    raise RewardError(
      f'{name}: the reward of environment {index} is {outcome.reward[index]}, '
      'not a finite number of 32 bits.'
    )
  last = outcome.terminated | outcome.truncated
  step_type = np.full(last.shape, dm_env.StepType.MID, np.int32)
  step_type[last] = dm_env.StepType.LAST
  step_type[outcome.first] = dm_env.StepType.FIRST
  return dm_env.TimeStep(
    step_type=step_type,
    reward=reward,
    discount=np.where(outcome.terminated, 0, 1).astype(np.float32),
    observation=observation,
  )


def _call(function: Callable[[], Any]) -> Any:
  return function()
