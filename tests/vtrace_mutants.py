"""V-trace by recursion in NumPy, and faulty variants of it.

Each variant of `MUTANTS` has one fault, which the property of its name finds.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import vtrace
from vtrace import conformance


def clip(weights, threshold):
  return weights if threshold is None else np.minimum(weights, threshold)


def td_error(rho, reward, gamma, value, next_value):
  return rho * (reward + gamma * next_value - value)


def q_value(reward, gamma, next_v, next_value, lambda_):
  """Returns the bootstrapped reward of the advantage."""
  del next_value, lambda_
  return reward + gamma * next_v


def numpy_vtrace(
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
  clip=clip,
  td_error=td_error,
  q_value=q_value,
  trace_factor=lambda c, gamma, lambda_: c * gamma * lambda_,
  first_carry=lambda bootstrap: 0 * bootstrap,
):
  """Computes (vs, pg_advantages) in the dtype of the inputs.

  The functions among the arguments are the places where a mutant differs.
  """
  weights = np.exp(log_rhos)
  rhos = clip(weights, clip_rho_threshold)
  cs = clip(weights, clip_c_threshold)
  next_values = np.concatenate([values[1:], bootstrap_value[None]])
  deltas = td_error(rhos, rewards, discounts, values, next_values)
  carry, vs = first_carry(bootstrap_value), np.array(values)
  for t in reversed(range(len(rewards))):
    carry = deltas[t] + trace_factor(cs[t], discounts[t], lambda_) * carry
    vs[t] = values[t] + carry
  next_vs = np.concatenate([vs[1:], bootstrap_value[None]])
  qs = q_value(rewards, discounts, next_vs, next_values, lambda_)
  return vs, clip(weights, clip_pg_rho_threshold) * (qs - values)


def variant(**places):
  """Returns the function with another part in some places."""
  return functools.partial(numpy_vtrace, **places)


def on_inputs(change, **replaced):
  """Returns the function after a change of its arguments.

  `change` returns the arguments by name that differ; `replaced` are keywords
  that it sets, given the others.
  """

  def mutant(log_rhos, discounts, rewards, values, bootstrap_value, **keywords):
    inputs = dict(
      log_rhos=log_rhos,
      discounts=discounts,
      rewards=rewards,
      values=values,
      bootstrap_value=bootstrap_value,
    )
    inputs |= change(**inputs)
    for name, function in replaced.items():
      keywords[name] = function(keywords)
    return numpy_vtrace(**inputs, **keywords)

  return mutant


def on_keywords(**replaced):
  return on_inputs(lambda **inputs: {}, **replaced)


def on_results(change):
  """Returns the function with a change of (vs, pg_advantages, inputs)."""

  def mutant(*inputs, **keywords):
    return change(*numpy_vtrace(*inputs, **keywords), *inputs)

  return mutant


def rho_on_the_reward_only(rho, reward, gamma, value, next_value):
  return rho * reward + gamma * next_value - value


def late_rewards(rewards, **_):
  """Returns the reward that came before each action."""
  return {'rewards': np.concatenate([0 * rewards[:1], rewards[:-1]])}


def clip_by_difference(weights, threshold):
  """Returns w - max(w - threshold, 0), which loses its digits."""
  if threshold is None:
    return weights
  return weights - np.maximum(weights - np.float32(threshold), 0)


def three_steps(*inputs, **keywords):
  """Ends every trace after three steps."""
  log_rhos, discounts, rewards, values, bootstrap_value = inputs
  after = np.concatenate([values, bootstrap_value[None]])
  found = [
    numpy_vtrace(
      log_rhos[t : t + 3],
      discounts[t : t + 3],
      rewards[t : t + 3],
      values[t : t + 3],
      after[min(t + 3, len(rewards))],
      **keywords,
    )
    for t in range(len(rewards))
  ]
  return tuple(np.stack([x[0] for x in field]) for field in zip(*found))


def vtrace_of_transitions(
  log_rhos,
  discounts,
  rewards,
  values,
  next_values,
  dones,
  *,
  clip_rho_threshold,
  clip_c_threshold,
  clip_pg_rho_threshold,
  lambda_,
  ends_episodes=True,
):
  """Computes V-trace with the value of every next observation.

  With `ends_episodes=False` the advantage of the last step of an episode
  contains the target of the first step of the next one. The targets are right.
  """
  weights = np.exp(log_rhos)
  deltas = rewards + discounts * next_values - values
  deltas = clip(weights, clip_rho_threshold) * deltas
  traces = lambda_ * clip(weights, clip_c_threshold) * discounts * ~dones
  carry, vs = 0 * values[0], np.array(values)
  for t in reversed(range(len(rewards))):
    carry = deltas[t] + traces[t] * carry
    vs[t] = values[t] + carry
  next_vs = np.concatenate([vs[1:], next_values[-1:]])
  if ends_episodes:
    next_vs = np.where(dones, next_values, next_vs)
  qs = rewards + discounts * next_vs
  return vs, clip(weights, clip_pg_rho_threshold) * (qs - values)


def writes_into_values(*inputs, **keywords):
  vs, pg_advantages = numpy_vtrace(*inputs, **keywords)
  inputs[3][...] = vs
  return vs, pg_advantages


def with_gradient(*inputs, **keywords):
  """Adds to the targets what is 0, and depends on the values."""
  vs, pg_advantages = vtrace.from_importance_weights(*inputs, **keywords)
  values = inputs[3]
  return vs + values - jax.lax.stop_gradient(values), jnp.array(pg_advantages)


# Name of a property -> a function with the fault that it is to find.
MUTANTS = {
  'targets': variant(td_error=rho_on_the_reward_only),
  'advantages': variant(
    q_value=lambda r, gamma, next_v, next_value, lambda_: r + gamma * next_value
  ),
  'single step': on_results(
    lambda vs, advantages, *inputs: (
      vs if len(vs) > 1 else inputs[3],
      advantages,
    )
  ),
  'on-policy targets': variant(first_carry=lambda bootstrap: bootstrap),
  'discounts': on_inputs(
    lambda discounts, **_: {
      'discounts': np.where(discounts == 0, discounts, discounts.max())
    }
  ),
  'lambda': on_keywords(lambda_=lambda keywords: 1.0),
  'lambda in traces': on_keywords(
    clip_rho_threshold=lambda keywords: (
      keywords['clip_rho_threshold'] * keywords['lambda_']
    )
  ),
  'lambda in advantages': variant(
    q_value=lambda r, gamma, next_v, next_value, lambda_: (
      r + gamma * (lambda_ * next_v + (1 - lambda_) * next_value)
    )
  ),
  'rho_bar': on_keywords(
    clip_rho_threshold=lambda keywords: min(1.0, keywords['clip_rho_threshold'])
  ),
  'c_bar': on_keywords(
    clip_c_threshold=lambda keywords: keywords['clip_rho_threshold']
  ),
  'pg_rho_bar': on_keywords(
    clip_pg_rho_threshold=lambda keywords: keywords['clip_rho_threshold']
  ),
  'no clipping': variant(
    clip=lambda weights, threshold: clip(
      weights, 1.0 if threshold is None else threshold
    )
  ),
  'extreme weights': variant(clip=clip_by_difference),
  'zero weights': on_inputs(
    lambda log_rhos, **_: {'log_rhos': np.maximum(log_rhos, -20)}
  ),
  'termination': variant(
    q_value=lambda r, gamma, next_v, next_value, lambda_: (
      r + gamma.max() * next_v
    )
  ),
  'truncation': conformance.from_transitions(
    functools.partial(vtrace_of_transitions, ends_episodes=False)
  ),
  'two episodes': variant(
    trace_factor=lambda c, gamma, lambda_: c * np.maximum(gamma, 0.9) * lambda_
  ),
  'alignment': on_inputs(late_rewards),
  'time consistency': three_steps,
  'translation': on_inputs(
    lambda values, **_: {'values': np.clip(values, -2, 2)}
  ),
  'linearity': on_inputs(
    lambda rewards, **_: {'rewards': np.clip(rewards, -1, 1)}
  ),
  'batch': on_results(
    lambda vs, advantages, *_: (vs, advantages - advantages.mean())
  ),
  'fixed point': variant(
    td_error=lambda rho, r, gamma, v, next_v: r + gamma * next_v - v
  ),
  'contraction': variant(
    trace_factor=lambda c, gamma, lambda_: 2 * c * gamma * lambda_
  ),
  'shapes': on_results(lambda vs, advantages, *_: (vs[:-1], advantages)),
  'dtype': on_results(
    lambda vs, advantages, *_: (vs, advantages.astype(np.float64))
  ),
  'inputs unchanged': writes_into_values,
  'no gradient': with_gradient,
}
