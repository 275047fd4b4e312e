"""The operator V -> E[v_s] of the function, by enumeration (theorem 1)."""

import itertools

import numpy as np

from vtrace.conformance import adapters
from vtrace.conformance import cases
from vtrace.conformance import interface
from vtrace.conformance import mdp

RHO_BARS = {}, {'clip_rho_threshold': 0.5}


def fixed_point(
  subject: adapters.Subject, case: cases.Case
) -> list[interface.Comparison]:
  """Checks that V of pi_rho_bar is its own expected target (equation 3)."""
  rho_bar = adapters.settings_of(subject, case)['clip_rho_threshold']
  policy = mdp.clipped_policy(case.details, rho_bar)
  v = mdp.value_of(case.details, policy)
  where = 'expected vs of every state, where V is the value of pi_rho_bar'
  return [interface.Comparison(where, v, _apply(subject, case, v))]


def contraction(
  subject: adapters.Subject, case: cases.Case
) -> list[interface.Comparison]:
  """Compares how much closer two value functions get with theorem 1."""
  settings = adapters.settings_of(subject, case)
  rho_bar, c_bar = (
    np.inf if settings[name] is None else settings[name]
    for name in ('clip_rho_threshold', 'clip_c_threshold')
  )
  interface.require(rho_bar >= c_bar, 'theorem 1 assumes rho_bar >= c_bar')
  bound = mdp.contraction_bound(case.details, rho_bar)
  num_states = len(case.details.reward)
  zero = _apply(subject, case, np.zeros(num_states))
  found = []
  for v in itertools.product((-1.0, 1.0), repeat=num_states):
    distance = np.max(abs(_apply(subject, case, np.array(v)) - zero))
    what = f'distance of the expected vs for V = {v} and V = 0, at most'
    expected = np.minimum(distance, bound)
    found.append(interface.Comparison(what, expected, distance))
  return found


def _apply(
  subject: adapters.Subject, case: cases.Case, v: np.ndarray
) -> np.ndarray:
  """Returns the expected target of every state, `[states]`."""
  vs = adapters.call(subject, mdp.with_values(case, v)).vs
  return mdp.expectation(case, vs[0].astype(float))
