"""Tests of runs that are trained on, start from others, or end early."""

import contextlib
import dataclasses
import itertools
import json
import shutil
import types

import jax
import numpy as np
import pytest

from experiments import config as config_lib
from experiments import train
from experiments.plotting import pages
from experiments.records import metrics_csv
from experiments.training.checkpoints import checkpoint
from tests import comparing
from tests import events
from tests import running

pytestmark = pytest.mark.usefixtures('one_device', 'no_plots')

FRAMES = 8 * 4  # Of an update, at most: the steps of resets do not count.


def config_for(logdir, **settings):
  return running.one_actor_config(
    **dict(log_updates=3, learning_rate=1e-3, logdir=str(logdir)) | settings
  )


@pytest.fixture
def no_plots(monkeypatch):
  """Draws no plots, which take longer than these trainings."""
  skip_plots(monkeypatch)


def skip_plots(monkeypatch):
  for name in ('draw_learning_curve', 'draw_diagnostics'):
    monkeypatch.setattr(pages, name, lambda logdir: None)


def rows_of(logdir):
  return metrics_csv.read(logdir / 'metrics.csv')


def column(rows, name, kind=int):
  return [kind(row[name]) for row in rows]


def recorded_config(logdir):
  return json.loads((logdir / 'config.json').read_text())


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """Trains a run of 8 updates, whose last row covers two of them."""
  logdir = tmp_path_factory.mktemp('finished') / 'run'
  with pytest.MonkeyPatch.context() as patch:
    running.see_one_device(patch)
    skip_plots(patch)
    train.train(config_for(logdir, num_frames=7 * FRAMES))
  assert column(rows_of(logdir), 'num_updates') == [3, 6, 8]
  return logdir


@pytest.fixture
def run(finished, tmp_path):
  """Copies the finished run, so that a test can train it on."""
  logdir = tmp_path / 'run'
  shutil.copytree(finished, logdir)
  return logdir


def test_a_run_that_is_over_trains_on_with_a_new_learning_rate(
  run, tmp_path, capsys
):
  (*_, over) = rows_of(run)
  old, new = 7 * FRAMES, 16 * FRAMES
  train.train(config_for(run, num_frames=new))
  rows = rows_of(run)
  # The row of two updates is now that of a whole interval.
  assert column(rows, 'num_updates')[:5] == [3, 6, 9, 12, 15]
  frames = column(rows, 'num_frames')
  assert frames == sorted(set(frames)) and frames[-1] >= new
  assert [step for step, _ in events.values(run)['loss']] == frames
  assert recorded_config(run)['num_frames'] == new
  updates = column(rows, 'num_updates')
  per_update = np.diff([0, *frames]) / np.diff([0, *updates])
  # The rate of an update is that of the frames before it.
  for row, step in zip(rows, per_update):
    before = int(row['num_frames']) - step
    total = old if int(row['num_updates']) <= 8 else new
    expected = 1e-3 * max(0, 1 - before / total)
    assert float(row['learning_rate']) == pytest.approx(expected, abs=3e-5)
  assert float(over['learning_rate']) < 1e-4 < 4e-4
  assert float(rows[2]['learning_rate']) > 4e-4
  out = capsys.readouterr().out
  (sentence,) = (line for line in out.splitlines() if 'learning rate' in line)
  assert f'{new:,} instead of {old:,}' in sentence
  start = int(over['num_frames'])
  assert f'from 0 to {1e-3 * (1 - start / new):.3g}' in sentence


def test_training_on_equals_an_uninterrupted_run_without_a_decay(
  tmp_path,
):
  """Checks everything but the schedule, with a learning rate of 0."""
  frozen = dict(learning_rate=0.0)
  train.train(config_for(tmp_path / 'a', num_frames=7 * FRAMES, **frozen))
  for name in ('a', 'b'):
    config = config_for(tmp_path / name, num_frames=12 * FRAMES, **frozen)
    train.train(config)
  comparing.assert_same_run(tmp_path / 'a', tmp_path / 'b')


def test_a_run_that_is_not_over_can_be_prolonged_or_shortened(tmp_path):
  config = config_for(tmp_path, num_frames=20 * FRAMES, max_seconds=1e-9)
  for num_frames in (20, 30, 4):
    train.train(dataclasses.replace(config, num_frames=num_frames * FRAMES))
    assert recorded_config(tmp_path)['num_frames'] == num_frames * FRAMES
  assert checkpoint.steps(tmp_path / 'checkpoints')[-1] == 3
  train.train(dataclasses.replace(config, num_frames=4 * FRAMES, max_seconds=0))
  assert rows_of(tmp_path)[-1]['learning_rate'] != ''
  assert column(rows_of(tmp_path), 'num_updates') == [3, 5]


