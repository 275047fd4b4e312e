"""metrics.csv: one row per interval; tolerates an incomplete last row."""

from collections.abc import Iterable
import csv
import io
import pathlib
from typing import Any
from typing import TextIO

import numpy as np

from experiments import config as config_lib
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

_COUNTS = ('num_frames', 'num_updates')  # In every file and row.


class Writer:
  """Appends rows to a file; the first row sets the columns of a new file."""

  def __init__(self, path: pathlib.Path, num_updates: int):
    """Reads the rows up to `num_updates`; later rows are removed.

    Raises:
      ConfigError: if a cell of the file holds no number.
    """
    path.touch()
    self.rows = read_until(path, num_updates)  # The rows that stay.
    self._path = path
    self._num_updates = num_updates
    # Until the columns are known: the file stays as it is if they differ.
    self._file: TextIO | None = None
    self._csv: csv.DictWriter | None = None

  @property
  def has_columns(self) -> bool:
    """Whether the columns are set."""
    return self._csv is not None

  def set_columns(self, names: Iterable[str]) -> None:
    """Sets the columns: those of the file, or `names` if it is new.

    Raises:
      ConfigError: if the file has other columns than `names`.
    """
    header = read_header(self._path) if self.rows else []
    if header:
      check_same(self._path, header, names)
    cut(self._path, self._num_updates)
    self._file = open(self._path, 'a', newline='')
    self._csv = csv.DictWriter(self._file, header or order(names))
    if not header:
      self._csv.writeheader()
      self._file.flush()

  def write(self, row: dict[str, str]) -> None:
    """Writes a row of cells."""
    if self._csv is None:  # A resumed run may have only the last row left.
      self.set_columns(row)
    self._csv.writerow(row)
    self._file.flush()

  def close(self) -> None:
    """Closes the file."""
    if self._file is not None:
      self._file.close()


def check_same(
  path: pathlib.Path, old: Iterable[str], new: Iterable[str]
) -> None:
  """Raises a ConfigError if the new names differ from the old ones."""
  differing = set(old) ^ set(new)
  if differing:
    raise config_lib.ConfigError(
      f'{path} cannot be resumed: its columns differ from those of '
      f'this version in {", ".join(sorted(differing))}. Choose another '
      '--logdir or use the version that wrote it.'
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


def count(text: str) -> int:
  """Parses a whole number; a spreadsheet may have written 4.0 or 1e9 for it."""
  value = float(text)
  if not value.is_integer():
    raise ValueError(f'{text!r} is not a whole number')
  return int(text) if text.strip().isdecimal() else int(value)


def read(path: pathlib.Path) -> list[dict[str, str]]:
  """Reads the complete rows; skips a last row left incomplete by a kill.

  Raises:
    ConfigError: if the file was edited so that it has no such rows.
  """
  lines = _lines(path)
  try:
    rows = list(csv.DictReader(lines))
  except csv.Error as error:
    raise config_lib.ConfigError(f'{path} cannot be read: {error}.') from error
  return [row for row in rows if None not in row and None not in row.values()]


def read_header(path: pathlib.Path) -> list[str]:
  """Reads the names of the columns; [] if there is no complete header.

  Raises:
    ConfigError: as `read` does.
  """
  return next(csv.reader(_lines(path)), [])


def read_until(path: pathlib.Path, num_updates: int) -> list[dict[str, str]]:
  """Reads the rows up to `num_updates`, which a resumed run continues.

  Raises:
    ConfigError: if a cell of the file holds no number.
  """
  rows = [_checked(row, i, path) for i, row in enumerate(read(path), 1)]
  return [row for row in rows if int(row['num_updates']) <= num_updates]


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

  Raises:
    ConfigError: as `read_until` does; the file then stays as it is.
  """
  rows, header = read_until(path, num_updates), read_header(path)
  with atomic_file.replacing(path) as new, open(new, 'w', newline='') as file:
    if rows:
      writer = csv.DictWriter(file, header)
      writer.writeheader()
      writer.writerows(rows)
  return rows


def _lines(path: pathlib.Path) -> list[str]:
  """Returns the complete lines, without a byte order mark.

  Raises:
    ConfigError: if they are not the text of a file with commas.
  """
  data = path.read_bytes()
  complete = data[: data.rfind(b'\n') + 1]
  try:
    text = list(io.StringIO(complete.decode('utf-8-sig'), newline=''))
  except UnicodeDecodeError as error:
    raise config_lib.ConfigError(
      f'{path} is not UTF-8 text: {error.reason}. Undo the changes to it.'
    ) from error
  if text and 'num_frames' not in next(csv.reader(text)):
    raise config_lib.ConfigError(
      f'{path} has no column num_frames. Its first line should hold the names '
      'of the columns, separated by commas.'
    )
  return text


def _checked(
  row: dict[str, str], number_of_row: int, path: pathlib.Path
) -> dict[str, str]:
  """Returns a row whose counts are integers.

  Raises:
    ConfigError: if a cell is not as `cell` formats it.
  """
  parsers = dict.fromkeys(HISTOGRAMS, counts) | dict.fromkeys(_COUNTS, count)
  for name in (*_COUNTS, *row):
    try:
      parsers.get(name, number)(row.get(name, ''))
    except ValueError as error:
      raise config_lib.ConfigError(
        f'{path} cannot be resumed: row {number_of_row}, column {name}: '
        f'{error}. Undo the changes to it or choose another --logdir.'
      ) from error
  return row | {name: str(count(row[name])) for name in _COUNTS}
