"""The logger of a run: metrics.csv, TensorBoard and a progress bar."""

from collections.abc import Iterable
import contextlib
import csv
import pathlib
import time
from typing import Any
from typing import TextIO

import jax
import tqdm

from agents import learner
from experiments import config as config_lib
from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv
from experiments.records import tensorboard


class RunLogger:
  """Records a run in its log directory, one row every `log_updates` updates.

  A resumed run continues its rows: rows written after its checkpoint are
  removed, and the TensorBoard events are rewritten from the remaining rows. If
  a run that was over is trained on, its last row, which covers a part of an
  interval, is replaced by the row of the whole interval. The first update sets
  the columns, which never change.
  """

  def __init__(
    self,
    config: config_lib.Config,
    logdir: pathlib.Path,
    state: metrics_lib.State,
  ):
    """Opens the records in `logdir` of a run with statistics `state`."""
    self._config = config
    self._path = logdir / 'metrics.csv'
    self.state = state
    # The rows up to this update are kept.
    self._num_updates = state.num_updates - state.interval.num_updates
    self._start = time.monotonic() - state.seconds
    self._path.touch()
    rows = metrics_csv.read_until(self._path, self._num_updates)
    self._file: TextIO | None = None  # Until the first update, which shows
    self._csv: csv.DictWriter | None = None  # whether the columns are right.
    self._events = tensorboard.Events(logdir)
    for row in rows:
      self._events.add(row)
    self._events.flush()
    self._bar = tqdm.tqdm(
      total=config.num_frames,
      initial=min(state.num_frames, config.num_frames),
      unit=' frames',
      unit_scale=True,
      smoothing=0.1,
      mininterval=0.5,
      dynamic_ncols=True,
      disable=config.quiet,
    )

  def log(self, progress: learner.Progress) -> None:
    """Adds an update; writes a row every `log_updates` updates.

    Raises:
      ConfigError: if the update has other metrics than earlier updates.
    """
    if self._csv is None:
      alone = self._add(metrics_lib.initial(), progress)
      self._check_same_metrics(progress)
      self._open_csv(self._row(alone))
    state = self._add(self.state, progress)
    self._advance(state.num_frames)
    if state.num_updates % self._config.log_updates == 0:
      self._write(state)
      state = metrics_lib.next_interval(state)
    self.state = state

  def finish(self) -> None:
    """Writes the last row, which may cover fewer updates than the others."""
    if self.state.interval.num_updates:
      self._write(self.state)

  def close(self) -> None:
    """Closes the records."""
    with contextlib.ExitStack() as stack:  # Closes all, even if one fails.
      stack.callback(self._events.close)
      if self._file is not None:
        stack.callback(self._file.close)
      stack.callback(self._bar.close)

  def _add(
    self, state: metrics_lib.State, progress: learner.Progress
  ) -> metrics_lib.State:
    return metrics_lib.add(
      state,
      progress,
      seconds=time.monotonic() - self._start,
      return_window=self._config.return_window,
    )

  def _check_same_metrics(self, progress: learner.Progress) -> None:
    """Raises a ConfigError if a restored interval has sums of other metrics."""
    sums = self.state.interval.sums
    if sums:
      self._check_same(_leaf_names(sums), _leaf_names(progress.metrics))

  def _open_csv(self, row: dict[str, Any]) -> None:
    """Sets the columns: those of the file, or those of `row` if it is new.

    Raises:
      ConfigError: if the file has other columns than `row`; it then stays as it
        is.
    """
    kept = metrics_csv.read_until(self._path, self._num_updates)
    header = metrics_csv.read_header(self._path) if kept else []
    if header:
      self._check_same(header, row)
    metrics_csv.cut(self._path, self._num_updates)
    self._file = open(self._path, 'a', newline='')
    self._csv = csv.DictWriter(self._file, header or metrics_csv.order(row))
    if not header:
      self._csv.writeheader()
      self._file.flush()

  def _check_same(self, old: Iterable[str], new: Iterable[str]) -> None:
    differing = set(old) ^ set(new)
    if differing:
      raise config_lib.ConfigError(
        f'{self._path} cannot be resumed: its columns differ from those of '
        f'this version in {", ".join(sorted(differing))}. Choose another '
        '--logdir or use the version that wrote it.'
      )

  def _row(self, state: metrics_lib.State) -> dict[str, Any]:
    row = metrics_lib.row(state, self._config.num_actors)
    return row | {'wall_time': int(time.time())}

  def _write(self, state: metrics_lib.State) -> None:
    row = self._row(state)
    if self._csv is None:  # A resumed run may have only the last row left.
      self._open_csv(row)
    cells = {k: metrics_csv.cell(row[k]) for k in metrics_csv.order(row)}
    self._csv.writerow(cells)
    self._file.flush()
    self._events.add(cells)
    self._events.flush()
    self._bar.set_postfix_str(
      f'fps {row["frames_per_second"]:,.0f}, return {row["mean_return"]:.2f}, '
      f'lag {row["policy_lag"]:.1f}',
      refresh=False,
    )

  def _advance(self, num_frames: int) -> None:
    self._bar.update(min(num_frames, self._bar.total) - self._bar.n)


def _leaf_names(tree: Any) -> list[str]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return [
    jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in leaves
  ]
