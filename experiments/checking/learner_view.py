"""The learner's view of a batch: loss arguments, gradients and outputs."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import agent as agent_lib
from agents import loss_interface
from agents import trajectory as trajectory_lib
from experiments import config as config_lib
from experiments.training import builders

_SCALE = 1.5  # Scales the parameters, which gives another policy.


class View(NamedTuple):
  """The learner's view of one batch, with T steps of N environments."""

  arguments: dict[str, np.ndarray]  # Of the loss, `[T, N]`.
  loss: float  # Summed over the batch.
  gradients: dict[str, np.ndarray]  # With respect to 3 arguments.
  behaviour_later: np.ndarray  # log mu given other parameters, `[T, N]`.
  output: Any  # (policy, value) of the network, `[T+1, N, ...]`.
  output_of_other_core: Any  # For a different initial core state.
  core_state: Any  # After T steps, `[N, ...]`.


def make_view(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  loss: loss_interface.Loss,
) -> Callable[[Any, trajectory_lib.Trajectory], View]:
  """Makes a function from acting parameters and a trajectory to a `View`.

  It takes (params, trajectory `[T+1, N]`); the `View` is on the host.
  """
  trained = ('target_log_probs', 'values', 'entropy')

  def arguments_of(params, trajectory):
    return loss_interface.arguments(
      agent,
      params,
      trajectory,
      discount=config.discount,
      clip_rewards=builders.reward_clipping(config),
    )

  @jax.jit
  def view(params, trajectory):
    arguments = arguments_of(params, trajectory)
    total, gradients = jax.value_and_grad(
      lambda x: loss_interface.call(loss, arguments | x)[0]
    )({name: arguments[name] for name in trained})
    other = jax.tree.map(lambda p: _SCALE * p, params)
    rows, core_state = trajectory
    del arguments['rows'], arguments['extra']  # Not compared.
    return dict(
      arguments=arguments,
      loss=total,
      gradients=gradients,
      behaviour_later=arguments_of(other, trajectory)['behaviour_log_probs'],
      output=agent.unroll(params, rows, core_state)[:2],
      output_of_other_core=agent.unroll(params, rows, _perturb(core_state))[:2],
    )

  @jax.jit
  def step(params, core_state, row):
    return agent.step(params, jax.random.key(0), row, core_state)[1]

  def whole_view(params, trajectory):
    rows, core_state = trajectory
    for t in range(len(rows.action) - 1):
      row = jax.tree.map(lambda x, t=t: x[t], rows)
      core_state = step(params, core_state, row)
    on_device = View(**view(params, trajectory), core_state=core_state)
    return jax.device_get(on_device)

  return whole_view


def _perturb(core_state: Any) -> Any:
  """Returns a core state of the same dtypes with every element changed."""

  def changed(x):
    if x.dtype == jnp.uint8:
      return 255 - x
    # Far from 0 a float has no neighbour at a distance of 1: x + 1 = x.
    return jnp.where(x + 1 == x, -x, x + 1)

  return jax.tree.map(changed, core_state)
