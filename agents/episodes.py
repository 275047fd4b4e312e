"""Returns and lengths of whole episodes, counted from what the actors see."""

from collections.abc import Iterable
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
  timesteps: Iterable[dm_env.TimeStep],
) -> tuple[Totals, np.ndarray, np.ndarray]:
  """Adds the timesteps `[B]` that steps have led to, one after the other.

  Returns:
    The new totals, and returns and lengths of the episodes that ended, in
    order.
  """
  returns, lengths = totals
  ended_returns, ended_lengths = [], []
  for timestep in timesteps:
    first = trajectory.is_first(timestep)
    returns = np.where(first, 0.0, returns + timestep.reward)
    lengths = np.where(first, 0, lengths + 1)
    last = timestep.step_type == dm_env.StepType.LAST
    ended_returns.append(returns[last])
    ended_lengths.append(lengths[last])
  return (
    Totals(returns, lengths),
    np.concatenate(ended_returns),
    np.concatenate(ended_lengths),
  )
