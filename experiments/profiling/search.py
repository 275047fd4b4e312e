"""Whole trainings of other shapes, measured: which is the fastest here?"""

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

# Agent steps per second, and whose they are.
Found = tuple[float, config_lib.Config]


def flags(config: config_lib.Config) -> dict[str, Any]:
  """The flags that are tuned, as `config` has them."""
  return {name: getattr(config, name) for name in _TUNED}


def combinations(
  config: config_lib.Config, num_devices: int
) -> list[config_lib.Config]:
  """Numbers of actors, environments of each, and batch sizes, that can be.

  What is asked for is among them.
  """
  values = itertools.product(
    sorted({1, 2, 3, 4, config.num_actors}),
    sorted({config.envs_per_actor * 2**i // 4 for i in range(5)} - {0}),
    (config.batch_size, config.batch_size * 2),
  )
  changed = (
    dataclasses.replace(config, **dict(zip(_TUNED, some))) for some in values
  )
  return [each for each in changed if is_valid(each, num_devices)]


def measure_each(
  configs: Sequence[config_lib.Config], seconds: float
) -> Iterator[Found]:
  """Measures each once, one after the other."""
  for config in configs:
    with stages.timing_training(setup_lib.make_setup(config)) as measure:
      yield measure(seconds).steps_per_second, config


def compare(
  configs: Sequence[config_lib.Config], seconds: float
) -> list[Found]:
  """Measures these in turns, for the best of many single looks was lucky too.

  Returns:
    Medians, the fastest first.
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
  """Whether a run may have these values."""
  try:
    validation.validate(config, num_devices)
  except config_lib.ConfigError:
    return False
  return True
