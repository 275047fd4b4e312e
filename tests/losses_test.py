"""The IMPALA loss: its value, its gradient and its masks."""

import jax
import jax.numpy as jnp
import numpy as np

from tests import reference
import vtrace

T, B = 5, 3


def make_inputs(seed=0):
  rng = np.random.default_rng(seed)
  normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  return dict(
    behaviour_log_probs=-jnp.abs(normal(T, B)),
    target_log_probs=-jnp.abs(normal(T, B)),
    entropy=jnp.abs(normal(T, B)),
    values=normal(T, B),
    bootstrap_value=normal(B),
    rewards=normal(T, B),
    discounts=jnp.full([T, B], 0.9),
    mask=jnp.ones([T, B], bool),
  )


def loss(**inputs):
  return vtrace.impala_loss(**inputs, baseline_cost=0.5, entropy_cost=0.01)


def test_the_loss_is_the_weighted_sum_of_its_three_terms():
  x = make_inputs()
  vs, advantages = reference.vtrace(
    x['target_log_probs'] - x['behaviour_log_probs'],
    *(
      np.asarray(x[k])
      for k in ('discounts', 'rewards', 'values', 'bootstrap_value')
    ),
  )
  pg = np.sum(-x['target_log_probs'] * advantages)
  baseline = 0.5 * np.sum((vs - x['values']) ** 2)
  entropy = -np.sum(x['entropy'])
  total, terms = loss(**x)
  np.testing.assert_allclose(terms['pg_loss'], pg, rtol=1e-4)
  np.testing.assert_allclose(terms['baseline_loss'], baseline, rtol=1e-4)
  np.testing.assert_allclose(terms['entropy_loss'], entropy, rtol=1e-4)
  np.testing.assert_allclose(
    total, pg + 0.5 * baseline + 0.01 * entropy, rtol=1e-4
  )


def test_gradients_reach_only_the_trained_inputs():
  x = make_inputs()
  names = (
    'target_log_probs',
    'values',
    'entropy',
    'behaviour_log_probs',
    'bootstrap_value',
    'rewards',
  )
  gradient = jax.grad(lambda part: loss(**(x | part))[0])(
    {name: x[name] for name in names}
  )
  vs, advantages = vtrace.from_importance_weights(
    x['target_log_probs'] - x['behaviour_log_probs'],
    x['discounts'],
    x['rewards'],
    x['values'],
    x['bootstrap_value'],
  )
  np.testing.assert_allclose(
    gradient['target_log_probs'], -advantages, rtol=1e-5
  )
  np.testing.assert_allclose(
    gradient['values'], 0.5 * (x['values'] - vs), rtol=1e-4, atol=1e-6
  )
  np.testing.assert_allclose(gradient['entropy'], -0.01)
  for name in names[3:]:
    np.testing.assert_array_equal(gradient[name], 0.0)


def test_masked_transitions_have_no_effect():
  x = make_inputs()
  x['mask'] = x['mask'].at[2].set(False)
  contents = {
    'behaviour_log_probs': (0.0, -jnp.inf),
    'rewards': (0.0, 7.0),
    'target_log_probs': (-1.0, -jnp.inf),
    'entropy': (1.0, 9.0),
  }

  def run(i):
    y = x | {k: x[k].at[2].set(v[i]) for k, v in contents.items()}
    return jax.value_and_grad(lambda v: loss(**(y | {'values': v}))[0])(
      x['values']
    )

  (total, gradient), (other_total, other_gradient) = run(0), run(1)
  np.testing.assert_array_equal(total, other_total)
  np.testing.assert_array_equal(gradient, other_gradient)
  np.testing.assert_array_equal(gradient[2], 0.0)


def test_actions_impossible_under_the_target_policy_give_no_nan():
  x = make_inputs()
  x['target_log_probs'] = x['target_log_probs'].at[1].set(-jnp.inf)
  total, gradient = jax.value_and_grad(
    lambda p: loss(**(x | {'target_log_probs': p}))[0]
  )(x['target_log_probs'])
  assert np.isfinite(total)
  np.testing.assert_array_equal(gradient[1], 0.0)
  assert np.all(np.isfinite(gradient))


def test_each_term_stops_the_gradient_of_its_targets():
  advantages = jax.grad(
    lambda a: jnp.sum(vtrace.policy_gradient_loss(jnp.full([3], -1.0), a))
  )(jnp.ones(3))
  targets = jax.grad(lambda vs: jnp.sum(vtrace.baseline_loss(vs, jnp.zeros(3))))
  np.testing.assert_array_equal(advantages, 0.0)
  np.testing.assert_array_equal(targets(jnp.ones(3)), 0.0)


def test_the_diagnostics_cover_the_steps_with_nonzero_weight():
  x = make_inputs()
  mask = np.ones([T, B], bool)
  mask[2, 1] = False
  impossible = x['target_log_probs'].at[3, 0].set(-jnp.inf)  # pi(a|x) = 0.
  x |= dict(mask=jnp.array(mask), target_log_probs=impossible)
  sums = loss(**x)[1]['off_policy']
  log_rhos = np.asarray(x['target_log_probs'] - x['behaviour_log_probs'])
  counted = mask & np.isfinite(log_rhos)
  assert sums['steps'] == np.sum(counted) == T * B - 2
  np.testing.assert_allclose(
    sums['rho'], np.sum(np.exp(log_rhos[counted])), rtol=1e-5
  )
  rhos = np.exp(log_rhos[counted])
  tight = vtrace.impala_loss(
    **x,
    baseline_cost=0.5,
    entropy_cost=0.01,
    clip_rho_threshold=1.5,
    clip_c_threshold=0.7,
  )[1]['off_policy']
  assert tight['rho_clipped'] == np.sum(rhos > 1.5)
  assert tight['c_clipped'] == np.sum(rhos > 0.7)


def test_entropy_is_masked_at_episode_ends_only():
  x = make_inputs()
  x['mask'] = x['mask'].at[2, 1].set(False)
  # An action that the target policy cannot take has importance weight 0, but
  # the policy in that state still gets its entropy bonus.
  x['target_log_probs'] = x['target_log_probs'].at[3, 0].set(-jnp.inf)
  gradient = jax.grad(lambda e: loss(**(x | {'entropy': e}))[0])(x['entropy'])
  expected = np.full([T, B], -0.01, np.float32)
  expected[2, 1] = 0.0
  np.testing.assert_allclose(gradient, expected)


def test_thresholds_and_lambda_default_to_1():
  x = make_inputs()
  x['behaviour_log_probs'] -= 1.0  # Many importance weights exceed 1.
  np.testing.assert_array_equal(
    loss(**x)[0],
    loss(
      **x,
      clip_rho_threshold=1.0,
      clip_c_threshold=1.0,
      clip_pg_rho_threshold=1.0,
      lambda_=1.0,
    )[0],
  )
