"""The four off-policy corrections that section 5.2.2 compares, as one table.

With the importance weight w_t = pi(a_t|x_t) / mu(a_t|x_t) they differ in two
things, the weights of temporal differences and traces in the value targets, and
the weight of grad log pi:

              value targets                   grad log pi
    vtrace    min(rho_bar, w), min(c_bar, w)  min(pg_rho_bar, w)
    one_step  1                               min(pg_rho_bar, w)
    epsilon   1                               pi / (pi + 1e-6)
    none      1                               1

The advantage that is weighted is r_s + gamma_s v_{s+1} - V(x_s) in all of them.
A step whose action was ignored, log w_t = -inf, has a weight of zero in all of
them. With weights of 1 the targets are n-step returns, those of the whole
unroll (equation 2); lambda mixes them with shorter ones in all of them.

With V-trace the value function that is learnt is that of pi_rho_bar (equation
3), with the others that of mu: they differ as soon as the policies do.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vtrace import targets

Array = jax.Array

EPSILON = 1e-6  # Section 5.2.2.


class Correction(NamedTuple):
  """One row of the table; weights as they are before they are clipped."""

  label: str  # In figures and tables.
  # log_rhos -> weights of the value targets, `[T, ...]`.
  value_weights: Callable[[Array], Array]
  # (log_rhos, log pi(a_t|x_t)) -> weights of grad log pi, `[T, ...]`.
  pg_weights: Callable[[Array, Array], Array]
  clips_values: bool = False  # At rho_bar, and at c_bar.
  clips_pg: bool = False  # At pg_rho_bar.


def targets_and_advantages(
  correction: Correction,
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
  """Returns corrected value targets and advantages.

  Args:
    correction: one of `CORRECTIONS`, or your own.
    log_rhos: log w_t, `[T, ...]`; -inf where the action was ignored. This and
      all that follows as in `targets.from_importance_weights`.
    discounts: gamma_t, `[T, ...]`.
    rewards: r_t, `[T, ...]`.
    values: V(x_t), `[T, ...]`.
    bootstrap_value: V(x_T), `[...]`.
    target_log_probs: log pi(a_t|x_t), `[T, ...]`; not in V-trace's arguments.
    clip_rho_threshold: rho_bar. None: no clipping.
    clip_c_threshold: c_bar. None: no clipping.
    clip_pg_rho_threshold: pg_rho_bar. None: no clipping.
    lambda_: the mixing of n-step targets, remark 2.

  Returns:
    `VTraceReturns`, each field `[T, ...]`, gradients stopped.

  Raises:
    AssertionError: if the shapes do not agree.
  """
  if not correction.clips_values:
    clip_rho_threshold = clip_c_threshold = None
  if not correction.clips_pg:
    clip_pg_rho_threshold = None
  value_weights = correction.value_weights(log_rhos)
  pg_weights = correction.pg_weights(log_rhos, target_log_probs)
  return targets.from_weights(
    targets.clip(value_weights, clip_rho_threshold),
    lambda_ * targets.clip(value_weights, clip_c_threshold),
    targets.clip(pg_weights, clip_pg_rho_threshold),
    discounts,
    rewards,
    values,
    bootstrap_value,
  )


def _importance_weights(log_rhos: Array, *_: Array) -> Array:
  """Returns w."""
  return jnp.exp(log_rhos)


def _ones(log_rhos: Array, *_: Array) -> Array:
  """Returns weights of 1, and of 0 where the action was ignored."""
  return jnp.where(jnp.isneginf(log_rhos), 0.0, 1.0)


def _epsilon(log_rhos: Array, target_log_probs: Array) -> Array:
  """Returns the weight of log(pi + 1e-6) in place of log pi.

    grad log(pi + epsilon) = pi / (pi + epsilon) grad log pi

  so it is a weight that vanishes with pi. After Babaeizadeh et al. (2016).
  """
  return _ones(log_rhos) * jax.nn.sigmoid(target_log_probs - jnp.log(EPSILON))


CORRECTIONS = {
  'vtrace': Correction(
    'V-trace',
    _importance_weights,
    _importance_weights,
    clips_values=True,
    clips_pg=True,
  ),
  'one_step': Correction('1-step', _ones, _importance_weights, clips_pg=True),
  'epsilon': Correction('epsilon', _ones, _epsilon),
  'none': Correction('none', _ones, _ones),
}
