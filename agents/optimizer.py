"""The paper's optimizer, TensorFlow 1's RMSProp, and its schedule."""

import optax


def rmsprop(
  *,
  decay: float,
  epsilon: float,
  max_grad_norm: float | None,
) -> optax.GradientTransformation:
  """Returns RMSProp; the caller multiplies its output by -learning_rate.

    g  <- g min(1, max_grad_norm / |g|)
    ms <- decay ms + (1 - decay) g^2,   ms_0 = 1
    direction = g / sqrt(ms + epsilon)

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
  )


def linear_decay(initial: float, num_frames: int, total_frames: int) -> float:
  """Returns `initial`, decayed linearly to 0 at `total_frames`.

  Both `num_frames` and `total_frames` are in environment frames.
  """
  return initial * max(0.0, 1.0 - num_frames / total_frames)
