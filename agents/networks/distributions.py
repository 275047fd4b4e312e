"""Action distributions, with the outputs of the policy head as parameters."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Distribution(NamedTuple):
  """Pure functions of the outputs of the policy head, `[..., num_outputs]`."""

  num_outputs: int  # Size of the policy head.
  sample: Callable[[Array, Array], Any]  # (key, outputs) -> actions [...]
  mode: Callable[[Array], Any]  # outputs -> most likely actions [...]
  log_prob: Callable[[Array, Any], Array]  # (outputs, actions) -> [...]
  entropy: Callable[[Array], Array]  # outputs -> [...]


def categorical(num_actions: int) -> Distribution:
  """Makes a categorical distribution over `num_actions` actions.

  Its outputs are logits. A logit of -inf masks out its action.
  """

  def sample(key: Array, logits: Array) -> Array:
    return jax.random.categorical(key, logits).astype(jnp.int32)

  def mode(logits: Array) -> Array:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)

  def log_prob(logits: Array, actions: Array) -> Array:
    log_probs = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]

  def entropy(logits: Array) -> Array:
    log_probs = jax.nn.log_softmax(logits)
    # The limit of p log p is 0 as p tends to 0, but 0 * -inf is NaN.
    log_probs = jnp.where(jnp.isneginf(logits), 0.0, log_probs)
    return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

  return Distribution(num_actions, sample, mode, log_prob, entropy)
