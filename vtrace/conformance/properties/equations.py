"""The equations of section 4 of the paper, and remark 2."""

import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases
from vtrace.conformance import interface
from vtrace.conformance import witnesses

Comparisons = list[interface.Comparison]


def targets(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares vs with equation 1."""
  settings = adapters.settings_of(subject, case)
  expected, _ = witnesses.equation_1(case, settings)
  vs = adapters.call(subject, case).vs
  return [interface.Comparison('vs', expected, vs)]


def advantages(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares the advantages with those of the function's own targets."""
  returned = adapters.call(subject, case)
  settings = adapters.settings_of(subject, case)
  expected = witnesses.advantages(case, settings, returned.vs)
  return interface.both(returned, (None, expected))


def all_of_equation_1(
  subject: adapters.Subject, case: cases.Case
) -> Comparisons:
  """Compares vs and advantages with equation 1 and its advantages."""
  expected = witnesses.equation_1(case, adapters.settings_of(subject, case))
  return interface.both(adapters.call(subject, case), expected)


def on_policy(case: cases.Case) -> cases.Case:
  """Returns the case with weights of 1."""
  return case._replace(log_rhos=np.zeros_like(case.log_rhos))


def n_step_returns(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares on-policy targets with returns to the end of the unroll."""
  _require_no_clipping_at_1(adapters.settings_of(subject, case))
  vs = adapters.call(subject, case).vs
  return [interface.Comparison('vs', witnesses.n_step_returns(case), vs)]


def lambda_returns(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares on-policy targets with lambda-returns."""
  settings = adapters.settings_of(subject, case)
  _require_no_clipping_at_1(settings | {'lambda_': 1.0})
  expected = witnesses.lambda_returns(case, settings['lambda_'])
  vs = adapters.call(subject, case).vs
  return [interface.Comparison('vs', expected, vs)]


def varying_discounts(case: cases.Case) -> cases.Case:
  """Returns the case with another discount for every step, from 1 to 0.1.

  Where it is 0, it stays 0.
  """
  discounts = np.linspace(1.0, 0.1, len(case.discounts)).reshape(-1, 1)
  discounts = np.where(case.discounts == 0, 0, discounts)
  return case._replace(discounts=discounts.astype(case.discounts.dtype))


def clipped_targets(subject: adapters.Subject, case: cases.Case) -> Comparisons:
  """Compares with equation 1 under finite thresholds."""
  settings = adapters.settings_of(subject, case)
  interface.require(
    None not in settings.values(), 'the function does not clip all weights'
  )
  return all_of_equation_1(subject, case)


def _require_no_clipping_at_1(settings: dict) -> None:
  names = 'clip_rho_threshold', 'clip_c_threshold', 'lambda_'
  interface.require(
    all(settings[name] is None or settings[name] >= 1 for name in names),
    'the function clips weights of 1, or has a lambda below 1',
  )
