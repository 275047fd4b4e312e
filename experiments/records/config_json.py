"""config.json: writes, reads and compares the configuration of a run."""

import dataclasses
import json
import pathlib
from typing import Any

from experiments import config as config_lib
from experiments.records import atomic_file
from experiments.records import strict_json

_NOT_FINITE = ('inf', '-inf', 'nan')  # As `strict_json` writes them.


def read(logdir: pathlib.Path) -> dict[str, Any] | None:
  """Reads the configuration recorded in `logdir`; None if there is none.

  Raises:
    ConfigError: if the file cannot be read or is not a JSON object.
  """
  path = logdir / 'config.json'
  try:
    values = json.loads(path.read_text())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError) as error:
    raise config_lib.ConfigError(f'{path} cannot be read: {error}.') from error
  if not isinstance(values, dict):
    raise config_lib.ConfigError(
      f'{path} holds no configuration: expected a JSON object.'
    )
  return _with_floats(values)


def write(config: config_lib.Config, logdir: pathlib.Path) -> None:
  """Writes config.json; updates only the extendable fields of a resumed run."""
  recorded, values = read(logdir), dataclasses.asdict(config)
  if recorded is not None:
    values = recorded | {
      name: values[name] for name in extended(recorded, config)
    }
  if values != recorded:
    with atomic_file.replacing(logdir / 'config.json') as path:
      path.write_text(strict_json.dumps(values, indent=2) + '\n')


def parse(values: dict[str, Any]) -> config_lib.Config:
  """Returns the configuration of recorded values; absent ones get defaults.

  Raises:
    ConfigError: if this version does not know one of the settings.
  """
  unknown = values.keys() - {
    field.name for field in dataclasses.fields(config_lib.Config)
  }
  if unknown:
    raise config_lib.ConfigError(
      f'The recorded run has settings that this version does not know: '
      f'{", ".join(sorted(unknown))}.'
    )
  return config_lib.Config(**_with_floats(values))


def changes(old: dict[str, Any], new: config_lib.Config) -> list[str]:
  """Returns the names of changed fields that a resumed run must not change."""
  return [
    field.name
    for field in _differing(old, new)
    if not (field.metadata['resumable'] or field.metadata['extendable'])
  ]


def extended(old: dict[str, Any], new: config_lib.Config) -> list[str]:
  """Returns the names of extendable fields that differ."""
  return [
    field.name for field in _differing(old, new) if field.metadata['extendable']
  ]


def _differing(
  old: dict[str, Any], new: config_lib.Config
) -> list[dataclasses.Field]:
  old = _with_floats(old)
  return [
    field
    for field in dataclasses.fields(config_lib.Config)
    if old.get(field.name, field.default) != getattr(new, field.name)
  ]


def _with_floats(values: dict[str, Any]) -> dict[str, Any]:
  """Returns recorded values with 'inf' of a float field as a float.

  Files of earlier versions have Infinity instead, which json reads.
  """
  floats = [
    field.name
    for field in dataclasses.fields(config_lib.Config)
    if field.type is float and values.get(field.name) in _NOT_FINITE
  ]
  return values | {name: float(values[name]) for name in floats}
