"""Tests of the functions that make the parts of a run from its config."""

import dataclasses
import itertools
import math
import threading

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import agent as agent_lib
from agents import parameter_store
from agents import trajectory
from agents import waiting
from agents.networks import frame_stack
from envs import catch
from envs import registry
from experiments import config as config_lib
from experiments.records import hardware
from experiments.training import builders
from experiments.training import rollout_order
from tests import counting
from tests import losses_test
from tests import running
import vtrace


def test_every_actor_has_its_own_envs():
  config = running.config_for(num_actors=3, envs_per_actor=4)
  starts = [env.reset().observation for env in builders.make_envs(config)]
  for a, b in itertools.combinations(starts, 2):
    assert np.any(a != b)


def test_every_actor_has_its_own_key():
  # Environments and parameters are equal, so only keys can differ.
  envs = [catch.Catch(4, seed=0) for _ in range(2)]
  settings = dict(envs_per_actor=4, batch_size=4, unroll_length=9)
  with running.acting(running.make_setup(envs, **settings)) as queue:
    a, b = (queue.get().trajectory.rows.action for _ in range(2))
  assert np.any(a != b)


# All values differ, so that exchanging two of them fails a test.
CONFIG = config_lib.Config(
  discount=0.91,
  baseline_cost=0.2,
  entropy_cost=0.03,
  clip_rho_threshold=1.4,
  clip_c_threshold=1.5,
  clip_pg_rho_threshold=1.6,
  lambda_=0.7,
  correction='one_step',
  rmsprop_decay=0.8,
  rmsprop_epsilon=0.09,
  max_grad_norm=10.0,
  unrolls_per_pass=4,
  learning_rate=0.5,
  num_frames=1000,
  num_actors=3,
  queue_capacity=5,
  timeout_seconds=77.0,
  torso='shallow',
  use_lstm=True,
)


@pytest.mark.parametrize('name', vtrace.corrections.CORRECTIONS)
def test_the_loss_uses_the_configs_costs_correction_and_thresholds(name):
  inputs = losses_test.make_inputs()
  config = dataclasses.replace(CONFIG, correction=name)
  expected, _ = vtrace.impala_loss(
    **inputs,
    baseline_cost=0.2,
    entropy_cost=0.03,
    correction=vtrace.corrections.CORRECTIONS[name],
    clip_rho_threshold=1.4,
    clip_c_threshold=1.5,
    clip_pg_rho_threshold=1.6,
    lambda_=0.7,
  )
  assert builders.make_loss(config)(**inputs)[0] == expected


@pytest.mark.parametrize(
  'change',
  (
    dict(baseline_cost=0.4),
    dict(entropy_cost=0.06),
    dict(clip_rho_threshold=math.inf),
    dict(clip_c_threshold=math.inf),
    dict(clip_pg_rho_threshold=math.inf),
    dict(lambda_=0.9),
  ),
  ids=str,
)
def test_every_hyperparameter_of_the_loss_changes_it(change):
  inputs = losses_test.make_inputs()
  config = dataclasses.replace(CONFIG, correction='vtrace')
  other = dataclasses.replace(config, **change)
  assert (
    builders.make_loss(config)(**inputs)[0]
    != builders.make_loss(other)(**inputs)[0]
  )


@pytest.mark.parametrize('name', [n for n in dir(CONFIG) if 'threshold' in n])
def test_an_infinite_threshold_clips_nothing(name):
  inputs = losses_test.make_inputs()
  inputs['behaviour_log_probs'] -= 100.0  # Weights overflow unless clipped.
  config = dataclasses.replace(CONFIG, correction='vtrace')
  clipped = builders.make_loss(config)(**inputs)[0]
  config = dataclasses.replace(config, **{name: math.inf})
  unclipped = builders.make_loss(config)(**inputs)[0]
  assert np.isfinite(clipped) and abs(clipped) < 1e6
  assert not abs(unclipped) < 1e6


def first_update(optimizer, scale, rate):
  """Returns the optimizer's first update for a gradient of [scale, 0]."""
  params = jnp.zeros([2])
  grads = jnp.array([scale, 0.0])
  updates, _ = optimizer.update(
    grads, optimizer.init(params), params, learning_rate=rate
  )
  return updates[0]


