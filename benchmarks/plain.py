"""The plain parts that ours are compared with: Haiku's layers, XLA's own."""

import haiku as hk
import jax

from agents.networks import torsos


def max_pool(x: jax.Array) -> jax.Array:
  """`cpu_gradients.max_pool` by Haiku."""
  return hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), 'SAME')


def shallow_torso(image: jax.Array) -> jax.Array:
  """`torsos.shallow_torso` with Haiku's convolution."""
  return torsos.shallow_torso(torsos.as_float(image), conv2d=hk.Conv2D)


def deep_torso(image: jax.Array) -> jax.Array:
  """`torsos.deep_torso` with Haiku's convolution and max-pooling."""
  return torsos.deep_torso(
    torsos.as_float(image), conv2d=hk.Conv2D, max_pool=max_pool
  )


TORSOS = {'shallow': shallow_torso, 'deep': deep_torso}
