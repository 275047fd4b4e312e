"""The conformance kit passes sound functions and finds every mutant."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from tests import vtrace_mutants
import vtrace
from vtrace import conformance

ROOT = pathlib.Path(__file__).parent.parent
NAMES = [one.name for one in conformance.PROPERTIES]
numpy_vtrace = vtrace_mutants.numpy_vtrace


def statuses(report):
  return {result.name: result.status for result in report.results}


def failing(fn, **adapters):
  found = statuses(conformance.check(fn, **adapters))
  return {name for name, status in found.items() if status != 'pass'} - {
    'no gradient'
  }


def test_our_function_passes():
  fn = jax.jit(lambda *a, **k: vtrace.from_importance_weights(*a, **k))
  report = conformance.check(
    fn,
    to_native=jnp.asarray,
    gradient=conformance.jax_gradient(fn),
    ranks=(1, 2, 3),
  )
  assert report.passed, report
  assert statuses(report) == dict.fromkeys(NAMES, 'pass')


@pytest.mark.parametrize('dtype', ('float32', 'float64'))
def test_a_recursion_in_numpy_passes(dtype):
  report = conformance.check(numpy_vtrace, dtype=dtype, ranks=(1, 2, 3))
  assert report.passed, report
  expected = dict.fromkeys(NAMES, 'pass') | {'no gradient': 'not applicable'}
  assert statuses(report) == expected


def test_every_property_has_a_mutant():
  assert list(vtrace_mutants.MUTANTS) == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_the_mutant_of_a_property_fails_it(name):
  mutant = vtrace_mutants.MUTANTS[name]
  report = conformance.check(
    mutant,
    properties=[name],
    gradient=conformance.jax_gradient(vtrace_mutants.with_gradient),
  )
  (result,) = report.results
  assert result.status == 'fail' and not report.passed
  for word in ('expected', 'found', 'Largest difference', 'log_rhos'):
    assert word in result.counter_example
  assert result.counter_example in str(report)
