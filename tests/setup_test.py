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


class StuckCatch(ClosingCatch):
  """Cannot be closed."""

  def close(self):
    super().close()
    raise OSError('stuck')


def test_closing_goes_on_though_one_environment_raises():
  envs = [ClosingCatch(2, 0), StuckCatch(2, 1), ClosingCatch(2, 2)]
  with pytest.raises(OSError, match='stuck'):
    running.make_setup(envs).close()
  assert [env.closed for env in envs] == [1, 1, 1]


def test_a_run_that_ends_closes_all_environments_though_one_raises():
  envs = [StuckCatch(2, 0), ClosingCatch(2, 1)]
  setup = running.make_setup(envs)
  with pytest.raises(OSError, match='stuck'), running.acting(setup):
    pass
  assert [env.closed for env in envs] == [1, 1]


# A checkpoint of this, and nothing else.
TORN = {'statistics/num_updates': np.array(5)}


@pytest.mark.parametrize(
  'settings,saved,error',
  (
    (dict(torso='deep'), None, config_lib.ConfigError),
    (dict(), TORN, checkpoint.CheckpointError),
  ),
)
def test_a_setup_that_cannot_be_made_closes_the_environments_it_made(
  settings, saved, error, monkeypatch
):
  envs = make_envs()
  config = running.config_for(num_actors=2, **settings)
  with pytest.raises(error):  # Those that it was given stay open.
    setup_lib.make_setup(config, saved, envs=envs)
  assert [env.closed for env in envs] == [0, 0]
  monkeypatch.setattr(builders, 'make_envs', lambda *_: envs)
  with pytest.raises(error):
    setup_lib.make_setup(config, saved)
  assert [env.closed for env in envs] == [1, 1]


def test_shapes_only_are_those_of_a_real_state():
  real, shapes = (
    setup_lib.make_setup(
      running.config_for(num_actors=2),
      envs=make_envs(),
      devices=jax.local_devices()[:1],
      shapes_only=shapes_only,
    )
    for shapes_only in (False, True)
  )
  assert all(
    isinstance(x, jax.ShapeDtypeStruct)
    for x in jax.tree.leaves(shapes.run.train_state)
  )
  jax.tree.map(
    lambda x, y: (x.shape, x.dtype) == (y.shape, y.dtype) or pytest.fail(),
    real.run.train_state,
    shapes.run.train_state,
  )


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
  for leaf in jax.tree.leaves(resumed.run.train_state):
    assert leaf.devices() == set(jax.local_devices())
  again = checkpoint.flatten(run_state.pack(resumed.run, resumed.replay_buffer))
  assert flat.keys() == again.keys()
  # The names of a checkpoint never change: older ones must be resumed.
  assert flat['memory/rows/timestep/reward'].shape == (2, 5, 2)
  assert {'statistics/num_updates', 'actors/1/key'} <= flat.keys()
  for name, x in flat.items():
    np.testing.assert_array_equal(x, again[name], err_msg=name)
  empty = {k: x for k, x in flat.items() if not k.startswith('memory/')}
  with pytest.raises(checkpoint.CheckpointError, match='no replay buffer'):
    setup_lib.make_setup(config, empty)
  new.close()
  resumed.close()
