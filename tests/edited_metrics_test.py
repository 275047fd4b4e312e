"""A metrics.csv that was edited by hand is repaired or rejected, untouched."""

import csv
import io
import math

import pytest

from experiments import config as config_lib
from experiments.plotting import runs as runs_lib
from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv
from experiments.records import run_logger
from experiments.training import logdir as logdir_lib
from tests import metrics_test

CONFIG = dict(log_updates=1, num_frames=100)


@pytest.fixture
def run(tmp_path):
  """Returns the folder of a run of four updates, with a row for each."""
  metrics_test.logged(tmp_path, log_updates=1)
  config = config_lib.from_preset('catch', **CONFIG, logdir=str(tmp_path))
  runs_lib.config_json.write(config, tmp_path)
  (tmp_path / 'checkpoints' / '2').mkdir(parents=True)
  return tmp_path


def edit(run, change):
  """Replaces the rows, header first, as a spreadsheet would."""
  path = run / 'metrics.csv'
  rows = list(csv.reader(io.StringIO(path.read_text())))
  change(rows)
  with open(path, 'w', newline='') as file:
    csv.writer(file).writerows(rows)


def edit_bytes(run, change):
  path = run / 'metrics.csv'
  path.write_bytes(change(path.read_bytes()))


def resume(run, num_updates=2):
  """Resumes after update 2 and logs one update more."""
  config = config_lib.from_preset('catch', **CONFIG, logdir=str(run))
  logdir_lib.check_resumable(config, run)
  state = metrics_lib.initial()._replace(
    num_updates=num_updates, num_frames=40 * num_updates
  )
  logger = run_logger.RunLogger(config, run, state)
  try:
    logger.log(metrics_test.make_progress(num_updates + 1, [5.0], loss=1e-7))
  finally:
    logger.close()


def set_cell(name, row, text):
  def change(rows):
    rows[row][rows[0].index(name)] = text

  return lambda run: edit(run, change)


def add_column(rows):
  for row in rows:
    row.append('0.5' if row is not rows[0] else 'mine')


def remove_column(name):
  def change(rows):
    place = rows[0].index(name)
    for row in rows:
      del row[place]

  return lambda run: edit(run, change)


REPAIRED = {
  'byte order mark': lambda run: edit_bytes(run, lambda x: b'\xef\xbb\xbf' + x),
  'float count': set_cell('num_updates', 1, '1.0'),
  'exponent': set_cell('num_frames', 2, '8e1'),
  'quotes': lambda run: edit_bytes(
    run, lambda x: x.replace(b'num_frames', b'"num_frames"')
  ),
  'unix lines': lambda run: edit_bytes(run, lambda x: x.replace(b'\r', b'')),
}


@pytest.mark.parametrize('name', REPAIRED)
def test_what_a_spreadsheet_does_is_repaired(name, run):
  before = metrics_csv.read(run / 'metrics.csv')
  REPAIRED[name](run)
  assert len(runs_lib.read(run).frames) == 4
  assert runs_lib.read(run).frames[0] == 40
  resume(run)
  after = metrics_csv.read(run / 'metrics.csv')
  assert [row['num_updates'] for row in after] == ['1', '2', '3']
  assert after[:2] == before[:2]


REJECTED = {
  'text': (set_cell('num_updates', 2, 'two'), 'row 2, column num_updates'),
  'part': (set_cell('num_updates', 1, '1.5'), "'1.5' is not a whole number"),
  'comma': (set_cell('loss', 1, '0,5'), 'row 1, column loss'),
  'histogram': (
    set_cell('policy_lag_histogram', 3, '1 x'),
    'row 3, column policy_lag_histogram',
  ),
  'infinite': (set_cell('num_frames', 1, 'inf'), 'not a whole number'),
  'semicolons': (
    lambda run: edit_bytes(run, lambda x: x.replace(b',', b';')),
    'separated by commas',
  ),
  'latin-1': (
    lambda run: edit_bytes(run, lambda x: x.replace(b'80', b'8\xb5', 1)),
    'not UTF-8',
  ),
  'utf-16': (
    lambda run: edit_bytes(run, lambda x: x.decode().encode('utf-16')),
    'not UTF-8',
  ),
  'added column': (lambda run: edit(run, add_column), 'differ.* mine'),
  'removed column': (remove_column('wall_time'), 'differ.* wall_time'),
  'no updates': (remove_column('num_updates'), 'column num_updates'),
  'no frames': (remove_column('num_frames'), 'no column num_frames'),
}


@pytest.mark.parametrize('name', REJECTED)
def test_other_changes_are_rejected_and_the_file_stays(name, run):
  change, message = REJECTED[name]
  change(run)
  before = (run / 'metrics.csv').read_bytes()
  with pytest.raises(config_lib.ConfigError, match=message) as error:
    resume(run)
  assert str(run / 'metrics.csv') in str(error.value)
  assert (run / 'metrics.csv').read_bytes() == before


@pytest.mark.parametrize(
  'name', ('semicolons', 'latin-1', 'utf-16', 'no frames')
)
def test_plots_name_what_is_wrong_with_the_file(name, run):
  change, message = REJECTED[name]
  change(run)
  with pytest.raises(config_lib.ConfigError, match=message):
    runs_lib.read_all([run])


@pytest.mark.parametrize(
  'text, expected',
  (('7', 7), ('4.0', 4), ('1e9', 10**9), ('9' * 17, 10**17 - 1)),
)
def test_whole_numbers_are_parsed_exactly(text, expected):
  assert metrics_csv.count(text) == expected
  assert not math.isnan(metrics_csv.number(text))
