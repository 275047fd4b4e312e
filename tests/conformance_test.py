"""The conformance kit passes sound functions and finds every mutant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import conforming
from tests import vtrace_mutants
import vtrace
from vtrace import conformance

numpy_vtrace = vtrace_mutants.numpy_vtrace


def test_our_function_has_all_properties():
  fn = jax.jit(lambda *a, **k: vtrace.from_importance_weights(*a, **k))
  report = conformance.check(
    fn,
    to_native=jnp.asarray,
    gradient=conformance.jax_gradient(fn),
    ranks=(1, 2, 3),
  )
  assert report.passed, report
  assert conforming.statuses(report) == dict.fromkeys(conforming.NAMES, 'pass')


@pytest.mark.parametrize('dtype', ('float32', 'float64'))
def test_a_recursion_in_numpy_passes(dtype):
  report = conformance.check(numpy_vtrace, dtype=dtype, ranks=(1, 2, 3))
  assert report.passed, report
  expected = dict.fromkeys(conforming.NAMES, 'pass') | {
    'no gradient': 'not applicable'
  }
  assert conforming.statuses(report) == expected
  assert 'gradient adapter' in str(report)


def test_every_property_has_a_mutant():
  assert list(vtrace_mutants.MUTANTS) == conforming.NAMES


@pytest.mark.parametrize('name', conforming.NAMES)
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
  assert conforming.failing(vtrace_mutants.MUTANTS[mutant]) == expected


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
  assert conforming.failing(vtrace_mutants.variant(**places)) == {'termination'}


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
  found = conforming.failing(mutant)
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
  assert conforming.failing(vtrace_mutants.MUTANTS[mutant]) >= expected
