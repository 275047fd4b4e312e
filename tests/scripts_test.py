"""Tests of the training command: records, exit status, error messages."""

import csv
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from agents import waiting
from experiments import cli
from experiments import config as config_lib
from experiments import train
from experiments.training.checkpoints import checkpoint

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


def test_a_run_writes_its_records_and_rejects_changed_settings(tmp_path):
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
  assert 'cpu' in result.stdout
  # The progress bar.
  assert 'lag' in result.stderr and 'return' in result.stderr

  # A complete run is not trained again; its recorded values replace a preset.
  again = run_train(f'--logdir={logdir}')
  assert again.returncode == 0, again.stderr
  assert 'Resuming' in again.stdout and '30,' in again.stdout
  assert read_metrics(logdir) == rows

  other = run_train(f'--logdir={logdir}', '--seed=4', '--lag=2')
  assert_rejected(other, '--seed=4', '--lag=2')
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


def assert_rejected(result, *words):
  """Checks for exit status 2 and one line on stderr with all `words`."""
  assert result.returncode == 2, result.stderr
  lines = result.stderr.strip().splitlines()
  assert len(lines) == 1, result.stderr
  assert all(word in lines[0] for word in words), result.stderr
  assert not result.stdout


@pytest.mark.parametrize(
  'flags,word',
  (
    (['--preset=atary'], 'mean atari'),
    (['--env=Pong-v5'], '--preset'),
    (['--preset=catch', '--env=Pendulum-v1'], 'action space'),
    (['--torso=wide'], 'deep'),
    (['--nonsense=1'], 'nonsense'),
    (['--num_frames=many'], 'num_frames'),
    (['catch'], "'catch'"),
  ),
  ids=lambda x: str(x),
)
def test_invalid_input_is_rejected(flags, word, tmp_path):
  result = run_train(f'--logdir={tmp_path / "run"}', *flags)
  assert_rejected(result, word)
  assert not (tmp_path / 'run').exists()


def test_invalid_input_without_a_log_directory_is_rejected():
  assert_rejected(run_train('--env=Pong-v5'), '--preset')


def test_a_batch_that_does_not_divide_over_devices_is_rejected(tmp_path):
  result = run_train(f'--logdir={tmp_path / "run"}', devices=3)
  assert_rejected(result, '--batch_size', 'devices, 3')
  assert not (tmp_path / 'run').exists()


def test_an_unwritable_log_directory_is_rejected(tmp_path):
  (tmp_path / 'file').write_text('')
  logdir = tmp_path / 'file' / 'run'
  assert_rejected(run_train(f'--logdir={logdir}'), f'--logdir={logdir}')


def test_a_timeout_exits_with_status_1_and_names_its_flag(monkeypatch, capsys):
  def time_out(config):
    raise waiting.Timeout('Actor 0 waited.')

  monkeypatch.setattr(train, '_train', time_out)
  monkeypatch.setattr(cli, 'config_from_flags', lambda: None)
  with pytest.raises(SystemExit) as info:
    train.main()
  assert info.value.code == 1
  (line,) = capsys.readouterr().err.splitlines()
  assert 'Actor 0 waited.' in line and '--timeout_seconds' in line


def test_a_diverged_run_prints_the_command_that_recomputes_it(tmp_path):
  logdir = tmp_path / 'run'
  result = run_train('--learning_rate=1e30', f'--logdir={logdir}')
  assert result.returncode == 1, result.stderr
  assert 'Traceback' not in result.stderr
  message = result.stderr.strip().rsplit('\n', 1)[1]
  assert 'update 1 ' in message.lower() and 'loss' in message
  assert f'python -m experiments.recompute {logdir}/flight.npz' in message


def test_a_missing_envpool_is_reported(tmp_path):
  (tmp_path / 'envpool.py').write_text('raise ImportError("no envpool here")\n')
  result = run_train(
    '--preset=pong', f'--logdir={tmp_path / "run"}', path=tmp_path
  )
  assert_rejected(result, 'pip install envpool')
  assert not (tmp_path / 'run').exists()


def test_a_log_directory_with_too_long_a_name_is_rejected(tmp_path):
  result = run_train(f'--logdir={tmp_path / ("x" * 300)}')
  assert_rejected(result, 'File name too long')


def test_help_shows_every_flag_and_the_presets():
  result = run_train('--help')
  assert result.returncode == 0
  fields = (field.name for field in dataclasses.fields(config_lib.Config))
  for name in ('preset', *fields):
    assert f'--{name}' in result.stdout or f'--[no]{name}' in result.stdout
  for preset in config_lib.PRESETS:
    assert f'{preset}:' in result.stdout


def signal_after_rows(signum, num_rows, logdir, *flags):
  """Sends a signal to a new run after `num_rows` rows of metrics.csv.

  Returns (exit status, stdout, stderr).
  """
  process = subprocess.Popen(
    [sys.executable, '-m', 'experiments.train', f'--logdir={logdir}', *flags],
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    # A background job of a shell ignores SIGINT, and its children inherit that.
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
def test_a_run_stopped_by_a_signal_resumes_with_the_printed_command(
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
  assert stderr.rstrip().endswith(f'experiments.train --logdir={logdir}')
  rows = read_metrics(logdir)
  assert (logdir / 'learning_curve.png').exists()
  stopped_at = checkpoint.steps(logdir / 'checkpoints')[-1]
  assert 0 <= stopped_at - int(rows[-1]['num_updates']) < 10

  status, stdout, _ = signal_after_rows(signum, len(rows) + 2, logdir)
  assert status == 128 + signum
  assert f'update {stopped_at:,}' in stdout
  all_rows = read_metrics(logdir)
  assert all_rows[: len(rows)] == rows
  updates = [int(row['num_updates']) for row in all_rows]
  assert updates == list(range(10, updates[-1] + 1, 10))
  seconds = [float(row['seconds']) for row in all_rows]
  assert seconds == sorted(seconds)
