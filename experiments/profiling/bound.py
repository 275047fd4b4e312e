"""What stands between a training and the speed of its parts.

The bound is the rate of a perfect overlap: no core ever idle on a CPU, the
accelerator never idle elsewhere. It is an estimate: a stage that waits may burn
a processor's time that training gives to others.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import statistics
from typing import NamedTuple

from experiments.profiling import stages

REST = 'rest'
# Stages whose work is the device's; on a CPU that is the cores' as well.
_ON_DEVICE = ('transfer', 'inference', 'queue', 'update')


class Rate(NamedTuple):
  """A stage's readings, summed up."""

  median: float  # Agent steps per second.
  best: float
  # The least: what is more was spent on waiting for a turn.
  cpu_seconds_per_step: float


class Bound(NamedTuple):
  """The most that these stages allow."""

  steps_per_second: float
  reason: str


def rate(readings: Sequence[stages.Reading]) -> Rate:
  """Median and best of a stage's readings."""
  speeds = [reading.steps_per_second for reading in readings]
  return Rate(
    statistics.median(speeds),
    max(speeds),
    min(reading.cpu_seconds_per_step for reading in readings),
  )


def bound(
  rates: Mapping[str, Rate], num_cores: int, on_accelerator: bool
) -> Bound:
  """The rate of a perfect overlap of the stages.

  With c_i the processor seconds and t_i the seconds that stage i takes for an
  agent step alone, it is the least of

    num_cores / sum_i c_i,
    1 / t_update: one update is in flight at a time,
    1 / t_environment, of all environments at once,
    1 / sum_i t_i over the stages of the device, if that is an accelerator.

  Args:
    rates: of every stage of `stages.NAMES`.
    num_cores: of the host.
    on_accelerator: whether the device is another than the host.
  """
  cores = sum(rates[name].cpu_seconds_per_step for name in stages.NAMES)
  bounds = [
    Bound(num_cores / cores, f'{num_cores} cores without a pause'),
    Bound(rates['update'].best, 'one update at a time'),
    Bound(rates['environment'].best, 'the environments alone'),
  ]
  if on_accelerator:
    device = sum(1 / rates[name].best for name in _ON_DEVICE)
    bounds.append(Bound(1 / device, 'the device without a pause'))
  return min(bounds)


def shares(rates: Mapping[str, Rate], on_accelerator: bool) -> dict[str, float]:
  """Each stage's part of what is short: the device's time, or the cores'.

  Of the cores' time the whole may take more than its stages do: the rest is
  what Python does between them, and waits.
  """
  if on_accelerator:
    costs = {name: 1 / rates[name].best for name in _ON_DEVICE}
  else:
    costs = {name: rates[name].cpu_seconds_per_step for name in stages.NAMES}
    whole = rates[stages.WHOLE].cpu_seconds_per_step
    costs[REST] = max(0.0, whole - sum(costs.values()))
  total = sum(costs.values())
  return {name: cost / total for name, cost in costs.items()}
