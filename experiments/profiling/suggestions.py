"""Flag changes that raise the throughput on this machine, and their gain."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import statistics
from typing import Any
from typing import NamedTuple

from experiments import config as config_lib
from experiments.profiling import bound as bound_lib
from experiments.profiling import search
from experiments.profiling import stages
from experiments.training import builders

_MIN_GAIN = 0.05  # A smaller gain may be noise.
_ROUNDS = 3
_ACTING = ('environment', 'transfer', 'inference')

Throughputs = Mapping[str, bound_lib.Throughput]


class Suggestion(NamedTuple):
  """A change of flags, and the throughput that it gains."""

  flags: dict[str, Any]
  gain: float  # As a fraction: 0.1 is 10% more agent steps per second.
  why: str  # How the gain was determined.


class Alternative(NamedTuple):
  """A candidate change of flags, and the stages whose cost it changes."""

  flags: dict[str, Any]
  names: tuple[str, ...]  # Of `stages.NAMES`.


def alternatives(
  config: config_lib.Config, num_devices: int, on_accelerator: bool
) -> Iterator[Alternative]:
  """Yields the valid flag changes that are worth measuring."""
  for envs in (config.envs_per_actor * 2, config.envs_per_actor // 2):
    if search.is_valid(_with(config, envs_per_actor=envs), num_devices):
      yield Alternative({'envs_per_actor': envs}, _ACTING)
  if config.torso != 'mlp' and not on_accelerator:
    per_device = config.batch_size // num_devices
    current = builders.unrolls_per_pass(config)
    for unrolls in (1, 2, 4):
      if unrolls != current and per_device % unrolls == 0:
        yield Alternative({'unrolls_per_pass': unrolls}, ('update',))
  if on_accelerator and config.precision == 'f32':
    yield Alternative({'precision': 'bf16'}, ('inference', 'update'))


def _with(config: config_lib.Config, **flags: Any) -> config_lib.Config:
  return dataclasses.replace(config, **flags)


def another_actor(
  config: config_lib.Config,
  throughputs: Throughputs,
  bound: bound_lib.Bound,
  seconds: float,
) -> Iterator[Suggestion]:
  """Yields the suggestion to add an actor, if a complete run is then faster.

  It is only tried if `lag` is negative and the bound is more than 5% above the
  measured throughput. The two runs are measured in interleaved rounds.

  Args:
    config: the measured configuration.
    throughputs: the `Throughput` of every stage and of the complete run.
    bound: the bound on the throughput.
    seconds: duration of each measurement.
  """
  room = bound.steps_per_second / throughputs[stages.WHOLE].median - 1
  if room <= _MIN_GAIN or config.lag >= 0:  # A fixed lag limits overlap.
    return
  flags = {'num_actors': config.num_actors + 1}
  found = search.compare(
    [config, dataclasses.replace(config, **flags)], seconds
  )
  speeds = {changed.num_actors: speed for speed, changed in found}
  gain = speeds[config.num_actors + 1] / speeds[config.num_actors] - 1
  if gain > _MIN_GAIN:
    yield Suggestion(flags, gain, 'measured on complete runs')


def estimated(
  config: config_lib.Config,
  throughputs: Throughputs,
  find_bound: Callable[[Throughputs], bound_lib.Bound],
  candidates: Iterator[Alternative],
  seconds: float,
) -> Iterator[Suggestion]:
  """Yields the changes that raise the bound.

  Only the stages that a change affects are measured again.

  Args:
    config: the measured configuration.
    throughputs: the `Throughput` of every stage of `config`.
    find_bound: returns the bound for given throughputs.
    candidates: the changes, from `alternatives`.
    seconds: duration of each measurement of a stage; the original and the
      changed stage are measured in interleaved rounds.
  """
  before = find_bound(throughputs).steps_per_second
  with stages.timing_stages(config) as old:
    for flags, names in candidates:
      with stages.timing_stages(dataclasses.replace(config, **flags)) as new:
        changed = {
          name: _changed(throughputs[name], old[name], new[name], seconds)
          for name in names
        }
      gain = (
        find_bound({**throughputs, **changed}).steps_per_second / before - 1
      )
      if gain > _MIN_GAIN:
        yield Suggestion(flags, gain, 'estimated from stages measured alone')


def _changed(
  throughput: bound_lib.Throughput,
  old: stages.Measure,
  new: stages.Measure,
  seconds: float,
) -> bound_lib.Throughput:
  """Scales a stage by the median ratios of the changed stage to the old one."""
  for measure in (old, new):
    measure(0.0)  # Compiles.
  pairs = [(old(seconds), new(seconds)) for _ in range(_ROUNDS)]
  faster, cheaper = (
    statistics.median(getattr(b, name) / getattr(a, name) for a, b in pairs)
    for name in stages.Reading._fields
  )
  return bound_lib.Throughput(
    throughput.median * faster,
    throughput.best * faster,
    throughput.cpu_seconds_per_step * cheaper,
  )
