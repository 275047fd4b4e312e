"""The result of a training, for programs and notebooks."""

import dataclasses
import pathlib

from absl import logging
import numpy as np

from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
  """What a run has trained, and its rows of metrics.csv as arrays."""

  num_frames: int
  num_updates: int
  num_episodes: int
  seconds: float  # Training time, without work lost by interruptions.
  mean_return: float  # Over the last `return_window` episodes.
  logdir: pathlib.Path
  interrupted: bool  # By Ctrl-C; the run can be resumed.
  # [rows] by column; NaN where a cell is empty.
  metrics: dict[str, np.ndarray] = dataclasses.field(repr=False)
  # [rows, bins] by column; a row with fewer bins ends with zeros.
  histograms: dict[str, np.ndarray] = dataclasses.field(repr=False)


def make(summary: metrics_lib.Summary, logdir: pathlib.Path) -> Result:
  """Returns the result of a run that ended by itself.

  Args:
    summary: the totals of the run.
    logdir: its log directory, from which the rows are read. If metrics.csv was
      edited so that it cannot be read, this is logged, and the result has no
      rows: the run itself is recorded.
  """
  metrics, histograms = {}, {}
  try:
    metrics, histograms = _read(logdir / 'metrics.csv')
  except (OSError, ValueError) as error:
    logging.error('Cannot read the rows of the run: %s', error)
  return Result(
    **summary._asdict(),
    logdir=logdir,
    interrupted=False,
    metrics=metrics,
    histograms=histograms,
  )


def _read(path: pathlib.Path) -> tuple[dict, dict]:
  """Returns the columns of numbers and those of histograms, by name."""
  rows = metrics_csv.read(path) if path.exists() else []
  numbers, histograms = {}, {}
  for name in rows[0] if rows else ():
    cells = [row[name] for row in rows]
    if name in metrics_csv.HISTOGRAMS:
      histograms[name] = _padded([metrics_csv.counts(cell) for cell in cells])
    else:
      numbers[name] = np.array([metrics_csv.number(cell) for cell in cells])
  return numbers, histograms


def _padded(rows: list[np.ndarray]) -> np.ndarray:
  """Returns rows of different lengths as one array, filled up with zeros."""
  padded = np.zeros([len(rows), max(map(len, rows))])
  for i, row in enumerate(rows):
    padded[i, : len(row)] = row
  return padded
