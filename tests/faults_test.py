"""Faults and endings: what goes wrong surfaces soon, and all threads leave."""

import errno
import os
import resource
import threading
import time

import jax
import pytest

from agents import polling
from envs import catch
from experiments import train
from experiments.plotting import pages
from experiments.records import metrics as metrics_lib
from experiments.training import builders
from experiments.training import checkpoint
from experiments.training import pipeline
from tests import comparing
from tests import counting
from tests import running


class BrokenEnv(counting.CountingEnv):
  """Fails on its 20th step."""

  def step(self, actions):
    if self._steps == 20:
      raise ValueError('broken joystick')
    return super().step(actions)


def test_an_exception_in_an_actor_is_raised_in_the_learner():
  agent = counting.make_counting_agent()
  envs = [counting.CountingEnv(0), BrokenEnv(1)]
  with (
    pipeline.running(running.make_setup(envs, agent)) as steps,
    pytest.raises(RuntimeError, match='Actor 1 failed') as info,
  ):
    for _ in steps:
      pass
  assert isinstance(info.value.__cause__, ValueError)
  assert 'broken joystick' in str(info.value.__cause__)


def test_learning_stops_when_an_actor_dies_though_batches_are_queued():
  agent = counting.make_counting_agent()
  envs = [counting.CountingEnv(0)]
  setup = running.make_setup(envs, agent)
  queue = builders.make_queue(setup.config)
  with pipeline.running(setup, queue=queue) as steps:
    next(steps)
    while not len(queue._rings[0]):  # Its next rollout has arrived.
      time.sleep(0.01)
    queue.fail(0, ValueError('late'))
    with pytest.raises(RuntimeError, match='late'):
      next(steps)


def test_a_failed_run_says_why_and_keeps_its_records(tmp_path, monkeypatch):
  envs = [counting.CountingEnv(0, num_envs=8), BrokenEnv(1, num_envs=8)]
  monkeypatch.setattr(builders, 'make_envs', lambda *args: envs)
  config = running.config_for(
    num_actors=2,
    envs_per_actor=8,
    batch_size=8,
    log_updates=1,
    logdir=str(tmp_path / 'run'),
  )
  with pytest.raises(RuntimeError, match='Actor 1 failed.*broken joystick'):
    train.train(config)
  assert (tmp_path / 'run' / 'config.json').exists()
  assert (tmp_path / 'run' / 'metrics.csv').read_text().startswith('num_frames')


class StuckEnv(counting.CountingEnv):
  """Hangs on its third step until released."""

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


def test_a_stuck_actor_is_left_behind(monkeypatch):
  monkeypatch.setattr(pipeline, '_JOIN_SECONDS', 0.2)
  agent = counting.make_counting_agent()
  env = StuckEnv()
  with running.acting(running.make_setup([env], agent)):
    assert env.stuck.wait(60)
  assert not env.release.is_set() and not env.closed  # It is still stepping.
  env.release.set()


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
  """Does something once, on its 60th step."""

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
def straight(tmp_path_factory):
  """A run that nothing befell, on which the others are held."""
  logdir = tmp_path_factory.mktemp('straight') / 'run'
  with pytest.MonkeyPatch.context() as monkeypatch:
    running.see_one_device(monkeypatch)
    train_with(monkeypatch, logdir)
  return logdir


def train_with(monkeypatch, logdir, fault=lambda: None, **settings):
  """Trains on one environment of Catch, in lock-step, that is at fault once."""
  monkeypatch.setattr(builders, 'make_envs', lambda *args: [FaultyCatch(fault)])
  small = dict(
    num_frames=4_000,
    log_updates=5,
    checkpoint_seconds=0.0,
    logdir=str(logdir),
  )
  return train.train(running.one_actor_config(**(small | settings)))


def assert_goes_on_as_if_nothing_had_been(monkeypatch, tmp_path, straight):
  """The run in `cut`, run to its end, is the one that nothing befell."""
  train_with(monkeypatch, tmp_path / 'cut')
  comparing.assert_same_run(straight, tmp_path / 'cut')


def raise_error():
  raise ValueError('broken joystick')


@pytest.mark.usefixtures('one_device')
def test_a_run_whose_actor_failed_goes_on(tmp_path, monkeypatch, straight):
  join, saved = pipeline._join, []

  def join_later(*args):
    saved.extend(checkpoint.steps(tmp_path / 'cut' / 'checkpoints')[-1:])
    join(*args)

  monkeypatch.setattr(pipeline, '_join', join_later)
  with pytest.raises(RuntimeError, match='Actor 0 failed.*broken joystick'):
    train_with(
      monkeypatch, tmp_path / 'cut', raise_error, checkpoint_seconds=1e9
    )
  # All that was learnt was saved, before anything that may take its time.
  assert saved == [14]
  assert_goes_on_as_if_nothing_had_been(monkeypatch, tmp_path, straight)


