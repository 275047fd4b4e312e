"""The conformance kit passes sound functions and finds every mutant."""

import functools
import pathlib
import re
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from tests import reference
from tests import vtrace_mutants
import vtrace
from vtrace import conformance
from vtrace.conformance import __main__ as command
from vtrace.conformance import cases
from vtrace.conformance import mdp
from vtrace.conformance import witnesses

PAGE = pathlib.Path(__file__).parent.parent / 'docs' / 'conformance.md'
NAMES = [one.name for one in conformance.PROPERTIES]
DIFFERENT = dict(
  clip_rho_threshold=1.5,
  clip_c_threshold=0.7,
  clip_pg_rho_threshold=3.0,
  lambda_=0.8,
)
numpy_vtrace = vtrace_mutants.numpy_vtrace


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


def test_our_function_has_all_properties():
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
  assert 'gradient adapter' in str(report)


def test_every_property_has_a_mutant():
  assert list(vtrace_mutants.MUTANTS) == NAMES


@pytest.mark.parametrize('name', NAMES)
def test_the_mutant_of_a_property_fails_it(name):
  report = conformance.check(
    vtrace_mutants.MUTANTS[name],
    properties=[name],
    gradient=conformance.jax_gradient(jax.jit(vtrace_mutants.with_gradient)),
  )
  (result,) = report.results
  assert result.status == 'fail' and not report.passed
  for word in ('Smallest', 'Compared', 'expected', 'found'):
    assert word in result.counter_example
  assert result.counter_example in str(report)


@pytest.mark.parametrize(
  'mutant,expected',
  (
    ('discounts', {'discounts'}),
    ('lambda in advantages', {'lambda in advantages'}),
    ('no clipping', {'no clipping'}),
    ('extreme weights', {'extreme weights'}),
    ('truncation', {'truncation', 'two episodes'}),
    ('dtype', {'dtype'}),
    ('inputs unchanged', {'inputs unchanged'}),
  ),
)
def test_a_narrow_fault_fails_only_the_properties_that_name_it(
  mutant, expected
):
  assert failing(vtrace_mutants.MUTANTS[mutant]) == expected


@pytest.mark.parametrize(
  'mutant,words',
  (
    (vtrace_mutants.MUTANTS['alignment'], 'as before step 0 was changed'),
    (
      vtrace_mutants.on_inputs(
        lambda log_rhos, **_: {
          'log_rhos': np.concatenate([log_rhos[1:], 0 * log_rhos[:1]])
        }
      ),
      'as with another reward in step 0, of weight 0',
    ),
  ),
  ids=('late rewards', 'early weights'),
)
def test_rewards_and_weights_of_other_steps_are_found(mutant, words):
  report = conformance.check(mutant, properties=['alignment'])
  assert words in report.results[0].counter_example


def small(gamma):
  return np.maximum(gamma, np.float32(1e-12))


@pytest.mark.parametrize(
  'places',
  (
    dict(
      td_error=lambda rho, reward, gamma, v, next_v: vtrace_mutants.td_error(
        rho, reward, small(gamma), v, next_v
      )
    ),
    dict(trace_factor=lambda c, gamma, lambda_: c * small(gamma) * lambda_),
  ),
  ids=('next value', 'trace'),
)
def test_a_leak_from_the_next_episode_is_found_however_small(places):
  assert failing(vtrace_mutants.variant(**places)) == {'termination'}


def clip_above_1(weights, threshold):
  clipped = vtrace_mutants.clip(weights, threshold)
  return np.where(weights < 1, weights, clipped)


def for_one_threshold(name, clip):
  """Returns the function that clips by `clip` for one threshold alone."""

  def mutant(*inputs, **keywords):
    # Another number with the same value: `is` tells which threshold it is.
    keywords[name] = chosen = np.float32(keywords[name] or np.inf)
    return numpy_vtrace(
      *inputs,
      **keywords,
      clip=lambda weights, threshold: (
        clip if threshold is chosen else vtrace_mutants.clip
      )(weights, threshold),
    )

  return mutant


def mask_of_any_sequence(log_rhos, **_):
  """Gives a step no weight where any sequence of the batch has none."""
  axes = tuple(range(1, log_rhos.ndim))
  ignored = np.isneginf(log_rhos).any(axis=axes, keepdims=True)
  return {'log_rhos': np.where(ignored, -np.inf, log_rhos)}