def test_a_run_is_not_cut_to_fewer_frames_than_trained(run):
  before = recorded_config(run), rows_of(run)
  with pytest.raises(config_lib.ConfigError, match='already trained'):
    train.train(config_for(run, num_frames=3 * FRAMES))
  assert (recorded_config(run), rows_of(run)) == before
  train.train(config_for(run, num_frames=7 * FRAMES))  # Over: no change.
  assert (recorded_config(run), rows_of(run)) == before


def test_a_run_ends_after_max_seconds_with_a_checkpoint_and_resumes(
  tmp_path, monkeypatch, capsys
):
  clock = itertools.count()  # A second passes at every look.
  fake = types.SimpleNamespace(monotonic=lambda: next(clock))
  monkeypatch.setattr(train, 'time', fake)
  config = config_for(tmp_path, num_frames=12 * FRAMES, max_seconds=5)
  summary = train.train(config)
  assert summary.num_updates == 5
  assert checkpoint.steps(tmp_path / 'checkpoints')[-1] == 5
  assert column(rows_of(tmp_path), 'num_updates') == [3]
  out = capsys.readouterr().out
  assert '--max_seconds=5' in out
  assert f'experiments.train --logdir={tmp_path}\n' in out
  assert train.train(config).num_updates == 10
  rest = dataclasses.replace(config, max_seconds=0.0)
  assert train.train(rest).num_frames >= 12 * FRAMES
  assert '--max_seconds' not in capsys.readouterr().out.rsplit('Resuming')[-1]
  updates = column(rows_of(tmp_path), 'num_updates')
  assert updates[:4] == [3, 6, 9, 12]


def test_a_quiet_run_prints_nothing(run, capfd):
  short = dict(num_frames=9 * FRAMES, max_seconds=1e-9)
  train.train(config_for(run, quiet=True, **short))
  assert capfd.readouterr() == ('', '')
  train.train(config_for(run, **short))
  assert 'Resuming' in capfd.readouterr().out


def params_of(logdir, step):
  flat = checkpoint.read(logdir / 'checkpoints', step)
  return checkpoint.nested(flat, 'train_state/params')


def test_a_new_run_starts_from_the_parameters_of_another(
  finished, tmp_path, monkeypatch
):
  monkeypatch.setenv('HOME', str(finished.parent))
  files = {p: p.stat().st_mtime_ns for p in finished.rglob('*')}
  config = config_for(
    tmp_path, init_from='~/run', seed=4, num_frames=1, learning_rate=0.0
  )
  assert train.train(config).num_updates == 1
  first = checkpoint.read(tmp_path / 'checkpoints', 0)
  assert int(first['statistics/num_frames']) == 0
  moments = checkpoint.nested(first, 'train_state/opt_state')
  for x in jax.tree.leaves(moments):
    np.testing.assert_array_equal(x, 1.0)  # RMSProp's first moments.
  for step in (0, 1):
    jax.tree.map(
      np.testing.assert_array_equal,
      params_of(finished, 8),
      params_of(tmp_path, step),
    )
  assert recorded_config(tmp_path)['init_from'] == '~/run'
  assert {p: p.stat().st_mtime_ns for p in finished.rglob('*')} == files
  # The parameters come from the new run's checkpoints from now on.
  (finished / 'checkpoints').rename(tmp_path / 'moved')
  try:
    train.train(dataclasses.replace(config, num_frames=2 * FRAMES))
  finally:
    (tmp_path / 'moved').rename(finished / 'checkpoints')


@pytest.mark.parametrize(
  'settings,match',
  (
    (dict(use_lstm=True), 'train_state/params/baseline_head/w has shape'),
    (dict(env='tests.own_envs:Walk'), 'train_state/params/.* has shape'),
    (dict(init_from='/no/such/run'), 'no checkpoints in /no/such/run'),
  ),
  ids=str,
)
def test_parameters_that_do_not_fit_are_rejected(
  settings, match, finished, tmp_path
):
  logdir = tmp_path / 'new'
  settings = dict(init_from=str(finished)) | settings
  with pytest.raises(config_lib.ConfigError, match=match) as info:
    train.train(config_for(logdir, num_frames=9, **settings))
  assert f'--init_from={settings["init_from"]}' in str(info.value)
  assert not logdir.exists()


def test_parameters_that_the_new_network_lacks_are_rejected(finished, tmp_path):
  flat = checkpoint.read(finished / 'checkpoints', 8)
  params = checkpoint.nested(flat, 'train_state/params')
  params['second_head'] = {'w': np.ones(3)}
  other = tmp_path / 'other'
  writer = checkpoint.Writer(other / 'checkpoints')
  with contextlib.closing(writer):
    writer.save(8, lambda: {'train_state': {'params': params}})
  config = config_for(tmp_path / 'new', init_from=str(other))
  with pytest.raises(config_lib.ConfigError, match='params/second_head/w is'):
    train.train(config)
