"""Recorded runs, read from their log directories."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import pathlib
import sys
from typing import Any
from typing import NamedTuple

import numpy as np

from experiments import config as config_lib
from experiments.records import config_json
from experiments.records import metrics_csv


class Run(NamedTuple):
  """A recorded run."""

  logdir: pathlib.Path
  config: dict[str, Any]  # Every field of the configuration, by name.
  rows: list[dict[str, str]]  # Rows of metrics.csv; cells are unparsed text.

  @property
  def frames(self) -> np.ndarray:
    """Environment frames, `[rows]`, in increasing order."""
    return self.column('num_frames')

  def has(self, name: str) -> bool:
    """Returns whether column `name` exists and has a non-empty cell."""
    return any(row.get(name) for row in self.rows)

  def column(self, name: str) -> np.ndarray:
    """Returns a column, `[rows]`; NaN where a cell is empty or not finite."""
    values = np.array(self._read(metrics_csv.number, name))
    return np.where(np.isfinite(values), values, np.nan)

  def histogram(self, name: str) -> np.ndarray:
    """Returns a histogram column, summed over the rows, `[bins]`.

    Rows can have different numbers of bins; missing bins count as 0.
    """
    histograms = self._read(metrics_csv.counts, name)
    sums = np.zeros(max(map(len, histograms), default=0))
    for counts in histograms:
      sums[: len(counts)] += counts
    return sums

  def _read(self, parse: Callable[[str], Any], name: str) -> list[Any]:
    """Parses the cells of a column; a missing cell is the empty string.

    Raises:
      ConfigError: if `parse` raises ValueError.
    """
    cells = [row.get(name) or '' for row in self.rows]
    try:
      return [parse(cell) for cell in cells]
    except ValueError as error:
      raise config_lib.ConfigError(
        f'{self.logdir / "metrics.csv"}: invalid number in column {name}: '
        f'{error}.'
      ) from error


def read_all(folders: Sequence[pathlib.Path]) -> list[Run]:
  """Reads all runs in `folders`; skips runs without rows with a warning.

  Args:
    folders: log directories, or folders that contain log directories at any
      depth.

  Returns:
    The runs that have rows, without duplicates.

  Raises:
    ConfigError: if a folder holds no run, a run cannot be read, or none has
      rows.
  """
  if not folders:
    raise config_lib.ConfigError(
      'No log directory given. Name a run, or a folder of runs, to plot.'
    )
  logdirs = {}
  for folder in folders:
    for logdir in _find(folder):
      logdirs.setdefault(logdir.resolve(), logdir)
  runs = [read(logdir) for logdir in logdirs.values()]
  for run in runs:
    if not run.rows:
      print(
        f'warning: {run.logdir} has no rows yet; skipped.',
        file=sys.stderr,
      )
  if not any(run.rows for run in runs):
    raise config_lib.ConfigError(
      'None of these runs has rows yet in metrics.csv.'
    )
  return [run for run in runs if run.rows]


def read(logdir: pathlib.Path) -> Run:
  """Reads the run recorded in `logdir`.

  Fields missing from its config.json, written by an older version, get their
  default values.

  Raises:
    ConfigError: if config.json or metrics.csv cannot be read.
  """
  try:
    config = config_json.read(logdir)
    rows = read_rows(logdir / 'metrics.csv')
  except (OSError, UnicodeDecodeError) as error:
    raise config_lib.ConfigError(f'Cannot read {logdir}: {error}.') from error
  if config is None:
    raise config_lib.ConfigError(f'{logdir} has no config.json.')
  return Run(logdir, dataclasses.asdict(config_lib.Config()) | config, rows)


def read_rows(path: pathlib.Path) -> list[dict[str, str]]:
  """Reads the complete rows of metrics.csv that have a num_frames value."""
  rows = metrics_csv.read(path)
  return [row for row in rows if row.get('num_frames')]


def _find(folder: pathlib.Path) -> list[pathlib.Path]:
  if not folder.is_dir():
    raise config_lib.ConfigError(f'There is no folder {folder}.')
  found = sorted(path.parent for path in folder.rglob('metrics.csv'))
  logdirs = [path for path in found if (path / 'config.json').exists()]
  if not logdirs:
    raise config_lib.ConfigError(
      f'There is no run in {folder}: no folder contains both config.json and '
      'metrics.csv.'
    )
  return logdirs
