"""Torsos: from a batch of observations `[N, ...]` to features `[N, F]`.

Figure 3 of the paper (shallow and deep), a perceptron for everything that is
not an image, and the language channel of the DMLab agents.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import dm_env
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.networks.cpu_gradients import conv
from agents.networks.cpu_gradients import max_pool as max_pool_lib

Array = jax.Array
Torso = Callable[[Any], Array]

NUM_BUCKETS = 1000  # Of an instruction's words, as in the authors' code.


def shallow_torso(image: Array, conv2d: Any = conv.Conv2D) -> Array:
  """Two convolutions, one linear layer (figure 3, left); `[N, H, W, C]`."""
  x = conv2d(16, kernel_shape=8, stride=4, padding='VALID')(image)
  x = jax.nn.relu(x)
  x = jax.nn.relu(conv2d(32, kernel_shape=4, stride=2, padding='VALID')(x))
  return jax.nn.relu(hk.Linear(256)(hk.Flatten()(x)))


def deep_torso(
  image: Array,
  conv2d: Any = conv.Conv2D,
  max_pool: Callable[[Array], Array] = max_pool_lib.max_pool,
) -> Array:
  """The residual network of 15 convolutions (figure 3, right)."""
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
  """A perceptron on all leaves of the observation, flattened and concatenated.

  Discrete leaves become one-hot vectors, bytes go to [0, 1], the rest is taken
  as it is.
  """
  specs = jax.tree.leaves(observation_spec)

  def torso(observation: Any) -> Array:
    leaves = jax.tree.leaves(observation)
    flat = [_flat(leaf, spec) for leaf, spec in zip(leaves, specs, strict=True)]
    return hk.nets.MLP(hidden_sizes, activate_final=True)(
      jnp.concatenate(flat, -1)
    )

  return torso


def instruction_torso(tokens: Array) -> Array:
  """Encodes an instruction: embedding of 20, LSTM of 64, its last output.

  Args:
    tokens: `[N, L]` integers: `hash_words` of each instruction, 0 behind its
      end.

  Returns:
    `[N, 64]`; zeros for an empty instruction.
  """
  embedded = hk.Embed(NUM_BUCKETS, 20)(jnp.maximum(tokens - 1, 0))
  core = hk.LSTM(64)
  state = core.initial_state(tokens.shape[0])
  outputs, _ = hk.dynamic_unroll(core, embedded, state, time_major=False)
  length = jnp.sum(tokens > 0, axis=1)
  last = jnp.take_along_axis(
    outputs, jnp.maximum(length - 1, 0)[:, None, None], axis=1
  )[:, 0]
  return jnp.where(length[:, None] > 0, last, 0.0)


def hash_words(text: str, max_words: int) -> np.ndarray:
  """Splits on spaces, hashes each word to 1..1000; 0 fills `max_words`.

  The hash is FNV-1a, the same in every process (the authors' is TensorFlow's).
  """
  tokens = np.zeros([max_words], np.int32)
  for i, word in enumerate(text.split()[:max_words]):
    digest = 0x811C9DC5
    for byte in word.encode():
      digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    tokens[i] = digest % NUM_BUCKETS + 1
  return tokens


def as_float(x: Array) -> Array:
  """Bytes as numbers in [0, 1], everything else as it is."""
  scale = 255.0 if x.dtype == jnp.uint8 else 1.0
  return x.astype(jnp.float32) / scale


def _residual_block(x: Array, channels: int, conv2d: Any) -> Array:
  residual = conv2d(channels, kernel_shape=3)(jax.nn.relu(x))
  return x + conv2d(channels, kernel_shape=3)(jax.nn.relu(residual))


def _flat(leaf: Array, spec: dm_env.specs.Array) -> Array:
  if isinstance(spec, dm_env.specs.DiscreteArray):
    return jax.nn.one_hot(leaf, spec.num_values)
  return as_float(leaf).reshape(leaf.shape[0], -1)
