"""The design of the ablation: its tasks, runs and hyperparameters.

The paper compares corrections, with and without replay, over 24 samples of
hyperparameters on five levels of DMLab (section 5.2.2, table 2, figure 4), and
over policy lags (figure E.1). Here the tasks are small, so that the ablation
takes an hour on a laptop. The hyperparameters are sampled from ranges similar
to the paper's (table D.1).
"""

import math
from typing import Any
from typing import NamedTuple

import numpy as np

from experiments import config as config_lib
from vtrace import corrections


class Task(NamedTuple):
  """An environment, and the settings to train on it."""

  env: str
  num_frames: int  # Environment frames per run.
  settings: dict[str, Any]  # Overrides of `_BASE`.


class Trial(NamedTuple):
  """One run of the ablation."""

  task: str  # The environment id.
  correction: str
  has_replay: bool
  lag: int  # Policy lag, in updates.
  sample: int  # Index of the sampled hyperparameters; -1: the task's settings.
  seed: int
  config: config_lib.Config

  @property
  def name(self) -> str:
    """The name of the record, without a suffix."""
    replay = 'replay' if self.has_replay else 'no_replay'
    return (
      f'{self.task}-{self.correction}-{replay}-lag{self.lag}'
      f'-sample{self.sample}-seed{self.seed}'
    )


class Design(NamedTuple):
  """The size of an ablation."""

  tasks: tuple[Task, ...]
  num_samples: int  # Samples of hyperparameters, for table 2 and figure 4.
  sampled_lag: int  # Policy lag of the runs with sampled hyperparameters.
  lags: tuple[int, ...]  # Policy lags compared in figure E.1.
  num_seeds: int  # Runs per point of figure E.1.


# Each run has one process on one core, hence one actor; a batch has one new
# rollout. Small batches give many updates for a small number of frames.
_BASE = dict(
  torso='mlp',
  num_actors=1,
  envs_per_actor=8,
  batch_size=8,
  rmsprop_epsilon=1e-3,
  replay_capacity=1_000,
  return_window=200,
)
# Chosen by experiment: V-trace learns these tasks in this number of frames with
# these learning rates, but at a lag of 64 not all corrections do. CartPole-v1
# is excluded because its returns oscillate with every correction, and
# MiniGrid-DoorKey-5x5-v0 because it takes longer.
_TASKS = (
  Task('Catch', 100_000, dict(learning_rate=2e-3)),
  Task('DelayedCatch', 200_000, dict(learning_rate=3e-3)),
  Task('MiniGrid-Empty-5x5-v0', 100_000, dict(learning_rate=5e-3)),
)
FULL = Design(
  _TASKS, num_samples=6, sampled_lag=16, lags=(0, 4, 16, 64), num_seeds=3
)
QUICK = Design(
  _TASKS[:1], num_samples=3, sampled_lag=16, lags=(0, 64), num_seeds=2
)


def trials(design: Design) -> list[Trial]:
  """Returns all runs of a design; runs to be compared are adjacent."""
  return [*_sampled(design), *_lagged(design)]


def is_sampled(trial: Trial) -> bool:
  """Returns whether a trial has sampled hyperparameters (table 2, figure 4).

  The trials of figure E.1 have the hyperparameters of their task.
  """
  return trial.sample >= 0


def sample(number: int) -> dict[str, float]:
  """Samples hyperparameters with seed `number`, equal for all corrections.

  As in table D.1, learning rate and entropy cost are log-uniform and RMSProp's
  epsilon is one of four values. The ranges of the first two suit short runs.
  """
  rng = np.random.default_rng(number)
  return dict(
    learning_rate=_log_uniform(rng, 5e-4, 1e-2),
    entropy_cost=_log_uniform(rng, 1e-3, 3e-2),
    rmsprop_epsilon=float(rng.choice([1e-1, 1e-3, 1e-5, 1e-7])),
  )


def _sampled(design: Design) -> list[Trial]:
  return [
    _trial(task, correction, has_replay, design.sampled_lag, number, 0)
    for number in range(design.num_samples)
    for task in design.tasks
    for has_replay in (False, True)
    for correction in corrections.CORRECTIONS
  ]


def _lagged(design: Design) -> list[Trial]:
  return [
    _trial(task, correction, False, lag, -1, seed)
    for seed in range(design.num_seeds)
    for task in design.tasks
    for lag in design.lags
    for correction in corrections.CORRECTIONS
  ]


def _trial(
  task: Task,
  correction: str,
  has_replay: bool,
  lag: int,
  number: int,
  seed: int,
) -> Trial:
  config = config_lib.Config(
    **_BASE
    | task.settings
    | (sample(number) if number >= 0 else {})
    | dict(
      env=task.env,
      num_frames=task.num_frames,
      correction=correction,
      replay_fraction=0.5 if has_replay else 0.0,
      envs_per_actor=_BASE['batch_size'] // (2 if has_replay else 1),
      lag=lag,
      seed=seed,
    )
  )
  return Trial(task.env, correction, has_replay, lag, number, seed, config)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
  return math.exp(rng.uniform(math.log(low), math.log(high)))
