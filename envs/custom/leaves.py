"""The leaves of observations and actions: what was declared, and conversion.

Observations are declared as a Gymnasium space or as dm_env specs. Both become a
tree of plain dicts whose leaves are `Leaf`s. `converter` makes the values that
an environment gives obey it, or raises.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple
import zlib

import dm_env
import numpy as np

from envs import factories

# JAX stores 64-bit numbers in 32 bits.
_NARROW = {
  np.dtype(np.int64): np.dtype(np.int32),
  np.dtype(np.uint64): np.dtype(np.uint32),
  np.dtype(np.float64): np.dtype(np.float32),
}


class Leaf(NamedTuple):
  """One array of an observation, or an action."""

  path: str  # Its keys, for messages; '' if it is the only leaf.
  spec: dm_env.specs.Array  # As the agent sees it: 32 bits, discrete from 0.
  start: int  # What the environment adds to the values of a discrete leaf.
  dtype: np.dtype  # As declared.

  @property
  def is_discrete(self) -> bool:
    """Whether values are numbered from 0."""
    return isinstance(self.spec, dm_env.specs.DiscreteArray)


Tree = Any  # A Leaf, or a dict of Trees.


def narrow(dtype: Any) -> np.dtype:
  """Returns the dtype in which JAX stores `dtype`."""
  dtype = np.dtype(dtype)
  return _NARROW.get(dtype, dtype)


def map_leaves(function: Callable[..., Any], tree: Tree) -> Any:
  """Applies a function to every leaf; returns a tree of the results."""
  if isinstance(tree, dict):
    return {key: map_leaves(function, part) for key, part in tree.items()}
  return function(tree)


def specs(tree: Tree) -> Any:
  """Returns the specs of the leaves, in a plain dict or alone."""
  return map_leaves(lambda leaf: leaf.spec, tree)


def converter(tree: Tree, batch: tuple[int, ...] = ()) -> Callable[[Any], Any]:
  """Returns a function that makes an observation obey the specs of `tree`.

  The function takes an observation and returns a plain dict of arrays, or one
  array. Arrays that obey their spec already are not copied. It raises a
  `FactoryError` that names the leaf if keys or shapes differ from those
  declared, or if a number cannot be stored as declared.

  Args:
    tree: what was declared.
    batch: leading axes of the observations, which the specs do not have.
  """
  if isinstance(tree, Leaf):
    return _leaf_converter(tree, batch)
  parts = {key: converter(part, batch) for key, part in tree.items()}

  def convert(value: Any) -> dict[str, Any]:
    _check_keys(value, tree)
    return {key: part(value[key]) for key, part in parts.items()}

  return convert


def values_checksum(value: Any, tree: Tree | None = None) -> int:
  """Returns a CRC-32 of the numbers of one observation, as it was given.

  It depends on the values alone, not on the dtypes: equal numbers have equal
  sums before and after conversion, which this does not use. With `tree`,
  floats are rounded as declared, and discrete values counted from their start.
  """
  if not isinstance(value, Mapping):
    return zlib.crc32(_numbers(np.asarray(value), tree).tobytes())
  total = 0
  for key in sorted(value):
    part = values_checksum(value[key], tree and tree[key])
    total = zlib.crc32(part.to_bytes(4, 'little'), total)
  return total


def _numbers(array: np.ndarray, leaf: Leaf | None) -> np.ndarray:
  """Returns values as float64, rounded and counted as declared in `leaf`."""
  if leaf is not None and array.dtype.kind == leaf.spec.dtype.kind == 'f':
    with np.errstate(over='ignore'):
      array = array.astype(leaf.spec.dtype)
  start = 0 if leaf is None else leaf.start
  return array.astype(np.float64) - start + 0.0  # Makes -0 equal to 0.


def _check_keys(value: Any, tree: dict[str, Tree]) -> None:
  """Raises a FactoryError if `value` is not a dict with the keys of `tree`."""
  if not isinstance(value, Mapping):
    raise factories.FactoryError(
      f'an observation is a {type(value).__name__}, not a dict with the keys '
      f'{", ".join(tree)}'
    )
  if value.keys() != tree.keys():
    raise factories.FactoryError(
      f'an observation has the keys {", ".join(map(str, value))}; declared '
      f'are {", ".join(tree)}'
    )


def _leaf_converter(
  leaf: Leaf, batch: tuple[int, ...]
) -> Callable[[Any], np.ndarray]:
  # Every step of every environment calls this: attributes are read here once.
  shape, dtype = batch + leaf.spec.shape, leaf.spec.dtype
  is_discrete = leaf.is_discrete

  def convert(value: Any) -> np.ndarray:
    array = value if type(value) is np.ndarray else _as_array(value, leaf)
    if array.shape != shape:
      raise factories.FactoryError(
        f'{_called(leaf)} has shape {list(array.shape)}, declared is '
        f'{list(shape)}'
      )
    if is_discrete:
      return _from_zero(array, leaf)
    return array if array.dtype == dtype else _cast(array, dtype, leaf)

  return convert


def _as_array(value: Any, leaf: Leaf) -> np.ndarray:
  try:
    return np.asarray(value)
  except (ValueError, TypeError) as error:  # Lists of different lengths.
    raise factories.FactoryError(
      f'{_called(leaf)} is not an array: {error}'
    ) from error


def _from_zero(array: np.ndarray, leaf: Leaf) -> np.ndarray:
  """Returns discrete values counted from 0, as declared in `leaf.spec`."""
  if array.dtype.kind not in 'iu':
    array = _cast(array, np.dtype(np.int64), leaf)
  number = array.astype(np.int64) - leaf.start
  wrong = (number < 0) | (number >= leaf.spec.num_values)
  if wrong.any():
    raise factories.FactoryError(
      f'{_called(leaf)} is {np.ravel(array)[np.ravel(wrong)][0]}, not one of '
      f'{leaf.start} to {leaf.start + leaf.spec.num_values - 1}'
    )
  return number.astype(leaf.spec.dtype)


def _cast(array: np.ndarray, dtype: np.dtype, leaf: Leaf) -> np.ndarray:
  """Casts to `dtype`; raises a FactoryError if that changes a value.

  Floats may be rounded to fewer bits, but not to infinity.
  """
  if array.dtype.kind not in 'biuf':
    raise factories.FactoryError(
      f'{_called(leaf)} is of dtype {array.dtype}, not numbers; for words see '
      'envs/text.py'
    )
  with np.errstate(invalid='ignore', over='ignore'):
    cast = array.astype(dtype)
    if dtype.kind == array.dtype.kind == 'f':
      kept = np.isfinite(cast) == np.isfinite(array)
    elif np.can_cast(array.dtype, dtype):
      return cast
    else:
      kept = (cast == array) & (cast.astype(array.dtype) == array)
  if not np.all(kept):
    raise factories.FactoryError(
      f'{_called(leaf)} is of dtype {array.dtype} and holds '
      f'{np.ravel(array)[~np.ravel(kept)][0]}, which the declared {leaf.dtype} '
      f'(stored as {dtype}) cannot hold'
    )
  return cast


def _called(leaf: Leaf) -> str:
  return f'observation {leaf.path!r}' if leaf.path else 'the observation'
