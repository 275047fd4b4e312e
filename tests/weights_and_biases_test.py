"""Tests of sending rows to Weights & Biases, in its offline mode."""

import dataclasses
import json
import logging
import signal
import sys
import types

import pytest

from experiments import config as config_lib
from experiments import train
from experiments.plotting import pages
from experiments.records import metrics_csv
from experiments.records import weights_and_biases
from tests import running

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
BLOCK, HEADER = 32 * 1024, 7  # Bytes of a block and of a chunk's header.


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
  """Draws no plots, which take longer than these trainings."""
  for name in ('draw_learning_curve', 'draw_diagnostics'):
    monkeypatch.setattr(pages, name, lambda logdir: None)


@pytest.fixture
def offline(monkeypatch, tmp_path, one_device):
  monkeypatch.setenv('WANDB_MODE', 'offline')
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))  # No cache, no login.
  wandb = pytest.importorskip('wandb')
  yield
  wandb.teardown()


def config_for(logdir, **settings):
  return running.one_actor_config(
    logdir=str(logdir), log_updates=2, wandb_project='mine', **settings
  )


def chunks(contents):
  """Yields (type, bytes) of the chunks of a LevelDB log; see its format."""
  place = HEADER  # The file begins with one of the package's own.
  while place + HEADER <= len(contents):
    rest = BLOCK - place % BLOCK
    if rest < HEADER:
      place += rest
      continue
    size = int.from_bytes(contents[place + 4 : place + 6], 'little')
    start = place + HEADER
    yield contents[place + 6], contents[start : start + size]
    place = start + size


def records(path):
  """Yields the protocol buffers of a run's file."""
  from wandb.proto import wandb_internal_pb2

  data = b''
  for kind, chunk in chunks(path.read_bytes()):
    data += chunk
    if kind in (1, 4):  # A whole record, or its last part.
      yield wandb_internal_pb2.Record.FromString(data)
      data = b''


def sent_rows(path):
  """Returns [(step, {name: value})] of a run's file."""
  return [
    (
      record.history.step.num,
      {
        '/'.join([item.key, *item.nested_key]).strip('/'): json.loads(
          item.value_json
        )
        for item in record.history.item
      },
    )
    for record in records(path)
    if record.WhichOneof('record_type') == 'history'
  ]


def row(update, **cells):
  return {
    'num_updates': str(update),
    'num_frames': str(10 * update),
    'loss': f'{0.5 * update}',
    'policy_lag_histogram': '0 7',
    'log_rho_histogram': ' '.join('123' * 6 + '4'),
    **cells,
  }


def write(logdir, updates):
  config = config_for(logdir, seed=len(updates))
  writer = weights_and_biases.Writer(config, logdir)
  for update in updates:
    writer.write(row(update))
  writer.close()


def test_offline_rows_are_in_the_log_directory_and_a_resumed_run_has_its_id(
  tmp_path, offline, capfd
):
  logdir = tmp_path / '[a] run'
  logdir.mkdir()
  handlers = [signal.getsignal(s) for s in SIGNALS]
  write(logdir, [2, 4, 6])
  write(logdir, [8])
  assert [signal.getsignal(s) for s in SIGNALS] == handlers
  assert capfd.readouterr() == ('', '')
  files = sorted(logdir.rglob('*.wandb'))
  assert len(files) == 2 and len({path.name for path in files}) == 1
  sent = [row for path in files for row in sent_rows(path)]
  assert sorted(step for step, _ in sent) == [2, 4, 6, 8]
  for step, values in sent:
    assert values['num_frames'] == 10 * step and values['loss'] == 0.5 * step
    assert values['policy_lag_histogram/values'] == [0, 7]
    assert values['policy_lag_histogram/bins'] == [-0.5, 0.5, 1.5]
    assert values['log_rho_histogram/values'] == [1, 2, 3] * 6 + [4]
    assert len(values['log_rho_histogram/bins']) == 20
  runs = [r.run for path in files for r in records(path) if r.HasField('run')]
  assert {run.project for run in runs} == {'mine'}
  assert {run.display_name for run in runs} == {'[a] run'}
  settings = {item.key: item.value_json for item in runs[0].config.update}
  assert settings['seed'] in '13' and settings['env'] == '"Catch"'


