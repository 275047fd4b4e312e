"""Our convolution is Haiku's: parameters, value and gradient."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import conv

CASES = (  # size, channels, kernel, stride, padding
  ((84, 84), 4, 8, 4, 'VALID'),
  ((20, 20), 16, 4, 2, 'VALID'),
  ((15, 15), 16, 4, 2, 'VALID'),  # Odd: the last row and column are unused.
  ((72, 96), 3, 8, 4, 'VALID'),
  ((21, 17), 5, 3, 1, 'SAME'),
  ((9, 8), 2, 4, 2, 'SAME'),
  ((9, 9), 2, 3, 2, 'SAME'),  # The stride does not divide the kernel.
)


@pytest.mark.parametrize('size,channels,kernel,stride,padding', CASES, ids=str)
def test_equals_haiku(size, channels, kernel, stride, padding):
  ours = hk.without_apply_rng(
    hk.transform(lambda x: conv.Conv2D(6, kernel, stride, padding, name='c')(x))
  )
  theirs = hk.without_apply_rng(
    hk.transform(
      lambda x: hk.Conv2D(6, kernel, stride, padding=padding, name='c')(x)
    )
  )
  key = jax.random.key(0)
  x = jax.random.normal(key, (3, *size, channels))
  params = theirs.init(key, x)
  jax.tree.map(np.testing.assert_array_equal, ours.init(key, x), params)
  params = jax.tree.map(lambda p: p + 0.1, params)

  def value_and_gradient(network):
    def scalar(params, x):
      return jnp.sum(jnp.sin(network.apply(params, x)))

    return jax.jit(jax.value_and_grad(scalar, argnums=(0, 1)))(params, x)

  np.testing.assert_allclose(
    ours.apply(params, x), theirs.apply(params, x), rtol=1e-4, atol=1e-4
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3),
    value_and_gradient(ours),
    value_and_gradient(theirs),
  )
