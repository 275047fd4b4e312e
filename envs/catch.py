"""Catch: a ball falls, and a paddle on the bottom row must catch it.

As bsuite's `catch` (Osband et al., 2020). The board has 10 rows and 5 columns.
The ball starts in a random column of the top row and falls one row per step.
The paddle starts in the middle of the bottom row. After nine steps the reward
is +1 for a catch and -1 for a miss. Implemented in vectorized NumPy.
"""

from typing import NamedTuple

import dm_env
import numpy as np

from envs import environment

ROWS, COLUMNS = 10, 5
_CELL = 32  # Width and height of a rendered cell, in pixels.


class State(NamedTuple):
  """The state of a batch of boards and of their random generator."""

  ball_row: np.ndarray  # [B]
  ball_column: np.ndarray  # [B]
  paddle: np.ndarray  # [B]
  rng: np.ndarray  # [6] uint64: state of NumPy's PCG64.


class Catch:
  """A batch of Catch boards; an `environment.Environment`."""

  frames_per_step = 1
  num_stacked = 1

  def __init__(self, num_envs: int, seed: int):
    self.num_envs = num_envs
    self._rng = np.random.default_rng(seed)
    self._ball_row = np.zeros([num_envs], np.int64)
    self._ball_column = np.zeros([num_envs], np.int64)
    self._paddle = np.zeros([num_envs], np.int64)

  def observation_spec(self) -> dm_env.specs.BoundedArray:
    """Returns the spec of a board: 1 at ball and paddle, 0 elsewhere."""
    return dm_env.specs.BoundedArray(
      (ROWS, COLUMNS), np.float32, 0.0, 1.0, name='board'
    )

  def action_spec(self) -> dm_env.specs.DiscreteArray:
    """Returns the spec of an action: 0 left, 1 stay, 2 right."""
    return dm_env.specs.DiscreteArray(3, name='action')

  def reset(self) -> dm_env.TimeStep:
    """Starts an episode on every board."""
    everywhere = np.ones([self.num_envs], bool)
    self._begin(everywhere)
    return self._time_step(first=everywhere)

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Moves paddles and balls; resets a board whose episode is over."""
    first = self._ball_row == ROWS - 1
    self._ball_row = self._ball_row + 1
    self._paddle = np.clip(
      self._paddle + np.asarray(actions) - 1, 0, COLUMNS - 1
    )
    self._begin(first)
    return self._time_step(first)

  def get_state(self) -> State:
    """Returns the state of the boards and of the random generator."""
    return State(
      self._ball_row, self._ball_column, self._paddle, _pack(self._rng)
    )

  def set_state(self, state: State) -> None:
    """Restores a state that `get_state` returned."""
    self._ball_row, self._ball_column, self._paddle, numbers = state
    _unpack(numbers, self._rng)

  def render(self, index: int) -> np.ndarray:
    """Returns board `index` as an image, `[320, 160, 3]` bytes.

    The ball is red, the paddle cyan, and a cell with both white.
    """
    image = np.zeros([ROWS, COLUMNS, 3], np.uint8)
    image[self._ball_row[index], self._ball_column[index], 0] = 255
    image[ROWS - 1, self._paddle[index], 1:] = 255
    return image.repeat(_CELL, axis=0).repeat(_CELL, axis=1)

  def close(self) -> None:
    """Does nothing: there are no resources to free."""

  def _begin(self, where: np.ndarray) -> None:
    columns = self._rng.integers(COLUMNS, size=self.num_envs)
    self._ball_row = np.where(where, 0, self._ball_row)
    self._ball_column = np.where(where, columns, self._ball_column)
    self._paddle = np.where(where, COLUMNS // 2, self._paddle)

  def _time_step(self, first: np.ndarray) -> dm_env.TimeStep:
    terminated = self._ball_row == ROWS - 1
    caught = self._paddle == self._ball_column
    outcome = environment.Outcome(
      first=first,
      reward=np.where(terminated, np.where(caught, 1.0, -1.0), 0.0),
      terminated=terminated,
      truncated=np.zeros_like(terminated),
    )
    return environment.time_step(outcome, self._board())

  def _board(self) -> np.ndarray:
    board = np.zeros([self.num_envs, ROWS, COLUMNS], np.float32)
    boards = np.arange(self.num_envs)
    board[boards, self._ball_row, self._ball_column] = 1.0
    board[boards, ROWS - 1, self._paddle] = 1.0
    return board


_LOW = 2**64 - 1  # Bit mask of the low half of a 128-bit integer.


def _pack(rng: np.random.Generator) -> np.ndarray:
  """Returns the state of a PCG64 generator as `[6]` uint64.

  Two 128-bit integers, each as its high and low half, then whether the
  generator holds an unused 32-bit number, and this number.
  """
  whole = rng.bit_generator.state
  state, inc = whole['state']['state'], whole['state']['inc']
  halves = [state >> 64, state & _LOW, inc >> 64, inc & _LOW]
  return np.array([*halves, whole['has_uint32'], whole['uinteger']], np.uint64)


def _unpack(numbers: np.ndarray, rng: np.random.Generator) -> None:
  """Sets `rng` to a state that `_pack` returned."""
  high, low, inc_high, inc_low, has_uint32, uinteger = map(int, numbers)
  rng.bit_generator.state = {
    'bit_generator': 'PCG64',
    'state': {'state': high << 64 | low, 'inc': inc_high << 64 | inc_low},
    'has_uint32': has_uint32,
    'uinteger': uinteger,
  }
