"""Where a run is recorded: config.json, metrics.csv, TensorBoard, a bar."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import time
from typing import Any

import numpy as np
import tensorboardX
import tqdm

from agents import learner
from experiments import config as config_lib
from experiments import plot
from experiments import statistics

COLUMNS = (
  'num_frames',
  'num_updates',
  'seconds',
  'frames_per_second',
  'episode_return',
  'mean_return',
  'episode_length',
  'num_episodes',
  'policy_lag',
  'learning_rate',
  'loss',
  'pg_loss',
  'baseline_loss',
  'entropy_loss',
  'entropy',
  'grad_norm',
)


# Empty where no episode ended; a NaN anywhere else is news.
_OF_EPISODES = ('episode_return', 'mean_return', 'episode_length')


class DivergedError(ArithmeticError):
  """The loss is not finite."""


class RunLogger:
  """Records a run in its log directory, a row every `log_seconds`."""

  def __init__(self, config: config_lib.Config, logdir: pathlib.Path):
    """Writes config.json and opens the rest in `logdir`, which exists."""
    self._logdir = logdir
    self._log_seconds = config.log_seconds
    text = json.dumps(dataclasses.asdict(config), indent=2) + '\n'
    (logdir / 'config.json').write_text(text)
    self._file = open(logdir / 'metrics.csv', 'w', newline='')
    self._csv = csv.DictWriter(self._file, COLUMNS)
    self._csv.writeheader()
    self._file.flush()
    self._tensorboard = tensorboardX.SummaryWriter(str(logdir))
    self._bar = tqdm.tqdm(
      total=config.num_frames,
      unit=' frames',
      unit_scale=True,
      smoothing=0.1,
      dynamic_ncols=True,
    )
    self._statistics = statistics.RunStatistics(config.return_window)
    self._written = time.monotonic()

  def log(self, progress: learner.Progress) -> None:
    """Takes note of an update; every `log_seconds`, writes a row.

    Raises:
      DivergedError: after writing a row whose loss is not finite.
    """
    self._statistics.add(progress)
    if time.monotonic() - self._written >= self._log_seconds:
      self._write()

  @property
  def summary(self) -> statistics.Summary:
    """The run so far."""
    return self._statistics.summary

  def close(self) -> None:
    """Writes what is not written yet, and draws the learning curve."""
    with contextlib.ExitStack() as stack:  # Backwards, whatever fails.
      stack.callback(
        plot.learning_curve,
        self._logdir / 'metrics.csv',
        self._logdir / 'learning_curve.png',
      )
      stack.callback(self._tensorboard.close)
      stack.callback(self._file.close)
      stack.callback(self._bar.close)
      if self._statistics.pending:
        self._write()

  def _write(self) -> None:
    row = self._statistics.row()
    self._written = time.monotonic()
    self._csv.writerow({name: _cell(name, row[name]) for name in COLUMNS})
    self._file.flush()
    for name, value in row.items():
      if name != 'num_frames' and np.isfinite(value):
        self._tensorboard.add_scalar(name, value, row['num_frames'])
    self._tensorboard.flush()
    self._bar.set_postfix_str(
      f'fps {row["frames_per_second"]:,.0f}, return {row["mean_return"]:.2f}, '
      f'lag {row["policy_lag"]:.1f}',
      refresh=False,
    )
    self._bar.update(min(row['num_frames'], self._bar.total) - self._bar.n)
    if not np.isfinite(row['loss']):
      raise DivergedError(
        f'The loss is {row["loss"]} after {row["num_updates"]} updates.'
      )


def _cell(name: str, value: Any) -> str:
  """A number for the CSV; nothing where no episode ended."""
  if isinstance(value, int):
    return str(value)
  no_episode = name in _OF_EPISODES and np.isnan(value)
  return '' if no_episode else f'{value:.6g}'
