"""What cannot be is refused, in a sentence, before anything is made."""

import dataclasses
import math
import sys
from typing import Any

from experiments import config as config_lib

_COUNT = (1, 2**53)
_FINITE = (0.0, sys.float_info.max)
_ANY = (0.0, math.inf)
RANGES = {
  'num_frames': _COUNT,
  'seed': (0, 2**32 - 1),  # What a JAX key can tell apart.
  'num_actors': (1, 10_000),
  'envs_per_actor': (1, 10**6),
  'unroll_length': _COUNT,
  'queue_capacity': (1, 10**6),
  'lag': (-1, 10_000),
  'timeout_seconds': (1.0, math.inf),
  'batch_size': _COUNT,
  'unrolls_per_pass': (0, 2**53),
  'replay_fraction': (0.0, 1.0),
  'replay_capacity': _COUNT,
  'learning_rate': _FINITE,
  'rmsprop_decay': (0.0, 1.0),
  'rmsprop_epsilon': _FINITE,
  'max_grad_norm': _ANY,
  'discount': (0.0, 1.0),
  'baseline_cost': _FINITE,
  'entropy_cost': _FINITE,
  'clip_rho_threshold': _ANY,
  'clip_c_threshold': _ANY,
  'clip_pg_rho_threshold': _ANY,
  'lambda_': (0.0, 1.0),
  'log_updates': _COUNT,
  'return_window': _COUNT,
  'checkpoint_seconds': _ANY,
}


def check(config: config_lib.Config, num_devices: int) -> None:
  """Refuses what cannot be, before anything is made.

  Raises:
    ConfigError: with one sentence.
  """
  for field in dataclasses.fields(config_lib.Config):
    _check_type(getattr(config, field.name), field)
  for name, (least, most) in RANGES.items():
    value = getattr(config, name)
    if not least <= value <= most:
      raise config_lib.ConfigError(
        f'--{name}={value} is not in [{least}, {most}].'
      )
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


def _check_replay(config: config_lib.Config) -> None:
  """New unrolls are whole rollouts; what is replayed must be kept."""
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


def _check_type(value: Any, field: dataclasses.Field) -> None:
  """Flags have their types; what a notebook hands over may not."""
  kinds = (int, float) if field.type is float else (field.type,)
  if type(value) not in kinds:
    raise config_lib.ConfigError(
      f'{field.name}={value!r} is not of type {field.type.__name__}.'
    )
