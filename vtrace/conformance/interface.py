"""What a property is: a premise, and comparisons that must come out equal."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases

# Why a property is not applicable to a function that lacks what it needs.
REASONS = {
  'None': 'no threshold of the function can be None',
  'batch': 'the function takes single sequences, not batches',
  'discounts': 'the function has one discount factor for all steps',
  'gradient': 'no gradient adapter was given',
  'pg_advantages': 'the function returns no advantages',
} | {name: f'the function has no argument {name}' for name in cases.KEYWORDS}


class NotApplicable(Exception):
  """Raised by a comparison that does not apply to a function: the reason."""


class Comparison(NamedTuple):
  """What a function returned beside what it should return."""

  what: str  # For example 'vs'.
  expected: np.ndarray  # [n, ...]: of the steps from `start` on.
  found: np.ndarray  # Of the same shape.
  start: int = 0
  inputs: cases.Case | None = None  # Of the call; None: those of the property.


class Property(NamedTuple):
  """Something that is true of every V-trace implementation."""

  name: str
  sentence: str  # What is true, at most 72 characters.
  compare: Callable[[adapters.Subject, cases.Case], list[Comparison]]
  # Turns a random case into one that fulfils the premise of the property.
  prepare: Callable[[cases.Case], cases.Case] = lambda case: case
  settings: tuple[Mapping[str, float | None], ...] = ({},)  # All are tried.
  needs: tuple[str, ...] = ()  # Keys of REASONS.
  min_steps: int = 1  # Fewer steps do not fulfil the premise.
  exact: bool = False  # Whether the tolerance is 0.
  make_cases: Callable[[np.dtype], list[cases.Case]] = cases.random_cases
  shrinks: bool = True  # Whether parts of a case are cases, too.


def both(
  returned: adapters.Returned,
  expected: tuple[np.ndarray, np.ndarray],
  where: str = '',
  start: int = 0,
  stop: int | None = None,
  inputs: cases.Case | None = None,
) -> list[Comparison]:
  """Compares targets and advantages of steps `start` to `stop - 1`.

  Args:
    returned: what the function returned, for all steps.
    expected: targets and advantages of these steps.
    where: stands behind the name in the report.
    start: the first step.
    stop: the step after the last. None: to the end.
    inputs: of the call, if they are not those of the property.
  """
  found = ('vs', returned.vs), ('pg_advantages', returned.pg_advantages)
  return [
    Comparison(name + where, wanted, array[start:stop], start, inputs)
    for (name, array), wanted in zip(found, expected)
    if array is not None and wanted is not None
  ]


def same(
  one: adapters.Returned,
  other: adapters.Returned,
  where: str = '',
  start: int = 0,
  stop: int | None = None,
  inputs: cases.Case | None = None,
) -> list[Comparison]:
  """Compares two calls, step by step; the first is what is expected."""
  expected = [x if x is None else x[start:stop] for x in one[:2]]
  return both(other, expected, where, start, stop, inputs)


def require(condition: bool, reason: str) -> None:
  """Raises NotApplicable unless the condition is true."""
  if not condition:
    raise NotApplicable(reason)


def difference(comparison: Comparison, tolerance: float) -> tuple[float, bool]:
  """Returns the largest absolute difference, and whether it is too large.

  The tolerance is relative to 1 + the largest expected magnitude of a column.
  NaN, another shape and other words differ infinitely.
  """
  expected, found = np.asarray(comparison.expected), comparison.found
  if np.shape(expected) != np.shape(found) or expected.dtype.kind in 'US':
    equal = np.array_equal(expected, found)
    return (0.0, False) if equal else (np.inf, True)
  if not expected.size:
    return 0.0, False
  expected, found = (
    np.atleast_1d(np.asarray(x, float)) for x in (expected, found)
  )
  with np.errstate(invalid='ignore', over='ignore'):
    gap = np.nan_to_num(abs(found - expected), nan=np.inf, posinf=np.inf)
    allowed = tolerance * (1 + np.max(abs(expected), axis=0, keepdims=True))
  is_close = np.isfinite(gap) & (gap <= allowed)
  return float(np.max(gap)), not np.all(is_close)
