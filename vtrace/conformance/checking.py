"""Checks a V-trace function against the properties."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases
from vtrace.conformance import interface
from vtrace.conformance import report
from vtrace.conformance import shrinking
from vtrace.conformance.properties import table

# Rounding errors of a few steps, in units of the dtype's epsilon.
_EPSILONS = 100


def check(
  fn: Callable[..., Any],
  *,
  to_native: Callable[[np.ndarray], Any] = lambda array: array,
  to_numpy: Callable[[Any], np.ndarray] = np.asarray,
  time_major: bool = True,
  ranks: Sequence[int] = (2,),
  without: Iterable[str] | Mapping[str, Any] = (),
  gradient: Callable[..., Sequence[Any]] | None = None,
  properties: Iterable[str | interface.Property] | None = None,
  dtype: Any = np.float32,
  tolerance: float | None = None,
  title: str = '',
) -> report.Report:
  """Checks a V-trace function of any framework against the properties.

  Args:
    fn: called as `fn(log_rhos, discounts, rewards, values, bootstrap_value, *,
      clip_rho_threshold, clip_c_threshold, clip_pg_rho_threshold, lambda_)`;
      the shapes are those of `vtrace.from_importance_weights`. Returns (vs,
      pg_advantages), or an object or mapping with these names.
    to_native: converts a NumPy array to one that `fn` takes.
    to_numpy: converts an array that `fn` returns to NumPy.
    time_major: whether arrays are `[T, B]`, not `[B, T]`.
    ranks: the ranks of `rewards` that `fn` takes: 1 for `[T]`, 2 for `[T, B]`,
      3 for `[T, B, C]`. A function of `[T]` alone is called once per sequence.
    without: what `fn` lacks: names of keywords, 'None' (no clipping),
      'discounts' (it has one factor for all steps) or 'pg_advantages'. A
      keyword that it lacks counts as 1; a mapping gives another number, None,
      or the keyword that it shares.
    gradient: returns the gradients of all results in the five arrays, given
      the arguments of `fn`; None in place of an array is a zero gradient. For a
      JAX function: `jax_gradient(fn)`.
    properties: names, or objects for those of your own. None: all in the table.
    dtype: of the inputs.
    tolerance: relative to 1 + the largest magnitude in a sequence. None: 100
      times the epsilon of `dtype`. Exact properties have 0.
    title: stands above the report.

  Raises:
    ValueError: if a name is not known or `ranks` is empty.
  """
  subject = _make_subject(
    fn, to_native, to_numpy, time_major, ranks, without, gradient
  )
  dtype = np.dtype(dtype)
  if tolerance is None:
    tolerance = _EPSILONS * float(jnp.finfo(dtype).eps)
  name = title or getattr(fn, '__qualname__', 'function')
  heading = (
    f'{name}: {dtype} inputs, tolerance {tolerance:.2g} (or 0 where results '
    'must be equal).'
  )
  results = (
    _result(subject, one, dtype, 0.0 if one.exact else tolerance)
    for one in _find(properties)
  )
  return report.Report(heading, tuple(results))


def _make_subject(
  fn, to_native, to_numpy, time_major, ranks, without, gradient
) -> adapters.Subject:
  if not isinstance(without, Mapping):
    without = dict.fromkeys(without, 1.0)
  known = (*cases.KEYWORDS, *adapters.FEATURES)
  unknown = [name for name in without if name not in known]
  if unknown:
    raise ValueError(f'without={unknown}: known are {", ".join(known)}.')
  for name, instead in without.items():
    if isinstance(instead, str) and instead not in cases.KEYWORDS:
      raise ValueError(f'without={name}: {instead!r} is not known.')
  ranks = tuple(sorted(set(ranks)))
  if not ranks or not set(ranks) <= {1, 2, 3}:
    raise ValueError(f'ranks={ranks}: ranks are 1, 2 and 3.')
  return adapters.Subject(
    fn, to_native, to_numpy, time_major, ranks, without, gradient
  )


def _find(properties) -> list[interface.Property]:
  by_name = {one.name: one for one in table.PROPERTIES}
  if properties is None:
    return list(table.PROPERTIES)
  chosen = [by_name.get(x) if isinstance(x, str) else x for x in properties]
  if None in chosen:
    known = ', '.join(by_name)
    raise ValueError(f'Unknown property in {properties}. Known are: {known}.')
  return chosen


def _result(
  subject: adapters.Subject,
  one: interface.Property,
  dtype: np.dtype,
  tolerance: float,
) -> report.Result:
  """Checks one property; an exception of the function is a result, too."""
  missing = [x for x in one.needs if x in adapters.lacking(subject)]
  status, text = report.PASS, ''
  try:
    if missing:
      raise interface.NotApplicable(interface.REASONS[missing[0]])
    text = _counter_example(subject, one, dtype, tolerance)
    status = report.FAIL if text else report.PASS
  except interface.NotApplicable as reason:
    status, text = report.NOT_APPLICABLE, str(reason)
  except Exception as error:
    status, text = report.ERROR, _describe(error)
  return report.Result(one.name, one.sentence, status, text, tolerance)


def _describe(error: Exception) -> str:
  text = f'  {type(error).__name__}: {error}'
  if isinstance(error, TypeError) and any(k in text for k in cases.KEYWORDS):
    text += '\n  Declare an argument that the function lacks by `without`.'
  return text


def _counter_example(
  subject: adapters.Subject,
  one: interface.Property,
  dtype: np.dtype,
  tolerance: float,
) -> str:
  """Returns the smallest counter-example found, or '' if the property holds."""
  for settings in one.settings:
    for case in one.make_cases(dtype):
      case = case._replace(settings=settings)
      violations = _violations(subject, one, case, tolerance)
      if not violations:
        continue
      number = min(violations)
      if one.shrinks:
        fails = functools.partial(
          _still_fails, subject, one, tolerance=tolerance, number=number
        )
        smaller = shrinking.smallest(case, fails, one.min_steps)
        again = _violations(subject, one, smaller, tolerance)
        if number in again:  # It is not if the function is not deterministic.
          case, violations = smaller, again
      prepared = one.prepare(case)
      words = adapters.settings_of(subject, prepared)
      return report.counter_example(prepared, *violations[number], words)
  return ''


def _violations(
  subject: adapters.Subject,
  one: interface.Property,
  case: cases.Case,
  tolerance: float,
) -> dict[int, tuple[interface.Comparison, float]]:
  """Returns {number: (comparison, largest difference)} of those that fail."""
  found = {}
  comparisons = one.compare(subject, one.prepare(case))
  for number, comparison in enumerate(comparisons):
    largest, is_too_large = interface.difference(comparison, tolerance)
    if is_too_large:
      found[number] = comparison, largest
  return found


def _still_fails(
  subject: adapters.Subject,
  one: interface.Property,
  case: cases.Case,
  tolerance: float,
  number: int,
) -> bool:
  """Returns whether the same comparison fails in another case, too.

  An exception does not count: it is another fault.
  """
  try:
    return number in _violations(subject, one, case, tolerance)
  except Exception:
    return False
