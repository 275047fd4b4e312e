"""What the thresholds rho_bar and c_bar decide, computed on small MDPs.

rho_bar decides which value function V-trace converges to (equation 3), c_bar
how fast, and both how much its targets vary (section 4.1).
"""

from collections.abc import Callable

import numpy as np

from experiments.studies import tabular_mdp
from vtrace import corrections

_VTRACE = corrections.CORRECTIONS['vtrace']

Operator = Callable[[np.ndarray], np.ndarray]


def clipped_policy(
  mdp: tabular_mdp.TabularMDP, rho_bar: float | None
) -> np.ndarray:
  """Returns pi_rho_bar of equation 3, `[states, actions]`.

    pi_rho_bar(a|x) = min(rho_bar mu(a|x), pi(a|x)) / sum_b min(...)

  Args:
    mdp: the MDP with mu and pi.
    rho_bar: the threshold. None: no clipping, which gives pi.
  """
  policy = mdp.pi if rho_bar is None else np.minimum(rho_bar * mdp.mu, mdp.pi)
  return policy / np.sum(policy, axis=1, keepdims=True)


def vtrace_operator(
  mdp: tabular_mdp.TabularMDP,
  rho_bar: float | None = 1.0,
  c_bar: float | None = 1.0,
  lambda_: float = 1.0,
) -> Operator:
  """Returns V-trace's operator, from and to values `[states]`."""
  return tabular_mdp.operator(
    mdp,
    _VTRACE,
    clip_rho_threshold=rho_bar,
    clip_c_threshold=c_bar,
    lambda_=lambda_,
  )


def distances(
  apply: Operator, limit: np.ndarray, iterations: int
) -> np.ndarray:
  """Iterates an operator from V = 0 and measures the way that remains.

  Returns:
    max |V - limit| before the first iteration and after each,
    `[iterations + 1]`.
  """
  v = np.zeros(tabular_mdp.STATES)
  remaining = [np.max(np.abs(v - limit))]
  for _ in range(iterations):
    v = apply(v)
    remaining.append(np.max(np.abs(v - limit)))
  return np.array(remaining)


def contraction(apply: Operator) -> float:
  """Computes the factor eta of theorem 1 of an operator, exactly.

  The operator is affine, V -> A V + b. eta is the maximum norm of A: one
  iteration brings any two value functions closer by this factor at least.
  """
  matrix, _ = tabular_mdp.affine_form(apply)
  return float(np.max(np.sum(np.abs(matrix), axis=1)))


def bound(mdp: tabular_mdp.TabularMDP, rho_bar: float | None) -> float:
  """Returns theorem 1's bound on eta, 1 - (1 - gamma) min_x E_mu[rho]."""
  rhos = mdp.pi / mdp.mu
  rhos = rhos if rho_bar is None else np.minimum(rho_bar, rhos)
  beta = np.min(np.sum(mdp.mu * rhos, axis=1))
  return float(1 - (1 - tabular_mdp.GAMMA) * beta)


def target_deviation(
  mdp: tabular_mdp.TabularMDP,
  rho_bar: float | None = 1.0,
  c_bar: float | None = 1.0,
) -> float:
  """Computes the standard deviation of V-trace's targets at the fixed point.

  The paths are those of mu from one state; the root mean square over states.
  """
  thresholds = dict(clip_rho_threshold=rho_bar, clip_c_threshold=c_bar)
  targets = tabular_mdp.path_targets(mdp, _VTRACE, **thresholds)
  values = tabular_mdp.value_of(mdp, clipped_policy(mdp, rho_bar))
  paths = tabular_mdp.paths(mdp)
  errors = targets(values) - values[paths.states[0]]
  variances = tabular_mdp.expectation(paths, np.square(errors))
  return float(np.sqrt(np.mean(variances)))
