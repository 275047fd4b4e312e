"""Waits between threads: asleep until there is news, and with a deadline.

Data does not pass through here. A thread that changes what another one waits
for makes the change first and opens the waiter's gate second; the waiter looks
once more whenever its gate was open. A gate stays open until it is waited at,
so no news is lost in between.
"""

from collections.abc import Callable
import contextlib
import threading
import time
from typing import Any


class Timeout(Exception):
  """A wait passed its deadline."""


class Gate:
  """A place where one thread sleeps until any other thread opens it.

  It is a bare lock, which is held while the gate is closed. Unlike a
  `threading.Event`, it can be opened by a signal handler at any moment, even
  in a thread that is just opening it.
  """

  def __init__(self):
    """Initializes a closed gate."""
    self._lock = threading.Lock()
    self._lock.acquire()

  def open(self) -> None:
    """Lets the next `wait` through; does nothing if the gate is open."""
    if self._lock.locked():
      with contextlib.suppress(RuntimeError):  # Opened meanwhile.
        self._lock.release()

  def wait(self, seconds: float) -> None:
    """Waits until the gate is open or the time is up, and closes the gate."""
    self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


def wait(
  attempt: Callable[[], tuple[bool, Any]],
  closed: Callable[[], bool],
  gate: Gate,
  *,
  timeout_seconds: float,
  what: str,
) -> tuple[Any] | None:
  """Waits until `attempt` succeeds, `closed()` is true or time is up.

  Args:
    attempt: () -> (whether the attempt succeeded, result).
    closed: returns whether to stop waiting; called before every attempt.
    gate: of this thread alone. Whoever may have made `attempt` or `closed` true
      opens it afterwards.
    timeout_seconds: the deadline, from the call on.
    what: start of the error message: which thread waited for what.

  Returns:
    `(result,)` of the first successful attempt, or None if closed.

  Raises:
    Timeout: if an attempt fails after the deadline.
  """
  deadline = time.monotonic() + timeout_seconds
  while not closed():
    done, result = attempt()
    if done:
      return (result,)
    left = deadline - time.monotonic()
    if left <= 0:
      raise Timeout(f'{what} for {timeout_seconds:g} seconds.')
    gate.wait(left)
  return None
