"""config.json: a run's configuration, written, read back and compared."""

import dataclasses
import json
import pathlib
from typing import Any

from experiments import config as config_lib
from experiments.records import atomic_file


def read(logdir: pathlib.Path) -> dict[str, Any] | None:
  """The configuration of the run that is there, as it was recorded."""
  path = logdir / 'config.json'
  try:
    values = json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError) as error:
    raise config_lib.ConfigError(f'{path} cannot be read: {error}.') from error
  if not isinstance(values, dict):
    raise config_lib.ConfigError(f'{path} is no configuration of a run.')
  return values


def write(config: config_lib.Config, logdir: pathlib.Path) -> None:
  """Writes config.json, unless the run that goes on has."""
  if (logdir / 'config.json').exists():
    return
  with atomic_file.replacing(logdir / 'config.json') as path:
    path.write_text(json.dumps(dataclasses.asdict(config), indent=2) + '\n')


def parse(values: dict[str, Any]) -> config_lib.Config:
  """The configuration that a run recorded.

  Raises:
    ConfigError: if it has settings that are none of this version's.
  """
  unknown = values.keys() - {
    field.name for field in dataclasses.fields(config_lib.Config)
  }
  if unknown:
    raise config_lib.ConfigError(
      f'The run has settings that this version does not know: '
      f'{", ".join(sorted(unknown))}.'
    )
  return config_lib.Config(**values)


def changes(old: dict[str, Any], new: config_lib.Config) -> list[str]:
  """The settings of a recorded run that `new` would change the meaning of."""
  return [
    field.name
    for field in dataclasses.fields(config_lib.Config)
    if not field.metadata['resumable']
    and old.get(field.name, field.default) != getattr(new, field.name)
  ]
