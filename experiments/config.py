"""The configuration of a run: every setting with default, help and source.

The defaults of `Config` are the paper's Atari values (appendix G, table G.1)
unless the help of a field says otherwise. A preset overrides defaults; a flag
overrides both.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import difflib
import json
import math
import os
import pathlib
import re
import sys
from typing import Any

import numpy as np

import vtrace


class ConfigError(ValueError):
  """Invalid user input; the message is one line and names the cause."""


class FactoryFailed(ConfigError):
  """A user's factory raised an error, which is the cause of this one."""


# pathlib makes one slash of two.
_URL = re.compile(r'[a-zA-Z][\w+.-]*://|(gs|s3|hdfs|https?):/')
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
  extendable: bool = False,
) -> Any:
  """Declares a field of `Config`.

  Args:
    default: the value if neither a preset nor a flag sets the field.
    help_text: the text that --help prints.
    bounds: (minimum, maximum) of a number, both inclusive.
    choices: the allowed values of a string; empty: any string.
    resumable: whether a run can be resumed with another value.
    extendable: whether a run can be resumed with another value, which is then
      recorded in place of the old one.

  Raises:
    TypeError: if a number has no bounds.
  """
  if type(default) in (int, float) and bounds is None:
    raise TypeError(f'A numeric field needs bounds: {help_text}')
  metadata = dict(
    help=help_text,
    bounds=bounds,
    choices=tuple(choices),
    resumable=resumable,
    extendable=extendable,
  )
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
  """The settings of a run. Frames include action repeats.

  NumPy scalars become numbers of Python, and paths become strings.
  """

  # The environment.
  env: str = _field(
    'Pong-v5',
    "The environment: 'Catch', 'DelayedCatch', the id of an EnvPool task with "
    "one discrete action, or 'module:factory', a function that makes a dm_env "
    'or Gymnasium environment.',
  )
  env_kwargs: str = _field(
    '',
    'Arguments of the environment, a JSON object such as {"difficulty": 2}: '
    'arguments of a factory, or options of an EnvPool task. Not from the '
    'paper.',
  )
  env_processes: bool = _field(
    False,
    'Runs each environment of a module:factory in a process of its own. For '
    'environments that need milliseconds for a step. Not from the paper.',
    resumable=True,
  )
  num_frames: int = _field(
    200_000_000,
    'Environment frames to train for, action repeats included. A resumed run '
    'may have more than before, also when it is over. Paper: 200M per Atari '
    'game.',
    bounds=_COUNT,
    extendable=True,
  )
  seed: int = _field(
    0,
    'Random seed of parameters, actions and environments. With --lag=-1, two '
    'runs with the same seed may still differ, because thread timing decides '
    'when an actor receives new parameters.',
    bounds=(0, 2**32 - 1),
  )
  max_seconds: float = _field(
    0.0,
    'Ends this process cleanly, with a checkpoint, after so many seconds of '
    'training, at the end of an update; the run can be resumed. 0: no limit. '
    'Not from the paper.',
    resumable=True,
    bounds=_NON_NEGATIVE,
  )
  init_from: str = _field(
    '',
    'Starts a new run with the parameters of the newest checkpoint of the run '
    'in this log directory; its optimizer starts afresh. Empty: random '
    'parameters. Not from the paper.',
  )
  # The agent.
  torso: str = _field(
    'deep',
    'Network torso. shallow, deep: the small and the residual network of '
    'figure 3, for images. mlp: a multilayer perceptron for any observation.',
    choices=('shallow', 'deep', 'mlp'),
  )
  use_lstm: bool = _field(
    False,
    'Adds an LSTM of 256 units between the torso and the heads. Paper: no LSTM '
    'on Atari.',
  )
  precision: str = _field(
    'f32',
    'Mixed precision. bf16: the torso and the core compute in bfloat16, for '
    'accelerators; everything else stays in float32. f32: everything in '
    'float32. Not from the paper.',
    choices=('f32', 'bf16'),
  )
  agent: str = _field(
    '',
    "A custom agent: 'module:factory', a function of the configuration and the "
    'environments that returns an agents.agent.Agent. Empty: the agent of the '
    'paper.',
  )
  # The actors.
  num_actors: int = _field(
    2,
    'Number of actor threads. While one actor waits for its environments, '
    'another computes actions. Not from the paper.',
    bounds=(1, 10_000),
  )
  envs_per_actor: int = _field(
    32,
    'Number of environments that one actor steps together. The number of new '
    'unrolls in a batch must be a multiple of it. Not from the paper.',
    bounds=(1, 10**6),
  )
  unroll_length: int = _field(
    20, 'Length T of an unroll, in agent steps. Table G.1.', bounds=_COUNT
  )
  queue_capacity: int = _field(
    1,
    'Rollouts that the queue holds per actor; a rollout is one unroll of each '
    "of the actor's environments. Bounds the policy lag. Not from the paper.",
    bounds=(1, 10**6),
  )
  lag: int = _field(
    -1,
    'Fixed policy lag in updates. 0: act and learn alternately. k: act on '
    'parameters exactly k updates old; runs are then deterministic. -1: always '
    'the newest parameters. Not from the paper.',
    bounds=(-1, 10_000),
  )
  timeout_seconds: float = _field(
    600.0,
    'Longest time in seconds that the learner waits for an actor, compilation '
    'included; actors wait twice as long for the learner. Then the run fails. '
    'inf: no limit. Not from the paper.',
    resumable=True,
    bounds=(1.0, math.inf),
  )
  # The learner.
  batch_size: int = _field(
    32,
    'Unrolls in one update, new and replayed, over all devices. Table G.1.',
    bounds=_COUNT,
  )
  unrolls_per_pass: int = _field(
    0,
    'Gradient accumulation: unrolls per forward and backward pass; the '
    'gradient stays that of the whole batch. 0: automatic, for images on CPU '
    'one (deep) or at most two (shallow), otherwise the whole batch. Not from '
    'the paper.',
    resumable=True,
    bounds=(0, 2**53),
  )
  replay_fraction: float = _field(
    0.0,
    'Fraction of each batch that is sampled from the replay buffer. 0: no '
    'replay. Frames count once, when they are new. Section 5.2.2 uses 0.5.',
    bounds=_FRACTION,
  )
  replay_capacity: int = _field(
    10_000,
    'Capacity of the replay buffer in unrolls; the oldest are dropped first. '
    'Section 5.2.2.',
    bounds=_COUNT,
  )
  optimizer: str = _field(
    '',
    "A custom optimizer: 'module:factory', a function of the configuration "
    'that returns an optax optimizer. --learning_rate applies to optimizers '
    'from `agents.optimizer.scheduled`; others have their own. Empty: RMSProp '
    'as in the paper.',
  )
  learning_rate: float = _field(
    6e-4,
    'Initial learning rate; decays linearly to 0 over num_frames. Table G.1.',
    bounds=_FINITE,
  )
  rmsprop_decay: float = _field(
    0.99,
    "Decay of RMSProp's second moment. Table G.1.",
    bounds=_FRACTION,
  )
  rmsprop_epsilon: float = _field(
    0.01,
    "RMSProp's epsilon, inside the square root. Table G.1.",
    bounds=_FINITE,
  )
  max_grad_norm: float = _field(
    40.0,
    'Clipping threshold of the global gradient norm. inf: no clipping. Table '
    'G.1.',
    bounds=_NON_NEGATIVE,
  )
  # The loss.
  loss: str = _field(
    '',
    "A custom loss: 'module:factory', a function of the configuration that "
    'returns a loss: see agents/loss_interface.py. Empty: the IMPALA loss.',
  )
  discount: float = _field(
    0.99, 'Discount factor gamma. Table G.1.', bounds=_FRACTION
  )
  reward_clipping: str = _field(
    'abs_one',
    'Clipping of rewards in the learner. abs_one: to [-1, 1], table G.1. '
    "soft_asymmetric: DMLab-30, as in the authors' code. "
    'soft_asymmetric_paper: DMLab-30, as in figure D.1. none: no clipping.',
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
    'Off-policy correction. one_step: importance weights in the policy '
    'gradient only. epsilon: adds 1e-6 to the policy inside its logarithm. '
    'none: no correction. Section 5.2.2.',
    choices=vtrace.corrections.CORRECTIONS,
  )
  clip_rho_threshold: float = _field(
    1.0,
    "Threshold rho_bar of V-trace's temporal-difference weights. inf: no "
    'clipping. Section 4.1.',
    bounds=_NON_NEGATIVE,
  )
  clip_c_threshold: float = _field(
    1.0,
    "Threshold c_bar of V-trace's traces; at most rho_bar in theorem 1. 0: "
    'one-step targets. inf: no clipping. Section 4.1.',
    bounds=_NON_NEGATIVE,
  )
  clip_pg_rho_threshold: float = _field(
    1.0,
    'Threshold of the importance weights of the policy gradient. inf: no '
    "clipping. From the authors' code.",
    bounds=_NON_NEGATIVE,
  )
  lambda_: float = _field(
    1.0,
    'Factor lambda of the trace weights; below 1, the value targets use '
    'shorter n-step returns. Remark 2.',
    bounds=_FRACTION,
  )
  # The records.
  logdir: str = _field(
    '',
    'Log directory of the run. If it already holds a run, that run is resumed. '
    'Empty: a new folder in runs/, named after environment, seed, time and '
    'process id.',
    resumable=True,
  )
  log_updates: int = _field(
    100,
    'Updates between two rows of metrics.csv. Not from the paper.',
    bounds=_COUNT,
  )
  return_window: int = _field(
    100,
    'Number of latest episodes that mean_return averages. Not from the paper.',
    bounds=_COUNT,
  )
  checkpoint_seconds: float = _field(
    60.0,
    'Seconds between two checkpoints; the last three are kept. Not from the '
    'paper.',
    resumable=True,
    bounds=_NON_NEGATIVE,
  )
  keep_checkpoints: int = _field(
    0,
    'Keeps, besides the last three, the first checkpoint of the run and every '
    'n-th one after it; 0: only the last three. Not from the paper.',
    resumable=True,
    bounds=(0, 2**53),
  )
  wandb_project: str = _field(
    '',
    'Also sends the rows to this project of Weights & Biases; needs pip '
    "install 'impala-jax[wandb]'. With WANDB_MODE=offline they stay in the log "
    'directory. Empty: no. Not from the paper.',
    resumable=True,
  )
  quiet: bool = _field(
    False,
    'Prints nothing but errors and warnings, and shows no progress bar.',
    resumable=True,
  )
  debug_nans: bool = _field(
    False,
    'Stops the run at the operation that produces a NaN (jax_debug_nans). '
    'Slower.',
    resumable=True,
  )

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      object.__setattr__(self, field.name, _as_python(value, field.type))


