"""What an ablation's runs come to: estimates, with 95% confidence intervals."""

from collections.abc import Sequence
import math
from typing import Any
from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.studies import design as design_lib

BEST = 3  # Of the samples: table 2.
_RESAMPLED = 2_000
_CONFIDENCE = 0.95

# A trial, and its mean return at the end.
Result = tuple[design_lib.Trial, float]


class Estimate(NamedTuple):
  """A number, and where it is with a confidence of 95%."""

  value: float
  low: float
  high: float

  def __str__(self) -> str:
    if not math.isfinite(self.high - self.low):  # Of a single run.
      return f'{self.value:.2f}'
    return f'{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]'


def mean_of_best(returns: Sequence[float]) -> Estimate:
  """The mean of the best three, and 95% of it over resamplings of the samples.

  The best of few samples is seldom the best there is, so the true one is above
  that range more often than 5% of the time.
  """
  returns = np.asarray(returns, float)

  def best(values):
    return np.sort(values, axis=-1)[..., -BEST:].mean(-1)

  rng = np.random.default_rng(0)
  drawn = rng.choice(returns, (_RESAMPLED, len(returns)))
  tail = 100 * (1 - _CONFIDENCE) / 2
  low, high = np.percentile(best(drawn), [tail, 100 - tail])
  return Estimate(float(best(returns)), float(low), float(high))


def mean(returns: Sequence[float]) -> Estimate:
  """The mean of runs of several seeds; Student's interval."""
  mean, variance, freedom = _moments(returns)
  return _student(mean, variance, freedom)


def difference(one: Sequence[float], other: Sequence[float]) -> Estimate:
  """How far the mean of `one` is above that of `other`; Welch's interval."""
  mean, variance, freedom = _moments(one)
  other_mean, other_variance, other_freedom = _moments(other)
  total = variance + other_variance
  if math.isinf(total):
    return _student(mean - other_mean, total, 1)
  both = (variance**2 / freedom) + (other_variance**2 / other_freedom)
  welch = total**2 / both if both else math.inf
  return _student(mean - other_mean, total, welch)


def _moments(returns: Sequence[float]) -> tuple[float, float, int]:
  """Mean, the variance of the mean, and its degrees of freedom."""
  number = len(returns)
  if number < 2:
    return float(np.mean(returns)), math.inf, 1
  return float(np.mean(returns)), np.var(returns, ddof=1) / number, number - 1


def _student(mean: float, variance: float, freedom: Any) -> Estimate:
  far = stats.t.ppf((1 + _CONFIDENCE) / 2, freedom) * math.sqrt(variance)
  return Estimate(mean, mean - far, mean + far)
