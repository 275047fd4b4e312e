"""Freed memory goes back to the system."""

import ctypes

import psutil
import pytest

from experiments import memory


@pytest.mark.skipif(
  not hasattr(ctypes.CDLL(None), 'malloc_trim'), reason='There is no glibc.'
)
def test_what_lies_in_pieces_is_given_back():
  process = psutil.Process()
  pieces = [bytearray(60_000) for _ in range(4_000)]  # 240 MB.
  kept = pieces[::50]  # So that what is between them cannot be cut off.
  full = process.memory_info().rss
  del pieces
  memory.give_back()
  assert process.memory_info().rss < full - 150e6
  assert len(kept) == 80
