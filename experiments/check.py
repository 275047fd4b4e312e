"""The pipeline check: does the learner receive what the environments did?

python -m experiments.check --env=Pong-v5
python -m experiments.check --env=my_module:make_env --unroll_length=40
python -m experiments.check --preset=pong
python -m experiments.check --logdir=runs/a     # with that run's flags

It trains through the real actors, queue and learner, at a lag of 0, records
what every environment did, and compares that with every batch that was learnt
from. Prints a table of all checks; exit status 1 if any of them failed.
"""

import dataclasses
import math
import sys
import time
from typing import NamedTuple

from absl import flags
import jax

from agents import agent as agent_lib
from agents import learner
from envs import environment
from envs import registry
from experiments import cli
from experiments import config as config_lib
from experiments.checking import pipeline_checker
from experiments.checking import recording_env
from experiments.checking import results as results_lib
from experiments.training import builders
from experiments.training import pipeline
from experiments.training import setup as setup_lib
from experiments.training import validation

# Where neither --preset nor --logdir is given. Small: it need not learn.
_SMALL = dict(
  env='Catch',
  num_actors=2,
  envs_per_actor=4,
  batch_size=8,
  use_lstm=True,
  learning_rate=1e-3,
)
_ENOUGH = 5  # Ends of episodes, of either kind;
_PLENTY = 500  # of one kind, when the other may never come.
_LEAST_UPDATES = 10
_REHEARSED_STEPS = 200
_ROW = '{:<10}{:<18}{:<54}{}'


class Report(NamedTuple):
  """What came of all checks."""

  results: list[results_lib.Result]
  num_updates: int
  num_frames: int
  steps_per_second: float  # Agent steps, of one actor's environments alone.


def check(config: config_lib.Config, seconds: float) -> Report:
  """Plays until enough was seen, `seconds` at most.

  Raises:
    ConfigError: if the configuration cannot be.
  """
  config = dataclasses.replace(
    config,
    lag=0,
    replay_fraction=0.0,
    num_frames=2**53,
    # Gradients tell what the loss did: they must not be weighed with 0.
    baseline_cost=config.baseline_cost or 1.0,
    entropy_cost=config.entropy_cost or 0.01,
  )
  validation.validate(config, jax.local_device_count())
  _check_agent(config)
  try:
    rehearsal, steps_per_second = rehearse(config)
  except registry.REFUSALS as error:  # Of what a step gives.
    raise config_lib.ConfigError(str(error)) from error
  if rehearsal[0].status == results_lib.FAIL:
    return Report(rehearsal, 0, 0, steps_per_second)  # Nothing can be built on.
  tally = results_lib.Tally(config.precision)
  num_updates, num_frames, faults = _play(config, tally, seconds)
  if faults:
    rehearsal[0] = results_lib.conventions_result(faults)
  return Report(
    [*rehearsal, *tally.results()], num_updates, num_frames, steps_per_second
  )


def _check_agent(config: config_lib.Config) -> None:
  """Raises a ConfigError if no agent fits the environment."""
  one = dataclasses.replace(config, num_actors=1)
  setup_lib.make_setup(one, shapes_only=True).close()


def rehearse(
  config: config_lib.Config,
) -> tuple[list[results_lib.Result], float]:
  """Returns the checks that need no agent, and the environment's speed."""

  def make(seed):
    one = dataclasses.replace(config, num_actors=1, seed=seed)
    return builders.make_envs(one)[0]

  watched = recording_env.RecordingEnv(make(config.seed))
  steps = recording_env.play(watched, _REHEARSED_STEPS)
  watched.close()
  found = [
    results_lib.conventions_result(
      watched.faults, len(steps) * watched.num_envs
    ),
    results_lib.seed_result(
      *recording_env.is_repeatable(make, _REHEARSED_STEPS)
    ),
  ]
  return found, _steps_per_second(make(config.seed))


def _steps_per_second(env: environment.Environment) -> float:
  start, rounds = time.perf_counter(), 0
  while (elapsed := time.perf_counter() - start) < 1.0:
    recording_env.play(env, 50)
    rounds += 1
  env.close()
  return rounds * 50 * env.num_envs / elapsed


def _play(
  config: config_lib.Config, tally: results_lib.Tally, seconds: float
) -> tuple[int, int, list[str]]:
  """Learns, and examines every batch; gives updates, frames and faults."""
  envs = [recording_env.RecordingEnv(env) for env in builders.make_envs(config)]
  setup = setup_lib.make_setup(config, envs=envs)
  checker = pipeline_checker.PipelineChecker(config, setup.agent, envs)
  params = learner.local_params(setup.run.train_state)
  with pipeline.running(setup) as steps:
    start = math.inf  # Compilation does not count.
    for progress in steps:
      where = f'update {progress.num_updates}'
      tally.add(checker.examine(params, progress), where)
      params = learner.local_params(progress.train_state)
      start = min(start, time.monotonic())
      if _is_enough(tally, progress.num_updates):
        break
      if time.monotonic() - start > seconds:
        break
    tally.add(checker.examine_counts(progress.num_frames), 'the end')
  faults = [fault for env in envs for fault in env.faults]
  return progress.num_updates, progress.num_frames, faults


def _is_enough(tally: results_lib.Tally, num_updates: int) -> bool:
  ends = [tally.count(name) for name in ('terminations', 'truncations')]
  seen = min(ends) >= _ENOUGH or max(ends) >= _PLENTY
  return seen and num_updates >= _LEAST_UPDATES


def report(config: config_lib.Config, found: Report) -> None:
  """Prints the table."""
  print(
    f'{config.env}: {found.num_updates} updates on {found.num_frames:,} frames '
    f'of {config.num_actors} x {config.envs_per_actor} environments, unrolls '
    f'of {config.unroll_length}, {config.torso} torso'
    f'{", LSTM" if config.use_lstm else ""}.\n'
  )
  for result in found.results:
    says = results_lib.CHECKS[result.name].says
    print(_ROW.format(result.status, result.name, says, result.evidence))
  print(
    f"\nOne actor's {config.envs_per_actor} environments alone make "
    f'{found.steps_per_second:,.0f} agent steps/s with random actions.'
  )
  missing = [v.name for v in found.results if v.status == results_lib.NOT_SEEN]
  if missing:
    print(
      f'Not seen: {", ".join(missing)}. What never happened was not checked; '
      '--seconds gives it more time.'
    )


def asked_config() -> config_lib.Config:
  """What the flags ask for; small where they leave it open."""
  if flags.FLAGS['preset'].present or flags.FLAGS.logdir:
    return cli.config_from_flags()
  given = cli.overrides_from_flags()
  config = config_lib.Config(**(_SMALL | given))
  if 'torso' in given:
    return config
  validation.validate(config, jax.local_device_count())
  (env,) = builders.make_envs(dataclasses.replace(config, num_actors=1))
  specs = jax.tree.leaves(env.observation_spec())
  env.close()
  fits = len(specs) == 1 and agent_lib.is_image(specs[0])
  return dataclasses.replace(config, torso='shallow' if fits else 'mlp')


def main() -> None:
  """Checks as the flags say."""
  config = asked_config()
  found = check(config, flags.FLAGS.seconds)
  report(config, found)
  if any(result.status == results_lib.FAIL for result in found.results):
    sys.exit(1)


if __name__ == '__main__':
  cli.define_flags()
  flags.adopt_module_key_flags(cli)  # For --help.
  flags.DEFINE_float('seconds', 30.0, 'To play for, at most.', lower_bound=0)
  cli.run(main)
