"""The four off-policy corrections of section 5.2.2, as one table.

Section 5.2.2 of Espeholt et al. (2018) compares them.

With the importance weight w_t = pi(a_t|x_t) / mu(a_t|x_t), they differ in the
weights of the temporal differences and of the traces in the value targets, and
in the weight of grad log pi:

              value targets                   grad log pi
    vtrace    min(rho_bar, w), min(c_bar, w)  min(pg_rho_bar, w)
    one_step  1                               min(pg_rho_bar, w)
    epsilon   1                               pi / (pi + 1e-6)
    none      1                               1

In all four, the weighted advantage is r_s + gamma_s v_{s+1} - V(x_s), and steps
whose action was ignored (log w_t = -inf) have a weight of zero. With weights of
1, the value targets are the n-step returns to the end of the unroll (equation
2). In all four, lambda < 1 mixes in shorter n-step targets.

V-trace learns the value function of pi_rho_bar (equation 3); the others learn
that of mu. In general, the two value functions differ if the policies differ.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vtrace import broadcasting
from vtrace import targets

Array = jax.Array

EPSILON = 1e-6  # Section 5.2.2.


class Correction(NamedTuple):
  """One row of the table; its functions return the unclipped weights."""

  label: str  # The name in figures and tables.
  # log_rhos -> unclipped weights of the value targets, `[T, ...]`.
  value_weights: Callable[[Array], Array]
  # (log_rhos, log pi(a_t|x_t)) -> unclipped weights of grad log pi, `[T, ...]`.
  pg_weights: Callable[[Array, Array], Array]
  clips_values: bool = False  # Whether to clip at rho_bar and c_bar.
  clips_pg: bool = False  # Whether to clip at pg_rho_bar.


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
  """Returns the value targets and advantages of a correction.

  The equations are those of `targets.from_importance_weights`, and so is the
  broadcasting.

  Args:
    correction: one of `CORRECTIONS`, or a custom one.
    log_rhos: log w_t, `[T, ...]`; -inf where the action was ignored.
    discounts: gamma_t, `[T, ...]`.
    rewards: r_t, `[T, ...]`.
    values: V(x_t), `[T, ...]`.
    bootstrap_value: V(x_T), `[...]`.
    target_log_probs: log pi(a_t|x_t), `[T, ...]`; 'epsilon' uses it.
    clip_rho_threshold: rho_bar. None: no clipping.
    clip_c_threshold: c_bar. None: no clipping.
    clip_pg_rho_threshold: pg_rho_bar. None: no clipping.
    lambda_: factor of every c_t; mixes n-step targets (remark 2).

  Returns:
    `VTraceReturns`, each field `[T, ...]`, gradients stopped.

  Raises:
    AssertionError: if the shapes do not agree or T is 0.
  """
  log_rhos, target_log_probs, *arrays = broadcasting.broadcast_with_bootstrap(
    log_rhos=log_rhos,
    target_log_probs=target_log_probs,
    discounts=discounts,
    rewards=rewards,
    values=values,
    bootstrap_value=bootstrap_value,
  )
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
    *arrays,
  )


def _importance_weights(log_rhos: Array, *_: Array) -> Array:
  """Returns the importance weights w_t, `[T, ...]`."""
  return jnp.exp(log_rhos)


def _ones(log_rhos: Array, *_: Array) -> Array:
  """Returns weights of 1, or 0 where the action was ignored, `[T, ...]`."""
  return jnp.where(jnp.isneginf(log_rhos), 0.0, 1.0)


def _epsilon(log_rhos: Array, target_log_probs: Array) -> Array:
  """Returns the weights that replace log pi by log(pi + 1e-6), `[T, ...]`.

    grad log(pi + epsilon) = pi / (pi + epsilon) grad log pi

  The weight pi / (pi + epsilon) goes to 0 with pi. From Babaeizadeh et al.
  (2016).
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
