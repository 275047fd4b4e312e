"""The thresholds: each clips what it should, and nothing else."""

import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases
from vtrace.conformance import interface
from vtrace.conformance import witnesses

# Thresholds that differ, below and above 1. The weights are 1/4, 1/2, 1, 2 and
# 4, so that 0.4 clips one below 1, too.
RHO_BARS = tuple(
  {
    'clip_rho_threshold': rho_bar,
    'clip_c_threshold': 0.7,
    'clip_pg_rho_threshold': 1.5,
  }
  for rho_bar in (0.4, 3.0)
)
C_BARS = tuple(
  {
    'clip_rho_threshold': 1.5,
    'clip_c_threshold': c_bar,
    'clip_pg_rho_threshold': 0.7,
  }
  for c_bar in (0.4, 3.0)
)
PG_RHO_BARS = tuple(
  {
    'clip_rho_threshold': 0.7,
    'clip_c_threshold': 1.5,
    'clip_pg_rho_threshold': pg_rho_bar,
  }
  for pg_rho_bar in (0.4, 3.0)
)
NO_CLIPPING = (
  dict.fromkeys(cases.KEYWORDS[:3]),
  *({threshold: None} for threshold in cases.KEYWORDS[:3]),
)


def target_threshold(
  subject: adapters.Subject, case: cases.Case
) -> list[interface.Comparison]:
  """Compares vs with equation 1, advantages with those of the returned vs."""
  settings = adapters.settings_of(subject, case)
  expected, _ = witnesses.equation_1(case, settings)
  returned = adapters.call(subject, case)
  advantages = witnesses.advantages(case, settings, returned.vs)
  return interface.both(returned, (expected, advantages))


def advantage_threshold(
  subject: adapters.Subject, case: cases.Case
) -> list[interface.Comparison]:
  """Compares the advantages; vs is the same under another pg_rho_bar."""
  settings = adapters.settings_of(subject, case)
  returned = adapters.call(subject, case)
  expected = witnesses.advantages(case, settings, returned.vs)
  other = case._replace(
    settings={**case.settings, 'clip_pg_rho_threshold': 1.0}
  )
  unchanged = adapters.call(subject, other).vs
  return interface.both(returned, (unchanged, expected))


def large_weight(case: cases.Case) -> cases.Case:
  """Returns the case with a weight of 1000 in the middle."""
  middle = cases.middle(case)
  log_rhos = cases.replace_at(case.log_rhos, middle, np.log(1000.0))
  return case._replace(log_rhos=log_rhos)


def extreme_weights(case: cases.Case) -> cases.Case:
  """Returns the case with log weights of 80 and -80."""
  extreme = np.where(case.log_rhos < 0, -80.0, 80.0)
  return case._replace(log_rhos=extreme.astype(case.log_rhos.dtype))
