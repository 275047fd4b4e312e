"""What is true of every call: shapes, dtype, inputs, gradients."""

import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases
from vtrace.conformance import interface

Comparisons = list[interface.Comparison]
_NAMES = 'log_rhos', 'discounts', 'rewards', 'values', 'bootstrap_value'
# Rank of `rewards` -> the form of an array [..., B] that belongs to it.
_FORMS = {
  1: lambda x: x[..., 0],
  2: lambda x: x,
  3: lambda x: np.stack([x, x[..., ::-1]], axis=-1),
}


def shapes(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Checks shapes for every rank, and that results do not depend on it.

  Nor do they depend on the size of the batch, which may be 1.
  """
  found, batch = [], adapters.call_unchecked(subject, case)
  for form in (_one, *(_FORMS[rank] for rank in subject.ranks)):
    rewards = form(case.rewards)
    where = f' for rewards of shape {list(rewards.shape)}'
    arrays = (form(x) for x in cases.arrays(case))
    one = cases.Case(*arrays, settings=case.settings)
    returned = adapters.call_unchecked(subject, one)
    wanted = np.array(rewards.shape)
    for name, x, y in zip(('vs', 'pg_advantages'), returned, batch[:2]):
      if x is not None:
        found += [
          interface.Comparison(
            f'shape of {name}{where}', wanted, np.array(x.shape)
          ),
          interface.Comparison(
            f'{name}{where}, expected as for {list(case.rewards.shape)}',
            form(y),
            x,
          ),
        ]
  return found


def _one(x: np.ndarray) -> np.ndarray:
  """Returns the first sequence, as a batch."""
  return x[..., :1]


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
