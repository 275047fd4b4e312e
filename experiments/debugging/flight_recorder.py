"""The flight recorder: saves the inputs of a non-finite update to disk.

It holds references to the inputs of the last updates. `experiments.recompute`
reads the file.
"""

import collections
from collections.abc import Callable
import dataclasses
import pathlib
from typing import Any
from typing import NamedTuple

import numpy as np

from agents import learner
from agents import loss_interface
from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import strict_json
from experiments.training import run_state
from experiments.training.checkpoints import checkpoint


class NonFiniteError(ArithmeticError):
  """An update is not finite; the message names the file with its inputs."""


class Inputs(NamedTuple):
  """The inputs of one update."""

  train_state: learner.TrainState
  trajectory: Any  # [D, ...]: each device's shard of the batch.
  learning_rate: float


class FlightRecorder:
  """Wraps an update; raises an error if its result is not finite.

  It is called like the update. Its cost is small: one flag is fetched per
  update, and the inputs are kept by reference.
  """

  def __init__(
    self,
    update: Callable[..., tuple[learner.TrainState, learner.Metrics]],
    config: config_lib.Config,
    run: run_state.RunState,
    file: pathlib.Path,
    length: int = 3,
  ):
    """Initializes the recorder.

    Args:
      update: the compiled update.
      config: of the run.
      run: the state of the run before the next update.
      file: written only after a non-finite update.
      length: the number of updates whose inputs are kept.
    """
    self._update = update
    self._config = config
    self._file = file
    self._inputs = collections.deque(maxlen=length)
    self.run = run  # The last finite state; the training loop updates it.

  def __call__(
    self, train_state: learner.TrainState, trajectory: Any, learning_rate: float
  ) -> tuple[learner.TrainState, learner.Metrics]:
    """Runs the update.

    Raises:
      NonFiniteError: if the result is not finite; the file is written before.
    """
    self._inputs.append(Inputs(train_state, trajectory, learning_rate))
    try:
      new_state, metrics = self._update(train_state, trajectory, learning_rate)
    except FloatingPointError as error:  # With --debug_nans.
      raise self._error(str(error).split('\n')[0]) from error
    metrics = dict(metrics)
    if not metrics.pop('finite'):
      raise self._error(norms(metrics))
    return new_state, metrics

  def _error(self, details: str) -> NonFiniteError:
    """Writes the file and returns the error to raise."""
    sentence = f'Update {self.run.num_updates + 1} is not finite ({details}).'
    try:
      self._write()
    except (OSError, config_lib.ConfigError) as error:
      return NonFiniteError(f'{sentence} Its inputs are lost: {error}.')
    return NonFiniteError(
      f'{sentence} Its inputs are saved. To find the first non-finite array, '
      f'run: python -m experiments.recompute {self._file}'
    )

  def _write(self) -> None:
    # `recompute` does not read the actors' keys and carries; a person may.
    flat = checkpoint.flatten(
      {'inputs': tuple(self._inputs), 'actors': self.run.actors}
    )
    flat['num_updates'] = np.array(self.run.num_updates)
    flat['num_inputs'] = np.array(len(self._inputs))
    flat['config'] = np.array(
      strict_json.dumps(dataclasses.asdict(self._config))
    )
    with atomic_file.replacing(self._file) as path, open(path, 'wb') as file:
      np.savez(file, **flat)


def norms(metrics: learner.Metrics) -> str:
  """Returns the norms of an update as one line."""
  return ', '.join(f'{name} {metrics[name]:g}' for name in loss_interface.NORMS)
