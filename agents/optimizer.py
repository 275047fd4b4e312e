"""The paper's optimizer, TensorFlow 1's RMSProp, and its schedule on frames.

Optimizers follow optax: their updates are added to the parameters.
"""

from collections.abc import Callable
from typing import Any

import optax


def rmsprop(
  *,
  decay: float,
  epsilon: float,
  max_grad_norm: float | None,
) -> optax.GradientTransformationExtraArgs:
  """Returns RMSProp with the learning rate as an argument: see `scheduled`.

    g  <- g min(1, max_grad_norm / |g|)
    ms <- decay ms + (1 - decay) g^2,   ms_0 = 1
    update = -learning_rate g / sqrt(ms + epsilon)

  The second moment starts at ones and epsilon is inside the square root, as in
  TensorFlow 1. With an epsilon of 0.01 or 0.1, both choices matter.

  Args:
    decay: decay of the second moment (table G.1: 0.99).
    epsilon: added inside the square root (table G.1: 0.01).
    max_grad_norm: clip of the global norm (40 for Atari). None: no clipping.
  """
  clip = (
    optax.identity()
    if max_grad_norm is None
    else optax.clip_by_global_norm(max_grad_norm)
  )
  return optax.chain(
    clip,
    optax.scale_by_rms(
      decay=decay, eps=epsilon, initial_scale=1.0, eps_in_sqrt=True
    ),
    scheduled(optax.scale_by_learning_rate),
  )


def scheduled(
  make_optimizer: Callable[[Any], optax.GradientTransformation],
) -> optax.GradientTransformationExtraArgs:
  """Returns an optimizer whose `update` takes the keyword `learning_rate`.

  The learner passes it the rate of the schedule, which runs on frames; optax's
  own schedules run on updates.

  Args:
    make_optimizer: learning rate -> optimizer, for example `optax.adam`. The
      optimizer's state must not depend on the rate.
  """

  def init(params):
    return make_optimizer(0.0).init(params)

  def update(grads, state, params=None, *, learning_rate, **unused):
    del unused  # Arguments of other optimizers in a chain.
    return make_optimizer(learning_rate).update(grads, state, params)

  return optax.GradientTransformationExtraArgs(init, update)


def linear_decay(initial: float, num_frames: int, total_frames: int) -> float:
  """Returns `initial`, decayed linearly to 0 at `total_frames`.

  Both `num_frames` and `total_frames` are in environment frames.
  """
  return initial * max(0.0, 1.0 - num_frames / total_frames)
