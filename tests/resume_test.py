"""Tests that killed and resumed runs equal uninterrupted runs bit by bit."""

import contextlib
import multiprocessing
import os
import random
import signal
import time

import pytest

from experiments import config as config_lib
from experiments import train
from experiments.records import run_logger
from experiments.training.checkpoints import checkpoint
from tests import comparing

pytestmark = pytest.mark.slow

FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['experiments.train'])


def settings_for(logdir, **settings):
  """Returns the settings of a small run: 3 actors, 2 rollouts per batch."""
  return (
    dict(
      num_actors=3,
      envs_per_actor=4,
      batch_size=8,
      unroll_length=5,
      lag=0,
      log_updates=7,
      checkpoint_seconds=0.0,
      timeout_seconds=60.0,
      logdir=str(logdir),
    )
    | settings
  )


def run(logdir, pause_seconds=0.0, **settings):
  """Trains on one device, as a user's process would.

  A pause after every update keeps a fast machine from finishing a run before it
  is killed.
  """
  os.environ['XLA_FLAGS'] = ''
  log = run_logger.RunLogger.log

  def log_and_pause(*args):
    log(*args)
    time.sleep(pause_seconds)

  run_logger.RunLogger.log = log_and_pause
  with open(os.devnull, 'w') as nowhere, contextlib.ExitStack() as stack:
    stack.enter_context(contextlib.redirect_stdout(nowhere))
    stack.enter_context(contextlib.redirect_stderr(nowhere))
    train.train(
      config_lib.from_preset('catch', **settings_for(logdir, **settings))
    )


def run_in_process(logdir, **settings):
  process = FORKS.Process(target=run, args=[logdir], kwargs=settings)
  process.start()
  return process


def run_to_the_end(logdir, **settings):
  process = run_in_process(logdir, **settings)
  process.join(120)
  assert process.exitcode == 0


def newest(logdir):
  return max(checkpoint.steps(logdir / 'checkpoints'), default=-1)


def kill_at_a_random_moment(rng, logdir, **settings):
  """Kills a run at any point; returns the step of its newest checkpoint."""
  process = run_in_process(logdir, pause_seconds=0.01, **settings)
  before, deadline = newest(logdir), time.monotonic() + 60
  if rng.random() < 0.7:  # Most other kills hit the start, which takes longest.
    while newest(logdir) <= before and time.monotonic() < deadline:
      time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 0.1))
  else:
    time.sleep(rng.uniform(0.0, 2.0))
  process.kill()
  process.join(60)
  assert process.exitcode == -signal.SIGKILL, 'The run ended before the kill.'
  return newest(logdir)


def kill_at_different_checkpoints(rng, times, logdir, **settings):
  """Kills a run until it was killed after `times` different checkpoints.

  The checkpoint of step 0 does not count.
  """
  seen = set()
  for _ in range(5 * times):
    seen |= {kill_at_a_random_moment(rng, logdir, **settings)} - {-1, 0}
    if len(seen) >= times:
      return
  raise AssertionError(f'Killed after these checkpoints only: {seen}.')


def test_a_run_killed_20_times_equals_an_uninterrupted_run(tmp_path):
  settings = dict(num_frames=30_000)
  run_to_the_end(tmp_path / 'uninterrupted', **settings)
  rng, killed = random.Random(0), tmp_path / 'killed'
  seen = [kill_at_a_random_moment(rng, killed, **settings) for _ in range(20)]
  assert len(set(seen)) > 10  # The resumed runs made progress.
  run_to_the_end(killed, **settings)
  comparing.assert_same_run(tmp_path / 'uninterrupted', killed)
  rows = comparing.read_rows(killed)
  updates = [int(row['num_updates']) for row in rows]
  assert updates[:-1] == list(range(7, updates[-1], 7))


@pytest.mark.parametrize(
  'settings',
  (
    dict(use_lstm=True),
    dict(use_lstm=True, lag=3, num_actors=5),
    dict(replay_fraction=0.5, replay_capacity=40, num_actors=2),
    dict(num_actors=1, batch_size=12),  # A batch is 3 rollouts of one actor.
  ),
  ids=str,
)
def test_killed_runs_of_other_settings_equal_uninterrupted_runs(
  settings, tmp_path
):
  settings = settings | dict(num_frames=8_000)
  uninterrupted, killed = tmp_path / 'uninterrupted', tmp_path / 'killed'
  run_to_the_end(uninterrupted, **settings)
  kill_at_different_checkpoints(random.Random(1), 2, killed, **settings)
  run_to_the_end(killed, **settings)
  comparing.assert_same_run(uninterrupted, killed)


def test_envpool_runs_with_the_same_seed_are_identical(tmp_path):
  settings = dict(env='CartPole-v1', num_frames=4_000, use_lstm=True)
  for name in ('one', 'other'):
    run_to_the_end(tmp_path / name, **settings)
  comparing.assert_same_run(tmp_path / 'one', tmp_path / 'other')
  run_to_the_end(tmp_path / 'new', **settings, seed=1)
  assert comparing.read_rows(tmp_path / 'new') != comparing.read_rows(
    tmp_path / 'one'
  )


def test_a_killed_envpool_run_resumes_with_new_episodes(tmp_path):
  settings = dict(env='CartPole-v1', num_frames=30_000, lag=-1)
  logdir = tmp_path / 'run'
  kill_at_different_checkpoints(random.Random(2), 1, logdir, **settings)
  run_to_the_end(logdir, **settings)
  updates = [int(row['num_updates']) for row in comparing.read_rows(logdir)]
  assert updates[:-1] == list(range(7, updates[-1], 7))
  assert int(comparing.read_state(logdir)['statistics/num_frames']) >= 30_000
