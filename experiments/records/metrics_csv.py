"""metrics.csv: one row per interval; tolerates an incomplete last row."""

from collections.abc import Iterable
import csv
import pathlib
from typing import Any

import numpy as np

from experiments.records import atomic_file

HISTOGRAMS = ('policy_lag_histogram', 'log_rho_histogram')
# The first columns of a file, in this order.
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
# Columns that depend on the clock and differ between identical runs.
TIMES = (
  'seconds',
  'wall_time',
  'frames_per_second',
  'learner_wait_seconds',
  'actor_wait_seconds',
)


def cell(value: Any) -> str:
  """Formats a number, or the counts of a histogram; NaN becomes empty."""
  if np.ndim(value):
    return ' '.join(str(int(count)) for count in value)
  if isinstance(value, int):
    return str(value)
  return '' if np.isnan(value) else f'{value:.9g}'


def number(text: str) -> float:
  """Parses a number formatted by `cell`; an empty cell is NaN."""
  return float(text) if text else float('nan')


def counts(text: str) -> np.ndarray:
  """Parses histogram counts formatted by `cell`, `[bins]`; empty: 0 bins."""
  return np.array(text.split(), float)


def read(path: pathlib.Path) -> list[dict[str, str]]:
  """Reads the complete rows; skips a last row left incomplete by a kill."""
  with open(path, newline='') as file:
    lines = [line for line in file if line.endswith('\n')]
  rows = list(csv.DictReader(lines))
  return [row for row in rows if None not in row and None not in row.values()]


def read_header(path: pathlib.Path) -> list[str]:
  """Reads the names of the columns; [] if there is no complete header."""
  with open(path, newline='') as file:
    line = file.readline()
  return next(csv.reader([line]), []) if line.endswith('\n') else []


def order(names: Iterable[str]) -> list[str]:
  """Returns the column order of a new file: `COLUMNS` first, then the rest.

  Metrics that are not in `COLUMNS` follow in alphabetical order.
  """
  names = set(names)
  known = [name for name in COLUMNS if name in names]
  return known + sorted(names - set(COLUMNS))


def cut(path: pathlib.Path, num_updates: int) -> list[dict[str, str]]:
  """Removes rows after `num_updates` and incomplete rows; returns the rest.

  Also removes a header without rows; the next update then sets the columns.
  """
  rows = [row for row in read(path) if int(row['num_updates']) <= num_updates]
  header = read_header(path)
  with atomic_file.replacing(path) as new, open(new, 'w', newline='') as file:
    if rows:
      writer = csv.DictWriter(file, header)
      writer.writeheader()
      writer.writerows(rows)
  return rows