@pytest.mark.parametrize(
  'mutant,expected',
  (
    (for_one_threshold('clip_c_threshold', clip_above_1), 'c_bar'),
    (for_one_threshold('clip_pg_rho_threshold', clip_above_1), 'pg_rho_bar'),
    (vtrace_mutants.on_inputs(mask_of_any_sequence), 'batch'),
    (
      vtrace_mutants.variant(
        td_error=lambda *terms: np.clip(
          vtrace_mutants.td_error(*terms), -1000, 1000
        )
      ),
      'linearity',
    ),
    (
      vtrace_mutants.on_inputs(
        lambda log_rhos, **_: {'log_rhos': np.minimum(log_rhos, 5)}
      ),
      'no clipping',
    ),
    (
      vtrace_mutants.on_inputs(
        lambda discounts, **_: {'discounts': np.minimum(discounts, 0.99)}
      ),
      'discounts',
    ),
    (
      vtrace_mutants.on_inputs(
        lambda discounts, **_: {'discounts': discounts * (discounts > 0.2)}
      ),
      'discounts',
    ),
    (
      vtrace_mutants.on_keywords(
        clip_c_threshold=lambda keywords: (
          keywords['clip_c_threshold'] or keywords['clip_rho_threshold']
        )
      ),
      'no clipping',
    ),
  ),
  ids=(
    'traces are clipped above 1 only',
    'weights of advantages are clipped above 1 only',
    'zero weight of any sequence',
    'limited TD errors',
    'limited weights',
    'limited discounts',
    'small discounts count as 0',
    'c_bar is rho_bar where it is None',
  ),
)
def test_a_subtle_fault_fails_the_one_property_that_shows_it(mutant, expected):
  found = failing(mutant)
  assert expected in found and len(found) <= 2, found


# The defects that were reported of four libraries.
@pytest.mark.parametrize(
  'mutant,expected',
  (
    ('targets', {'targets', 'single step', 'zero weights', 'fixed point'}),
    ('truncation', {'truncation', 'two episodes'}),
    ('on-policy targets', {'targets', 'single step', 'on-policy targets'}),
    ('alignment', {'targets', 'alignment'}),
  ),
  ids=(
    'rho on the reward only',
    'next episode in the advantage',
    'bootstrap counted twice',
    'action paired with the reward before it',
  ),
)
def test_the_known_defects_are_found(mutant, expected):
  assert failing(vtrace_mutants.MUTANTS[mutant]) >= expected


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
  case = one_case('lambda')
  settings = dict.fromkeys(cases.KEYWORDS, 1.0)
  for lambda_ in (0.0, 0.6, 1.0):
    vs, _ = witnesses.equation_1(case, settings | {'lambda_': lambda_})
    np.testing.assert_allclose(vs, witnesses.lambda_returns(case, lambda_))
  np.testing.assert_allclose(vs, witnesses.n_step_returns(case))


def test_double_loop_agrees_with_the_reference_of_the_other_tests():
  case = one_case('discounts')
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
  found = statuses(report)
  unusual = {k: v for k, v in found.items() if v != 'pass'}
  assert unusual == {
    'lambda in advantages': 'fail',
    'no gradient': 'fail',
    'c_bar': 'not applicable',
    'no clipping': 'not applicable',
  }
  assert 'no argument clip_c_threshold' in str(report)


def batch_major(*inputs, **keywords):
  *timed, bootstrap_value = inputs
  found = numpy_vtrace(*(x.T for x in timed), bootstrap_value, **keywords)
  return tuple(x.T for x in found)


def test_batch_major_functions_pass_as_such():
  assert conformance.check(batch_major, time_major=False).passed
  assert not conformance.check(batch_major).passed
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
  assert statuses(report)['batch'] == expected


def test_shapes_are_checked_for_every_rank():
  def fn(*inputs, **keywords):
    vs, advantages = numpy_vtrace(*inputs, **keywords)
    return (vs + 1 if vs.ndim == 3 else vs), advantages

  assert conformance.check(fn, ranks=(1, 2)).passed
  assert failing(fn, ranks=(1, 2, 3)) == {'shapes'}


