"""The evaluator: plays whole episodes without a bias towards short ones.

In a batch of environments, the first N episodes that end are shorter than
average. Instead, each environment has a quota: its first episodes are counted,
however long they are.
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
  """Whole episodes, ordered by environment and then by time."""

  returns: np.ndarray  # [N] float64: sums of the environments' rewards.
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
  """Plays N episodes, spread evenly over the environments.

  Args:
    env: an `envs.environment.Environment`.
    act: from `actor.make_act`.
    params: the agent's parameters.
    core_state: the agent's initial state, `[B, ...]`.
    key: PRNG key for the actions.
    num_episodes: N. If N is below the number of environments, the episodes of
      the last environments are not counted.
    watch: called with every timestep `[B]`, beginning with that of the reset.
      While it returns True, play continues even if all N episodes have ended.

  Raises:
    ValueError: if N is not positive.
  """
  if num_episodes < 1:
    raise ValueError(f'{num_episodes} episodes to play; expected at least 1.')
  quotas = _quotas(num_episodes, env.num_envs)
  ended = [[] for _ in quotas]
  for timestep, totals in _steps(env, act, params, core_state, key):
    watching = watch is not None and watch(timestep)
    for i in np.flatnonzero(timestep.step_type == dm_env.StepType.LAST):
      if len(ended[i]) < quotas[i]:
        ended[i].append((totals.returns[i], totals.lengths[i]))
    if not watching and sum(map(len, ended)) == num_episodes:
      break
  returns, lengths = zip(*(episode for by_env in ended for episode in by_env))
  return Episodes(np.array(returns), np.array(lengths))


def _quotas(num_episodes: int, num_envs: int) -> np.ndarray:
  """Spreads N episodes over the environments, one more for the first, `[B]`."""
  return num_episodes // num_envs + (
    np.arange(num_envs) < num_episodes % num_envs
  )


def _steps(
  env: Any, act: Callable[..., Any], params: Any, core_state: Any, key: Any
) -> Iterator[tuple[dm_env.TimeStep, episodes.Totals]]:
  """Plays without end; yields each timestep `[B]` and the totals at it.

  At the last step of an episode the totals are those of the whole episode.
  """
  timestep, totals = env.reset(), episodes.zero_totals(env.num_envs)
  row = trajectory.first_row(timestep)
  row, core_state, key = actor.put_like(params, (row, core_state, key))
  while True:
    yield timestep, totals
    timestep, row, core_state, key = actor.step(
      env, act, params, key, row, core_state
    )
    totals, _, _ = episodes.accumulate(totals, [timestep])
