"""The parts of a run are made from the numbers of its configuration."""

import dataclasses
import inspect
import itertools
import math
import threading

import jax
import numpy as np
import pytest

from agents import agent as agent_lib
from agents import learner
from agents import optimizer as optimizer_lib
from agents import parameter_store
from agents import trajectory_queue
from envs import catch
from experiments import config as config_lib
from experiments.records import hardware
from experiments.training import builders
from experiments.training import rollout_order
from tests import counting
from tests import running
import vtrace


def test_every_actor_has_envs_of_its_own():
  config = running.config_for(num_actors=3, envs_per_actor=4)
  starts = [w.reset().observation for w in builders.make_envs(config)]
  for a, b in itertools.combinations(starts, 2):
    assert np.any(a != b)


def test_every_actor_has_a_key_of_its_own():
  # Environments and parameters are equal: only keys can make actions differ.
  envs = [catch.Catch(4, seed=0) for _ in range(2)]
  settings = dict(envs_per_actor=4, batch_size=4, unroll_length=9)
  with running.acting(running.make_setup(envs, **settings)) as queue:
    a, b = (queue.get().trajectory.rows.action for _ in range(2))
  assert np.any(a != b)


def called_with(function, monkeypatch, module, name):
  """The arguments by name that `module.name` gets from `function()`."""
  signature = inspect.signature(getattr(module, name))
  calls = []

  def spy(*args, **kwargs):
    calls.append(signature.bind(*args, **kwargs).arguments)

  monkeypatch.setattr(module, name, spy)
  function()
  return calls[0]


# All different, so that no two can be exchanged unseen.
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


def test_the_loss_has_the_runs_costs_and_thresholds():
  loss = builders.make_loss(CONFIG)
  assert loss.func is vtrace.impala_loss
  names = (
    'baseline_cost',
    'entropy_cost',
    'clip_rho_threshold',
    'clip_c_threshold',
    'clip_pg_rho_threshold',
    'lambda_',
  )
  expected = {name: getattr(CONFIG, name) for name in names}
  assert loss.keywords == expected | dict(
    correction=vtrace.corrections.CORRECTIONS['one_step']
  )


@pytest.mark.parametrize('name', vtrace.corrections.CORRECTIONS)
def test_the_correction_is_the_named(name):
  loss = builders.make_loss(dataclasses.replace(CONFIG, correction=name))
  row = vtrace.corrections.CORRECTIONS[name]
  assert loss.keywords['correction'] is row


@pytest.mark.parametrize('name', [n for n in dir(CONFIG) if 'threshold' in n])
def test_an_infinite_threshold_is_none(name):
  config = dataclasses.replace(CONFIG, **{name: math.inf})
  assert builders.make_loss(config).keywords[name] is None


def test_the_update_has_the_runs_numbers(monkeypatch):
  made = called_with(
    lambda: builders.make_update(CONFIG, 'agent', 'optimizer'),
    monkeypatch,
    learner,
    'make_update',
  )
  assert made['agent'] == 'agent' and made['optimizer'] == 'optimizer'
  assert made['discount'] == 0.91 and made['unrolls_per_pass'] == 4
  assert made['clip_rewards'](np.float32(-3.0)) == -1.0


@pytest.mark.parametrize(
  'name,clipped',
  (
    ('abs_one', 1.0),
    ('none', 3.0),
    ('soft_asymmetric', 5 * math.tanh(3 / 5)),
    ('soft_asymmetric_paper', 5 * math.tanh(3)),
  ),
)
def test_rewards_are_clipped_as_named(name, clipped, monkeypatch):
  config = dataclasses.replace(CONFIG, reward_clipping=name)
  made = called_with(
    lambda: builders.make_update(config, None, None),
    monkeypatch,
    learner,
    'make_update',
  )
  np.testing.assert_allclose(
    made['clip_rewards'](np.float32(3.0)), clipped, rtol=1e-5
  )


@pytest.mark.parametrize('norm,expected', ((10.0, 10.0), (math.inf, None)))
def test_the_optimizer_has_the_runs_numbers(norm, expected, monkeypatch):
  config = dataclasses.replace(CONFIG, max_grad_norm=norm)
  made = called_with(
    lambda: builders.make_optimizer(config),
    monkeypatch,
    optimizer_lib,
    'rmsprop',
  )
  assert made == dict(decay=0.8, epsilon=0.09, max_grad_norm=expected)


def test_the_queue_has_the_runs_numbers(monkeypatch):
  made = called_with(
    lambda: builders.make_queue(CONFIG),
    monkeypatch,
    trajectory_queue,
    'TrajectoryQueue',
  )
  assert made == dict(num_actors=3, capacity=5, timeout_seconds=77.0, turn=0)


