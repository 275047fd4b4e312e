"""Broadcasting: one weight or discount for several value heads, and scalars.

    log_rhos, discounts         [T, B, 1], or a number for discounts
    rewards, values             [T, B, C]
    vs, pg_advantages           [T, B, C]

Only arrays of equal rank broadcast. NumPy aligns trailing axes: it would read
`[T]` beside `[T, B]` as one number per batch element, and be silent if T = B.
The time axis does not broadcast: values of length 1 beside rewards of length T
are a mistake.
"""

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


def broadcast(**arrays: Any) -> list[Array]:
  """Broadcasts time-major arrays and scalars to one shape, `[T, ...]`.

  Args:
    **arrays: arrays, nested lists or numbers, by the names that an error gives.
      All but the numbers have the same rank and the same T.

  Returns:
    The arrays in the order of the arguments. An array that has the shape
    already is returned as it is.

  Raises:
    AssertionError: if the shapes do not agree or T is 0.
  """
  arrays = {name: jnp.asarray(x) for name, x in arrays.items()}
  shapes = [x.shape for x in arrays.values() if x.ndim]
  shape = _common(shapes)
  if not shape or {s[0] for s in shapes} != {shape[0]} or not shape[0]:
    raise AssertionError(
      f'{_names(arrays)}: all must be [T, ...] with one rank, one T > 0 and '
      'other axes that are equal or 1, or scalars.'
    )
  return [jnp.broadcast_to(x, shape) for x in arrays.values()]


def broadcast_with_bootstrap(
  *, values: Any, bootstrap_value: Any, **arrays: Any
) -> list[Array]:
  """Broadcasts as `broadcast` does, with the value that follows `values`.

  Args:
    values: V(x_t), `[T, ...]`, or a scalar.
    bootstrap_value: V(x_T): of the shape of one step of `values`, before or
      after it is broadcast, or a scalar.
    **arrays: as in `broadcast`.

  Returns:
    The arrays `[T, ...]` in the order of the arguments, then the values and the
    bootstrap value, `[...]`.

  Raises:
    AssertionError: if the shapes do not agree or T is 0.
  """
  values, bootstrap_value = jnp.asarray(values), jnp.asarray(bootstrap_value)
  whole = broadcast(**arrays, values=values)
  shape = whole[-1].shape[1:]
  if bootstrap_value.shape not in ((), values.shape[1:], shape):
    named = {'bootstrap_value': bootstrap_value, 'values': values}
    raise AssertionError(
      f'{_names(named)}: the bootstrap value must be {shape}, or a scalar.'
    )
  return [*whole, jnp.broadcast_to(bootstrap_value, shape)]


def check_logits(behaviour: Array, target: Array, actions: Array) -> None:
  """Raises an AssertionError unless the shapes of policies and actions agree.

  The logits are `[T, ..., num_actions]`, the actions `[T, ...]`.
  """
  leading = [actions.shape, target.shape[:-1]]
  if behaviour.shape != target.shape or _common(leading) is None:
    named = {
      'behaviour_policy_logits': behaviour,
      'target_policy_logits': target,
      'actions': actions,
    }
    raise AssertionError(
      f'{_names(named)}: both logits must be [T, ..., num_actions], and the '
      'actions [T, ...].'
    )


def _common(shapes: list[tuple[int, ...]]) -> tuple[int, ...] | None:
  """Returns the shape that shapes of one rank broadcast to; None if none."""
  if len({len(shape) for shape in shapes}) != 1:
    return None
  try:
    return jnp.broadcast_shapes(*shapes)
  except ValueError:
    return None


def _names(arrays: dict[str, Array]) -> str:
  return ', '.join(f'{name} {x.shape}' for name, x in arrays.items())