class Fake(types.ModuleType):
  """A stand-in for the package, which does as the test says."""

  def __init__(self, mode='online', login=True, **failing):
    super().__init__('wandb')
    self.calls, self.failing = [], failing
    self.mode, self.logged_in = mode, login

  def Settings(self, **settings):  # noqa: N802
    return settings

  def setup(self, settings):
    return types.SimpleNamespace(settings=types.SimpleNamespace(mode=self.mode))

  def login(self, **_):
    return self._call('login') or self.logged_in

  def init(self, **settings):
    self._call('init')
    self.rows = []
    return types.SimpleNamespace(
      define_metric=lambda *_, **__: None,
      log=lambda values, step: self._call('log') or self.rows.append(step),
      finish=lambda: self._call('finish'),
    )

  def _call(self, name):
    self.calls.append(name)
    if name in self.failing:
      raise self.failing[name]


@pytest.mark.parametrize(
  'wandb,match',
  (
    (None, r"pip install 'impala-jax\[wandb\]'"),
    (Fake(login=False), 'wandb login, or set WANDB_MODE=offline'),
    (Fake(login=ValueError('Bad key.')), 'log in .*Bad key'),
  ),
  ids=('missing', 'not logged in', 'invalid key'),
)
def test_a_run_that_cannot_send_its_rows_is_rejected_at_the_start(
  wandb, match, tmp_path, monkeypatch, one_device
):
  if wandb and wandb.logged_in:
    wandb.failing['login'] = wandb.logged_in
  monkeypatch.setitem(sys.modules, 'wandb', wandb)
  with pytest.raises(config_lib.ConfigError, match=match):
    train.train(config_for(tmp_path / 'run'))
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('mode', ('offline', 'disabled'))
def test_offline_runs_need_no_login(mode, monkeypatch):
  wandb = Fake(mode=mode, login=False)
  monkeypatch.setitem(sys.modules, 'wandb', wandb)
  weights_and_biases.check(config_lib.Config(wandb_project='mine'))
  assert not wandb.calls


def test_runs_without_a_project_do_not_import_the_package(monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  weights_and_biases.check(config_lib.Config())


@pytest.mark.parametrize(
  'failing,calls',
  (
    ('init', ['init']),
    ('log', ['init', 'log']),
    ('finish', ['init', 'log', 'log', 'finish']),
  ),
)
def test_a_failure_is_a_warning_and_ends_the_sending_only(
  failing, calls, tmp_path, monkeypatch, caplog
):
  wandb = Fake(**{failing: RuntimeError('No\n network')})
  monkeypatch.setitem(sys.modules, 'wandb', wandb)
  config = config_lib.Config(wandb_project='mine')
  with caplog.at_level(logging.WARNING, logger='absl'):
    writer = weights_and_biases.Writer(config, tmp_path)
    for update in '12':
      writer.write({'num_updates': update, 'loss': '0.5'})
    writer.close()
  assert wandb.calls == calls
  (message,) = (record.getMessage() for record in caplog.records)
  assert 'No network' in message and 'the run continues' in message


def test_empty_and_infinite_cells_are_not_sent():
  row = {'num_updates': '3', 'loss': '', 'kl': 'inf', 'entropy': '0.25'}
  assert weights_and_biases._values(row) == {'entropy': 0.25}


def test_training_sends_every_row(tmp_path, monkeypatch, one_device):
  wandb = Fake(mode='offline')
  wandb.Histogram = types.SimpleNamespace(MAX_LENGTH=0)  # Skips them.
  monkeypatch.setitem(sys.modules, 'wandb', wandb)
  train.train(config_for(tmp_path, num_frames=200, quiet=True))
  rows = metrics_csv.read(tmp_path / 'metrics.csv')
  assert wandb.rows == [int(row['num_updates']) for row in rows]
  assert wandb.calls[-1] == 'finish'


class Rows(list):
  """A writer of a user."""

  write = list.append
  closed = False

  def close(self):
    self.closed = True


def test_own_writers_get_the_rows_of_metrics_csv(tmp_path, one_device):
  mine, config = Rows(), config_for(tmp_path, num_frames=200, quiet=True)
  config = dataclasses.replace(config, wandb_project='')
  train.train(config, writers=[mine])
  assert mine == metrics_csv.read(tmp_path / 'metrics.csv') and len(mine) > 2
  assert mine.closed
