"""A batch as the learner sees it, with what it takes to judge that."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import agent as agent_lib
from agents import learner
from agents import trajectory as trajectory_lib
from experiments import config as config_lib
from experiments.training import builders

_MOVED = 1.5  # Times the parameters: another policy.


class View(NamedTuple):
  """One batch as the learner sees it."""

  arguments: dict[str, np.ndarray]  # Of the loss, `[T, N]`.
  loss: float
  gradients: dict[str, np.ndarray]  # Of the loss, in three of them.
  behaviour_later: np.ndarray  # `[T, N]`: to parameters that have moved.
  output: Any  # The network's, `[T+1, N]`.
  output_of_other_core: Any  # Had another core state entered.
  core_state: Any  # After the last step, `[N, ...]`.


def make_view(
  config: config_lib.Config, agent: agent_lib.Agent
) -> Callable[[Any, trajectory_lib.Trajectory], View]:
  """(acting parameters, trajectory `[T+1, N]`) -> `View`, on the host."""
  loss = builders.make_loss(config)
  trained = ('target_log_probs', 'values', 'entropy')

  def arguments_of(params, trajectory):
    return learner.loss_arguments(
      agent,
      params,
      trajectory,
      discount=config.discount,
      clip_rewards=builders.reward_clipping(config),
    )

  @jax.jit
  def view(params, trajectory):
    arguments = arguments_of(params, trajectory)
    total, gradients = jax.value_and_grad(lambda x: loss(**(arguments | x))[0])(
      {name: arguments[name] for name in trained}
    )
    moved = jax.tree.map(lambda p: _MOVED * p, params)
    rows, core_state = trajectory
    return dict(
      arguments=arguments,
      loss=total,
      gradients=gradients,
      behaviour_later=arguments_of(moved, trajectory)['behaviour_log_probs'],
      output=agent.unroll(params, rows, core_state),
      output_of_other_core=agent.unroll(params, rows, _other(core_state)),
    )

  @jax.jit
  def step(params, core_state, row):
    return agent.step(params, jax.random.key(0), row, core_state)[1]

  def whole_view(params, trajectory):
    rows, core_state = trajectory
    for t in range(len(rows.action) - 1):
      row = jax.tree.map(lambda x, t=t: x[t], rows)
      core_state = step(params, core_state, row)
    seen = View(**view(params, trajectory), core_state=core_state)
    return jax.device_get(seen)

  return whole_view


def _other(core_state: Any) -> Any:
  """Nothing like it, of the same types."""
  return jax.tree.map(
    lambda x: 255 - x if x.dtype == jnp.uint8 else x + 1, core_state
  )
