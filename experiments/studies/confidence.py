"""Estimates from the runs of an ablation, with 95% confidence intervals."""

from collections.abc import Sequence
import math
from typing import Any
from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.studies import design as design_lib

BEST = 3  # Samples that the mean is over, as in table 2.
_NUM_RESAMPLES = 2_000
_CONFIDENCE = 0.95

# A trial, and its mean return at the end of training.
Result = tuple[design_lib.Trial, float]


class Estimate(NamedTuple):
  """An estimate and its 95% confidence interval."""

  value: float
  low: float
  high: float

  def __str__(self) -> str:
    if not math.isfinite(self.high - self.low):  # A single run has no interval.
      return f'{self.value:.2f}'
    return f'{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]'


def mean_of_best(returns: Sequence[float]) -> Estimate:
  """Returns the mean of the best three, with a bootstrap percentile interval.

  The interval is biased low: a few samples rarely contain the best possible
  one, so the true value is above the interval more than 5% of the time.

  Args:
    returns: final returns, one per sample of hyperparameters.
  """
  returns = np.asarray(returns, float)

  def best(values):
    return np.sort(values, axis=-1)[..., -BEST:].mean(-1)

  rng = np.random.default_rng(0)
  resamples = rng.choice(returns, (_NUM_RESAMPLES, len(returns)))
  tail = 100 * (1 - _CONFIDENCE) / 2
  low, high = np.percentile(best(resamples), [tail, 100 - tail])
  return Estimate(float(best(returns)), float(low), float(high))


def mean(returns: Sequence[float]) -> Estimate:
  """Returns the mean over seeds, with Student's t interval."""
  mean, variance, dof = _moments(returns)
  return _student(mean, variance, dof)


def difference(one: Sequence[float], other: Sequence[float]) -> Estimate:
  """Returns the mean of `one` minus that of `other`, with Welch's interval."""
  mean, variance, dof = _moments(one)
  other_mean, other_variance, other_dof = _moments(other)
  total = variance + other_variance
  if math.isinf(total):
    return _student(mean - other_mean, total, 1)
  both = (variance**2 / dof) + (other_variance**2 / other_dof)
  welch = total**2 / both if both else math.inf
  return _student(mean - other_mean, total, welch)


def _moments(returns: Sequence[float]) -> tuple[float, float, int]:
  """Returns the mean, the variance of the mean, and the degrees of freedom."""
  number = len(returns)
  if number < 2:
    return float(np.mean(returns)), math.inf, 1
  return float(np.mean(returns)), np.var(returns, ddof=1) / number, number - 1


def _student(mean: float, variance: float, dof: Any) -> Estimate:
  half_width = stats.t.ppf((1 + _CONFIDENCE) / 2, dof) * math.sqrt(variance)
  return Estimate(mean, mean - half_width, mean + half_width)
