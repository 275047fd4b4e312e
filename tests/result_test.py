"""What a training returns, also when it was interrupted or has failed."""

import signal
import threading

import numpy as np
import pytest

from envs import environment
from experiments import train
from experiments.plotting import pages
from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv
from experiments.records import result as result_lib
from experiments.training.checkpoints import checkpoint
from tests import own_envs
from tests import running

SUMMARY = metrics_lib.Summary(90, 3, 7, 1.5, -0.25)


def config_for(logdir, **settings):
  few = dict(num_frames=300, log_updates=2, quiet=True, logdir=str(logdir))
  few['timeout_seconds'] = 600  # A busy machine compiles for long.
  return running.one_actor_config(**(few | settings))


@pytest.fixture
def no_plots(monkeypatch, one_device):
  """Draws no plots, which take longer than these trainings."""
  for name in ('draw_learning_curve', 'draw_diagnostics'):
    monkeypatch.setattr(pages, name, lambda logdir: None)


class Interrupting:
  """A writer that interrupts at its first row, as Ctrl-C does."""

  is_closed = False

  def __init__(self, times=1):
    self._times = times

  def write(self, row):
    for _ in range(self._times):
      signal.raise_signal(signal.SIGINT)

  def close(self):
    self.is_closed = True


class Broken(own_envs.Walk):
  """An environment whose third step fails."""

  def step(self, action):
    timestep = super().step(action)
    return timestep._replace(reward=np.nan) if self._time == 3 else timestep


def test_rows_become_arrays_by_column(tmp_path):
  (tmp_path / 'metrics.csv').write_text(
    'num_frames,mean_return,policy_lag_histogram\n'
    '30,-0.5,4 2\n60,,0 1 5\n90,0.25,3\n'
  )
  result = result_lib.make(SUMMARY, tmp_path)
  assert (result.num_frames, result.mean_return) == (90, -0.25)
  assert result.logdir == tmp_path and not result.interrupted
  np.testing.assert_array_equal(
    result.metrics['mean_return'], [-0.5, np.nan, 0.25]
  )
  assert list(result.metrics) == ['num_frames', 'mean_return']
  np.testing.assert_array_equal(
    result.histograms['policy_lag_histogram'], [[4, 2, 0], [0, 1, 5], [3, 0, 0]]
  )
  assert 'policy_lag_histogram' not in repr(result)


@pytest.mark.parametrize('text', ('num_frames\nmany\n', 'frames\n1\n', None))
def test_a_result_without_readable_rows_is_a_result(tmp_path, text):
  if text is not None:
    (tmp_path / 'metrics.csv').write_text(text)
  result = result_lib.make(SUMMARY, tmp_path)
  assert result.metrics == {} and result.num_updates == 3


@pytest.mark.slow
def test_an_interrupted_training_returns_its_result_and_resumes(
  tmp_path, no_plots
):
  config, writer = config_for(tmp_path / 'run'), Interrupting()
  result = train.train(config, writers=[writer])
  assert result.interrupted and writer.is_closed
  assert 2 <= result.num_updates < 10
  assert list(result.metrics['num_updates']) == [2]
  assert checkpoint.steps(tmp_path / 'run' / 'checkpoints')[-1] == (
    result.num_updates
  )
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
  rest = train.train(config)
  assert not rest.interrupted and rest.num_frames >= 300
  assert len(rest.metrics['num_updates']) == len(
    metrics_csv.read(tmp_path / 'run' / 'metrics.csv')
  )


@pytest.mark.slow
def test_a_second_interrupt_raises_and_the_run_can_be_resumed(
  tmp_path, no_plots
):
  config, writer = config_for(tmp_path / 'run'), Interrupting(times=2)
  with pytest.raises(KeyboardInterrupt):
    train.train(config, writers=[writer])
  assert writer.is_closed
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
  results = []
  # Signals are received in the main thread only; training works in any.
  thread = threading.Thread(target=lambda: results.append(train.train(config)))
  thread.start()
  thread.join()
  assert results[0].num_frames >= 300 and not results[0].interrupted


@pytest.mark.slow
def test_after_a_failed_training_another_one_works(tmp_path, no_plots):
  config = config_for(tmp_path / 'failed', use_lstm=False)
  with pytest.raises(RuntimeError) as info:
    train.train(config, make_env=Broken)
  assert isinstance(info.value.__cause__, environment.RewardError)
  other = config_for(tmp_path / 'other', use_lstm=True, seed=7, num_frames=100)
  assert train.train(other, make_env=own_envs.Walk).num_frames >= 100
