"""Tests of `experiments.load`: a trained policy acts as the evaluator does."""

import collections
import contextlib
import dataclasses
import subprocess
import sys

import dm_env
import gymnasium
import jax
import numpy as np
import pytest

from agents import actor
from envs import registry
import experiments
from experiments import config as config_lib
from experiments.records import config_json
from experiments.training import builders
from experiments.training import evaluation
from experiments.training.checkpoints import checkpoint
from tests import running

FIRST, MID = dm_env.StepType.FIRST, dm_env.StepType.MID


def write_run(logdir, **settings):
  """Writes a run with the checkpoints of updates 2 and 5, not trained."""
  config = running.config_for(**settings)
  logdir.mkdir()
  config_json.write(config, logdir)
  with (
    contextlib.closing(registry.make(config.env, 1, 0)) as env,
    contextlib.closing(checkpoint.Writer(logdir / 'checkpoints')) as writer,
  ):
    agent = builders.make_agent(config, env)
    for step in (2, 5):
      # Large parameters: the actions then depend on everything.
      params = jax.tree.map(
        lambda x: 5 * x, jax.jit(agent.init)(jax.random.key(step))
      )
      tree = {
        'train_state': {'params': params},
        'statistics': {'num_frames': 100 * step},
      }
      writer.save(step, lambda tree=tree: tree)
  return logdir


@pytest.fixture(scope='module')
def lstm_run(tmp_path_factory):
  return write_run(
    tmp_path_factory.mktemp('lstm') / 'run', use_lstm=True, env='DelayedCatch'
  )


def evaluated(logdir, env, seed, greedy, num_steps, monkeypatch):
  """Returns the timesteps and actions `[B]` of an evaluation in `env`."""
  steps, step = [], actor.step

  def recording_step(env, act, params, key, row, core_state):
    outcome = step(env, act, params, key, row, core_state)
    steps.append((row.timestep, np.asarray(outcome[1].action)))
    return outcome

  with monkeypatch.context() as patch:
    patch.setattr(actor, 'step', recording_step)
    patch.setattr(evaluation, 'make_env', lambda *_: env)
    evaluation.evaluate(
      evaluation.Options(
        str(logdir), num_episodes=3 * env.num_envs, greedy=greedy, seed=seed
      )
    )
  assert len(steps) >= num_steps
  return jax.device_get(steps[:num_steps])


@pytest.mark.parametrize('greedy', (True, False))
def test_a_batch_acts_as_in_an_evaluation_with_the_same_seed(
  lstm_run, greedy, monkeypatch
):
  env = registry.make('DelayedCatch', 3, 7)
  steps = evaluated(lstm_run, env, 4, greedy, 50, monkeypatch)
  policy, state = experiments.load(lstm_run, greedy=greedy, seed=4), None
  for timestep, expected in steps:
    action, state = policy(timestep, state)
    np.testing.assert_array_equal(action, expected)
  assert sum(np.sum(t.step_type == FIRST) for t, _ in steps) >= 6
  assert len(np.unique([a for _, a in steps])) > 1


def test_single_environments_act_greedily_as_their_batch_does(
  lstm_run, monkeypatch
):
  env = registry.make('DelayedCatch', 3, 7)
  steps = evaluated(lstm_run, env, 1, True, 50, monkeypatch)
  policy = experiments.load(str(lstm_run), greedy=True)
  states = [None] * 3
  for timestep, expected in steps:
    for i in range(3):
      one = jax.tree.map(lambda x, i=i: x[i], timestep)
      one = one._replace(step_type=dm_env.StepType(int(one.step_type)))
      if one.first():  # As dm_env.restart gives it.
        one = one._replace(reward=None, discount=None)
      action, states[i] = policy(one, states[i])
      assert type(action) is int and action == expected[i]


