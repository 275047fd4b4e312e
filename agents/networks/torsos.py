"""Torsos, which map a batch of observations `[N, ...]` to features `[N, F]`.

The shallow and the deep torso of figure 3 of the paper, an MLP for observations
that are not images, and the instruction encoder of the DMLab agents.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp

from agents.networks.cpu_gradients import conv
from agents.networks.cpu_gradients import max_pool as max_pool_lib

Array = jax.Array
Torso = Callable[[Any], Array]


def shallow_torso(image: Array, conv2d: Any = conv.Conv2D) -> Array:
  """Applies the shallow torso to images `[N, H, W, C]` (figure 3, left).

  Two convolutions and a linear layer; returns `[N, 256]`.
  """
  x = conv2d(16, kernel_shape=8, stride=4, padding='VALID')(image)
  x = jax.nn.relu(x)
  x = jax.nn.relu(conv2d(32, kernel_shape=4, stride=2, padding='VALID')(x))
  return jax.nn.relu(hk.Linear(256)(hk.Flatten()(x)))


def deep_torso(
  image: Array,
  conv2d: Any = conv.Conv2D,
  max_pool: Callable[[Array], Array] = max_pool_lib.max_pool,
) -> Array:
  """Applies the deep torso to images `[N, H, W, C]` (figure 3, right).

  A residual network of 15 convolutions and a linear layer; returns `[N, 256]`.
  """
  x = image
  for channels in (16, 32, 32):
    x = max_pool(conv2d(channels, kernel_shape=3)(x))
    for _ in range(2):
      x = _residual_block(x, channels, conv2d)
  x = jax.nn.relu(hk.Flatten()(x))
  return jax.nn.relu(hk.Linear(256)(x))


def mlp_torso(
  observation_spec: Any,
  hidden_sizes: Sequence[int] = (128, 128),
) -> Torso:
  """Makes an MLP torso over all leaves of the observation, concatenated.

  Discrete leaves become one-hot vectors, bytes are scaled to [0, 1], and other
  leaves are cast to float32. Each leaf is flattened.

  Args:
    observation_spec: the spec of one observation, a pytree.
    hidden_sizes: units of each layer; the last is the number of features.
  """
  specs = jax.tree.leaves(observation_spec)

  def torso(observation: Any) -> Array:
    leaves = jax.tree.leaves(observation)
    flat = [_flat(leaf, spec) for leaf, spec in zip(leaves, specs, strict=True)]
    return hk.nets.MLP(hidden_sizes, activate_final=True)(
      jnp.concatenate(flat, -1)
    )

  return torso


def instruction_torso(tokens: Array, num_words: int) -> Array:
  """Encodes instructions as the last output of an LSTM over the words.

  The word embedding has 20 dimensions, the LSTM 64 units.

  Args:
    tokens: `[N, L]` integers 1..`num_words`, padded with 0 at the end.
    num_words: number of words in the vocabulary, or of their hashes.

  Returns:
    `[N, 64]`; zeros for an empty instruction.
  """
  embedded = hk.Embed(num_words, 20)(jnp.maximum(tokens - 1, 0))
  core = hk.LSTM(64)
  state = core.initial_state(tokens.shape[0])
  outputs, _ = hk.dynamic_unroll(core, embedded, state, time_major=False)
  length = jnp.sum(tokens > 0, axis=1)
  last = jnp.take_along_axis(
    outputs, jnp.maximum(length - 1, 0)[:, None, None], axis=1
  )[:, 0]
  return jnp.where(length[:, None] > 0, last, 0.0)


def as_float(x: Array) -> Array:
  """Converts to float32; bytes are scaled to [0, 1]."""
  scale = 255.0 if x.dtype == jnp.uint8 else 1.0
  return x.astype(jnp.float32) / scale


def _residual_block(x: Array, channels: int, conv2d: Any) -> Array:
  residual = conv2d(channels, kernel_shape=3)(jax.nn.relu(x))
  return x + conv2d(channels, kernel_shape=3)(jax.nn.relu(residual))


def _flat(leaf: Array, spec: dm_env.specs.Array) -> Array:
  if isinstance(spec, dm_env.specs.DiscreteArray):
    return jax.nn.one_hot(leaf, spec.num_values)
  return as_float(leaf).reshape(leaf.shape[0], -1)
