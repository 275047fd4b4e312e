"""Tests of the schedule of checkpoints and of failed writes."""

import ctypes
import resource
import time
import types
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from experiments.training.checkpoints import checkpoint
from experiments.training.checkpoints import checkpointing


class Run(NamedTuple):
  num_updates: int
  noise: np.ndarray


def make_run(num_updates, size=3):
  return Run(num_updates, np.random.default_rng(0).random(size))


def make_keeper(directory, seconds):
  return checkpointing.Keeper(
    directory, make_run(0), seconds, pack=lambda run: lambda: run
  )


def test_checkpoints_are_written_at_start_every_interval_and_at_end(
  tmp_path, monkeypatch
):
  now = 0.0
  monkeypatch.setattr(
    checkpointing, 'time', types.SimpleNamespace(monotonic=lambda: now)
  )
  keeper = make_keeper(tmp_path, seconds=20.0)
  assert checkpoint.steps(tmp_path) == [0]
  with keeper.at_every_end():
    for num_updates, seconds in enumerate((19.9, 20, 21, 39.9, 40, 50), 1):
      now = seconds
      keeper.offer(make_run(num_updates))
      keeper._writer.wait()
  keeper.close()
  assert checkpoint.steps(tmp_path) == [2, 5, 6]  # The last 3 of 4.


def test_a_failed_write_raises_at_a_later_update(tmp_path):
  keeper = make_keeper(tmp_path, seconds=1e9)
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
  try:
    keeper._seconds = 0.0
    keeper.offer(make_run(1, size=10**5))
    keeper._seconds = 1e9  # No other checkpoint is due.
    deadline = time.monotonic() + 60
    with pytest.raises(checkpoint.CheckpointError, match='Cannot write'):
      while time.monotonic() < deadline:
        keeper.offer(make_run(2))
        time.sleep(0.01)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert checkpoint.read_newest(tmp_path)[0] == 0


@pytest.mark.skipif(
  not hasattr(ctypes.CDLL(None), 'malloc_trim'), reason='Requires glibc.'
)
def test_fragmented_memory_is_returned_to_the_os():
  process = psutil.Process()
  pieces = [bytearray(60_000) for _ in range(4_000)]  # 240 MB.
  kept = pieces[::50]  # They keep the heap from shrinking at its end.
  full = process.memory_info().rss
  del pieces
  checkpointing.return_freed_memory()
  assert process.memory_info().rss < full - 150e6
  assert len(kept) == 80