def test_a_first_timestep_resets_the_core_state(lstm_run):
  policy = experiments.load(lstm_run, greedy=True)
  env = registry.make('DelayedCatch', 1, 0)
  timesteps = [env.reset(), *(env.step(np.array([i % 3])) for i in range(5))]
  _, fresh = policy(timesteps[0])
  state = None
  for timestep in timesteps:
    _, state = policy(timestep, state)
  _, used = policy(timesteps[0]._replace(reward=np.array([8.0])), state)
  _, other = policy(timesteps[0]._replace(step_type=np.array([MID])), state)
  for a, b, c in zip(
    *map(jax.tree.leaves, (s.core_state for s in (fresh, used, other))),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
    assert np.any(np.not_equal(a, c))


def test_states_are_not_changed_and_seeds_differ(lstm_run):
  env = registry.make('DelayedCatch', 64, 0)
  timestep = env.reset()._replace(observation=np.zeros_like(env.reset()[3]))
  policy = experiments.load(lstm_run, seed=2)
  _, state = policy(timestep)
  once, again = (policy(timestep, state)[0] for _ in range(2))
  np.testing.assert_array_equal(once, again)
  first, same, other = (
    experiments.load(lstm_run, seed=seed)(timestep)[0] for seed in (2, 2, 3)
  )
  np.testing.assert_array_equal(first, same)
  assert np.any(first != other)


def test_a_checkpoint_is_chosen_by_its_number_of_updates(lstm_run):
  newest = experiments.load(lstm_run)
  older = experiments.load(lstm_run, step=2)
  assert (older.num_updates, newest.num_updates) == (2, 5)
  assert newest.config.env == 'DelayedCatch' and newest.config.use_lstm
  a, b = (jax.tree.leaves(policy.params)[-1] for policy in (older, newest))
  assert np.any(np.not_equal(a, b))
  with pytest.raises(config_lib.ConfigError, match='3.*2, 5'):
    experiments.load(lstm_run, step=3)
  with pytest.raises(config_lib.ConfigError, match='holds no run'):
    experiments.load(lstm_run / 'checkpoints')


def test_a_policy_plays_a_gymnasium_environment(tmp_path):
  logdir = write_run(tmp_path / 'run', env='tests.own_envs:cart_pole')
  policy, env = experiments.load(logdir), gymnasium.make('CartPole-v1')
  observation, _ = env.reset(seed=0)
  timestep, state = dm_env.restart(observation), None
  for _ in range(3):
    action, state = policy(timestep, state)
    assert env.action_space.contains(action)
    observation, reward, *_ = env.step(action)
    timestep = dm_env.transition(reward, observation)


def test_dict_observations_are_converted_to_their_spec(tmp_path):
  logdir = write_run(tmp_path / 'run', env='tests.own_envs:Walk')
  policy, read = experiments.load(logdir), []

  def act(params, key, row, core_state):
    read.append(row.timestep.observation)
    return policy.act(params, key, row, core_state)

  for dtype in (np.float64, np.int8):
    place = collections.OrderedDict(place=np.array([1, 0], dtype))
    dataclasses.replace(policy, act=act)(dm_env.restart(place))
  for observation in read:
    assert type(observation) is dict
    assert observation['place'].dtype == np.float32
    np.testing.assert_array_equal(observation['place'], [[1, 0]])
  for wrong, message in (
    ({'place': np.zeros(3)}, r"'place'.*\[3\].*\[2\]"),
    ({'plaice': np.zeros(2)}, 'plaice.*declared are place'),
    ({'place': ['a', 'b']}, "'place'.*not numbers"),
  ):
    with pytest.raises(ValueError, match=message):
      policy(dm_env.restart(wrong))


def test_observations_that_would_lose_values_are_rejected(lstm_run):
  policy = experiments.load(lstm_run)
  declared = dm_env.specs.Array((3,), np.uint8)
  policy = dataclasses.replace(policy, observation_spec=declared)
  with pytest.raises(ValueError, match='0.5.*uint8'):  # Scaled by the user.
    policy(dm_env.restart(np.array([0.0, 0.5, 1.0])))


def test_a_state_of_another_number_of_environments_is_rejected(lstm_run):
  policy = experiments.load(lstm_run)
  _, state = policy(registry.make('DelayedCatch', 2, 0).reset())
  with pytest.raises(ValueError, match='2 environments, the timestep of 3'):
    policy(registry.make('DelayedCatch', 3, 0).reset(), state)


def test_a_home_directory_is_expanded(lstm_run, monkeypatch):
  monkeypatch.setenv('HOME', str(lstm_run.parent))
  assert experiments.load('~/run').num_updates == 5


def test_importing_experiments_does_not_import_jax():
  code = 'import sys, experiments; sys.exit("jax" in sys.modules)'
  assert callable(experiments.load)
  result = subprocess.run([sys.executable, '-c', code], check=False)
  assert result.returncode == 0


def test_the_specs_are_those_of_the_environment(lstm_run):
  policy = experiments.load(lstm_run)
  env = registry.make('DelayedCatch', 1, 0)
  assert policy.observation_spec == env.observation_spec()
  assert policy.action_spec == env.action_spec()
