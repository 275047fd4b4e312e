"""The IMPALA loss: three terms per step, and their weighted sum.

Section 4.2 of Espeholt et al. (2018).

The functions of the three terms return one value per step, `[T, ...]`; their
arguments broadcast as those of the targets do. Only `impala_loss` reduces. It
sums over time and batch, as the authors' code does, because learning rate,
entropy cost and the gradient clip of 40 are tuned for the sum.
"""

from typing import Any

import chex
import jax
import jax.numpy as jnp

from vtrace import broadcasting
from vtrace import corrections
from vtrace import diagnostics

Array = jax.Array


def policy_gradient_loss(log_probs: Array, advantages: Array) -> Array:
  """Returns -log pi(a_t|x_t) A_t per step, `[T, ...]`.

  No gradient flows through the advantages.

  Args:
    log_probs: log pi(a_t|x_t), `[T, ...]`.
    advantages: A_t, `[T, ...]`.
  """
  log_probs, advantages = broadcasting.broadcast(
    log_probs=log_probs, advantages=advantages
  )
  return -log_probs * jax.lax.stop_gradient(advantages)


def baseline_loss(vs: Array, values: Array) -> Array:
  """Returns 0.5 (v_t - V(x_t))^2 per step, `[T, ...]`.

  No gradient flows through the targets `vs`.
  """
  vs, values = broadcasting.broadcast(vs=vs, values=values)
  return 0.5 * jnp.square(jax.lax.stop_gradient(vs) - values)


def entropy_loss(entropy: Array, mask: Array) -> Array:
  """Returns minus the entropy per step, zero where `mask` is False."""
  entropy, mask = broadcasting.broadcast(entropy=entropy, mask=mask)
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
  """Returns the IMPALA loss, summed over time and batch, and its terms.

    loss = sum(pg + baseline_cost * baseline + entropy_cost * entropy)

  The arguments are log-probabilities instead of logits, so the loss works for
  any action space. With several value heads, the arguments of the policy are
  `[T, B, 1]` and the values `[T, B, C]`: the policy and the baseline losses are
  summed over the heads, and the entropy counts once.

  Args:
    behaviour_log_probs: log mu(a_t|x_t), `[T, ...]`.
    target_log_probs: log pi(a_t|x_t), `[T, ...]`; the policy gradient flows
      through it.
    entropy: entropy of pi(.|x_t), `[T, ...]`.
    values: V(x_t), `[T, ...]`; the gradient of the baseline loss flows through
      it.
    bootstrap_value: V(x_T), `[...]`.
    rewards: r_t, already clipped, `[T, ...]`.
    discounts: gamma_t, `[T, ...]`.
    mask: bool `[T, ...]`, False for the transition from the last step of an
      episode to the first step of the next, whose action was ignored. Its
      importance weight is zero, so no value or reward of one episode enters the
      targets of the other.
    baseline_cost: weight of the baseline loss.
    entropy_cost: weight of the entropy bonus.
    correction: one of `corrections.CORRECTIONS`, or a custom one.
    clip_rho_threshold: rho_bar. None: no clipping.
    clip_c_threshold: c_bar. None: no clipping.
    clip_pg_rho_threshold: pg_rho_bar. None: no clipping.
    lambda_: factor of every c_t; mixes n-step targets (remark 2).

  Returns:
    The scalar loss, and a dict with its three scalar terms, unweighted, and
    with the sums of `diagnostics.off_policy_sums` under 'off_policy'.

  Raises:
    AssertionError: if the shapes do not agree or T is 0. Rewards, discounts and
      values broadcast as in `targets.from_importance_weights`.
  """
  behaviour_log_probs, target_log_probs, entropy, mask = map(
    jnp.asarray, (behaviour_log_probs, target_log_probs, entropy, mask)
  )
  chex.assert_equal_shape(
    [behaviour_log_probs, target_log_probs, entropy, mask]
  )
  # Actions that were ignored or have pi(a_t|x_t) = 0 get weight 0. Their
  # log-probability is replaced, because 0 * -inf is NaN, also in gradients.
  has_weight = mask & ~jnp.isneginf(target_log_probs)
  target_log_probs = jnp.where(has_weight, target_log_probs, 0.0)
  log_rhos = jnp.where(
    has_weight, target_log_probs - behaviour_log_probs, -jnp.inf
  )
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
    has_weight,
    returns.vs,
    values,
    clip_rho_threshold=clip_rho_threshold,
    clip_c_threshold=clip_c_threshold,
  )
  return loss, terms | {'off_policy': off_policy}
