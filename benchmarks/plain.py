"""The plain parts that ours are compared with: Haiku's layers, XLA's own."""

import functools

import haiku as hk
import jax

from agents import torsos


def max_pool(x: jax.Array) -> jax.Array:
  """`agents.pool.max_pool` by Haiku."""
  return hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), 'SAME')


TORSOS = {
  'shallow': functools.partial(torsos.shallow_torso, conv2d=hk.Conv2D),
  'deep': functools.partial(
    torsos.deep_torso, conv2d=hk.Conv2D, max_pool=max_pool
  ),
}
