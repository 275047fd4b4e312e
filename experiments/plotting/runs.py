"""Recorded runs, found and read back."""

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
  """A run as its log directory records it."""

  logdir: pathlib.Path
  config: dict[str, Any]  # Every field, by name.
  rows: list[dict[str, str]]  # Of metrics.csv, as they stand there.

  @property
  def frames(self) -> np.ndarray:
    """Environment frames, `[rows]`, rising."""
    return self.column('num_frames')

  def has(self, name: str) -> bool:
    """Whether column `name` is there, and not empty throughout."""
    return any(row.get(name) for row in self.rows)

  def column(self, name: str) -> np.ndarray:
    """Numbers, `[rows]`; NaN where a cell is empty or not finite."""
    values = np.array(self._read(metrics_csv.number, name))
    return np.where(np.isfinite(values), values, np.nan)

  def histogram(self, name: str) -> np.ndarray:
    """Counts of a column of histograms, added up over the rows, `[bins]`.

    A row has as many bins as it had need of.
    """
    histograms = self._read(metrics_csv.counts, name)
    sums = np.zeros(max(map(len, histograms), default=0))
    for counts in histograms:
      sums[: len(counts)] += counts
    return sums

  def _read(self, parse: Callable[[str], Any], name: str) -> list[Any]:
    """What `parse` makes of a column's cells."""
    cells = [row.get(name) or '' for row in self.rows]
    try:
      return [parse(cell) for cell in cells]
    except ValueError as error:
      raise config_lib.ConfigError(
        f'{self.logdir / "metrics.csv"} holds what is no number: {error}.'
      ) from error


def read_all(folders: Sequence[pathlib.Path]) -> list[Run]:
  """All runs in `folders` that have rows; warns of those without.

  Args:
    folders: log directories, or folders with log directories somewhere inside.

  Returns:
    Each run once, however often it was named.

  Raises:
    ConfigError: if a folder holds no run, a run cannot be read, or none has
      rows.
  """
  if not folders:
    raise config_lib.ConfigError('Name a run, or a folder of runs, to draw.')
  logdirs = {}
  for folder in folders:
    for logdir in _find(folder):
      logdirs.setdefault(logdir.resolve(), logdir)
  runs = [read(logdir) for logdir in logdirs.values()]
  for run in runs:
    if not run.rows:
      print(
        f'warning: {run.logdir} has no rows yet and is left out.',
        file=sys.stderr,
      )
  if not any(run.rows for run in runs):
    raise config_lib.ConfigError('None of these runs has rows yet.')
  return [run for run in runs if run.rows]


def read(logdir: pathlib.Path) -> Run:
  """The run recorded in `logdir`.

  Fields that its configuration lacks, as that of an older version may, are the
  defaults.

  Raises:
    ConfigError: if it cannot be read.
  """
  try:
    config = config_json.read(logdir)
    rows = read_rows(logdir / 'metrics.csv')
  except (OSError, UnicodeDecodeError) as error:
    raise config_lib.ConfigError(f'Cannot read {logdir}: {error}.') from error
  return Run(logdir, dataclasses.asdict(config_lib.Config()) | config, rows)


def read_rows(path: pathlib.Path) -> list[dict[str, str]]:
  """The whole rows; none of a table that is not about frames."""
  rows = metrics_csv.read(path)
  return [row for row in rows if row.get('num_frames')]


def _find(folder: pathlib.Path) -> list[pathlib.Path]:
  if not folder.is_dir():
    raise config_lib.ConfigError(f'There is no folder {folder}.')
  found = sorted(path.parent for path in folder.rglob('metrics.csv'))
  logdirs = [path for path in found if (path / 'config.json').exists()]
  if not logdirs:
    raise config_lib.ConfigError(
      f'There is no run in {folder}: no folder holds both config.json and '
      'metrics.csv.'
    )
  return logdirs
