"""Evaluation: whole episodes, of which none counts for being short.

Of a batch of environments, the first N episodes to end are the short ones. So
each environment has a quota instead, and its first episodes count, however long
they are.
"""

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import dm_env
import jax
import numpy as np

from agents import actor
from agents import episodes
from agents import trajectory


class Episodes(NamedTuple):
  """Whole episodes: those of environment 0 in order, then those of the next."""

  returns: np.ndarray  # [N] float64: sums of the environments' own rewards.
  lengths: np.ndarray  # [N] int64, in agent steps.


def play(
  env: Any,
  act: Callable[..., Any],
  params: Any,
  *,
  core_state: Any,
  key: jax.Array,
  num_episodes: int,
  watch: Callable[[dm_env.TimeStep], bool] | None = None,
) -> Episodes:
  """Plays N episodes, the same number in every environment or one more.

  Args:
    env: an `envs.environment.Environment`.
    act: from `actor.make_act`.
    params: the agent's.
    core_state: the agent's initial state for this many environments.
    key: decides the actions.
    num_episodes: N; with fewer than there are environments, the last of them
      play for nothing.
    watch: is shown every timestep `[B]`, from that of the reset on; while it
      answers True the play goes on, though nothing more may count.
  """
  quotas = _quotas(num_episodes, env.num_envs)
  ended = [[] for _ in quotas]
  for timestep, totals in _arrivals(env, act, params, core_state, key):
    watching = watch is not None and watch(timestep)
    for i in np.flatnonzero(timestep.step_type == dm_env.StepType.LAST):
      if len(ended[i]) < quotas[i]:
        ended[i].append((totals.returns[i], totals.lengths[i]))
    if not watching and sum(map(len, ended)) == num_episodes:
      break
  returns, lengths = zip(*(episode for its in ended for episode in its))
  return Episodes(np.array(returns), np.array(lengths))


def _quotas(num_episodes: int, num_envs: int) -> np.ndarray:
  """N spread evenly over the environments, `[B]`."""
  return num_episodes // num_envs + (
    np.arange(num_envs) < num_episodes % num_envs
  )


def _arrivals(
  env: Any, act: Callable[..., Any], params: Any, core_state: Any, key: Any
) -> Iterator[tuple[dm_env.TimeStep, episodes.Totals]]:
  """Plays for ever; each timestep `[B]`, and what the episodes come to then."""
  timestep, totals = env.reset(), episodes.zero_totals(env.num_envs)
  row = trajectory.first_row(timestep)
  row, core_state, key = actor.put_like(params, (row, core_state, key))
  while True:
    yield timestep, totals
    timestep, row, core_state, key = actor.step(
      env, act, params, key, row, core_state
    )
    totals, _, _ = episodes.accumulate(totals, [timestep])
