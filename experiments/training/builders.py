"""The parts of a run, made from its configuration.

Training and tests put the same parts together.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import functools
import itertools
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents import actor
from agents import agent as agent_lib
from agents import batcher
from agents import learner
from agents import optimizer as optimizer_lib
from agents import parameter_store
from agents import replay
from agents import trajectory
from agents import trajectory_queue
from envs import environment
from envs import registry
from experiments import config as config_lib
from experiments.training import run_state
import vtrace

_REWARD_CLIPPINGS = {
  'abs_one': vtrace.abs_one,
  'soft_asymmetric': vtrace.soft_asymmetric,
  'soft_asymmetric_paper': vtrace.soft_asymmetric_paper,
  'none': lambda rewards: rewards,
}

_CORRECTIONS = {
  'vtrace': vtrace.corrections.vtrace,
  'one_step': vtrace.corrections.one_step,
  'epsilon': vtrace.corrections.epsilon,
  'none': vtrace.corrections.none,
}

# Unrolls a pass, measured with those of 20 steps of Atari.
_FASTEST_ON_CPU = {'shallow': 2, 'deep': 1}
_PRECISIONS = {'f32': jnp.float32, 'bf16': jnp.bfloat16}


def make_worlds(
  config: config_lib.Config, num_updates: int = 0, **settings: Any
) -> list[environment.Environment]:
  """Each actor's batch of environments, differently seeded.

  After `num_updates` updates an actor that has been stepping gets worlds of
  another seed: those that begin anew do not replay the episodes of before. The
  cores are shared out: worlds with threads for all of them would fight.
  """
  num_threads = max(1, num_cores() // config.num_actors)
  try:
    return [
      registry.make(
        config.env,
        config.envs_per_actor,
        _seed(config, actor_id, num_updates),
        num_threads=num_threads,
        **settings,
      )
      for actor_id in range(config.num_actors)
    ]
  except registry.REFUSALS as error:
    raise config_lib.ConfigError(str(error)) from error


def num_cores() -> int:
  """That this process may use."""
  if hasattr(os, 'sched_getaffinity'):  # Not everywhere.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def make_agent(
  config: config_lib.Config,
  world: environment.Environment,
  **settings: Any,
) -> agent_lib.Agent:
  """The agent that fits this world; `settings` instead of the run's own."""
  _check_known('precision', config.precision, _PRECISIONS)
  try:
    return agent_lib.make_agent(
      world.observation_spec(),
      world.action_spec(),
      **dict(
        torso=config.torso,
        use_lstm=config.use_lstm,
        num_stacked=world.num_stacked,
        compute_dtype=_PRECISIONS[config.precision],
      )
      | settings,
    )
  except ValueError as error:
    raise config_lib.ConfigError(str(error)) from error


def zero_trajectory(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  world: environment.Environment,
) -> trajectory.Trajectory:
  """Zeros in the shapes of an actor's rollout."""
  rows = trajectory.zero_rows(
    world.observation_spec(), config.unroll_length + 1, config.envs_per_actor
  )
  core_state = agent.initial_state(config.envs_per_actor)
  return trajectory.Trajectory(rows, core_state)


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
  return learner.make_update(
    agent,
    optimizer,
    make_loss(config),
    discount=config.discount,
    clip_rewards=reward_clipping(config),
    unrolls_per_pass=unrolls_per_pass(config),
  )


def reward_clipping(config: config_lib.Config) -> Callable[..., Any]:
  """What is done to rewards before they are learnt from."""
  _check_known('reward_clipping', config.reward_clipping, _REWARD_CLIPPINGS)
  return _REWARD_CLIPPINGS[config.reward_clipping]


def unrolls_per_pass(config: config_lib.Config) -> int | None:
  """What was asked for, or the fastest known; None: the whole batch at once.

  Few unrolls of images fit a CPU's cache; elsewhere the more the better.
  """
  if config.unrolls_per_pass:
    return config.unrolls_per_pass
  if jax.default_backend() != 'cpu' or config.torso not in _FASTEST_ON_CPU:
    return None
  unrolls = config.batch_size // jax.local_device_count()
  return math.gcd(unrolls, _FASTEST_ON_CPU[config.torso])


