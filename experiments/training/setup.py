"""A run, made from its configuration: the one place where that happens.

Training, evaluation, the pipeline check, the profiler, studies and tests all
begin with `make_setup`; `pipeline.running` runs what it makes.
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import optax

from agents import actor
from agents import agent as agent_lib
from agents import learner
from agents import replay
from envs import environment
from experiments import config as config_lib
from experiments.training import builders
from experiments.training import checkpoint
from experiments.training import run_state

Update = Callable[..., tuple[learner.TrainState, learner.Metrics]]


class Setup(NamedTuple):
  """All that a run is made of, at the point where it begins or resumes."""

  config: config_lib.Config
  envs: list[environment.Environment]  # One batch for each actor.
  agent: agent_lib.Agent
  update: Update  # Pure, of one device's part of a batch; see `compile_update`.
  run: run_state.RunState
  replay_buffer: replay.ReplayBuffer | None
  devices: list[jax.Device]  # They learn; the first of them acts.

  def close(self) -> None:
    """Closes the environments."""
    for env in self.envs:
      env.close()


def make_setup(
  config: config_lib.Config,
  saved: checkpoint.Flat | None = None,
  *,
  envs: Sequence[environment.Environment] | None = None,
  agent: agent_lib.Agent | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> Setup:
  """Makes a new run, or the one that was saved.

  Args:
    config: of the run; one that is to train must pass `validation.validate`.
    saved: a checkpoint of it, from `checkpoint.read`.
    envs: one batch of environments for each actor; by default those that
      `config` names.
    agent: by default the one that `config` describes, for these environments.
    devices: by default all local ones.

  Raises:
    ConfigError: if a field cannot have its value, if there are no such
      environments, or if no agent fits them; all environments are closed then.
    CheckpointError: likewise, if what was saved does not fit.
  """
  config_lib.check_fields(config)
  num_updates = int(saved['statistics/num_updates']) if saved else 0
  if envs is None:
    envs = builders.make_envs(config, num_updates)
  devices = list(devices or jax.local_devices())
  try:
    agent = agent or builders.make_agent(config, envs[0])
    optimizer = builders.make_optimizer(config)
    update = builders.make_update(config, agent, optimizer)
    run = _begin(config, agent, optimizer, devices)
    contents = ()
    if saved is not None:
      run = _resume(config, agent, envs, run, saved, devices)
      template = builders.zero_trajectory(config, agent, envs[0])
      contents = run_state.restore_replayed(saved, template, devices[0])
  except BaseException:
    for env in envs:
      env.close()
    raise
  replay_buffer = builders.make_replay_buffer(config, contents, num_updates)
  return Setup(config, list(envs), agent, update, run, replay_buffer, devices)


def compile_update(setup: Setup) -> Update:
  """Returns the update over all devices; it takes trajectories `[D, ...]`.

  Under --debug_nans it runs on one device, whichever parts of the batch there
  are: only under plain `jax.jit` does JAX find the operation that made a NaN.
  """
  if setup.config.debug_nans:
    return jax.jit(learner.on_one_device(setup.update))
  return learner.parallelize(setup.update, setup.devices)


def _begin(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  optimizer: optax.GradientTransformation,
  devices: Sequence[jax.Device],
) -> run_state.RunState:
  """Returns a run before its first update."""
  init_key, actors_key = jax.random.split(jax.random.key(config.seed))
  train_state = learner.init(agent, optimizer, init_key, devices)
  return run_state.initial(config, train_state, actors_key)


def _resume(
  config: config_lib.Config,
  agent: agent_lib.Agent,
  envs: Sequence[environment.Environment],
  run: run_state.RunState,
  saved: checkpoint.Flat,
  devices: Sequence[Any],
) -> run_state.RunState:
  """Returns the run that was saved; `run` gives it its structure."""
  core_state = agent.initial_state(config.envs_per_actor)
  carries = [actor.carry_template(env, core_state) for env in envs]
  run = run_state.restore(saved, run, carries, config.lag)
  return run._replace(train_state=learner.replicate(run.train_state, devices))
