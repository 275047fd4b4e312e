"""`max_pool` equals Haiku's, value and gradient, even where pixels tie."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.networks.cpu_gradients import max_pool as max_pool_lib


@pytest.mark.parametrize('height,width', ((21, 11), (6, 7), (8, 6), (1, 2)))
def test_max_pool_equals_haiku(height, width):
  keys = jax.random.split(jax.random.key(0), 2)
  # Few distinct values: most windows have several maxima.
  x = jax.random.randint(keys[0], (3, height, width, 5), -2, 2)
  x = x.astype(jnp.float32)
  theirs, pull_back = jax.vjp(
    lambda x: hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), 'SAME'), x
  )
  ours, our_pull_back = jax.vjp(max_pool_lib.max_pool, x)
  np.testing.assert_array_equal(ours, theirs)
  # Sums of integers do not depend on their order.
  gradient = jax.random.randint(keys[1], theirs.shape, -9, 9)
  gradient = gradient.astype(jnp.float32)
  np.testing.assert_array_equal(
    our_pull_back(gradient)[0], pull_back(gradient)[0]
  )


@pytest.mark.parametrize('height,width', ((7, 7), (8, 6), (1, 2)))
@pytest.mark.parametrize('gradient', (3.0, np.nan))
def test_the_gradient_of_a_window_with_a_nan_is_not_lost(
  height, width, gradient
):
  x = (
    jnp.zeros((1, height, width, 2)).at[0, height // 2, width // 2].set(jnp.nan)
  )
  maxima, pull_back = jax.vjp(max_pool_lib.max_pool, x)
  assert np.isnan(maxima).any()
  gradients = jnp.where(jnp.isnan(maxima), gradient, 1.0)
  np.testing.assert_array_equal(
    jnp.sum(pull_back(gradients)[0]), jnp.sum(gradients)
  )
