"""The paper's optimiser: TensorFlow 1's RMSProp, and its schedule."""

import optax


def rmsprop(
  *,
  decay: float,
  epsilon: float,
  max_grad_norm: float | None,
) -> optax.GradientTransformation:
  """The direction to descend in; the caller multiplies by the learning rate.

    g  <- g min(1, max_grad_norm / |g|)
    ms <- decay ms + (1 - decay) g^2,   ms_0 = 1
    direction = g / sqrt(ms + epsilon)

  TensorFlow 1 starts the second moment at ones and has epsilon inside the root;
  with epsilons of 0.01 and 0.1 both matter.

  Args:
    decay: of the second moment (table G.1: 0.99).
    epsilon: inside the square root, as in TensorFlow 1 (table G.1: 0.01).
    max_grad_norm: clip of the global norm (40 for Atari); None: no clipping.
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
  """`initial`, falling linearly to 0 at `total_frames` environment frames."""
  return initial * max(0.0, 1.0 - num_frames / total_frames)
