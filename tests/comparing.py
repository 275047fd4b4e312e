"""Bit-for-bit comparison of two runs, and functions that damage a file."""

import csv

import numpy as np

from experiments.records import metrics_csv
from experiments.training.checkpoints import checkpoint
from tests import events


def read_state(logdir):
  """Reads the newest checkpoint, without wall-clock values."""
  _, flat = checkpoint.read_newest(logdir / 'checkpoints')
  return {name: x for name, x in flat.items() if 'second' not in name}


def read_rows(logdir):
  """Reads the rows of metrics.csv, without wall-clock columns."""
  with open(logdir / 'metrics.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  return [
    {k: v for k, v in row.items() if k not in metrics_csv.TIMES} for row in rows
  ]


def read_events(logdir):
  """Reads TensorBoard's values by tag, without wall-clock tags."""
  values = events.values(logdir)
  return {k: v for k, v in values.items() if k not in metrics_csv.TIMES}


def assert_same_run(a, b):
  """Checks that checkpoints, rows and events of two runs are identical."""
  one, other = read_state(a), read_state(b)
  assert one.keys() == other.keys()
  for name, x in one.items():
    np.testing.assert_array_equal(x, other[name], err_msg=name)
  rows = read_rows(a)
  assert rows == read_rows(b)
  written = read_events(a)
  assert written == read_events(b)
  frames = [int(row['num_frames']) for row in rows]
  for tag in ('loss', 'policy_lag_histogram', 'log_rho_histogram'):
    assert [step for step, _ in written[tag]] == frames


def cut_short(path):
  """Truncates a file to its first half."""
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
  """Flips one bit in the middle of a file."""
  contents = bytearray(path.read_bytes())
  contents[len(contents) // 2] ^= 1
  path.write_bytes(contents)
