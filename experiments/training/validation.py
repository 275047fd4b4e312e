"""Rejects configurations that no run can have.

`check_fields` looks at each field alone, `validate` at all of them together.
"""

import dataclasses
import math
from typing import Any

from experiments import config as config_lib


def validate(config: config_lib.Config, num_devices: int) -> None:
  """Raises a ConfigError of one sentence if no run can have these settings."""
  check_fields(config)
  if config.replay_fraction:
    _check_replay(config)
  elif config.batch_size % config.envs_per_actor:
    raise config_lib.ConfigError(
      f'--batch_size={config.batch_size} is not a multiple of '
      f'--envs_per_actor={config.envs_per_actor}: an actor hands over one '
      'unroll of each of its environments at once, and a batch takes them all.'
    )
  if config.batch_size % num_devices:
    raise config_lib.ConfigError(
      f'--batch_size={config.batch_size} does not divide over the '
      f'{num_devices} devices.'
    )
  per_device = config.batch_size // num_devices
  if config.unrolls_per_pass and per_device % config.unrolls_per_pass:
    raise config_lib.ConfigError(
      f'--unrolls_per_pass={config.unrolls_per_pass} does not divide the '
      f'{per_device} unrolls of a device.'
    )


def check_fields(config: config_lib.Config) -> None:
  """Raises a ConfigError for a value of another type, or one out of range."""
  for field in dataclasses.fields(config_lib.Config):
    value = getattr(config, field.name)
    _check_type(value, field)
    bounds, choices = field.metadata['bounds'], field.metadata['choices']
    if bounds and not bounds[0] <= value <= bounds[1]:
      raise config_lib.ConfigError(
        f'--{field.name}={value} is not in [{bounds[0]}, {bounds[1]}].'
      )
    if choices and value not in choices:
      near = config_lib.did_you_mean(value, choices)
      raise config_lib.ConfigError(f'Unknown --{field.name}={value}.{near}')


def _check_type(value: Any, field: dataclasses.Field) -> None:
  """Flags have their types; what a notebook hands over may not."""
  kinds = (int, float) if field.type is float else (field.type,)
  if type(value) not in kinds:
    raise config_lib.ConfigError(
      f'{field.name}={value!r} is not of type {field.type.__name__}.'
    )


def _check_replay(config: config_lib.Config) -> None:
  """Raises a ConfigError if new and replayed unrolls make no batch."""
  new = config.batch_size * (1 - config.replay_fraction)
  if not new or not math.isclose(new, round(new)):
    raise config_lib.ConfigError(
      f'--replay_fraction={config.replay_fraction} leaves {new:g} new unrolls '
      f'of a batch of {config.batch_size}.'
    )
  if round(new) % config.envs_per_actor:
    raise config_lib.ConfigError(
      f'--replay_fraction={config.replay_fraction} leaves {new:g} new unrolls '
      f'of a batch of {config.batch_size}, no multiple of '
      f'--envs_per_actor={config.envs_per_actor}.'
    )
  if config.replay_capacity < config.envs_per_actor:
    raise config_lib.ConfigError(
      f'--replay_capacity={config.replay_capacity} is less than the '
      f'{config.envs_per_actor} unrolls that an actor hands over at once: '
      '--envs_per_actor.'
    )
