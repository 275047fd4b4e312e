"""Rows of metrics: means since the last row, and windows of episodes."""

import csv
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

from agents import batcher
from agents import learner
from experiments import config as config_lib
from experiments import loggers
from experiments import statistics


def make_progress(num_updates, returns, loss):
  batch = batcher.Batch(
    trajectory=None,
    num_transitions=10,
    versions=np.array([0]),
    episode_returns=np.array(returns, float),
    episode_lengths=np.full(len(returns), 9),
  )
  return learner.Progress(
    train_state=None,
    num_updates=num_updates,
    num_frames=40 * num_updates,
    learning_rate=0.5,
    policy_lag=float(num_updates),
    metrics={'loss': jnp.array(loss)},
    batch=batch,
  )


def test_a_row_averages_what_came_since_the_last(monkeypatch):
  clock = types.SimpleNamespace(monotonic=lambda: clock.now, now=100.0)
  monkeypatch.setattr(statistics, 'time', clock)
  run = statistics.RunStatistics(return_window=3)
  run.add(make_progress(1, [1.0], loss=2.0))
  clock.now = 104.0
  run.add(make_progress(2, [3.0, 5.0], loss=4.0))
  clock.now = 105.0  # What comes after the last update is not training.
  row = run.row()
  assert row['loss'] == 3.0 and row['policy_lag'] == 1.5
  assert row['episode_return'] == row['mean_return'] == 3.0
  assert row['episode_length'] == 9.0 and row['num_episodes'] == 3
  assert row['num_frames'] == 80 and row['num_updates'] == 2
  assert row['seconds'] == 4.0 and row['frames_per_second'] == 20.0
  assert not run.pending

  clock.now = 106.0
  run.add(make_progress(3, [], loss=7.0))
  row = run.row()
  assert row['loss'] == 7.0 and row['policy_lag'] == 3.0
  assert np.isnan(row['episode_return']) and row['mean_return'] == 3.0
  assert row['seconds'] == 6.0 and row['frames_per_second'] == 20.0

  run.add(make_progress(4, [10.0], loss=0.0))
  assert run.row()['mean_return'] == 6.0  # Of the last three: 3, 5, 10.
  clock.now = 120.0
  assert run.summary.num_episodes == 4 and run.summary.num_frames == 160
  assert run.summary.seconds == 6.0


def logged(tmp_path, log_seconds, loss=1e-7):
  config = config_lib.from_preset(
    'catch', log_seconds=log_seconds, num_frames=100
  )
  logger = loggers.RunLogger(config, tmp_path)
  empty = dict.fromkeys(
    ('pg_loss', 'baseline_loss', 'entropy_loss', 'entropy', 'grad_norm'), 0.25
  )
  for i in range(1, 5):
    progress = make_progress(i, [1.0] if i > 2 else [], loss=loss * i)
    logger.log(progress._replace(metrics=progress.metrics | empty))
  logger.close()
  with open(tmp_path / 'metrics.csv', newline='') as file:
    return config, list(csv.DictReader(file))


def test_every_row_is_written_and_what_is_missing_is_empty(tmp_path):
  config, rows = logged(tmp_path, log_seconds=0.0)
  assert [row['num_frames'] for row in rows] == ['40', '80', '120', '160']
  assert [row['episode_return'] for row in rows] == ['', '', '1', '1']
  np.testing.assert_allclose(
    [float(row['loss']) for row in rows], [1e-7, 2e-7, 3e-7, 4e-7], rtol=1e-5
  )
  saved = json.loads((tmp_path / 'config.json').read_text())
  assert config_lib.Config(**saved) == config


def test_closing_writes_the_last_row(tmp_path):
  _, rows = logged(tmp_path, log_seconds=1e9)
  assert [row['num_frames'] for row in rows] == ['160']


def test_a_run_that_diverges_stops_and_says_so(tmp_path):
  with pytest.raises(loggers.DivergedError, match='nan after 1 updates'):
    logged(tmp_path, log_seconds=0.0, loss=float('nan'))
  with open(tmp_path / 'metrics.csv', newline='') as file:
    (row,) = csv.DictReader(file)
  assert row['loss'] == 'nan' and row['episode_return'] == ''


def test_closing_closes_everything_though_the_last_row_fails(
  tmp_path, monkeypatch
):
  def fail(*args):
    raise OSError('disk full')

  monkeypatch.setattr(statistics.RunStatistics, 'row', fail)
  closed = []
  monkeypatch.setattr(
    loggers.tensorboardX.SummaryWriter, 'close', lambda self: closed.append(1)
  )
  with pytest.raises(OSError, match='disk full'):
    logged(tmp_path, log_seconds=1e9)
  assert closed and (tmp_path / 'learning_curve.png').exists()
