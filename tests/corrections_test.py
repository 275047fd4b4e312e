"""Tests of each off-policy correction against its equation in loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference
import vtrace
from vtrace import corrections

T, B = 7, 5
SETTINGS = dict(
  clip_rho_threshold=0.7,
  clip_c_threshold=0.6,
  clip_pg_rho_threshold=0.8,
  lambda_=0.9,
)
UNCORRECTED = ('one_step', 'epsilon', 'none')
ALL = tuple(corrections.CORRECTIONS)


def correct(name, *inputs, **settings):
  """Returns the targets and advantages of the named correction."""
  return corrections.targets_and_advantages(
    corrections.CORRECTIONS[name], *inputs, **settings
  )


def make_inputs(seed=0):
  """Returns the inputs of V-trace, and log pi; some values of pi are tiny."""
  rng = np.random.default_rng(seed)
  log_pi = np.log(rng.choice([1e-8, 1e-6, 0.1, 0.5, 0.9], (T, B)))
  log_mu = np.log(rng.choice([0.1, 0.3, 0.9], (T, B)))
  inputs = (
    log_pi - log_mu,
    rng.choice([0.0, 0.9, 0.99], (T, B)),
    rng.normal(size=(T, B)),
    rng.normal(size=(T, B)),
    rng.normal(size=B),
  )
  return [np.float32(x) for x in inputs], np.float32(log_pi)


def td_lambda(discounts, rewards, values, bootstrap_value, lambda_):
  """Computes TD(lambda) returns G_s.

  G_s = r_s + gamma_s ((1 - lambda) V(x_{s+1}) + lambda G_{s+1}).
  """
  next_values = np.concatenate([values[1:], bootstrap_value[None]])
  returns, following = np.zeros([T, B]), bootstrap_value
  for s in reversed(range(T)):
    mixed = (1 - lambda_) * next_values[s] + lambda_ * following
    following = rewards[s] + discounts[s] * mixed
    returns[s] = following
  return returns


def n_step_returns(discounts, rewards, bootstrap_value):
  """Computes the sum of equation 2 up to the end of the unroll."""
  returns = np.zeros([T, B])
  for s in range(T):
    product = np.ones(B)
    for t in range(s, T):
      returns[s] += product * rewards[t]
      product = product * discounts[t]
    returns[s] += product * bootstrap_value
  return returns


def advantages(inputs, targets):
  """Computes q_s - V(x_s)."""
  _, discounts, rewards, values, bootstrap_value = inputs
  following = np.concatenate([targets[1:], bootstrap_value[None]])
  return rewards + discounts * following - values


def weights(name, log_rhos, log_pi):
  """Computes the weights of grad log pi as section 5.2.2 describes them."""
  if name == 'one_step':
    return np.minimum(SETTINGS['clip_pg_rho_threshold'], np.exp(log_rhos))
  if name == 'epsilon':
    return np.exp(log_pi) / (np.exp(log_pi) + 1e-6)
  return np.ones([T, B])


def test_vtrace_equals_the_reference():
  inputs, log_pi = make_inputs()
  returns = correct('vtrace', *inputs, target_log_probs=log_pi, **SETTINGS)
  expected = reference.vtrace(*inputs, **SETTINGS)
  for ours, theirs in zip(returns, expected, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', UNCORRECTED)
@pytest.mark.parametrize('lambda_', (1.0, 0.9))
def test_other_corrections_have_n_step_return_targets(name, lambda_):
  inputs, log_pi = make_inputs()
  _, discounts, rewards, values, bootstrap_value = inputs
  settings = SETTINGS | dict(lambda_=lambda_)
  returns = correct(name, *inputs, target_log_probs=log_pi, **settings)
  targets = td_lambda(discounts, rewards, values, bootstrap_value, lambda_)
  if lambda_ == 1.0:
    same = n_step_returns(discounts, rewards, bootstrap_value)
    np.testing.assert_allclose(targets, same, rtol=1e-6)
  np.testing.assert_allclose(returns.vs, targets, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(
    returns.pg_advantages,
    weights(name, inputs[0], log_pi) * advantages(inputs, targets),
    rtol=1e-3,
    atol=1e-5,
  )


def test_epsilon_is_added_to_the_policy_inside_the_logarithm():
  """Checks the gradient of the loss with respect to log pi."""
  inputs, log_pi = make_inputs()
  plain = correct('none', *inputs, target_log_probs=log_pi).pg_advantages

  def expected_loss(log_pi):
    return -jnp.sum(jnp.log(jnp.exp(log_pi) + 1e-6) * plain)

  def ours(log_pi):
    returns = correct('epsilon', *inputs, target_log_probs=log_pi)
    losses = vtrace.policy_gradient_loss(log_pi, returns.pg_advantages)
    return jnp.sum(losses)

  np.testing.assert_allclose(
    jax.grad(ours)(log_pi),
    jax.grad(expected_loss)(log_pi),
    rtol=1e-4,
    atol=1e-9,
  )


@pytest.mark.parametrize('name', ALL)
def test_on_policy_every_correction_equals_vtrace(name):
  inputs, _ = make_inputs()
  inputs[0] = np.zeros_like(inputs[0])
  likely = np.full([T, B], np.log(0.5), np.float32)
  returns = correct(name, *inputs, target_log_probs=likely)
  expected = vtrace.from_importance_weights(*inputs)
  for ours, theirs in zip(returns, expected, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', ALL)
def test_masked_steps_have_zero_weight(name):
  """Checks that an ignored action separates two episodes."""
  inputs, log_pi = make_inputs()
  boundary = 3
  inputs[0][boundary] = -np.inf
  inputs[1][:] = 0.9

  def returns_of(rewards, values):
    return correct(
      name, *inputs[:2], rewards, values, inputs[4], target_log_probs=log_pi
    )

  _, _, rewards, values, _ = inputs
  before = returns_of(rewards, values)
  np.testing.assert_array_equal(before.vs[boundary], values[boundary])
  np.testing.assert_array_equal(before.pg_advantages[boundary], 0.0)
  rewards, values = rewards.copy(), values.copy()
  rewards[boundary:] += 5.0
  values[boundary + 1 :] -= 3.0
  after = returns_of(rewards, values)
  for a, b in zip(before, after, strict=True):
    np.testing.assert_array_equal(a[:boundary], b[:boundary])


@pytest.mark.parametrize('name', ALL)
def test_no_gradient_flows(name):
  inputs, log_pi = make_inputs()

  def total(inputs, log_pi):
    returns = correct(name, *inputs, target_log_probs=log_pi)
    return sum(jnp.sum(x) for x in returns)

  for gradient in jax.tree.leaves(jax.grad(total, (0, 1))(inputs, log_pi)):
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize('name', ALL)
def test_shapes_are_checked(name):
  inputs, log_pi = make_inputs()
  with pytest.raises(AssertionError):
    correct(name, *inputs[:4], inputs[4][1:], target_log_probs=log_pi)


def test_without_clipping_nothing_overflows_past_a_discount_of_zero():
  unclipped = corrections.CORRECTIONS['vtrace']._replace(
    clips_values=False, clips_pg=False
  )
  inputs, log_pi = make_inputs()
  inputs[0][:] = 100.0  # A weight that is infinite in float32.
  inputs[1][:] = 0.0
  inputs[2][:] = inputs[3]  # All temporal differences are 0.
  returns = corrections.targets_and_advantages(
    unclipped, *inputs, target_log_probs=log_pi
  )
  expected = vtrace.from_importance_weights(
    *inputs,
    clip_rho_threshold=None,
    clip_c_threshold=None,
    clip_pg_rho_threshold=None,
  )
  for ours, theirs in zip(returns, expected, strict=True):
    np.testing.assert_array_equal(ours, theirs)
    assert np.isfinite(ours).all()


@pytest.mark.parametrize('name', ALL)
def test_thresholds_and_lambda_default_to_1(name):
  inputs, log_pi = make_inputs()
  assert np.any(inputs[0] > 0)  # Some importance weights exceed 1.
  default = correct(name, *inputs, target_log_probs=log_pi)
  explicit = correct(
    name,
    *inputs,
    target_log_probs=log_pi,
    clip_rho_threshold=1.0,
    clip_c_threshold=1.0,
    clip_pg_rho_threshold=1.0,
    lambda_=1.0,
  )
  for ours, theirs in zip(default, explicit, strict=True):
    np.testing.assert_array_equal(ours, theirs)
