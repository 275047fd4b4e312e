"""The report of a check: a table, and counter-examples."""

from typing import NamedTuple

import numpy as np

from vtrace.conformance import cases
from vtrace.conformance import interface

PASS, FAIL, ERROR = 'pass', 'fail', 'error'
NOT_APPLICABLE = 'not applicable'
_ROW = '{:<16}{:<22}{}'
_MOST_COLUMNS = 4


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
    for result in self.results:
      if result.status in (FAIL, ERROR):
        lines += ['', f'{result.status}: {result.name}: {result.sentence}']
        lines.append(result.counter_example)
    counts = [
      f'{sum(r.status == status for r in self.results)} {status}'
      for status in (PASS, FAIL, ERROR, NOT_APPLICABLE)
    ]
    return '\n'.join([*lines, '', ', '.join(counts) + '.'])


def counter_example(
  case: cases.Case,
  comparison: interface.Comparison,
  settings: dict[str, float | None],
  largest: float,
) -> str:
  """Formats the inputs of a call, what was expected and what was found."""
  shape = ', '.join(f'{k}={n}' for k, n in zip('TB', case.rewards.shape))
  words = ', '.join(f'{k}={_number(v)}' for k, v in settings.items())
  lines = [f'  Smallest counter-example found: {shape}, {words}.']
  batch = case.rewards.shape[1]
  for column in range(min(batch, _MOST_COLUMNS)):
    lines += _inputs(case, column)
  if batch > _MOST_COLUMNS:
    lines.append(f'  (and {batch - _MOST_COLUMNS} further sequences)')
  lines += [
    f'  Compared: {comparison.what}{_steps(comparison)}.',
    f'    expected  {_array(comparison.expected)}',
    f'    found     {_array(comparison.found)}',
    f'  Largest difference: {largest:.3g}.',
  ]
  return '\n'.join(lines)


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
  text = np.array2string(
    array, precision=6, separator=', ', suppress_small=True, threshold=60
  )
  return text.replace('\n', '\n' + ' ' * 14)
