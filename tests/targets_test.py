"""Tests of the V-trace targets: equation 1, identities and rlax."""

import functools
import itertools

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from tests import reference
import vtrace

# Importance weights are sampled from WEIGHTS. Thresholds are below, at and
# above them.
WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
THRESHOLDS = (0.1, 1.0, 2.0, 10.0, None)
LAMBDAS = (0.0, 0.9, 1.0)
SHAPES = ((7,), (6, 3), (5, 2, 3))

jitted = jax.jit(
  lambda inputs, settings_: vtrace.from_importance_weights(*inputs, **settings_)
)


def make_inputs(shape, seed=0):
  rng = np.random.default_rng(seed)
  discounts = rng.choice([0.0, 0.9, 0.99], shape)
  arrays = (
    np.log(rng.choice(WEIGHTS, shape)),
    discounts,
    rng.normal(size=shape),
    rng.normal(size=shape),
    rng.normal(size=shape[1:]),
  )
  return tuple(np.asarray(x, np.float32) for x in arrays)


def all_settings():
  names = (
    'clip_rho_threshold',
    'clip_c_threshold',
    'clip_pg_rho_threshold',
    'lambda_',
  )
  for values in itertools.product(THRESHOLDS, THRESHOLDS, THRESHOLDS, LAMBDAS):
    yield dict(zip(names, values))


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_jitted_targets_equal_equation_1_for_all_settings(shape):
  inputs = make_inputs(shape)
  for combination in all_settings():
    expected = reference.vtrace(*inputs, **combination)
    actual = jitted(inputs, combination)
    for a, e in zip(actual, expected, strict=True):
      np.testing.assert_allclose(
        a, e, rtol=1e-4, atol=1e-4, err_msg=combination
      )


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_targets_equal_equation_1_without_jit(shape):
  # Without jit it is slow: every shape tests 27 other settings of the 375.
  inputs = make_inputs(shape, seed=1)
  first = SHAPES.index(shape)
  for combination in itertools.islice(all_settings(), first, None, 14):
    expected = reference.vtrace(*inputs, **combination)
    actual = vtrace.from_importance_weights(*inputs, **combination)
    for a, e in zip(actual, expected, strict=True):
      np.testing.assert_allclose(
        a, e, rtol=1e-4, atol=1e-4, err_msg=combination
      )


def floats(shape, low, high):
  return hnp.arrays(np.float32, shape, elements=st.floats(low, high, width=32))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), settings_index=st.integers(0, 374))
def test_targets_equal_equation_1_on_generated_inputs(data, settings_index):
  shape = (5, 3)
  inputs = tuple(
    data.draw(floats(s, low, high))
    for s, low, high in (
      (shape, -4, 2),
      (shape, 0, 1),
      (shape, -10, 10),
      (shape, -10, 10),
      (shape[1:], -10, 10),
    )
  )
  combination = list(all_settings())[settings_index]
  expected = reference.vtrace(*inputs, **combination)
  scale = 1 + max(np.max(np.abs(e)) for e in expected)
  for a, e in zip(jitted(inputs, combination), expected, strict=True):
    np.testing.assert_allclose(a / scale, e / scale, atol=1e-5)


@pytest.mark.parametrize('lambda_', LAMBDAS)
@pytest.mark.parametrize('rho_bar', (0.5, 1.0, 3.0))
def test_targets_agree_with_rlax_where_the_definitions_coincide(
  lambda_, rho_bar
):
  # rlax fixes c_bar at 1; its advantage has another bootstrap if lambda < 1.
  log_rhos, discounts, rewards, values, bootstrap = make_inputs((8, 4))
  ours = vtrace.from_importance_weights(
    log_rhos,
    discounts,
    rewards,
    values,
    bootstrap,
    lambda_=lambda_,
    clip_rho_threshold=rho_bar,
    clip_pg_rho_threshold=rho_bar,
  )
  next_values = np.concatenate([values[1:], bootstrap[None]])
  theirs = jax.vmap(
    functools.partial(
      rlax.vtrace_td_error_and_advantage,
      lambda_=lambda_,
      clip_rho_threshold=rho_bar,
      clip_pg_rho_threshold=rho_bar,
    ),
    in_axes=1,
    out_axes=1,
  )(values, next_values, rewards, discounts, np.exp(log_rhos))
  np.testing.assert_allclose(ours.vs - values, theirs.errors, atol=1e-4)
  if lambda_ == 1.0:
    np.testing.assert_allclose(
      ours.pg_advantages, theirs.pg_advantage, atol=1e-4
    )


def test_on_policy_targets_are_n_step_returns():
  _, discounts, rewards, values, bootstrap = make_inputs((9, 2))
  actual = vtrace.from_importance_weights(
    np.zeros_like(rewards), discounts, rewards, values, bootstrap
  )
  g, expected = bootstrap, []
  for t in reversed(range(9)):
    g = rewards[t] + discounts[t] * g
    expected.append(g)
  np.testing.assert_allclose(actual.vs, expected[::-1], atol=1e-5)


@pytest.mark.parametrize('ending', ('terminated', 'truncated'))
def test_two_episodes_in_one_unroll_equal_separate_unrolls(ending):
  # Steps 0 to 3 and the last observation, 4, belong to the first episode. The
  # transition 4 -> 5 is the reset, with weight 0. Steps 5 to 8 belong to the
  # second episode.
  log_rhos, _, rewards, values, bootstrap = make_inputs((9,), seed=3)
  discounts = np.full([9], 0.9, np.float32)
  discounts[3] = 0.0 if ending == 'terminated' else 0.9
  log_rhos[4] = -np.inf
  rewards[4] = 123.0
  together = vtrace.from_importance_weights(
    log_rhos, discounts, rewards, values, bootstrap
  )
  first = vtrace.from_importance_weights(
    log_rhos[:4], discounts[:4], rewards[:4], values[:4], values[4]
  )
  second = vtrace.from_importance_weights(
    log_rhos[5:], discounts[5:], rewards[5:], values[5:], bootstrap
  )
  np.testing.assert_array_equal(together.vs[4], values[4])
  np.testing.assert_array_equal(together.pg_advantages[4], 0.0)
  for a, b, c in zip(together, first, second):
    np.testing.assert_allclose(a[:4], b, rtol=1e-6)
    np.testing.assert_allclose(a[5:], c, rtol=1e-6)


