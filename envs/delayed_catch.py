"""Catch with a long memory of deeds: the balls' rewards come with the last one.

An episode is three balls of `catch.Catch`. Nothing is told before the last has
fallen; then the reward is the mean of theirs. So the first moves must be
credited thirty steps later, through the luck of all balls in between.
"""

from typing import NamedTuple

import dm_env
import numpy as np

from envs import catch
from envs import environment

BALLS = 3
_LAST = dm_env.StepType.LAST


class State(NamedTuple):
  """Where the boards stand."""

  board: catch.State
  fallen: np.ndarray  # [B]: balls of this episode.
  earned: np.ndarray  # [B]: by them.


class DelayedCatch:
  """A batch of it; an `environment.Environment`.

  The step after a ball has fallen begins a new board, whatever the action.
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
    """Begins an episode on every board."""
    self._fallen = np.zeros_like(self._fallen)
    self._earned = np.zeros_like(self._earned)
    return self._catch.reset()

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Moves paddles and balls; an episode that was over begins anew."""
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
    """Boards, and what the balls so far have earned."""
    return State(self._catch.get_state(), self._fallen, self._earned)

  def set_state(self, state: State) -> None:
    """Goes on from `state`."""
    board, self._fallen, self._earned = state
    self._catch.set_state(board)

  def close(self) -> None:
    """Nothing to free."""
