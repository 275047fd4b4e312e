"""What is true of every call: shapes, dtype, inputs, gradients."""

import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases
from vtrace.conformance import interface

Comparisons = list[interface.Comparison]
_NAMES = 'log_rhos', 'discounts', 'rewards', 'values', 'bootstrap_value'


def shapes(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Checks shapes for every rank, and that results do not depend on it."""
  found, batch = [], adapters.call_unchecked(subject, case)
  for rank in subject.ranks:
    rewards = _of_rank(case.rewards, rank)
    where = f' for rewards of shape {list(rewards.shape)}'
    arrays = (_of_rank(x, rank) for x in cases.arrays(case))
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
            _of_rank(y, rank),
            x,
          ),
        ]
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


def _of_rank(x: np.ndarray, rank: int) -> np.ndarray:
  """Returns an array `[..., B]` as it belongs to `rewards` of a rank.

  For 1 it is the first sequence alone, for 3 `[..., B, 2]`: the batch, and the
  batch in reverse.
  """
  if rank == 1:
    return x[..., 0]
  return x if rank == 2 else np.stack([x, x[..., ::-1]], axis=-1)
