"""The whole path: real actors, queue, batcher, store and learner input."""

import contextlib
import itertools
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import agent as agent_lib
from agents import batcher
from agents import learner
from agents import parameter_store
from agents import trajectory
from agents import trajectory_queue
from envs import catch
from experiments import config as config_lib
from experiments import parts
from experiments import train
from tests import counting

UNROLL_LENGTH, NUM_ACTORS = 4, 3


def config_for(**settings):
  return config_lib.from_preset(
    'catch',
    **(
      dict(
        num_actors=NUM_ACTORS,
        envs_per_actor=2,
        batch_size=2,
        unroll_length=UNROLL_LENGTH,
        queue_capacity=2,
        timeout_seconds=20,
      )
      | settings
    ),
  )


@contextlib.contextmanager
def pipeline(worlds, agent, params, **settings):
  """Actors running on `worlds`; gives (queue, store)."""
  config = config_for(num_actors=len(worlds), **settings)
  queue = trajectory_queue.TrajectoryQueue(
    config.num_actors, config.queue_capacity, config.timeout_seconds
  )
  store = parameter_store.ParameterStore()
  store.publish(0, params)
  with parts.acting(config, agent, worlds, jax.random.key(0), queue, store):
    yield queue, store


def counting_rollouts(num_rollouts):
  worlds = [counting.CountingEnv(i) for i in range(NUM_ACTORS)]
  agent = counting.make_counting_agent()
  with pipeline(worlds, agent, agent.init(None)) as (queue, _):
    return [queue.get() for _ in range(num_rollouts)]


def test_unrolls_follow_each_other_without_loss_or_tear():
  rollouts = counting_rollouts(60)
  assert [r.actor_id for r in rollouts] == list(range(NUM_ACTORS)) * 20
  for actor_id in range(NUM_ACTORS):
    mine = rollouts[actor_id::NUM_ACTORS]
    for k, rollout in enumerate(mine):
      rows = rollout.trajectory.rows
      # Row by row, the environment's own count of steps goes on from the unroll
      # before: its last row is this one's first.
      expected = k * UNROLL_LENGTH + np.arange(UNROLL_LENGTH + 1)
      for env in range(2):
        observation = rows.timestep.observation[:, env]
        np.testing.assert_array_equal(observation[:, 3], expected)
        np.testing.assert_array_equal(observation[:, :2], [[actor_id, env]] * 5)
      if k:
        jax.tree.map(
          lambda a, b: np.testing.assert_array_equal(a[-1], b[0]),
          mine[k - 1].trajectory.rows,
          rows,
        )


def test_action_log_prob_and_core_belong_to_their_step():
  for rollout in counting_rollouts(60):
    rows, core = rollout.trajectory
    observation = rows.timestep.observation
    t, steps = observation[..., 2], observation[..., 3]
    consumed = np.where(trajectory.first(rows.timestep)[0], 0, t[0])
    # The core counts observations consumed since FIRST; at a reset's row it
    # still holds the old episode's count, which is forgotten then.
    lengths = np.array([3, 5])
    before_reset = np.where(steps[0] == 0, 0, lengths + 1)
    expected = np.where(
      trajectory.first(rows.timestep)[0], before_reset, consumed
    )
    np.testing.assert_array_equal(core, expected)
    led_here = counting.action_at(t[:-1])
    np.testing.assert_array_equal(rows.action[1:], led_here)
    np.testing.assert_array_equal(rows.log_prob[1:], -steps[:-1] / 1024.0)
    mask = ~trajectory.first(rows.timestep)[1:]
    np.testing.assert_array_equal(
      rows.timestep.reward[1:][mask], (10 * t[:-1] + led_here)[mask]
    )


