"""The whole path from actors to learner, put together for a test."""

import contextlib
import functools

import jax
import optax

from agents import learner
from agents import parameter_store
from experiments import config as config_lib
from experiments.training import builders
from experiments.training import pipeline as pipeline_lib
from experiments.training import run_state
import vtrace

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
  """One actor in lock-step, whose rollout is a batch."""
  one = dict(num_actors=1, envs_per_actor=8, batch_size=8, lag=0)
  return config_for(**(one | settings))


def see_one_device(monkeypatch):
  """What asks for all local devices finds the first."""
  devices = jax.local_devices()[:1]
  monkeypatch.setattr(jax, 'local_devices', lambda: devices)
  monkeypatch.setattr(jax, 'local_device_count', lambda: 1)


@contextlib.contextmanager
def pipeline(worlds, agent, params, **settings):
  """Actors running on `worlds`; gives (queue, store)."""
  config = config_for(num_actors=len(worlds), **settings)
  queue = builders.make_queue(config)
  store = parameter_store.ParameterStore(max(config.lag, 0))
  store.publish(0, params)
  run = run_state.initial(config, None, jax.random.key(0))
  with pipeline_lib.acting(config, agent, worlds, run, queue, store):
    yield queue, store


def learning(queue, store, agent, batch_size=2):
  """`learner.learn` on what the queue gives, as in a run, on one device."""
  devices = jax.devices()[:1]
  optimizer = optax.identity()
  update = learner.make_update(
    agent,
    optimizer,
    functools.partial(vtrace.impala_loss, baseline_cost=0.0, entropy_cost=0.0),
    discount=0.9,
    clip_rewards=lambda r: r,
  )
  return learner.learn(
    learner.init(agent, optimizer, jax.random.key(0), devices),
    builders.make_batches(config_for(batch_size=batch_size), queue, devices),
    learner.parallelize(update, devices),
    store.publish,
    check=queue.raise_if_failed,
    learning_rate=lambda frames: 0.0,
    frames_per_step=1,
    total_frames=10**9,
  )
