"""Faults and endings: what goes wrong surfaces soon, and all threads leave."""

import threading
import time

import jax
import pytest

from experiments import parts
from experiments import train
from tests import counting
from tests import running


class BrokenEnv(counting.CountingEnv):
  """Fails on its 20th step."""

  def step(self, actions):
    if self._steps == 20:
      self.broke = time.monotonic()
      raise ValueError('broken joystick')
    return super().step(actions)


def test_an_exception_in_an_actor_surfaces_in_the_learner_within_a_second():
  agent = counting.make_counting_agent()
  worlds = [counting.CountingEnv(0), BrokenEnv(1)]
  with (
    running.pipeline(worlds, agent, agent.init(None)) as (queue, store),
    pytest.raises(RuntimeError, match='Actor 1 failed') as info,
  ):
    for _ in running.learning(queue, store, agent):
      pass
  assert time.monotonic() - worlds[1].broke < 1
  assert isinstance(info.value.__cause__, ValueError)
  assert 'broken joystick' in str(info.value.__cause__)


def test_a_dead_actor_stops_learning_though_batches_are_left():
  agent = counting.make_counting_agent()
  worlds = [counting.CountingEnv(0)]
  with running.pipeline(worlds, agent, agent.init(None)) as (queue, store):
    steps = running.learning(queue, store, agent)
    next(steps)
    time.sleep(0.2)  # By now a batch is placed, and the ring is full.
    queue.fail(0, ValueError('late'))
    with pytest.raises(RuntimeError, match='late'):
      next(steps)


def test_a_failed_run_says_why_and_keeps_its_records(tmp_path, monkeypatch):
  worlds = [counting.CountingEnv(0, num_envs=8), BrokenEnv(1, num_envs=8)]
  monkeypatch.setattr(parts, 'make_worlds', lambda config: worlds)
  config = running.config_for(
    num_actors=2,
    envs_per_actor=8,
    batch_size=8,
    log_seconds=0.0,
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
    self.release = threading.Event()

  def step(self, actions):
    if self._steps == 3:
      self.release.wait(20)
    return super().step(actions)

  def close(self):
    self.closed = True


def test_a_stuck_actor_is_left_behind(monkeypatch):
  monkeypatch.setattr(parts, '_JOIN_SECONDS', 0.2)
  agent = counting.make_counting_agent()
  world = StuckEnv()
  start = time.monotonic()
  with running.pipeline([world], agent, agent.init(None)):
    time.sleep(0.5)
  assert time.monotonic() - start < 3
  assert not world.closed  # Its thread is still in it.
  world.release.set()


def test_closing_joins_every_thread_within_a_second():
  before = set(threading.enumerate())
  agent = counting.make_counting_agent()
  worlds = [counting.CountingEnv(i) for i in range(running.NUM_ACTORS)]
  with running.pipeline(worlds, agent, agent.init(None)) as (queue, _):
    batches = parts.make_batches(running.config_for(), queue, jax.devices()[:1])
    next(batches)
    start = time.monotonic()
    queue.close()
    batches.close()
  assert time.monotonic() - start < 1
  assert not [t for t in set(threading.enumerate()) - before if t.is_alive()]
