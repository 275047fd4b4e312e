"""The commands as a user types them: records, and sentences for bad input."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from agents import polling
from experiments import cli
from experiments import train
from experiments.training import checkpoint

ROOT = pathlib.Path(__file__).parent.parent
REQUIRED_COLUMNS = {
  'num_frames',
  'num_updates',
  'seconds',
  'frames_per_second',
  'episode_return',
  'episode_length',
  'num_episodes',
  'policy_lag',
  'loss',
  'entropy',
  'grad_norm',
}


def environment(path='', devices=1):
  return os.environ | {
    'PYTHONPATH': f'{path}{os.pathsep}{ROOT}',
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
  }


def run_train(*args, path='', devices=1):
  return subprocess.run(
    [sys.executable, '-m', 'experiments.train', *args],
    cwd=ROOT,
    text=True,
    capture_output=True,
    env=environment(path, devices),
    timeout=300,
    check=False,
  )


def read_metrics(logdir):
  with open(logdir / 'metrics.csv', newline='') as file:
    return list(csv.DictReader(file))


def test_a_run_leaves_its_records(tmp_path):
  logdir = tmp_path / 'new' / 'run'
  result = run_train(
    '--preset=catch',
    '--num_frames=30000',
    '--seed=3',
    f'--logdir={logdir}',
    '--log_updates=10',
  )
  assert result.returncode == 0, result.stderr
  config = json.loads((logdir / 'config.json').read_text())
  assert config['seed'] == 3 and config['env'] == 'Catch'
  rows = read_metrics(logdir)
  assert len(rows) >= 3 and set(rows[0]) >= REQUIRED_COLUMNS
  frames = [int(row['num_frames']) for row in rows]
  assert frames == sorted(set(frames)) and frames[-1] >= 30_000
  assert all(float(row['frames_per_second']) > 0 for row in rows)
  assert float(rows[-1]['episode_length']) == 9.0
  assert list(logdir.glob('events.out.tfevents.*'))
  png = (logdir / 'learning_curve.png').read_bytes()
  assert png.startswith(b'\x89PNG') and len(png) > 5_000
  for name in (
    'config.json',
    'metrics.csv',
    'learning_curve.png',
    'diagnostics.png',
    'checkpoints',
    'events.out.tfevents',
  ):
    assert name in result.stdout
  assert result.stdout.startswith('Training on 1 x cpu')
  assert 'lag' in result.stderr and 'return' in result.stderr  # The bar.

  # Once more, it is over; the run's own values take the place of a preset.
  again = run_train(f'--logdir={logdir}')
  assert again.returncode == 0, again.stderr
  assert 'Trained on 30,' in again.stdout and 'Resuming' in again.stdout
  assert read_metrics(logdir) == rows

  other = run_train(f'--logdir={logdir}', '--seed=4', '--lag=2')
  assert_refused(other, '--seed=4 (it has 3), --lag=2 (it has -1)')
  assert read_metrics(logdir) == rows


@pytest.mark.parametrize(
  'flags',
  (
    ('--env=Breakout-v5', '--preset=atari', '--torso=shallow'),
    ('--env=Pong-v5', '--preset=atari', '--torso=deep', '--unrolls_per_pass=2'),
    ('--env=CartPole-v1', '--preset=catch', '--use_lstm'),
    ('--env=MiniGrid-Empty-5x5-v0', '--preset=catch'),
  ),
  ids=lambda f: f[0],
)
@pytest.mark.slow
def test_other_envs_train(flags, tmp_path):
  result = run_train(
    *flags,
    f'--logdir={tmp_path / "run"}',
    '--num_frames=400',
    '--envs_per_actor=4',
    '--batch_size=8',
    '--unroll_length=5',
  )
  assert result.returncode == 0, result.stderr
  assert int(read_metrics(tmp_path / 'run')[-1]['num_frames']) >= 400


@pytest.mark.slow
def test_several_devices_train(tmp_path):
  result = run_train(
    '--num_frames=3000', f'--logdir={tmp_path / "run"}', devices=4
  )
  assert result.returncode == 0, result.stderr


def assert_refused(result, sentence):
  """One line, status 2, no traceback."""
  assert result.returncode == 2, result.stderr
  lines = result.stderr.strip().splitlines()
  assert len(lines) == 1 and lines[0].startswith('error: '), result.stderr
  assert sentence in lines[0]
  assert not result.stdout


@pytest.mark.parametrize(
  'flags,sentence',
  (
    (['--preset=atary'], 'Did you mean atari'),
    (['--env=Pong-v5'], '--env=Pong-v5 needs a --preset'),
    (['--preset=catch', '--env=Pendulum-v1'], 'Unsupported action space'),
    (['--torso=wide'], 'shallow|deep|mlp'),
    (['--nonsense=1'], "Unknown command line flag 'nonsense'"),
    (['--num_frames=many'], 'num_frames'),
    (['catch'], "Unexpected argument 'catch'"),
  ),
  ids=lambda x: str(x),
)
def test_bad_input_gets_a_sentence(flags, sentence, tmp_path):
  result = run_train(f'--logdir={tmp_path / "run"}', *flags)
  assert_refused(result, sentence)
  assert not (tmp_path / 'run').exists()


def test_without_a_log_directory_too_bad_input_gets_a_sentence():
  assert_refused(run_train('--env=Pong-v5'), 'needs a --preset')


def test_a_batch_that_does_not_divide_over_devices(tmp_path):
  result = run_train(f'--logdir={tmp_path / "run"}', devices=3)
  assert_refused(result, 'does not divide over the 3 devices')
  assert not (tmp_path / 'run').exists()


def test_a_log_directory_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  assert_refused(
    run_train(f'--logdir={tmp_path / "file" / "run"}'), 'Cannot write'
  )


def test_a_deadline_that_passes_ends_with_a_sentence(monkeypatch, capsys):
  def stuck(config):
    raise polling.Timeout('Actor 0 waited.')

  monkeypatch.setattr(train, 'train', stuck)
  monkeypatch.setattr(cli, 'config_from_flags', lambda: None)
  with pytest.raises(SystemExit) as info:
    train.main()
  assert info.value.code == 1
  assert capsys.readouterr().err == (
    'Stuck: Actor 0 waited. See --timeout_seconds.\n'
  )


def test_a_run_that_diverges_ends_with_a_sentence(tmp_path):
  logdir = tmp_path / 'run'
  result = run_train('--learning_rate=1e30', f'--logdir={logdir}')
  assert result.returncode == 1, result.stderr
  assert 'Traceback' not in result.stderr
  sentence = result.stderr.strip().rsplit('\n', 1)[1]
  assert sentence.startswith('Diverged: Update 1 is not finite (loss')
  assert f'python -m experiments.recompute {logdir}/flight.npz' in sentence


def test_envpool_missing(tmp_path):
  (tmp_path / 'envpool.py').write_text('raise ImportError("no envpool here")\n')
  result = run_train(
    '--preset=pong', f'--logdir={tmp_path / "run"}', path=tmp_path
  )
  assert_refused(result, 'EnvPool is not installed')
  assert not (tmp_path / 'run').exists()


def test_a_log_directory_with_an_impossible_name(tmp_path):
  result = run_train(f'--logdir={tmp_path / ("x" * 300)}')
  assert_refused(result, 'File name too long')


def test_help_shows_every_flag_with_its_presets():
  result = run_train('--help')
  assert result.returncode == 0
  for flag in (
    '--preset',
    '--envs_per_actor',
    '--learning_rate',
    '--[no]use_lstm',
  ):
    assert flag in result.stdout
  assert 'Table G.1' in result.stdout


def signal_after_rows(signum, num_rows, logdir, *flags):
  """Starts a run, sends a signal once it has so many rows; status, output."""
  process = subprocess.Popen(
    [sys.executable, '-m', 'experiments.train', f'--logdir={logdir}', *flags],
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    # Should the tests themselves ignore SIGINT, in the background of a shell.
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )
  deadline = time.monotonic() + 240
  while time.monotonic() < deadline:
    has_rows = (logdir / 'metrics.csv').exists()
    if has_rows and len(read_metrics(logdir)) >= num_rows:
      break
    time.sleep(0.02)
  process.send_signal(signum)
  stdout, stderr = process.communicate(timeout=120)
  return process.returncode, stdout, stderr


@pytest.mark.parametrize('signum', (signal.SIGINT, signal.SIGTERM))
@pytest.mark.slow
def test_a_run_stopped_by_a_signal_resumes_with_the_same_command(
  signum, tmp_path
):
  logdir = tmp_path / 'run'
  flags = [
    f'--num_frames={10**9}',
    '--log_updates=10',
    '--checkpoint_seconds=1000',
  ]
  status, _, stderr = signal_after_rows(signum, 4, logdir, *flags)
  assert status == 128 + signum
  assert signum.name in stderr and 'Traceback' not in stderr
  rows = read_metrics(logdir)
  assert (logdir / 'learning_curve.png').exists()
  stopped_at = checkpoint.steps(logdir / 'checkpoints')[-1]
  assert 0 <= stopped_at - int(rows[-1]['num_updates']) < 10

  status, stdout, _ = signal_after_rows(signum, len(rows) + 2, logdir, *flags)
  assert status == 128 + signum
  assert f'update {stopped_at:,}' in stdout
  all_rows = read_metrics(logdir)
  assert all_rows[: len(rows)] == rows
  updates = [int(row['num_updates']) for row in all_rows]
  assert updates == list(range(10, updates[-1] + 1, 10))
  seconds = [float(row['seconds']) for row in all_rows]
  assert seconds == sorted(seconds)
