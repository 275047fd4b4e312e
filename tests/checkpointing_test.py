"""When checkpoints are written, and when it is said that they cannot be."""

import ctypes
import resource
import time
import types
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from experiments.training import checkpoint
from experiments.training import checkpointing


class Run(NamedTuple):
  num_updates: int
  noise: np.ndarray


def make_run(num_updates, size=3):
  return Run(num_updates, np.random.default_rng(0).random(size))


def make_keeper(directory, seconds):
  return checkpointing.Keeper(
    directory, make_run(0), seconds, pack=lambda run: run
  )


def test_a_run_is_written_at_the_start_every_interval_and_at_the_end(
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
  assert checkpoint.steps(tmp_path) == [2, 5, 6]  # Of [0, 2, 5, 6] the last 3.


def test_what_cannot_be_written_is_said_at_one_of_the_next_updates(tmp_path):
  keeper = make_keeper(tmp_path, seconds=1e9)
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
  try:
    keeper._seconds = 0.0
    keeper.offer(make_run(1, size=10**5))
    keeper._seconds = 1e9  # Nothing more is due.
    deadline = time.monotonic() + 10
    with pytest.raises(checkpoint.CheckpointError, match='are kept'):
      while time.monotonic() < deadline:
        keeper.offer(make_run(2))
        time.sleep(0.01)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert checkpoint.read_newest(tmp_path)[0] == 0


@pytest.mark.skipif(
  not hasattr(ctypes.CDLL(None), 'malloc_trim'), reason='There is no glibc.'
)
def test_what_lies_in_pieces_is_given_back():
  process = psutil.Process()
  pieces = [bytearray(60_000) for _ in range(4_000)]  # 240 MB.
  kept = pieces[::50]  # So that what is between them cannot be cut off.
  full = process.memory_info().rss
  del pieces
  checkpointing.return_freed_memory()
  assert process.memory_info().rss < full - 150e6
  assert len(kept) == 80