def test_episode_returns_equal_an_independent_count():
  rollouts = [r for r in counting_rollouts(60) if r.actor_id == 0]
  returns = np.concatenate([r.episode_returns for r in rollouts])
  lengths = np.concatenate([r.episode_lengths for r in rollouts])
  expected = {
    length: sum(10 * t + counting.action_at(t) for t in range(length))
    for length in (3, 5)
  }
  assert set(lengths) == {3, 5}
  np.testing.assert_array_equal(returns, [expected[n] for n in lengths])
  # 80 steps; an episode of n steps takes n + 1 rows with its reset.
  assert np.sum(lengths == 3) == 80 // 4 and np.sum(lengths == 5) == 80 // 6


def test_batches_keep_environments_and_their_cores_together():
  rollouts = counting_rollouts(6)
  batch = batcher.stack(rollouts, num_devices=2)
  rows, core = batch.trajectory
  assert rows.action.shape == (2, UNROLL_LENGTH + 1, 6)
  flat = np.concatenate(list(rows.timestep.observation), axis=1)
  np.testing.assert_array_equal(
    flat,
    np.concatenate(
      [r.trajectory.rows.timestep.observation for r in rollouts], axis=1
    ),
  )
  np.testing.assert_array_equal(
    core.reshape(-1),
    np.concatenate([r.trajectory.core_state for r in rollouts]),
  )
  assert batch.num_transitions == sum(
    np.sum(~trajectory.first(r.trajectory.rows.timestep)[1:]) for r in rollouts
  )


@pytest.mark.parametrize('truncates', (False, True), ids=('ends', 'is cut off'))
def test_with_the_true_value_function_the_loss_is_zero(truncates):
  # Rewards encode (t, action). Shift anything by one and values disagree.
  discount, lengths = 0.5, (3, 5)
  table = jnp.array(
    [
      [
        counting.true_value(t, n, discount, truncates)
        if t < n or truncates
        else 99.0  # Nobody may bootstrap from an episode that has ended.
        for t in range(16)
      ]
      for n in lengths
    ]
  )
  agent = counting.make_counting_agent(table)
  worlds = [
    counting.CountingEnv(i, truncates=truncates) for i in range(NUM_ACTORS)
  ]
  update = learner.make_update(
    agent,
    optax.identity(),
    discount=discount,
    clip_rewards=lambda r: r,
    baseline_cost=0.5,
    entropy_cost=0.0,
  )
  update = learner.parallelize(update, jax.devices()[:1])
  params = agent.init(None)
  with pipeline(worlds, agent, params) as (queue, _):
    for batch in (batcher.stack([queue.get()], 1) for _ in range(12)):
      state = learner.TrainState(params, optax.identity().init(params))
      state, metrics = update(state, batch.trajectory, 1.0)
      np.testing.assert_allclose(metrics['loss'], 0.0, atol=1e-6)
      np.testing.assert_allclose(metrics['baseline_loss'], 0.0, atol=1e-6)
      np.testing.assert_allclose(metrics['grad_norm'], 0.0, atol=1e-3)


@pytest.mark.parametrize('use_lstm', (False, True), ids=('ff', 'lstm'))
def test_with_frozen_parameters_every_importance_weight_is_1(use_lstm):
  worlds = [catch.Catch(2, seed) for seed in range(NUM_ACTORS)]
  agent = agent_lib.make_agent(
    worlds[0].observation_spec(),
    worlds[0].action_spec(),
    torso='mlp',
    use_lstm=use_lstm,
  )
  params = agent.init(jax.random.key(3))
  unroll = jax.jit(agent.unroll)
  seen_resets = 0
  with pipeline(worlds, agent, params) as (queue, _):
    for _ in range(30):
      rows, core = queue.get().trajectory
      output = unroll(params, rows, core)
      steps = trajectory.transitions(rows)
      policy, _ = trajectory.split_bootstrap(output.policy)
      log_pi = agent.policy.log_prob(policy, steps.actions)
      np.testing.assert_allclose(
        np.exp(log_pi - steps.behaviour_log_probs), 1.0, atol=1e-5
      )
      seen_resets += np.sum(~steps.mask)
  assert seen_resets > 5


