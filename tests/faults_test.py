"""Faults surface soon, end all threads and leave a run that can be resumed."""

import errno
import os
import resource
import threading
import time

import jax
import pytest

from agents import waiting
from envs import catch
from experiments import train
from experiments.plotting import pages
from experiments.records import metrics as metrics_lib
from experiments.training import builders
from experiments.training import pipeline
from experiments.training import setup as setup_lib
from experiments.training.checkpoints import checkpoint
from tests import comparing
from tests import counting
from tests import edge_envs
from tests import running


class BrokenEnv(counting.CountingEnv):
  """A counting environment that raises after 20 steps."""

  def step(self, actions):
    if self._steps == 20:
      raise ValueError('broken joystick')
    return super().step(actions)


def test_an_exception_in_an_actor_is_raised_in_the_learner():
  agent = counting.make_counting_agent()
  envs = [counting.CountingEnv(0), BrokenEnv(1)]
  with (
    pipeline.running(running.make_setup(envs, agent)) as steps,
    pytest.raises(RuntimeError, match='Actor 1') as info,
  ):
    for _ in steps:
      pass
  assert isinstance(info.value.__cause__, ValueError)
  assert 'broken joystick' in str(info.value.__cause__)


def test_an_actor_failure_stops_learning_although_batches_are_queued():
  agent = counting.make_counting_agent()
  envs = [counting.CountingEnv(0)]
  setup = running.make_setup(envs, agent)
  queue = builders.make_queue(setup.config)
  with pipeline.running(setup, queue=queue) as steps:
    next(steps)
    deadline = time.monotonic() + 60
    while not len(queue._rings[0]):  # Wait for its next rollout.
      assert time.monotonic() < deadline
      time.sleep(0.01)
    queue.fail(0, ValueError('late'))
    with pytest.raises(RuntimeError, match='late'):
      next(steps)


def test_a_failed_run_raises_the_cause_and_keeps_its_records(
  tmp_path, monkeypatch
):
  envs = [counting.CountingEnv(0, num_envs=8), BrokenEnv(1, num_envs=8)]
  monkeypatch.setattr(builders, 'make_envs', lambda *args, **settings: envs)
  config = running.config_for(
    num_actors=2,
    envs_per_actor=8,
    batch_size=8,
    log_updates=1,
    logdir=str(tmp_path / 'run'),
  )
  with pytest.raises(RuntimeError, match='Actor 1.*broken joystick'):
    train.train(config)
  assert (tmp_path / 'run' / 'config.json').exists()
  assert (tmp_path / 'run' / 'metrics.csv').read_text().startswith('num_frames')


class StuckEnv(counting.CountingEnv):
  """A counting environment that hangs after 3 steps until it is released."""

  closed = False

  def __init__(self):
    super().__init__()
    self.stuck, self.release = threading.Event(), threading.Event()

  def step(self, actions):
    if self._steps == 3:
      self.stuck.set()
      self.release.wait(60)
    return super().step(actions)

  def close(self):
    self.closed = True


def test_shutdown_does_not_wait_for_a_hanging_actor(monkeypatch):
  monkeypatch.setattr(pipeline, '_JOIN_SECONDS', 0.2)
  agent = counting.make_counting_agent()
  env = StuckEnv()
  with running.acting(running.make_setup([env], agent)):
    assert env.stuck.wait(60)
  assert not env.release.is_set() and not env.closed  # It is still stepping.
  env.release.set()


def test_actors_step_in_the_thread_of_their_environments(monkeypatch):
  threads = []
  step = edge_envs.Timer.step
  monkeypatch.setattr(
    edge_envs.Timer,
    'step',
    lambda *args: threads.append(threading.current_thread()) or step(*args),
  )
  config = running.config_for(
    env='tests.edge_envs:Timer', num_actors=2, envs_per_actor=8, batch_size=8
  )
  setup = setup_lib.make_setup(config)
  with pipeline.running(setup) as steps, monkeypatch.context() as context:
    for env in setup.envs:
      # It would hand a step over to the thread.
      context.setattr(env._thread, 'call', None)
    next(steps)
  assert len(set(threads)) == 2


