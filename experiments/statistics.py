"""What the rows of metrics say: sums over the updates since the last row."""

import collections
import time
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import learner


class Summary(NamedTuple):
  """A run in short."""

  num_frames: int
  num_updates: int
  num_episodes: int
  seconds: float  # From opening the records to the last update.
  mean_return: float  # Over the last `return_window` episodes.


class RunStatistics:
  """Gathers updates and makes rows of them.

  Metrics of updates are summed on the device until a row is made: gathering
  never waits for the device.
  """

  def __init__(self, return_window: int):
    self._start = self._now = self._row_start = time.monotonic()
    self._recent = collections.deque(maxlen=return_window)
    self._num_episodes = 0
    self._progress: learner.Progress | None = None
    self._row_frames = 0
    self._clear()

  def add(self, progress: learner.Progress) -> None:
    """Takes note of one update."""
    batch = progress.batch
    self._now = time.monotonic()
    self._progress = progress._replace(batch=None)
    self._sums = (
      _add(self._sums, progress.metrics) if self._sums else progress.metrics
    )
    self._num_updates += 1
    self._lags.append(progress.policy_lag)
    self._returns.extend(batch.episode_returns)
    self._lengths.extend(batch.episode_lengths)
    self._recent.extend(batch.episode_returns)
    self._num_episodes += len(batch.episode_returns)

  @property
  def pending(self) -> bool:
    """Whether there are updates that are in no row yet."""
    return self._num_updates > 0

  @property
  def summary(self) -> Summary:
    """The run so far."""
    frames = self._progress.num_frames if self._progress else 0
    updates = self._progress.num_updates if self._progress else 0
    return Summary(
      frames,
      updates,
      self._num_episodes,
      self._now - self._start,
      _mean(self._recent),
    )

  def row(self) -> dict[str, Any]:
    """Means over the updates since the last row; NaN where none was."""
    sums = jax.device_get(self._sums)
    means = {name: float(x) / self._num_updates for name, x in sums.items()}
    summary = self.summary
    frames = summary.num_frames - self._row_frames
    row = means | {
      'num_frames': summary.num_frames,
      'num_updates': summary.num_updates,
      'seconds': summary.seconds,
      'frames_per_second': frames / max(self._now - self._row_start, 1e-9),
      'episode_return': _mean(self._returns),
      'mean_return': summary.mean_return,
      'episode_length': _mean(self._lengths),
      'num_episodes': summary.num_episodes,
      'policy_lag': _mean(self._lags),
      'learning_rate': self._progress.learning_rate,
    }
    self._row_start, self._row_frames = self._now, summary.num_frames
    self._clear()
    return row

  def _clear(self) -> None:
    self._sums, self._num_updates = {}, 0
    self._lags, self._returns, self._lengths = [], [], []


@jax.jit
def _add(a: Any, b: Any) -> Any:
  return jax.tree.map(jnp.add, a, b)


def _mean(values: Any) -> float:
  return float(np.mean(values)) if len(values) else float('nan')
