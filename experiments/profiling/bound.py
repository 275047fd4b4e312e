"""An upper bound on a run's throughput, from the throughput of its stages.

The bound assumes that all stages overlap perfectly: on a CPU no core is ever
idle, on an accelerator the device is never idle. It is an estimate and may be
too low: a stage that busy-waits when measured alone uses CPU time that other
threads can use during training.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import statistics
from typing import NamedTuple

from experiments.profiling import stages

REST = 'rest'
# Stages that use the device; 'queue' includes moving a batch there. On a CPU
# the device is the CPU itself.
_ON_DEVICE = ('transfer', 'inference', 'queue', 'update')


class Throughput(NamedTuple):
  """The throughput and the CPU cost of a stage, over several readings."""

  median: float  # Agent steps per second.
  best: float  # Agent steps per second.
  # The minimum over the readings, because contention and busy-waiting can only
  # increase the cost.
  cpu_seconds_per_step: float


class Bound(NamedTuple):
  """An upper bound on the throughput of a run."""

  steps_per_second: float  # Agent steps per second.
  reason: str  # The limiting resource, as a noun phrase.


def throughput(readings: Sequence[stages.Reading]) -> Throughput:
  """Returns the median, the best and the CPU cost of a stage's readings."""
  speeds = [reading.steps_per_second for reading in readings]
  return Throughput(
    statistics.median(speeds),
    max(speeds),
    min(reading.cpu_seconds_per_step for reading in readings),
  )


def bound(
  throughputs: Mapping[str, Throughput], num_cores: int, on_accelerator: bool
) -> Bound:
  """Returns the throughput that a perfect overlap of the stages would reach.

  Let c_i be the `cpu_seconds_per_step` of stage i and t_i = 1 / `best` its
  wall-clock seconds per agent step. The bound is the minimum of

    num_cores / sum_i c_i,
    1 / t_update: one update is in flight at a time,
    1 / t_environment: all environments were measured in parallel,
    1 / sum_i t_i over the stages on the device, if it is an accelerator.

  Args:
    throughputs: the `Throughput` of every stage of `stages.NAMES`, by name.
    num_cores: number of CPU cores of the host.
    on_accelerator: whether the device is an accelerator, not the host's CPU.
  """
  cores = sum(throughputs[name].cpu_seconds_per_step for name in stages.NAMES)
  bounds = [
    Bound(num_cores / cores, f'the CPU time of {num_cores} cores'),
    Bound(
      throughputs['update'].best,
      'the learner, with one update in flight at a time',
    ),
    Bound(
      throughputs['environment'].best, 'the throughput of the environments'
    ),
  ]
  if on_accelerator:
    device = sum(1 / throughputs[name].best for name in _ON_DEVICE)
    bounds.append(Bound(1 / device, 'the device time'))
  return min(bounds)


def shares(
  throughputs: Mapping[str, Throughput], on_accelerator: bool
) -> dict[str, float]:
  """Returns each stage's share of the cost of an agent step; they sum to 1.

  The cost is device time on an accelerator, and CPU time on a CPU. On a CPU,
  complete training may use more CPU time than the sum of its stages. The excess
  is the share `REST`: Python code between the stages, and waiting.

  Args:
    throughputs: the `Throughput` of every stage of `stages.NAMES`, and of
      complete training under `stages.WHOLE`.
    on_accelerator: whether the device is an accelerator, not the host's CPU.
  """
  if on_accelerator:
    costs = {name: 1 / throughputs[name].best for name in _ON_DEVICE}
  else:
    costs = {
      name: throughputs[name].cpu_seconds_per_step for name in stages.NAMES
    }
    whole = throughputs[stages.WHOLE].cpu_seconds_per_step
    costs[REST] = max(0.0, whole - sum(costs.values()))
  total = sum(costs.values())
  return {name: cost / total for name, cost in costs.items()}