def test_the_agent_has_the_runs_network(monkeypatch):
  made = called_with(
    lambda: builders.make_agent(CONFIG, catch.Catch(1, 0)),
    monkeypatch,
    agent_lib,
    'make_agent',
  )
  assert made['torso'] == 'shallow' and made['use_lstm'] is True
  assert made['action_spec'].num_values == 3


def test_the_schedule_falls_over_the_runs_frames():
  schedule = builders.make_schedule(CONFIG)
  assert [schedule(n) for n in (0, 500, 1000)] == [0.5, 0.25, 0.0]


def test_a_bug_in_an_env_is_no_refusal(monkeypatch):
  def broken(*args, **settings):
    raise ValueError('a bug')

  monkeypatch.setattr(builders.registry, 'make', broken)
  with pytest.raises(ValueError, match='a bug') as info:
    builders.make_envs(running.config_for())
  assert not isinstance(info.value, config_lib.ConfigError)


def test_actors_that_never_started_are_not_waited_for(monkeypatch):
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
def test_under_a_lag_every_rollout_has_its_batchs_parameters(lag, num_updates):
  # 3 actors and 2 rollouts a batch: 0 1 | 2 0 | 1 2 | 0 1 | ...
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


def test_without_a_lag_the_newest_parameters_act():
  store = parameter_store.ParameterStore()
  config = running.config_for(lag=-1)
  get_params = rollout_order.make_get_params(config, store, 0, 0)
  for version in (0, 3, 7):
    store.publish(version, None)
    assert get_params() == (version, None)


@pytest.mark.parametrize('num_updates,turn', ((0, 0), (1, 2), (2, 1), (3, 0)))
def test_the_queue_goes_on_with_the_actor_whose_turn_it_is(num_updates, turn):
  config = running.config_for(num_actors=3, envs_per_actor=2, batch_size=4)
  queue = builders.make_queue(config, num_updates)
  for actor_id in range(3):
    queue.put(actor_id, actor_id)
  assert queue.get() == turn


def test_envs_that_begin_anew_do_not_repeat_themselves():
  config = running.config_for(
    num_actors=3, envs_per_actor=8, batch_size=8, seed=5
  )

  def starts(num_updates):
    envs = builders.make_envs(config, num_updates)
    return [env.reset().observation for env in envs]

  new, same, resumed = starts(0), starts(0), starts(2)
  for a, b in zip(new, same):
    np.testing.assert_array_equal(a, b)
  # In two batches of one rollout actors 0 and 1 have stepped, actor 2 not yet.
  assert np.any(new[0] != resumed[0]) and np.any(new[1] != resumed[1])
  np.testing.assert_array_equal(new[2], resumed[2])


def test_the_store_holds_what_the_next_batches_act_on():
  setup = running.make_setup([catch.Catch(2, 0)], lag=2)
  counters = setup.run.statistics._replace(num_updates=7)
  run = setup.run._replace(statistics=counters, older_params=(5.0, 6.0))
  store = builders.make_store(setup.config, run, setup.devices)
  assert [version for version, _ in store.versions] == [5, 6, 7]
  assert [params for _, params in store.versions[:2]] == [5.0, 6.0]


@pytest.mark.parametrize('num_actors,expected', ((1, 8), (3, 2), (9, 1)))
def test_the_actors_envs_share_the_cores(monkeypatch, num_actors, expected):
  asked = []
  monkeypatch.setattr(hardware, 'num_cores', lambda: 8)
  monkeypatch.setattr(
    builders.registry, 'make', lambda *args, **kwargs: asked.append(kwargs)
  )
  config = running.config_for(num_actors=num_actors)
  builders.make_envs(config, stack_num=4)
  assert asked == [{'num_threads': expected, 'stack_num': 4}] * num_actors


def test_the_agent_is_of_its_env_and_its_precision(monkeypatch):
  env = catch.Catch(1, 0)
  env.num_stacked = 3

  def make(precision, **settings):
    config = running.config_for(precision=precision, torso='deep')
    with monkeypatch.context() as patch:
      return called_with(
        lambda: builders.make_agent(config, env, **settings),
        patch,
        agent_lib,
        'make_agent',
      )

  made = make('f32')
  assert made['num_stacked'] == 3 and made['torso'] == 'deep'
  assert made['compute_dtype'] == np.float32
  made = make('bf16', torso='mlp', num_stacked=1)
  assert made['num_stacked'] == 1 and made['torso'] == 'mlp'
  assert made['compute_dtype'] == jax.numpy.bfloat16
