"""What V-trace is, written down a second time: loops in NumPy float64.

Nothing here is recursive and nothing is shared with `vtrace.targets`, so that
an error there is not repeated here. Section 4 and remark 2 of Espeholt et al.
(2018).
"""

from collections.abc import Mapping

import numpy as np

from vtrace.conformance import cases


def equation_1(
  case: cases.Case, settings: Mapping[str, float | None]
) -> tuple[np.ndarray, np.ndarray]:
  """Returns (vs, pg_advantages) by a double loop over steps s and t.

    v_s = V(x_s) + sum_{t >= s} (prod_{s <= i < t} gamma_i c_i) delta_t
    delta_t = rho_t (r_t + gamma_t V(x_{t+1}) - V(x_t))

  Args:
    case: the inputs, `[T, ...]`.
    settings: a number or None for each of `cases.KEYWORDS`.
  """
  weights = np.exp(case.log_rhos.astype(float))
  rhos = clip(weights, settings['clip_rho_threshold'])
  cs = settings['lambda_'] * clip(weights, settings['clip_c_threshold'])
  discounts, rewards = case.discounts.astype(float), case.rewards.astype(float)
  v = all_values(case)
  vs = v[:-1].copy()
  for s in range(len(rewards)):
    product = np.ones_like(v[0])
    for t in range(s, len(rewards)):
      delta = rhos[t] * (rewards[t] + discounts[t] * v[t + 1] - v[t])
      vs[s] += product * delta
      product = product * discounts[t] * cs[t]
  return vs, advantages(case, settings, vs)


def advantages(
  case: cases.Case, settings: Mapping[str, float | None], vs: np.ndarray
) -> np.ndarray:
  """Returns the advantages that belong to the targets `vs`, `[T, ...]`.

  min(pg_rho_bar, w_s) (r_s + gamma_s v_{s+1} - V(x_s)); v_T is the bootstrap
  value.
  """
  weights = np.exp(case.log_rhos.astype(float))
  next_vs = np.concatenate([vs, case.bootstrap_value[None]])[1:].astype(float)
  q = case.rewards.astype(float) + case.discounts.astype(float) * next_vs
  pg_rhos = clip(weights, settings['clip_pg_rho_threshold'])
  return pg_rhos * (q - case.values.astype(float))


def n_step_return(case: cases.Case, s: int, n: int) -> np.ndarray:
  """Returns n discounted rewards from step s, and V of the state after them."""
  total, product = np.zeros_like(all_values(case)[0]), 1.0
  for t in range(s, s + n):
    total = total + product * case.rewards[t].astype(float)
    product = product * case.discounts[t].astype(float)
  return total + product * all_values(case)[s + n]


def n_step_returns(case: cases.Case) -> np.ndarray:
  """Returns the returns to the end of the unroll (equation 2), `[T, ...]`."""
  length = len(case.rewards)
  return np.array([n_step_return(case, s, length - s) for s in range(length)])


def lambda_returns(case: cases.Case, lambda_: float) -> np.ndarray:
  """Returns the mixtures of all n-step returns (remark 2), `[T, ...]`.

  A return of n steps has the weight (1 - lambda) lambda^(n - 1), the longest
  what is left of 1.
  """
  length, found = len(case.rewards), []
  for s in range(length):
    longest = length - s
    mixture = lambda_ ** (longest - 1) * n_step_return(case, s, longest)
    for n in range(1, longest):
      weight = (1 - lambda_) * lambda_ ** (n - 1)
      mixture = mixture + weight * n_step_return(case, s, n)
    found.append(mixture)
  return np.array(found)


def clip(weights: np.ndarray, threshold: float | None) -> np.ndarray:
  """Returns min(threshold, w), or w if the threshold is None."""
  return weights if threshold is None else np.minimum(threshold, weights)


def all_values(case: cases.Case) -> np.ndarray:
  """Returns V(x_0) to V(x_T) in float64, `[T+1, ...]`."""
  both = [case.values, case.bootstrap_value[None]]
  return np.concatenate(both).astype(float)
