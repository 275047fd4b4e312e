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
import signal
import sys
import time
import traceback
from typing import Any

from absl import flags
from absl import logging
import jax

from agents import learner
from agents import loss_interface
from agents import waiting
from envs import registry
from experiments import cli
from experiments import config as config_lib
from experiments.debugging import flight_recorder
from experiments.plotting import pages
from experiments.records import config_json
from experiments.records import metrics as metrics_lib
from experiments.records import metrics_csv
from experiments.records import result as result_lib
from experiments.records import run_logger
from experiments.records import weights_and_biases
from experiments.training import builders
from experiments.training import logdir as logdir_lib
from experiments.training import messages
from experiments.training import parts as parts_lib
from experiments.training import pipeline
from experiments.training import run_state
from experiments.training import setup as setup_lib
from experiments.training import signals
from experiments.training import validation
from experiments.training.checkpoints import checkpoint
from experiments.training.checkpoints import checkpointing


def train(
  config: config_lib.Config,
  *,
  make_env: Callable[..., Any] | None = None,
  make_agent: parts_lib.MakeAgent | None = None,
  make_optimizer: parts_lib.MakeOptimizer | None = None,
  make_loss: parts_lib.MakeLoss | None = None,
  writers: Sequence[run_logger.Writer] = (),
) -> result_lib.Result:
  """Runs or resumes a training run and records it in its log directory.

  A factory replaces the part that `config` names, and its name is recorded.

  Ctrl-C, which is 'interrupt' in a notebook, ends the run as if it were over: a
  checkpoint is written, and the result so far is returned, as `interrupted`. A
  second Ctrl-C raises a KeyboardInterrupt; updates since the last checkpoint
  may be lost. The same log directory resumes the run.

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
    Stopped: after SIGTERM, SIGHUP or SIGUSR1, once a checkpoint is written.
    NonFiniteError: after an update whose result is not finite.
    RuntimeError: if an actor failed.
    Timeout: if an actor or the learner waited too long: see `timeout_seconds`.
    CheckpointError: if a checkpoint cannot be written or read, or all existing
      checkpoints are damaged.
  """
  parts = parts_lib.Parts(make_env, make_agent, make_optimizer, make_loss)
  try:
    return _train(parts_lib.record(config, parts), parts, writers)
  except signals.Stopped as stopped:
    if stopped.signum != signal.SIGINT:
      raise
    messages.say(config, messages.interrupted(stopped.result.logdir))
    return dataclasses.replace(stopped.result, interrupted=True)


def _train(
  config: config_lib.Config,
  parts: parts_lib.Parts = parts_lib.AS_CONFIGURED,
  writers: Sequence[run_logger.Writer] = (),
) -> result_lib.Result:
  """Does what `train` does, but raises `Stopped` after Ctrl-C, too."""
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
    stop.result = result_lib.make(summary, logdir)
  messages.say(config, messages.end(config, summary, logdir))
  return stop.result


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
    messages.say(config, messages.resuming(setup, logdir))
  return setup


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
  messages.say(config, messages.start(setup, logdir))
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
  is_over = run.num_frames >= config.num_frames or stop.signum is not None
  if config.max_seconds and not is_over:
    messages.say(config, messages.out_of_time(config, logdir))
  return metrics_lib.summary(logger.state)


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


def _debug_nans(on: bool) -> contextlib.AbstractContextManager[None]:
  """Enables jax_debug_nans in the learner's thread only.

  The global flag would also make every step of the actors wait for its check.
  """
  return jax.debug_nans(True) if on else contextlib.nullcontext()


def main() -> None:
  """Trains as specified by the flags; prints one line if the run fails."""
  try:
    _train(cli.config_from_flags())
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
  except RuntimeError as error:
    fault = error.__cause__  # Of an actor.
    if not isinstance(fault, registry.ERRORS):
      raise
    if fault.__cause__ is not None:
      traceback.print_exception(fault.__cause__)
    _fail(f'An environment failed: {fault}')
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
