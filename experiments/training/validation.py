"""Validation of configurations.

`check_fields` checks each field by itself, `validate` also their combinations;
`warn` warns of valid ones that are unusual.
"""

import dataclasses
import math
from typing import Any

from absl import logging
import jax

from experiments import config as config_lib
import vtrace

# At 0 these make every gradient of the parameters, the values or the policy 0.
# The threshold c_bar is not among them: at 0 the value targets are one-step.
_POSITIVE = ('max_grad_norm', 'clip_rho_threshold', 'clip_pg_rho_threshold')


def validate(config: config_lib.Config, num_devices: int) -> None:
  """Validates the settings of a training run on `num_devices` devices.

  Raises:
    ConfigError: if a field or a combination of fields is invalid, or if JAX
      runs on several hosts.
  """
  if jax.process_count() > 1:
    raise config_lib.ConfigError(
      f'JAX runs as {jax.process_count()} processes, which would train apart '
      'from each other: several hosts are not supported, so start one process '
      'without jax.distributed.'
    )
  check_fields(config)
  _check_positive(config)
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


def warn(config: config_lib.Config) -> None:
  """Logs a warning if a valid configuration leaves the theory of the paper."""
  rho_bar, c_bar = config.clip_rho_threshold, config.clip_c_threshold
  clips = vtrace.corrections.CORRECTIONS[config.correction].clips_values
  if clips and rho_bar < c_bar:
    logging.warning(
      '--clip_rho_threshold=%g is less than --clip_c_threshold=%g, but theorem '
      "1 proves V-trace's convergence for rho_bar >= c_bar only.",
      rho_bar,
      c_bar,
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


def _check_positive(config: config_lib.Config) -> None:
  """Raises a ConfigError if a threshold is 0, so that nothing is learned."""
  for name in _POSITIVE:
    if not getattr(config, name):
      raise config_lib.ConfigError(
        f'--{name}=0 trains nothing; expected a positive number, or inf for no '
        'clipping.'
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