def test_closing_joins_every_thread():
  before = set(threading.enumerate())
  agent = counting.make_counting_agent()
  envs = [counting.CountingEnv(i) for i in range(running.NUM_ACTORS)]
  with running.acting(running.make_setup(envs, agent)) as queue:
    batches = builders.make_batches(
      running.config_for(), queue, jax.devices()[:1]
    )
    next(batches)
    queue.close()
    batches.close()
  assert not [t for t in set(threading.enumerate()) - before if t.is_alive()]


class FaultyCatch(catch.Catch):
  """Catch that calls `fault` once, in its 60th step."""

  def __init__(self, fault):
    super().__init__(8, seed=0)
    self._fault = fault
    self._steps = 0

  def step(self, actions):
    self._steps += 1
    if self._steps == 60:
      self._fault()
    return super().step(actions)


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  """Returns the log directory of an uninterrupted run, the reference."""
  logdir = tmp_path_factory.mktemp('uninterrupted') / 'run'
  with pytest.MonkeyPatch.context() as monkeypatch:
    running.see_one_device(monkeypatch)
    train_with(monkeypatch, logdir)
  return logdir


def train_with(monkeypatch, logdir, fault=lambda: None, **settings):
  """Trains in lock-step on one Catch environment that calls `fault` once."""
  made = [FaultyCatch(fault)]
  monkeypatch.setattr(builders, 'make_envs', lambda *args, **settings: made)
  small = dict(
    num_frames=4_000,
    log_updates=5,
    checkpoint_seconds=0.0,
    logdir=str(logdir),
  )
  return train.train(running.one_actor_config(**(small | settings)))


def assert_resumes_identically(monkeypatch, tmp_path, uninterrupted):
  """Resumes the run in `faulty` and compares it with the uninterrupted one."""
  train_with(monkeypatch, tmp_path / 'faulty')
  comparing.assert_same_run(uninterrupted, tmp_path / 'faulty')


def raise_error():
  raise ValueError('broken joystick')


@pytest.mark.usefixtures('one_device')
def test_a_run_whose_actor_failed_resumes_identically(
  tmp_path, monkeypatch, uninterrupted
):
  join, saved = pipeline._join, []

  def join_later(*args):
    saved.extend(checkpoint.steps(tmp_path / 'faulty' / 'checkpoints')[-1:])
    join(*args)

  monkeypatch.setattr(pipeline, '_join', join_later)
  with pytest.raises(RuntimeError, match='Actor 0.*broken joystick'):
    train_with(
      monkeypatch, tmp_path / 'faulty', raise_error, checkpoint_seconds=1e9
    )
  # The newest state is saved before the slow wait for the threads.
  assert saved == [14]
  assert_resumes_identically(monkeypatch, tmp_path, uninterrupted)


@pytest.mark.usefixtures('one_device')
@pytest.mark.slow
def test_a_run_whose_environment_hangs_times_out_and_resumes(
  tmp_path, monkeypatch, uninterrupted
):
  monkeypatch.setattr(pipeline, '_JOIN_SECONDS', 0.2)
  released = threading.Event()

  def hang():
    released.wait(300)

  with pytest.raises(waiting.Timeout, match='learner.*actor 0'):
    train_with(
      monkeypatch,
      tmp_path / 'faulty',
      hang,
      num_frames=4_000,
      timeout_seconds=10.0,
    )
  assert not released.is_set()
  released.set()
  assert_resumes_identically(monkeypatch, tmp_path, uninterrupted)


def test_a_timeout_names_the_actor_that_hangs(monkeypatch):
  monkeypatch.setattr(pipeline, '_JOIN_SECONDS', 0.2)
  agent = counting.make_counting_agent()
  for lag in (0, -1):
    envs = [counting.CountingEnv(0), StuckEnv(), counting.CountingEnv(2)]
    setup = running.make_setup(envs, agent, lag=lag, timeout_seconds=5.0)
    with (
      pipeline.running(setup) as steps,
      pytest.raises(waiting.Timeout, match='learner.*actor 1'),
    ):
      for _ in steps:
        pass
    envs[1].release.set()