@pytest.mark.usefixtures('one_device')
@pytest.mark.slow
def test_a_run_whose_environment_hangs_ends_at_its_deadline(
  tmp_path, monkeypatch, straight
):
  monkeypatch.setattr(pipeline, '_JOIN_SECONDS', 0.2)
  released = threading.Event()

  def hang():
    released.wait(300)

  with pytest.raises(polling.Timeout, match='The learner waited for actor 0'):
    train_with(
      monkeypatch,
      tmp_path / 'cut',
      hang,
      num_frames=4_000,
      timeout_seconds=10.0,
    )
  assert not released.is_set()
  released.set()
  assert_goes_on_as_if_nothing_had_been(monkeypatch, tmp_path, straight)


def test_of_several_actors_the_one_that_hangs_is_named(monkeypatch):
  monkeypatch.setattr(pipeline, '_JOIN_SECONDS', 0.2)
  agent = counting.make_counting_agent()
  for lag in (0, -1):
    envs = [counting.CountingEnv(0), StuckEnv(), counting.CountingEnv(2)]
    setup = running.make_setup(envs, agent, lag=lag, timeout_seconds=1.0)
    with (
      pipeline.running(setup) as steps,
      pytest.raises(polling.Timeout, match='The learner waited for actor 1'),
    ):
      for _ in steps:
        pass
    envs[1].release.set()


@pytest.mark.usefixtures('one_device')
@pytest.mark.slow
def test_a_run_whose_disk_is_full_keeps_its_last_checkpoint(
  tmp_path, monkeypatch, straight
):
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)

  def fill_disk():  # No file can grow beyond this: like a disk that is full.
    deadline = time.monotonic() + 20
    while checkpoint.steps(tmp_path / 'cut' / 'checkpoints')[-1] == 0:
      assert time.monotonic() < deadline
      time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, limit[1]))

  try:
    with pytest.raises(checkpoint.CheckpointError, match='Cannot write'):
      train_with(monkeypatch, tmp_path / 'cut', fill_disk)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  step, _ = checkpoint.read_newest(tmp_path / 'cut' / 'checkpoints')
  assert 0 < step <= 16
  assert_goes_on_as_if_nothing_had_been(monkeypatch, tmp_path, straight)


@pytest.mark.usefixtures('one_device')
@pytest.mark.parametrize('damage', (comparing.cut_short, comparing.flip_a_bit))
@pytest.mark.slow
def test_a_run_whose_last_checkpoint_is_damaged_goes_on_from_the_one_before(
  damage, tmp_path, monkeypatch, caplog, straight
):
  with pytest.raises(RuntimeError):
    train_with(monkeypatch, tmp_path / 'cut', raise_error)
  before, last = checkpoint.steps(tmp_path / 'cut' / 'checkpoints')[-2:]
  for path in (tmp_path / 'cut' / 'checkpoints' / str(last)).rglob('d/*'):
    damage(path)
  caplog.clear()
  train_with(monkeypatch, tmp_path / 'cut')
  assert 'DAMAGED CHECKPOINT' in caplog.text
  aside = tmp_path / 'cut' / 'damaged_checkpoints' / f'{last}.0'
  assert aside.is_dir() and str(aside) in caplog.text
  comparing.assert_same_run(straight, tmp_path / 'cut')
  assert before < last


@pytest.mark.usefixtures('one_device')
@pytest.mark.slow
def test_a_torn_row_of_metrics_is_made_whole(tmp_path, monkeypatch, straight):
  with pytest.raises(RuntimeError):
    train_with(monkeypatch, tmp_path / 'cut', raise_error)
  metrics = tmp_path / 'cut' / 'metrics.csv'
  metrics.write_bytes(metrics.read_bytes() + b'1234,5')
  assert_goes_on_as_if_nothing_had_been(monkeypatch, tmp_path, straight)


@pytest.mark.usefixtures('one_device')
@pytest.mark.slow
def test_a_row_that_could_not_be_written_is_written_again(
  tmp_path, monkeypatch, straight
):
  row = metrics_lib.row

  def disk_full(state, num_actors):
    if state.num_updates == 10:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return row(state, num_actors)

  monkeypatch.setattr(metrics_lib, 'row', disk_full)
  with pytest.raises(OSError, match='No space left'):
    train_with(monkeypatch, tmp_path / 'cut')
  # What is saved is as of the update before: the row is still to come.
  assert checkpoint.steps(tmp_path / 'cut' / 'checkpoints')[-1] == 9
  # The rows before are drawn all the same.
  for name in ('learning_curve.png', 'diagnostics.png'):
    assert (tmp_path / 'cut' / name).read_bytes().startswith(b'\x89PNG')
  monkeypatch.setattr(metrics_lib, 'row', row)
  assert_goes_on_as_if_nothing_had_been(monkeypatch, tmp_path, straight)


@pytest.mark.usefixtures('one_device')
def test_an_error_of_drawing_does_not_mask_what_ended_the_run(
  tmp_path, monkeypatch, caplog
):
  def disk_full(logdir):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  for name in ('draw_learning_curve', 'draw_diagnostics'):
    monkeypatch.setattr(pages, name, disk_full)
  with pytest.raises(RuntimeError):
    train_with(monkeypatch, tmp_path / 'cut', raise_error)
  assert caplog.text.count('Cannot draw the run') == 2
