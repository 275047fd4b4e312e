"""Trains an agent on one machine; the same command again goes on with the run.

python -m experiments.train --preset=catch
python -m experiments.train --preset=atari --env=Breakout-v5 --logdir=runs/b
"""

from collections.abc import Iterator
import contextlib
import functools
import pathlib
import sys

from absl import flags
from absl import logging
import jax

from agents import learner
from agents import polling
from agents import replay
from experiments import cli
from experiments import config as config_lib
from experiments.debugging import flight_recorder
from experiments.plotting import pages
from experiments.records import config_json
from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv
from experiments.records import run_logger
from experiments.training import builders
from experiments.training import checkpoint
from experiments.training import checkpointing
from experiments.training import logdir as logdir_lib
from experiments.training import pipeline
from experiments.training import run_state
from experiments.training import setup as setup_lib
from experiments.training import signals
from experiments.training import validation


def train(config: config_lib.Config) -> metrics_lib.Summary:
  """Runs a whole training, or the rest of one, recorded in its log directory.

  Raises:
    ConfigError: if the configuration cannot be, before anything is written; or
      if the run was recorded with other columns, after its first update.
    Stopped: after SIGINT or SIGTERM, with a checkpoint written.
    NonFiniteError: after an update that is not finite.
    RuntimeError: if an actor failed.
    Timeout: if an actor or the learner waited too long.
    CheckpointError: if a checkpoint cannot be written, or none can be read.
  """
  validation.validate(config, jax.local_device_count())
  with logdir_lib.claimed(config) as logdir, _debug_nans(config.debug_nans):
    logdir_lib.check_resumable(config, logdir)
    setup = _begin(config, logdir)
    config_json.write(config, logdir)
    if _is_over(setup, logdir):
      setup.close()
      summary = metrics_lib.summary(setup.run.statistics)
    else:
      summary = _learn(setup, logdir)
  report(config, summary, logdir)
  return summary


def _begin(config: config_lib.Config, logdir: pathlib.Path) -> setup_lib.Setup:
  """Returns a new run, or the one whose checkpoints are in `logdir`."""
  saved = checkpointing.newest(logdir / 'checkpoints')
  setup = setup_lib.make_setup(config, saved)
  if saved is not None:
    print(f'Going on from update {setup.run.num_updates:,}.')
  return setup


def _is_over(setup: setup_lib.Setup, logdir: pathlib.Path) -> bool:
  """Returns whether nothing is left to be learnt, nor to be recorded."""
  if setup.run.num_frames < setup.config.num_frames:
    return False
  rows = metrics_csv.read(logdir / 'metrics.csv')
  return bool(rows) and int(rows[-1]['num_updates']) == setup.run.num_updates


def _learn(setup: setup_lib.Setup, logdir: pathlib.Path) -> metrics_lib.Summary:
  """Learns until the end, and records it."""
  config, run, devices = setup.config, setup.run, setup.devices
  print(f'Training on {len(devices)} x {devices[0].device_kind}: {logdir}')
  if setup.replay_buffer:
    print(_replay_message(setup))
  queue = builders.make_queue(config, run.num_updates)
  store = builders.make_store(config, run, devices)
  recorder = flight_recorder.FlightRecorder(
    _compile_update(setup), config, run, logdir / 'flight.npz'
  )
  with (  # Left in reverse: the checkpoint comes first, drawing last.
    signals.on_signal(queue.close),
    contextlib.closing(
      checkpointing.Keeper(
        logdir / 'checkpoints',
        run,
        config.checkpoint_seconds,
        functools.partial(run_state.pack, replay_buffer=setup.replay_buffer),
      )
    ) as keeper,
    _drawn_at_the_end(logdir),
    contextlib.closing(
      run_logger.RunLogger(config, logdir, run.statistics)
    ) as logger,
    pipeline.running(setup, recorder, queue, store) as steps,
    keeper.at_every_end(),
  ):
    for progress in steps:
      logger.log(progress)
      older_params = tuple(params for _, params in store.versions[:-1])
      run = run_state.after(run, progress, older_params, logger.state)
      recorder.run = run
      keeper.offer(run)
    if run.num_frames >= config.num_frames:
      logger.finish()
  return metrics_lib.summary(logger.state)


def _compile_update(setup: setup_lib.Setup) -> setup_lib.Update:
  """Returns the update over all devices, or under --debug_nans over one.

  Only under plain `jax.jit` does JAX find the operation that made a NaN.
  """
  if setup.config.debug_nans:
    return jax.jit(learner.on_one_device(setup.update))
  return setup_lib.compile_update(setup)


@contextlib.contextmanager
def _drawn_at_the_end(logdir: pathlib.Path) -> Iterator[None]:
  """Draws the run on leaving, when its records are closed.

  Errors of drawing are logged instead of raised, so that they cannot mask the
  error that ended the run.
  """
  try:
    yield
  finally:
    drawn = pages.draw_learning_curve, pages.draw_diagnostics
    for draw in drawn if (logdir / 'metrics.csv').exists() else ():
      try:
        draw(logdir)
      except (OSError, config_lib.ConfigError) as error:
        logging.error('Cannot draw the run: %s', error)


def _replay_message(setup: setup_lib.Setup) -> str:
  """Returns how much memory the replay buffer takes."""
  config = setup.config
  template = builders.zero_trajectory(config, setup.agent, setup.envs[0])
  mebibytes = replay.num_bytes(template, config.replay_capacity) / 2**20
  kept = config.replay_capacity // config.envs_per_actor * config.envs_per_actor
  return (
    f'Replaying from the last {kept:,} unrolls: they take {mebibytes:,.1f} MiB '
    'at most, on the device and in each of three checkpoints.'
  )


def report(
  config: config_lib.Config, summary: metrics_lib.Summary, logdir: pathlib.Path
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
  for name in (
    'config.json',
    'metrics.csv',
    'learning_curve.png',
    'diagnostics.png',
    'checkpoints',
  ):
    print(f'  {logdir / name}')
  print(f'  {logdir}/events.out.tfevents.* (TensorBoard)')


def _debug_nans(on: bool) -> contextlib.AbstractContextManager[None]:
  """In the learner's thread: set for all, jax forgets it as it compiles."""
  return jax.debug_nans(True) if on else contextlib.nullcontext()


def main() -> None:
  """Trains as the flags say."""
  try:
    train(cli.config_from_flags())
  except KeyboardInterrupt:
    _fail('Interrupted: what was not saved yet is lost.', status=130)
  except signals.Stopped as stopped:
    _fail(
      f'Stopped by {stopped}: a checkpoint is written; the same command goes '
      'on from there.',
      status=128 + stopped.signum,
    )
  except flight_recorder.NonFiniteError as error:
    _fail(f'Diverged: {error}')
  except polling.Timeout as error:
    _fail(f'Stuck: {error} See --timeout_seconds.')
  except checkpoint.CheckpointError as error:
    _fail(str(error))
  except OSError as error:
    _fail(f'Cannot write the records: {error}. The checkpoints are kept.')


def _fail(sentence: str, status: int = 1) -> None:
  print(sentence, file=sys.stderr)
  sys.exit(status)


if __name__ == '__main__':
  cli.define_flags()
  flags.adopt_module_key_flags(cli)  # For --help.
  cli.run(main)
