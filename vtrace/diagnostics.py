"""Off-policy diagnostics: sums over batches, and statistics computed from them.

The sums can be added over devices, accumulation steps and updates.
`off_policy_summary` turns them into means and fractions.
"""

import jax
import jax.numpy as jnp

from vtrace import broadcasting

Array = jax.Array

# Bin edges of the histogram of log importance weights. One bin has its centre
# at 0. The first bin is below all edges, the last bin above all edges.
LOG_RHO_EDGES = tuple(-2.125 + 0.25 * i for i in range(18))

# A weight above its threshold by at most this fraction counts as not clipped:
# the difference may be rounding error.
_ROUNDING = 1e-4
# Log importance weights are clipped here. Equal weights, however large, are a
# whole sample: a sum of exp(36) squared does not overflow in float32 up to
# 2^24 steps, where float32 stops counting. The bound is fixed, unlike the
# largest weight, so that sums of devices and batches can be added.
_MAX_LOG_RHO = 36.0
# The smallest ratio of variance to mean square that sums of squares in float32
# can resolve.
_MIN_RELATIVE_VARIANCE = 1e-4


def off_policy_sums(
  log_rhos: Array,
  mask: Array,
  vs: Array,
  values: Array,
  *,
  clip_rho_threshold: float | None,
  clip_c_threshold: float | None,
) -> dict[str, Array]:
  """Sums statistics over a batch's steps, with gradients stopped.

  Args:
    log_rhos: log pi(a_t|x_t)/mu(a_t|x_t), `[T, ...]`; it and the mask broadcast
      over several value heads.
    mask: bool `[T, ...]`, True for the steps to count.
    vs: the value targets v_t, `[T, ...]`.
    values: V(x_t), `[T, ...]`.
    clip_rho_threshold: rho_bar. None: no clipping.
    clip_c_threshold: c_bar. None: no clipping.

  Returns:
    Scalar sums by name, and `log_rho_histogram`, `[number of edges + 1]`.
  """
  # With several value heads, a step counts once for each of them.
  mask, log_rhos, vs, values = broadcasting.broadcast(
    mask=mask, log_rhos=log_rhos, vs=vs, values=values
  )
  log_rhos, vs, values = jax.lax.stop_gradient((log_rhos, vs, values))
  log_rhos = jnp.minimum(log_rhos, _MAX_LOG_RHO)
  rhos = jnp.exp(log_rhos)
  errors = vs - values

  def total(x):
    return jnp.sum(jnp.where(mask, x, 0.0))

  bins = jnp.searchsorted(jnp.array(LOG_RHO_EDGES), log_rhos)
  in_bins = jax.nn.one_hot(bins, len(LOG_RHO_EDGES) + 1) * mask[..., None]
  return {
    'steps': total(1.0),
    'log_rho': total(log_rhos),
    'rho': total(rhos),
    'rho_squared': total(jnp.square(rhos)),
    'rho_clipped': total(_clipped(rhos, clip_rho_threshold)),
    'c_clipped': total(_clipped(rhos, clip_c_threshold)),
    'kl': total(jnp.expm1(log_rhos) - log_rhos),
    'log_rho_histogram': jnp.sum(in_bins, axis=tuple(range(mask.ndim))),
    'target': total(vs),
    'target_squared': total(jnp.square(vs)),
    'error': total(errors),
    'error_squared': total(jnp.square(errors)),
  }


def off_policy_summary(sums: dict[str, Array]) -> dict[str, Array]:
  """Returns statistics of sums over any number of batches.

    log_rho                mean log pi(a|x)/mu(a|x)
    rho_clipped, c_clipped fraction of weights above their threshold
    effective_sample_size  (sum rho)^2 / (steps sum rho^2), a fraction
    kl                     KL(mu||pi) = E_mu[rho - 1 - log rho], estimated from
                           sampled actions; this estimate is never negative
    explained_variance     1 - Var[vs - V] / Var[vs]; NaN if the standard
                           deviation of vs is at most 1% of its root mean square

  Args:
    sums: the sums of `off_policy_sums`, added over batches.

  Returns:
    Scalars by name, NaN if no step was counted; and `log_rho_histogram`,
    unchanged.
  """
  steps = sums['steps']
  means = ('log_rho', 'rho_clipped', 'c_clipped', 'kl')
  return {name: sums[name] / steps for name in means} | {
    'effective_sample_size': (
      jnp.square(sums['rho'] / steps) / (sums['rho_squared'] / steps)
    ),
    'explained_variance': _explained_variance(sums),
    'log_rho_histogram': sums['log_rho_histogram'],
  }


def _clipped(rhos: Array, threshold: float | None) -> Array:
  if threshold is None:
    return jnp.zeros_like(rhos)
  return jnp.where(rhos > threshold * (1.0 + _ROUNDING), 1.0, 0.0)


def _explained_variance(sums: dict[str, Array]) -> Array:
  variance = _variance(sums, 'target')
  mean_square = sums['target_squared'] / sums['steps']
  unexplained = _variance(sums, 'error') / variance
  is_known = variance > _MIN_RELATIVE_VARIANCE * mean_square
  return jnp.where(is_known, 1.0 - unexplained, jnp.nan)


def _variance(sums: dict[str, Array], name: str) -> Array:
  mean = sums[name] / sums['steps']
  return sums[f'{name}_squared'] / sums['steps'] - jnp.square(mean)
