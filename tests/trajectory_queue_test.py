"""Tests of the lock-free trajectory queue, with real threads."""

import collections
from concurrent import futures
import gc
import threading
import weakref

import pytest

from agents import trajectory_queue
from agents import waiting


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


@pytest.mark.parametrize('end', ('close', 'fail'))
def test_closing_and_failing_wake_every_waiting_thread(sleeping, end):
  queue = trajectory_queue.TrajectoryQueue(3, 1, timeout_seconds=600)
  for actor in (1, 2):
    queue.put(actor, 'fills the ring')
  calls = {
    'put 1': lambda: queue.put(1, 'late'),
    'put 2': lambda: queue.put(2, 'late'),
    'get': queue.get,
  }
  with futures.ThreadPoolExecutor(3) as threads:
    results = {name: threads.submit(call) for name, call in calls.items()}
    sleeping.wait_for_threads(3)
    queue.close() if end == 'close' else queue.fail(1, ValueError('broken'))
    assert not results['put 1'].result(60) and not results['put 2'].result(60)
    if end == 'close':
      assert results['get'].result(60) is None
    else:
      with pytest.raises(RuntimeError, match='Actor 1.*broken'):
        results['get'].result(60)


def test_the_error_of_an_actor_is_raised_in_the_reader():
  queue = trajectory_queue.TrajectoryQueue(2, 1, timeout_seconds=20)
  timer = threading.Timer(0.1, queue.fail, (1, ValueError('broken joystick')))
  timer.start()
  with pytest.raises(RuntimeError, match='Actor 1.*broken joystick') as info:
    queue.get()  # Waits for actor 0, which puts nothing.
  assert isinstance(info.value.__cause__, ValueError)


def test_every_wait_has_a_deadline():
  queue = trajectory_queue.TrajectoryQueue(1, capacity=1, timeout_seconds=0.05)
  with pytest.raises(waiting.Timeout, match='actor 0'):
    queue.get()
  queue.put(0, 'a')
  with pytest.raises(waiting.Timeout, match='Actor 0'):
    queue.put(0, 'b')


@pytest.mark.parametrize('side', ('reader', 'writer'))
def test_a_waiting_thread_sleeps_until_its_ring_changes(
  sleeping, monkeypatch, side
):
  # Other actors' items do not wake it, and it tries once when woken.
  tries = collections.Counter()

  def counted(name):
    original = getattr(trajectory_queue.Ring, name)

    def attempt(ring, *args):
      tries[threading.current_thread()] += 1
      return original(ring, *args)

    monkeypatch.setattr(trajectory_queue.Ring, name, attempt)

  counted('try_put')
  counted('try_get')
  queue = trajectory_queue.TrajectoryQueue(2, 50, timeout_seconds=600)
  if side == 'writer':
    for i in range(50):
      queue.put(0, i)
  call = queue.get if side == 'reader' else lambda: queue.put(0, 50)
  thread = threading.Thread(target=call)
  thread.start()
  sleeping.wait_for_threads(1)
  for i in range(50):
    queue.put(1, i)
  assert tries[thread] == 1
  queue.put(0, 'news') if side == 'reader' else queue.get()
  thread.join(60)
  assert not thread.is_alive() and tries[thread] == 2


def test_a_deadline_counts_from_the_start_of_a_wait(monkeypatch):
  # Being woken for nothing does not move the deadline.
  now, naps = [0.0], []

  def nap(gate, seconds):
    del gate
    naps.append(seconds)
    now[0] += min(seconds, 30.0)  # Woken for nothing every 30 seconds.

  monkeypatch.setattr(waiting.time, 'monotonic', lambda: now[0])
  monkeypatch.setattr(waiting.Gate, 'wait', nap)
  queue = trajectory_queue.TrajectoryQueue(1, capacity=1, timeout_seconds=100)
  with pytest.raises(waiting.Timeout, match='actor 0 for 100 seconds'):
    queue.get()
  assert naps == [100, 70, 40, 10]


def test_the_timeout_of_an_actor_is_raised_as_a_timeout():
  queue = trajectory_queue.TrajectoryQueue(1, capacity=1, timeout_seconds=20)
  queue.fail(0, waiting.Timeout('Actor 0 waited.'))
  with pytest.raises(waiting.Timeout, match='Actor 0 waited'):
    queue.get()
