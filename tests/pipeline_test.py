"""The data path with real actors, queue, batcher, store and update."""

import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import batcher
from agents import learner
from agents import trajectory
from envs import catch
from experiments.training import pipeline
from experiments.training import rollout_order
from tests import counting
from tests import running
import vtrace


def counting_rollouts(num_rollouts):
  envs = [counting.CountingEnv(i) for i in range(running.NUM_ACTORS)]
  setup = running.make_setup(envs, counting.make_counting_agent())
  with running.acting(setup) as queue:
    return [queue.get() for _ in range(num_rollouts)]


def test_consecutive_unrolls_share_a_row_and_lose_no_step():
  rollouts = counting_rollouts(60)
  assert [r.actor_id for r in rollouts] == list(range(running.NUM_ACTORS)) * 20
  for actor_id in range(running.NUM_ACTORS):
    mine = rollouts[actor_id :: running.NUM_ACTORS]
    for k, rollout in enumerate(mine):
      rows = rollout.trajectory.rows
      # The environment's count of steps continues from the previous unroll,
      # whose last row is the first row of this one.
      expected = k * running.UNROLL_LENGTH + np.arange(
        running.UNROLL_LENGTH + 1
      )
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


def test_action_log_prob_and_core_state_belong_to_their_step():
  for rollout in counting_rollouts(60):
    rows, core = rollout.trajectory
    observation = rows.timestep.observation
    t, steps = observation[..., 2], observation[..., 3]
    consumed = np.where(trajectory.is_first(rows.timestep)[0], 0, t[0])
    # The core counts observations consumed since FIRST. In a row FIRST it still
    # holds the count of the old episode, which the agent then resets.
    lengths = np.array([3, 5])
    before_reset = np.where(steps[0] == 0, 0, lengths + 1)
    expected = np.where(
      trajectory.is_first(rows.timestep)[0], before_reset, consumed
    )
    np.testing.assert_array_equal(core, expected)
    actions = counting.action_at(t[:-1])
    np.testing.assert_array_equal(rows.action[1:], actions)
    np.testing.assert_array_equal(rows.log_prob[1:], -steps[:-1] / 1024.0)
    mask = ~trajectory.is_first(rows.timestep)[1:]
    np.testing.assert_array_equal(
      rows.timestep.reward[1:][mask], (10 * t[:-1] + actions)[mask]
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
  assert rows.action.shape == (2, running.UNROLL_LENGTH + 1, 6)
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
    np.sum(~trajectory.is_first(r.trajectory.rows.timestep)[1:])
    for r in rollouts
  )


@pytest.mark.parametrize(
  'truncates', (False, True), ids=('terminated', 'truncated')
)
def test_the_loss_is_zero_under_the_true_value_function(truncates):
  # Rewards encode (t, action): any shift by one gives a loss other than 0.
  discount, lengths = 0.5, (3, 5)
  table = jnp.array(
    [
      [
        counting.true_value(t, n, discount, truncates)
        if t < n or truncates
        else 99.0  # A terminated episode must not be bootstrapped.
        for t in range(16)
      ]
      for n in lengths
    ]
  )
  agent = counting.make_counting_agent(table)
  envs = [
    counting.CountingEnv(i, truncates=truncates)
    for i in range(running.NUM_ACTORS)
  ]
  update = learner.make_update(
    agent,
    optax.identity(),
    functools.partial(vtrace.impala_loss, baseline_cost=0.5, entropy_cost=0.0),
    discount=discount,
    clip_rewards=lambda r: r,
  )
  update = learner.parallelize(update, jax.devices()[:1])
  params = agent.init(None)
  with running.acting(running.make_setup(envs, agent)) as queue:
    for batch in (batcher.stack([queue.get()], 1) for _ in range(12)):
      state = learner.TrainState(params, optax.identity().init(params))
      state, metrics = update(state, batch.trajectory, 1.0)
      np.testing.assert_allclose(metrics['loss'], 0.0, atol=1e-6)
      np.testing.assert_allclose(metrics['baseline_loss'], 0.0, atol=1e-6)
      np.testing.assert_allclose(metrics['grad_norm'], 0.0, atol=1e-3)


@pytest.mark.parametrize('use_lstm', (False, True), ids=('ff', 'lstm'))
def test_importance_weights_are_1_with_frozen_parameters(use_lstm):
  envs = [catch.Catch(2, seed) for seed in range(running.NUM_ACTORS)]
  setup = running.make_setup(envs, use_lstm=use_lstm, seed=3)
  agent = setup.agent
  params = learner.local_params(setup.run.train_state)
  unroll = jax.jit(agent.unroll)
  num_resets = 0
  with running.acting(setup) as queue:
    for _ in range(30):
      rows, core = queue.get().trajectory
      output = unroll(params, rows, core)
      steps = trajectory.transitions(rows)
      policy, _ = trajectory.split_bootstrap(output.policy)
      log_pi = agent.policy.log_prob(policy, steps.actions)
      np.testing.assert_allclose(
        np.exp(log_pi - steps.behaviour_log_probs), 1.0, atol=1e-5
      )
      num_resets += np.sum(~steps.mask)
  assert num_resets > 5


@pytest.mark.parametrize(
  'batch_size,capacity,bound', ((2, 1, 7), (4, 1, 4), (2, 2, 10))
)
def test_policy_lag_stays_within_its_bound(batch_size, capacity, bound):
  # By hand, for 3 actors of 2 environments: a rollout that begins is preceded
  # by (capacity + 1) * 3 others, 1 or 2 per batch, and by 1 batch in flight.
  config = running.config_for(batch_size=batch_size, queue_capacity=capacity)
  assert rollout_order.max_policy_lag(config) == bound
  envs = [counting.CountingEnv(i) for i in range(running.NUM_ACTORS)]
  setup = running.make_setup(
    envs,
    counting.make_counting_agent(),
    batch_size=batch_size,
    queue_capacity=capacity,
  )
  lags = []
  with pipeline.running(setup) as steps:
    for progress in itertools.islice(steps, 150):
      lags.extend(progress.policy_lags)
      time.sleep(0.01 if progress.num_updates % 3 else 0.0)
  assert 0 < max(lags) <= bound
  assert min(lags) >= 0


@pytest.mark.parametrize('batch_size', (2, 4))
@pytest.mark.parametrize('lag', (0, 1, 5))
def test_every_batch_has_exactly_the_requested_lag(lag, batch_size):
  # 3 actors of 2 environments: rounds of actors and batches are not aligned.
  envs = [counting.CountingEnv(i) for i in range(running.NUM_ACTORS)]
  agent = counting.make_counting_agent()
  setup = running.make_setup(envs, agent, lag=lag, batch_size=batch_size)
  with pipeline.running(setup) as steps:
    for progress in itertools.islice(steps, 30):
      expected = min(lag, progress.num_updates - 1)  # Less at first.
      assert set(progress.policy_lags) == {expected}
      time.sleep(0.005 if progress.num_updates % 4 == 0 else 0.0)
