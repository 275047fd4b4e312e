"""The parameter store: versions and parameters always match."""

from concurrent import futures
import threading

import numpy as np
import pytest

from agents import parameter_store
from agents import waiting


def test_an_empty_store_raises_runtime_error():
  with pytest.raises(RuntimeError, match='published'):
    parameter_store.ParameterStore().get()


class PendingArray:
  """A fake array that a device still computes."""

  ready = False

  def block_until_ready(self):
    self.ready = True
    return self


def test_publish_waits_until_the_parameters_are_ready():
  # An actor that waited for them would block other threads from the device.
  store, params = parameter_store.ParameterStore(), PendingArray()
  store.publish(3, {'w': params})
  assert params.ready
  assert store.get() == (3, {'w': params})


def test_readers_see_matching_pairs_and_increasing_versions():
  store = parameter_store.ParameterStore()
  store.publish(0, np.int64(0))
  wrong = []
  done = threading.Event()

  def read():
    newest = 0
    while not done.is_set():
      version, params = store.get()
      if version != params or version < newest:
        wrong.append((version, params))
      newest = version

  readers = [threading.Thread(target=read) for _ in range(3)]
  for thread in readers:
    thread.start()
  for version in range(20_000):
    store.publish(version, np.int64(version))
  done.set()
  for thread in readers:
    thread.join()
  assert not wrong
  assert store.get() == (19_999, 19_999)


def test_the_requested_number_of_older_versions_is_kept():
  store = parameter_store.ParameterStore(older=2)
  for version in range(5):
    store.publish(version, np.int64(10 * version))
  assert store.versions == ((2, 20), (3, 30), (4, 40))
  for version in (2, 3, 4):
    found = store.wait_for(version, timeout_seconds=1)
    assert found == (version, 10 * version)
  with pytest.raises(RuntimeError, match='update 1 '):
    store.wait_for(1, timeout_seconds=1)


def test_wait_for_blocks_until_the_version_is_published():
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
  reader.join(20)
  assert found == [(1, 7)]


def test_wait_for_ends_at_its_timeout_or_when_the_store_is_closed():
  store = parameter_store.ParameterStore()
  with pytest.raises(waiting.Timeout, match='update 3.*0.05'):
    store.wait_for(3, timeout_seconds=0.05)
  store.close()
  assert store.wait_for(3, timeout_seconds=20) is None


def test_publishing_and_closing_wake_every_waiting_reader(sleeping):
  store = parameter_store.ParameterStore(older=9)
  with futures.ThreadPoolExecutor(4) as threads:
    found = [
      threads.submit(store.wait_for, version, timeout_seconds=600)
      for version in (1, 1, 2, 7)
    ]
    sleeping.wait_for_threads(4)
    for version in range(4):
      store.publish(version, np.int64(10 * version))
    results = [future.result(60) for future in found[:3]]
    assert results == [(1, 10), (1, 10), (2, 20)]
    store.close()
    assert found[3].result(60) is None
  assert not store._gates  # Nothing of the readers stays.


def test_a_reader_sleeps_until_parameters_are_published(sleeping, monkeypatch):
  store, tries = parameter_store.ParameterStore(), []
  find = store._find

  def counted(version):
    tries.append(version)
    return find(version)

  monkeypatch.setattr(store, '_find', counted)
  with futures.ThreadPoolExecutor(1) as threads:
    found = threads.submit(store.wait_for, 5, timeout_seconds=600)
    sleeping.wait_for_threads(1)
    assert tries == [5]
    store.publish(5, np.int64(50))
    assert found.result(60) == (5, 50)
  assert tries == [5, 5]
