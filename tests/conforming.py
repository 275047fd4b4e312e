"""What the tests of the conformance kit share: outcomes by property."""

import functools

import numpy as np

from tests import vtrace_mutants
from vtrace import conformance

NAMES = [one.name for one in conformance.PROPERTIES]


def statuses(report):
  return {result.name: result.status for result in report.results}


def named(status, fn, **adapters):
  """Returns the names of the properties with this status."""
  found = statuses(conformance.check(fn, **adapters))
  return {name for name, outcome in found.items() if outcome == status}


failing = functools.partial(named, 'fail')


def one_case(name='targets', **settings):
  """Returns a random case, as one property prepares it."""
  (one,) = (x for x in conformance.PROPERTIES if x.name == name)
  case = one.prepare(one.make_cases(np.dtype('float64'))[-1])
  return case._replace(settings=settings)


def batch_major(*inputs, **keywords):
  *timed, bootstrap_value = inputs
  found = vtrace_mutants.numpy_vtrace(
    *(x.T for x in timed), bootstrap_value, **keywords
  )
  return tuple(x.T for x in found)
