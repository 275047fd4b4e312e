"""Four bytes as one word: pixels of four channels are moved four at a time.

Rearranging costs by the element, whatever its size; as words there are a
quarter as many.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Array = jax.Array

BYTES = 4  # In a word.


def are_packable(x: Array) -> bool:
  """Whether the last axis of `x` is the bytes of a word."""
  return x.dtype == jnp.uint8 and x.shape[-1] == BYTES


def pack(x: Array) -> Array:
  """`[..., 4]` bytes to `[...]` words."""
  return jax.lax.bitcast_convert_type(x, jnp.uint32)


def unpack(x: Array) -> Array:
  """`[...]` words to `[..., 4]` bytes."""
  return jax.lax.bitcast_convert_type(x, jnp.uint8)


def concatenate(xs: Sequence[Array]) -> Array:
  """`jnp.concatenate(xs, -1)`; four single bytes become a word on the way."""
  if len(xs) != BYTES or any(
    x.dtype != jnp.uint8 or x.shape[-1] != 1 for x in xs
  ):
    return jnp.concatenate(xs, axis=-1)
  # The first is the lowest byte: of `unpack` the first as well.
  words = [
    jnp.left_shift(x[..., 0].astype(jnp.uint32), 8 * place)
    for place, x in enumerate(xs)
  ]
  return unpack(sum(words))
