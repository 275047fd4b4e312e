"""The flight recorder: what led to a non-finite update, on disk.

It remembers the last updates' inputs, by reference; `experiments.recompute`
reads what it leaves.
"""

import collections
from collections.abc import Callable
import dataclasses
import json
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from agents import learner
from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.training import checkpoint
from experiments.training import run_state


class NonFiniteError(ArithmeticError):
  """An update is not finite; says what, and where its inputs are."""


class Inputs(NamedTuple):
  """Of one update."""

  train_state: learner.TrainState
  trajectory: Any  # [D, ...]: each device's part of the batch.
  learning_rate: float


class FlightRecorder:
  """An update that stops the run when it is not finite.

  Called like the update it is made from. Finiteness is one flag, fetched of an
  update that is waited for anyway; inputs are kept by reference.
  """

  def __init__(
    self,
    update: Callable[..., tuple[learner.TrainState, learner.Metrics]],
    config: config_lib.Config,
    run: run_state.RunState,
    file: pathlib.Path,
    length: int = 3,
  ):
    """Keeps the inputs of `length` updates; writes `file`, if ever."""
    self._update = update
    self._config = config
    self._file = file
    self._inputs = collections.deque(maxlen=length)
    self.run = run  # The last that was finite; kept up to date by the loop.

  def __call__(
    self, train_state: learner.TrainState, trajectory: Any, rate: float
  ) -> tuple[learner.TrainState, learner.Metrics]:
    """The update.

    Raises:
      NonFiniteError: after writing the file.
    """
    self._inputs.append(Inputs(train_state, trajectory, rate))
    try:
      new_state, metrics = self._update(train_state, trajectory, rate)
    except FloatingPointError as error:  # Under --debug_nans.
      raise self._stopped(str(error).split('\n')[0]) from error
    metrics = dict(metrics)
    if not metrics.pop('finite'):
      raise self._stopped(norms(metrics))
    return new_state, metrics

  def _stopped(self, what: str) -> NonFiniteError:
    sentence = f'Update {self.run.num_updates + 1} is not finite ({what}).'
    try:
      self._write()
    except (OSError, config_lib.ConfigError) as error:
      return NonFiniteError(f'{sentence} Its inputs are lost: {error}.')
    return NonFiniteError(
      f'{sentence} Its inputs are kept: python -m experiments.recompute '
      f'{self._file}'
    )

  def _write(self) -> None:
    # The actors' keys and carries are for a reader's own questions.
    flat = checkpoint.flatten(
      {'inputs': tuple(self._inputs), 'actors': self.run.actors}
    )
    flat['num_updates'] = np.array(self.run.num_updates)
    flat['num_inputs'] = np.array(len(self._inputs))
    flat['config'] = np.array(json.dumps(dataclasses.asdict(self._config)))
    with atomic_file.replacing(self._file) as path, open(path, 'wb') as file:
      np.savez(file, **flat)


def norms(metrics: learner.Metrics) -> str:
  """An update's norms, as a line."""
  return ', '.join(f'{name} {metrics[name]:g}' for name in learner.NORMS)
