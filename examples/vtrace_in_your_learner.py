"""`import vtrace` in a JAX learner of your own: the call in `loss`.

The rest is somebody else's: tables as policy and values, a corridor of eight
states as environment, and data that is LAG updates old.
"""

import collections

import jax
import jax.numpy as jnp
import optax

import vtrace

T, B, LAG = 20, 16, 8


def loss(params, data):
  """Returns the actor-critic loss of unrolls `[T, B]`, corrected by V-trace."""
  values = params['values'][data['states']]
  policy = jax.nn.log_softmax(params['logits'])
  log_pi = policy[data['states'], data['actions']]
  returns = vtrace.from_importance_weights(
    log_rhos=log_pi - data['log_mu'],
    discounts=0.95 * (1.0 - data['rewards']),  # A reward ends the episode.
    rewards=data['rewards'],
    values=values,
    bootstrap_value=params['values'][data['last']],
  )
  policy_loss = vtrace.policy_gradient_loss(log_pi, returns.pg_advantages)
  return jnp.mean(policy_loss + vtrace.baseline_loss(returns.vs, values))


def unroll(params, states, key):
  """Walks for T steps, left or right; the way out on the right pays 1."""
  policy = jax.nn.log_softmax(params['logits'])

  def step(states, key):
    actions = jax.random.categorical(key, policy[states])
    places = jnp.maximum(states + 2 * actions - 1, 0)
    data = dict(states=states, actions=actions, log_mu=policy[states, actions])
    return places % 8, data | {'rewards': 1.0 * (places == 8)}

  last, data = jax.lax.scan(step, states, jax.random.split(key, T))
  return data | {'last': last}


def train(num_updates=200):
  """Trains on data of old policies; yields the mean reward of each update."""
  params = {'logits': jnp.zeros([8, 2]), 'values': jnp.zeros([8])}
  optimizer, data = optax.adam(0.05), {'last': jnp.zeros([B], jnp.int32)}
  opt_state, old = optimizer.init(params), collections.deque([params], LAG + 1)
  play, gradient = jax.jit(unroll), jax.jit(jax.grad(loss))
  for key in jax.random.split(jax.random.key(0), num_updates):
    data = play(old[0], data['last'], key)
    updates, opt_state = optimizer.update(gradient(params, data), opt_state)
    params = optax.apply_updates(params, updates)
    old.append(params)
    yield float(data['rewards'].mean())
