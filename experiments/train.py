"""Trains an agent on one machine, or resumes the run in --logdir.

python -m experiments.train --preset=catch
python -m experiments.train --preset=atari --env=Breakout-v5 --logdir=runs/b
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import pathlib
import sys
import time
from typing import Any

from absl import flags
from absl import logging
import jax

from agents import learner
from agents import loss_interface
from agents import replay
from agents import waiting
from experiments import cli
from experiments import config as config_lib
from experiments.debugging import flight_recorder
from experiments.plotting import pages
from experiments.records import config_json
from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv
from experiments.records import run_logger
from experiments.records import weights_and_biases
from experiments.training import builders
from experiments.training import checkpoint
from experiments.training import checkpointing
from experiments.training import logdir as logdir_lib
from experiments.training import parts as parts_lib
from experiments.training import pipeline
from experiments.training import run_state
from experiments.training import setup as setup_lib
from experiments.training import signals
from experiments.training import validation


def train(
  config: config_lib.Config,
  *,
  make_env: Callable[..., Any] | None = None,
  make_agent: parts_lib.MakeAgent | None = None,
  make_optimizer: parts_lib.MakeOptimizer | None = None,
  make_loss: parts_lib.MakeLoss | None = None,
  writers: Sequence[run_logger.Writer] = (),
) -> metrics_lib.Summary:
  """Runs or resumes a training run and records it in its log directory.

  A factory replaces the part that `config` names, and its name is recorded.

  Args:
    config: of the run.
    make_env: makes one environment: see `--env=module:factory`.
    make_agent: (config, environments) -> agent.
    make_optimizer: config -> optax optimizer.
    make_loss: config -> loss: see `loss_interface.Loss`.
    writers: get each new row of metrics.csv, and are closed at the end.

  Raises:
    ConfigError: if the configuration is invalid, before anything is written; or
      after the first update, if a resumed metrics.csv has other columns.
    Stopped: after SIGINT, SIGTERM, SIGHUP or SIGUSR1, once a checkpoint is
      written.
    NonFiniteError: after an update whose result is not finite.
    RuntimeError: if an actor failed.
    Timeout: if an actor or the learner waited too long: see `timeout_seconds`.
    CheckpointError: if a checkpoint cannot be written or read, or all existing
      checkpoints are damaged.
  """
  parts = parts_lib.Parts(make_env, make_agent, make_optimizer, make_loss)
  config = parts_lib.record(config, parts)
  validation.validate(config, jax.local_device_count())
  validation.warn(config)
  weights_and_biases.check(config)
  with (
    _memory_freed_on_exit(),
    logdir_lib.claimed(config) as logdir,
    _debug_nans(config.debug_nans),
    signals.on_signal(logdir) as stop,
    contextlib.ExitStack() as until_learning,
  ):
    logdir_lib.check_resumable(config, logdir)
    setup = _new_or_resumed(config, logdir, parts)
    until_learning.callback(setup.close)
    config_json.write(config, logdir)
    if _is_over(setup, logdir):
      summary = metrics_lib.summary(setup.run.statistics)
    else:
      summary = _learn(setup, logdir, stop, until_learning, writers)
  if not config.quiet:
    report(config, summary, logdir)
  return summary


@contextlib.contextmanager
def _memory_freed_on_exit() -> Iterator[None]:
  """Runs the body, then frees what JAX keeps of the functions of a run.

  Its caches hold the functions for as long as the process lives. A notebook
  that trains again and again would grow by 12 MiB each time. JAX cannot clear
  the caches of some functions only; others are compiled again when called.
  """
  try:
    yield
  finally:
    jax.clear_caches()
    checkpointing.return_freed_memory()


def _new_or_resumed(
  config: config_lib.Config, logdir: pathlib.Path, parts: parts_lib.Parts
) -> setup_lib.Setup:
  """Returns a new run, or the run restored from the checkpoints in `logdir`."""
  saved = checkpointing.newest(logdir / 'checkpoints')
  if saved is not None:
    num_frames = int(saved['statistics/num_frames'])
    logdir_lib.check_extendable(config, logdir, num_frames)
  setup = setup_lib.make_setup(config, saved, parts=parts)
  if saved is not None:
    _say(config, f'Resuming from update {setup.run.num_updates:,}.')
    _say(config, _extension_message(setup, logdir))
  return setup


def _extension_message(setup: setup_lib.Setup, logdir: pathlib.Path) -> str:
  """Returns a sentence about a changed --num_frames; '' if it is the same."""
  new, num_frames = setup.config, setup.run.num_frames
  recorded = config_json.read(logdir) or {}
  if 'num_frames' not in config_json.extended(recorded, new):
    return ''
  old = dataclasses.replace(
    new, num_frames=config_json.parse(recorded).num_frames
  )
  before, after = (builders.make_schedule(c)(num_frames) for c in (old, new))
  return (
    f'--num_frames is now {new.num_frames:,} instead of {old.num_frames:,}: '
    f'the learning rate at frame {num_frames:,} changes from {before:.3g} to '
    f'{after:.3g}, and decays linearly to 0 at the new end.'
  )


def _is_over(setup: setup_lib.Setup, logdir: pathlib.Path) -> bool:
  """Returns whether all frames are trained and the last row is written.

  If metrics.csv was removed, no row of a finished run can be written again.
  """
  if setup.run.num_frames < setup.config.num_frames:
    return False
  path, num_updates = logdir / 'metrics.csv', setup.run.num_updates
  if not path.exists():
    return True
  rows = metrics_csv.read_until(path, num_updates)
  return bool(rows) and int(rows[-1]['num_updates']) == num_updates


def _learn(
  setup: setup_lib.Setup,
  logdir: pathlib.Path,
  stop: signals.Stop,
  until_learning: contextlib.ExitStack,
  writers: Sequence[run_logger.Writer],
) -> metrics_lib.Summary:
  """Trains until `num_frames` or `stop` and records the run.

  The callbacks of `until_learning`, which close the environments, are dropped
  when the actors take them over.
  """
  config, run, devices = setup.config, setup.run, setup.devices
  _say(
    config,
    f'Training {config.env} on {len(devices)} x {devices[0].device_kind}, '
    f'{"resumed" if run.num_updates else "a new run"}: {logdir}',
  )
  if setup.replay_buffer:
    _say(config, _replay_message(setup))
  queue = builders.make_queue(config, run.num_updates)
  store = builders.make_store(config, run, devices)
  recorder = flight_recorder.FlightRecorder(
    _compile_update(setup), config, run, logdir / 'flight.npz'
  )
  stop.calls(queue.close)
  with (  # Exits in reverse: checkpoint, close the records, plot.
    contextlib.closing(
      checkpointing.Keeper(
        logdir / 'checkpoints',
        run,
        config.checkpoint_seconds,
        functools.partial(run_state.pack, replay_buffer=setup.replay_buffer),
        config.keep_checkpoints,
      )
    ) as keeper,
    _plots_on_exit(logdir),
    contextlib.closing(
      run_logger.RunLogger(config, logdir, run.statistics, writers)
    ) as logger,
    pipeline.running(setup, recorder, queue, store) as steps,
    keeper.at_every_end(),
  ):
    until_learning.pop_all()
    start = time.monotonic()
    for progress in steps:
      logger.log(progress)
      older_params = tuple(params for _, params in store.versions[:-1])
      run = run_state.after(run, progress, older_params, logger.state)
      recorder.run = run
      keeper.offer(run)
      if 0 < config.max_seconds <= time.monotonic() - start:
        break
    if run.num_frames >= config.num_frames:
      logger.finish()
  if config.max_seconds and run.num_frames < config.num_frames:
    _say(
      config,
      f'Stopped after --max_seconds={config.max_seconds:g}: a checkpoint is '
      'written. To resume, run: python -m experiments.train '
      f'--logdir={logdir}',
    )
  return metrics_lib.summary(logger.state)


def _say(config: config_lib.Config, text: str) -> None:
  """Prints a text that is not empty, unless the run is quiet."""
  if text and not config.quiet:
    print(text)


def _compile_update(setup: setup_lib.Setup) -> setup_lib.Update:
  """Returns the compiled update; with --debug_nans, it runs on one device.

  JAX finds the operation that produced a NaN under `jax.jit` only.
  """
  if setup.config.debug_nans:
    return jax.jit(learner.on_one_device(setup.update))
  return setup_lib.compile_update(setup)


@contextlib.contextmanager
def _plots_on_exit(logdir: pathlib.Path) -> Iterator[None]:
  """Runs the body, then plots the run from its closed records.

  Logs plotting errors instead of raising them, so that they cannot mask the
  error that ended the run.
  """
  try:
    yield
  finally:
    plots = pages.draw_learning_curve, pages.draw_diagnostics
    for draw in plots if (logdir / 'metrics.csv').exists() else ():
      try:
        draw(logdir)
      except (OSError, config_lib.ConfigError) as error:
        logging.error('Cannot draw the run: %s', error)


def _replay_message(setup: setup_lib.Setup) -> str:
  """Returns a line with the capacity and the size of the replay buffer."""
  config = setup.config
  template = builders.zero_trajectory(config, setup.agent, setup.envs[0])
  mebibytes = replay.num_bytes(template, config.replay_capacity) / 2**20
  kept = config.replay_capacity // config.envs_per_actor * config.envs_per_actor
  return (
    f'Replay buffer: the last {kept:,} unrolls, at most {mebibytes:,.1f} MiB '
    'on the device and in each checkpoint. While a checkpoint is written, it '
    'takes up to twice as much memory besides.'
  )


def report(
  config: config_lib.Config, summary: metrics_lib.Summary, logdir: pathlib.Path
) -> None:
  """Prints a summary of the run and the paths of its records."""
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
  """Enables jax_debug_nans in the learner's thread only.

  The global flag would also make every step of the actors wait for its check.
  """
  return jax.debug_nans(True) if on else contextlib.nullcontext()


def main() -> None:
  """Trains as specified by the flags; prints one line if the run fails."""
  try:
    train(cli.config_from_flags())
  except KeyboardInterrupt:
    _fail(
      'Interrupted: updates since the last checkpoint may be lost.', status=130
    )
  except signals.Stopped as stopped:
    _fail(str(stopped), status=128 + stopped.signum)
  except flight_recorder.NonFiniteError as error:
    _fail(f'Diverged: {error}')
  except loss_interface.LossError as error:
    _fail(f'--loss: {error}', status=2)
  except waiting.Timeout as error:
    _fail(f'Stuck: {error} See --timeout_seconds.')
  except checkpoint.CheckpointError as error:
    _fail(str(error))
  except OSError as error:
    _fail(
      f'Cannot write the records: {error.strerror or error} '
      f'({error.filename or "metrics.csv or TensorBoard events"}). Existing '
      'checkpoints are kept.'
    )


def _fail(message: str, status: int = 1) -> None:
  print(message, file=sys.stderr)
  sys.exit(status)


if __name__ == '__main__':
  cli.define_flags()
  flags.adopt_module_key_flags(cli)  # --help lists them.
  cli.run(main, needs_devices=True)
