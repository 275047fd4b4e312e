"""Evaluation of a checkpoint: plays complete episodes, records returns."""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import pathlib
from typing import Any

import dm_env
import jax
import numpy as np

from agents import actor
from agents import agent as agent_lib
from agents import evaluator
from envs import atari
from envs import closing
from envs import environment
from envs import registry
from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import config_json
from experiments.records import strict_json
from experiments.records import video
from experiments.training import parts as parts_lib
from experiments.training import setup as setup_lib
from experiments.training.checkpoints import checkpoint
from experiments.training.checkpoints import checkpointing


def _option(default: Any, help_text: str, **bounds: int) -> Any:
  metadata = {'help': help_text, 'bounds': bounds}
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
  """The options of an evaluation, each with default and help."""

  logdir: str = _option('', 'The log directory of the run.')
  num_episodes: int = _option(
    100, 'Number of complete episodes to play.', lower_bound=1
  )
  num_envs: int = _option(
    32,
    'Largest number of environments played in parallel. Each plays its share '
    'of the episodes, so that short episodes are not over-represented.',
    lower_bound=1,
  )
  step: int | None = _option(
    None,
    'Checkpoint to evaluate, by its number of updates; by default the newest.',
  )
  greedy: bool = _option(
    False, 'Take the most likely action instead of sampling one.'
  )
  noop_max: int | None = _option(
    None,
    'Largest number of random no-ops at the start of an Atari game; by default '
    f'{atari.NOOP_MAX}, as in training.',
    lower_bound=1,
    upper_bound=10_000,
  )
  seed: int = _option(
    1,
    'Seed of actions and environments. The result is reproducible for the same '
    '--seed and --num_envs.',
    lower_bound=0,
    upper_bound=2**32 - 1,
  )
  video: str = _option(
    '',
    'Also record a video to this file, a .gif or .mp4. Use .mp4 for long '
    'episodes.',
  )
  video_episodes: int = _option(
    1, 'Number of episodes of environment 0 in the video.', lower_bound=1
  )


def evaluate(
  options: Options, parts: parts_lib.Parts = parts_lib.AS_CONFIGURED
) -> dict[str, Any]:
  """Evaluates a checkpoint and writes `evaluation.json` to its log directory.

  Args:
    options: of the evaluation.
    parts: factories of the run that its config.json cannot name.

  Returns:
    The contents of `evaluation.json`.

  Raises:
    ConfigError: if an option is invalid or no checkpoint can be read.
  """
  try:
    return _evaluate(options, parts)
  except (*registry.ERRORS, checkpoint.CheckpointError) as error:
    raise config_lib.ConfigError(str(error)) from error


def _evaluate(options: Options, parts: parts_lib.Parts) -> dict[str, Any]:
  logdir = config_lib.path(options.logdir)
  config = read_config(logdir)
  num_updates, flat = checkpointing.read(logdir / 'checkpoints', options.step)
  settings = env_settings(config, options) | {'factory': parts.make_env}
  with (
    atomic_file.replacing(logdir / 'evaluation.json') as path,
    closing.closing(make_env(config.env, options, settings)) as env,
    _video_recording(options, env) as watch,
  ):
    record = {
      'env': config.env,
      'num_updates': num_updates,
      'num_frames': checkpoint.unflatten(flat, 0, 'statistics/num_frames'),
      'num_episodes': options.num_episodes,
      'num_envs': env.num_envs,
      'greedy': options.greedy,
      'noop_max': settings.get('noop_max'),
      'seed': options.seed,
    }
    record |= summary(_play(config, options, parts, env, flat, watch))
    path.write_text(strict_json.dumps(record, indent=2) + '\n')
  return record


def _video_recording(options: Options, env: environment.Environment) -> Any:
  """Returns a context manager that yields a video's recorder or None."""
  if not options.video:
    return contextlib.nullcontext()
  return video.recording(
    config_lib.path(options.video),
    functools.partial(env.render, 0),
    options.video_episodes,
  )


