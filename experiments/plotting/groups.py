"""Runs that differ in seed alone, put together, and what tells them apart."""

from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import NamedTuple

from experiments import config as config_lib
from experiments.plotting import runs as runs_lib

_FIELDS = {field.name: field for field in dataclasses.fields(config_lib.Config)}


class Group(NamedTuple):
  """Runs that differ in their seeds alone."""

  name: str  # What tells it apart from the other groups.
  runs: list[runs_lib.Run]

  @property
  def env(self) -> str:
    """Where they were trained."""
    return self.runs[0].config['env']

  @property
  def label(self) -> str:
    """Its name, and how many runs there are, for a legend."""
    num_runs = len(self.runs)
    seeds = {run.config['seed'] for run in self.runs}
    kind = 'seed' if len(seeds) == num_runs else 'run'
    return f'{self.name} ({num_runs} {kind}{"s" if num_runs > 1 else ""})'


def group(runs: Sequence[runs_lib.Run]) -> list[Group]:
  """Puts the runs together, the groups ordered by what tells them apart."""
  fields = _differing([run.config for run in runs])
  groups = {}
  for run in runs:
    values = tuple(run.config[name] for name in fields)
    groups.setdefault(values, []).append(run)
  ordered = sorted(groups, key=lambda values: [_order(x) for x in values])
  return [Group(_name(fields, x, groups[x]), groups[x]) for x in ordered]


def _differing(configs: Sequence[dict[str, Any]]) -> list[str]:
  """The fields that tell groups apart, in the order of `Config`.

  A field that only some runs know, of a version before or after, tells nothing.
  """
  names = dict.fromkeys([*_FIELDS, *(n for config in configs for n in config)])
  return [
    name
    for name in names
    if _tells_apart(name)
    and all(name in config for config in configs)
    and len({config[name] for config in configs}) > 1
  ]


def _tells_apart(name: str) -> bool:
  """Not the seed, nor what a run may change without becoming another."""
  field = _FIELDS.get(name)
  return name != 'seed' and not (field and field.metadata['resumable'])


def _name(
  fields: Sequence[str], values: Sequence[Any], runs: Sequence[runs_lib.Run]
) -> str:
  """lag=0, lambda_=0.9; the environment if there is nothing to tell apart."""
  settings = [f'{name}={value}' for name, value in zip(fields, values)]
  return ', '.join(settings) or runs[0].config['env']


def _order(value: Any) -> tuple[bool, Any]:
  """Numbers by their size, then the rest by its letters."""
  number = isinstance(value, (int, float))
  return (not number, value if number else str(value))
