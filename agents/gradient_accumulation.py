"""Gradient accumulation; it is exact because the loss is a sum over unrolls."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from agents import trajectory as trajectory_lib


def accumulate(
  gradient: Callable[..., Any],
  params: Any,
  trajectory: trajectory_lib.Trajectory,
  unrolls_per_pass: int | None,
) -> Any:
  """Sums `gradient(params, part)` over parts of `unrolls_per_pass` unrolls.

  Args:
    gradient: (params, trajectory) -> a pytree of sums over its unrolls.
    params: passed to `gradient`.
    trajectory: rows `[T+1, B, ...]`, core_state `[B, ...]`.
    unrolls_per_pass: number of unrolls in a part. None: all B at once.

  Raises:
    ValueError: if `unrolls_per_pass` is below B and does not divide it.
  """
  batch_size = trajectory.rows.action.shape[1]
  if unrolls_per_pass is None or unrolls_per_pass >= batch_size:
    return gradient(params, trajectory)
  if batch_size % unrolls_per_pass:
    raise ValueError(
      f'unrolls_per_pass={unrolls_per_pass} does not divide the '
      f'{batch_size} unrolls of a device.'
    )

  def part(start):
    def slice_unrolls(axis, x):
      return jax.lax.dynamic_slice_in_dim(x, start, unrolls_per_pass, axis)

    return trajectory_lib.map_unrolls(slice_unrolls, trajectory)

  def add(sums, start):
    return jax.tree.map(jnp.add, sums, gradient(params, part(start))), None

  shapes = jax.eval_shape(gradient, params, part(0))
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  starts = jnp.arange(0, batch_size, unrolls_per_pass)
  return jax.lax.scan(add, zeros, starts)[0]
