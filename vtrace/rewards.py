"""Reward clippings, applied by the learner and never to reported returns."""

import jax
import jax.numpy as jnp

Array = jax.Array


def abs_one(rewards: Array) -> Array:
  """Clip to [-1, 1]: Atari and single DMLab levels (appendix D)."""
  return jnp.clip(rewards, -1.0, 1.0)


def soft_asymmetric(rewards: Array) -> Array:
  """The optimistic asymmetric clipping behind the DMLab-30 scores.

  5 s where r >= 0 and 1.5 s where r < 0, with s = tanh(r / 5). This is the
  authors' released code; the published scores came from it. `rewards`: any
  shape.
  """
  squeezed = jnp.tanh(rewards / 5.0)
  return jnp.where(rewards < 0, 0.3 * squeezed, squeezed) * 5.0


def soft_asymmetric_paper(rewards: Array) -> Array:
  """Figure D.1's definition: 0.3 min(tanh r, 0) + 5 max(tanh r, 0)."""
  squeezed = jnp.tanh(rewards)
  return 0.3 * jnp.minimum(squeezed, 0.0) + 5.0 * jnp.maximum(squeezed, 0.0)


CLIPPINGS = {
  'abs_one': abs_one,
  'soft_asymmetric': soft_asymmetric,
  'soft_asymmetric_paper': soft_asymmetric_paper,
  'none': lambda rewards: rewards,
}
