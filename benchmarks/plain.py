"""Plain components for comparison: Haiku's layers with XLA's own gradients."""

import haiku as hk
import jax

from agents.networks import torsos


def max_pool(x: jax.Array) -> jax.Array:
  """Computes `cpu_gradients.max_pool` with Haiku's max-pooling."""
  return hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), 'SAME')


def shallow_torso(image: jax.Array) -> jax.Array:
  """Applies `torsos.shallow_torso` with Haiku's convolution."""
  return torsos.shallow_torso(torsos.as_float(image), conv2d=hk.Conv2D)


def deep_torso(image: jax.Array) -> jax.Array:
  """Applies `torsos.deep_torso` with Haiku's convolution and max-pooling."""
  return torsos.deep_torso(
    torsos.as_float(image), conv2d=hk.Conv2D, max_pool=max_pool
  )


TORSOS = {'shallow': shallow_torso, 'deep': deep_torso}
