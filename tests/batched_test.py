"""Environments of one's own: seeds, ends, actions, sentences."""

import dm_env
import numpy as np
import pytest

from envs import batched
from envs import registry
from experiments import train
from tests import running

FIRST, MID, LAST = 0, 1, 2


def play(name, actions, num_envs=2, seed=0):
  env = registry.make(name, num_envs, seed)
  return [env.reset(), *(env.step(np.full(num_envs, a)) for a in actions)]


def test_actions_are_counted_from_the_least():
  env = registry.make('tests.own_envs:Walk', 2, 0)
  assert env.action_spec() == dm_env.specs.DiscreteArray(3)
  start = env.reset().observation['place'][:, 0]
  for action, moved in ((2, 1), (0, 0), (1, 0)):
    place = env.step(np.array([action, 1])).observation['place'][:, 0]
    np.testing.assert_array_equal(place - start, [moved, 0])
  assert registry.make('tests.own_envs:Dice', 1, 0).action_spec() == (
    dm_env.specs.DiscreteArray(6)
  )


def test_where_it_ends_and_where_it_is_cut_off():
  steps = play('tests.own_envs:Walk', [1] * 9)
  assert [s.step_type[0] for s in steps] == [0, 1, 1, 1, 1, 1, 1, 2, 0, 1]
  assert steps[7].discount[0] == 1 and steps[7].reward[0] == -0.5
  assert steps[8].reward[0] == 0 and steps[8].discount[0] == 1
  steps = play('tests.own_envs:Walk', [2] * 4)
  (ended,) = [s for s in steps if s.step_type[0] == LAST][:1]
  assert ended.discount[0] == 0 and ended.reward[0] == 1


def test_termination_on_the_step_of_the_cut_is_a_termination():
  seen = set()
  for step in play('tests.own_envs:Dice', [5] * 500):
    for i in np.flatnonzero(step.step_type == LAST):
      assert (step.discount[i] == 0) == (step.observation[i] == 6)
      seen.add(float(step.discount[i]))
  assert seen == {0.0, 1.0}


@pytest.mark.parametrize('name', ('Walk', 'Dice', 'cart_pole'))
def test_every_copy_has_a_seed_of_its_own(name):
  def observations(num_envs, seed):
    steps = play(f'tests.own_envs:{name}', [1] * 30, num_envs, seed)
    seen = [s.observation for s in steps]
    return np.stack([x['place'] if isinstance(x, dict) else x for x in seen])

  one, same = observations(3, 5), observations(3, 5)
  np.testing.assert_array_equal(one, same)
  assert np.any(one[:, 0] != one[:, 1])
  np.testing.assert_array_equal(one[:, 1], observations(1, 6)[:, 0])


def test_a_picture_is_drawn_if_one_is_wanted():
  env = registry.make('tests.own_envs:Dice', 2, 0, renders=True)
  env.reset()
  shown = env.step(np.array([0, 0])).observation
  assert (env.render(1) == shown[1]).all()
  plain = registry.make('tests.own_envs:Dice', 1, 0)
  plain.reset()
  with pytest.raises(batched.FactoryError, match='renders no image'):
    plain.render(0)


@pytest.mark.parametrize(
  'name,sentence',
  (
    ('tests.own_envs:Wlak', "no function or class 'Wlak'"),
    ('tests.own_envs:not_callable', 'no function or class'),
    ('tests.no_envs:Walk', "No module named 'tests.no_envs'"),
    ('tests.own_envs:neither', 'makes a object, which is neither'),
    (':Walk', 'not of the form module:factory'),
    ('./own_envs:Walk', 'not of the form module:factory'),
    ('gymnasium:make', "missing a required argument: 'id'"),
    ('tests.own_envs:Nested', 'must be an array or a dict'),
  ),
)
def test_what_cannot_be_made_is_refused(name, sentence):
  with pytest.raises(batched.FactoryError, match=sentence):
    registry.make(name, 1, 0)
  assert batched.FactoryError in registry.REFUSALS


def test_a_reward_may_be_an_array_of_one():
  env = registry.make('tests.own_envs:Wild', 3, 0)
  env.reset()
  reward = env.step(np.zeros([3, 2], np.float32)).reward
  np.testing.assert_array_equal(reward, [0.5] * 3)


def test_settings_are_refused():
  with pytest.raises(registry.UnsupportedSettingError, match='no stack_num'):
    registry.make('tests.own_envs:Walk', 1, 0, stack_num=4)


def test_it_is_trained_on(tmp_path, monkeypatch):
  running.see_one_device(monkeypatch)
  monkeypatch.chdir(tmp_path)
  config = running.config_for(
    env='tests.own_envs:Walk', num_frames=500, torso='mlp'
  )
  assert train.train(config).num_episodes > 20
  (logdir,) = (tmp_path / 'runs').iterdir()
  assert logdir.name.startswith('tests.own_envs-Walk-seed0')
