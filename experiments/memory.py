"""Freed memory goes back to the system, where the C library keeps it."""

import ctypes


def give_back() -> None:
  """Asks glibc to return what it holds free; elsewhere does nothing.

  Rollouts come and go in many threads: what is free between them lies in pieces
  that glibc would keep, ever more of them.
  """
  trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
  if trim is not None:
    trim(0)
