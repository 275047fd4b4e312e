"""A run's setup: new, resumed, and closed whatever happens."""

import jax
import numpy as np
import pytest

from agents import learner
from envs import catch
from experiments import config as config_lib
from experiments.training import builders
from experiments.training import checkpoint
from experiments.training import run_state
from experiments.training import setup as setup_lib
from tests import running


class ClosingCatch(catch.Catch):
  """Counts how often it was closed."""

  closed = 0

  def close(self):
    self.closed += 1


def make_envs(number=2):
  return [ClosingCatch(2, seed) for seed in range(number)]


def params_of(setup):
  return jax.device_get(learner.local_params(setup.run.train_state))


def test_the_seed_decides_parameters_and_actors_keys():
  one, same, other = (
    running.make_setup(make_envs(), seed=seed) for seed in (3, 3, 4)
  )
  jax.tree.map(np.testing.assert_array_equal, params_of(one), params_of(same))
  keys = [
    [jax.random.key_data(a.key) for a in s.run.actors] for s in (one, other)
  ]
  assert len({tuple(map(int, key)) for its in keys for key in its}) == 4
  leaves = zip(
    jax.tree.leaves(params_of(one)),
    jax.tree.leaves(params_of(other)),
    strict=True,
  )
  assert any(np.any(a != b) for a, b in leaves)


def test_closing_closes_every_environment():
  envs = make_envs(3)
  running.make_setup(envs).close()
  assert [env.closed for env in envs] == [1, 1, 1]


def test_a_setup_that_cannot_be_made_closes_its_environments():
  envs = make_envs()
  with pytest.raises(config_lib.ConfigError, match='needs one image'):
    running.make_setup(envs, torso='deep')
  assert [env.closed for env in envs] == [1, 1]
  saved = {'statistics/num_updates': np.array(5)}  # And nothing else.
  config = running.config_for(num_actors=2)
  with pytest.raises(checkpoint.CheckpointError):
    setup_lib.make_setup(config, saved, envs=envs)
  assert [env.closed for env in envs] == [2, 2]


@pytest.mark.parametrize(
  'settings', (dict(torso='wide'), dict(precision='f8'), dict(discount=2.0))
)
def test_a_value_that_no_field_has_is_rejected_before_anything_is_made(
  settings, monkeypatch
):
  monkeypatch.setattr(builders, 'make_envs', lambda *_: pytest.fail('made'))
  (name,) = settings
  with pytest.raises(config_lib.ConfigError, match=f'--{name}='):
    setup_lib.make_setup(running.config_for(**settings))


def test_a_run_is_on_the_devices_it_was_given():
  devices = jax.local_devices()[2:4]
  config = running.config_for(num_actors=1)
  setup = setup_lib.make_setup(config, envs=make_envs(1), devices=devices)
  assert setup.devices == devices
  for leaf in jax.tree.leaves(setup.run.train_state):
    assert leaf.devices() == set(devices)


def test_a_saved_setup_is_the_same_once_more():
  config = running.config_for(
    num_actors=2, replay_fraction=0.5, batch_size=4, lag=1, seed=7
  )
  new = setup_lib.make_setup(config)
  counted = new.run.statistics._replace(num_updates=3, num_frames=100)
  older = (jax.tree.map(lambda x: x + 1, params_of(new)),)
  run = new.run._replace(statistics=counted, older_params=older)
  rollout = builders.zero_trajectory(config, new.agent, new.envs[0])
  buffer = builders.make_replay_buffer(config, (rollout, rollout), 3)
  flat = checkpoint.flatten(run_state.pack(run, buffer))
  resumed = setup_lib.make_setup(config, flat)
  assert resumed.run.num_updates == 3 and resumed.run.num_frames == 100
  again = checkpoint.flatten(run_state.pack(resumed.run, resumed.replay_buffer))
  assert flat.keys() == again.keys()
  for name, x in flat.items():
    np.testing.assert_array_equal(x, again[name], err_msg=name)
  new.close()
  resumed.close()
