"""rlax: `vtrace_td_error_and_advantage`, one sequence, mapped over the batch.

It has no threshold for c (always 1), and returns v_s - V(x_s).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import rlax

PACKAGE, FUNCTION = 'rlax', 'vtrace_td_error_and_advantage'
WITHOUT = {'clip_c_threshold': 1.0}

to_native = jnp.asarray
to_numpy = np.asarray


def vtrace(
  log_rhos,
  discounts,
  rewards,
  values,
  bootstrap_value,
  *,
  clip_rho_threshold,
  clip_pg_rho_threshold,
  lambda_,
):
  """Returns (vs, pg_advantages), each of the shape of `values`, `[T, ...]`."""
  next_values = jnp.concatenate([values[1:], bootstrap_value[None]])
  output = _mapped(values.ndim - 1)(
    values,
    next_values,
    rewards,
    discounts,
    jnp.exp(log_rhos),
    float(lambda_),
    _threshold(clip_rho_threshold),
    _threshold(clip_pg_rho_threshold),
  )
  return output.errors + values, output.pg_advantage


@functools.cache
def _mapped(num_axes):
  """Returns the compiled function for arrays with axes behind that of time."""
  targets = rlax.vtrace_td_error_and_advantage
  for _ in range(num_axes):
    in_axes = (-1,) * 5 + (None,) * 3
    targets = jax.vmap(targets, in_axes=in_axes, out_axes=-1)
  return jax.jit(targets)


def _threshold(threshold):
  """Returns infinity for None, which means no clipping."""
  return jnp.inf if threshold is None else threshold


def gradient(*arrays, **keywords):
  """Returns the gradients of sum(vs) + 3 sum(pg_advantages) in the arrays."""

  def total(arrays):
    vs, pg_advantages = vtrace(*arrays, **keywords)
    return jnp.sum(vs) + 3 * jnp.sum(pg_advantages)

  return jax.grad(total)(arrays)
