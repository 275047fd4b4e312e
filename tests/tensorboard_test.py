"""Tests of the TensorBoard event files, which are read back."""

import numpy as np

from experiments.records import metrics_csv
from experiments.records import tensorboard
from tests import events


def make_row(frames, **cells):
  row = dict.fromkeys(metrics_csv.COLUMNS, '0.5')
  return row | {
    'num_frames': str(frames),
    'wall_time': '1000000123',
    'policy_lag_histogram': '3 0 2',
    'log_rho_histogram': ' '.join(['0'] * 9 + ['7', '1'] + ['0'] * 8),
    **cells,
  }


def write(logdir, *rows):
  writer = tensorboard.Events(logdir)
  for row in rows:
    writer.add(row)
  writer.flush()
  writer.close()
  return events.values(logdir)


def test_every_cell_that_is_not_empty_is_written_under_its_column(tmp_path):
  values = write(
    tmp_path, make_row(40), make_row(80, mean_return='', kl='0.25')
  )
  assert values['kl'] == [(40, 0.5), (80, 0.25)]
  assert values['mean_return'] == [(40, 0.5)]
  assert values.keys() == set(metrics_csv.COLUMNS) - {
    'num_frames',
    'wall_time',
  }
  (path,) = tmp_path.iterdir()
  times = [event.wall_time for event in events.read(path)]
  assert times[1:] == [1000000123.0] * 2


def test_histograms_have_the_counts_and_moments_of_their_bins(tmp_path):
  values = write(tmp_path, make_row(40, policy_lag_histogram='4'))
  ((_, lags),) = values['policy_lag_histogram']
  assert lags.num == 4 and lags.sum == 0.0 and list(lags.bucket) == [4.0]
  ((_, log_rhos),) = values['log_rho_histogram']
  assert log_rhos.num == 8
  np.testing.assert_allclose(log_rhos.sum, 7 * 0.0 + 1 * 0.25)
  np.testing.assert_allclose(log_rhos.sum_squares, 0.25**2)
  np.testing.assert_allclose([log_rhos.min, log_rhos.max], [-2.25, 2.25])
  ((_, lags),) = write(tmp_path, make_row(40))['policy_lag_histogram']
  assert lags.sum == 4.0  # Three rollouts at lag 0, two at lag 2.


def test_a_new_event_file_replaces_older_ones(tmp_path):
  write(tmp_path, make_row(40), make_row(80))
  (path,) = tmp_path.iterdir()
  path.rename(tmp_path / 'events.out.tfevents.1000000000.elsewhere')
  assert [step for step, _ in write(tmp_path, make_row(40))['loss']] == [40]
  assert len(list(tmp_path.iterdir())) == 1
