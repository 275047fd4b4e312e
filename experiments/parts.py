"""The parts of a run, made from its configuration.

Training and tests put the same parts together.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import functools
import math
import threading
import time
from typing import Any

from absl import logging
import jax
import numpy as np
import optax

from agents import actor
from agents import agent as agent_lib
from agents import batcher
from agents import learner
from agents import optimizer as optimizer_lib
from agents import parameter_store
from agents import trajectory
from agents import trajectory_queue
from envs import environment
from envs import envpool_env
from envs import registry
from experiments import config as config_lib
import vtrace

_JOIN_SECONDS = 10.0  # A thread that steps longer is stuck.

_REWARD_CLIPPINGS = {
  'abs_one': vtrace.abs_one,
  'soft_asymmetric': vtrace.soft_asymmetric,
  'soft_asymmetric_paper': vtrace.soft_asymmetric_paper,
  'none': lambda rewards: rewards,
}


def make_worlds(config: config_lib.Config) -> list[environment.Environment]:
  """Each actor's batch of environments, differently seeded."""
  seeds = np.random.SeedSequence(config.seed).generate_state(config.num_actors)
  try:
    return [
      registry.make(config.env, config.envs_per_actor, int(seed) % 2**30)
      for seed in seeds
    ]
  except (
    registry.UnknownEnvironmentError,
    envpool_env.EnvPoolMissingError,
    envpool_env.UnsupportedTaskError,
  ) as error:
    raise config_lib.ConfigError(str(error)) from error


def make_agent(
  config: config_lib.Config,
  world: environment.Environment,
) -> agent_lib.Agent:
  """The agent that fits this world."""
  try:
    return agent_lib.make_agent(
      world.observation_spec(),
      world.action_spec(),
      torso=config.torso,
      use_lstm=config.use_lstm,
    )
  except ValueError as error:
    raise config_lib.ConfigError(str(error)) from error


def make_optimizer(config: config_lib.Config) -> optax.GradientTransformation:
  """TensorFlow 1's RMSProp with the run's values."""
  return optimizer_lib.rmsprop(
    decay=config.rmsprop_decay,
    epsilon=config.rmsprop_epsilon,
    max_grad_norm=_finite(config.max_grad_norm),
  )


def make_update(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  optimizer: optax.GradientTransformation,
) -> Any:
  """The learner's pure update with the run's values."""
  if config.reward_clipping not in _REWARD_CLIPPINGS:
    raise config_lib.ConfigError(
      f'Unknown --reward_clipping={config.reward_clipping}.'
      + config_lib.did_you_mean(config.reward_clipping, _REWARD_CLIPPINGS)
    )
  return learner.make_update(
    agent,
    optimizer,
    make_loss(config),
    discount=config.discount,
    clip_rewards=_REWARD_CLIPPINGS[config.reward_clipping],
    unrolls_per_pass=config.unrolls_per_pass or _unrolls_per_pass(config),
  )


def make_loss(config: config_lib.Config) -> Callable[..., Any]:
  """The paper's loss with the run's costs and thresholds."""
  return functools.partial(
    vtrace.impala_loss,
    baseline_cost=config.baseline_cost,
    entropy_cost=config.entropy_cost,
    clip_rho_threshold=_finite(config.clip_rho_threshold),
    clip_c_threshold=_finite(config.clip_c_threshold),
    clip_pg_rho_threshold=_finite(config.clip_pg_rho_threshold),
    lambda_=config.lambda_,
  )


def make_schedule(config: config_lib.Config) -> Callable[[int], float]:
  """Environment frames so far -> learning rate."""
  return functools.partial(
    optimizer_lib.linear_decay,
    config.learning_rate,
    total_frames=config.num_frames,
  )


def make_queue(config: config_lib.Config) -> trajectory_queue.TrajectoryQueue:
  """The queue from all actors to the learner."""
  return trajectory_queue.TrajectoryQueue(
    config.num_actors, config.queue_capacity, config.timeout_seconds
  )


def make_batches(
  config: config_lib.Config,
  queue: trajectory_queue.TrajectoryQueue,
  devices: Sequence[Any],
) -> Iterator[batcher.Batch]:
  """Batches of what the queue gives, on the devices, one ahead."""
  return batcher.prefetch(
    batcher.batches(queue.get, _rollouts_per_batch(config), len(devices)),
    learner.make_place(devices),
    wake=queue.close,
  )


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
  threads = [
    _actor_thread(
      functools.partial(
        actor.rollouts,
        world,
        act,
        store.get,
        core_state=agent.initial_state(config.envs_per_actor),
        key=jax.random.fold_in(key, actor_id),
        unroll_length=config.unroll_length,
        actor_id=actor_id,
      ),
      actor_id,
      queue,
    )
    for actor_id, world in enumerate(worlds)
  ]
  try:
    for thread in threads:
      thread.start()
    yield
  finally:
    queue.close()
    _join(threads, worlds)


def _actor_thread(
  make_rollouts: Callable[[], Iterator[trajectory.Rollout]],
  actor_id: int,
  queue: trajectory_queue.TrajectoryQueue,
) -> threading.Thread:
  """A thread, not started, that puts an actor's rollouts into its ring."""
  return threading.Thread(
    target=actor.run,
    args=(
      make_rollouts,
      functools.partial(queue.put, actor_id),
      functools.partial(queue.fail, actor_id),
    ),
    name=f'actor-{actor_id}',
    daemon=True,
  )


def _join(
  threads: Sequence[threading.Thread],
  worlds: Sequence[environment.Environment],
) -> None:
  """Waits for the actors to leave, and closes the worlds they have left."""
  deadline = time.monotonic() + _JOIN_SECONDS
  for thread, world in zip(threads, worlds, strict=True):
    if thread.ident is not None:  # It was started.
      thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
      logging.error('%s is stuck in its environment; left behind.', thread.name)
    else:
      world.close()


def max_policy_lag(config: config_lib.Config) -> int:
  """The most updates that can pass between acting and learning.

  An actor that begins a rollout has at most `queue_capacity` in its ring, and
  the rings are read in turn, so at most (capacity + 1) rollouts of every actor,
  this one included, are still to be taken. The batch that is being taken is at
  most one ahead of the last that was learnt from and published.
  """
  to_be_taken = (config.queue_capacity + 1) * config.num_actors
  return math.ceil(to_be_taken / _rollouts_per_batch(config)) + 1


def _rollouts_per_batch(config: config_lib.Config) -> int:
  return config.batch_size // config.envs_per_actor


def _unrolls_per_pass(config: config_lib.Config) -> int | None:
  """One unroll of images fits a CPU's cache; elsewhere the more the better."""
  on_cpu = jax.default_backend() == 'cpu'
  return 1 if on_cpu and config.torso != 'mlp' else None


def _finite(threshold: float) -> float | None:
  return None if math.isinf(threshold) else threshold
