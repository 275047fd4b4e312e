"""The IMPALA loss (section 4.2), per step and, in one place only, summed.

The three terms are returned per step, `[T, ...]`; `impala_loss` is the only
function that reduces. It sums over time and batch, as the authors' code does:
learning rate, entropy cost and the gradient clip of 40 are tuned to the sum.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from vtrace import corrections
from vtrace import diagnostics

Array = jax.Array


def policy_gradient_loss(log_probs: Array, advantages: Array) -> Array:
  """-log pi(a_t|x_t) A_t per step; no gradient through the advantages.

  Args:
    log_probs: log pi(a_t|x_t), `[T, ...]`.
    advantages: A_t, `[T, ...]`.
  """
  return -log_probs * jax.lax.stop_gradient(advantages)


def baseline_loss(vs: Array, values: Array) -> Array:
  """0.5 (v_t - V(x_t))^2 per step; no gradient through the targets `vs`."""
  return 0.5 * jnp.square(jax.lax.stop_gradient(vs) - values)


def entropy_loss(entropy: Array, mask: Array) -> Array:
  """Minus the policy's entropy per step; zero where `mask` is False."""
  return jnp.where(mask, -entropy, 0.0)


def impala_loss(
  *,
  behaviour_log_probs: Array,
  target_log_probs: Array,
  entropy: Array,
  values: Array,
  bootstrap_value: Array,
  rewards: Array,
  discounts: Array,
  mask: Array,
  baseline_cost: float,
  entropy_cost: float,
  correction: corrections.Correction = corrections.CORRECTIONS['vtrace'],
  clip_rho_threshold: float | None = 1.0,
  clip_c_threshold: float | None = 1.0,
  clip_pg_rho_threshold: float | None = 1.0,
  lambda_: float = 1.0,
) -> tuple[Array, dict[str, Any]]:
  """sum(pg + baseline_cost * baseline + entropy_cost * entropy).

  Log-probabilities, not logits, come in: any action space will do.

  Args:
    behaviour_log_probs: log mu(a_t|x_t), `[T, ...]`.
    target_log_probs: log pi(a_t|x_t), `[T, ...]`; the policy's gradient.
    entropy: of pi(.|x_t), `[T, ...]`.
    values: V(x_t), `[T, ...]`; the baseline's gradient.
    bootstrap_value: V(x_T), `[...]`.
    rewards: r_t, already clipped, `[T, ...]`.
    discounts: gamma_t, `[T, ...]`.
    mask: bool `[T, ...]`, False for the transition from an episode's last step
      to the first of the next, whose action was ignored: its importance weight
      is zero, so neither episode sees the other.
    baseline_cost: weight of the baseline loss.
    entropy_cost: weight of the entropy bonus.
    correction: one of `corrections.CORRECTIONS`, or your own.
    clip_rho_threshold: as in `from_importance_weights`, like the next three.
    clip_c_threshold: c_bar.
    clip_pg_rho_threshold: the clip of the advantages' weights.
    lambda_: the mixing of n-step targets.

  Returns:
    The scalar loss, and by name its three scalar terms, unweighted, and as
    'off_policy' the sums of `diagnostics.off_policy_sums`.

  Raises:
    AssertionError: if the shapes do not agree.
  """
  chex.assert_equal_shape(
    [behaviour_log_probs, target_log_probs, entropy, values, rewards, mask]
  )
  # What was ignored, or what pi cannot do, weighs nothing. Its log-probability
  # is replaced before it meets a zero: 0 * -inf is NaN, in gradients too.
  weighs = mask & ~jnp.isneginf(target_log_probs)
  target_log_probs = jnp.where(weighs, target_log_probs, 0.0)
  log_rhos = jnp.where(weighs, target_log_probs - behaviour_log_probs, -jnp.inf)
  returns = corrections.targets_and_advantages(
    correction,
    log_rhos,
    discounts,
    rewards,
    values,
    bootstrap_value,
    target_log_probs=target_log_probs,
    clip_rho_threshold=clip_rho_threshold,
    clip_c_threshold=clip_c_threshold,
    clip_pg_rho_threshold=clip_pg_rho_threshold,
    lambda_=lambda_,
  )
  terms = {
    'pg_loss': policy_gradient_loss(target_log_probs, returns.pg_advantages),
    'baseline_loss': baseline_loss(returns.vs, values),
    'entropy_loss': entropy_loss(entropy, mask),
  }
  terms = {name: jnp.sum(term) for name, term in terms.items()}
  loss = (
    terms['pg_loss']
    + baseline_cost * terms['baseline_loss']
    + entropy_cost * terms['entropy_loss']
  )
  off_policy = diagnostics.off_policy_sums(
    log_rhos,
    weighs,
    returns.vs,
    values,
    clip_rho_threshold=clip_rho_threshold,
    clip_c_threshold=clip_c_threshold,
  )
  return loss, terms | {'off_policy': off_policy}
