"""The four off-policy corrections that section 5.2.2 compares.

All have the signature of `targets.from_importance_weights`, and log pi(a_t|x_t)
besides, which one of them needs. They differ in two things, with
w_t = pi(a_t|x_t) / mu(a_t|x_t):

              targets of the values   weight of grad log pi
    vtrace    V-trace's               min(pg_rho_bar, w_s)
    one_step  n-step returns          min(pg_rho_bar, w_s)
    epsilon   n-step returns          pi / (pi + 1e-6)
    none      n-step returns          1

The advantage that is weighed is r_s + gamma_s v_{s+1} - V(x_s) in all of them.
What a step weighs whose action was ignored, log w_t = -inf, is zero in all of
them. An n-step return is that of the whole unroll, equation 2; lambda mixes it
with shorter ones in all of them.

The value function that is learnt is with V-trace that of pi_rho_bar (equation
3), with the others that of mu: they differ as soon as the policies do.
"""

from typing import Any
from typing import Protocol

import jax
import jax.numpy as jnp

from vtrace import targets

Array = jax.Array

EPSILON = 1e-6  # Section 5.2.2.


class Correction(Protocol):
  """What all of this file are."""

  def __call__(
    self,
    log_rhos: Array,
    discounts: Array,
    rewards: Array,
    values: Array,
    bootstrap_value: Array,
    *,
    target_log_probs: Array,
    clip_rho_threshold: float | None = 1.0,
    clip_c_threshold: float | None = 1.0,
    clip_pg_rho_threshold: float | None = 1.0,
    lambda_: float = 1.0,
  ) -> targets.VTraceReturns:
    """Targets and advantages, `[T, ...]`, gradients stopped.

    Args:
      log_rhos: as for `from_importance_weights`, like all else but one.
      discounts: `[T, ...]`.
      rewards: `[T, ...]`.
      values: `[T, ...]`.
      bootstrap_value: `[...]`.
      target_log_probs: log pi(a_t|x_t), `[T, ...]`.
      clip_rho_threshold: of V-trace alone, like the next.
      clip_c_threshold: c_bar.
      clip_pg_rho_threshold: of `vtrace` and `one_step`.
      lambda_: the mixing of n-step targets.

    Raises:
      AssertionError: if the shapes do not agree.
    """


def vtrace(
  *args: Array, target_log_probs: Array, **thresholds: Any
) -> targets.VTraceReturns:
  """V-trace, `from_importance_weights`; a `Correction`."""
  del target_log_probs
  return targets.from_importance_weights(*args, **thresholds)


def one_step(
  log_rhos: Array, *args: Array, **settings: Any
) -> targets.VTraceReturns:
  """1-step importance sampling: the policy is corrected, its value is not.

    v_s            = sum_{t=s}^{T-1} gamma^{t-s} r_t + gamma^{T-s} V(x_T)
    pg_advantage_s = min(pg_rho_bar, w_s) (r_s + gamma v_{s+1} - V(x_s))

  A `Correction`; V-trace without its traces.
  """
  returns = none(log_rhos, *args, **settings)
  threshold = settings.get('clip_pg_rho_threshold', 1.0)
  return _weigh(targets.clip(jnp.exp(log_rhos), threshold), returns)


def epsilon(
  log_rhos: Array, *args: Array, target_log_probs: Array, **settings: Any
) -> targets.VTraceReturns:
  """log(pi + 1e-6) in place of log pi, where its gradient is taken.

    grad log(pi + epsilon) = pi / (pi + epsilon) grad log pi

  so it is a weight that vanishes with pi; nothing else is corrected. After
  Babaeizadeh et al. (2016). A `Correction`.
  """
  returns = none(log_rhos, *args, target_log_probs=target_log_probs, **settings)
  weights = jax.nn.sigmoid(target_log_probs - jnp.log(EPSILON))
  return _weigh(weights, returns)


def none(
  log_rhos: Array,
  *args: Array,
  target_log_probs: Array,
  lambda_: float = 1.0,
  **thresholds: Any,
) -> targets.VTraceReturns:
  """As if mu were pi: every weight 1, equation 2; a `Correction`."""
  del target_log_probs, thresholds
  log_ones = jnp.where(jnp.isneginf(log_rhos), -jnp.inf, 0.0)
  return targets.from_importance_weights(log_ones, *args, lambda_=lambda_)


def _weigh(
  weights: Array, returns: targets.VTraceReturns
) -> targets.VTraceReturns:
  """The advantages times these weights."""
  weighed = targets.weigh(weights, returns.pg_advantages)
  return returns._replace(pg_advantages=jax.lax.stop_gradient(weighed))
