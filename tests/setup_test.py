"""Tests of the setup of a run: new, resumed, and closed after errors."""

import jax
import numpy as np
import pytest

from agents import learner
from envs import catch
from experiments import config as config_lib
from experiments.training import builders
from experiments.training import run_state
from experiments.training import setup as setup_lib
from experiments.training.checkpoints import checkpoint
from tests import running


class ClosingCatch(catch.Catch):
  """A Catch environment that counts calls of `close`."""

  closed = 0

  def close(self):
    self.closed += 1


def make_envs(number=2):
  return [ClosingCatch(2, seed) for seed in range(number)]


def params_of(setup):
  return jax.device_get(learner.local_params(setup.run.train_state))


def test_the_seed_determines_parameters_and_actor_keys():
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


class FaultyCatch(ClosingCatch):
  """A Catch environment whose `close` raises."""

  def close(self):
    super().close()
    raise OSError('faulty close')


def test_closing_continues_after_one_environment_raises():
  envs = [ClosingCatch(2, 0), FaultyCatch(2, 1), ClosingCatch(2, 2)]
  running.make_setup(envs).close()
  assert [env.closed for env in envs] == [1, 1, 1]


def test_the_end_of_a_run_closes_all_environments_though_one_raises():
  envs = [FaultyCatch(2, 0), ClosingCatch(2, 1)]
  setup = running.make_setup(envs)
  with running.acting(setup):
    pass
  assert [env.closed for env in envs] == [1, 1]


def test_a_close_that_raises_does_not_hide_the_first_error():
  setup = running.make_setup([FaultyCatch(2, 0)])
  with pytest.raises(KeyError, match='first'), running.acting(setup):
    raise KeyError('first')


# A checkpoint that lacks all other entries.
INCOMPLETE = {'statistics/num_updates': np.array(5)}


@pytest.mark.parametrize(
  'settings,saved,error',
  (
    (dict(torso='deep'), None, config_lib.ConfigError),
    (dict(), INCOMPLETE, checkpoint.CheckpointError),
  ),
)
def test_a_failed_setup_closes_only_the_environments_it_made(
  settings, saved, error, monkeypatch
):
  envs = make_envs()
  config = running.config_for(num_actors=2, **settings)
  with pytest.raises(error):  # The given environments stay open.
    setup_lib.make_setup(config, saved, envs=envs)
  assert [env.closed for env in envs] == [0, 0]
  monkeypatch.setattr(builders, 'make_envs', lambda *_, **settings: envs)
  with pytest.raises(error):
    setup_lib.make_setup(config, saved)
  assert [env.closed for env in envs] == [1, 1]


def test_shapes_only_returns_the_shapes_of_a_real_state():
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
def test_an_invalid_value_is_rejected_before_envs_are_made(
  settings, monkeypatch
):
  monkeypatch.setattr(
    builders, 'make_envs', lambda *_, **settings: pytest.fail('made')
  )
  (name,) = settings
  with pytest.raises(config_lib.ConfigError, match=f'--{name}='):
    setup_lib.make_setup(running.config_for(**settings))


def test_a_run_uses_the_given_devices():
  devices = jax.local_devices()[2:4]
  config = running.config_for(num_actors=1)
  setup = setup_lib.make_setup(config, envs=make_envs(1), devices=devices)
  assert setup.devices == devices
  for leaf in jax.tree.leaves(setup.run.train_state):
    assert leaf.devices() == set(devices)


def test_a_resumed_setup_equals_the_saved_one():
  config = running.config_for(
    num_actors=2, replay_fraction=0.5, batch_size=4, lag=1, seed=7
  )
  new = setup_lib.make_setup(config)
  counted = new.run.statistics._replace(num_updates=3, num_frames=100)
  older = (jax.tree.map(lambda x: x + 1, params_of(new)),)
  run = new.run._replace(statistics=counted, older_params=older)
  rollout = builders.zero_trajectory(config, new.agent, new.envs[0])
  buffer = builders.make_replay_buffer(config, (rollout, rollout), 3)
  flat = checkpoint.flatten(run_state.pack(run, buffer)())
  resumed = setup_lib.make_setup(config, flat)
  assert resumed.run.num_updates == 3 and resumed.run.num_frames == 100
  for leaf in jax.tree.leaves(resumed.run.train_state):
    assert leaf.devices() == set(jax.local_devices())
  again = checkpoint.flatten(
    run_state.pack(resumed.run, resumed.replay_buffer)()
  )
  assert flat.keys() == again.keys()
  # These names never change: runs resume from older checkpoints.
  assert flat['memory/rows/timestep/reward'].shape == (2, 5, 2)
  assert {'statistics/num_updates', 'actors/1/key'} <= flat.keys()
  for name, x in flat.items():
    np.testing.assert_array_equal(x, again[name], err_msg=name)
  empty = {k: x for k, x in flat.items() if not k.startswith('memory/')}
  with pytest.raises(checkpoint.CheckpointError, match='replay buffer'):
    setup_lib.make_setup(config, empty)
  new.close()
  resumed.close()
