"""Rows of metrics: means since the last row, windows of episodes, files."""

import contextlib
import csv
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import batcher
from agents import learner
from experiments import config as config_lib
from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv
from experiments.records import run_logger
from tests import events
import vtrace

NORMS = (
  'loss',
  'pg_loss',
  'baseline_loss',
  'entropy_loss',
  'entropy',
  'grad_norm',
  'update_norm',
  'param_norm',
)


def off_policy(log_rhos):
  """Returns the sums for a batch of log importance weights, `[T, B]`."""
  log_rhos = jnp.array(log_rhos, jnp.float32)
  return vtrace.off_policy_sums(
    log_rhos,
    jnp.ones(log_rhos.shape, bool),
    vs=log_rhos,
    values=jnp.zeros(log_rhos.shape),
    clip_rho_threshold=1.0,
    clip_c_threshold=1.0,
  )


def make_progress(num_updates, returns, loss, **more):
  batch = batcher.Batch(
    trajectory=None,
    num_transitions=10,
    versions=np.array([0]),
    actors={},
    wait_seconds=0.5,
    episode_returns=np.array(returns, float),
    episode_lengths=np.full(len(returns), 9),
  )
  metrics = {name: jnp.array(loss) for name in NORMS}
  metrics |= {name: jnp.array(x) for name, x in more.items()}
  return learner.Progress(
    train_state=None,
    num_updates=num_updates,
    num_frames=40 * num_updates,
    learning_rate=0.5,
    policy_lags=np.array([num_updates, 0]),
    wait_seconds=0.25,
    metrics=metrics | {'off_policy': off_policy([[0.1 * num_updates]])},
    batch=batch,
  )


def add(state, progress, seconds):
  return metrics_lib.add(state, progress, seconds=seconds, return_window=3)


def test_a_row_averages_the_updates_since_the_last_row():
  state = add(metrics_lib.initial(), make_progress(1, [1.0], loss=2.0), 3.0)
  state = add(state, make_progress(2, [3.0, 5.0], loss=4.0), 4.0)
  row = metrics_lib.row(state, num_actors=2)
  assert row['loss'] == 3.0 and row['policy_lag'] == 0.75
  np.testing.assert_array_equal(row['policy_lag_histogram'], [2, 1, 1])
  assert row['episode_return'] == row['mean_return'] == 3.0
  assert row['episode_length'] == 9.0 and row['num_episodes'] == 3
  assert row['num_frames'] == 80 and row['num_updates'] == 2
  assert row['seconds'] == 4.0 and row['frames_per_second'] == 20.0
  assert row['learner_wait_seconds'] == 0.5
  assert row['actor_wait_seconds'] == 0.5  # Per actor.
  np.testing.assert_allclose(row['log_rho'], 0.15, rtol=1e-6)
  assert row['rho_clipped'] == 1.0

  state = metrics_lib.next_interval(state)
  state = add(state, make_progress(3, [], loss=7.0), 6.0)
  row = metrics_lib.row(state, num_actors=1)
  assert row['loss'] == 7.0 and row['policy_lag'] == 1.5
  assert np.isnan(row['episode_return']) and row['mean_return'] == 3.0
  assert row['seconds'] == 6.0 and row['frames_per_second'] == 20.0

  state = add(state, make_progress(4, [10.0], loss=0.0), 6.5)
  summary = metrics_lib.summary(state)
  assert summary.mean_return == 6.0  # The last three: 3, 5, 10.
  assert summary.num_episodes == 4 and summary.num_frames == 160
  assert summary.seconds == 6.5


def test_add_does_not_modify_its_input():
  one = add(metrics_lib.initial(), make_progress(1, [1.0], loss=2.0), 1.0)
  before = jax.device_get(one)
  add(one, make_progress(2, [2.0], loss=3.0), 2.0)
  jax.tree.map(np.testing.assert_array_equal, one, before)


def logged(tmp_path, log_updates, finish=True):
  config = config_lib.from_preset(
    'catch', log_updates=log_updates, num_frames=100
  )
  logger = run_logger.RunLogger(config, tmp_path, metrics_lib.initial())
  try:
    for i in range(1, 5):
      logger.log(make_progress(i, [1.0] if i > 2 else [], loss=1e-7 * i))
    if finish:
      logger.finish()
  finally:
    logger.close()
  with open(tmp_path / 'metrics.csv', newline='') as file:
    return list(csv.DictReader(file))


def test_every_row_is_written_with_missing_values_empty(tmp_path):
  rows = logged(tmp_path, log_updates=1)
  assert [row['num_frames'] for row in rows] == ['40', '80', '120', '160']
  assert [row['episode_return'] for row in rows] == ['', '', '1', '1']
  np.testing.assert_allclose(
    [float(row['loss']) for row in rows], [1e-7, 2e-7, 3e-7, 4e-7], rtol=1e-5
  )
  known = len(metrics_csv.COLUMNS)
  assert tuple(rows[0])[:known] == metrics_csv.COLUMNS


@pytest.mark.parametrize(
  'finish,frames', ((True, ['120', '160']), (False, ['120']))
)
def test_the_last_row_may_cover_fewer_updates(finish, frames, tmp_path):
  # An interrupted run has no such row: it is resumed within the interval.
  rows = logged(tmp_path, log_updates=3, finish=finish)
  assert [row['num_frames'] for row in rows] == frames