PRESETS: dict[str, dict[str, Any]] = {
  # Trains in seconds on a laptop. Values not from the paper.
  'catch': dict(
    env='Catch',
    num_frames=400_000,
    torso='mlp',
    learning_rate=2e-3,
    batch_size=32,
    return_window=200,
  ),
  # The paper's Atari agent: the defaults.
  'atari': dict(),
  # Pong on 2 CPU cores. Differences from the paper: the shallow torso; 8
  # unrolls per update instead of 32, for more updates per frame; a smaller
  # epsilon and a higher learning rate to match; lambda below 1, for less noisy
  # targets; half the entropy cost; a tenth of the frames. results/README.md
  # gives the score.
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
  """Returns the configuration of a preset, with `overrides` applied.

  Raises:
    ConfigError: if the preset or the name of an override is unknown.
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


def path(text: str | os.PathLike[str]) -> pathlib.Path:
  """Returns the path `text`, with a leading ~ expanded.

  Raises:
    ConfigError: if `text` is the URL of an object store, e.g. gs://bucket/a.
  """
  if _URL.match(os.fspath(text)):
    raise ConfigError(
      f'{text} is a URL, but only files of this machine can be written and '
      'read. Give a local path, for example where the storage is mounted.'
    )
  return pathlib.Path(os.path.expanduser(text))


def _as_python(value: Any, kind: type) -> Any:
  """Converts NumPy scalars and paths; returns other values as they are.

  A float of lower precision becomes the shortest decimal that rounds to it:
  np.float32(1e-3) becomes 0.001.
  """
  if isinstance(value, np.floating):
    return float(value if isinstance(value, np.float64) else str(value))
  if isinstance(value, np.generic):
    return value.item()
  if kind is str and isinstance(value, os.PathLike):
    return os.fspath(value)
  return value


def env_settings(config: Config) -> dict[str, Any]:
  """Returns the settings of `config` that `envs.registry.make` takes.

  Raises:
    ConfigError: if --env_kwargs is not a JSON object.
  """
  try:
    env_kwargs = json.loads(config.env_kwargs or '{}')
  except ValueError as error:
    raise ConfigError(
      f'--env_kwargs={config.env_kwargs} is not JSON: {error}.'
    ) from error
  if not isinstance(env_kwargs, dict):
    raise ConfigError(
      f'--env_kwargs={config.env_kwargs} is not a JSON object, such as '
      '{"difficulty": 2}.'
    )
  return {
    'env_kwargs': env_kwargs,
    'env_processes': config.env_processes,
    'timeout_seconds': config.timeout_seconds,
  }


def agent_name(values: Mapping[str, Any]) -> str:
  """Returns how a table names the agent of the settings `values`."""
  if values['agent']:
    return f'agent {values["agent"]}'
  return f'{values["torso"]} torso{", LSTM" if values["use_lstm"] else ""}'


def did_you_mean(name: str, known: Any) -> str:
  """Returns ' Did you mean ...?', or all known names if none is similar."""
  near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  if near:
    return f' Did you mean {", ".join(near)}?'
  return f' Expected one of {", ".join(known)}.'
