"""V-trace targets: off-policy corrected value targets and advantages.

Espeholt et al. (2018), "IMPALA: Scalable Distributed Deep-RL with Importance
Weighted Actor-Learner Architectures", section 4 and appendix A.

All arrays are time-major: the leading axis is time, all other axes are free.
`[T]`, `[T, B]` and `[T, B, C]` all work without vmap. One weight or discount
`[T, B, 1]` may belong to several value heads `[T, B, C]`, and numbers and lists
are arrays too; see `broadcasting`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vtrace import broadcasting

Array = jax.Array


class VTraceReturns(NamedTuple):
  """Value targets and advantages for the losses, with gradients stopped."""

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
  r"""Computes V-trace targets and advantages from log importance weights.

  With w_t = pi(a_t|x_t) / mu(a_t|x_t) and the clipped weights
  rho_t = min(rho_bar, w_t), c_t = lambda min(c_bar, w_t):

    delta_t = rho_t (r_t + gamma_t V(x_{t+1}) - V(x_t))
    v_s     = V(x_s) + delta_s + gamma_s c_s (v_{s+1} - V(x_{s+1}))

  The second line is equation 1 in the recursive form of remark 1. The weighted
  advantage of the policy gradient is

    pg_advantage_s = min(pg_rho_bar, w_s) (r_s + gamma_s v_{s+1} - V(x_s)).

  At the last step both V(x_{s+1}) and v_{s+1} are `bootstrap_value`.

  Arrays of one rank broadcast over all axes but time, and so do scalars.

  Args:
    log_rhos: log w_t, `[T, ...]`. If log w_t = -inf, the weight is zero: then
      delta_t, the trace through step t and pg_advantage_t are exactly 0, and
      v_t = V(x_t). Without clipping, a weight with log w_t > 88 overflows in
      float32, and so do the targets and advantages that it multiplies. A weight
      or a discount of zero stops the overflow from reaching earlier steps.
    discounts: gamma_t, `[T, ...]`: the discount applied after step t; zero
      where the episode terminates.
    rewards: r_t, `[T, ...]`.
    values: V(x_t), `[T, ...]`.
    bootstrap_value: V(x_T), `[...]`.
    clip_rho_threshold: rho_bar. It determines which value function is learned
      (equation 3). The theory assumes rho_bar >= c_bar. None: no clipping.
    clip_c_threshold: c_bar. It affects only the speed of convergence. At 0 the
      targets are one-step ones. None: no clipping.
    clip_pg_rho_threshold: pg_rho_bar, which clips the weights of the
      advantages. None: no clipping.
    lambda_: factor of every c_t; mixes n-step targets (remark 2).

  Returns:
    `VTraceReturns`, each field `[T, ...]`, gradients stopped.

  Raises:
    AssertionError: if the shapes do not agree or T is 0.
  """
  # Before the exponential: then one weight for several value heads gives
  # exactly what a copy of it for each head gives.
  log_rhos, *arrays = broadcasting.broadcast_with_bootstrap(
    log_rhos=log_rhos,
    discounts=discounts,
    rewards=rewards,
    values=values,
    bootstrap_value=bootstrap_value,
  )
  weights = jnp.exp(log_rhos)
  return from_weights(
    clip(weights, clip_rho_threshold),
    lambda_ * clip(weights, clip_c_threshold),
    clip(weights, clip_pg_rho_threshold),
    *arrays,
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
  """Computes V-trace targets and advantages from weights already clipped.

  The equations are those of `from_importance_weights`.

  Args:
    rhos: rho_t, `[T, ...]`.
    cs: c_t, including the factor lambda, `[T, ...]`.
    pg_rhos: weights of the advantages, `[T, ...]`.
    discounts: gamma_t, `[T, ...]`.
    rewards: r_t, `[T, ...]`.
    values: V(x_t), `[T, ...]`.
    bootstrap_value: V(x_T), `[...]`.

  Returns:
    `VTraceReturns`, each field `[T, ...]`, gradients stopped.

  Raises:
    AssertionError: if the shapes do not agree or T is 0.
  """
  rhos, cs, pg_rhos, discounts, rewards, values, bootstrap_value = (
    jax.lax.stop_gradient(
      broadcasting.broadcast_with_bootstrap(
        rhos=rhos,
        cs=cs,
        pg_rhos=pg_rhos,
        discounts=discounts,
        rewards=rewards,
        values=values,
        bootstrap_value=bootstrap_value,
      )
    )
  )
  next_values = _shift(values, bootstrap_value)
  deltas = weigh(rhos, rewards + discounts * next_values - values)
  vs = values + _discounted_sum(deltas, discounts * cs)

  next_vs = _shift(vs, bootstrap_value)
  # At a discount of 0 an infinite v_{s+1} would make 0 * inf = NaN.
  qs = jnp.where(discounts == 0, rewards, rewards + discounts * next_vs)
  pg_advantages = weigh(pg_rhos, qs - values)
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
  """Computes V-trace targets and advantages from categorical logits.

  The equations are those of `from_importance_weights`.

  Args:
    behaviour_policy_logits: logits of mu, `[T, ..., num_actions]`.
    target_policy_logits: logits of pi, `[T, ..., num_actions]`. An action whose
      target logit is -inf (masked out) has an importance weight of zero.
    actions: a_t sampled from mu, integers `[T, ...]`.
    discounts: gamma_t, `[T, ...]`.
    rewards: r_t, `[T, ...]`.
    values: V(x_t), `[T, ...]`.
    bootstrap_value: V(x_T), `[...]`.
    clip_rho_threshold: rho_bar. None: no clipping.
    clip_c_threshold: c_bar. None: no clipping.
    clip_pg_rho_threshold: pg_rho_bar. None: no clipping.
    lambda_: factor of every c_t; mixes n-step targets (remark 2).

  Returns:
    `VTraceReturns`, each field `[T, ...]`, gradients stopped.

  Raises:
    AssertionError: if the shapes do not agree or T is 0.
  """
  behaviour, target = jax.lax.stop_gradient(
    (jnp.asarray(behaviour_policy_logits), jnp.asarray(target_policy_logits))
  )
  actions = jnp.asarray(actions)
  broadcasting.check_logits(behaviour, target, actions)
  log_mu = _log_prob(behaviour, actions)
  log_pi = _log_prob(target, actions)
  # An action with pi(a_t|x_t) = 0 gets weight 0. If mu(a_t|x_t) is 0 as well,
  # the difference is -inf - (-inf) = NaN.
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
  """Returns min(threshold, weights); None clips at the largest finite float.

  An infinite weight becomes finite, so its product with 0 is 0 and not NaN.
  """
  if threshold is None:
    threshold = jnp.finfo(weights.dtype).max
  return jnp.minimum(weights, threshold)


def weigh(weights: Array, xs: Array) -> Array:
  """Returns weights * xs, and 0 where a weight is 0 even if x is infinite."""
  return jnp.where(weights == 0, 0, weights * xs)


def _shift(xs: Array, last: Array) -> Array:
  """Returns x_{t+1} for each t, `[T, ...]`; `last` is x_T, `[...]`."""
  return jnp.concatenate([xs[1:], last[None]])


def _discounted_sum(xs: Array, discounts: Array) -> Array:
  """Returns y_t = x_t + discounts_t y_{t+1} with y_T = 0, `[T, ...]`."""

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
