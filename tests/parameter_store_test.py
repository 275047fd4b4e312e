"""A version never stands beside another version's parameters."""

import threading

import numpy as np
import pytest

from agents import parameter_store


def test_empty_store_says_so():
  with pytest.raises(RuntimeError, match='published'):
    parameter_store.ParameterStore().get()


class PendingArray:
  """Stands for an array that a device still computes."""

  ready = False

  def block_until_ready(self):
    self.ready = True
    return self


def test_what_is_published_is_ready():
  # Acting on parameters that are not would keep other threads off the device.
  store, params = parameter_store.ParameterStore(), PendingArray()
  store.publish(3, {'w': params})
  assert params.ready
  assert store.get() == (3, {'w': params})


def test_readers_see_whole_pairs_that_never_go_back():
  store = parameter_store.ParameterStore()
  store.publish(0, np.int64(0))
  torn = []
  done = threading.Event()

  def read():
    newest = 0
    while not done.is_set():
      version, params = store.get()
      if version != params or version < newest:
        torn.append((version, params))
      newest = version

  readers = [threading.Thread(target=read) for _ in range(3)]
  for thread in readers:
    thread.start()
  for version in range(20_000):
    store.publish(version, np.int64(version))
  done.set()
  for thread in readers:
    thread.join()
  assert not torn
  assert store.get() == (19_999, 19_999)
