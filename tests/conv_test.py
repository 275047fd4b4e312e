"""Tests that our convolution equals Haiku's: values and gradients."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.networks.cpu_gradients import conv
from agents.networks.cpu_gradients import packed_bytes

CASES = (  # size, channels, kernel, stride, padding
  ((84, 84), 4, 8, 4, 'VALID'),
  ((20, 20), 16, 4, 2, 'VALID'),
  ((15, 15), 16, 4, 2, 'VALID'),  # Odd: the last row and column are unused.
  ((21, 17), 5, 3, 1, 'SAME'),
  ((9, 8), 2, 4, 2, 'SAME'),
  ((9, 9), 2, 3, 2, 'SAME'),  # The stride does not divide the kernel.
)


@pytest.mark.parametrize('size,channels,kernel,stride,padding', CASES, ids=str)
def test_conv2d_equals_haikus(size, channels, kernel, stride, padding):
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


@pytest.mark.parametrize('channels', (4, 3, 8))  # Four bytes are packed.
@pytest.mark.parametrize('kernel,stride', ((8, 4), (3, 1), (3, 2)))
def test_uint8_inputs_equal_floats_divided_by_255(channels, kernel, stride):
  ours = hk.without_apply_rng(
    hk.transform(lambda x: conv.Conv2D(6, kernel, stride, name='c')(x))
  )
  x = jax.random.bits(jax.random.key(1), (3, 20, 24, channels), jnp.uint8)
  params = ours.init(jax.random.key(0), x)
  assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype('float32')}

  def value_and_gradient(x):
    def scalar(params):
      return jnp.sum(jnp.sin(ours.apply(params, x)))

    return jax.jit(jax.value_and_grad(scalar))(params)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3),
    value_and_gradient(x),
    value_and_gradient(x.astype(jnp.float32) / 255),
  )


@pytest.mark.parametrize(
  'dtype,channels', ((jnp.uint8, 1), (jnp.uint8, 2), (jnp.int32, 1))
)
def test_packed_concatenation_equals_jnp_concatenate(dtype, channels):
  xs = list(np.arange(4 * 30 * channels).reshape(4, 5, 6, channels) % 256)
  xs = [jnp.asarray(x, dtype) for x in xs]
  for count in (2, 4):
    joined = packed_bytes.concatenate(xs[:count])
    np.testing.assert_array_equal(joined, jnp.concatenate(xs[:count], -1))
  assert packed_bytes.are_packable(packed_bytes.concatenate(xs)) == (
    dtype == jnp.uint8 and channels == 1
  )
