"""Prefetching: order, overlap, errors, ends."""

import threading

import numpy as np
import pytest

from agents import batcher


def test_prefetch_takes_and_places_one_ahead():
  placed = []
  second = threading.Event()

  def place(item):
    placed.append(item)
    if item == 1:
      second.set()
    return item * 10

  items = batcher.prefetch(iter([0, 1, 2, 3]), place)
  assert next(items) == 0
  assert second.wait(5) and placed == [0, 1]
  assert list(items) == [10, 20, 30]


def test_prefetch_hands_errors_on():
  def items():
    yield 1
    raise ValueError('torn')

  prefetched = batcher.prefetch(items(), lambda x: x)
  assert next(prefetched) == 1
  with pytest.raises(ValueError, match='torn'):
    next(prefetched)


def test_batches_end_with_the_queue():
  assert not list(batcher.batches(lambda: None, 2, 1))


def test_environments_that_do_not_divide_are_refused():
  with pytest.raises(ValueError):
    batcher._concatenate([np.zeros([3, 4])], 3, axis=1)
