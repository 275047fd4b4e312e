"""Tests of reading, grouping and averaging recorded runs."""

import json

import numpy as np
import pytest

from experiments import config as config_lib
from experiments.plotting import pages
from experiments.plotting import runs as runs_lib
from experiments.plotting import style
from tests import recorded

NAN = float('nan')

record, returns = recorded.record, recorded.returns
read_groups = recorded.read_groups


def test_a_truncated_last_line_is_ignored(tmp_path):
  for truncated in ('300,', '300', '300,7.25', '300\n'):
    logdir = record(tmp_path / truncated, returns([100, 200], [1.0, 2.0]))
    with open(logdir / 'metrics.csv', 'a') as file:
      file.write(truncated)
    run = runs_lib.read(logdir)
    np.testing.assert_array_equal(run.frames, [100, 200])
    np.testing.assert_array_equal(run.column('mean_return'), [1.0, 2.0])


def test_a_folder_without_config_json_is_rejected(tmp_path):
  logdir = record(tmp_path / 'run', returns([1], [1.0]))
  (logdir / 'config.json').unlink()
  with pytest.raises(config_lib.ConfigError, match='config.json'):
    runs_lib.read(logdir)


def test_a_cell_without_a_finite_number_is_nan(tmp_path):
  run = runs_lib.read(
    record(tmp_path / 'run', returns([1, 2, 3, 4], ['', 0.5, 'nan', 'inf']))
  )
  np.testing.assert_array_equal(run.column('mean_return'), [NAN, 0.5, NAN, NAN])
  np.testing.assert_array_equal(run.column('kl'), [NAN] * 4)
  assert run.has('mean_return') and not run.has('kl')


def test_histograms_of_different_lengths_are_summed(tmp_path):
  rows = {'num_frames': [1, 2, 3, 4], 'x': ['1 2', '', '0 1 0 5', '3']}
  run = runs_lib.read(record(tmp_path / 'run', rows))
  np.testing.assert_array_equal(run.histogram('x'), [4, 3, 0, 5])


def test_a_run_given_by_several_paths_is_read_once(tmp_path):
  logdir = record(tmp_path / 'deep' / 'er' / 'run', returns([1], [1.0]))
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'metrics.csv').write_text('not,of,a,run\n')
  runs = runs_lib.read_all([tmp_path, logdir, tmp_path / 'other' / '..'])
  assert [run.logdir for run in runs] == [logdir]


def test_runs_that_differ_only_in_seed_form_a_group(tmp_path):
  for lag in (2, 10):
    for seed in (0, 1):
      name = f'lag{lag}-seed{seed}'
      rows = returns([1], [1.0])
      record(
        tmp_path / name, rows, lag=lag, seed=seed, timeout_seconds=9 + seed
      )
  first, second = read_groups(tmp_path)  # Sorted as numbers, not as text.
  assert [run.logdir.name for run in first.runs] == ['lag2-seed0', 'lag2-seed1']
  assert [run.logdir.name for run in second.runs] == [
    'lag10-seed0',
    'lag10-seed1',
  ]
  assert first.label == 'lag=2 (2 seeds)'
  assert second.label == 'lag=10 (2 seeds)'


def test_a_group_name_has_every_setting_that_differs(tmp_path):
  record(tmp_path / 'a', returns([1], [1.0]), lambda_=0.9, torso='deep')
  record(tmp_path / 'b', returns([1], [1.0]), lambda_=1.0, torso='deep')
  record(tmp_path / 'c', returns([1], [1.0]), lambda_=1.0)
  assert {group.label for group in read_groups(tmp_path)} == {
    'torso=deep, lambda_=0.9 (1 seed)',
    'torso=deep, lambda_=1.0 (1 seed)',
    'torso=mlp, lambda_=1.0 (1 seed)',
  }


def test_a_single_group_is_named_after_its_env(tmp_path):
  record(tmp_path / 'a', returns([1], [1.0]))
  assert [g.label for g in read_groups(tmp_path)] == ['Catch (1 seed)']
  record(tmp_path / 'again', returns([1], [1.0]))
  assert [g.label for g in read_groups(tmp_path)] == ['Catch (2 runs)']


def test_fields_missing_from_an_older_config_have_defaults(tmp_path):
  record(tmp_path / 'new', returns([1], [1.0]), lag=5)
  old = record(tmp_path / 'old', returns([1], [1.0]), log_seconds=1.0)
  config = json.loads((old / 'config.json').read_text())
  del config['lag']
  (old / 'config.json').write_text(json.dumps(config))
  # log_seconds, which this version lacks, distinguishes no groups.
  assert [group.name for group in read_groups(tmp_path)] == [
    'lag=-1',
    'lag=5',
  ]


def test_a_band_matches_values_computed_by_hand():
  a = np.array([0.0, 10.0, 20.0]), np.array([0.0, 10.0, 0.0])
  b = np.array([5.0, 15.0, 40.0]), np.array([1.0, 3.0, 9.0])
  c = np.array([0.0, 40.0]), np.array([3.0, 3.0])
  band = style.band([a, b, c])
  np.testing.assert_array_equal(band.frames, [0, 5, 10, 15, 20, 40])
  # a: 0 5 10 5 0 -, b: - 1 2 3 4.2 9, c: 3 everywhere.
  np.testing.assert_allclose(band.mean, [1.5, 3, 5, 11 / 3, 2.4, 6])
  np.testing.assert_allclose(band.low, [0, 1, 2, 3, 0, 3])
  np.testing.assert_allclose(band.high, [3, 5, 10, 5, 4.2, 9])


def test_a_gap_of_one_run_is_a_gap_of_the_band():
  frames = np.arange(6.0)
  a = frames, np.array([NAN, 2.0, NAN, 4.0, 6.0, 8.0])
  b = np.array([0.0, 2.5, 5.0]), np.array([0.0, 2.5, 5.0])
  band = style.band([a, b])
  np.testing.assert_array_equal(band.frames, [0, 1, 2, 2.5, 3, 4, 5])
  np.testing.assert_allclose(
    band.mean, [0.0, 1.5, NAN, NAN, 3.5, 5.0, 6.5], rtol=1e-12
  )


def with_faulty_file(tmp_path, name, text):
  (record(tmp_path / 'run', returns([1], [1.0])) / name).write_text(text)
  return [tmp_path]


@pytest.mark.parametrize(
  'prepare,message',
  (
    (lambda path: [], 'log directory'),
    (lambda path: [path / 'nowhere'], 'nowhere'),
    (lambda path: [path], 'no run'),
    (
      lambda path: [record(path / 'run', returns([], []))],
      'rows',
    ),
    (
      lambda path: with_faulty_file(path, 'config.json', '{"env": '),
      'config.json',
    ),
    (lambda path: with_faulty_file(path, 'config.json', '[1]'), 'config.json'),
    (
      lambda path: with_faulty_file(
        path, 'metrics.csv', 'num_frames,mean_return\n1,high\n'
      ),
      'metrics.csv.*mean_return.*high',
    ),
    (
      lambda path: with_faulty_file(path, 'metrics.csv', 'step,value\n1,2\n'),
      'no column num_frames',
    ),
  ),
  ids=lambda x: x if isinstance(x, str) else '',
)
def test_unreadable_runs_raise_config_error(prepare, message, tmp_path):
  with pytest.raises(config_lib.ConfigError, match=message):
    pages.draw(prepare(tmp_path), tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
