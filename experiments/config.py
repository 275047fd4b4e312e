"""Every number of a run, written once, with its help and its source.

`Config` holds the defaults: the paper's Atari values (appendix G, table G.1,
unless a field says otherwise). A preset overrides some of them, a flag
overrides both.
"""

import dataclasses
import difflib
import math
import os
import pathlib
import sys
from typing import Any


class ConfigError(ValueError):
  """The user asked for something that cannot be; the message says what."""


def _field(default: Any, help_text: str, may_change: bool = False) -> Any:
  """A setting; `may_change` when a run goes on: its meaning stays."""
  metadata = {'help': help_text, 'may_change': may_change}
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
  """A run. Frames are environment frames, action repeats included."""

  # The world.
  env: str = _field(
    'Pong-v5',
    "'Catch', 'DelayedCatch', the id of an EnvPool task with a single discrete "
    "action, or 'module:factory' that makes an environment of dm_env or "
    'Gymnasium.',
  )
  num_frames: int = _field(
    200_000_000, 'Environment frames to train for. Paper: 200M per Atari game.'
  )
  seed: int = _field(
    0,
    'Of parameters, actions and worlds. Without --lag runs of one seed still '
    'differ: when new parameters reach an actor is a matter of time.',
  )
  # The agent.
  torso: str = _field(
    'deep',
    "'shallow' or 'deep' (figure 3), or 'mlp', which takes any observation.",
  )
  use_lstm: bool = _field(
    False, 'An LSTM of 256 between torso and heads. Paper: not on Atari.'
  )
  precision: str = _field(
    'f32',
    "'f32', or 'bf16': the layers of torso and core compute in bfloat16, for "
    'accelerators; all else stays float32. Ours.',
  )
  # The actors.
  num_actors: int = _field(
    2,
    'Actor threads. They take turns: while one waits '
    'for its environments another computes. Ours.',
  )
  envs_per_actor: int = _field(
    32, 'Environments stepped together by one actor. Ours.'
  )
  unroll_length: int = _field(20, 'Agent steps of an unroll, T. Table G.1.')
  queue_capacity: int = _field(
    1,
    'How many rollouts, its unrolls of T steps, an actor may be ahead of the '
    'learner; bounds the policy lag. Ours.',
  )
  lag: int = _field(
    -1,
    'How many updates old the parameters are that acted for a batch, exactly: '
    '0 acts and learns in turns, k keeps k older parameters; runs of one seed '
    'are then the same. -1: whatever is newest, bounded by the queue. Ours.',
  )
  timeout_seconds: float = _field(
    600.0,
    'Longest wait of an actor for the learner or the other way round, '
    'compilation included. Ours.',
    may_change=True,
  )
  # The learner.
  batch_size: int = _field(32, 'Unrolls in an update, over all devices. G.1.')
  unrolls_per_pass: int = _field(
    0,
    'Accumulate the gradient over groups of this many unrolls: the same '
    'gradient. 0: one or two for images on CPU, whichever is faster, and '
    'all at once otherwise. Ours.',
    may_change=True,
  )
  replay_fraction: float = _field(
    0.0,
    'Of the unrolls of a batch those that are drawn from the last '
    'replay_capacity ones; frames count once, when they are new. Section '
    '5.2.2: half.',
  )
  replay_capacity: int = _field(
    10_000,
    'Unrolls that are kept to be replayed, at most, first in first out. '
    'Section 5.2.2.',
  )
  learning_rate: float = _field(
    6e-4, 'Falls linearly to 0 over all frames. G.1.'
  )
  rmsprop_decay: float = _field(0.99, 'Of the second moment. Table G.1.')
  rmsprop_epsilon: float = _field(0.01, 'Inside the square root. Table G.1.')
  max_grad_norm: float = _field(
    40.0, 'Clip of the global norm; inf: none. G.1.'
  )
  # The loss.
  discount: float = _field(0.99, 'gamma. Table G.1.')
  reward_clipping: str = _field(
    'abs_one',
    "'abs_one', 'soft_asymmetric' (DMLab-30, as released), "
    "'soft_asymmetric_paper' (figure D.1), or 'none'. Table G.1: [-1, 1].",
  )
  baseline_cost: float = _field(0.5, 'Weight of the baseline loss. Table G.1.')
  entropy_cost: float = _field(0.01, 'Weight of the entropy bonus. Table G.1.')
  correction: str = _field(
    'vtrace',
    "For policy lag: 'vtrace', 'one_step', 'epsilon' or 'none'. Section 5.2.2.",
  )
  clip_rho_threshold: float = _field(
    1.0, 'rho_bar of V-trace; inf: none. Section 4.1.'
  )
  clip_c_threshold: float = _field(
    1.0, 'c_bar of V-trace; inf: none. Section 4.1.'
  )
  clip_pg_rho_threshold: float = _field(
    1.0, "Clip of the policy gradient's weights; inf: none. The authors' code."
  )
  lambda_: float = _field(1.0, 'lambda of V-trace. Remark 2.')
  # The records.
  logdir: str = _field(
    '',
    'Where the run is recorded; a run that is there goes on. Empty: a new '
    'folder in runs/, named after environment, seed, time and process.',
    may_change=True,
  )
  log_updates: int = _field(100, 'Updates between two rows of metrics. Ours.')
  return_window: int = _field(100, 'Episodes that mean_return averages. Ours.')
  checkpoint_seconds: float = _field(
    60.0,
    'Seconds between two checkpoints; the last three are kept. Ours.',
    may_change=True,
  )
  debug_nans: bool = _field(
    False,
    'Stop at the very computation that makes a NaN, at some cost in speed.',
    may_change=True,
  )


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

