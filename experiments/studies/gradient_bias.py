"""The bias of the policy gradient under a correction, on small MDPs.

Values are those that the correction converges to. All states have equal weight.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from experiments.studies import tabular_mdp
from vtrace import corrections


class Bias(NamedTuple):
  """What a correction has learned, against what is true of pi."""

  value_error: float  # max |V - V^pi|.
  cosine: float  # Cosine similarity of the policy gradients.
  gradient_error: float  # |gradient - true gradient| / |true gradient|.


def bias(
  correction: corrections.Correction, mdp: tabular_mdp.TabularMDP
) -> Bias:
  """Computes the bias at the fixed point of a correction.

  The true gradient is the on-policy one with the value function of pi.
  """
  values = tabular_mdp.solve(tabular_mdp.operator(mdp, correction))
  true_values = tabular_mdp.value_of(mdp, mdp.pi)
  weights = correction.pg_weights(np.log(mdp.pi / mdp.mu), np.log(mdp.pi))
  if correction.clips_pg:
    weights = np.minimum(weights, 1.0)
  learned = policy_gradient(mdp, values, mdp.mu * weights)
  true = policy_gradient(mdp, true_values, mdp.pi)
  norm = np.linalg.norm(true)
  return Bias(
    value_error=float(np.max(np.abs(values - true_values))),
    cosine=float(np.sum(learned * true) / np.linalg.norm(learned) / norm),
    gradient_error=float(np.linalg.norm(learned - true) / norm),
  )


def policy_gradient(
  mdp: tabular_mdp.TabularMDP, values: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """Computes the expected policy gradient of every state.

    sum_a weights (r + gamma V(x') - V(x)) d log pi(a|x) / d logits

  Args:
    mdp: the MDP; pi is a softmax of logits.
    values: V, `[states]`.
    weights: probability of a under the behaviour policy times the weight of its
      policy gradient, `[states, actions]`.

  Returns:
    `[states, actions]`.
  """
  q = mdp.reward + tabular_mdp.GAMMA * values[mdp.next_state]
  weighted = weights * (q - values[:, None])
  return weighted - np.sum(weighted, 1, keepdims=True) * mdp.pi


def learn(
  mdp: tabular_mdp.TabularMDP, num_updates: int, step_size: float
) -> np.ndarray:
  """Returns the policies of gradient ascent from pi, with the true values.

  The gradient is that of the logits.

  Returns:
    The policy before the first update and after each,
    `[num_updates + 1, states, actions]`.
  """
  logits, policies = np.log(mdp.pi), [mdp.pi]
  for _ in range(num_updates):
    now = mdp._replace(pi=policies[-1])
    values = tabular_mdp.value_of(now, now.pi)
    logits = logits + step_size * policy_gradient(now, values, now.pi)
    policies.append(special.softmax(logits, axis=1))
  return np.stack(policies)


def with_lag(
  mdp: tabular_mdp.TabularMDP, policies: np.ndarray, lag: int
) -> tabular_mdp.TabularMDP:
  """Returns the MDP of a learner whose actor is `lag` updates behind.

  Args:
    mdp: the MDP; its policies are replaced.
    policies: the policies of `learn`. The last is that of the learner.
    lag: the policy lag, in updates.
  """
  return mdp._replace(mu=policies[-1 - lag], pi=policies[-1])


def against_lag(
  correction: corrections.Correction,
  learned: Sequence[tuple[tabular_mdp.TabularMDP, np.ndarray]],
  lags: Sequence[int],
) -> np.ndarray:
  """Computes the bias for every lag, as a mean over MDPs.

  Args:
    correction: the correction.
    learned: MDPs, each with its policies from `learn`.
    lags: policy lags, in updates.

  Returns:
    The fields of `Bias`, `[lags, 3]`.
  """
  return np.array(
    [
      np.mean(
        [bias(correction, with_lag(*pair, lag)) for pair in learned], axis=0
      )
      for lag in lags
    ]
  )
