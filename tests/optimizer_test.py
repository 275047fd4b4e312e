"""The optimizer equals TensorFlow 1's RMSProp with a clipped gradient."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import optimizer


def test_three_steps_equal_tensorflow_1():
  decay, epsilon, rate = 0.99, 0.1, 0.05
  gradients = np.array([[3.0, -0.2], [1.0, 0.1], [-2.0, 0.3]])
  w, ms = np.array([1.0, -1.0]), np.ones(2)
  transformation = optimizer.rmsprop(
    decay=decay, epsilon=epsilon, max_grad_norm=None
  )
  params = {'w': jnp.asarray(w)}
  state = transformation.init(params)
  for g in gradients:
    ms = decay * ms + (1 - decay) * g**2
    w = w - rate * g / np.sqrt(ms + epsilon)
    updates, state = transformation.update(
      {'w': jnp.asarray(g)}, state, params, learning_rate=rate
    )
    params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params['w'], w, rtol=1e-5)


@pytest.mark.parametrize('norm,expected', ((5.0, 1.0), (80.0, 0.5)))
def test_the_global_norm_is_clipped_at_40(norm, expected):
  gradient = {'a': jnp.array([0.6 * norm]), 'b': jnp.array([0.8 * norm])}
  free = optimizer.rmsprop(decay=0.99, epsilon=1e12, max_grad_norm=None)
  clipped = optimizer.rmsprop(decay=0.99, epsilon=1e12, max_grad_norm=40.0)
  directions = [
    t.update(gradient, t.init(gradient), learning_rate=1.0)[0]
    for t in (clipped, free)
  ]
  # With so large an epsilon the direction is linear in the gradient.
  for name in gradient:
    np.testing.assert_allclose(
      directions[0][name] / directions[1][name], expected, rtol=1e-4
    )


def test_linear_decay_ends_at_zero_and_stays_there():
  rates = [optimizer.linear_decay(0.4, n, 100) for n in (0, 25, 100, 130)]
  np.testing.assert_allclose(rates, [0.4, 0.3, 0.0, 0.0])


def test_a_scheduled_optimizer_steps_as_one_made_with_each_rate():
  gradients = [jnp.array([3.0, -0.2]), jnp.array([-1.0, 0.4])]
  params = jnp.zeros([2])
  ours = optax.chain(
    optax.clip_by_global_norm(2.0), optimizer.scheduled(optax.adam)
  )
  state = ours.init(params)
  plain_state = optax.adam(1.0).init(params)
  for gradient, rate in zip(gradients, (0.5, 0.125)):
    update, state = ours.update(gradient, state, params, learning_rate=rate)
    clipped = gradient * min(1.0, 2.0 / float(optax.tree.norm(gradient)))
    expected, plain_state = optax.adam(rate).update(clipped, plain_state)
    np.testing.assert_allclose(update, expected, rtol=1e-5)