@pytest.mark.usefixtures('one_device')
@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint(
  tmp_path, monkeypatch, uninterrupted
):
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)

  def fill_disk():  # Simulated by a limit on the size of every file.
    deadline = time.monotonic() + 60
    while checkpoint.steps(tmp_path / 'faulty' / 'checkpoints')[-1] == 0:
      assert time.monotonic() < deadline
      time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, limit[1]))

  try:
    with pytest.raises(checkpoint.CheckpointError, match='Cannot write'):
      train_with(monkeypatch, tmp_path / 'faulty', fill_disk)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  step, _ = checkpoint.read_newest(tmp_path / 'faulty' / 'checkpoints')
  assert 0 < step <= 16
  assert_resumes_identically(monkeypatch, tmp_path, uninterrupted)


@pytest.mark.usefixtures('one_device')
@pytest.mark.parametrize('damage', (comparing.cut_short, comparing.flip_a_bit))
@pytest.mark.slow
def test_a_damaged_checkpoint_is_set_aside_and_the_previous_one_is_used(
  damage, tmp_path, monkeypatch, caplog, uninterrupted
):
  with pytest.raises(RuntimeError):
    train_with(monkeypatch, tmp_path / 'faulty', raise_error)
  *earlier, last = checkpoint.steps(tmp_path / 'faulty' / 'checkpoints')
  assert earlier
  for path in (tmp_path / 'faulty' / 'checkpoints' / str(last)).rglob('d/*'):
    damage(path)
  caplog.clear()
  train_with(monkeypatch, tmp_path / 'faulty')
  assert 'DAMAGED CHECKPOINT' in caplog.text
  aside = tmp_path / 'faulty' / 'damaged_checkpoints' / f'{last}.0'
  assert aside.is_dir() and str(aside) in caplog.text
  comparing.assert_same_run(uninterrupted, tmp_path / 'faulty')


@pytest.mark.usefixtures('one_device')
@pytest.mark.slow
def test_an_incomplete_row_of_metrics_is_rewritten(
  tmp_path, monkeypatch, uninterrupted
):
  with pytest.raises(RuntimeError):
    train_with(monkeypatch, tmp_path / 'faulty', raise_error)
  metrics = tmp_path / 'faulty' / 'metrics.csv'
  metrics.write_bytes(metrics.read_bytes() + b'1234,5')
  assert_resumes_identically(monkeypatch, tmp_path, uninterrupted)


@pytest.mark.usefixtures('one_device')
@pytest.mark.slow
def test_a_row_that_failed_to_write_is_written_after_resuming(
  tmp_path, monkeypatch, uninterrupted
):
  row = metrics_lib.row

  def disk_full(state, num_actors):
    if state.num_updates == 10:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return row(state, num_actors)

  monkeypatch.setattr(metrics_lib, 'row', disk_full)
  with pytest.raises(OSError, match='No space left'):
    train_with(monkeypatch, tmp_path / 'faulty')
  # The checkpoint precedes the failed row, so that a resumed run writes it.
  assert checkpoint.steps(tmp_path / 'faulty' / 'checkpoints')[-1] == 9
  # The plots show the rows written before the error.
  for name in ('learning_curve.png', 'diagnostics.png'):
    assert (tmp_path / 'faulty' / name).read_bytes().startswith(b'\x89PNG')
  monkeypatch.setattr(metrics_lib, 'row', row)
  assert_resumes_identically(monkeypatch, tmp_path, uninterrupted)


@pytest.mark.usefixtures('one_device')
def test_plotting_errors_do_not_mask_the_error_that_ended_the_run(
  tmp_path, monkeypatch, caplog
):
  def disk_full(logdir):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  for name in ('draw_learning_curve', 'draw_diagnostics'):
    monkeypatch.setattr(pages, name, disk_full)
  with pytest.raises(RuntimeError, match='broken joystick'):
    train_with(monkeypatch, tmp_path / 'faulty', raise_error)
  assert caplog.text.count(os.strerror(errno.ENOSPC)) == 2
