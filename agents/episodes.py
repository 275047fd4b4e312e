"""Returns and lengths of whole episodes, accumulated from timesteps."""

from collections.abc import Iterable
from typing import NamedTuple

import dm_env
import numpy as np

from agents import trajectory


class Totals(NamedTuple):
  """Return and length so far of each environment's running episode."""

  returns: np.ndarray  # [B] float64: sums of unclipped rewards so far.
  lengths: np.ndarray  # [B] int64: agent steps so far.


def zero_totals(num_envs: int) -> Totals:
  """Returns the totals before the first step."""
  return Totals(np.zeros([num_envs]), np.zeros([num_envs], np.int64))


def accumulate(
  totals: Totals,
  timesteps: Iterable[dm_env.TimeStep],
) -> tuple[Totals, np.ndarray, np.ndarray]:
  """Adds timesteps `[B]`, in order of time, to the running totals.

  Returns:
    The new totals, and the returns and lengths of the episodes that ended, in
    order of time, each `[number of episodes that ended]`.
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
