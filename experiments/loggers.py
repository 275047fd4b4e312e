"""Where a run is recorded: metrics.csv, TensorBoard, a progress bar."""

import contextlib
import csv
import pathlib
import time
from typing import Any

import numpy as np
import tensorboardX
import tqdm

from agents import learner
from experiments import config as config_lib
from experiments import metrics_file
from experiments import plot
from experiments import statistics
import vtrace


class RunLogger:
  """Records a run in its log directory, a row every `log_updates`.

  A run that goes on goes on with its rows: those written after its checkpoint
  are cut off, and TensorBoard's events are written anew from those that stay.
  """

  def __init__(
    self,
    config: config_lib.Config,
    logdir: pathlib.Path,
    state: statistics.State,
  ):
    """Opens the records in `logdir`, of a run that stands at `state`."""
    self._config = config
    self._logdir = logdir
    self.state = state
    self._start = time.monotonic() - state.seconds
    rows = self._open_csv()
    self._open_tensorboard(rows)
    self._bar = tqdm.tqdm(
      total=config.num_frames,
      initial=min(state.num_frames, config.num_frames),
      unit=' frames',
      unit_scale=True,
      smoothing=0.1,
      dynamic_ncols=True,
    )

  def log(self, progress: learner.Progress) -> None:
    """Takes note of an update; every `log_updates`, writes a row."""
    state = statistics.add(
      self.state,
      progress,
      seconds=time.monotonic() - self._start,
      return_window=self._config.return_window,
    )
    self._advance(state.num_frames)
    if state.num_updates % self._config.log_updates == 0:
      self._write(state)
      state = statistics.next_interval(state)
    self.state = state

  def finish(self) -> None:
    """The run is over: writes the last row, of fewer updates than others."""
    if self.state.interval.num_updates:
      self._write(self.state)

  def close(self) -> None:
    """Closes the records, and draws them."""
    with contextlib.ExitStack() as stack:  # Backwards, whatever fails.
      stack.callback(
        plot.diagnostics, [self._logdir], self._logdir / 'diagnostics.png'
      )
      stack.callback(
        plot.learning_curve,
        self._logdir / 'metrics.csv',
        self._logdir / 'learning_curve.png',
      )
      stack.callback(self._tensorboard.close)
      stack.callback(self._file.close)
      stack.callback(self._bar.close)

  def _open_csv(self) -> list[dict[str, str]]:
    """Opens metrics.csv behind the rows that stand; gives them."""
    path = self._logdir / 'metrics.csv'
    path.touch()
    last_row = self.state.num_updates - self.state.interval.num_updates
    rows = metrics_file.cut(path, last_row)
    self._file = open(path, 'a', newline='')
    self._csv = csv.DictWriter(self._file, metrics_file.COLUMNS)
    return rows

  def _open_tensorboard(self, rows: list[dict[str, str]]) -> None:
    for old in self._logdir.glob('events.out.tfevents.*'):
      old.unlink()
    self._tensorboard = tensorboardX.SummaryWriter(str(self._logdir))
    for row in rows:
      self._add_events({k: metrics_file.number(v) for k, v in row.items()})

  def _write(self, state: statistics.State) -> None:
    row = statistics.row(state, self._config.num_actors)
    self._csv.writerow(
      {name: metrics_file.cell(row[name]) for name in metrics_file.COLUMNS}
    )
    self._file.flush()
    self._add_events(row)
    self._bar.set_postfix_str(
      f'fps {row["frames_per_second"]:,.0f}, return {row["mean_return"]:.2f}, '
      f'lag {row["policy_lag"]:.1f}',
      refresh=False,
    )

  def _advance(self, num_frames: int) -> None:
    self._bar.update(min(num_frames, self._bar.total) - self._bar.n)

  def _add_events(self, row: dict[str, Any]) -> None:
    """A row as TensorBoard's events, at the time when it was written."""
    frames = int(row['num_frames'])
    wall_time = time.time() - (time.monotonic() - self._start) + row['seconds']
    for name in metrics_file.COLUMNS:
      value = row[name]
      if name in metrics_file.HISTOGRAMS:
        self._add_histogram(name, np.atleast_1d(value), frames, wall_time)
      elif name != 'num_frames' and np.isfinite(value):
        self._tensorboard.add_scalar(name, value, frames, wall_time)
    self._tensorboard.flush()

  def _add_histogram(
    self, name: str, counts: np.ndarray, frames: int, wall_time: float
  ) -> None:
    limits = np.arange(len(counts)) + 0.5
    if name == 'log_rho_histogram':
      last = 2 * vtrace.LOG_RHO_EDGES[-1] - vtrace.LOG_RHO_EDGES[-2]
      limits = np.array([*vtrace.LOG_RHO_EDGES, last])
    centres = limits - np.diff(limits, append=limits[-1] + 1).mean() / 2
    self._tensorboard.add_histogram_raw(
      name,
      min=float(centres[0]),
      max=float(centres[-1]),
      num=int(np.sum(counts)),
      sum=float(np.sum(centres * counts)),
      sum_squares=float(np.sum(np.square(centres) * counts)),
      bucket_limits=limits.tolist(),
      bucket_counts=counts.tolist(),
      global_step=frames,
      walltime=wall_time,
    )
