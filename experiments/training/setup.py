"""The single place where a run is built from its configuration.

Training, evaluation, the pipeline check, the profiler, studies and tests all
call `make_setup`; `pipeline.running` runs the result.
"""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import functools
from typing import NamedTuple

import jax

from agents import actor
from agents import agent as agent_lib
from agents import learner
from agents import replay
from envs import closing
from envs import environment
from experiments import config as config_lib
from experiments.training import builders
from experiments.training import parts as parts_lib
from experiments.training import run_state
from experiments.training import validation
from experiments.training.checkpoints import checkpoint
from experiments.training.checkpoints import checkpointing

# (train state, trajectory `[T+1, B, ...]`, learning rate) -> (train state,
# metrics), for one device's shard of a batch, inside a mapped axis.
PureUpdate = Callable[..., tuple[learner.TrainState, learner.Metrics]]
# The same for a whole batch, rows `[D, T+1, B/D, ...]`, compiled.
Update = Callable[..., tuple[learner.TrainState, learner.Metrics]]


class Setup(NamedTuple):
  """The parts of a run that starts or resumes."""

  config: config_lib.Config
  envs: list[environment.Environment]  # One batch for each actor.
  agent: agent_lib.Agent
  update: PureUpdate  # See `compile_update`.
  run: run_state.RunState
  replay_buffer: replay.ReplayBuffer | None
  devices: list[jax.Device]  # All run the update; the first one acts.

  def close(self) -> None:
    """Closes the environments of all actors."""
    closing.close_all(self.envs)


def make_setup(
  config: config_lib.Config,
  saved: checkpoint.Flat | None = None,
  *,
  parts: parts_lib.Parts = parts_lib.AS_CONFIGURED,
  envs: Sequence[environment.Environment] | None = None,
  agent: agent_lib.Agent | None = None,
  devices: Sequence[jax.Device] | None = None,
  shapes_only: bool = False,
) -> Setup:
  """Makes a new run, or restores a saved one.

  Args:
    config: of the run; for training it must also pass `validation.validate`.
    saved: a checkpoint of the run, from `checkpoint.read`; None: a new run.
    parts: factories given as Python objects; see `parts.Parts`.
    envs: one batch of environments per actor; by default made from `config`.
    agent: by default made from `config` for these environments.
    devices: by default all local devices.
    shapes_only: whether to skip computing the train state of a new run; its
      leaves are then `jax.ShapeDtypeStruct`s.

  Raises:
    ConfigError: if a field has an invalid value, if a factory does not exist,
      if the environments cannot be made, if no agent fits them, or if the
      parameters of --init_from do not fit the agent.
    CheckpointError: if the checkpoint does not fit the configuration.
  """
  validation.check_fields(config)
  parts = parts_lib.find(config, parts)
  num_updates = 0 if saved is None else run_state.saved_updates(saved)
  with contextlib.ExitStack() as stack:
    if envs is None:
      envs = builders.make_envs(config, num_updates, factory=parts.make_env)
      stack.callback(closing.close_all, envs)
    devices = list(devices or jax.local_devices())
    builders.check_actions(envs[0])
    agent = agent or parts_lib.make(
      config, 'agent', parts.make_agent, config, envs[0]
    )
    optimizer = parts_lib.make(
      config, 'optimizer', parts.make_optimizer, config
    )
    loss = parts_lib.make(config, 'loss', parts.make_loss, config)
    parts_lib.check_made(config, agent, optimizer, loss)
    update = builders.make_update(config, agent, optimizer, loss)
    init_key, actors_key = jax.random.split(jax.random.key(config.seed))
    if shapes_only or saved is not None:
      new_state = functools.partial(learner.new_state, agent, optimizer)
      train_state = jax.eval_shape(new_state, init_key)
    else:
      first = _initialized_from(config.init_from, agent)
      train_state = learner.init(first, optimizer, init_key, devices)
    run = run_state.initial(config, train_state, actors_key)
    replay_buffer = builders.make_replay_buffer(config)
    if saved is not None:
      run = _resume(config, agent, envs, run, saved, devices)
      replay_buffer = _resume_replay(config, agent, envs[0], saved, devices[0])
    stack.pop_all()  # Success: the environments stay open.
  return Setup(config, list(envs), agent, update, run, replay_buffer, devices)


def compile_update(setup: Setup) -> Update:
  """Returns the data-parallel update of whole batches over all devices."""
  return learner.parallelize(setup.update, setup.devices)


def _initialized_from(logdir: str, agent: agent_lib.Agent) -> agent_lib.Agent:
  """Returns the agent with the parameters of another run as initial ones.

  Args:
    logdir: the log directory of the other run; '': returns `agent` as it is.
    agent: the agent of the new run.

  Raises:
    ConfigError: if no checkpoint can be read, or its parameters do not fit.
  """
  if not logdir:
    return agent
  template = jax.eval_shape(agent.init, jax.random.key(0))
  prefix = 'train_state/params'
  try:
    _, flat = checkpointing.read(config_lib.path(logdir) / 'checkpoints', None)
    params = checkpoint.unflatten(flat, template, prefix)
    checkpoint.check_no_others(flat, params, prefix)
  except (checkpoint.CheckpointError, config_lib.ConfigError) as error:
    raise config_lib.ConfigError(
      f'Cannot start from --init_from={logdir}: {error}'
    ) from error
  return agent._replace(init=lambda key: params)


def _resume(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  envs: Sequence[environment.Environment],
  run: run_state.RunState,
  saved: checkpoint.Flat,
  devices: Sequence[jax.Device],
) -> run_state.RunState:
  """Restores the run state from a checkpoint, in the structure of `run`."""
  core_state = agent.initial_state(config.envs_per_actor)
  carries = [actor.carry_template(env, core_state) for env in envs]
  run = run_state.restore(saved, run, carries, config.lag)
  return run._replace(train_state=learner.replicate(run.train_state, devices))


def _resume_replay(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  env: environment.Environment,
  saved: checkpoint.Flat,
  device: jax.Device,
) -> replay.ReplayBuffer | None:
  """Restores the replay buffer; returns None if the run does not replay.

  Raises:
    CheckpointError: if the checkpoint lacks the contents of the buffer.
  """
  template = builders.zero_trajectory(config, agent, env)
  contents = run_state.restore_replayed(saved, template, device)
  num_updates = run_state.saved_updates(saved)
  if config.replay_fraction and num_updates and not contents:
    raise checkpoint.CheckpointError(
      f'The checkpoint of update {num_updates} holds no replay buffer.'
    )
  return builders.make_replay_buffer(config, contents, num_updates)
