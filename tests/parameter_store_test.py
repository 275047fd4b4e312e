"""A version never stands beside another version's parameters."""

import threading

import numpy as np
import pytest

from agents import parameter_store
from agents import polling


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


def test_as_many_older_versions_are_held_as_asked_for():
  store = parameter_store.ParameterStore(older=2)
  for version in range(5):
    store.publish(version, np.int64(10 * version))
  assert store.versions == ((2, 20), (3, 30), (4, 40))
  for version in (2, 3, 4):
    found = store.wait_for(version, timeout_seconds=1)
    assert found == (version, 10 * version)
  with pytest.raises(RuntimeError, match='update 1 are gone'):
    store.wait_for(1, timeout_seconds=1)


def test_a_version_to_come_is_waited_for():
  store = parameter_store.ParameterStore()
  store.publish(0, np.int64(0))
  found = []
  reader = threading.Thread(
    target=lambda: found.append(store.wait_for(1, timeout_seconds=20))
  )
  reader.start()
  reader.join(0.1)
  assert reader.is_alive()
  store.publish(1, np.int64(7))
  reader.join(5)
  assert found == [(1, 7)]


def test_waiting_ends_with_a_deadline_or_the_end():
  store = parameter_store.ParameterStore()
  with pytest.raises(
    polling.Timeout, match='parameters of update 3 for 0.05 s'
  ):
    store.wait_for(3, timeout_seconds=0.05)
  store.close()
  assert store.wait_for(3, timeout_seconds=20) is None
