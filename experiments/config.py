"""Every number of a run, written once, with its help and its source.

`Config` holds the defaults: the paper's Atari values (appendix G, table G.1,
unless a field says otherwise). A preset overrides some of them, a flag
overrides both.
"""

from collections.abc import Iterable
import dataclasses
import difflib
import math
import os
import pathlib
import sys
from typing import Any

import vtrace


class ConfigError(ValueError):
  """The user asked for something that cannot be; the message says what."""


_COUNT = (1, 2**53)
_FINITE = (0.0, sys.float_info.max)
_NON_NEGATIVE = (0.0, math.inf)
_FRACTION = (0.0, 1.0)


def _field(
  default: Any,
  help_text: str,
  *,
  bounds: tuple[float, float] | None = None,
  choices: Iterable[str] = (),
  resumable: bool = False,
) -> Any:
  """Declares a setting.

  Args:
    default: its value where neither a preset nor a flag gives one.
    help_text: for --help.
    bounds: the least and the greatest value of a number.
    choices: all values of a text, if it is not free.
    resumable: whether a run can be resumed with another value.

  Raises:
    TypeError: if a number has no bounds.
  """
  if type(default) in (int, float) and bounds is None:
    raise TypeError(f'A number needs bounds: {help_text}')
  metadata = dict(
    help=help_text, bounds=bounds, choices=tuple(choices), resumable=resumable
  )
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
  """A run. Frames are environment frames, action repeats included."""

  # The environment.
  env: str = _field(
    'Pong-v5',
    "'Catch', 'DelayedCatch', the id of an EnvPool task with a single discrete "
    "action, or 'module:factory' that makes an environment of dm_env or "
    'Gymnasium.',
  )
  num_frames: int = _field(
    200_000_000,
    'Environment frames to train for. Paper: 200M per Atari game.',
    bounds=_COUNT,
  )
  seed: int = _field(
    0,
    'Of parameters, actions and environments. Without --lag runs of one seed '
    'still differ: when new parameters reach an actor is a matter of time.',
    bounds=(0, 2**32 - 1),
  )
  # The agent.
  torso: str = _field(
    'deep',
    'Figure 3: the small or the residual network for images. mlp: a '
    'perceptron, which takes any observation.',
    choices=('shallow', 'deep', 'mlp'),
  )
  use_lstm: bool = _field(
    False, 'An LSTM of 256 between torso and heads. Paper: not on Atari.'
  )
  precision: str = _field(
    'f32',
    'With bf16 the layers of torso and core compute in bfloat16, for '
    'accelerators; all else stays float32. Ours.',
    choices=('f32', 'bf16'),
  )
  # The actors.
  num_actors: int = _field(
    2,
    'Actor threads. They take turns: while one waits '
    'for its environments another computes. Ours.',
    bounds=(1, 10_000),
  )
  envs_per_actor: int = _field(
    32, 'Environments stepped together by one actor. Ours.', bounds=(1, 10**6)
  )
  unroll_length: int = _field(
    20, 'Agent steps of an unroll, T. Table G.1.', bounds=_COUNT
  )
  queue_capacity: int = _field(
    1,
    'How many rollouts, its unrolls of T steps, an actor may be ahead of the '
    'learner; bounds the policy lag. Ours.',
    bounds=(1, 10**6),
  )
  lag: int = _field(
    -1,
    'How many updates old the parameters are that acted for a batch, exactly: '
    '0 acts and learns in turns, k keeps k older parameters; runs of one seed '
    'are then the same. -1: whatever is newest, bounded by the queue. Ours.',
    bounds=(-1, 10_000),
  )
  timeout_seconds: float = _field(
    600.0,
    'Longest wait of an actor for the learner or the other way round, '
    'compilation included. Ours.',
    resumable=True,
    bounds=(1.0, math.inf),
  )
  # The learner.
  batch_size: int = _field(
    32, 'Unrolls in an update, over all devices. G.1.', bounds=_COUNT
  )
  unrolls_per_pass: int = _field(
    0,
    'Accumulate the gradient over groups of this many unrolls: the same '
    'gradient. 0: one or two for images on CPU, whichever is faster, and '
    'all at once otherwise. Ours.',
    resumable=True,
    bounds=(0, 2**53),
  )
  replay_fraction: float = _field(
    0.0,
    'Of the unrolls of a batch those that are drawn from the last '
    'replay_capacity ones; frames count once, when they are new. Section '
    '5.2.2: half.',
    bounds=_FRACTION,
  )
  replay_capacity: int = _field(
    10_000,
    'Unrolls that are kept to be replayed, at most, first in first out. '
    'Section 5.2.2.',
    bounds=_COUNT,
  )
  learning_rate: float = _field(
    6e-4, 'Falls linearly to 0 over all frames. G.1.', bounds=_FINITE
  )
  rmsprop_decay: float = _field(
    0.99, 'Of the second moment. Table G.1.', bounds=_FRACTION
  )
  rmsprop_epsilon: float = _field(
    0.01, 'Inside the square root. Table G.1.', bounds=_FINITE
  )
  max_grad_norm: float = _field(
    40.0, 'Clip of the global norm; inf: none. G.1.', bounds=_NON_NEGATIVE
  )
  # The loss.
  discount: float = _field(0.99, 'gamma. Table G.1.', bounds=_FRACTION)
  reward_clipping: str = _field(
    'abs_one',
    'abs_one: to [-1, 1], table G.1. soft_asymmetric: as the authors released '
    'it for DMLab-30; soft_asymmetric_paper: as in figure D.1; none: not.',
    choices=vtrace.rewards.CLIPPINGS,
  )
  baseline_cost: float = _field(
    0.5, 'Weight of the baseline loss. Table G.1.', bounds=_FINITE
  )
  entropy_cost: float = _field(
    0.01, 'Weight of the entropy bonus. Table G.1.', bounds=_FINITE
  )
  correction: str = _field(
    'vtrace',
    'For policy lag. Section 5.2.2.',
    choices=vtrace.corrections.CORRECTIONS,
  )
  clip_rho_threshold: float = _field(
    1.0, 'rho_bar of V-trace; inf: none. Section 4.1.', bounds=_NON_NEGATIVE
  )
  clip_c_threshold: float = _field(
    1.0, 'c_bar of V-trace; inf: none. Section 4.1.', bounds=_NON_NEGATIVE
  )
  clip_pg_rho_threshold: float = _field(
    1.0,
    "Clip of the policy gradient's weights; inf: none. The authors' code.",
    bounds=_NON_NEGATIVE,
  )
  lambda_: float = _field(1.0, 'lambda of V-trace. Remark 2.', bounds=_FRACTION)
  # The records.
  logdir: str = _field(
    '',
    'Where the run is recorded; a run that is there goes on. Empty: a new '
    'folder in runs/, named after environment, seed, time and process.',
    resumable=True,
  )
  log_updates: int = _field(
    100, 'Updates between two rows of metrics. Ours.', bounds=_COUNT
  )
  return_window: int = _field(
    100, 'Episodes that mean_return averages. Ours.', bounds=_COUNT
  )
  checkpoint_seconds: float = _field(
    60.0,
    'Seconds between two checkpoints; the last three are kept. Ours.',
    resumable=True,
    bounds=_NON_NEGATIVE,
  )
  debug_nans: bool = _field(
    False,
    'Stop at the very computation that makes a NaN, at some cost in speed.',
    resumable=True,
  )


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


def path(text: str) -> pathlib.Path:
  """A path as a user writes it: ~ is home."""
  return pathlib.Path(os.path.expanduser(text))


def did_you_mean(name: str, known: Any) -> str:
  """' Did you mean ...?', or what there is."""
  near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  if near:
    return f' Did you mean {", ".join(near)}?'
  return f' There are {", ".join(known)}.'
