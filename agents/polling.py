"""Polling: waits between threads, without a lock and with a deadline."""

from collections.abc import Callable
import time
from typing import Any

# Bounds of the sleep between two attempts, which is a tenth of the wait so far.
# Every attempt takes the GIL from the threads that work.
_MIN_SLEEP_SECONDS = 2e-4
_MAX_SLEEP_SECONDS = 2e-3


class Timeout(Exception):
  """A wait passed its deadline."""


def wait(
  attempt: Callable[[], tuple[bool, Any]],
  closed: Callable[[], bool],
  *,
  timeout_seconds: float,
  what: str,
) -> tuple[Any] | None:
  """Polls `attempt` until it succeeds, `closed()` is true or time is up.

  Args:
    attempt: () -> (whether the attempt succeeded, result).
    closed: returns whether to stop waiting; called before every attempt.
    timeout_seconds: the deadline, from the call on.
    what: start of the error message: which thread waited for what.

  Returns:
    `(result,)` of the first successful attempt, or None if closed.

  Raises:
    Timeout: if an attempt fails after the deadline.
  """
  start = time.monotonic()
  while not closed():
    done, result = attempt()
    if done:
      return (result,)
    waited = time.monotonic() - start
    if waited > timeout_seconds:
      raise Timeout(f'{what} for {timeout_seconds:g} seconds.')
    time.sleep(max(_MIN_SLEEP_SECONDS, min(waited / 10, _MAX_SLEEP_SECONDS)))
  return None
