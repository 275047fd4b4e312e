"""V-trace as a double loop that follows equation 1 of the paper."""

import numpy as np


def vtrace(
  log_rhos,
  discounts,
  rewards,
  values,
  bootstrap_value,
  *,
  clip_rho_threshold=1.0,
  clip_c_threshold=1.0,
  clip_pg_rho_threshold=1.0,
  lambda_=1.0,
):
  """Returns (vs, pg_advantages) `[T, ...]` in float64.

  The arguments are those of `vtrace.from_importance_weights`.
  """
  weights = np.exp(np.asarray(log_rhos, np.float64))
  rhos = clip(weights, clip_rho_threshold)
  cs = lambda_ * clip(weights, clip_c_threshold)
  pg_rhos = clip(weights, clip_pg_rho_threshold)
  n = len(rewards)
  v = np.concatenate([values, np.asarray(bootstrap_value)[None]]).astype(float)
  vs = np.array(v)
  for s in range(n):
    for t in range(s, n):
      gammas_and_cs = np.ones_like(v[0])
      for i in range(s, t):
        gammas_and_cs = gammas_and_cs * discounts[i] * cs[i]
      delta = rhos[t] * (rewards[t] + discounts[t] * v[t + 1] - v[t])
      vs[s] = vs[s] + gammas_and_cs * delta
  q = rewards + discounts * vs[1:]
  return vs[:-1], pg_rhos * (q - v[:-1])


def clip(weights, threshold):
  """Returns min(threshold, w), or w if the threshold is None."""
  return weights if threshold is None else np.minimum(threshold, weights)
