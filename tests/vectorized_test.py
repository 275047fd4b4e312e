"""Tests of custom environments: seeds, episode ends, actions and errors."""

import dm_env
import numpy as np
import pytest

from envs import factories
from envs import registry
from experiments import train
from tests import running

FIRST, MID, LAST = 0, 1, 2


def play(name, actions, num_envs=2, seed=0):
  env = registry.make(name, num_envs, seed)
  return [env.reset(), *(env.step(np.full(num_envs, a)) for a in actions)]


def test_actions_are_counted_from_the_minimum():
  env = registry.make('tests.own_envs:Walk', 2, 0)
  assert env.action_spec() == dm_env.specs.DiscreteArray(3)
  start = env.reset().observation['place'][:, 0]
  for action, moved in ((2, 1), (0, 0), (1, 0)):
    place = env.step(np.array([action, 1])).observation['place'][:, 0]
    np.testing.assert_array_equal(place - start, [moved, 0])
  assert registry.make('tests.own_envs:Dice', 1, 0).action_spec() == (
    dm_env.specs.DiscreteArray(6)
  )


def test_termination_has_discount_0_and_truncation_discount_1():
  steps = play('tests.own_envs:Walk', [1] * 9)
  assert [s.step_type[0] for s in steps] == [0, 1, 1, 1, 1, 1, 1, 2, 0, 1]
  assert steps[7].discount[0] == 1 and steps[7].reward[0] == -0.5
  assert steps[8].reward[0] == 0 and steps[8].discount[0] == 1
  steps = play('tests.own_envs:Walk', [2] * 4)
  (ended,) = [s for s in steps if s.step_type[0] == LAST][:1]
  assert ended.discount[0] == 0 and ended.reward[0] == 1


def test_termination_takes_precedence_over_truncation():
  seen = set()
  for step in play('tests.own_envs:Dice', [5] * 500):
    for i in np.flatnonzero(step.step_type == LAST):
      assert (step.discount[i] == 0) == (step.observation[i] == 6)
      seen.add(float(step.discount[i]))
  assert seen == {0.0, 1.0}


@pytest.mark.parametrize('name', ('Walk', 'Dice', 'cart_pole'))
def test_every_copy_has_its_own_seed(name):
  def observations(num_envs, seed):
    steps = play(f'tests.own_envs:{name}', [1] * 30, num_envs, seed)
    seen = [s.observation for s in steps]
    return np.stack([x['place'] if isinstance(x, dict) else x for x in seen])

  one, same = observations(3, 5), observations(3, 5)
  np.testing.assert_array_equal(one, same)
  assert np.any(one[:, 0] != one[:, 1])
  np.testing.assert_array_equal(one[:, 1], observations(1, 6)[:, 0])


def test_rendering_works_only_if_requested():
  env = registry.make('tests.own_envs:Dice', 2, 0, renders=True)
  env.reset()
  shown = env.step(np.array([0, 0])).observation
  assert (env.render(1) == shown[1]).all()
  plain = registry.make('tests.own_envs:Dice', 1, 0)
  plain.reset()
  with pytest.raises(factories.FactoryError, match='render'):
    plain.render(0)


@pytest.mark.parametrize(
  'name,match',
  (
    ('tests.own_envs:Wlak', "function.*'Wlak'"),
    ('tests.own_envs:not_callable', 'function'),
    ('tests.no_envs:Walk', "No module.*'tests.no_envs'"),
    ('tests.own_envs:neither', 'Gymnasium'),
    (':Walk', 'module:factory'),
    ('./own_envs:Walk', 'module:factory'),
    ('gymnasium:make', "argument: 'id'"),
    ('tests.own_envs:Nested', 'dict'),
  ),
)
def test_unusable_factories_raise_factory_error(name, match):
  with pytest.raises(factories.FactoryError, match=match):
    registry.make(name, 1, 0)
  assert factories.FactoryError in registry.ERRORS


def test_a_reward_may_be_an_array_of_one_element():
  env = registry.make('tests.own_envs:Wild', 3, 0)
  env.reset()
  reward = env.step(np.zeros([3, 2], np.float32)).reward
  np.testing.assert_array_equal(reward, [0.5] * 3)


def test_settings_are_rejected():
  with pytest.raises(registry.UnsupportedSettingError, match='stack_num'):
    registry.make('tests.own_envs:Walk', 1, 0, stack_num=4)


@pytest.mark.slow
def test_training_runs_on_a_custom_env(tmp_path, monkeypatch):
  running.see_one_device(monkeypatch)
  monkeypatch.chdir(tmp_path)
  config = running.config_for(
    env='tests.own_envs:Walk', num_frames=500, torso='mlp'
  )
  assert train.train(config).num_episodes > 20
  (logdir,) = (tmp_path / 'runs').iterdir()
  assert logdir.name.startswith('tests.own_envs-Walk-seed0')
