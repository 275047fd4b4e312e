"""A search for the fastest num_actors, envs_per_actor and batch_size.

Each candidate is measured as a complete training run on this machine.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import itertools
import statistics
from typing import Any

from experiments import config as config_lib
from experiments.profiling import stages
from experiments.training import setup as setup_lib
from experiments.training import validation

_TUNED = ('num_actors', 'envs_per_actor', 'batch_size')
_ROUNDS = 3

# Agent steps per second, and the configuration that reached them.
Found = tuple[float, config_lib.Config]


def flags(config: config_lib.Config) -> dict[str, Any]:
  """Returns the values of the tuned flags in `config`, by name."""
  return {name: getattr(config, name) for name in _TUNED}


def combinations(
  config: config_lib.Config, num_devices: int
) -> list[config_lib.Config]:
  """Returns the valid configurations that the search compares.

  They vary the number of actors, the environments per actor and the batch size.
  `config` is one of them if it is valid.
  """
  values = itertools.product(
    sorted({1, 2, 3, 4, config.num_actors}),
    sorted({config.envs_per_actor * 2**i // 4 for i in range(5)} - {0}),
    (config.batch_size, config.batch_size * 2),
  )
  changed = (
    dataclasses.replace(config, **dict(zip(_TUNED, tuned))) for tuned in values
  )
  return [config for config in changed if is_valid(config, num_devices)]


def measure_each(
  configs: Sequence[config_lib.Config], seconds: float
) -> Iterator[Found]:
  """Yields the throughput of each configuration, measured once."""
  for config in configs:
    with stages.timing_training(setup_lib.make_setup(config)) as measure:
      yield measure(seconds).steps_per_second, config


def compare(
  configs: Sequence[config_lib.Config], seconds: float
) -> list[Found]:
  """Re-measures the configurations in interleaved rounds.

  The best of many single measurements is biased upwards.

  Returns:
    The median throughput of each configuration, fastest first.
  """
  with contextlib.ExitStack() as stack:
    measures = [
      stack.enter_context(stages.timing_training(setup_lib.make_setup(config)))
      for config in configs
    ]
    rounds = [
      [measure(seconds).steps_per_second for measure in measures]
      for _ in range(_ROUNDS)
    ]
  medians = [statistics.median(speeds) for speeds in zip(*rounds)]
  return sorted(zip(medians, configs), key=lambda found: -found[0])


def is_valid(config: config_lib.Config, num_devices: int) -> bool:
  """Returns whether `config` passes validation on `num_devices` devices."""
  try:
    validation.validate(config, num_devices)
  except config_lib.ConfigError:
    return False
  return True
