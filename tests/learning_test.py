"""The training command learns Catch, feed-forward and with an LSTM."""

import re

import pytest

from tests import scripts_test

pytestmark = pytest.mark.slow


# A fixed lag makes the result independent of the load of the machine.
@pytest.mark.parametrize(
  'flags',
  (
    pytest.param([], id='feed-forward'),
    pytest.param(['--use_lstm', '--num_frames=600_000'], id='lstm'),
  ),
)
def test_catch_is_learned(flags, tmp_path):
  logdir = tmp_path / 'run'
  result = scripts_test.run_train(f'--logdir={logdir}', '--lag=1', *flags)
  assert result.returncode == 0, result.stderr
  printed = re.search(r'last 200 episodes: (-?[\d.]+)', result.stdout)
  assert float(printed.group(1)) >= 0.95
  rows = scripts_test.read_metrics(logdir)
  assert float(rows[-1]['mean_return']) >= 0.95
  assert float(rows[0]['episode_return']) < 0.5  # Not solved at first.
