"""The parts of a run, each made from its configuration.

`setup.make_setup` and `pipeline.running` put them together.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
from experiments.records import hardware
from experiments.training import rollout_order
from experiments.training import run_state
import vtrace

# Unrolls a pass, measured with those of 20 steps of Atari.
_FASTEST_ON_CPU = {'shallow': 2, 'deep': 1}
_PRECISIONS = {'f32': jnp.float32, 'bf16': jnp.bfloat16}


def make_envs(
  config: config_lib.Config, num_updates: int = 0, **settings: Any
) -> list[environment.Environment]:
  """Makes each actor's batch of environments, with seeds of their own.

  After `num_updates` updates an actor that has been stepping gets environments
  of another seed, so that they do not repeat the episodes of before. Each actor
  gets its share of the cores for the threads that step its environments.
  """
  num_threads = max(1, hardware.num_cores() // config.num_actors)
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


def make_agent(
  config: config_lib.Config,
  env: environment.Environment,
  **settings: Any,
) -> agent_lib.Agent:
  """Makes the agent for `env`; `settings` take the place of the run's own."""
  try:
    return agent_lib.make_agent(
      env.observation_spec(),
      env.action_spec(),
      **dict(
        torso=config.torso,
        use_lstm=config.use_lstm,
        num_stacked=env.num_stacked,
        compute_dtype=_PRECISIONS[config.precision],
      )
      | settings,
    )
  except ValueError as error:
    raise config_lib.ConfigError(str(error)) from error


def zero_trajectory(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  env: environment.Environment,
) -> trajectory.Trajectory:
  """Zeros in the shapes of an actor's rollout."""
  rows = trajectory.zero_rows(
    env.observation_spec(), config.unroll_length + 1, config.envs_per_actor
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
  """Returns what clips rewards before they are learnt from."""
  return vtrace.rewards.CLIPPINGS[config.reward_clipping]


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
  return functools.partial(
    vtrace.impala_loss,
    baseline_cost=config.baseline_cost,
    entropy_cost=config.entropy_cost,
    correction=vtrace.corrections.CORRECTIONS[config.correction],
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
    turn=num_updates
    * rollout_order.rollouts_per_batch(config)
    % config.num_actors,
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


def make_replay_buffer(
  config: config_lib.Config,
  contents: replay.Contents = (),
  num_updates: int = 0,
) -> replay.ReplayBuffer | None:
  """Makes the replay buffer; None if the run replays nothing."""
  num_replayed = config.batch_size - rollout_order.new_unrolls(config)
  if not num_replayed:
    return None
  settings = replay.Settings(num_replayed, config.replay_capacity, config.seed)
  return replay.ReplayBuffer(settings, contents, num_updates)


def make_batches(
  config: config_lib.Config,
  queue: trajectory_queue.TrajectoryQueue,
  devices: Sequence[Any],
  replay_buffer: replay.ReplayBuffer | None = None,
) -> Iterator[batcher.Batch]:
  """Makes batches of what the queue gives, on the devices, one ahead."""
  return batcher.prefetch(
    batches(config, queue.get, len(devices), replay_buffer),
    learner.make_place(devices),
    wake=queue.close,
  )


def batches(
  config: config_lib.Config,
  get: Callable[[], Any],
  num_devices: int,
  replay_buffer: replay.ReplayBuffer | None = None,
) -> Iterator[batcher.Batch]:
  """Makes batches of what `get` gives, and of what is replayed."""
  return batcher.batches(
    get,
    rollout_order.rollouts_per_batch(config),
    num_devices,
    replay_buffer,
  )


def _seed(config: config_lib.Config, actor_id: int, num_updates: int) -> int:
  has_stepped = rollout_order.rollouts_taken(config, actor_id, num_updates) > 0
  entropy = [config.seed, num_updates] if has_stepped else config.seed
  seeds = np.random.SeedSequence(entropy).generate_state(config.num_actors)
  return int(seeds[actor_id]) % 2**30


def _finite(threshold: float) -> float | None:
  return None if math.isinf(threshold) else threshold
