"""Compares learner batches with what environments did (the pipeline check).

python -m experiments.check --env=Pong-v5
python -m experiments.check --env=my_module:make_env --unroll_length=40
python -m experiments.check --preset=pong
python -m experiments.check --logdir=runs/a     # with the flags of that run

Trains at a lag of 0 with the real actors, queue and learner, records every
environment, and compares the recording with every batch of the learner. Prints
a table of all checks; the exit status is 1 if any check failed.
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
from experiments.training import parts as parts_lib
from experiments.training import pipeline
from experiments.training import setup as setup_lib
from experiments.training import validation

# Used without --preset and --logdir. Small, because it need not learn.
_SMALL = dict(
  env='Catch',
  num_actors=2,
  envs_per_actor=4,
  batch_size=8,
  use_lstm=True,
  learning_rate=1e-3,
)
# The check ends after so many terminations and so many truncations, or after
# more of one kind, because the other may never occur.
_MIN_OF_BOTH = 5
_MIN_OF_ONE = 500
_MIN_UPDATES = 10
_NUM_ENV_STEPS = 200
_ROW = '{:<10}{:<20}{:<54}{}'


class Report(NamedTuple):
  """Results of all checks."""

  results: list[results_lib.Result]
  num_updates: int
  num_frames: int
  steps_per_second: float  # Agent steps of one actor's environments alone.


def check(
  config: config_lib.Config,
  seconds: float,
  parts: parts_lib.Parts = parts_lib.AS_CONFIGURED,
) -> Report:
  """Checks the pipeline until enough episode ends were seen.

  Args:
    config: the training to check; run with a lag of 0 and without replay.
    seconds: the longest time to train for, compilation excluded.
    parts: factories of the run that are given as Python objects.

  Raises:
    ConfigError: if the configuration is invalid or no agent fits the
      environment.
  """
  config = dataclasses.replace(
    parts_lib.record(config, parts),
    lag=0,
    replay_fraction=0.0,
    num_frames=2**53,
    # The checks read the loss terms from gradients, so no weight may be 0.
    baseline_cost=config.baseline_cost or 1.0,
    entropy_cost=config.entropy_cost or 0.01,
  )
  validation.validate(config, jax.local_device_count())
  _check_agent(config, parts)
  try:
    env_results, steps_per_second = check_env(config, parts)
  except registry.ERRORS as error:  # A step returned invalid values.
    raise config_lib.ConfigError(str(error)) from error
  if env_results[0].status == results_lib.FAIL:
    # The other checks assume the environment conventions.
    return Report(env_results, 0, 0, steps_per_second)
  tally = results_lib.Tally(config.precision, custom_loss=bool(config.loss))
  num_updates, num_frames, faults = _play(config, parts, tally, seconds)
  if faults:
    env_results[0] = results_lib.conventions_result(faults)
  return Report(
    [*env_results, *tally.results()], num_updates, num_frames, steps_per_second
  )


def _check_agent(config: config_lib.Config, parts: parts_lib.Parts) -> None:
  """Raises a ConfigError if no agent fits the environment."""
  one = dataclasses.replace(config, num_actors=1)
  setup_lib.make_setup(one, parts=parts, shapes_only=True).close()


def check_env(
  config: config_lib.Config, parts: parts_lib.Parts = parts_lib.AS_CONFIGURED
) -> tuple[list[results_lib.Result], float]:
  """Checks the environment without an agent.

  Returns:
    (results of the checks, agent steps per second of one actor's environments).
  """

  def make(seed):
    one = dataclasses.replace(config, num_actors=1, seed=seed)
    return builders.make_envs(one, factory=parts.make_env, records=True)[0]

  recorded = recording_env.RecordingEnv(make(config.seed))
  steps = recording_env.play(recorded, _NUM_ENV_STEPS)
  recorded.close()
  found = [
    results_lib.conventions_result(
      recorded.faults, len(steps) * recorded.num_envs
    ),
    results_lib.seed_result(*recording_env.is_repeatable(make, _NUM_ENV_STEPS)),
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
  config: config_lib.Config,
  parts: parts_lib.Parts,
  tally: results_lib.Tally,
  seconds: float,
) -> tuple[int, int, list[str]]:
  """Trains and checks every batch.

  Returns:
    (updates, environment frames, violated environment conventions).
  """
  made = builders.make_envs(config, factory=parts.make_env, records=True)
  envs = [recording_env.RecordingEnv(env) for env in made]
  setup = setup_lib.make_setup(config, parts=parts, envs=envs)
  make_loss = parts_lib.find(config, parts).make_loss
  loss = parts_lib.make(config, 'loss', make_loss, config)
  checker = pipeline_checker.PipelineChecker(config, setup.agent, loss, envs)
  params = learner.local_params(setup.run.train_state)
  with pipeline.running(setup) as steps:
    start = math.inf  # Set after the first update, which compiles.
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
  seen = min(ends) >= _MIN_OF_BOTH or max(ends) >= _MIN_OF_ONE
  return seen and num_updates >= _MIN_UPDATES


def report(config: config_lib.Config, found: Report) -> None:
  """Prints the table of results and the environment throughput."""
  agent = config_lib.agent_name(dataclasses.asdict(config))
  print(
    f'{config.env}: {found.num_updates} updates, {found.num_frames:,} frames, '
    f'{config.num_actors} actors x {config.envs_per_actor} environments, '
    f'unroll length {config.unroll_length}, {agent}.\n'
  )
  for result in found.results:
    description = results_lib.CHECKS[result.name].description
    print(_ROW.format(result.status, result.name, description, result.evidence))
  print(
    f'\nThroughput of the {config.envs_per_actor} environments of one actor '
    f'with random actions: {found.steps_per_second:,.0f} agent steps/s.'
  )
  differing = [v.name for v in found.results if v.status == results_lib.DIFFERS]
  if differing:
    print(
      f"Differs from the paper's loss: {', '.join(differing)}. The loss "
      f'{config.loss} decides about these.'
    )
  missing = [v.name for v in found.results if v.status == results_lib.NOT_SEEN]
  if missing:
    print(
      f'Not seen: {", ".join(missing)}. These events did not occur and were '
      'not checked; a larger --seconds may help.'
    )
  print(results_lib.BLIND)


def config_from_flags() -> config_lib.Config:
  """Returns the configuration of the flags.

  Without --preset and --logdir, the other settings are those of a small run,
  with a torso that fits the observations.
  """
  if flags.FLAGS['preset'].present or flags.FLAGS.logdir:
    return cli.config_from_flags()
  given = cli.overrides_from_flags()
  config = config_lib.Config(**(_SMALL | given))
  if 'torso' in given or config.agent:
    return config
  validation.validate(config, jax.local_device_count())
  (env,) = builders.make_envs(dataclasses.replace(config, num_actors=1))
  specs = jax.tree.leaves(env.observation_spec())
  env.close()
  fits = len(specs) == 1 and agent_lib.is_image(specs[0])
  return dataclasses.replace(config, torso='shallow' if fits else 'mlp')


def main() -> None:
  """Runs the check as specified by the flags; exits with 1 on failure."""
  config = config_from_flags()
  found = check(config, flags.FLAGS.seconds)
  report(config, found)
  if any(result.status == results_lib.FAIL for result in found.results):
    sys.exit(1)


if __name__ == '__main__':
  cli.define_flags()
  flags.adopt_module_key_flags(cli)  # --help lists them.
  flags.DEFINE_float(
    'seconds', 30.0, 'Longest time to train for, in seconds.', lower_bound=0
  )
  cli.run(main, needs_devices=True)
