"""Many small runs in parallel, one per core, each recorded when it finishes.

A record is a JSON file with the configuration and the learning curve. Runs that
have a record are skipped, so the same command resumes an interrupted ablation.
"""

from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import dataclasses
import json
import multiprocessing
import os
import pathlib
import signal
import time
from typing import Any

import jax

from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import config_json
from experiments.records import metrics as metrics_lib
from experiments.records import strict_json
from experiments.studies import design as design_lib
from experiments.training import pipeline
from experiments.training import setup as setup_lib
from experiments.training import validation

_NUM_POINTS = 20  # Of a learning curve.


def run(config: config_lib.Config) -> dict[str, Any]:
  """Trains a run and returns its record; writes no files.

  Raises:
    ConfigError: if the configuration is invalid.
  """
  validation.validate(config, jax.local_device_count())
  setup = setup_lib.make_setup(config)
  state, curve, start = metrics_lib.initial(), [], time.monotonic()
  with pipeline.running(setup) as steps:
    for progress in steps:
      state = metrics_lib.add(
        state,
        progress,
        seconds=time.monotonic() - start,
        return_window=config.return_window,
      )
      if state.num_frames >= (len(curve) + 1) * config.num_frames / _NUM_POINTS:
        curve.append((state.num_frames, metrics_lib.summary(state).mean_return))
        state = metrics_lib.next_interval(state)
  return {
    'config': dataclasses.asdict(config),
    'curve': curve,
    **metrics_lib.summary(state)._asdict(),
  }


def run_all(
  trials: Sequence[design_lib.Trial],
  folder: pathlib.Path,
  num_processes: int,
) -> Iterator[tuple[design_lib.Trial, dict[str, Any]]]:
  """Runs the trials that have no record in `folder`.

  Args:
    trials: the trials to run.
    folder: the folder of the records; it is created if missing.
    num_processes: how many trials run at a time.

  Yields:
    Every trial and its record: existing records first, then new ones as they
    finish.

  Raises:
    ConfigError: if `folder` cannot be written, or a record has a different
      configuration.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise config_lib.ConfigError(
      f'Cannot write into {folder}: {error.strerror}.'
    ) from error
  missing = []
  for trial in trials:
    record = read(trial, folder)
    if record is None:
      missing.append(trial)
    else:
      yield trial, record
  if not missing:
    return
  with _workers(num_processes, folder) as workers:
    running = {
      workers.submit(_run_and_write, trial, folder): trial for trial in missing
    }
    try:
      for done in futures.as_completed(running):
        yield running[done], done.result()
    finally:
      workers.shutdown(cancel_futures=True)


def read(
  trial: design_lib.Trial, folder: pathlib.Path
) -> dict[str, Any] | None:
  """Reads a trial's record; returns None if the trial has not finished.

  Raises:
    ConfigError: if the record has a different configuration.
  """
  file = _file(trial, folder)
  try:
    record = json.loads(file.read_text())
  except FileNotFoundError:
    return None
  differing = config_json.changes(record['config'], trial.config)
  if differing:
    raise config_lib.ConfigError(
      f'{file} records a run with a different {", ".join(differing)}. Choose '
      'another folder or remove the file.'
    )
  return record | {'mean_return': float(record['mean_return'])}  # 'nan'.


def _run_and_write(
  trial: design_lib.Trial, folder: pathlib.Path
) -> dict[str, Any]:
  record = run(trial.config)
  jax.clear_caches()  # The next run compiles other functions.
  with atomic_file.replacing(_file(trial, folder)) as file:
    file.write_text(strict_json.dumps(record, indent=1) + '\n')
  return record


def _file(trial: design_lib.Trial, folder: pathlib.Path) -> pathlib.Path:
  return folder / f'{trial.name}.json'


def _workers(number: int, folder: pathlib.Path) -> futures.ProcessPoolExecutor:
  """Makes a pool of processes, each pinned to one core: runs are small."""
  context = multiprocessing.get_context('spawn')
  cores = context.Queue()
  for i in range(number):
    cores.put(i)
  return futures.ProcessPoolExecutor(
    number,
    mp_context=context,
    initializer=_init_worker,
    initargs=(cores, folder),
  )


def _init_worker(cores: Any, folder: pathlib.Path) -> None:
  """Initializes a worker process.

  Pins the process to one core where the system supports it. It must be called
  before JAX creates its backends.

  Args:
    cores: queue of core indices; the worker takes one.
    folder: the folder of the records; the compilation cache is inside it.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent process stops it.
  jax.config.update('jax_platforms', 'cpu')  # The runs are too small for a GPU.
  number = cores.get()
  if hasattr(os, 'sched_setaffinity'):
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {available[number % len(available)]})
  # Runs of the same task share most compiled functions.
  jax.config.update('jax_compilation_cache_dir', str(folder / 'compiled'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
