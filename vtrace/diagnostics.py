"""How off-policy the learning is: sums over batches, and what they say.

Sums add up over devices, passes and updates; `off_policy_summary` makes of them
what a person reads.
"""

import jax
import jax.numpy as jnp

Array = jax.Array

# Of the histogram of log importance weights: one bin has its centre at 0, the
# first is below, the last above them all.
LOG_RHO_EDGES = tuple(-2.125 + 0.25 * i for i in range(18))

# A weight this little above a threshold is at it, but for rounding.
_ROUNDING = 1e-4
# The square of exp(40) is a float32 yet.
_MAX_LOG_RHO = 40.0
# Sums of squares in float32 cannot tell a variance that is a smaller part of
# the squared mean.
_LEAST_SPREAD = 1e-4


def off_policy_sums(
  log_rhos: Array,
  mask: Array,
  vs: Array,
  values: Array,
  *,
  clip_rho_threshold: float | None,
  clip_c_threshold: float | None,
) -> dict[str, Array]:
  """Sums over a batch's steps; no gradient flows through them.

  Args:
    log_rhos: log pi(a_t|x_t)/mu(a_t|x_t), `[T, ...]`.
    mask: bool `[T, ...]`, True for the steps to count.
    vs: V-trace's targets, `[T, ...]`.
    values: V(x_t), `[T, ...]`.
    clip_rho_threshold: rho_bar; None: nothing is clipped.
    clip_c_threshold: c_bar.

  Returns:
    Scalars by name, and `log_rho_histogram`, `[number of edges + 1]`.
  """
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
  """What sums over any number of batches say; NaN where nothing was summed.

    log_rho                mean log pi(a|x)/mu(a|x)
    rho_clipped, c_clipped fraction of weights above their threshold
    effective_sample_size  (sum rho)^2 / sum rho^2, as a fraction of the steps
    kl                     KL(mu||pi) = E_mu[rho - 1 - log rho]: the estimate
                           from drawn actions that is never negative
    explained_variance     1 - Var[vs - V] / Var[vs]; NaN if the targets spread
                           by less than a hundredth of their mean

  Args:
    sums: of `off_policy_sums`, added up.

  Returns:
    Scalars by name, and the histogram as it came.
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
  is_known = variance > _LEAST_SPREAD * mean_square
  return jnp.where(is_known, 1.0 - unexplained, jnp.nan)


def _variance(sums: dict[str, Array], name: str) -> Array:
  mean = sums[name] / sums['steps']
  return sums[f'{name}_squared'] / sums['steps'] - jnp.square(mean)
