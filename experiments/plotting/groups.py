"""Groups of runs that differ in their seeds only, and names for the groups."""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import NamedTuple

from experiments import config as config_lib
from experiments.plotting import runs as runs_lib

_FIELDS = {field.name: field for field in dataclasses.fields(config_lib.Config)}


class Group(NamedTuple):
  """Runs that differ in their seeds only."""

  name: str  # The settings that distinguish it from the other groups.
  runs: list[runs_lib.Run]

  @property
  def env(self) -> str:
    """The environment id."""
    return self.runs[0].config['env']

  @property
  def is_uneven(self) -> bool:
    """Whether some runs have recorded more frames than others."""
    return len({run.frames[-1] for run in self.runs if run.rows}) > 1

  @property
  def label(self) -> str:
    """The name and the number of runs, for a legend."""
    num_runs = len(self.runs)
    seeds = {run.config['seed'] for run in self.runs}
    kind = 'seed' if len(seeds) == num_runs else 'run'
    return f'{self.name} ({num_runs} {kind}{"s" if num_runs > 1 else ""})'


def uneven_note(groups: Sequence[Group]) -> str:
  """Returns what to add to a caption if the seeds of a group end apart."""
  return ', as far as each goes' * any(group.is_uneven for group in groups)


def group(runs: Sequence[runs_lib.Run]) -> list[Group]:
  """Groups runs by the settings that differ, sorted by these settings."""
  fields = _differing([run.config for run in runs])
  groups = {}
  for run in runs:
    values = tuple(run.config[name] for name in fields)
    groups.setdefault(values, []).append(run)
  ordered = sorted(groups, key=lambda values: [_sort_key(x) for x in values])
  return [Group(_name(fields, x, groups[x]), groups[x]) for x in ordered]


def _differing(configs: Sequence[dict[str, Any]]) -> list[str]:
  """Returns the fields that distinguish groups, in the order of `Config`.

  Fields that only some runs have, from another version, are ignored.
  """
  names = dict.fromkeys([*_FIELDS, *(n for config in configs for n in config)])
  return [
    name
    for name in names
    if _can_distinguish(name)
    and all(name in config for config in configs)
    and len({config[name] for config in configs}) > 1
  ]


def _can_distinguish(name: str) -> bool:
  """Returns whether `name` is neither the seed nor a resumable field."""
  field = _FIELDS.get(name)
  return name != 'seed' and not (field and field.metadata['resumable'])


def _name(
  fields: Sequence[str], values: Sequence[Any], runs: Sequence[runs_lib.Run]
) -> str:
  """Returns e.g. 'lag=0, lambda_=0.9', or the environment if none differ."""
  settings = [f'{name}={value}' for name, value in zip(fields, values)]
  return ', '.join(settings) or runs[0].config['env']


def _sort_key(value: Any) -> tuple[bool, Any]:
  """Returns a key that sorts numbers by value, then other values as text."""
  number = isinstance(value, (int, float))
  return (not number, value if number else str(value))
