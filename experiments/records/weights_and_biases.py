"""Sends metrics rows to Weights & Biases, an optional package.

Whatever fails there ends the sending with a warning, and never the training.
The package is imported when it is used.
"""

from collections.abc import Callable
import dataclasses
import importlib
import pathlib
from typing import Any
import uuid

from absl import logging
import numpy as np

from experiments import config as config_lib
from experiments.records import metrics_csv
import vtrace

_INIT_SECONDS, _FINISH_SECONDS = 30.0, 60.0  # Longest waits for the server.
_NOT_LOGGED = ('num_updates', 'wall_time')  # The step and the time of a row.


def check(config: config_lib.Config) -> None:
  """Checks that rows can be sent, if the run is to send them.

  Raises:
    ConfigError: if the package is missing, or the user is not logged in and
      the mode is not offline.
  """
  if not config.wandb_project:
    return
  try:
    wandb, settings = _silent_package()
  except ImportError as error:
    raise config_lib.ConfigError(
      '--wandb_project needs a package that is not installed: run pip install '
      "'impala-jax[wandb]'."
    ) from error
  if settings.mode == 'online' and not _is_logged_in(wandb):
    raise config_lib.ConfigError(
      '--wandb_project needs a login to Weights & Biases: run wandb login, or '
      'set WANDB_MODE=offline to keep the rows in the log directory.'
    )


class Writer:
  """A run of Weights & Biases, in `logdir`/wandb; a resumed run continues it.

  The server ignores rows that it already has: those between the checkpoint of
  a run and the end of its process.
  """

  def __init__(self, config: config_lib.Config, logdir: pathlib.Path):
    """Starts the run, whose settings are those of `config`."""
    self._run = self._try(lambda: _start(config, logdir))

  def write(self, row: dict[str, str]) -> None:
    """Sends a row of metrics.csv, with its number of updates as the step."""
    run = self._run
    if run is not None:
      step = int(row['num_updates'])
      self._try(lambda: run.log(_values(row), step=step))

  def close(self) -> None:
    """Waits until all rows are sent, but not longer than a minute."""
    run, self._run = self._run, None
    if run is not None:
      self._try(run.finish)

  def _try(self, call: Callable[[], Any]) -> Any:
    """Returns the result of `call`; after an error, sends nothing more."""
    try:
      return call()
    except Exception as error:  # The training must continue.
      reason = ' '.join(str(error).split()) or repr(error)
      logging.warning(
        'Weights & Biases failed, the run continues without it: %s', reason
      )
      self._run = None


def _silent_package() -> tuple[Any, Any]:
  """Imports the package and keeps it from printing; also returns its settings.

  Raises:
    ImportError: if it is not installed.
  """
  wandb = importlib.import_module('wandb')
  return wandb, wandb.setup(wandb.Settings(silent=True)).settings


def _is_logged_in(wandb: Any) -> bool:
  try:
    return wandb.login(prompt=False, verify=False)
  except Exception as error:  # An invalid key.
    raise config_lib.ConfigError(
      f'Cannot log in to Weights & Biases: {error}'
    ) from error


def _start(config: config_lib.Config, logdir: pathlib.Path) -> Any:
  """Starts or continues the run of `logdir`.

  The package must leave the standard output alone, and a run that the user has
  started in this process.
  """
  wandb, _ = _silent_package()
  run = wandb.init(
    project=config.wandb_project,
    name=logdir.name,
    id=_run_id(logdir),
    resume='allow',
    dir=str(logdir),
    config=dataclasses.asdict(config),
    settings=wandb.Settings(
      silent=True,
      console='off',
      reinit='create_new',
      disable_git=True,
      save_code=False,
      x_disable_stats=True,
      init_timeout=_INIT_SECONDS,
      finish_timeout=_FINISH_SECONDS,
    ),
  )
  run.define_metric('*', step_metric='num_frames')
  return run


def _run_id(logdir: pathlib.Path) -> str:
  """Returns the id of the run in `logdir`, which a new run writes there."""
  path = logdir / 'wandb' / 'run_id'
  if not path.exists():
    path.parent.mkdir(exist_ok=True)
    path.write_text(uuid.uuid4().hex[:12])
  return path.read_text()


def _values(row: dict[str, str]) -> dict[str, Any]:
  """Returns the finite numbers and the histograms of a row."""
  values = {}
  for name, text in row.items():
    if name in metrics_csv.HISTOGRAMS:
      counts = metrics_csv.counts(text)
      histogram = importlib.import_module('wandb').Histogram
      if 0 < len(counts) <= histogram.MAX_LENGTH:
        edges = _edges(name, len(counts))
        values[name] = histogram(np_histogram=(counts, edges))
    elif name not in _NOT_LOGGED:
      number = metrics_csv.number(text)
      if np.isfinite(number):
        values[name] = number
  return values


def _edges(name: str, bins: int) -> np.ndarray:
  """Returns the edges of a histogram's bins, `[bins + 1]`.

  The outermost bins of log importance weights are unbounded; they are drawn as
  wide as their neighbours.
  """
  if name != 'log_rho_histogram':
    return np.arange(bins + 1) - 0.5
  edges = np.asarray(vtrace.LOG_RHO_EDGES)
  low, high = 2 * edges[0] - edges[1], 2 * edges[-1] - edges[-2]
  return np.array([low, *edges, high])