def test_a_batch_of_one_sequence_stays_a_batch():
  def fn(*inputs, **keywords):
    found = numpy_vtrace(*inputs, **keywords)
    return [x[:, 0] if x.shape[1:] == (1,) else x for x in found]

  report = conformance.check(fn)
  assert {k for k, v in statuses(report).items() if v == 'fail'} == {'shapes'}
  assert 'shape of vs for rewards of shape [1, 1]' in str(report)


def test_wrong_numbers_do_not_count_as_a_wrong_shape():
  assert 'shapes' not in failing(vtrace_mutants.MUTANTS['targets'])


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
  assert failing(shared, without=declared | {'lambda_': 1.0})
  assert failing(shared, without=declared | {'clip_pg_rho_threshold': 1.0})


def test_a_constant_discount_factor_and_missing_advantages_are_declared():
  constant = vtrace_mutants.MUTANTS['discounts']
  assert conformance.check(constant, without=['discounts']).passed

  targets_only = lambda *inputs, **keywords: numpy_vtrace(*inputs, **keywords)[
    0
  ]
  names = named('not applicable', targets_only, without=['pg_advantages'])
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
  found = named('pass', numpy_vtrace, gradient=none)
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
  assert set(statuses(report).values()) == {'error', 'not applicable'}
  assert str(report).count('unexpected keyword') == 1
  assert 'Declare an argument that the function lacks' in str(report)


def test_a_wrong_shape_is_named():
  report = conformance.check(vtrace_mutants.MUTANTS['shapes'])
  assert statuses(report)['shapes'] == 'fail'
  assert statuses(report)['targets'] == 'error'
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

  assert 'targets' in failing(noisy)
  report = conformance.check(noisy, tolerance=1e-2, properties=['targets'])
  assert report.passed and report.results[0].tolerance == 1e-2


def test_nan_fails():
  nan = lambda *inputs, **keywords: (
    x * np.nan for x in numpy_vtrace(*inputs, **keywords)
  )
  report = conformance.check(lambda *a, **k: tuple(nan(*a, **k)))
  found = statuses(report)
  others = {'shapes', 'dtype', 'inputs unchanged', 'no gradient'}
  assert {k for k, v in found.items() if v != 'fail'} == others - {'shapes'}


def test_own_properties_are_checked_too():
  def compare(subject, case):
    vs = subject.fn(*cases.arrays(case))[0]
    return [conformance.Comparison('vs', 0 * vs, vs)]

  own = conformance.Property('own', 'vs is zero', compare)
  report = conformance.check(numpy_vtrace, properties=[own, 'dtype'])
  assert statuses(report) == {'own': 'fail', 'dtype': 'pass'}


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
  assert len(set(NAMES)) == len(NAMES)
  for one in conformance.PROPERTIES:
    assert len(one.name) <= 20 and len(one.sentence) <= 72, one.name


class MyLearner:
  """The learner of the page: batch-major, settings in `self`."""

  def __init__(self, rho_clip, c_clip):
    self.clips = dict(
      clip_rho_threshold=rho_clip,
      clip_c_threshold=c_clip,
      clip_pg_rho_threshold=rho_clip,
    )

  def vtrace(self, batch, values, bootstrap_value):
    with np.errstate(divide='ignore'):
      log_rhos = np.log(batch['ratio'])
    inputs = log_rhos, batch['discount'], batch['reward'], values
    return batch_major(*inputs, bootstrap_value, **self.clips)


@pytest.mark.parametrize('name', ('learner', 'transitions', 'own property'))
def test_the_code_of_the_page_works(name, monkeypatch):
  # The block of JAX, which takes longer, runs in commands_test.
  library = types.SimpleNamespace(
    MyLearner=MyLearner,
    my_transitions_function=vtrace_mutants.vtrace_of_transitions,
  )
  monkeypatch.setitem(sys.modules, 'my_library', library)
  blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
  (block,) = (
    block
    for block in blocks
    if {
      'learner': 'check_learner.py',
      'transitions': 'check_transitions.py',
      'own property': 'conformance.Property(',
    }[name]
    in block
  )
  names = {}
  exec(block, names)
  assert names['report'].passed, names['report']


