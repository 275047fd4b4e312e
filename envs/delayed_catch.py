"""Catch with delayed rewards, which need credit assignment over thirty steps.

An episode consists of three balls of `catch.Catch`. The reward is 0 until the
last ball has fallen; it is then the mean of the rewards of all three. The first
actions are thus credited thirty steps later. The other balls add noise to the
reward.
"""

from typing import NamedTuple

import dm_env
import numpy as np

from envs import catch
from envs import environment

BALLS = 3
_LAST = dm_env.StepType.LAST


class State(NamedTuple):
  """The state of the boards and of the current episodes."""

  board: catch.State
  fallen: np.ndarray  # [B]: balls that have fallen in this episode.
  earned: np.ndarray  # [B]: sum of the rewards of these balls.


class DelayedCatch:
  """A batch of DelayedCatch boards; an `environment.Environment`.

  The step after a ball has fallen resets the board and ignores the action, also
  within an episode.
  """

  frames_per_step = 1
  num_stacked = 1

  def __init__(self, num_envs: int, seed: int):
    self.num_envs = num_envs
    self._catch = catch.Catch(num_envs, seed)
    self._fallen = np.zeros([num_envs], np.int64)
    self._earned = np.zeros([num_envs])
    self.observation_spec = self._catch.observation_spec
    self.action_spec = self._catch.action_spec
    self.render = self._catch.render

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode on every board."""
    self._fallen = np.zeros_like(self._fallen)
    self._earned = np.zeros_like(self._earned)
    return self._catch.reset()

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Moves paddles and balls; starts a new episode after the last step."""
    first = self._fallen == BALLS
    ball = self._catch.step(actions)
    landed = ball.step_type == _LAST
    self._fallen = np.where(first, 0, self._fallen) + landed
    self._earned = np.where(first, 0.0, self._earned) + ball.reward
    over = self._fallen == BALLS
    outcome = environment.Outcome(
      first=first,
      reward=np.where(over, self._earned / BALLS, 0.0),
      terminated=over,
      truncated=np.zeros_like(over),
    )
    return environment.time_step(outcome, ball.observation)

  def get_state(self) -> State:
    """Returns the state of the boards and of the current episodes."""
    return State(self._catch.get_state(), self._fallen, self._earned)

  def set_state(self, state: State) -> None:
    """Restores a state that `get_state` returned."""
    board, self._fallen, self._earned = state
    self._catch.set_state(board)

  def close(self) -> None:
    """Does nothing: there are no resources to free."""
