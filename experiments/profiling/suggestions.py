"""Flags that would make a training faster on this machine, and by how much."""

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

_WORTH_SAYING = 0.05  # A smaller gain may be noise.
_ROUNDS = 3
_ACTING = ('environment', 'transfer', 'inference')

Rates = Mapping[str, bound_lib.Rate]


class Suggestion(NamedTuple):
  """A change, and what the whole would gain by it, as a share."""

  flags: dict[str, Any]
  gain: float
  why: str


class Alternative(NamedTuple):
  """Flags, and the stages whose cost they change."""

  flags: dict[str, Any]
  names: tuple[str, ...]


def alternatives(
  config: config_lib.Config, num_devices: int, on_accelerator: bool
) -> Iterator[Alternative]:
  """What is worth trying, and can be."""
  for envs in (config.envs_per_actor * 2, config.envs_per_actor // 2):
    if search.is_valid(_with(config, envs_per_actor=envs), num_devices):
      yield Alternative({'envs_per_actor': envs}, _ACTING)
  if config.torso != 'mlp' and not on_accelerator:
    per_device = config.batch_size // num_devices
    today = builders.unrolls_per_pass(config)
    for unrolls in (1, 2, 4):
      if unrolls != today and per_device % unrolls == 0:
        yield Alternative({'unrolls_per_pass': unrolls}, ('update',))
  if on_accelerator and config.precision == 'f32':
    yield Alternative({'precision': 'bf16'}, ('inference', 'update'))


def _with(config: config_lib.Config, **flags: Any) -> config_lib.Config:
  return dataclasses.replace(config, **flags)


def another_actor(
  config: config_lib.Config,
  rates: Rates,
  bound: bound_lib.Bound,
  seconds: float,
) -> Iterator[Suggestion]:
  """One more actor, where the whole is far from its bound, if that is faster.

  Both trainings are measured in turns, so many seconds each time.
  """
  room = bound.steps_per_second / rates[stages.WHOLE].median - 1
  if room <= _WORTH_SAYING or config.lag >= 0:  # In lock-step nothing overlaps.
    return
  flags = {'num_actors': config.num_actors + 1}
  found = search.compare(
    [config, dataclasses.replace(config, **flags)], seconds
  )
  speeds = {changed.num_actors: speed for speed, changed in found}
  gain = speeds[config.num_actors + 1] / speeds[config.num_actors] - 1
  if gain > _WORTH_SAYING:
    yield Suggestion(flags, gain, 'by whole trainings')


def measured(
  config: config_lib.Config,
  rates: Rates,
  find_bound: Callable[[Rates], bound_lib.Bound],
  candidates: Iterator[Alternative],
  seconds: float,
) -> Iterator[Suggestion]:
  """The changes that raise the bound, by measuring the stages they change.

  Args:
    config: what was measured.
    rates: of its stages.
    find_bound: from rates to their bound.
    candidates: from `alternatives`.
    seconds: that a stage is measured for, as it is and changed, in turns.
  """
  before = find_bound(rates).steps_per_second
  with stages.timing_stages(config) as old:
    for flags, names in candidates:
      with stages.timing_stages(dataclasses.replace(config, **flags)) as new:
        changed = {
          name: _changed(rates[name], old[name], new[name], seconds)
          for name in names
        }
      gain = find_bound({**rates, **changed}).steps_per_second / before - 1
      if gain > _WORTH_SAYING:
        yield Suggestion(flags, gain, 'by its stages alone')


def _changed(
  rate: bound_lib.Rate,
  old: stages.Measure,
  new: stages.Measure,
  seconds: float,
) -> bound_lib.Rate:
  """A stage's rate, changed by as much as the new one differs from the old."""
  for measure in (old, new):
    measure(0.0)  # Compilation.
  pairs = [(old(seconds), new(seconds)) for _ in range(_ROUNDS)]
  faster, cheaper = (
    statistics.median(getattr(b, name) / getattr(a, name) for a, b in pairs)
    for name in stages.Reading._fields
  )
  return bound_lib.Rate(
    rate.median * faster,
    rate.best * faster,
    rate.cpu_seconds_per_step * cheaper,
  )