def learning(queue, store, agent, batch_size=2):
  """`learner.learn` on what the queue gives, as in a run, on one device."""
  devices = jax.devices()[:1]
  optimizer = optax.identity()
  update = learner.make_update(
    agent,
    optimizer,
    discount=0.9,
    clip_rewards=lambda r: r,
    baseline_cost=0.0,
    entropy_cost=0.0,
  )
  return learner.learn(
    learner.init(agent, optimizer, jax.random.key(0), devices),
    parts.make_batches(config_for(batch_size=batch_size), queue, devices),
    learner.parallelize(update, devices),
    store.publish,
    check=queue.raise_if_failed,
    learning_rate=lambda frames: 0.0,
    frames_per_step=1,
    total_frames=10**9,
  )


@pytest.mark.parametrize(
  'batch_size,capacity,bound', ((2, 1, 7), (4, 1, 4), (2, 2, 10))
)
def test_policy_lag_stays_within_its_bound(batch_size, capacity, bound):
  # By hand, for 3 actors of 2 environments: (capacity + 1) * 3 rollouts are
  # still to come when one begins, at 1 or 2 a batch, and 1 batch is on its way.
  config = config_for(batch_size=batch_size, queue_capacity=capacity)
  assert parts.max_policy_lag(config) == bound
  agent = counting.make_counting_agent()
  worlds = [counting.CountingEnv(i) for i in range(NUM_ACTORS)]
  lags = []
  with pipeline(worlds, agent, agent.init(None), queue_capacity=capacity) as (
    queue,
    store,
  ):
    steps = learning(queue, store, agent, batch_size)
    for progress in itertools.islice(steps, 150):
      lags.append(progress.policy_lag)
      time.sleep(0.01 if progress.num_updates % 3 else 0.0)
    queue.close()
  assert 0 < max(lags) <= bound
  assert min(lags) >= 0


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
    pipeline(worlds, agent, agent.init(None)) as (queue, store),
    pytest.raises(RuntimeError, match='Actor 1 failed') as info,
  ):
    for _ in learning(queue, store, agent):
      pass
  assert time.monotonic() - worlds[1].broke < 1
  assert isinstance(info.value.__cause__, ValueError)
  assert 'broken joystick' in str(info.value.__cause__)


def test_a_dead_actor_stops_learning_though_batches_are_left():
  agent = counting.make_counting_agent()
  worlds = [counting.CountingEnv(0)]
  with pipeline(worlds, agent, agent.init(None)) as (queue, store):
    steps = learning(queue, store, agent)
    next(steps)
    time.sleep(0.2)  # By now a batch is placed, and the ring is full.
    queue.fail(0, ValueError('late'))
    with pytest.raises(RuntimeError, match='late'):
      next(steps)


def test_a_failed_run_says_why_and_keeps_its_records(tmp_path, monkeypatch):
  worlds = [counting.CountingEnv(0, num_envs=8), BrokenEnv(1, num_envs=8)]
  monkeypatch.setattr(parts, 'make_worlds', lambda config: worlds)
  config = config_for(
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
  with pipeline([world], agent, agent.init(None)):
    time.sleep(0.5)
  assert time.monotonic() - start < 3
  assert not world.closed  # Its thread is still in it.
  world.release.set()


def test_closing_joins_every_thread_within_a_second():
  before = set(threading.enumerate())
  agent = counting.make_counting_agent()
  worlds = [counting.CountingEnv(i) for i in range(NUM_ACTORS)]
  with pipeline(worlds, agent, agent.init(None)) as (queue, _):
    batches = parts.make_batches(config_for(), queue, jax.devices()[:1])
    next(batches)
    start = time.monotonic()
    queue.close()
    batches.close()
  assert time.monotonic() - start < 1
  assert not [t for t in set(threading.enumerate()) - before if t.is_alive()]
