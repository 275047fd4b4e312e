"""Waits between threads that need no lock, and always end."""

from collections.abc import Callable
import time
from typing import Any

# Between two looks: a tenth of the wait so far, within these bounds. Every
# look takes Python's lock from those who work.
_LEAST_NAP_SECONDS = 2e-4
_LONGEST_NAP_SECONDS = 2e-3


class Timeout(Exception):
  """A wait passed its deadline."""


def wait(
  attempt: Callable[[], tuple[bool, Any]],
  closed: Callable[[], bool],
  *,
  timeout_seconds: float,
  what: str,
) -> tuple[Any] | None:
  """`(result,)` of the first attempt that succeeds, or None once closed.

  Args:
    attempt: () -> (whether it succeeded, result).
    closed: whether there is nothing to wait for any more.
    timeout_seconds: the deadline.
    what: begins the sentence about it: who waited for whom.

  Raises:
    Timeout: after the deadline.
  """
  start = time.monotonic()
  while not closed():
    done, result = attempt()
    if done:
      return (result,)
    waited = time.monotonic() - start
    if waited > timeout_seconds:
      raise Timeout(f'{what} for {timeout_seconds:g} seconds.')
    time.sleep(max(_LEAST_NAP_SECONDS, min(waited / 10, _LONGEST_NAP_SECONDS)))
  return None
