"""Reading and truncating metrics.csv, also with an incomplete last line."""

import numpy as np
import pytest

from experiments.records import metrics_csv


def write(path, *updates, tail=''):
  cells = [['0'] * len(metrics_csv.COLUMNS) for _ in updates]
  for row, number in zip(cells, updates):
    row[metrics_csv.COLUMNS.index('num_updates')] = str(number)
  lines = [','.join(row) for row in [metrics_csv.COLUMNS, *cells]]
  path.write_text('\r\n'.join(lines) + '\r\n' + tail)


def updates(rows):
  return [int(row['num_updates']) for row in rows]


# Incomplete within a cell, after a cell, and before the end of the line.
@pytest.mark.parametrize(
  'tail', ('300,3', '300,30,', ','.join('3' * len(metrics_csv.COLUMNS)))
)
def test_an_incomplete_last_line_is_ignored_and_removed(tail, tmp_path):
  path = tmp_path / 'metrics.csv'
  write(path, 10, 20, tail=tail)
  assert updates(metrics_csv.read(path)) == [10, 20]
  assert updates(metrics_csv.cut(path, 100)) == [10, 20]
  assert path.read_bytes().endswith(b'0\r\n')
  assert updates(metrics_csv.read(path)) == [10, 20]


def test_rows_after_an_update_are_removed(tmp_path):
  path = tmp_path / 'metrics.csv'
  write(path, 10, 20, 30, 40)
  assert updates(metrics_csv.cut(path, 20)) == [10, 20]
  assert updates(metrics_csv.read(path)) == [10, 20]
  assert [path.name for path in tmp_path.iterdir()] == ['metrics.csv']


@pytest.mark.parametrize('contents', ('', 'num_fra', 'num_frames\r\n'))
def test_a_file_without_rows_is_emptied(contents, tmp_path):
  path = tmp_path / 'metrics.csv'
  path.write_text(contents)
  assert metrics_csv.cut(path, 5) == []
  assert path.read_bytes() == b''
  assert metrics_csv.read_header(path) == []


def test_a_file_keeps_its_columns(tmp_path):
  path = tmp_path / 'metrics.csv'
  contents = b'num_updates,custom,num_frames\r\n7,2.5,70\r\n'
  path.write_bytes(contents + b'9,1,90\r\n')
  assert metrics_csv.read_header(path) == [
    'num_updates',
    'custom',
    'num_frames',
  ]
  metrics_csv.cut(path, 8)
  assert path.read_bytes() == contents


def test_custom_columns_come_last():
  names = metrics_csv.order(['b', 'loss', 'a', 'num_frames'])
  assert names == ['num_frames', 'loss', 'a', 'b']


@pytest.mark.parametrize(
  'value', (3, 0.1, float(np.float32(1 / 3)), 1e-30, float('inf'))
)
def test_numbers_round_trip(value):
  # Nine digits distinguish any two float32 numbers.
  assert np.float32(metrics_csv.number(metrics_csv.cell(value))) == (
    np.float32(value)
  )


def test_missing_values_and_histograms_round_trip():
  assert metrics_csv.cell(float('nan')) == ''
  assert np.isnan(metrics_csv.number(''))
  counts = np.array([3, 0, 1234567], np.float32)
  assert metrics_csv.cell(counts) == '3 0 1234567'
  np.testing.assert_array_equal(metrics_csv.counts('3 0 1234567'), counts)
  assert metrics_csv.counts('3').shape == (1,)
  assert metrics_csv.counts('').shape == (0,)
