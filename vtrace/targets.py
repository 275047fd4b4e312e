"""V-trace targets: off-policy corrected value targets and advantages.

Espeholt et al. (2018), "IMPALA: Scalable Distributed Deep-RL with Importance
Weighted Actor-Learner Architectures", section 4 and appendix A.

Everything is time-major: the leading axis is time, every further axis is free,
so `[T]`, `[T, B]` and `[T, B, C]` all work and nobody needs to vmap.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

Array = jax.Array


class VTraceReturns(NamedTuple):
  """What V-trace gives the losses; no gradient flows through either."""

  vs: Array  # [T, ...]: the value targets v_s.
  pg_advantages: Array  # [T, ...]: the weights of grad log pi(a_s|x_s).


def from_importance_weights(
  log_rhos: Array,
  discounts: Array,
  rewards: Array,
  values: Array,
  bootstrap_value: Array,
  *,
  clip_rho_threshold: float | None = 1.0,
  clip_c_threshold: float | None = 1.0,
  clip_pg_rho_threshold: float | None = 1.0,
  lambda_: float = 1.0,
) -> VTraceReturns:
  r"""V-trace targets from log importance weights.

  With w_t = pi(a_t|x_t) / mu(a_t|x_t) and the clipped weights
  rho_t = min(rho_bar, w_t), c_t = lambda min(c_bar, w_t):

    delta_t = rho_t (r_t + gamma_t V(x_{t+1}) - V(x_t))
    v_s     = V(x_s) + delta_s + gamma_s c_s (v_{s+1} - V(x_{s+1}))

  which is equation 1 in the recursive form of remark 1, and

    pg_advantage_s = min(pg_rho_bar, w_s) (r_s + gamma_s v_{s+1} - V(x_s)).

  At the last step both V(x_{s+1}) and v_{s+1} are `bootstrap_value`.

  Args:
    log_rhos: log w_t, `[T, ...]`. A weight of zero, -inf, makes its step vanish
      exactly: no correction, no trace through it, no advantage, and v_s = V.
      Unclipped weights overflow above a log of 88 in float32, and what they
      weigh with them; nothing overflows past a weight or a discount of zero.
    discounts: gamma_t, `[T, ...]`: the discount applied after step t, zero
      where the episode terminates.
    rewards: r_t, `[T, ...]`.
    values: V(x_t), `[T, ...]`.
    bootstrap_value: V(x_T), `[...]`.
    clip_rho_threshold: rho_bar, which decides the value function that is learnt
      (equation 3); the theory assumes rho_bar >= c_bar. None: no clipping.
    clip_c_threshold: c_bar, which decides only how fast. None: no clipping.
    clip_pg_rho_threshold: the clip of the advantages' weights. None: no
      clipping.
    lambda_: the mixing of n-step targets, remark 2.

  Returns:
    `VTraceReturns`, each field `[T, ...]`, gradients stopped.

  Raises:
    AssertionError: if the shapes do not agree.
  """
  weights = jnp.exp(log_rhos)
  return from_weights(
    clip(weights, clip_rho_threshold),
    lambda_ * clip(weights, clip_c_threshold),
    clip(weights, clip_pg_rho_threshold),
    discounts,
    rewards,
    values,
    bootstrap_value,
  )


def from_weights(
  rhos: Array,
  cs: Array,
  pg_rhos: Array,
  discounts: Array,
  rewards: Array,
  values: Array,
  bootstrap_value: Array,
) -> VTraceReturns:
  """Returns targets and advantages for weights that are clipped already.

  The equations are those of `from_importance_weights`.

  Args:
    rhos: rho_t, `[T, ...]`.
    cs: c_t, lambda included, `[T, ...]`.
    pg_rhos: the weights of the advantages, `[T, ...]`.
    discounts: gamma_t, `[T, ...]`.
    rewards: r_t, `[T, ...]`.
    values: V(x_t), `[T, ...]`.
    bootstrap_value: V(x_T), `[...]`.

  Returns:
    `VTraceReturns`, each field `[T, ...]`, gradients stopped.

  Raises:
    AssertionError: if the shapes do not agree.
  """
  bootstrap_value = jnp.asarray(bootstrap_value)
  chex.assert_equal_shape([rhos, cs, pg_rhos, discounts, rewards, values])
  chex.assert_shape(bootstrap_value, jnp.shape(values)[1:])
  rhos, cs, pg_rhos, discounts, rewards, values, bootstrap_value = (
    jax.lax.stop_gradient(
      (rhos, cs, pg_rhos, discounts, rewards, values, bootstrap_value)
    )
  )
  next_values = _shift(values, bootstrap_value)
  deltas = weigh(rhos, rewards + discounts * next_values - values)
  vs = values + _discounted_sum(deltas, discounts * cs)

  next_vs = _shift(vs, bootstrap_value)
  pg_advantages = weigh(pg_rhos, rewards + discounts * next_vs - values)
  return VTraceReturns(vs=vs, pg_advantages=pg_advantages)


def from_logits(
  behaviour_policy_logits: Array,
  target_policy_logits: Array,
  actions: Array,
  discounts: Array,
  rewards: Array,
  values: Array,
  bootstrap_value: Array,
  *,
  clip_rho_threshold: float | None = 1.0,
  clip_c_threshold: float | None = 1.0,
  clip_pg_rho_threshold: float | None = 1.0,
  lambda_: float = 1.0,
) -> VTraceReturns:
  """V-trace targets for a categorical policy given by its logits.

  Args:
    behaviour_policy_logits: mu's logits, `[T, ..., num_actions]`.
    target_policy_logits: pi's logits, `[T, ..., num_actions]`. An action whose
      target logit is -inf (masked out) has an importance weight of zero.
    actions: a_t drawn from mu, integers `[T, ...]`.
    discounts: as for `from_importance_weights`, like all that follow.
    rewards: `[T, ...]`.
    values: `[T, ...]`.
    bootstrap_value: `[...]`.
    clip_rho_threshold: as for `from_importance_weights`, like the next three.
    clip_c_threshold: c_bar.
    clip_pg_rho_threshold: the clip of the advantages' weights.
    lambda_: the mixing of n-step targets.

  Returns:
    `VTraceReturns`, each field `[T, ...]`, gradients stopped.

  Raises:
    AssertionError: if the shapes do not agree.
  """
  chex.assert_equal_shape([behaviour_policy_logits, target_policy_logits])
  behaviour, target = jax.lax.stop_gradient(
    (behaviour_policy_logits, target_policy_logits)
  )
  log_mu = _log_prob(behaviour, actions)
  log_pi = _log_prob(target, actions)
  # -inf minus -inf would be NaN; what pi cannot do weighs nothing.
  log_rhos = jnp.where(jnp.isneginf(log_pi), -jnp.inf, log_pi - log_mu)
  return from_importance_weights(
    log_rhos,
    discounts,
    rewards,
    values,
    bootstrap_value,
    clip_rho_threshold=clip_rho_threshold,
    clip_c_threshold=clip_c_threshold,
    clip_pg_rho_threshold=clip_pg_rho_threshold,
    lambda_=lambda_,
  )


def clip(weights: Array, threshold: float | None) -> Array:
  """min(threshold, weights); finite even unclipped, so that 0 times it is 0."""
  if threshold is None:
    threshold = jnp.finfo(weights.dtype).max
  return jnp.minimum(weights, threshold)


def weigh(weights: Array, xs: Array) -> Array:
  """Weights * xs, and 0 where a weight is 0 even if x has overflowed."""
  return jnp.where(weights == 0, 0, weights * xs)


def _shift(xs: Array, last: Array) -> Array:
  """x_{t+1} for each t: `xs` one step earlier, `last` at the end."""
  return jnp.concatenate([xs[1:], last[None]])


def _discounted_sum(xs: Array, discounts: Array) -> Array:
  """y_t = x_t + discounts_t y_{t+1}, with y_T = 0."""

  def step(acc, x_and_discount):
    x, discount = x_and_discount
    acc = x + weigh(discount, acc)
    return acc, acc

  _, ys = jax.lax.scan(
    step, jnp.zeros_like(xs[0]), (xs, discounts), reverse=True
  )
  return ys


def _log_prob(logits: Array, actions: Array) -> Array:
  log_probs = jax.nn.log_softmax(logits)
  return jnp.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]