def test_the_events_are_closed_even_if_a_row_fails(tmp_path, monkeypatch):
  def fail(*args, **kwargs):
    raise OSError('disk full')

  monkeypatch.setattr(metrics_lib, 'row', fail)
  closed = []
  monkeypatch.setattr(
    run_logger.tensorboard.Events, 'close', lambda self: closed.append(1)
  )
  with pytest.raises(OSError, match='disk full'):
    logged(tmp_path, log_updates=1)
  assert closed


def log_updates(tmp_path, state, updates, log_updates=2, **more):
  """Logs these updates; returns the state after them."""
  config = config_lib.from_preset('catch', log_updates=log_updates)
  logger = run_logger.RunLogger(config, tmp_path, state)
  with contextlib.closing(logger):
    for i in updates:
      logger.log(make_progress(i, [], loss=0.5, **more))
  return logger.state


def test_waiting_for_a_record_to_open_is_not_training_time(
  tmp_path, monkeypatch
):
  clock = types.SimpleNamespace(now=100.0, time=lambda: 0.0)
  clock.monotonic = lambda: clock.now

  class SlowWriter:
    def __init__(self, *_):
      clock.now += 30.0

    def close(self):
      """Does nothing."""

  monkeypatch.setattr(run_logger, 'time', clock)
  monkeypatch.setattr(run_logger.weights_and_biases, 'Writer', SlowWriter)
  config = config_lib.from_preset('catch', wandb_project='mine')
  state = metrics_lib.initial()._replace(seconds=7.0)
  logger = run_logger.RunLogger(config, tmp_path, state)
  with contextlib.closing(logger):
    clock.now += 2.0
    logger.log(make_progress(1, [], loss=0.5))
  assert logger.state.seconds == 9.0


def test_an_additional_metric_has_a_column(tmp_path):
  log_updates(tmp_path, metrics_lib.initial(), range(1, 5), pixel_loss=2.5)
  rows = metrics_csv.read(tmp_path / 'metrics.csv')
  assert [row['pixel_loss'] for row in rows] == ['2.5', '2.5']
  assert list(rows[0])[-1] == 'pixel_loss'
  values = events.values(tmp_path)['pixel_loss']
  assert values == [(80, 2.5), (160, 2.5)]


# Two updates are a row: the run is resumed within and after an interval.
@pytest.mark.parametrize('stopped_after', (1, 2, 3))
@pytest.mark.parametrize('change', ('added', 'removed'))
def test_a_run_with_other_metrics_cannot_be_resumed(
  stopped_after, change, tmp_path
):
  extra = [dict(), dict(pixel_loss=2.5)]
  before, after = extra if change == 'added' else extra[::-1]
  updates = range(1, stopped_after + 1)
  state = log_updates(tmp_path, metrics_lib.initial(), updates, **before)
  contents = (tmp_path / 'metrics.csv').read_bytes()
  with pytest.raises(config_lib.ConfigError, match='pixel_loss') as info:
    log_updates(tmp_path, state, [stopped_after + 1], **after)
  assert '\n' not in str(info.value)
  if stopped_after > 1:
    assert (tmp_path / 'metrics.csv').read_bytes() == contents
  log_updates(tmp_path, state, [stopped_after + 1], **before)


def test_internal_metrics_of_an_update_have_no_column(tmp_path):
  internal = dict(finite=True, steps=160.0)
  log_updates(tmp_path, metrics_lib.initial(), range(1, 3), **internal)
  (row,) = metrics_csv.read(tmp_path / 'metrics.csv')
  assert tuple(row) == metrics_csv.COLUMNS


def test_the_last_row_of_a_resumed_run_needs_no_update(tmp_path):
  state = log_updates(tmp_path, metrics_lib.initial(), [1, 2, 3])
  config = config_lib.from_preset('catch', log_updates=2)
  with contextlib.closing(
    run_logger.RunLogger(config, tmp_path, state)
  ) as logger:
    logger.finish()
  rows = metrics_csv.read(tmp_path / 'metrics.csv')
  assert [row['num_updates'] for row in rows] == ['2', '3']


def test_a_run_with_other_diagnostics_cannot_be_resumed(tmp_path):
  state = log_updates(tmp_path, metrics_lib.initial(), [1])
  progress = make_progress(2, [], loss=0.5)
  progress.metrics['off_policy']['skew'] = jnp.array(1.0)
  config = config_lib.from_preset('catch', log_updates=2)
  with (
    contextlib.closing(run_logger.RunLogger(config, tmp_path, state)) as logger,
    pytest.raises(config_lib.ConfigError, match='off_policy/skew'),
  ):
    logger.log(progress)


@pytest.mark.parametrize('name', ('kl', 'num_episodes', 'policy_lag'))
def test_a_metric_with_the_name_of_another_column_is_rejected(name):
  progress = make_progress(1, [1.0], loss=2.0, **{name: 3.0})
  state = add(metrics_lib.initial(), progress, 3.0)
  with pytest.raises(config_lib.ConfigError, match=name):
    metrics_lib.row(state, num_actors=1)
