"""Validation of configurations.

`check_fields` checks each field by itself, `validate` also their combinations.
"""

import dataclasses
import math
from typing import Any

from experiments import config as config_lib


def validate(config: config_lib.Config, num_devices: int) -> None:
  """Validates the settings of a training run on `num_devices` devices.

  Raises:
    ConfigError: if a field or a combination of fields is invalid.
  """
  check_fields(config)
  if config.replay_fraction:
    _check_replay(config)
  elif config.batch_size % config.envs_per_actor:
    raise config_lib.ConfigError(
      f'--batch_size={config.batch_size} is not a multiple of '
      f'--envs_per_actor={config.envs_per_actor}. A rollout has one unroll of '
      'each environment of an actor, and a batch takes complete rollouts.'
    )
  if config.batch_size % num_devices:
    raise config_lib.ConfigError(
      f'--batch_size={config.batch_size} is not a multiple of the number of '
      f'devices, {num_devices}.'
    )
  per_device = config.batch_size // num_devices
  if config.unrolls_per_pass and per_device % config.unrolls_per_pass:
    raise config_lib.ConfigError(
      f'--unrolls_per_pass={config.unrolls_per_pass} does not divide the '
      f'{per_device} unrolls per device.'
    )


def check_fields(config: config_lib.Config) -> None:
  """Raises a ConfigError if a value has a wrong type or is out of range."""
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
  """Raises a ConfigError if a value, e.g. from a notebook, has a wrong type."""
  kinds = (int, float) if field.type is float else (field.type,)
  if type(value) not in kinds:
    raise config_lib.ConfigError(
      f'{field.name}={value!r} is not of type {field.type.__name__}.'
    )


def _check_replay(config: config_lib.Config) -> None:
  """Raises a ConfigError if new and replayed unrolls cannot form a batch."""
  new = config.batch_size * (1 - config.replay_fraction)
  if not new or not math.isclose(new, round(new)):
    raise config_lib.ConfigError(
      f'--replay_fraction={config.replay_fraction} leaves {new:g} new unrolls '
      f'in a batch of {config.batch_size}; expected a positive integer.'
    )
  if round(new) % config.envs_per_actor:
    raise config_lib.ConfigError(
      f'--replay_fraction={config.replay_fraction} leaves {new:g} new unrolls '
      f'in a batch of {config.batch_size}, which is not a multiple of '
      f'--envs_per_actor={config.envs_per_actor}.'
    )
  if config.replay_capacity < config.envs_per_actor:
    raise config_lib.ConfigError(
      f'--replay_capacity={config.replay_capacity} is less than '
      f'--envs_per_actor={config.envs_per_actor}, the number of unrolls in one '
      'rollout.'
    )
