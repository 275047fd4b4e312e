"""From Gymnasium's spaces and dm_env's specs to `leaves.Leaf`s, and back."""

from collections.abc import Mapping
from typing import Any

import dm_env
import gymnasium
import numpy as np

from envs import factories
from envs import text
from envs.custom import leaves


def observation_tree(declared: Any, path: str = '') -> leaves.Tree:
  """Returns the leaves of an observation space, or of a tree of specs.

  Raises:
    FactoryError: if something else than arrays of numbers in dicts is declared.
  """
  parts = _parts(declared)
  if parts is None:
    return _observation_leaf(declared, path)
  if not parts:
    raise factories.FactoryError('an observation has no entries')
  for key in parts:
    if not isinstance(key, str):
      raise factories.FactoryError(
        f'the keys of an observation must be strings, not {key!r}'
      )
  return {
    key: observation_tree(part, f'{path}.{key}' if path else key)
    for key, part in parts.items()
  }


def action_leaf(declared: Any) -> leaves.Leaf:
  """Returns the leaf of an action space or spec; an integer is discrete.

  Raises:
    FactoryError: if an action is not a single array.
  """
  if _parts(declared) is not None or isinstance(declared, (list, tuple)):
    raise factories.FactoryError(
      f'an action must be a single array, not {declared}'
    )
  leaf = _observation_leaf(declared, '')
  spec = leaf.spec
  bounded = isinstance(spec, dm_env.specs.BoundedArray)
  if (
    leaf.is_discrete or spec.shape or not bounded or spec.dtype.kind not in 'iu'
  ):
    return leaf
  start = int(spec.minimum)
  number = int(spec.maximum) - start + 1
  return leaf._replace(spec=_discrete(number), start=start)


def batchable(tree: leaves.Tree) -> gymnasium.Space:
  """Returns a space of the dtypes and shapes of `tree`, without its bounds.

  Vector environments need a space for its memory layout only.
  """
  if isinstance(tree, leaves.Leaf):
    return _box(tree.spec)
  return gymnasium.spaces.Dict(
    {key: batchable(part) for key, part in tree.items()}
  )


def action_space(leaf: leaves.Leaf) -> gymnasium.Space:
  """Returns the space of actions as the agent gives them, from 0."""
  if leaf.is_discrete:
    return gymnasium.spaces.Discrete(leaf.spec.num_values)
  return _box(leaf.spec)


def _parts(declared: Any) -> Mapping[Any, Any] | None:
  """Returns the entries of a dict of specs or a Dict space, else None."""
  if isinstance(declared, Mapping) and not hasattr(declared, 'spaces'):
    return declared
  parts = getattr(declared, 'spaces', None)
  return parts if isinstance(parts, Mapping) else None


def _observation_leaf(declared: Any, path: str) -> leaves.Leaf:
  if isinstance(declared, dm_env.specs.Array):
    spec, start = declared, 0
  else:
    spec, start = _spec_of_space(declared, path)
  if spec.dtype.kind not in 'biuf':
    raise factories.FactoryError(
      f'{_called(path)} holds no numbers but {spec}; see envs/text.py for words'
    )
  dtype = np.dtype(getattr(declared, 'dtype', spec.dtype))
  return leaves.Leaf(path, _narrow(spec), start, dtype)


def _spec_of_space(space: Any, path: str) -> tuple[dm_env.specs.Array, int]:
  """Returns the spec of an array's space, and the start of a discrete one."""
  shape, dtype = getattr(space, 'shape', None), getattr(space, 'dtype', None)
  if getattr(space, 'is_text', False):
    return text.HashedWords(shape[0]), 0
  if shape is None or dtype is None or hasattr(space, 'spaces'):
    raise factories.FactoryError(
      f'{_called(path)} must be an array of numbers or a dict of them, not '
      f'{space}'
    )
  start = np.asarray(getattr(space, 'start', 0), object)
  if hasattr(space, 'nvec'):  # MultiDiscrete: several numbers.
    end = start + np.asarray(space.nvec, object) - 1
    return _bounded(shape, dtype, start, end), 0
  if hasattr(space, 'n') and shape == ():
    return _discrete(int(space.n)), int(start)
  if hasattr(space, 'low'):
    return _bounded(shape, dtype, space.low, space.high), 0
  if hasattr(space, 'n'):  # MultiBinary.
    return _bounded(shape, dtype, 0, 1), 0
  return dm_env.specs.Array(shape, dtype), 0


def _bounded(shape: Any, dtype: Any, low: Any, high: Any) -> Any:
  low, high = np.asarray(low), np.asarray(high)
  if low.dtype == object:
    low, high = low.astype(np.int64), high.astype(np.int64)
  return dm_env.specs.BoundedArray(shape, dtype, low, high)


def _discrete(number: int) -> dm_env.specs.DiscreteArray:
  if number > np.iinfo(np.int32).max:
    raise factories.FactoryError(
      f'{number} discrete values do not fit 32 bits, in which JAX stores them'
    )
  return dm_env.specs.DiscreteArray(number)


def _narrow(spec: dm_env.specs.Array) -> dm_env.specs.Array:
  """Returns the spec of the values as JAX stores them, in at most 32 bits."""
  dtype = leaves.narrow(spec.dtype)
  if isinstance(spec, dm_env.specs.DiscreteArray):
    return _discrete(int(spec.num_values))
  if dtype == spec.dtype:
    return spec
  if not isinstance(spec, dm_env.specs.BoundedArray):
    return dm_env.specs.Array(spec.shape, dtype, spec.name)
  low, high = spec.minimum, spec.maximum
  if dtype.kind in 'iu':
    low, high = (
      np.clip(x, np.iinfo(dtype).min, np.iinfo(dtype).max) for x in (low, high)
    )
  with np.errstate(over='ignore'):
    low, high = low.astype(dtype), high.astype(dtype)
  return dm_env.specs.BoundedArray(spec.shape, dtype, low, high, spec.name)


def _box(spec: dm_env.specs.Array) -> gymnasium.spaces.Box:
  kind = spec.dtype.kind
  if kind == 'f':
    low, high = -np.inf, np.inf
  elif kind == 'b':
    low, high = 0, 1
  else:
    low, high = np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max
  return gymnasium.spaces.Box(low, high, spec.shape, spec.dtype)


def _called(path: str) -> str:
  return f'observation {path!r}' if path else 'an observation'
