"""Tests of transitions and of episode statistics, made from rows."""

import dm_env
import numpy as np

from agents import episodes
from agents import trajectory

FIRST, MID, LAST = 0, 1, 2


def make_rows(step_types, rewards, discounts=None):
  """Makes rows [T+1, 1]; row t has action t and log-probability -t."""
  n = len(step_types)
  column = lambda x, dtype: np.asarray(x, dtype)[:, None]
  return trajectory.Row(
    dm_env.TimeStep(
      column(step_types, np.int32),
      column(rewards, np.float32),
      column(discounts or [1.0] * n, np.float32),
      column(range(n), np.int64),
    ),
    column(range(n), np.int32),
    column([-t for t in range(n)], np.float32),
  )


def timesteps(step_types, rewards):
  """Returns the rows of `make_rows` as a list of timesteps."""
  rows = make_rows(step_types, rewards)
  return [dm_env.TimeStep(*fields) for fields in zip(*rows.timestep)]


def test_a_transition_has_action_and_reward_of_the_next_row():
  rows = make_rows([FIRST, MID, LAST, FIRST], [0, 1, 2, 0], [1, 1, 0, 1])
  steps = trajectory.transitions(rows)
  np.testing.assert_array_equal(steps.actions[:, 0], [1, 2, 3])
  np.testing.assert_array_equal(steps.behaviour_log_probs[:, 0], [-1, -2, -3])
  np.testing.assert_array_equal(steps.rewards[:, 0], [1, 2, 0])
  np.testing.assert_array_equal(steps.discounts[:, 0], [1, 0, 1])
  np.testing.assert_array_equal(steps.mask[:, 0], [True, True, False])


def test_episodes_are_counted_across_unrolls():
  totals = episodes.zero_totals(1)
  totals, returns, _ = episodes.accumulate(
    totals, timesteps([FIRST, MID, MID], [0, 1, 2])
  )
  assert not len(returns)
  totals, returns, lengths = episodes.accumulate(
    totals,
    timesteps([LAST, FIRST, MID, LAST, FIRST, MID], [4, 0, 10, 20, 0, 5]),
  )
  np.testing.assert_array_equal(returns, [7, 30])
  np.testing.assert_array_equal(lengths, [3, 2])
  np.testing.assert_array_equal(totals.returns, [5])
  np.testing.assert_array_equal(totals.lengths, [1])


def test_the_first_row_has_action_and_log_prob_zero():
  timestep = make_rows([FIRST], [0]).timestep
  row = trajectory.first_row(timestep)
  np.testing.assert_array_equal(row.action, [0])
  np.testing.assert_array_equal(row.log_prob, [0.0])
  assert row.action.dtype == np.int32 and row.log_prob.dtype == np.float32
