"""Plays whole games with a run's checkpoint, and records their returns."""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import json
import pathlib
from typing import Any

import dm_env
import jax
import numpy as np

from agents import actor
from agents import evaluator
from envs import atari
from envs import environment
from envs import registry
from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import config_json
from experiments.records import video
from experiments.training import checkpoint
from experiments.training import setup as setup_lib


def _option(default: Any, help_text: str, **bounds: int) -> Any:
  metadata = {'help': help_text, 'bounds': bounds}
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
  """Which evaluation: every option, its default and its help."""

  logdir: str = _option('', 'The log directory of the run.')
  num_episodes: int = _option(100, 'Whole games to play.', lower_bound=1)
  num_envs: int = _option(
    32,
    'Environments played at once, at most. Each plays its share of the '
    'episodes, so that short ones count no more than long ones.',
    lower_bound=1,
  )
  step: int | None = _option(
    None,
    'Which checkpoint, by its number of updates; by default the newest.',
  )
  greedy: bool = _option(
    False, 'Take the most likely action; otherwise one is drawn.'
  )
  noop_max: int | None = _option(
    None,
    'Random no-ops, at most, that begin an Atari game; by default as in '
    f'training, {atari.NOOP_MAX}.',
    lower_bound=1,
    upper_bound=10_000,
  )
  seed: int = _option(
    1,
    'Of actions and environments; with --num_envs it decides the result.',
    lower_bound=0,
    upper_bound=2**32 - 1,
  )
  video: str = _option(
    '', 'Also record a video, a .gif or .mp4; long games rather an .mp4.'
  )
  video_episodes: int = _option(
    1, 'How many episodes of environment 0 the video shows.', lower_bound=1
  )


def evaluate(options: Options) -> dict[str, Any]:
  """Plays, and leaves `evaluation.json` in the log directory.

  Returns:
    What `evaluation.json` holds.

  Raises:
    ConfigError: if it cannot be, or no checkpoint is whole.
  """
  try:
    return _evaluate(options)
  except (*registry.REFUSALS, checkpoint.CheckpointError) as error:
    raise config_lib.ConfigError(str(error)) from error


def _evaluate(options: Options) -> dict[str, Any]:
  logdir = config_lib.path(options.logdir)
  config = read_config(logdir)
  num_updates, flat = read_checkpoint(logdir / 'checkpoints', options.step)
  settings = env_settings(config.env, options)
  with (
    atomic_file.replacing(logdir / 'evaluation.json') as path,
    contextlib.closing(make_env(config.env, options, settings)) as env,
    _watching(options, env) as watch,
  ):
    record = {
      'env': config.env,
      'num_updates': num_updates,
      'num_frames': int(flat['statistics/num_frames']),
      'num_episodes': options.num_episodes,
      'num_envs': env.num_envs,
      'greedy': options.greedy,
      'noop_max': settings.get('noop_max'),
      'seed': options.seed,
    }
    record |= summary(_play(config, options, env, flat, watch))
    path.write_text(json.dumps(record, indent=2) + '\n')
  return record


def _watching(options: Options, env: environment.Environment) -> Any:
  """Gives what watches the play: a video's recorder, or nobody."""
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
  env: environment.Environment,
  flat: checkpoint.Flat,
  watch: Callable[[dm_env.TimeStep], bool] | None,
) -> evaluator.Episodes:
  """Plays with the checkpoint's agent in the environment."""
  one = dataclasses.replace(config, num_actors=1, envs_per_actor=env.num_envs)
  setup = setup_lib.make_setup(one, envs=[env], shapes_only=True)
  agent, template = setup.agent, setup.run.train_state.params
  if options.greedy:
    agent = agent._replace(step=agent.greedy_step)
  params = checkpoint.unflatten(flat, template, 'train_state/params')
  return evaluator.play(
    env,
    actor.make_act(agent),
    jax.device_put(params),
    core_state=agent.initial_state(env.num_envs),
    # Not the key that a training of this seed begins with.
    key=jax.random.fold_in(jax.random.key(options.seed), 1),
    num_episodes=options.num_episodes,
    watch=watch,
  )


def summary(episodes: evaluator.Episodes) -> dict[str, Any]:
  """Returns and lengths, as JSON has them; one episode has no error."""
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
  """The run's configuration.

  Raises:
    ConfigError: if there is none, or it is another version's.
  """
  recorded = config_json.read(logdir)
  if recorded is None:
    raise config_lib.ConfigError(
      f'--logdir={logdir} holds no run: there is no config.json.'
    )
  return config_json.parse(recorded)


def read_checkpoint(
  directory: pathlib.Path, step: int | None
) -> tuple[int, checkpoint.Flat]:
  """(updates, arrays) of the checkpoint of `step`, or of the newest whole one.

  Raises:
    ConfigError: if there is none.
    CheckpointError: if it, or every one of them, is damaged.
  """
  there = checkpoint.steps(directory)
  if step is not None and step not in there:
    raise config_lib.ConfigError(
      f'There is no checkpoint of --step={step} in {directory}; there are: '
      f'{", ".join(map(str, there)) or "none"}.'
    )
  if step is not None:
    return step, checkpoint.read(directory, step)
  newest = checkpoint.read_newest(directory)
  if newest is None:
    raise config_lib.ConfigError(f'There are no checkpoints in {directory}.')
  return newest


def env_settings(env_id: str, options: Options) -> dict[str, Any]:
  """Returns the settings of an environment that is made for evaluation.

  Raises:
    ConfigError: if there are to be no-ops where there are none.
  """
  if registry.is_atari(env_id):
    given = options.noop_max
    return dict(
      noop_max=atari.NOOP_MAX if given is None else given,
      life_loss_ends_episode=False,
    )
  if options.noop_max is not None:
    raise config_lib.ConfigError(
      f'--noop_max is for Atari games alone; {env_id} is none.'
    )
  return {}


def make_env(
  env_id: str, options: Options, settings: dict[str, Any]
) -> environment.Environment:
  """The environments, of seeds that neither training nor `seed` + 1 has."""
  seeds = np.random.SeedSequence(options.seed, spawn_key=(1,))
  return registry.make(
    env_id,
    min(options.num_envs, options.num_episodes),
    int(seeds.generate_state(1)[0]) % 2**30,
    renders=bool(options.video),
    **settings,
  )
