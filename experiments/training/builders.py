"""Functions that make the parts of a run from its configuration.

`setup.make_setup` and `pipeline.running` put the parts together.
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
from agents import loss_interface
from agents import optimizer as optimizer_lib
from agents import parameter_store
from agents import replay
from agents import trajectory
from agents import trajectory_queue
from envs import closing
from envs import environment
from envs import registry
from experiments import config as config_lib
from experiments.records import hardware
from experiments.training import rollout_order
from experiments.training import run_state
import vtrace

# Torso -> fastest unrolls per pass, measured on Atari with unroll length 20.
_FASTEST_ON_CPU = {'shallow': 2, 'deep': 1}
_PRECISIONS = {'f32': jnp.float32, 'bf16': jnp.bfloat16}


def make_envs(
  config: config_lib.Config, num_updates: int = 0, **settings: Any
) -> list[environment.Environment]:
  """Makes one batch of environments per actor, each with its own seed.

  An actor that has stepped in the first `num_updates` updates gets a new seed,
  so that a resumed run does not repeat earlier episodes. The CPU cores are
  divided evenly among the actors' environment threads.

  Args:
    config: of the run.
    num_updates: number of updates before the run resumes; 0 for a new run.
    **settings: passed to `registry.make`.

  Raises:
    ConfigError: if the environments cannot be made.
  """
  num_threads = max(1, hardware.num_cores() // config.num_actors)
  settings = config_lib.env_settings(config) | settings
  envs = []
  try:
    for actor_id in range(config.num_actors):
      envs.append(
        registry.make(
          config.env,
          config.envs_per_actor,
          _seed(config, actor_id, num_updates),
          num_threads=num_threads,
          **settings,
        )
      )
  except BaseException as error:
    closing.close_all(envs)
    if isinstance(error, registry.ERRORS):
      raise config_lib.ConfigError(str(error)) from error
    raise
  return envs


def make_agent(
  config: config_lib.Config,
  env: environment.Environment,
  **settings: Any,
) -> agent_lib.Agent:
  """Makes the agent for `env`; `settings` override those of `config`.

  Raises:
    ConfigError: if no agent fits the specs of `env`.
  """
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


def check_actions(env: environment.Environment) -> None:
  """Raises a ConfigError if no agent, also no custom one, fits the actions."""
  try:
    agent_lib.check_actions(env.action_spec())
  except ValueError as error:
    raise config_lib.ConfigError(str(error)) from error


def zero_trajectory(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  env: environment.Environment,
) -> trajectory.Trajectory:
  """Returns zeros in the shapes of one rollout, rows `[T+1, B, ...]`."""
  rows = trajectory.zero_rows(
    env.observation_spec(), config.unroll_length + 1, config.envs_per_actor
  )
  core_state = agent.initial_state(config.envs_per_actor)
  return trajectory.Trajectory(rows, core_state)


def make_optimizer(config: config_lib.Config) -> optax.GradientTransformation:
  """Makes TensorFlow 1's RMSProp with the hyperparameters of `config`."""
  return optimizer_lib.rmsprop(
    decay=config.rmsprop_decay,
    epsilon=config.rmsprop_epsilon,
    max_grad_norm=_finite(config.max_grad_norm),
  )


def make_update(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  optimizer: optax.GradientTransformation,
  loss: loss_interface.Loss,
) -> Any:
  """Makes the learner's pure update function, as set by `config`."""
  return learner.make_update(
    agent,
    optimizer,
    loss,
    discount=config.discount,
    clip_rewards=reward_clipping(config),
    unrolls_per_pass=unrolls_per_pass(config),
  )


def reward_clipping(config: config_lib.Config) -> Callable[..., Any]:
  """Returns the function that clips rewards before they enter the loss."""
  return vtrace.rewards.CLIPPINGS[config.reward_clipping]


def unrolls_per_pass(config: config_lib.Config) -> int | None:
  """Returns the unrolls per gradient accumulation pass; None: all at once.

  --unrolls_per_pass overrides the default. On CPU the default is small for
  image torsos, because few unrolls of images fit the cache. Elsewhere, and for
  a custom agent, it is None.
  """
  if config.unrolls_per_pass:
    return config.unrolls_per_pass
  is_measured = not config.agent and config.torso in _FASTEST_ON_CPU
  if jax.default_backend() != 'cpu' or not is_measured:
    return None
  unrolls = config.batch_size // jax.local_device_count()
  return math.gcd(unrolls, _FASTEST_ON_CPU[config.torso])


def make_loss(config: config_lib.Config) -> loss_interface.Loss:
  """Makes the loss with the costs, correction and thresholds of `config`."""
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
  """Makes the learning rate schedule: environment frames so far -> rate."""
  return functools.partial(
    optimizer_lib.linear_decay,
    config.learning_rate,
    total_frames=config.num_frames,
  )


def make_queue(
  config: config_lib.Config, num_updates: int = 0
) -> trajectory_queue.TrajectoryQueue:
  """Makes the queue from all actors to the learner.

  After `num_updates` updates it starts at the ring that is next in order.
  """
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
  """Makes the store with the parameters that act for the next batches.

  With --lag these include parameters of earlier updates.
  """
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
  """Makes the replay buffer; returns None if the run does not replay."""
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
  """Returns an iterator over batches on the devices, prefetching one."""
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
  """Returns an iterator over batches of new and replayed unrolls.

  `get` waits for the next rollout and returns None to end the iteration.
  """
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
