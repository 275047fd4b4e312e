"""Runs one adapter in the environment of its library, for `remote`.

python -m benchmarks.conformance.server torchrl 5

The process answers requests on a connection whose file descriptor it inherits.
It needs the library, NumPy and this folder, but neither JAX nor the kit.
"""

import importlib
from importlib import metadata
from multiprocessing import connection
import pathlib
import platform
import re
import sys
import types
from typing import Any

import numpy as np

# An array as it travels: the NumPy versions of the two processes may differ.
Packed = tuple[str, tuple[int, ...], bytes]


def pack(array: np.ndarray) -> Packed:
  """Returns dtype, shape and contents of an array."""
  array = np.asarray(array)
  return array.dtype.str, array.shape, array.tobytes()


def unpack(packed: Packed) -> np.ndarray:
  """Makes the array that `pack` took apart, a writable one."""
  dtype, shape, contents = packed
  return np.frombuffer(contents, dtype).reshape(shape).copy()


def describe(adapter: types.ModuleType) -> dict[str, Any]:
  """Returns what the other side must know of an adapter and its library."""
  pinned = re.findall(r'([\w-]+)(?:\[\w+\])?==', _requirements(adapter))
  return {
    'package': adapter.PACKAGE,
    'function': adapter.FUNCTION,
    'versions': {name: metadata.version(name) for name in pinned}
    | {'python': platform.python_version()},
    'without': adapter.WITHOUT,
    'ranks': getattr(adapter, 'RANKS', (1, 2, 3)),
    'takes_transitions': getattr(adapter, 'TAKES_TRANSITIONS', False),
    'has_gradient': hasattr(adapter, 'gradient'),
  }


def _requirements(adapter: types.ModuleType) -> str:
  return pathlib.Path(adapter.__file__).with_suffix('.txt').read_text()


def answer(
  adapter: types.ModuleType,
  name: str,
  arrays: list[Packed],
  keywords: dict[str, float | None],
) -> tuple[list[Packed | None], list[Packed]]:
  """Calls a function of the adapter: `vtrace` or `gradient`.

  Returns:
    What the function returned, and its inputs as they are after the call.
  """
  natives = [adapter.to_native(unpack(x)) for x in arrays]
  found = getattr(adapter, name)(*natives, **keywords)
  return (
    [None if x is None else pack(adapter.to_numpy(x)) for x in found],
    [pack(adapter.to_numpy(x)) for x in natives],
  )


def serve(adapter: types.ModuleType, pipe: connection.Connection) -> None:
  """Sends answers to requests until the other side closes the connection.

  An error of the library is an answer, too: its type and message.
  """
  pipe.send(describe(adapter))
  while True:
    try:
      request = pipe.recv()
    except EOFError:
      return
    try:
      pipe.send(answer(adapter, *request))
    except Exception as error:  # pylint: disable=broad-except
      pipe.send(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
  library, descriptor = sys.argv[1:]
  serve(
    importlib.import_module(f'benchmarks.conformance.adapters.{library}'),
    connection.Connection(int(descriptor)),
  )