def make_loss(config: config_lib.Config) -> Callable[..., Any]:
  """The paper's loss with the run's costs, correction and thresholds."""
  _check_known('correction', config.correction, _CORRECTIONS)
  return functools.partial(
    vtrace.impala_loss,
    baseline_cost=config.baseline_cost,
    entropy_cost=config.entropy_cost,
    correction=_CORRECTIONS[config.correction],
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


def make_queue(
  config: config_lib.Config, num_updates: int = 0
) -> trajectory_queue.TrajectoryQueue:
  """The queue from all actors to the learner, after `num_updates` updates."""
  return trajectory_queue.TrajectoryQueue(
    config.num_actors,
    config.queue_capacity,
    config.timeout_seconds,
    turn=num_updates * _rollouts_per_batch(config) % config.num_actors,
  )


def make_store(
  config: config_lib.Config, run: run_state.RunState, devices: Sequence[Any]
) -> parameter_store.ParameterStore:
  """The store, with the parameters that the run's next batches act on."""
  store = parameter_store.ParameterStore(max(config.lag, 0))
  first = run.num_updates - len(run.older_params)
  for version, params in enumerate(run.older_params, first):
    store.publish(version, jax.device_put(params, devices[0]))
  store.publish(run.num_updates, learner.local_params(run.train_state))
  return store


def make_get_params(
  config: config_lib.Config,
  store: parameter_store.ParameterStore,
  actor_id: int,
  num_updates: int,
) -> actor.GetParams:
  """The newest parameters, or under --lag those that are exactly so old.

  Since the rings are read in turn, an actor knows which batch a rollout will be
  part of, and waits for the parameters that are to act for it. The first `lag`
  batches have none so old, and take the first.
  """
  if config.lag < 0:
    return store.get
  rollouts = itertools.count(_rollouts_taken(config, actor_id, num_updates))

  def get_params():
    number = next(rollouts) * config.num_actors + actor_id
    batch = number // _rollouts_per_batch(config)
    return store.wait_for(
      max(0, batch - config.lag),
      # The learner gives up first: it knows for whom it waits.
      timeout_seconds=2 * config.timeout_seconds,
    )

  return get_params


def make_batches(
  config: config_lib.Config,
  queue: trajectory_queue.TrajectoryQueue,
  devices: Sequence[Any],
  num_updates: int = 0,
  memory: replay.Memory = (),
) -> Iterator[batcher.Batch]:
  """Batches of what the queue gives, on the devices, one ahead."""
  return batcher.prefetch(
    batches(config, queue.get, len(devices), num_updates, memory),
    learner.make_place(devices),
    wake=queue.close,
  )


def batches(
  config: config_lib.Config,
  get: Callable[[], Any],
  num_devices: int,
  num_updates: int = 0,
  memory: replay.Memory = (),
) -> Iterator[batcher.Batch]:
  """Batches of what `get` gives and of what is replayed.

  Args:
    config: of the run.
    get: gives rollouts.
    num_devices: that share a batch.
    num_updates: made before the first of them.
    memory: what the batches before have left to be replayed.
  """
  return batcher.batches(
    get,
    _rollouts_per_batch(config),
    num_devices,
    _replay_settings(config),
    memory,
    num_updates,
  )


def max_policy_lag(config: config_lib.Config) -> int:
  """The most updates that free-running actors can be behind the learner.

  An actor that begins a rollout has at most `queue_capacity` in its ring, and
  the rings are read in turn, so at most (capacity + 1) rollouts of every actor,
  this one included, are still to be taken. The batch that is being taken is at
  most one ahead of the last that was learnt from and published.
  """
  to_be_taken = (config.queue_capacity + 1) * config.num_actors
  return math.ceil(to_be_taken / _rollouts_per_batch(config)) + 1


def _rollouts_taken(
  config: config_lib.Config, actor_id: int, num_updates: int
) -> int:
  """How many of an actor's rollouts the first `num_updates` batches take."""
  taken = num_updates * _rollouts_per_batch(config)
  return len(range(actor_id, taken, config.num_actors))


def _seed(config: config_lib.Config, actor_id: int, num_updates: int) -> int:
  has_stepped = _rollouts_taken(config, actor_id, num_updates) > 0
  entropy = [config.seed, num_updates] if has_stepped else config.seed
  seeds = np.random.SeedSequence(entropy).generate_state(config.num_actors)
  return int(seeds[actor_id]) % 2**30


def new_unrolls(config: config_lib.Config) -> int:
  """How many unrolls of a batch are new; the others are replayed."""
  return round(config.batch_size * (1 - config.replay_fraction))


def _rollouts_per_batch(config: config_lib.Config) -> int:
  """That are new."""
  return new_unrolls(config) // config.envs_per_actor


def _replay_settings(config: config_lib.Config) -> replay.Settings | None:
  num_replayed = config.batch_size - new_unrolls(config)
  if not num_replayed:
    return None
  return replay.Settings(num_replayed, config.replay_capacity, config.seed)


def _check_known(flag: str, value: str, known: Any) -> None:
  if value not in known:
    raise config_lib.ConfigError(
      f'Unknown --{flag}={value}.' + config_lib.did_you_mean(value, known)
    )


def _finite(threshold: float) -> float | None:
  return None if math.isinf(threshold) else threshold
