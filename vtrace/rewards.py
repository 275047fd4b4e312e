"""Reward clipping, applied in the learner; reported returns are unclipped."""

import jax
import jax.numpy as jnp

Array = jax.Array


def abs_one(rewards: Array) -> Array:
  """Clips rewards to [-1, 1]: Atari, single DMLab levels (appendix D)."""
  return jnp.clip(rewards, -1.0, 1.0)


def soft_asymmetric(rewards: Array) -> Array:
  """Returns the optimistic asymmetric clipping for DMLab-30.

  With s = tanh(r / 5): 5 s where r >= 0, and 1.5 s where r < 0. This definition
  is from the authors' released code, which produced the published scores.
  `rewards` may have any shape.
  """
  squeezed = jnp.tanh(rewards / 5.0)
  return jnp.where(rewards < 0, 0.3 * squeezed, squeezed) * 5.0


def soft_asymmetric_paper(rewards: Array) -> Array:
  """Returns 0.3 min(tanh r, 0) + 5 max(tanh r, 0), as in figure D.1."""
  squeezed = jnp.tanh(rewards)
  return 0.3 * jnp.minimum(squeezed, 0.0) + 5.0 * jnp.maximum(squeezed, 0.0)


CLIPPINGS = {
  'abs_one': abs_one,
  'soft_asymmetric': soft_asymmetric,
  'soft_asymmetric_paper': soft_asymmetric_paper,
  'none': lambda rewards: rewards,
}
