"""Trains IMPALA: environments, actors, queue, learner, parameters, actors.

  python -m experiments.train --preset=catch
  python -m experiments.train --preset=atari --env=Breakout-v5 --logdir=runs/b
"""

import contextlib
import functools
import math
import sys
import threading
from typing import Any, Iterator

import jax
import numpy as np
import optax

from agents import actor
from agents import agent as agent_lib
from agents import batcher
from agents import learner
from agents import optimizer as optimizer_lib
from agents import parameter_store
from agents import trajectory_queue
from envs import environment
from envs import registry
from experiments import config as config_lib
from experiments import launch
from experiments import loggers
from experiments import plot
from experiments import statistics
import vtrace

_REWARD_CLIPPINGS = {
    'abs_one': vtrace.abs_one,
    'soft_asymmetric': vtrace.soft_asymmetric,
    'soft_asymmetric_paper': vtrace.soft_asymmetric_paper,
    'none': lambda rewards: rewards,
}


def train(config: config_lib.Config) -> statistics.Summary:
  """Runs a whole training, recorded in its log directory.

  Raises:
    ConfigError: if the configuration cannot be, before anything is written.
  """
  devices = jax.local_devices()
  config_lib.check(config, len(devices))
  worlds = make_worlds(config)
  agent = make_agent(config, worlds[0])
  optimizer = make_optimizer(config)
  update = learner.parallelize(make_update(config, agent, optimizer), devices)
  logdir = launch.make_logdir(config)

  init_key, actors_key = jax.random.split(jax.random.key(config.seed))
  params = jax.jit(agent.init)(init_key)
  train_state = learner.replicate(
      learner.TrainState(params, optimizer.init(params)), devices)
  queue = trajectory_queue.TrajectoryQueue(
      config.num_actors, config.queue_capacity, config.timeout_seconds)
  store = parameter_store.ParameterStore()
  store.publish(0, learner.local_params(train_state))
  batches = batcher.prefetch(
      batcher.batches(queue.get, config.batch_size // config.envs_per_actor,
                      len(devices)),
      learner.make_place(devices))

  with contextlib.ExitStack() as stack:
    logger = stack.enter_context(
        contextlib.closing(loggers.RunLogger(config, logdir)))
    stack.enter_context(contextlib.closing(batches))
    stack.enter_context(
        acting(config, agent, worlds, actors_key, queue, store))
    for progress in learner.learn(
        train_state, batches, update, store.publish,
        learning_rate=functools.partial(
            optimizer_lib.linear_decay, config.learning_rate,
            total_frames=config.num_frames),
        frames_per_step=worlds[0].frames_per_step,
        total_frames=config.num_frames):
      logger.log(progress)
  plot.learning_curve(logdir / 'metrics.csv', logdir / 'learning_curve.png')
  report(config, logger.summary, logdir)
  return logger.summary


def make_worlds(config: config_lib.Config) -> list[environment.Environment]:
  """Each actor's batch of environments, differently seeded."""
  seeds = np.random.SeedSequence(config.seed).generate_state(config.num_actors)
  try:
    return [registry.make(config.env, config.envs_per_actor, int(seed) % 2**30)
            for seed in seeds]
  except (registry.UnknownEnvironmentError, ImportError) as error:
    raise config_lib.ConfigError(str(error)) from error


def make_agent(
    config: config_lib.Config, world: environment.Environment,
) -> agent_lib.Agent:
  """The agent that fits this world."""
  try:
    return agent_lib.make_agent(
        world.observation_spec(), world.action_spec(),
        torso=config.torso, use_lstm=config.use_lstm)
  except ValueError as error:
    raise config_lib.ConfigError(str(error)) from error


def make_optimizer(config: config_lib.Config) -> optax.GradientTransformation:
  """TensorFlow 1's RMSProp with the run's values."""
  return optimizer_lib.rmsprop(
      decay=config.rmsprop_decay, epsilon=config.rmsprop_epsilon,
      max_grad_norm=_finite(config.max_grad_norm))


def make_update(
    config: config_lib.Config, agent: agent_lib.Agent,
    optimizer: optax.GradientTransformation,
) -> Any:
  """The learner's pure update with the run's values."""
  if config.reward_clipping not in _REWARD_CLIPPINGS:
    raise config_lib.ConfigError(
        f'Unknown --reward_clipping={config.reward_clipping}.'
        + config_lib.did_you_mean(config.reward_clipping, _REWARD_CLIPPINGS))
  return learner.make_update(
      agent, optimizer,
      discount=config.discount,
      clip_rewards=_REWARD_CLIPPINGS[config.reward_clipping],
      unrolls_per_pass=config.unrolls_per_pass or None,
      baseline_cost=config.baseline_cost,
      entropy_cost=config.entropy_cost,
      clip_rho_threshold=_finite(config.clip_rho_threshold),
      clip_c_threshold=_finite(config.clip_c_threshold),
      clip_pg_rho_threshold=_finite(config.clip_pg_rho_threshold),
      lambda_=config.lambda_)


@contextlib.contextmanager
def acting(
    config: config_lib.Config,
    agent: agent_lib.Agent,
    worlds: list[environment.Environment],
    key: jax.Array,
    queue: trajectory_queue.TrajectoryQueue,
    store: parameter_store.ParameterStore,
) -> Iterator[None]:
  """Runs an actor thread for each world; on leaving, closes and joins them."""
  act = actor.make_act(agent)
  threads = []
  for actor_id, world in enumerate(worlds):
    make_unrolls = functools.partial(
        actor.unrolls, world, act, store.get,
        core_state=agent.initial_state(config.envs_per_actor),
        key=jax.random.fold_in(key, actor_id),
        unroll_length=config.unroll_length,
        actor_id=actor_id)
    threads.append(threading.Thread(
        target=actor.run, name=f'actor-{actor_id}', daemon=True,
        args=(make_unrolls, functools.partial(queue.put, actor_id),
              functools.partial(queue.fail, actor_id))))
  try:
    for thread in threads:
      thread.start()
    yield
  finally:
    queue.close()
    for thread in threads:
      thread.join(config.timeout_seconds)
    for world in worlds:
      world.close()


def report(config: config_lib.Config, summary: statistics.Summary,
           logdir: Any) -> None:
  """Says how the run ended, and where its records are."""
  print(f'Trained on {summary.num_frames:,} frames of {config.env} in '
        f'{summary.seconds:.1f} s ({summary.num_updates:,} updates, '
        f'{summary.num_frames / summary.seconds:,.0f} frames/s).')
  print(f'Mean return over the last {config.return_window} episodes: '
        f'{summary.mean_return:.2f}')
  for name in ('config.json', 'metrics.csv', 'learning_curve.png'):
    print(f'  {logdir / name}')
  print(f'  tensorboard --logdir {logdir}')


def _finite(threshold: float) -> float | None:
  return None if math.isinf(threshold) else threshold


def main() -> None:
  """Trains as the flags say."""
  try:
    train(config_lib.from_flags())
  except KeyboardInterrupt:
    print('Interrupted: the records so far are kept.', file=sys.stderr)
    sys.exit(130)


if __name__ == '__main__':
  config_lib.define_flags()
  launch.run(main)