PRESETS: dict[str, dict[str, Any]] = {
  # Seconds on a laptop. Values ours.
  'catch': dict(
    env='Catch',
    num_frames=400_000,
    torso='mlp',
    learning_rate=2e-3,
    batch_size=32,
    return_window=200,
  ),
  # The paper's Atari agent: the defaults above.
  'atari': dict(),
  # Pong for 2 CPU cores. Values ours; what differs from the paper's: the
  # shallow torso; 8 unrolls an update instead of 32, so that few frames give
  # many updates; a smaller epsilon and a higher learning rate, to match; a
  # lambda below 1, so that targets are less noisy; half the entropy cost; and a
  # tenth of the frames. See results/README.md for what it reaches.
  'pong': dict(
    env='Pong-v5',
    num_frames=20_000_000,
    torso='shallow',
    envs_per_actor=8,
    batch_size=8,
    learning_rate=8e-4,
    rmsprop_epsilon=1e-5,
    entropy_cost=0.005,
    lambda_=0.9,
    return_window=50,
  ),
}


def from_preset(preset: str, **overrides: Any) -> Config:
  """The preset called `preset`, with `overrides`.

  Raises:
    ConfigError: if there is no such preset, or an override names no field.
  """
  if preset not in PRESETS:
    raise ConfigError(
      f'Unknown preset {preset!r}.{did_you_mean(preset, PRESETS)}'
    )
  names = [field.name for field in dataclasses.fields(Config)]
  for name in overrides:
    if name not in names:
      raise ConfigError(f'Unknown setting {name!r}.{did_you_mean(name, names)}')
  return Config(**(PRESETS[preset] | overrides))


def validate(config: Config, num_devices: int) -> None:
  """Refuses what cannot be, before anything is made.

  Raises:
    ConfigError: with one sentence.
  """
  for field in dataclasses.fields(Config):
    _check_type(getattr(config, field.name), field)
  for name, (least, most) in RANGES.items():
    value = getattr(config, name)
    if not least <= value <= most:
      raise ConfigError(f'--{name}={value} is not in [{least}, {most}].')
  if config.replay_fraction:
    _check_replay(config)
  elif config.batch_size % config.envs_per_actor:
    raise ConfigError(
      f'--batch_size={config.batch_size} is not a multiple of '
      f'--envs_per_actor={config.envs_per_actor}: an actor hands over one '
      'unroll of each of its environments at once, and a batch takes them all.'
    )
  if config.batch_size % num_devices:
    raise ConfigError(
      f'--batch_size={config.batch_size} does not divide over the '
      f'{num_devices} devices.'
    )
  per_device = config.batch_size // num_devices
  if config.unrolls_per_pass and per_device % config.unrolls_per_pass:
    raise ConfigError(
      f'--unrolls_per_pass={config.unrolls_per_pass} does not divide the '
      f'{per_device} unrolls of a device.'
    )


def _check_replay(config: Config) -> None:
  """New unrolls are whole rollouts; what is replayed must be kept."""
  new = config.batch_size * (1 - config.replay_fraction)
  if not new or not math.isclose(new, round(new)):
    raise ConfigError(
      f'--replay_fraction={config.replay_fraction} leaves {new:g} new unrolls '
      f'of a batch of {config.batch_size}.'
    )
  if round(new) % config.envs_per_actor:
    raise ConfigError(
      f'--replay_fraction={config.replay_fraction} leaves {new:g} new unrolls '
      f'of a batch of {config.batch_size}, no multiple of '
      f'--envs_per_actor={config.envs_per_actor}.'
    )
  if config.replay_capacity < config.envs_per_actor:
    raise ConfigError(
      f'--replay_capacity={config.replay_capacity} is less than the '
      f'{config.envs_per_actor} unrolls that an actor hands over at once: '
      '--envs_per_actor.'
    )


def _check_type(value: Any, field: dataclasses.Field) -> None:
  """Flags have their types; what a notebook hands over may not."""
  kinds = (int, float) if field.type is float else (field.type,)
  if type(value) not in kinds:
    raise ConfigError(
      f'{field.name}={value!r} is not of type {field.type.__name__}.'
    )


def path(text: str) -> pathlib.Path:
  """A path as a user writes it: ~ is home."""
  return pathlib.Path(os.path.expanduser(text))


def did_you_mean(name: str, known: Any) -> str:
  """' Did you mean ...?', or what there is."""
  near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  if near:
    return f' Did you mean {", ".join(near)}?'
  return f' There are {", ".join(known)}.'
