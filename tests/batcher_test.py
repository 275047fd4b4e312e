"""Tests of batching and prefetching: order, overlap, errors and shutdown."""

import signal
import threading

import dm_env
import numpy as np
import pytest

from agents import batcher
from agents import trajectory
from agents import trajectory_queue


def test_prefetch_places_one_item_ahead():
  placed = []
  second = threading.Event()

  def place(item):
    placed.append(item)
    if item == 1:
      second.set()
    return item * 10

  items = batcher.prefetch(iter([0, 1, 2, 3]), place, lambda: None)
  assert next(items) == 0
  assert second.wait(5) and placed == [0, 1]
  assert list(items) == [10, 20, 30]


def test_prefetch_raises_the_errors_of_its_thread():
  def items():
    yield 1
    raise ValueError('faulty')

  prefetched = batcher.prefetch(items(), lambda x: x, lambda: None)
  assert next(prefetched) == 1
  with pytest.raises(ValueError, match='faulty'):
    next(prefetched)


def test_batches_end_when_the_queue_ends():
  assert not list(batcher.batches(lambda: None, 2, 1))


def make_rollout(actor_id, number):
  """Returns a rollout, T = 3 and B = 4, that differs from all others."""
  rows = trajectory.zero_rows(dm_env.specs.Array((2,), np.float32), 4, 4)
  return trajectory.Rollout(
    trajectory=trajectory.Trajectory(rows, ()),
    actor_id=actor_id,
    version=10 + number,
    state=f'state of actor {actor_id} after rollout {number}',
    wait_seconds=10.0**number,
    num_transitions=number + 1,
    episode_returns=[float(number)] * number,
    episode_lengths=[100 + number] * number,
  )


def test_a_batch_has_the_last_state_of_each_actor_and_sums_of_all_rollouts():
  rollouts = [make_rollout(*x) for x in ((0, 0), (1, 1), (0, 2), (1, 3))]
  batch = batcher.stack(rollouts, num_devices=2)
  assert batch.actors == {
    0: 'state of actor 0 after rollout 2',
    1: 'state of actor 1 after rollout 3',
  }
  assert batch.num_transitions == 1 + 2 + 3 + 4
  assert batch.wait_seconds == 1111.0
  assert list(batch.versions) == [10, 11, 12, 13]
  assert list(batch.episode_returns) == [1, 2, 2, 3, 3, 3]
  assert list(batch.episode_lengths) == [101, 102, 102, 103, 103, 103]


def test_shard_rejects_environments_that_do_not_divide():
  with pytest.raises(ValueError):
    batcher.shard([trajectory.Trajectory(np.zeros([3, 4]), ())], 3)


@pytest.fixture
def interruptible():
  """Enables SIGINT, which processes in the background of a shell ignore."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures('interruptible')
def test_an_interrupted_consumer_wakes_and_joins_the_thread():
  queue = trajectory_queue.TrajectoryQueue(1, capacity=1, timeout_seconds=60)
  prefetched = batcher.prefetch(
    iter(queue.get, None), lambda x: x, wake=queue.close
  )
  # Sends Ctrl-C while the queue is empty and `next` below waits.
  main_thread = threading.main_thread().ident
  timer = threading.Timer(
    0.2, signal.pthread_kill, (main_thread, signal.SIGINT)
  )
  timer.start()
  with pytest.raises(KeyboardInterrupt):  # Not the timeout's `Timeout`.
    next(prefetched)
  assert not [t for t in threading.enumerate() if 'prefetch' in t.name]
