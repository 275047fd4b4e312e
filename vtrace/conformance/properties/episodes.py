"""Episodes that end inside an unroll, and steps whose weight is zero.

After a truncated episode there is a row for the reset: its observation is the
last of the old episode, its action was ignored and its next observation is the
first of the new episode. Its importance weight is zero. The discount of the
truncated step before it is not zero, so that V of the last observation
bootstraps.
"""

import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases
from vtrace.conformance import interface
from vtrace.conformance import witnesses

Comparisons = list[interface.Comparison]
_HUGE = ' when all rewards and values after that are huge'


def zero_weights(case: cases.Case) -> cases.Case:
  """Returns the case with a weight of zero in the middle, in some columns."""
  place = cases.middle(case), slice(None, None, 2)
  return case._replace(log_rhos=cases.replace_at(case.log_rhos, place, -np.inf))


def no_effect(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Checks that vs = V and the advantage is 0 at a step of weight zero.

  Nor do earlier steps depend on what follows it.
  """
  k = cases.middle(case)
  weighted = ~np.isneginf(case.log_rhos[k])
  returned = adapters.call(subject, case)
  huge = cases.with_huge_rows(case, k + 1)
  after = adapters.call(subject, huge)
  unweighted = [
    np.where(weighted, x[k], y[k])[None]
    for x, y in zip(_without_none(returned), (case.values, 0 * case.values))
  ]
  found = interface.both(returned, tuple(unweighted), '', k, k + 1)
  for one in interface.same(returned, after, _HUGE, 0, k, huge):
    found.append(
      one._replace(
        expected=one.expected[:, ~weighted], found=one.found[:, ~weighted]
      )
    )
  return found


def terminated(case: cases.Case) -> cases.Case:
  """Returns the case with an episode that terminates in the middle."""
  place = cases.middle(case)
  return case._replace(discounts=cases.replace_at(case.discounts, place, 0))


def nothing_leaks(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares the first episode with the same episode alone."""
  k = cases.middle(case)
  alone = cases.steps(case, 0, k + 1)._replace(
    bootstrap_value=np.zeros_like(case.bootstrap_value)
  )
  expected = witnesses.equation_1(alone, adapters.settings_of(subject, case))
  huge = cases.with_huge_rows(case, k + 1)
  after = adapters.call(subject, huge)
  return [
    *interface.both(adapters.call(subject, case), expected, '', 0, k + 1),
    *interface.both(after, expected, _HUGE, 0, k + 1, huge),
  ]


def truncated_step(case: cases.Case) -> int:
  """Returns the step that ends the first episode of `truncated`."""
  return (len(case.rewards) - 2) // 2


def truncated(case: cases.Case) -> cases.Case:
  """Returns the case with a truncated episode, and the row of the reset."""
  k = truncated_step(case)
  discounts = np.array(case.discounts)
  discounts[k : k + 2] = cases.without_terminations(case).discounts[k : k + 2]
  log_rhos = cases.replace_at(case.log_rhos, k + 1, -np.inf)
  return case._replace(log_rhos=log_rhos, discounts=discounts)


def bootstraps_from_the_last_observation(
  subject: adapters.Subject, case: cases.Case
) -> Comparisons:
  """Compares the first episode with the same episode alone, bootstrapped."""
  k = truncated_step(case)
  settings = adapters.settings_of(subject, case)
  expected = witnesses.equation_1(cases.steps(case, 0, k + 1), settings)
  reset = case.values[k + 1 : k + 2], np.zeros_like(case.values[:1])
  returned = adapters.call(subject, case)
  huge = cases.with_huge_rows(case, k + 2)
  after = adapters.call(subject, huge)
  return [
    *interface.both(returned, expected, '', 0, k + 1),
    *interface.both(returned, reset, ' of the reset', k + 1, k + 2),
    *interface.both(after, expected, _HUGE, 0, k + 1, huge),
  ]


def two_episodes(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares two episodes in one unroll with two calls, one for each."""
  k = cases.middle(case) + 1
  reset = case._replace(
    log_rhos=cases.replace_at(case.log_rhos, k - 1, -np.inf),
    discounts=cases.without_terminations(case).discounts,
  )
  found = []
  for one, how in ((terminated(case), 'terminated'), (reset, 'reset')):
    first, second = (
      cases.steps(one, 0, k),
      cases.steps(one, k, len(one.rewards)),
    )
    # The bootstrap value of an episode that has ended must not matter.
    first = first._replace(bootstrap_value=np.zeros_like(case.bootstrap_value))
    together = adapters.call(subject, one)
    apart = [adapters.call(subject, part) for part in (first, second)]
    where = f' ({how}: first episode)', f' ({how}: second episode)'
    found += interface.both(together, apart[0][:2], where[0], 0, k, one)
    found += interface.both(together, apart[1][:2], where[1], k, None, one)
  return found


def _without_none(returned: adapters.Returned) -> list[np.ndarray]:
  return [x for x in returned[:2] if x is not None]
