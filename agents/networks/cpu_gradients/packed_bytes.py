"""Four bytes packed into one 32-bit word, to rearrange pixels faster.

The cost of rearranging an array depends on its number of elements, not on their
size. An image with four channels of bytes has a quarter as many words.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Array = jax.Array

BYTES = 4  # Per word.


def are_packable(x: Array) -> bool:
  """Returns whether the last axis of `x` holds the four bytes of a word."""
  return x.dtype == jnp.uint8 and x.shape[-1] == BYTES


def pack(x: Array) -> Array:
  """Packs bytes `[..., 4]` into words `[...]`, uint32."""
  return jax.lax.bitcast_convert_type(x, jnp.uint32)


def unpack(x: Array) -> Array:
  """Unpacks words `[...]` into bytes `[..., 4]`; the inverse of `pack`."""
  return jax.lax.bitcast_convert_type(x, jnp.uint8)


def concatenate(xs: Sequence[Array]) -> Array:
  """Returns `jnp.concatenate(xs, -1)`; is faster for four arrays of bytes.

  Four uint8 arrays `[..., 1]` are combined into words and then unpacked.
  """
  if len(xs) != BYTES or any(
    x.dtype != jnp.uint8 or x.shape[-1] != 1 for x in xs
  ):
    return jnp.concatenate(xs, axis=-1)
  # `unpack` returns the lowest byte first.
  words = [
    jnp.left_shift(x[..., 0].astype(jnp.uint32), 8 * place)
    for place, x in enumerate(xs)
  ]
  return unpack(sum(words))