@pytest.mark.parametrize(
  'combination',
  (
    {},
    dict(
      clip_rho_threshold=None, clip_c_threshold=None, clip_pg_rho_threshold=None
    ),
  ),
  ids=('clipped', 'unclipped'),
)
def test_gradients_are_exactly_zero(combination):
  inputs = [jnp.array(x) for x in make_inputs((6, 3))]
  inputs[0] = inputs[0].at[2].set(-jnp.inf)

  def total(*xs):
    returns = vtrace.from_importance_weights(*xs, **combination)
    return jnp.sum(returns.vs) + jnp.sum(returns.pg_advantages)

  for gradient in jax.grad(total, argnums=(0, 1, 2, 3, 4))(*inputs):
    np.testing.assert_array_equal(gradient, 0.0)


def test_unclipped_overflow_does_not_pass_steps_of_weight_zero():
  # Step 2 overflows and its TD error is not 0. Step 1 has weight 0, so steps 0
  # and 1 stay finite. Step 4 is terminal and overflows too: 0 * inf.
  log_rhos = jnp.array([0.0, -jnp.inf, 200.0, 0.0, 200.0])
  returns = vtrace.from_importance_weights(
    log_rhos,
    jnp.array([1.0, 1.0, 1.0, 1.0, 0.0]),
    jnp.array([1.0, 1.0, 9.0, 1.0, 5.0]),
    jnp.array([1.0, 2.0, 3.0, 4.0, 5.0]),
    5.0,  # Python numbers are accepted.
    clip_rho_threshold=None,
    clip_c_threshold=None,
    clip_pg_rho_threshold=None,
  )
  np.testing.assert_array_equal(returns.vs[:2], [3.0, 2.0])
  np.testing.assert_array_equal(returns.pg_advantages[:2], [2.0, 0.0])
  np.testing.assert_array_equal(returns.vs[3:], [6.0, 5.0])
  assert returns.vs[2] == np.inf


def test_unclipped_overflow_does_not_pass_a_discount_of_zero():
  # Steps 1 and 2 overflow together. Step 0 ends an episode, as the loss of a
  # life does, without a reset after it.
  returns = vtrace.from_importance_weights(
    jnp.array([0.0, 88.0, 88.0, 0.0]),
    jnp.array([0.0, 1.0, 1.0, 1.0]),
    jnp.full([4], 10.0),
    jnp.array([1.0, 0.0, 0.0, 0.0]),
    0.0,
    clip_rho_threshold=None,
    clip_c_threshold=None,
    clip_pg_rho_threshold=None,
  )
  assert np.isinf(returns.vs[1])
  assert returns.vs[0] == 10.0 and returns.pg_advantages[0] == 9.0


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_from_logits_uses_the_importance_weights_of_the_actions(shape):
  _, *rest = make_inputs(shape)
  rng = np.random.default_rng(5)
  mu, pi = (np.float32(rng.normal(size=(*shape, 4))) for _ in range(2))
  actions = rng.integers(4, size=shape)

  def log_prob(logits):
    p = np.exp(logits) / np.sum(np.exp(logits), -1, keepdims=True)
    return np.log(np.take_along_axis(p, actions[..., None], -1)[..., 0])

  different = dict(
    clip_rho_threshold=0.9,
    clip_c_threshold=0.7,
    clip_pg_rho_threshold=1.3,
    lambda_=0.8,
  )
  ones = dict(clip_rho_threshold=1.0, clip_c_threshold=1.0)
  for passed, effective in ((different, different), ({}, ones)):
    log_rhos = log_prob(pi) - log_prob(mu)
    expected = reference.vtrace(log_rhos, *rest, **effective)
    actual = vtrace.from_logits(mu, pi, actions, *rest, **passed)
    for a, e in zip(actual, expected, strict=True):
      np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)


def test_from_logits_and_its_gradients_have_no_nan_for_masked_actions():
  mu = jnp.array([[0.0, -jnp.inf], [0.0, 0.0]])
  pi = jnp.array([[0.0, -jnp.inf], [0.0, -jnp.inf]])

  def run(mu, pi):
    return vtrace.from_logits(
      mu,
      pi,
      jnp.array([1, 1]),
      jnp.ones(2),
      jnp.ones(2),
      jnp.zeros(2),
      jnp.array(0.0),
    )

  np.testing.assert_array_equal(run(mu, pi).vs, 0.0)
  gradients = jax.grad(lambda *x: jnp.sum(run(*x).vs), argnums=(0, 1))(mu, pi)
  for gradient in gradients:
    np.testing.assert_array_equal(gradient, 0.0)


def test_inconsistent_shapes_raise_assertion_error():
  log_rhos, discounts, rewards, values, bootstrap = make_inputs((4, 2))
  with pytest.raises(AssertionError):
    vtrace.from_importance_weights(
      log_rhos, discounts, rewards[:3], values, bootstrap
    )
  with pytest.raises(AssertionError):
    vtrace.from_importance_weights(
      log_rhos, discounts, rewards, values, bootstrap[:1]
    )
