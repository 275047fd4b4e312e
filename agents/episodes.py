"""Returns and lengths of whole episodes, counted from the actors' rows."""

from typing import NamedTuple

import dm_env
import numpy as np

from agents import trajectory


class Totals(NamedTuple):
  """What the running episode of each environment has come to."""

  returns: np.ndarray  # [B] float64: rewards so far, unclipped.
  lengths: np.ndarray  # [B] int64: agent steps so far.


def zero_totals(num_envs: int) -> Totals:
  """Before the first step."""
  return Totals(np.zeros([num_envs]), np.zeros([num_envs], np.int64))


def accumulate(
  totals: Totals,
  rows: trajectory.Row,
) -> tuple[Totals, np.ndarray, np.ndarray]:
  """Adds a rollout's rows `[T+1, B]`; row 0 was counted with the one before.

  Returns:
    The new totals, and returns and lengths of the episodes that ended, in
    order.
  """
  returns, lengths = totals.returns.copy(), totals.lengths.copy()
  ended_returns, ended_lengths = [], []
  step_types, rewards = trajectory.arrivals(
    (rows.timestep.step_type, rows.timestep.reward)
  )
  for step_type, reward in zip(step_types, rewards, strict=True):
    first = step_type == dm_env.StepType.FIRST
    returns = np.where(first, 0.0, returns + reward)
    lengths = np.where(first, 0, lengths + 1)
    last = step_type == dm_env.StepType.LAST
    ended_returns.append(returns[last])
    ended_lengths.append(lengths[last])
  return (
    Totals(returns, lengths),
    np.concatenate(ended_returns),
    np.concatenate(ended_lengths),
  )
