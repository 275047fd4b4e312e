"""Reading and recomputation of a flight record."""

import contextlib
import dataclasses
import json
import pathlib
from typing import Any
from typing import NamedTuple
import zipfile

import jax
import numpy as np

from agents import learner
from experiments import config as config_lib
from experiments.debugging import findings
from experiments.debugging import flight_recorder
from experiments.debugging import nonfinite
from experiments.records import config_json
from experiments.training import builders
from experiments.training import setup as setup_lib
from experiments.training.checkpoints import checkpoint


class Flight(NamedTuple):
  """The contents of a flight record."""

  config: config_lib.Config
  num_updates: int  # Before the last update.
  inputs: list[flight_recorder.Inputs]  # Oldest update first.
  update: Any  # Of the run; the device axis is mapped by `jax.vmap`.


def read(file: pathlib.Path) -> Flight:
  """Reads the flight record in `file`.

  Raises:
    ConfigError: if the file is not a flight record of this version of the code,
      or its environment cannot be made on this machine.
  """
  if not file.is_file():
    raise config_lib.ConfigError(f'There is no file {file}.')
  try:
    with np.load(file) as arrays:
      flat = dict(arrays)
    values = json.loads(str(flat['config']))
    num_updates, num_inputs = int(flat['num_updates']), int(flat['num_inputs'])
  except (
    EOFError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    zipfile.BadZipFile,
  ) as error:
    raise config_lib.ConfigError(f'{file} is not a flight record.') from error
  config = config_json.parse(values)
  one = dataclasses.replace(config, num_actors=1, envs_per_actor=1)
  with contextlib.closing(setup_lib.make_setup(one, shapes_only=True)) as setup:
    rollout = builders.zero_trajectory(one, setup.agent, setup.envs[0])
  template = flight_recorder.Inputs(
    setup.run.train_state, jax.tree.map(_of_any_size, rollout), 0.0
  )
  try:
    inputs = [
      checkpoint.unflatten(flat, template, f'inputs/{i}')
      for i in range(num_inputs)
    ]
  except checkpoint.CheckpointError as error:
    raise config_lib.ConfigError(
      f'{file} does not fit this version of the code: {error}'
    ) from error
  update = learner.on_one_device(setup.update)
  return Flight(config, num_updates, inputs, update)


def recompute(flight: Flight) -> findings.Finding | None:
  """Recomputes all updates, then finds the first non-finite array of the last.

  Prints the norms of each update. Returns None if the last update is finite.
  """
  update = jax.jit(flight.update)
  first = flight.num_updates + 2 - len(flight.inputs)
  for number, inputs in enumerate(flight.inputs, first):
    _, metrics = update(*inputs)
    print(f'Update {number:,}: {flight_recorder.norms(metrics)}')
  return nonfinite.first_nonfinite(flight.update, *flight.inputs[-1])


def _of_any_size(x: np.ndarray) -> np.ndarray:
  """Returns a template for `x` of any length and width, on any device."""
  return np.zeros((0,) * (x.ndim + 1), x.dtype)
