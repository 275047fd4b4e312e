"""metrics.csv: one row an interval; read, and cut, however it was left."""

from collections.abc import Iterable
import csv
import pathlib
from typing import Any

import numpy as np

from experiments.records import atomic_file

HISTOGRAMS = ('policy_lag_histogram', 'log_rho_histogram')
# The order of the columns that a file begins with.
COLUMNS = (
  'num_frames',
  'num_updates',
  'seconds',
  'wall_time',
  'frames_per_second',
  'episode_return',
  'mean_return',
  'episode_length',
  'num_episodes',
  'learning_rate',
  'loss',
  'pg_loss',
  'baseline_loss',
  'entropy_loss',
  'entropy',
  'grad_norm',
  'update_norm',
  'param_norm',
  'policy_lag',
  'log_rho',
  'rho_clipped',
  'c_clipped',
  'effective_sample_size',
  'kl',
  'explained_variance',
  'learner_wait_seconds',
  'actor_wait_seconds',
  *HISTOGRAMS,
)
# What the clock decides: never the same in two runs.
TIMES = (
  'seconds',
  'wall_time',
  'frames_per_second',
  'learner_wait_seconds',
  'actor_wait_seconds',
)


def cell(value: Any) -> str:
  """A number, nothing for a NaN, or a histogram's counts between spaces."""
  if np.ndim(value):
    return ' '.join(str(int(count)) for count in value)
  if isinstance(value, int):
    return str(value)
  return '' if np.isnan(value) else f'{value:.9g}'


def number(text: str) -> float:
  """What `cell` wrote of a number; NaN for nothing."""
  return float(text) if text else float('nan')


def counts(text: str) -> np.ndarray:
  """What `cell` wrote of a histogram, `[bins]`; no bins for nothing."""
  return np.array(text.split(), float)


def read(path: pathlib.Path) -> list[dict[str, str]]:
  """The whole rows; a last one that a killed process left torn is left out."""
  with open(path, newline='') as file:
    lines = [line for line in file if line.endswith('\n')]
  rows = list(csv.DictReader(lines))
  return [row for row in rows if None not in row and None not in row.values()]


def read_header(path: pathlib.Path) -> list[str]:
  """Returns the names of the columns; none if there is no whole header."""
  with open(path, newline='') as file:
    line = file.readline()
  return next(csv.reader([line]), []) if line.endswith('\n') else []


def order(names: Iterable[str]) -> list[str]:
  """Returns the columns of a new file: those of `COLUMNS` first, then the rest.

  What an update measures and `COLUMNS` does not name has a column all the same.
  """
  names = set(names)
  known = [name for name in COLUMNS if name in names]
  return known + sorted(names - set(COLUMNS))


def cut(path: pathlib.Path, num_updates: int) -> list[dict[str, str]]:
  """Removes the rows after `num_updates`, and torn ones; gives those kept.

  A header without rows is removed, too: the next update decides what it is.
  """
  rows = [row for row in read(path) if int(row['num_updates']) <= num_updates]
  header = read_header(path)
  with atomic_file.replacing(path) as new, open(new, 'w', newline='') as file:
    if rows:
      writer = csv.DictWriter(file, header)
      writer.writeheader()
      writer.writerows(rows)
  return rows
