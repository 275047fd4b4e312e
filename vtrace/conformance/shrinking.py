"""Makes a counter-example smaller, as long as it remains one."""

from collections.abc import Callable
import itertools

import numpy as np

from vtrace.conformance import cases

Fails = Callable[[cases.Case], bool]
# From the simplest; log weights are rounded to weights of 1, 2 and 1/2.
_CANDIDATES = {
  'log_rhos': (0.0, np.log(2.0), np.log(0.5)),
  'rewards': (0.0, 1.0, 2.0),
  'values': (0.0, 1.0, 2.0),
  'bootstrap_value': (0.0, 1.0, 2.0),
}


def smallest(case: cases.Case, fails: Fails, min_steps: int) -> cases.Case:
  """Returns the smallest case found that fails, with the simplest numbers.

  First it has fewer sequences, then fewer steps, then thresholds of 1, then
  round numbers, one after the other.

  Args:
    case: a case that fails.
    fails: returns whether a case fails.
    min_steps: the smallest number of steps of a case.
  """
  case = _fewest_columns(case, fails)
  case = _fewest_steps(case, fails, min_steps)
  case = _simplest_settings(case, fails)
  case = _simplest_discounts(case, fails)
  for name, candidates in _CANDIDATES.items():
    case = _simplest_numbers(case, fails, name, candidates)
  return case


def _fewest_columns(case: cases.Case, fails: Fails) -> cases.Case:
  batch = case.rewards.shape[1]
  for size in range(1, batch):
    for chosen in itertools.combinations(range(batch), size):
      fewer = cases.columns(case, list(chosen))
      if fails(fewer):
        return fewer
  return case


def _fewest_steps(case: cases.Case, fails: Fails, min_steps: int) -> cases.Case:
  length = len(case.rewards)
  for size in range(min_steps, length):
    for start in range(length - size + 1):
      fewer = cases.steps(case, start, start + size)
      if fails(fewer):
        return fewer
  return case


def _simplest_settings(case: cases.Case, fails: Fails) -> cases.Case:
  for name in case.settings:
    rest = {k: v for k, v in case.settings.items() if k != name}
    simpler = case._replace(settings=rest)
    if fails(simpler):
      case = simpler
  return case


def _simplest_discounts(case: cases.Case, fails: Fails) -> cases.Case:
  """Replaces all discounts by 1, or those of 0, if it still fails."""
  for discounts in (
    np.ones_like(case.discounts),
    cases.without_terminations(case).discounts,
  ):
    simpler = case._replace(discounts=discounts)
    if fails(simpler):
      return simpler
  return case


def _simplest_numbers(
  case: cases.Case, fails: Fails, name: str, candidates: tuple[float, ...]
) -> cases.Case:
  for place in np.ndindex(getattr(case, name).shape):
    for number in candidates:
      array = getattr(case, name)
      simpler = case._replace(**{name: cases.replace_at(array, place, number)})
      if array[place] == number:
        break
      if fails(simpler):
        case = simpler
        break
  return case
