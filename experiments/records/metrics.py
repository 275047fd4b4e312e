"""Training statistics: pure functions that turn updates into metrics rows.

The state is part of a checkpoint, so a resumed run writes the same rows as an
uninterrupted run.
"""

from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import learner
from experiments import config as config_lib
import vtrace

# Outputs of an update without a column: the finite flag, and the step count
# that divides 'entropy'.
_NO_METRICS = ('finite', 'steps')


class Interval(NamedTuple):
  """The updates since the last row."""

  num_updates: int
  first_frame: int  # Environment frames trained on before the interval.
  first_second: float  # Seconds of training before the interval.
  sums: Any  # Sums of the updates' metrics, on device; {} if no update yet.
  learning_rate: float  # Of the last update.
  episode_returns: np.ndarray  # [number of episodes that ended]
  episode_lengths: np.ndarray  # [same], in agent steps.
  policy_lags: np.ndarray  # [number of rollouts]
  learner_wait_seconds: float
  actor_wait_seconds: float  # Sum over all actors.


class State(NamedTuple):
  """The statistics of a run so far, as needed for later rows."""

  num_frames: int
  num_updates: int
  num_episodes: int
  seconds: float  # Training time up to the last update.
  recent_returns: np.ndarray  # [at most return_window]
  interval: Interval


class Summary(NamedTuple):
  """The totals of a run."""

  num_frames: int
  num_updates: int
  num_episodes: int
  seconds: float  # Training time, without work lost by interruptions.
  mean_return: float  # Over the last `return_window` episodes.


def initial() -> State:
  """Returns the state before the first update."""
  return State(0, 0, 0, 0.0, np.zeros(0), _empty_interval(0, 0.0))


def add(
  state: State,
  progress: learner.Progress,
  *,
  seconds: float,
  return_window: int,
) -> State:
  """Adds an update to the state.

  Metrics are summed on the device, without synchronization.

  Args:
    state: the statistics before the update.
    progress: the update.
    seconds: training time at the end of the update.
    return_window: number of latest episodes that `mean_return` averages.
  """
  batch = progress.batch
  recent = np.concatenate([state.recent_returns, batch.episode_returns])
  return State(
    num_frames=progress.num_frames,
    num_updates=progress.num_updates,
    num_episodes=state.num_episodes + len(batch.episode_returns),
    seconds=seconds,
    recent_returns=recent[-return_window:],
    interval=_add_to_interval(state.interval, progress),
  )


def row(state: State, num_actors: int) -> dict[str, Any]:
  """Returns the row of the interval: its means and the totals of the run.

  A mean without data is NaN. Each custom metric of an update gets a column with
  its own name.

  Raises:
    ConfigError: if a metric has the name of another column.
  """
  interval = state.interval
  sums = jax.device_get(interval.sums)
  for name in _NO_METRICS:
    sums.pop(name, None)
  with jax.debug_nans(False):  # NaN marks a mean without data.
    off_policy = _off_policy_columns(sums.pop('off_policy', None))
  means = {name: float(x / interval.num_updates) for name, x in sums.items()}
  seconds = state.seconds - interval.first_second
  frames = state.num_frames - interval.first_frame
  columns = {
    **off_policy,
    **summary(state)._asdict(),
    'frames_per_second': frames / max(seconds, 1e-9),
    'episode_return': _mean(interval.episode_returns),
    'episode_length': _mean(interval.episode_lengths),
    'learning_rate': interval.learning_rate,
    'policy_lag': _mean(interval.policy_lags),
    'policy_lag_histogram': np.bincount(interval.policy_lags),
    'learner_wait_seconds': interval.learner_wait_seconds,
    'actor_wait_seconds': interval.actor_wait_seconds / num_actors,
  }
  taken = means.keys() & columns.keys()
  if taken:
    raise config_lib.ConfigError(
      'Metrics of the loss have the names of columns of metrics.csv: '
      f'{", ".join(sorted(taken))}. Choose other names.'
    )
  return columns | means


def _off_policy_columns(sums: Any) -> dict[str, Any]:
  """Returns the columns of the diagnostics; a custom loss may have none."""
  if sums is None:
    return {}
  return jax.tree.map(np.asarray, vtrace.off_policy_summary(sums))


def next_interval(state: State) -> State:
  """Returns the state after a row, with an empty interval."""
  return state._replace(
    interval=_empty_interval(state.num_frames, state.seconds)
  )


def summary(state: State) -> Summary:
  """Returns the totals of the run so far."""
  return Summary(
    state.num_frames,
    state.num_updates,
    state.num_episodes,
    state.seconds,
    _mean(state.recent_returns),
  )


def _empty_interval(first_frame: int, first_second: float) -> Interval:
  return Interval(
    num_updates=0,
    first_frame=first_frame,
    first_second=first_second,
    sums={},
    learning_rate=0.0,
    episode_returns=np.zeros(0),
    episode_lengths=np.zeros(0, np.int64),
    policy_lags=np.zeros(0, np.int64),
    learner_wait_seconds=0.0,
    actor_wait_seconds=0.0,
  )


def _add_to_interval(
  interval: Interval, progress: learner.Progress
) -> Interval:
  batch, sums = progress.batch, interval.sums
  return Interval(
    num_updates=interval.num_updates + 1,
    first_frame=interval.first_frame,
    first_second=interval.first_second,
    sums=_add(sums, progress.metrics) if sums else progress.metrics,
    learning_rate=progress.learning_rate,
    episode_returns=np.concatenate(
      [interval.episode_returns, batch.episode_returns]
    ),
    episode_lengths=np.concatenate(
      [interval.episode_lengths, batch.episode_lengths]
    ),
    policy_lags=np.concatenate([interval.policy_lags, progress.policy_lags]),
    learner_wait_seconds=interval.learner_wait_seconds + progress.wait_seconds,
    actor_wait_seconds=interval.actor_wait_seconds + batch.wait_seconds,
  )


@jax.jit
def _add(a: Any, b: Any) -> Any:
  return jax.tree.map(jnp.add, a, b)


def _mean(values: Any) -> float:
  return float(np.mean(values)) if len(values) else float('nan')
