"""Detects copies of an environment that are one and the same object."""

from collections.abc import Iterator
import contextlib
from typing import Any
import weakref

import dm_env
import gymnasium

from envs import factories

# The environments in use, and what they wrap, by id.
_in_use: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
# Where wrappers of Gymnasium and dm_env keep what they wrap.
_INNER = ('env', '_env', 'environment', '_environment')
# Other wrappers keep objects of these classes, by any name.
_BASES = (gymnasium.Env, gymnasium.vector.VectorEnv, dm_env.Environment)


def claim(env: Any, name: str) -> None:
  """Marks an environment as in use.

  Raises:
    FactoryError: if it, or an environment that it wraps, is in use already.
  """
  layers = list(_layers(env))
  if any(_in_use.get(id(layer)) is layer for layer in layers):
    raise factories.FactoryError(
      f'{name} hands out one and the same environment twice: every call must '
      'make a new one.'
    )
  for layer in layers:
    # An object without weak references cannot be detected.
    with contextlib.suppress(TypeError):
      _in_use[id(layer)] = layer


def release(env: Any) -> None:
  """Marks an environment, and what it wraps, as no longer in use."""
  for layer in _layers(env):
    _in_use.pop(id(layer), None)


def _layers(env: Any) -> Iterator[Any]:
  """Yields an environment and all environments that it wraps."""
  seen, waiting = set(), [env]
  while waiting:
    layer = waiting.pop()
    if id(layer) in seen or not callable(getattr(layer, 'step', None)):
      continue
    seen.add(id(layer))
    yield layer
    inner = getattr(layer, '__dict__', {})
    waiting += [inner.get(name) for name in _INNER]
    waiting += [each for each in inner.values() if isinstance(each, _BASES)]
    waiting.append(getattr(layer, 'unwrapped', None))
