"""What the learner gives to a loss, and what the loss returns."""

from collections.abc import Callable
from collections.abc import Mapping
import inspect
from typing import Any

import jax
import numpy as np

from agents import agent as agent_lib
from agents import trajectory as trajectory_lib

Array = jax.Array

# A loss is a function of the keywords that `arguments` returns, for one
# device's shard of a batch. It gets `rows` and `extra` only if its signature
# names them; the others are those of `vtrace.impala_loss`. It returns the loss
# and a dict of scalar metrics, all summed over the shard: the learner adds up
# those of all shards and passes. Each metric gets a column of metrics.csv;
# 'off_policy' may hold the sums of `vtrace.off_policy_sums`.
Loss = Callable[..., tuple[Array, dict[str, Any]]]
_OPTIONAL = ('rows', 'extra')

# Metrics that the learner computes. An update is finite if all of these are.
NORMS = ('loss', 'grad_norm', 'update_norm', 'param_norm')
_RESERVED = {*NORMS, 'steps', 'entropy', 'finite'}


class LossError(ValueError):
  """The loss breaks its contract; the message is one line."""


def call(loss: Loss, inputs: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
  """Calls `loss` with those of `arguments`' keywords that it takes.

  Raises:
    LossError: if it does not accept these keywords, if it does not return a
      scalar and a dict of scalars, or if a metric has the name of one that the
      learner computes.
  """
  signature = inspect.signature(loss)
  unused = [name for name in _OPTIONAL if name not in signature.parameters]
  given = {k: v for k, v in inputs.items() if k not in unused}
  try:
    signature.bind(**given)
  except TypeError as error:
    raise LossError(
      f'The loss is called with {", ".join(given)}: {error}.'
    ) from error
  result = loss(**given)
  is_pair = isinstance(result, tuple) and len(result) == 2
  if not (is_pair and isinstance(result[1], Mapping)):
    raise LossError('The loss must return (scalar loss, dict of metrics).')
  total, metrics = result
  taken = _RESERVED & set(metrics)
  if taken:
    raise LossError(
      f'The loss returns metrics that the learner computes: {sorted(taken)}.'
    )
  for name, value in {'a loss': total, **metrics}.items():
    if name != 'off_policy' and np.shape(value) != ():
      raise LossError(
        f'The loss returns {name} of shape {np.shape(value)}; expected a '
        'scalar, a sum over the batch.'
      )
  return total, dict(metrics)


def arguments(
  agent: agent_lib.Agent,
  params: Any,
  trajectory: trajectory_lib.Trajectory,
  *,
  discount: float,
  clip_rewards: Callable[[Array], Array],
) -> dict[str, Any]:
  """Returns the arguments of the loss for a trajectory, by name.

  Args:
    agent: the agent whose `unroll` and `policy` are used.
    params: parameters of the target policy.
    trajectory: rows `[T+1, B, ...]`, core_state `[B, ...]`.
    discount: gamma.
    clip_rewards: applied to rewards `[T, B]`.

  Returns:
    Arrays `[T, B]`, except `bootstrap_value`, `[B]`, and with T+1 steps: `rows`
    and the network's `extra` outputs.
  """
  output = agent.unroll(params, trajectory.rows, trajectory.core_state)
  steps = trajectory_lib.transitions(trajectory.rows)
  policy, _ = trajectory_lib.split_bootstrap(output.policy)
  values, bootstrap_value = trajectory_lib.split_bootstrap(output.value)
  return dict(
    behaviour_log_probs=steps.behaviour_log_probs,
    target_log_probs=agent.policy.log_prob(policy, steps.actions),
    entropy=agent.policy.entropy(policy),
    values=values,
    bootstrap_value=bootstrap_value,
    rewards=clip_rewards(steps.rewards),
    discounts=discount * steps.discounts,
    mask=steps.mask,
    rows=trajectory.rows,
    extra=output.extra,
  )
