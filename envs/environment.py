"""What every environment here offers: a batch of environments in step."""

from typing import Any
from typing import NamedTuple
from typing import Protocol

import dm_env
import numpy as np


class Environment(Protocol):
  """A batch of environments, stepped together.

  Every field of a `dm_env.TimeStep` has a leading batch axis, `[B, ...]`, and
  its arrays are fresh: they are never written again. An environment resets on
  the step after its last: the action of that step is ignored, the row is FIRST,
  its reward 0. `discount` is 0 where the episode terminated, 1 where it was
  merely cut off (truncated), so that the value of the last observation
  bootstraps.
  """

  num_envs: int
  frames_per_step: int  # Action repeats: environment frames per agent step.
  num_stacked: int  # How many of its last observations an agent should see.

  def observation_spec(self) -> Any:
    """Specs of one environment's observation: a pytree, no batch axis."""

  def action_spec(self) -> dm_env.specs.Array:
    """Spec of one environment's action."""

  def reset(self) -> dm_env.TimeStep:
    """Begins an episode in every environment."""

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Steps every environment."""

  def get_state(self) -> Any:
    """All that decides its future, or None if it cannot be given.

    A pytree of arrays that are never written again. A run that goes on begins
    new episodes where it is None.
    """

  def set_state(self, state: Any) -> None:
    """Goes on from where `get_state` was called."""

  def render(self, index: int) -> np.ndarray:
    """Environment `index` as a person would see it, `[H, W, 3]` bytes.

    It shows where `reset` or `step` led last. Not every environment can, and it
    must have been made for it: see `registry.make`.
    """

  def close(self) -> None:
    """Frees what the environments hold."""


class Outcome(NamedTuple):
  """What a step led to, before it is a `dm_env.TimeStep`; all `[B]`."""

  first: np.ndarray  # bool: reset on this step.
  reward: np.ndarray
  terminated: np.ndarray  # bool: ended for good.
  truncated: np.ndarray  # bool: cut off.


def time_step(outcome: Outcome, observation: Any) -> dm_env.TimeStep:
  """The `dm_env.TimeStep` of a batch, in the conventions of `Environment`."""
  last = outcome.terminated | outcome.truncated
  step_type = np.full(last.shape, dm_env.StepType.MID, np.int32)
  step_type[last] = dm_env.StepType.LAST
  step_type[outcome.first] = dm_env.StepType.FIRST
  return dm_env.TimeStep(
    step_type=step_type,
    reward=np.where(outcome.first, 0, outcome.reward).astype(np.float32),
    discount=np.where(outcome.terminated, 0, 1).astype(np.float32),
    observation=observation,
  )
