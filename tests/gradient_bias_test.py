"""The bias of policy gradients on small MDPs, and the policies they lead to."""

import numpy as np
import pytest

from experiments.studies import gradient_bias
from experiments.studies import tabular_mdp
from vtrace import corrections

VTRACE = corrections.CORRECTIONS['vtrace']
UNCLIPPED = VTRACE._replace(clips_values=False, clips_pg=False)


def softmax(logits):
  return np.exp(logits) / np.sum(np.exp(logits), axis=1, keepdims=True)


def test_the_policy_gradient_is_the_derivative_of_the_expected_advantage():
  mdp = tabular_mdp.make_mdp(0)
  values = np.array([0.3, -1.0, 2.0, 0.1])
  q = mdp.reward + tabular_mdp.GAMMA * values[mdp.next_state]
  gradient = gradient_bias.policy_gradient(mdp, values, mdp.pi)
  logits, small = np.log(mdp.pi), 1e-6
  for place in np.ndindex(*logits.shape):
    moved = logits.copy()
    moved[place] += small
    change = np.sum((softmax(moved) - mdp.pi) * (q - values[:, None]))
    assert gradient[place] == pytest.approx(change / small, abs=1e-4)


def test_a_weighted_policy_gradient_is_the_sum_over_actions():
  mdp = tabular_mdp.make_mdp(0)
  values = np.array([0.3, -1.0, 2.0, 0.1])
  weights = np.minimum(mdp.mu, 0.7 * mdp.pi)  # Their sum is not 1.
  expected = np.zeros_like(mdp.pi)
  for x, a in np.ndindex(*mdp.pi.shape):
    next_value = values[mdp.next_state[x, a]]
    advantage = mdp.reward[x, a] + tabular_mdp.GAMMA * next_value - values[x]
    derivative = np.eye(tabular_mdp.ACTIONS)[a] - mdp.pi[x]
    expected[x] += weights[x, a] * advantage * derivative
  np.testing.assert_allclose(
    gradient_bias.policy_gradient(mdp, values, weights), expected
  )


def test_the_bias_of_vtrace_is_that_of_clipped_weights_and_values():
  mdp = tabular_mdp.make_mdp(0)
  clipped = np.minimum(mdp.mu, mdp.pi)
  policy = clipped / np.sum(clipped, axis=1, keepdims=True)
  values, true_values = (
    tabular_mdp.value_of(mdp, each) for each in (policy, mdp.pi)
  )
  # mu min(1, pi / mu) is min(mu, pi).
  learned = gradient_bias.policy_gradient(mdp, values, clipped)
  true = gradient_bias.policy_gradient(mdp, true_values, mdp.pi)
  cosine = np.sum(learned * true) / np.sqrt(np.sum(learned**2))
  error = np.sqrt(np.sum((learned - true) ** 2))
  norm = np.sqrt(np.sum(true**2))
  assert gradient_bias.bias(VTRACE, mdp) == pytest.approx(
    (np.max(np.abs(values - true_values)), cosine / norm, error / norm),
    rel=1e-4,
  )


def test_learning_improves_the_value_of_every_state():
  mdp = tabular_mdp.make_mdp(1)
  policies = gradient_bias.learn(mdp, num_updates=5, step_size=0.1)
  assert policies.shape == (6, tabular_mdp.STATES, tabular_mdp.ACTIONS)
  np.testing.assert_array_equal(policies[0], mdp.pi)
  values = [tabular_mdp.value_of(mdp, policy) for policy in policies]
  assert np.all(np.diff(values, axis=0) > 0)


def test_the_behaviour_policy_is_the_one_of_so_many_updates_ago():
  mdp = tabular_mdp.make_mdp(1)
  policies = gradient_bias.learn(mdp, num_updates=3, step_size=0.1)
  lagging = gradient_bias.with_lag(mdp, policies, 2)
  np.testing.assert_array_equal(lagging.mu, policies[1])
  np.testing.assert_array_equal(lagging.pi, policies[3])


def test_bias_grows_with_the_lag_and_is_greatest_without_correction():
  mdps = [tabular_mdp.make_mdp(seed) for seed in range(2)]
  learned = [(mdp, gradient_bias.learn(mdp, 32, 0.1)) for mdp in mdps]
  names = 'vtrace', 'one_step', 'none'
  vtrace, one_step, none = (
    gradient_bias.against_lag(corrections.CORRECTIONS[x], learned, (0, 8, 32))
    for x in names
  )
  for biases in (vtrace, one_step, none):
    assert biases[0] == pytest.approx((0, 1, 0), abs=1e-3)
    assert np.all(np.diff(biases[:, [0, 2]], axis=0) > 0)
  assert vtrace[-1, 1] > one_step[-1, 1] > none[-1, 1]
  assert vtrace[-1, 2] < one_step[-1, 2] < none[-1, 2]
  unclipped = gradient_bias.against_lag(UNCLIPPED, learned, (32,))
  assert unclipped[0] == pytest.approx((0, 1, 0), abs=1e-3)
