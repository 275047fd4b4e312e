"""Many small runs, one a core, each recorded when it is over.

Their records are JSON: the configuration and the learning curve. A run whose
record is there is not run again, so the same command goes on where it ended.
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
from experiments.studies import design as design_lib
from experiments.training import pipeline
from experiments.training import setup as setup_lib
from experiments.training import validation

_POINTS = 20  # Of a learning curve.


def run(config: config_lib.Config) -> dict[str, Any]:
  """Trains, and gives the record; nothing is written.

  Raises:
    ConfigError: if the configuration cannot be.
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
      if state.num_frames >= (len(curve) + 1) * config.num_frames / _POINTS:
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
  """Runs those without a record in `folder`; gives all as they are ready.

  Raises:
    ConfigError: if a record is of another configuration.
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
  """A trial's record; None if it has not been run to its end.

  Raises:
    ConfigError: if it is of another configuration.
  """
  file = _file(trial, folder)
  try:
    record = json.loads(file.read_text())
  except FileNotFoundError:
    return None
  differing = config_json.changes(record['config'], trial.config)
  if differing:
    raise config_lib.ConfigError(
      f'{file} is of a run with another {", ".join(differing)}: name another '
      'folder, or remove it.'
    )
  return record


def _run_and_write(
  trial: design_lib.Trial, folder: pathlib.Path
) -> dict[str, Any]:
  record = run(trial.config)
  jax.clear_caches()  # The next one compiles its own.
  with atomic_file.replacing(_file(trial, folder)) as file:
    file.write_text(json.dumps(record, indent=1) + '\n')
  return record


def _file(trial: design_lib.Trial, folder: pathlib.Path) -> pathlib.Path:
  return folder / f'{trial.name}.json'


def _workers(number: int, folder: pathlib.Path) -> futures.ProcessPoolExecutor:
  """Processes that keep to a core each: small runs do not need more."""
  context = multiprocessing.get_context('spawn')
  cores = context.Queue()
  for i in range(number):
    cores.put(i)
  return futures.ProcessPoolExecutor(
    number, mp_context=context, initializer=_begin, initargs=(cores, folder)
  )


def _begin(cores: Any, folder: pathlib.Path) -> None:
  """Before jax looks at the machine; what cannot be asked for is left."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Who started it will end it.
  jax.config.update('jax_platforms', 'cpu')  # Too small for anything else.
  number = cores.get()
  if hasattr(os, 'sched_setaffinity'):
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {mine[number % len(mine)]})
  # Runs of one task differ in little: what is the same is compiled once.
  jax.config.update('jax_compilation_cache_dir', str(folder / 'compiled'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
