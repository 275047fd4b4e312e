"""Trains IMPALA: environments, actors, queue, learner, parameters, actors.

python -m experiments.train --preset=catch
python -m experiments.train --preset=atari --env=Breakout-v5 --logdir=runs/b
"""

import contextlib
import pathlib
import sys

from absl import flags
import jax

from agents import learner
from agents import parameter_store
from agents import trajectory_queue
from experiments import config as config_lib
from experiments import launch
from experiments import loggers
from experiments import parts
from experiments import statistics


def train(config: config_lib.Config) -> statistics.Summary:
  """Runs a whole training, recorded in its log directory.

  Raises:
    ConfigError: if the configuration cannot be, before anything is written.
  """
  devices = jax.local_devices()
  config_lib.check(config, len(devices))
  worlds = parts.make_worlds(config)
  agent = parts.make_agent(config, worlds[0])
  optimizer = parts.make_optimizer(config)
  update = parts.make_update(config, agent, optimizer)

  init_key, actors_key = jax.random.split(jax.random.key(config.seed))
  train_state = learner.init(agent, optimizer, init_key, devices)
  queue = parts.make_queue(config)
  store = parameter_store.ParameterStore()
  store.publish(0, learner.local_params(train_state))

  logdir = launch.make_logdir(config)
  print(f'Training on {len(devices)} x {devices[0].device_kind}: {logdir}')
  with (
    contextlib.closing(loggers.RunLogger(config, logdir)) as logger,
    contextlib.closing(parts.make_batches(config, queue, devices)) as batches,
    parts.acting(config, agent, worlds, actors_key, queue, store),
  ):
    for progress in learner.learn(
      train_state,
      batches,
      learner.parallelize(update, devices),
      store.publish,
      check=queue.raise_if_failed,
      learning_rate=parts.make_schedule(config),
      frames_per_step=worlds[0].frames_per_step,
      total_frames=config.num_frames,
    ):
      logger.log(progress)
  report(config, logger.summary, logdir)
  return logger.summary


def report(
  config: config_lib.Config, summary: statistics.Summary, logdir: pathlib.Path
) -> None:
  """Says how the run ended, and where its records are."""
  print(
    f'Trained on {summary.num_frames:,} frames of {config.env} in '
    f'{summary.seconds:.1f} s ({summary.num_updates:,} updates, '
    f'{summary.num_frames / summary.seconds:,.0f} frames/s).'
  )
  print(
    f'Mean return over the last {config.return_window} episodes: '
    f'{summary.mean_return:.2f}'
  )
  for name in ('config.json', 'metrics.csv', 'learning_curve.png'):
    print(f'  {logdir / name}')
  print(f'  {logdir}/events.out.tfevents.* (TensorBoard)')


def main() -> None:
  """Trains as the flags say."""
  try:
    train(launch.config_from_flags())
  except KeyboardInterrupt:
    print('Interrupted: the records so far are kept.', file=sys.stderr)
    sys.exit(130)
  except loggers.DivergedError as error:
    print(f'Diverged: {error} The records are kept.', file=sys.stderr)
    sys.exit(1)
  except trajectory_queue.QueueTimeout as error:
    print(f'Stuck: {error} See --timeout_seconds.', file=sys.stderr)
    sys.exit(1)


if __name__ == '__main__':
  launch.define_flags()
  flags.adopt_module_key_flags(launch)  # For --help.
  launch.run(main)
