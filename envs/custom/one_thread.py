"""A thread of its own for objects that are bound to the thread that made them.

Some environments hold such objects: a database connection, a graphics context.
"""

from collections.abc import Callable
import queue
import threading
from typing import Any
import weakref

_WATCH_SECONDS = 0.2


class OneThread:
  """Calls functions one after the other, all in the same daemon thread.

  A function that hangs blocks neither the caller's deadline nor the exit of the
  process.
  """

  def __init__(self, name: str):
    self._calls = queue.SimpleQueue()
    self._thread = threading.Thread(
      target=_run, args=(self._calls,), name=name, daemon=True
    )
    self._thread.start()
    weakref.finalize(self, self._calls.put, None)

  def is_current(self) -> bool:
    """Returns whether the caller runs in the thread."""
    return threading.current_thread() is self._thread

  def call(
    self,
    function: Callable[..., Any],
    *args: Any,
    timeout_seconds: float | None = None,
  ) -> Any:
    """Calls a function in the thread; returns its result or raises its error.

    Raises:
      TimeoutError: if there is no result in time. The call continues, and later
        calls wait for it.
    """
    done = queue.SimpleQueue()
    self._calls.put((function, args, done))
    try:
      outcome = done.get(timeout=timeout_seconds)
    except queue.Empty:
      raise TimeoutError from None
    return _result(*outcome)

  def run(self, function: Callable[[], Any], watch: Callable[[], None]) -> Any:
    """Calls a function that takes long in the thread; returns its result.

    Meanwhile calls `watch` now and then, which may raise: then the function
    continues, but nobody waits for it.
    """
    done = queue.SimpleQueue()
    self._calls.put((function, (), done))
    while True:
      try:
        return _result(*done.get(timeout=_WATCH_SECONDS))
      except queue.Empty:
        watch()


def _result(result: Any, error: BaseException | None) -> Any:
  if error is not None:
    raise error
  return result


def _run(calls: queue.SimpleQueue) -> None:
  """Runs the calls until there is None instead of one."""
  while (call := calls.get()) is not None:
    function, args, done = call
    try:
      outcome = function(*args), None
    except BaseException as error:  # Belongs to the caller.
      outcome = None, error
    done.put(outcome)
    # Nothing may keep the environments alive while this waits.
    del call, function, args, done, outcome