def test_the_page_lists_every_property_and_a_real_counter_example():
  page = PAGE.read_text()
  rows = [f'| {one.name} | {one.sentence} |' for one in conformance.PROPERTIES]
  assert '\n'.join(rows) in page
  report = conformance.check(
    vtrace_mutants.MUTANTS['truncation'], properties=['truncation']
  )
  assert report.results[0].counter_example in page
  exact = [one.name for one in conformance.PROPERTIES if one.exact]
  *first, last = (f'"{name}"' for name in exact)
  (sentence,) = re.findall(
    r'^("Zero.*?) have a\ntolerance of 0', page, re.MULTILINE
  )
  assert sentence.lower() == f'{", ".join(first)} and {last}'


@pytest.mark.parametrize(
  'arguments,status,words',
  (
    (['tests.vtrace_mutants:numpy_vtrace', '--ranks=1,2,3'], 0, '0 fail'),
    (['tests.vtrace_mutants:three_steps'], 1, 'Smallest counter-example'),
    (['tests.vtrace_mutants:numpy_vtrace', '--batch_major'], 1, 'error: '),
    (
      ['tests.vtrace_mutants:numpy_vtrace', '--without=lambda_,None'],
      0,
      '5 not applicable',
    ),
    (
      [
        'tests.vtrace_mutants:numpy_vtrace',
        '--properties=dtype,c_bar',
        '--dtype=float64',
      ],
      0,
      '2 pass',
    ),
    (['--list'], 0, 'single step'),
  ),
  ids=lambda x: str(x),
)
def test_the_command_prints_a_report_and_returns_a_status(
  arguments, status, words, capsys
):
  assert command.main(arguments) == status
  assert words in capsys.readouterr().out


def test_the_command_checks_gradients_of_jax_functions(capsys):
  arguments = ['tests.vtrace_mutants:with_gradient', '--jax']
  assert command.main([*arguments, '--properties=no gradient,targets']) == 1
  out = capsys.readouterr().out
  assert '1 pass, 1 fail' in out and 'gradient in values' in out


def advantages_of_unclipped_weights(*inputs, **keywords):
  return numpy_vtrace(*inputs, **keywords, clip_pg_rho_threshold=None)


def test_the_command_takes_a_threshold_that_is_always_none(capsys):
  fn = f'{__name__}:advantages_of_unclipped_weights'
  assert command.main([fn, '--without=clip_pg_rho_threshold=None']) == 0
  assert command.main([fn, '--without=clip_pg_rho_threshold']) == 1
  assert 'advantages' in capsys.readouterr().out


def of_python_numbers(*inputs, lambda_, **keywords):
  if lambda_ < 1:  # A tracer has no truth value.
    keywords['clip_c_threshold'] *= lambda_
  return vtrace.from_importance_weights(*inputs, **keywords)


def test_the_command_passes_settings_to_jax_as_python_numbers(capsys):
  chosen = '--properties=targets'
  assert command.main([f'{__name__}:of_python_numbers', '--jax', chosen]) == 0
  assert '1 pass' in capsys.readouterr().out


@pytest.mark.parametrize(
  'arguments',
  (
    ['tests.vtrace_mutants'],
    ['tests.no_such_module:fn'],
    ['tests.vtrace_mutants:no_such_function'],
    ['tests.vtrace_mutants:MUTANTS'],
    ['tests.vtrace_mutants:numpy_vtrace', '--without=lambda'],
    ['tests.vtrace_mutants:numpy_vtrace', '--dtype=complex64'],
    ['tests.vtrace_mutants:numpy_vtrace', '--ranks=a'],
  ),
  ids=str,
)
def test_the_command_rejects_what_it_cannot_check(arguments, capsys):
  with pytest.raises(SystemExit) as error:
    command.main(arguments)
  assert error.value.code == 2 and 'error: ' in capsys.readouterr().err


def test_the_command_ends_with_its_status():
  result = subprocess.run(
    [
      sys.executable,
      '-m',
      'vtrace.conformance',
      'tests.vtrace_mutants:three_steps',
    ],
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )
  assert result.returncode == 1, result.stderr
  assert 'time consistency' in result.stdout and not result.stderr
