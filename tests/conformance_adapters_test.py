"""The conformance kit calls functions of many kinds, and names what fails."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from tests import conforming
from tests import vtrace_mutants
import vtrace
from vtrace import conformance
from vtrace.conformance import cases

numpy_vtrace = vtrace_mutants.numpy_vtrace


def test_batch_major_functions_pass_as_such():
  assert conformance.check(conforming.batch_major, time_major=False).passed
  assert not conformance.check(conforming.batch_major).passed
  assert not conformance.check(numpy_vtrace, time_major=False).passed


@pytest.mark.parametrize('rank', (1, 2, 3))
def test_functions_of_one_rank_are_called_with_it(rank):
  seen = set()

  def fn(*inputs, **keywords):
    seen.add((inputs[2].ndim, inputs[4].ndim))
    return numpy_vtrace(*inputs, **keywords)

  report = conformance.check(fn, ranks=(rank,))
  assert report.passed and seen == {(rank, rank - 1)}
  expected = 'not applicable' if rank == 1 else 'pass'
  assert conforming.statuses(report)['batch'] == expected


def test_shapes_are_checked_for_every_rank():
  def fn(*inputs, **keywords):
    vs, advantages = numpy_vtrace(*inputs, **keywords)
    return (vs + 1 if vs.ndim == 3 else vs), advantages

  assert conformance.check(fn, ranks=(1, 2)).passed
  assert conforming.failing(fn, ranks=(1, 2, 3)) == {'shapes'}


def test_a_batch_of_one_sequence_stays_a_batch():
  def fn(*inputs, **keywords):
    found = numpy_vtrace(*inputs, **keywords)
    return [x[:, 0] if x.shape[1:] == (1,) else x for x in found]

  report = conformance.check(fn)
  assert {k for k, v in conforming.statuses(report).items() if v == 'fail'} == {
    'shapes'
  }
  assert 'shape of vs for rewards of shape [1, 1]' in str(report)


def test_wrong_numbers_do_not_count_as_a_wrong_shape():
  assert 'shapes' not in conforming.failing(vtrace_mutants.MUTANTS['targets'])


def test_arrays_are_converted_by_the_adapters():
  class Native:
    """An array of another framework."""

    def __init__(self, array):
      self.array = array

  def fn(*inputs, **keywords):
    found = numpy_vtrace(*(x.array for x in inputs), **keywords)
    return types.SimpleNamespace(
      vs=Native(found[0]), pg_advantages=Native(found[1])
    )

  report = conformance.check(
    fn, to_native=Native, to_numpy=lambda native: native.array
  )
  assert report.passed, report


@pytest.mark.parametrize('name', cases.KEYWORDS)
def test_a_function_without_a_keyword_passes_if_that_is_declared(name):
  def fn(*inputs, **keywords):
    assert name not in keywords
    return numpy_vtrace(*inputs, **keywords)

  report = conformance.check(fn, without=[name])
  assert report.passed, report
  assert f'no argument {name}' in str(report)


def test_a_keyword_may_have_another_value_or_be_shared():
  def shared(*inputs, clip_rho_threshold, clip_c_threshold):
    return numpy_vtrace(
      *inputs,
      clip_rho_threshold=clip_rho_threshold,
      clip_c_threshold=clip_c_threshold,
      clip_pg_rho_threshold=clip_rho_threshold,
      lambda_=0.9,
    )

  declared = {'clip_pg_rho_threshold': 'clip_rho_threshold', 'lambda_': 0.9}
  assert conformance.check(shared, without=declared).passed
  assert conforming.failing(shared, without=declared | {'lambda_': 1.0})
  assert conforming.failing(
    shared, without=declared | {'clip_pg_rho_threshold': 1.0}
  )


def test_a_constant_discount_factor_and_missing_advantages_are_declared():
  constant = vtrace_mutants.MUTANTS['discounts']
  assert conformance.check(constant, without=['discounts']).passed

  targets_only = lambda *inputs, **keywords: numpy_vtrace(*inputs, **keywords)[
    0
  ]
  names = conforming.named(
    'not applicable', targets_only, without=['pg_advantages']
  )
  assert names >= {'advantages', 'pg_rho_bar', 'lambda in advantages'}
  assert conformance.check(targets_only, without=['pg_advantages']).passed
  assert not conformance.check(targets_only).passed


def test_functions_of_transitions_are_checked_with_the_ends_of_episodes():
  sound = conformance.from_transitions(vtrace_mutants.vtrace_of_transitions)
  report = conformance.check(sound, ranks=(1, 2, 3))
  assert report.passed, report


def test_transitions_leave_out_resets_and_mark_what_came_before():
  seen = {}

  def fn(log_rhos, discounts, rewards, values, next_values, dones):
    seen.update(rewards=rewards, next_values=next_values, dones=dones)
    return values + 10, values + 20

  vs, advantages = conformance.from_transitions(fn)(
    np.array([0.0, 0.5, -np.inf, 0.0, 0.0]),
    np.array([0.9, 0.9, 0.9, 0.0, 0.9]),
    np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
    np.array([6.0, 7.0, 8.0, 9.0, 10.0]),
    np.array(11.0),
  )
  np.testing.assert_array_equal(seen['rewards'], [1, 2, 4, 5])
  np.testing.assert_array_equal(seen['next_values'], [7, 8, 10, 11])
  np.testing.assert_array_equal(seen['dones'], [False, True, True, False])
  np.testing.assert_array_equal(vs, [16, 17, 8, 19, 20])
  np.testing.assert_array_equal(advantages, [26, 27, 0, 29, 30])


def test_no_gradient_may_be_given_as_none():
  none = lambda *inputs, **keywords: [None] * 5
  found = conforming.named('pass', numpy_vtrace, gradient=none)
  assert 'no gradient' in found


def test_gradients_are_those_of_targets_and_advantages_alone():
  def fn(*inputs, **keywords):
    found = vtrace.from_importance_weights(*inputs, **keywords)
    # JAX does not know such an object.
    return types.SimpleNamespace(**found._asdict(), values=inputs[3])

  adapters = dict(to_native=jnp.asarray, gradient=conformance.jax_gradient(fn))
  assert conformance.check(fn, properties=['no gradient'], **adapters).passed


def test_a_function_that_is_not_deterministic_gets_a_counter_example():
  calls = iter(range(1000))

  def fn(*inputs, **keywords):
    vs, advantages = numpy_vtrace(*inputs, **keywords)
    return vs + (next(calls) % 2 == 0), advantages

  report = conformance.check(fn, properties=['targets'])
  assert report.results[0].status == 'fail'
  assert 'Largest difference: 1' in report.results[0].counter_example


def test_properties_with_one_counter_example_share_it_in_the_report():
  def fn(*inputs, **keywords):
    vs, advantages = numpy_vtrace(*inputs, **keywords)
    return vs + 1, advantages + 2

  names = ['targets', 'advantages', 'single step']
  report = conformance.check(fn, properties=names)
  examples = {r.name: r.counter_example for r in report.results}
  shared, other = examples['targets'], examples['advantages']
  assert shared == examples['single step'] != other
  text = str(report)
  assert text.count(shared) == text.count(other) == 1
  heads = [
    line.split(': ')[1] for line in text.splitlines() if 'fail: ' in line
  ]
  assert heads == ['targets', 'single step', 'advantages']
  assert text.index('fail: single step') < text.index(shared)


def test_an_exception_is_an_error_and_the_report_lists_it_once():
  def fn(*inputs):
    del inputs

  report = conformance.check(fn)
  assert not report.passed
  assert set(conforming.statuses(report).values()) == {
    'error',
    'not applicable',
  }
  assert str(report).count('unexpected keyword') == 1
  assert 'Declare an argument that the function lacks' in str(report)


def test_a_wrong_shape_is_named():
  report = conformance.check(vtrace_mutants.MUTANTS['shapes'])
  assert conforming.statuses(report)['shapes'] == 'fail'
  assert conforming.statuses(report)['targets'] == 'error'
  assert 'vs has the shape [7, 3], and the rewards [8, 3]' in str(report)


def test_exact_properties_allow_no_difference():
  name = 'zero weights'
  report = conformance.check(vtrace_mutants.MUTANTS[name], properties=[name])
  assert report.results[0].tolerance == 0.0
  assert 'Largest difference: 2.06e-09' in report.results[0].counter_example


def test_the_tolerance_is_relative_to_the_largest_magnitude():
  def noisy(*inputs, **keywords):
    vs, advantages = numpy_vtrace(*inputs, **keywords)
    return vs * np.float32(1 + 1e-3), advantages

  assert 'targets' in conforming.failing(noisy)
  report = conformance.check(noisy, tolerance=1e-2, properties=['targets'])
  assert report.passed and report.results[0].tolerance == 1e-2


def test_nan_fails():
  nan = lambda *inputs, **keywords: (
    x * np.nan for x in numpy_vtrace(*inputs, **keywords)
  )
  report = conformance.check(lambda *a, **k: tuple(nan(*a, **k)))
  found = conforming.statuses(report)
  others = {'shapes', 'dtype', 'inputs unchanged', 'no gradient'}
  assert {k for k, v in found.items() if v != 'fail'} == others - {'shapes'}


def test_own_properties_are_checked_too():
  def compare(subject, case):
    vs = subject.fn(*cases.arrays(case))[0]
    return [conformance.Comparison('vs', 0 * vs, vs)]

  own = conformance.Property('own', 'vs is zero', compare)
  report = conformance.check(numpy_vtrace, properties=[own, 'dtype'])
  assert conforming.statuses(report) == {'own': 'fail', 'dtype': 'pass'}


@pytest.mark.parametrize(
  'adapters',
  (
    dict(without=['lambda']),
    dict(without={'clip_pg_rho_threshold': 'rho_bar'}),
    dict(properties=['target']),
    dict(ranks=()),
    dict(ranks=(4,)),
  ),
  ids=str,
)
def test_unknown_names_are_rejected(adapters):
  with pytest.raises(ValueError, match='nown|ranks'):
    conformance.check(numpy_vtrace, **adapters)


def test_names_and_sentences_fit_into_the_table():
  assert len(set(conforming.NAMES)) == len(conforming.NAMES)
  for one in conformance.PROPERTIES:
    assert len(one.name) <= 20 and len(one.sentence) <= 72, one.name
