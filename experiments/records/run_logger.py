"""The logger of a run: makes its rows for a list of writers."""

from collections.abc import Sequence
import contextlib
import pathlib
import time
from typing import Any
from typing import Protocol

import jax

from agents import learner
from experiments import config as config_lib
from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv
from experiments.records import progress_bar
from experiments.records import tensorboard
from experiments.records import weights_and_biases


class Writer(Protocol):
  """A record of a run, which gets every row of metrics.csv."""

  def write(self, row: dict[str, str]) -> None:
    """Writes a row: the text of a cell by column; no data is an empty cell."""

  def close(self) -> None:
    """Ends the record."""


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
    writers: Sequence[Writer] = (),
  ):
    """Opens the records in `logdir` of a run with statistics `state`.

    Args:
      config: of the run.
      logdir: its log directory.
      state: its statistics so far.
      writers: get the rows that follow, and are closed with the logger.
    """
    self._config = config
    self._path = logdir / 'metrics.csv'
    self.state = state
    self._csv = metrics_csv.Writer(
      self._path, state.num_updates - state.interval.num_updates
    )
    events = tensorboard.Events(logdir)
    for row in self._csv.rows:
      events.add(row)
    events.flush()
    self._writers: list[Writer] = [self._csv, events, *writers]
    if config.wandb_project:
      self._writers.append(weights_and_biases.Writer(config, logdir))
    self._bar = progress_bar.ProgressBar(
      total=config.num_frames,
      initial=min(state.num_frames, config.num_frames),
      unit=' frames',
      unit_scale=True,
      smoothing=0.1,
      mininterval=0.5,
      dynamic_ncols=True,
      disable=config.quiet,
    )
    # Opening the records, perhaps waiting for a server, is not training time.
    self._start = time.monotonic() - state.seconds

  def log(self, progress: learner.Progress) -> None:
    """Adds an update; writes a row every `log_updates` updates.

    Raises:
      ConfigError: if the update has other metrics than earlier updates.
    """
    if not self._csv.has_columns:
      alone = self._add(metrics_lib.initial(), progress)
      self._check_same_metrics(progress)
      self._csv.set_columns(self._row(alone))
    state = self._add(self.state, progress)
    self._bar.move_to(state.num_frames)
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
      stack.callback(self._bar.close)
      for writer in self._writers:
        stack.callback(writer.close)

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
      metrics_csv.check_same(
        self._path, _leaf_names(sums), _leaf_names(progress.metrics)
      )

  def _row(self, state: metrics_lib.State) -> dict[str, Any]:
    row = metrics_lib.row(state, self._config.num_actors)
    return row | {'wall_time': int(time.time())}

  def _write(self, state: metrics_lib.State) -> None:
    row = self._row(state)
    cells = {k: metrics_csv.cell(row[k]) for k in metrics_csv.order(row)}
    for writer in self._writers:
      writer.write(cells)
    self._bar.set_text(
      f'fps {row["frames_per_second"]:,.0f}, return {row["mean_return"]:.2f}, '
      f'lag {row["policy_lag"]:.1f}'
    )


def _leaf_names(tree: Any) -> list[str]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return [
    jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in leaves
  ]