@pytest.mark.parametrize('max_norm', (10.0, math.inf))
def test_the_optimizer_uses_the_configs_hyperparameters(max_norm):
  config = dataclasses.replace(CONFIG, max_grad_norm=max_norm)
  optimizer = builders.make_optimizer(config)
  for scale in (2.0, 30.0):
    clipped = min(scale, max_norm)
    expected = -0.3 * clipped / math.sqrt(0.8 + 0.2 * clipped**2 + 0.09)
    found = first_update(optimizer, scale, rate=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
  'name,clipped',
  (
    ('abs_one', 1.0),
    ('none', 3.0),
    ('soft_asymmetric', 5 * math.tanh(3 / 5)),
    ('soft_asymmetric_paper', 5 * math.tanh(3)),
  ),
)
def test_rewards_are_clipped_as_named(name, clipped):
  clip = builders.reward_clipping(
    dataclasses.replace(CONFIG, reward_clipping=name)
  )
  np.testing.assert_allclose(clip(np.float32(3.0)), clipped, rtol=1e-5)


def test_putting_into_a_full_queue_times_out():
  config = dataclasses.replace(CONFIG, timeout_seconds=0.01)
  queue = builders.make_queue(config)
  for actor_id in range(3):
    for number in range(5):
      assert queue.put(actor_id, number)
    with pytest.raises(waiting.Timeout):
      queue.put(actor_id, 5)


def parameter_shapes(agent):
  return jax.tree.map(
    lambda x: (x.shape, x.dtype), jax.eval_shape(agent.init, jax.random.key(0))
  )


@pytest.mark.parametrize('use_lstm', (False, True))
@pytest.mark.parametrize('torso', ('shallow', 'deep'))
def test_the_agent_matches_the_config_and_the_env(torso, use_lstm):
  env = catch.Catch(1, 0)
  env.observation_spec = lambda: dm_env.specs.Array((84, 84, 1), np.uint8)
  env.num_stacked = 3
  config = dataclasses.replace(CONFIG, torso=torso, use_lstm=use_lstm)
  expected = agent_lib.make_agent(
    env.observation_spec(),
    env.action_spec(),
    torso=torso,
    use_lstm=use_lstm,
    num_stacked=3,
  )
  made = builders.make_agent(config, env)
  assert parameter_shapes(made) == parameter_shapes(expected)
  assert bool(jax.tree.leaves(made.initial_state(2).core_state)) == use_lstm
  # Keyword arguments override the configuration.
  made = builders.make_agent(config, env, torso='mlp', num_stacked=1)
  assert parameter_shapes(made) != parameter_shapes(expected)
  assert not isinstance(made.initial_state(2), frame_stack.State)


def test_a_custom_agent_takes_the_whole_batch_in_one_pass():
  config = dataclasses.replace(CONFIG, torso='deep', unrolls_per_pass=0)
  assert builders.unrolls_per_pass(config) == 1
  custom = dataclasses.replace(config, agent='mine:make_agent')
  assert builders.unrolls_per_pass(custom) is None


def test_the_agent_computes_in_the_configured_precision():
  env = catch.Catch(4, 0)
  row = trajectory.first_row(env.reset())

  def log_prob(precision):
    config = running.config_for(precision=precision)
    agent = builders.make_agent(config, env)
    params = agent.init(jax.random.key(0))
    return agent.step(params, jax.random.key(1), row, agent.initial_state(4))[
      0
    ].log_prob

  full, half = log_prob('f32'), log_prob('bf16')
  np.testing.assert_allclose(full, half, atol=0.03)
  assert np.any(full != half)


def test_the_learning_rate_falls_to_zero_over_num_frames():
  schedule = builders.make_schedule(CONFIG)
  assert [schedule(n) for n in (0, 500, 1000)] == [0.5, 0.25, 0.0]


def test_a_bug_in_an_env_is_not_a_config_error(monkeypatch):
  def broken(*args, **settings):
    raise ValueError('a bug')

  monkeypatch.setattr(builders.registry, 'make', broken)
  with pytest.raises(ValueError, match='a bug') as info:
    builders.make_envs(running.config_for())
  assert not isinstance(info.value, config_lib.ConfigError)


def test_actors_that_failed_to_start_are_not_joined(monkeypatch):
  def no_threads(self):
    raise RuntimeError("can't start new thread")

  agent = counting.make_counting_agent()
  envs = [counting.CountingEnv(i) for i in range(2)]
  setup = running.make_setup(envs, agent)
  monkeypatch.setattr(threading.Thread, 'start', no_threads)
  with (
    pytest.raises(RuntimeError, match="can't start new thread"),
    running.acting(setup),
  ):
    pass


