"""Where a run is recorded: metrics.csv, TensorBoard, a progress bar."""

import contextlib
import csv
import pathlib
import time

import tqdm

from agents import learner
from experiments import config as config_lib
from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv
from experiments.records import tensorboard


class RunLogger:
  """Records a run in its log directory, a row every `log_updates`.

  A run that goes on goes on with its rows: those written after its checkpoint
  are cut off, and TensorBoard's events are written anew from those that stay.
  """

  def __init__(
    self,
    config: config_lib.Config,
    logdir: pathlib.Path,
    state: metrics_lib.State,
  ):
    """Opens the records in `logdir`, of a run that stands at `state`."""
    self._config = config
    self._logdir = logdir
    self.state = state
    self._start = time.monotonic() - state.seconds
    rows = self._open_csv()
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
    )

  def log(self, progress: learner.Progress) -> None:
    """Takes note of an update; every `log_updates`, writes a row."""
    state = metrics_lib.add(
      self.state,
      progress,
      seconds=time.monotonic() - self._start,
      return_window=self._config.return_window,
    )
    self._advance(state.num_frames)
    if state.num_updates % self._config.log_updates == 0:
      self._write(state)
      state = metrics_lib.next_interval(state)
    self.state = state

  def finish(self) -> None:
    """The run is over: writes the last row, of fewer updates than others."""
    if self.state.interval.num_updates:
      self._write(self.state)

  def close(self) -> None:
    """Closes the records."""
    with contextlib.ExitStack() as stack:  # Whichever of them fails.
      stack.callback(self._events.close)
      stack.callback(self._file.close)
      stack.callback(self._bar.close)

  def _open_csv(self) -> list[dict[str, str]]:
    """Opens metrics.csv behind the rows that stand; gives them."""
    path = self._logdir / 'metrics.csv'
    path.touch()
    rows = metrics_csv.cut(path, self.state.num_updates)
    self._file = open(path, 'a', newline='')
    self._csv = csv.DictWriter(self._file, metrics_csv.COLUMNS)
    return rows

  def _write(self, state: metrics_lib.State) -> None:
    row = metrics_lib.row(state, self._config.num_actors)
    row['wall_time'] = int(time.time())
    cells = {k: metrics_csv.cell(row[k]) for k in metrics_csv.COLUMNS}
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
