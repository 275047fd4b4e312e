"""The report of a check: a table, and counter-examples."""

from typing import NamedTuple

import numpy as np

from vtrace.conformance import cases
from vtrace.conformance import interface

PASS, FAIL, ERROR = 'pass', 'fail', 'error'
NOT_APPLICABLE = 'not applicable'
_ROW = '{:<16}{:<22}{}'


class Result(NamedTuple):
  """What came out of one property."""

  name: str
  sentence: str
  status: str  # PASS, FAIL, NOT_APPLICABLE or ERROR.
  # Of a failure: the smallest counter-example found. Otherwise the exception,
  # or the reason why the property is not applicable, or nothing.
  counter_example: str
  tolerance: float  # Relative to 1 + the largest magnitude; 0: exactly equal.


class Report(NamedTuple):
  """The results of all properties; as a string, a table and the failures."""

  title: str
  results: tuple[Result, ...]

  @property
  def passed(self) -> bool:
    """Whether no property failed or raised an exception."""
    return not any(r.status in (FAIL, ERROR) for r in self.results)

  def __str__(self) -> str:
    lines = [self.title, '']
    for result in self.results:
      skipped = result.status == NOT_APPLICABLE
      text = result.counter_example if skipped else result.sentence
      lines.append(_ROW.format(result.status, result.name, text))
    lines += self._failures() + self._errors()
    counts = [
      f'{sum(r.status == status for r in self.results)} {status}'
      for status in (PASS, FAIL, ERROR, NOT_APPLICABLE)
    ]
    return '\n'.join([*lines, '', ', '.join(counts) + '.'])

  def _failures(self) -> list[str]:
    """Formats the counter-examples, each below all its properties."""
    shared = {}
    for result in self.results:
      if result.status == FAIL:
        shared.setdefault(result.counter_example, []).append(result)
    lines = []
    for counter_example, results in shared.items():
      lines.append('')
      lines += [f'{FAIL}: {r.name}: {r.sentence}' for r in results]
      lines.append(counter_example)
    return lines

  def _errors(self) -> list[str]:
    """Formats the exceptions, each with all properties that it stopped."""
    stopped = {}
    for result in self.results:
      if result.status == ERROR:
        stopped.setdefault(result.counter_example, []).append(result.name)
    return [
      line
      for error, names in stopped.items()
      for line in ('', f'{ERROR}: {", ".join(names)}', error)
    ]


def counter_example(
  case: cases.Case,
  comparison: interface.Comparison,
  largest: float,
  settings: dict[str, float | None],
) -> str:
  """Formats the inputs of a call, what was expected and what was found."""
  if comparison.inputs is not None:
    case = comparison.inputs
  lines = [f'  Smallest counter-example found: {_sizes(case, settings)}.']
  if case.details is None:
    for column in range(case.rewards.shape[1]):
      lines += _inputs(case, column)
  else:
    lines.append(str(case.details))
  lines += [
    f'  Compared: {comparison.what}{_steps(comparison)}.',
    f'    expected  {_array(comparison.expected)}',
    f'    found     {_array(comparison.found)}',
  ]
  if np.isfinite(largest):
    lines.append(f'  Largest difference: {largest:.3g}.')
  return '\n'.join(lines)


def _sizes(case: cases.Case, settings: dict[str, float | None]) -> str:
  """Formats the sizes, and the thresholds and lambda that are not 1."""
  sizes = [f'{axis}={n}' for axis, n in zip('TB', case.rewards.shape)]
  others = [f'{k}={_number(v)}' for k, v in settings.items() if v != 1]
  rest = 'the others 1' if others else 'thresholds and lambda 1'
  return ', '.join([*sizes, *others, rest])


def _inputs(case: cases.Case, column: int) -> list[str]:
  """Formats a sequence of the batch, with a line for every argument."""
  length, batch = case.rewards.shape
  sequence = f'sequence {column}' if batch > 1 else ''
  names = [*(f'step {t}' for t in range(length)), 'bootstrap']
  rows = [(sequence, names)]
  for name, array in zip(case._fields[:4], cases.arrays(case)):
    rows.append((name, [_number(x) for x in array[:, column]]))
  rows[-1][1].append(_number(case.bootstrap_value[column]))
  return [
    f'    {name:<12}{"".join(f"{cell:>10}" for cell in cells)}'.rstrip()
    for name, cells in rows
  ]


def _steps(comparison: interface.Comparison) -> str:
  return f', from step {comparison.start} on' if comparison.start else ''


def _number(x: float | None) -> str:
  return 'None' if x is None else f'{float(x):.4g}'


def _array(array: np.ndarray) -> str:
  """Formats the steps of an array along a line, sequences below each other."""
  array = np.asarray(array)
  if array.ndim == 2:
    array = array[:, 0] if array.shape[1] == 1 else array.T
  text = np.array2string(array, precision=6, separator=', ', threshold=60)
  return text.replace('\n', '\n' + ' ' * 14)
