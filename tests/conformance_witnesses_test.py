"""What the kit compares with, and the counter-examples that it shows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import rlax

from tests import conforming
from tests import reference
from tests import vtrace_mutants
from vtrace import conformance
from vtrace.conformance import cases
from vtrace.conformance import mdp
from vtrace.conformance import witnesses

DIFFERENT = dict(
  clip_rho_threshold=1.5,
  clip_c_threshold=0.7,
  clip_pg_rho_threshold=3.0,
  lambda_=0.8,
)
numpy_vtrace = vtrace_mutants.numpy_vtrace


def test_counter_examples_are_small_and_show_the_call():
  report = conformance.check(
    vtrace_mutants.MUTANTS['truncation'], properties=['truncation']
  )
  lines = report.results[0].counter_example.splitlines()
  rows = {line.split()[0]: line.split()[1:] for line in lines[2:6]}
  assert 'T=3, B=1, thresholds and lambda 1' in lines[0]
  assert rows == {
    'log_rhos': ['0', '-inf', '0'],
    'discounts': ['1', '1', '1'],
    'rewards': ['0', '0', '0'],
    'values': ['0', '0', '0', '1'],
  }
  assert lines[6:] == [
    '  Compared: pg_advantages.',
    '    expected  [0.]',
    '    found     [1.]',
    '  Largest difference: 1.',
  ]


def test_a_counter_example_names_the_threshold_that_matters():
  report = conformance.check(
    vtrace_mutants.MUTANTS['rho_bar'], properties=['rho_bar']
  )
  first_line = report.results[0].counter_example.splitlines()[0]
  assert 'T=1, B=1, clip_rho_threshold=3, the others 1' in first_line


def test_a_counter_example_shows_the_call_that_differs():
  name = 'two episodes'
  report = conformance.check(vtrace_mutants.MUTANTS[name], properties=[name])
  lines = report.results[0].counter_example.splitlines()
  # The random input has no termination; the property puts one into step 0.
  (discounts,) = (line.split()[1:] for line in lines if 'discounts' in line)
  assert discounts == ['0', '1']


def test_double_loop_agrees_with_a_calculation_by_hand():
  case = cases.Case(
    np.log([[2.0], [0.5]]),
    np.array([[0.5], [1.0]]),
    np.array([[1.0], [4.0]]),
    np.array([[2.0], [6.0]]),
    np.array([8.0]),
    settings={},
  )
  vs, advantages = witnesses.equation_1(case, DIFFERENT)
  # Step 1: delta = 0.5 (4 + 8 - 6) = 3. Step 0: delta = 1.5 (1 + 3 - 2) = 3;
  # the trace is 0.5 * 0.8 * 0.7 = 0.28. v_1 = 9, v_0 = 2 + 3 + 0.28 * 3.
  np.testing.assert_allclose(vs, [[5.84], [9.0]])
  np.testing.assert_allclose(advantages, [[2 * (1 + 4.5 - 2)], [0.5 * 6]])


def test_witnesses_agree_with_each_other():
  case = conforming.one_case('lambda')
  settings = dict.fromkeys(cases.KEYWORDS, 1.0)
  for lambda_ in (0.0, 0.6, 1.0):
    vs, _ = witnesses.equation_1(case, settings | {'lambda_': lambda_})
    np.testing.assert_allclose(vs, witnesses.lambda_returns(case, lambda_))
  np.testing.assert_allclose(vs, witnesses.n_step_returns(case))


def test_double_loop_agrees_with_the_reference_of_the_other_tests():
  case = conforming.one_case('discounts')
  expected = reference.vtrace(*cases.arrays(case), **DIFFERENT)
  for x, y in zip(witnesses.equation_1(case, DIFFERENT), expected):
    np.testing.assert_allclose(x, y)


def test_the_values_of_the_small_mdps_solve_the_bellman_equation():
  for case in mdp.mdp_cases(np.dtype('float64')):
    found = case.details
    policy = mdp.clipped_policy(found, 0.5)
    assert np.max(abs(policy - found.pi)) > 0.01
    v = mdp.value_of(found, policy)
    q = found.reward + cases.GAMMA * v[found.next_state]
    np.testing.assert_allclose(v, np.sum(policy * q, axis=1))
    totals = mdp.expectation(case, np.ones_like(found.probability))
    np.testing.assert_allclose(totals, 1.0)


def rlax_vtrace(
  log_rhos, discounts, rewards, values, bootstrap_value, **keywords
):
  next_values = jnp.concatenate([values[1:], bootstrap_value[None]])
  found = jax.vmap(
    functools.partial(rlax.vtrace_td_error_and_advantage, **keywords),
    in_axes=1,
    out_axes=1,
  )(values, next_values, rewards, discounts, jnp.exp(log_rhos))
  return {'vs': found.errors + values, 'pg_advantages': found.pg_advantage}


def test_rlax_differs_only_where_it_defines_the_advantage_otherwise():
  # Its advantage mixes V(x_{t+1}) and v_{t+1} by lambda, and its loss, not the
  # advantage, stops the gradient.
  fn = jax.jit(rlax_vtrace)
  report = conformance.check(
    fn,
    to_native=jnp.asarray,
    gradient=conformance.jax_gradient(fn),
    without=('clip_c_threshold', 'None'),
  )
  found = conforming.statuses(report)
  unusual = {k: v for k, v in found.items() if v != 'pass'}
  assert unusual == {
    'lambda in advantages': 'fail',
    'no gradient': 'fail',
    'c_bar': 'not applicable',
    'no clipping': 'not applicable',
  }
  assert 'no argument clip_c_threshold' in str(report)
