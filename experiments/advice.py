"""Flags that would make a training faster on this machine, and by how much."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import itertools
from typing import Any
from typing import NamedTuple

from experiments import checks
from experiments import config as config_lib
from experiments import doctor
from experiments import stages

TUNED = ('num_actors', 'envs_per_actor', 'batch_size')
_WORTH_SAYING = 0.03  # A smaller gain is noise.


class Advice(NamedTuple):
  """A change, and what the whole would gain by it, as a share."""

  flags: dict[str, Any]
  gain: float
  why: str


def overlap(rates: Mapping[str, doctor.Rate], bound: doctor.Bound) -> float:
  """The gain that a perfect overlap would bring."""
  return bound.steps_per_second / rates[stages.WHOLE].median - 1


def alternatives(
  config: config_lib.Config, num_devices: int, on_accelerator: bool
) -> Iterator[dict[str, Any]]:
  """Flags whose effect on the stages is worth measuring; all of them can be."""
  per_device = config.batch_size // num_devices
  for envs in (config.envs_per_actor * 2, config.envs_per_actor // 2):
    if envs and config.batch_size % envs == 0:
      yield {'envs_per_actor': envs}
  if config.torso != 'mlp':
    for unrolls in (1, 2, 4, per_device):
      if unrolls != config.unrolls_per_pass and per_device % unrolls == 0:
        yield {'unrolls_per_pass': unrolls}
  if on_accelerator and config.precision == 'f32':
    yield {'precision': 'bf16'}


def measured(
  config: config_lib.Config,
  rates: Mapping[str, doctor.Rate],
  find_bound: Callable[[Mapping[str, doctor.Rate]], doctor.Bound],
  changes: Iterator[dict[str, Any]],
  seconds: float,
) -> Iterator[Advice]:
  """The changes that raise the bound, by measuring their stages alone.

  Args:
    config: what was measured.
    rates: its stages.
    find_bound: from rates to their bound.
    changes: from `alternatives`.
    seconds: a stage is measured for.
  """
  before = find_bound(rates).steps_per_second
  for flags in changes:
    changed = dataclasses.replace(config, num_actors=1, **flags)
    after = find_bound(_rates(changed, seconds)).steps_per_second
    if after > (1 + _WORTH_SAYING) * before:
      yield Advice(flags, after / before - 1, 'the stages alone allow it')


def tuned(
  config: config_lib.Config, num_devices: int, seconds: float
) -> Iterator[tuple[float, config_lib.Config]]:
  """Measures whole trainings; (agent steps per second, its configuration).

  Number of actors, environments of each, and batch size, around what is asked
  for; a combination that cannot be is left out.
  """
  combinations = itertools.product(
    (1, 2, 3, 4),
    sorted({config.envs_per_actor * 2**i // 4 for i in range(5)} - {0}),
    sorted({config.batch_size, config.batch_size * 2}),
  )
  for values in combinations:
    changed = dataclasses.replace(config, **dict(zip(TUNED, values)))
    with contextlib.suppress(config_lib.ConfigError):
      checks.check(changed, num_devices)
      with stages.together(stages.set_up(changed)) as measure:
        yield measure(seconds).steps_per_second, changed


def _rates(config: config_lib.Config, seconds: float) -> dict[str, doctor.Rate]:
  setup = stages.set_up(config)
  with contextlib.ExitStack() as stack:
    for world in setup.worlds:
      stack.callback(world.close)
    readings = {name: [] for name in stages.NAMES}
    measures = stages.alone(setup)
    for measure in measures.values():
      measure(0.0)  # Compilation.
    for _ in range(3):
      for name, measure in measures.items():
        readings[name].append(measure(seconds))
  return {name: doctor.rate(its) for name, its in readings.items()}
