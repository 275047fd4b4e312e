"""Tests of the lock-free trajectory queue, with real threads."""

import gc
import threading
import time
import weakref

import pytest

from agents import polling
from agents import trajectory_queue


def test_a_ring_is_first_in_first_out_and_bounded():
  ring = trajectory_queue.Ring(2)
  assert ring.try_get() == (False, None)
  assert ring.try_put(1) and ring.try_put(2) and not ring.try_put(3)
  assert ring.try_get() == (True, 1)
  assert ring.try_put(3)
  assert [ring.try_get()[1] for _ in range(2)] == [2, 3]
  assert len(ring) == 0


def test_a_ring_holds_no_reference_to_items_after_reading():
  ring, item = trajectory_queue.Ring(1), threading.Event()
  reference = weakref.ref(item)
  ring.try_put(item)
  del item
  gc.collect()
  assert reference() is not None
  ring.try_get()
  gc.collect()
  assert reference() is None


def test_threads_neither_lose_nor_duplicate_nor_reorder_items():
  num_actors, items = 4, 3_000
  queue = trajectory_queue.TrajectoryQueue(
    num_actors, capacity=2, timeout_seconds=20
  )

  def write(actor):
    for i in range(items):
      queue.put(actor, (actor, i))

  threads = [
    threading.Thread(target=write, args=(a,)) for a in range(num_actors)
  ]
  for thread in threads:
    thread.start()
  received = [queue.get() for _ in range(num_actors * items)]
  for thread in threads:
    thread.join()
  assert received == [(a, i) for i in range(items) for a in range(num_actors)]


def test_a_full_ring_makes_its_actor_wait():
  queue = trajectory_queue.TrajectoryQueue(1, capacity=1, timeout_seconds=20)
  queue.put(0, 'a')
  second = threading.Thread(target=queue.put, args=(0, 'b'))
  second.start()
  second.join(0.1)
  assert second.is_alive()
  assert queue.get() == 'a'
  second.join(20)
  assert not second.is_alive() and queue.get() == 'b'


def test_closing_ends_every_wait(monkeypatch):
  waiting, sleep = set(), time.sleep

  def recorded_sleep(seconds):
    waiting.add(threading.current_thread())
    sleep(seconds)

  monkeypatch.setattr(polling.time, 'sleep', recorded_sleep)
  queue = trajectory_queue.TrajectoryQueue(2, 1, timeout_seconds=60)
  queue.put(1, 'fills ring 1')
  results = {}

  def run(name, call):
    results[name] = call()

  threads = [
    threading.Thread(target=run, args=('put', lambda: queue.put(1, 'late'))),
    threading.Thread(target=run, args=('get', queue.get)),
  ]
  for thread in threads:
    thread.start()
  deadline = time.monotonic() + 60
  while not waiting.issuperset(threads) and time.monotonic() < deadline:
    sleep(0.001)
  queue.close()
  for thread in threads:
    thread.join(20)
  assert results == {'put': False, 'get': None}


def test_the_error_of_an_actor_is_raised_in_the_reader():
  queue = trajectory_queue.TrajectoryQueue(2, 1, timeout_seconds=20)
  timer = threading.Timer(0.1, queue.fail, (1, ValueError('broken joystick')))
  timer.start()
  with pytest.raises(RuntimeError, match='Actor 1.*broken joystick') as info:
    queue.get()  # Waits for actor 0, which puts nothing.
  assert isinstance(info.value.__cause__, ValueError)


def test_every_wait_has_a_deadline():
  queue = trajectory_queue.TrajectoryQueue(1, capacity=1, timeout_seconds=0.05)
  with pytest.raises(polling.Timeout, match='actor 0'):
    queue.get()
  queue.put(0, 'a')
  with pytest.raises(polling.Timeout, match='Actor 0'):
    queue.put(0, 'b')


def test_a_long_wait_polls_less_and_less_often_within_bounds(monkeypatch):
  naps = []
  monkeypatch.setattr(polling.time, 'monotonic', lambda: sum(naps))
  monkeypatch.setattr(polling.time, 'sleep', naps.append)
  queue = trajectory_queue.TrajectoryQueue(1, capacity=1, timeout_seconds=2)
  with pytest.raises(polling.Timeout):
    queue.get()
  assert naps == sorted(naps)
  assert 0 < naps[0] < naps[-1] < 0.02


def test_the_timeout_of_an_actor_is_raised_as_a_timeout():
  queue = trajectory_queue.TrajectoryQueue(1, capacity=1, timeout_seconds=20)
  queue.fail(0, polling.Timeout('Actor 0 waited.'))
  with pytest.raises(polling.Timeout, match='Actor 0 waited'):
    queue.get()