def _play(
  config: config_lib.Config,
  options: Options,
  parts: parts_lib.Parts,
  env: environment.Environment,
  flat: checkpoint.Flat,
  watch: Callable[[dm_env.TimeStep], bool] | None,
) -> evaluator.Episodes:
  """Plays complete episodes in `env` with the agent of the checkpoint."""
  agent, params = trained_agent(config, env, flat, parts)
  if options.greedy:
    agent = agent._replace(step=agent.greedy_step)
  return evaluator.play(
    env,
    actor.make_act(agent),
    params,
    core_state=agent.initial_state(env.num_envs),
    key=actions_key(options.seed),
    num_episodes=options.num_episodes,
    watch=watch,
  )


def trained_agent(
  config: config_lib.Config,
  env: environment.Environment,
  flat: checkpoint.Flat,
  parts: parts_lib.Parts = parts_lib.AS_CONFIGURED,
) -> tuple[agent_lib.Agent, Any]:
  """Makes the agent of a run for `env`.

  Returns:
    The agent, and its parameters from a checkpoint `flat`, on a device.

  Raises:
    ConfigError: if no agent fits `env`.
    CheckpointError: if the parameters do not fit the agent.
  """
  # A policy acts without the optimizer and the loss that trained it.
  one = dataclasses.replace(
    config,
    num_actors=1,
    envs_per_actor=env.num_envs,
    optimizer='',
    loss='',
  )
  setup = setup_lib.make_setup(one, parts=parts, envs=[env], shapes_only=True)
  template = setup.run.train_state.params
  params = checkpoint.unflatten(flat, template, 'train_state/params')
  return setup.agent, jax.device_put(params)


def actions_key(seed: int) -> jax.Array:
  """Returns a key that differs from those of a training run with this seed."""
  return jax.random.fold_in(jax.random.key(seed), 1)


def summary(episodes: evaluator.Episodes) -> dict[str, Any]:
  """Summarizes returns and lengths as JSON values.

  The standard error is None for a single episode. Returns are undiscounted and
  lengths are in agent steps.
  """
  returns = episodes.returns
  error = None
  if len(returns) > 1:
    error = float(np.std(returns, ddof=1) / len(returns) ** 0.5)
  return {
    'mean': float(np.mean(returns)),
    'median': float(np.median(returns)),
    'standard_error': error,
    'episode_returns': returns.tolist(),
    'episode_lengths_in_steps': episodes.lengths.tolist(),
  }


def read_config(logdir: pathlib.Path) -> config_lib.Config:
  """Reads the configuration of the run in `logdir`.

  Raises:
    ConfigError: if there is none, or this version does not know its settings.
  """
  recorded = config_json.read(logdir)
  if recorded is None:
    raise config_lib.ConfigError(
      f'--logdir={logdir} holds no run: config.json is missing.'
    )
  return config_json.parse(recorded)


def env_settings(config: config_lib.Config, options: Options) -> dict[str, Any]:
  """Returns the settings of an environment for evaluation.

  Raises:
    ConfigError: if `noop_max` is given for an environment that is not Atari.
  """
  settings = config_lib.env_settings(config)
  if registry.is_atari(config.env):
    as_trained = settings['env_kwargs'].get('noop_max', atari.NOOP_MAX)
    given = options.noop_max
    return settings | dict(
      noop_max=as_trained if given is None else given,
      life_loss_ends_episode=False,
    )
  if options.noop_max is not None:
    raise config_lib.ConfigError(
      f'--noop_max applies to Atari games only; {config.env} is not one.'
    )
  return settings


def make_env(
  env_id: str, options: Options, settings: dict[str, Any]
) -> environment.Environment:
  """Makes the environments to evaluate in.

  Their seeds differ from those of training, and from those of evaluations with
  another --seed.
  """
  seeds = np.random.SeedSequence(options.seed, spawn_key=(1,))
  return registry.make(
    env_id,
    min(options.num_envs, options.num_episodes),
    int(seeds.generate_state(1)[0]) % 2**30,
    renders=bool(options.video),
    **settings,
  )
