"""The V-trace function of a library that runs in another process."""

from collections.abc import Iterator
import contextlib
import multiprocessing
import pathlib
import subprocess
from typing import Any

import numpy as np

from benchmarks.conformance import server

_ROOT = pathlib.Path(__file__).parents[2]


class LibraryError(Exception):
  """What the library raised, as text."""


class Remote:
  """The adapter of a library, in a process of the library's environment."""

  def __init__(self, pipe: Any):
    self._pipe = pipe
    self.description = pipe.recv()

  def vtrace(self, *arrays: np.ndarray, **keywords: Any) -> tuple:
    """Returns (vs, pg_advantages) of the library.

    Args:
      *arrays: the arrays that the adapter takes.
      **keywords: thresholds and lambda.

    Raises:
      LibraryError: if the library raises anything, or writes into its inputs.
    """
    return self._call('vtrace', arrays, keywords)

  def gradient(self, *arrays: np.ndarray, **keywords: Any) -> tuple:
    """Returns the gradients in five arrays; None where none flows."""
    return self._call('gradient', arrays, keywords)

  def _call(self, name, arrays, keywords):
    self._pipe.send((name, [server.pack(x) for x in arrays], keywords))
    answer = self._pipe.recv()
    if isinstance(answer, str):
      raise LibraryError(answer)
    found, after = answer
    for array, packed in zip(arrays, after, strict=True):
      if server.pack(array) != packed:
        raise LibraryError('It has written into its inputs.')
    return tuple(None if x is None else server.unpack(x) for x in found)


@contextlib.contextmanager
def connect(python: pathlib.Path, library: str) -> Iterator[Remote]:
  """Yields a library's function; its process ends with the context.

  Args:
    python: the interpreter of the library's environment.
    library: name of the adapter.

  Raises:
    EOFError: if the process ends, as it does where the library is missing. Its
      own message is on standard error.
  """
  ours, theirs = multiprocessing.Pipe()
  command = [python, '-m', 'benchmarks.conformance.server', library]
  with subprocess.Popen(
    [*command, str(theirs.fileno())],
    cwd=_ROOT,
    pass_fds=[theirs.fileno()],
    stdout=subprocess.DEVNULL,
  ):
    theirs.close()
    with ours:  # Closed before the process is waited for: that ends it.
      yield Remote(ours)