@pytest.mark.parametrize('num_updates', (0, 1, 2, 5, 6, 7))
@pytest.mark.parametrize('lag', (0, 2))
def test_with_a_lag_every_rollout_uses_the_parameters_of_its_batch(
  lag, num_updates
):
  # The actors of each batch (3 actors, 2 rollouts): 0 1 | 2 0 | 1 2 | ...
  config = running.config_for(
    num_actors=3, envs_per_actor=2, batch_size=4, lag=lag
  )
  store = parameter_store.ParameterStore(older=100)
  for version in range(100):
    store.publish(version, None)
  order = itertools.islice(itertools.cycle(range(3)), 2 * num_updates, None)
  getters = [
    rollout_order.make_get_params(config, store, actor_id, num_updates)
    for actor_id in range(3)
  ]
  for batch in range(num_updates, num_updates + 9):
    versions = {getters[next(order)]()[0] for _ in range(2)}
    assert versions == {max(0, batch - lag)}


def test_without_a_lag_actors_use_the_newest_parameters():
  store = parameter_store.ParameterStore()
  config = running.config_for(lag=-1)
  get_params = rollout_order.make_get_params(config, store, 0, 0)
  for version in (0, 3, 7):
    store.publish(version, None)
    assert get_params() == (version, None)


@pytest.mark.parametrize(
  'num_updates,expected', ((0, 0), (1, 2), (2, 1), (3, 0))
)
def test_a_resumed_queue_continues_with_the_next_actor(num_updates, expected):
  config = running.config_for(num_actors=3, envs_per_actor=2, batch_size=4)
  queue = builders.make_queue(config, num_updates)
  for actor_id in range(3):
    queue.put(actor_id, actor_id)
  assert queue.get() == expected


def test_the_envs_of_a_resumed_run_have_new_seeds():
  config = running.config_for(
    num_actors=3, envs_per_actor=8, batch_size=8, seed=5
  )

  def starts(num_updates):
    envs = builders.make_envs(config, num_updates)
    return [env.reset().observation for env in envs]

  new, same, resumed = starts(0), starts(0), starts(2)
  for a, b in zip(new, same):
    np.testing.assert_array_equal(a, b)
  # Actors 0 and 1 made the first two batches; actor 2 has not stepped yet.
  assert np.any(new[0] != resumed[0]) and np.any(new[1] != resumed[1])
  np.testing.assert_array_equal(new[2], resumed[2])


def test_the_store_holds_the_parameters_of_the_next_batches():
  setup = running.make_setup([catch.Catch(2, 0)], lag=2)
  counters = setup.run.statistics._replace(num_updates=7)
  run = setup.run._replace(statistics=counters, older_params=(5.0, 6.0))
  store = builders.make_store(setup.config, run, setup.devices)
  assert [version for version, _ in store.versions] == [5, 6, 7]
  assert [params for _, params in store.versions[:2]] == [5.0, 6.0]


@pytest.mark.parametrize('num_actors,expected', ((1, 8), (3, 2), (9, 1)))
def test_actors_share_the_cpu_cores(monkeypatch, num_actors, expected):
  calls = []
  monkeypatch.setattr(hardware, 'num_cores', lambda: 8)
  monkeypatch.setattr(
    builders.registry, 'make', lambda *args, **kwargs: calls.append(kwargs)
  )
  config = running.config_for(num_actors=num_actors)
  builders.make_envs(config, stack_num=4)
  given = [(call['num_threads'], call['stack_num']) for call in calls]
  assert given == [(expected, 4)] * num_actors


def test_environments_of_other_actors_are_closed_if_one_cannot_be_made(
  monkeypatch,
):
  closed = []

  class Closing:
    def __init__(self, number):
      self.close = lambda: closed.append(number)

  def make(*args, **settings):
    if len(made) == 2:
      raise registry.UnknownEnvironmentError('no third one')
    made.append(Closing(len(made)))
    return made[-1]

  made = []
  monkeypatch.setattr(registry, 'make', make)
  with pytest.raises(config_lib.ConfigError, match='no third one'):
    builders.make_envs(running.config_for(num_actors=3))
  assert sorted(closed) == [0, 1]


@pytest.mark.parametrize('text', ('{"a": }', '[1]', '3', 'depth=2'))
def test_env_kwargs_that_are_no_json_object_raise_config_error(text):
  with pytest.raises(config_lib.ConfigError, match='--env_kwargs=.*JSON'):
    builders.make_envs(running.config_for(env_kwargs=text))


def test_env_kwargs_processes_and_the_deadline_reach_the_environments(
  monkeypatch,
):
  given = []
  monkeypatch.setattr(
    registry, 'make', lambda *_, **given_: given.append(given_)
  )
  config = running.config_for(
    num_actors=1,
    env_kwargs='{"depth": [1, null]}',
    env_processes=True,
    timeout_seconds=77.0,
  )
  builders.make_envs(config, records=True)
  (settings,) = given
  assert settings['env_kwargs'] == {'depth': [1, None]}
  assert settings['env_processes'] is settings['records'] is True
  assert settings['timeout_seconds'] == 77.0
