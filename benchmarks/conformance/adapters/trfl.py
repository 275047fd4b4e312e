"""TRFL: `vtrace_from_importance_weights`, by the paper's authors.

Written for TensorFlow 1; TensorFlow 2 runs it eagerly. It has no lambda, and no
threshold for c (always 1).
"""

import numpy as np
import tensorflow as tf
import trfl

PACKAGE, FUNCTION = 'trfl', 'vtrace_from_importance_weights'
WITHOUT = {'lambda_': 1.0, 'clip_c_threshold': 1.0}

to_native = tf.convert_to_tensor
to_numpy = np.asarray


def vtrace(*arrays, clip_rho_threshold, clip_pg_rho_threshold):
  """Returns (vs, pg_advantages), each of the shape of `values`, `[T, ...]`."""
  return trfl.vtrace_from_importance_weights(
    *arrays,
    clip_rho_threshold=clip_rho_threshold,
    clip_pg_rho_threshold=clip_pg_rho_threshold,
  )


def gradient(*arrays, **keywords):
  """Returns the gradients of sum(vs) + 3 sum(pg_advantages) in the arrays."""
  with tf.GradientTape() as tape:
    tape.watch(arrays)
    vs, pg_advantages = vtrace(*arrays, **keywords)
    total = tf.reduce_sum(vs) + 3 * tf.reduce_sum(pg_advantages)
  return tape.gradient(total, arrays)
