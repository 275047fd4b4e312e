"""What is true of every call: shapes, dtype, inputs, gradients."""

import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases
from vtrace.conformance import interface
from vtrace.conformance import witnesses

Comparisons = list[interface.Comparison]
_NAMES = 'log_rhos', 'discounts', 'rewards', 'values', 'bootstrap_value'


def shapes(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Checks shapes and results of every rank that the function takes."""
  settings, found = adapters.settings_of(subject, case), []
  for rank in subject.ranks:
    one = _of_rank(case, rank)
    where = f' for rewards of shape {list(one.rewards.shape)}'
    returned = adapters.call_unchecked(subject, one)
    wanted = np.array(one.rewards.shape)
    for name, x in zip(('vs', 'pg_advantages'), returned[:2]):
      if x is not None:
        what = f'shape of {name}{where}'
        found.append(interface.Comparison(what, wanted, np.array(x.shape)))
    found += interface.both(
      returned, witnesses.equation_1(one, settings), where
    )
  return found


def dtype(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Checks that results have the dtype of the inputs."""
  expected = np.array(str(case.rewards.dtype))
  returned = adapters.call(subject, case)
  return [
    interface.Comparison(f'dtype of {name}', expected, np.array(str(x.dtype)))
    for name, x in zip(('vs', 'pg_advantages'), returned[:2])
    if x is not None
  ]


def inputs_unchanged(
  subject: adapters.Subject, case: cases.Case
) -> Comparisons:
  """Compares the inputs after the call with those before it."""
  after = adapters.call(subject, case).inputs
  return [
    interface.Comparison(f'{name} after the call', x, y)
    for name, x, y in zip(_NAMES, cases.arrays(case), after)
  ]


def no_gradient(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Checks that all gradients are zero."""
  return [
    interface.Comparison(f'gradient in {name}', np.zeros_like(x), gradient)
    for name, x, gradient in zip(
      _NAMES, cases.arrays(case), adapters.gradients(subject, case)
    )
  ]


def _of_rank(case: cases.Case, rank: int) -> cases.Case:
  """Returns a case of rank 1, `[T]`, 2, or 3, `[T, B, 2]`."""
  if rank == 1:
    return cases.columns(case, 0)
  if rank == 2:
    return case
  stacked = (np.stack([x, x[..., ::-1]], axis=-1) for x in cases.arrays(case))
  return cases.Case(*stacked, settings=case.settings)
