"""Small training setups for tests, complete from actors to learner."""

import contextlib

import jax

from experiments import config as config_lib
from experiments.training import builders
from experiments.training import pipeline
from experiments.training import setup as setup_lib

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


def one_actor_config(**settings):
  """Returns a config of one actor with lag 0, whose rollout is a batch."""
  one = dict(num_actors=1, envs_per_actor=8, batch_size=8, lag=0)
  return config_for(**(one | settings))


def see_one_device(monkeypatch):
  """Makes jax report only the first of the local devices."""
  devices = jax.local_devices()[:1]
  monkeypatch.setattr(jax, 'local_devices', lambda: devices)
  monkeypatch.setattr(jax, 'local_device_count', lambda: 1)


def make_setup(envs, agent=None, **settings):
  """Makes a setup on one device that never ends and has learning rate 0."""
  frozen = dict(num_frames=10**9, learning_rate=0.0)
  config = config_for(num_actors=len(envs), **(frozen | settings))
  devices = jax.local_devices()[:1]
  return setup_lib.make_setup(config, envs=envs, agent=agent, devices=devices)


@contextlib.contextmanager
def acting(setup):
  """Runs the actors of `setup` without a learner; yields their queue."""
  queue = builders.make_queue(setup.config)
  store = builders.make_store(setup.config, setup.run, setup.devices)
  with pipeline.acting(setup, queue, store):
    yield queue
