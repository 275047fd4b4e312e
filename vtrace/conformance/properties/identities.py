"""Identities between two or three calls of the function."""

import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases
from vtrace.conformance import interface
from vtrace.conformance import witnesses

Comparisons = list[interface.Comparison]
_SHIFT = 2.0
_FACTOR = 1000.0  # Large, so that limits to the size of errors show.


def alignment(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Checks that what a step brings is weighted by the weight of this step.

  The reward, the weight and the discount of a step change no later target or
  advantage. If its weight is zero, its reward changes none at all.
  """
  k = cases.middle(case)
  more = cases.replace_at(case.rewards, k, 7.0)
  changed = case._replace(
    rewards=more,
    log_rhos=cases.replace_at(case.log_rhos, k, 0.5),
    discounts=cases.replace_at(case.discounts, k, 0.0),
  )
  zero = case._replace(
    log_rhos=cases.replace_at(case.log_rhos, k, -np.inf),
    discounts=cases.without_terminations(case).discounts,
  )
  ignoring = zero._replace(rewards=more)
  one, other, without, with_reward = (
    adapters.call(subject, x) for x in (case, changed, zero, ignoring)
  )
  later = f', expected as before step {k} was changed'
  ignored = f', expected as with another reward in step {k}, of weight 0'
  return [
    *interface.same(one, other, later, k + 1, None, changed),
    *interface.same(without, with_reward, ignored, inputs=ignoring),
  ]


def single_step(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares an unroll of one step with rho (r + gamma V' - V)."""
  settings = adapters.settings_of(subject, case)
  weights = np.exp(case.log_rhos.astype(float))
  error = case.rewards + case.discounts * case.bootstrap_value - case.values
  expected = (
    case.values
    + witnesses.clip(weights, settings['clip_rho_threshold']) * error,
    witnesses.clip(weights, settings['clip_pg_rho_threshold']) * error,
  )
  return interface.both(adapters.call(subject, case), expected)


def time_consistency(
  subject: adapters.Subject, case: cases.Case
) -> Comparisons:
  """Compares the first half, bootstrapped from its own v_s, with the whole."""
  settings = adapters.settings_of(subject, case)
  interface.require(
    settings['lambda_'] == 1
    and settings['clip_rho_threshold'] == settings['clip_c_threshold'],
    'it holds where rho_bar = c_bar and lambda = 1',
  )
  half = len(case.rewards) // 2
  whole = adapters.call(subject, case)
  first = cases.steps(case, 0, half)._replace(
    bootstrap_value=whole.vs[half].astype(case.values.dtype)
  )
  alone = adapters.call(subject, first)
  where = f' of the first {half} steps alone, expected as in this unroll'
  expected = tuple(x if x is None else x[:half] for x in whole[:2])
  return interface.both(alone, expected, where)


def translation(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares with a call in which all values are larger by a constant."""
  dtype = case.values.dtype
  rewards = case.rewards + _SHIFT * (1 - case.discounts.astype(float))
  shifted = case._replace(
    rewards=rewards.astype(dtype),
    values=(case.values + _SHIFT).astype(dtype),
    bootstrap_value=(case.bootstrap_value + _SHIFT).astype(dtype),
  )
  returned = adapters.call(subject, case)
  return interface.both(
    adapters.call(subject, shifted),
    (returned.vs + _SHIFT, returned.pg_advantages),
    f', expected as with values smaller by {_SHIFT:g}, plus {_SHIFT:g} in vs',
    inputs=shifted,
  )


def linearity(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares a sum of rewards and values with the sum of two calls."""
  factor, one = (case.values.dtype.type(x) for x in (_FACTOR, 1))
  other = case._replace(
    rewards=case.rewards[::-1] + one,
    values=-case.values[::-1],
    bootstrap_value=2 * case.bootstrap_value,
  )
  total = case._replace(
    rewards=factor * case.rewards + other.rewards,
    values=factor * case.values + other.values,
    bootstrap_value=factor * case.bootstrap_value + other.bootstrap_value,
  )
  first, second, found = (
    adapters.call(subject, x)[:2] for x in (case, other, total)
  )
  expected = [x if x is None else factor * x + y for x, y in zip(first, second)]
  sums = ' of a weighted sum of inputs, expected as the sum of results'
  returned = adapters.Returned(*found, inputs=())
  return interface.both(returned, tuple(expected), sums, inputs=total)


def independent_columns(
  subject: adapters.Subject, case: cases.Case
) -> Comparisons:
  """Checks that the first column of the batch does not change the others."""
  first, middle = (slice(None), 0), (cases.middle(case), 0)
  log_rhos = cases.replace_at(case.log_rhos, first, 1.0)
  changed = case._replace(
    log_rhos=cases.replace_at(log_rhos, middle, -np.inf),
    discounts=cases.replace_at(case.discounts, middle, 0.0),
    rewards=cases.replace_at(case.rewards, first, 50.0),
    values=cases.replace_at(case.values, first, -50.0),
  )
  one, other = (
    [x[:, 1:] for x in adapters.call(subject, c)[:2] if x is not None]
    for c in (case, changed)
  )
  names = 'vs', 'pg_advantages'
  where = ' of the other sequences, expected as before the first was changed'
  return [
    interface.Comparison(name + where, x, y, 0, changed)
    for name, x, y in zip(names, one, other)
  ]
