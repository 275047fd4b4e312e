"""Tests of the categorical distribution, with and without masks."""

import jax
import jax.numpy as jnp
import numpy as np

from agents.networks import distributions

LOGITS = jnp.array([[1.0, 2.0, -1.0], [0.0, -jnp.inf, 0.5]])


def probabilities():
  p = np.exp(np.asarray(LOGITS, np.float64))
  return p / p.sum(-1, keepdims=True)


def test_log_prob_and_entropy_equal_numpys():
  policy = distributions.categorical(3)
  p = probabilities()
  np.testing.assert_allclose(
    policy.log_prob(LOGITS, jnp.array([1, 2])),
    np.log(p[[0, 1], [1, 2]]),
    rtol=1e-5,
  )
  entropy = -np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-30)), 0), -1)
  np.testing.assert_allclose(policy.entropy(LOGITS), entropy, rtol=1e-5)


def test_samples_follow_the_probabilities():
  policy = distributions.categorical(3)
  many = jnp.broadcast_to(LOGITS, (20_000, 2, 3))
  actions = np.asarray(policy.sample(jax.random.key(0), many))
  for i, p in enumerate(probabilities()):
    frequencies = np.bincount(actions[:, i], minlength=3) / len(actions)
    np.testing.assert_allclose(frequencies, p, atol=0.015)
  assert not np.any(actions[:, 1] == 1)


def test_the_mode_is_the_most_likely_action():
  mode = distributions.categorical(3).mode(LOGITS)
  np.testing.assert_array_equal(mode, [1, 2])
  assert mode.dtype == jnp.int32
  np.testing.assert_array_equal(mode, np.argmax(probabilities(), axis=-1))


def test_masked_logits_give_finite_gradients():
  policy = distributions.categorical(3)
  gradient = jax.grad(lambda x: jnp.sum(policy.entropy(x)))(LOGITS)
  assert np.all(np.isfinite(gradient))
