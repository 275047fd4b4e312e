"""Tests of Theorem 1 on a small MDP: fixed points and contraction rates."""

import numpy as np
import pytest

from experiments.studies import tabular_mdp
from vtrace import corrections

CASES = (
  (1.0, 1.0, 1.0),
  (1.0, 0.5, 0.9),
  (0.3, 0.3, 1.0),
  (2.0, 1.0, 1.0),
  (None, 1.0, 0.5),
  (1.0, 1.0, 0.0),
)


def clipped_policy(mdp, rho_bar):
  """Returns pi_rho_bar of equation 3; None stands for no clipping."""
  policy = mdp.pi if rho_bar is None else np.minimum(rho_bar * mdp.mu, mdp.pi)
  return policy / np.sum(policy, axis=1, keepdims=True)


@pytest.mark.parametrize('rho_bar,c_bar,lambda_', CASES)
@pytest.mark.parametrize('seed', range(3))
def test_the_fixed_point_is_the_value_of_the_clipped_policy(
  seed, rho_bar, c_bar, lambda_
):
  mdp = tabular_mdp.make_mdp(seed)
  apply = tabular_mdp.operator(
    mdp,
    corrections.CORRECTIONS['vtrace'],
    clip_rho_threshold=rho_bar,
    clip_c_threshold=c_bar,
    lambda_=lambda_,
  )
  v = tabular_mdp.fixed_point(apply)
  np.testing.assert_allclose(
    v,
    tabular_mdp.value_of(mdp, clipped_policy(mdp, rho_bar)),
    atol=1e-4,
  )


@pytest.mark.parametrize('rho_bar,c_bar,lambda_', CASES)
@pytest.mark.parametrize('seed', range(3))
def test_the_operator_contracts_as_fast_as_the_bound(
  seed, rho_bar, c_bar, lambda_
):
  mdp = tabular_mdp.make_mdp(seed)
  apply = tabular_mdp.operator(
    mdp,
    corrections.CORRECTIONS['vtrace'],
    clip_rho_threshold=rho_bar,
    clip_c_threshold=c_bar,
    lambda_=lambda_,
  )
  rhos = mdp.pi / mdp.mu
  rhos = rhos if rho_bar is None else np.minimum(rho_bar, rhos)
  beta = np.min(np.sum(mdp.mu * rhos, axis=1))
  eta = 1 - (1 - tabular_mdp.GAMMA) * beta
  rng = np.random.default_rng(seed)
  for _ in range(20):
    v, w = rng.normal(size=(2, tabular_mdp.STATES))
    distance = np.max(np.abs(apply(v) - apply(w)))
    assert distance <= eta * np.max(np.abs(v - w)) + 1e-5


def test_the_clipped_policy_has_another_value_than_mu_and_pi():
  mdp = tabular_mdp.make_mdp(0)
  clipped = tabular_mdp.value_of(mdp, clipped_policy(mdp, 0.5))
  for policy in (mdp.mu, mdp.pi):
    assert np.max(np.abs(clipped - tabular_mdp.value_of(mdp, policy))) > 1e-2


@pytest.mark.parametrize('correction', ('one_step', 'epsilon', 'none'))
@pytest.mark.parametrize('lambda_', (1.0, 0.7))
@pytest.mark.parametrize('seed', range(3))
def test_other_corrections_converge_to_the_value_of_mu(
  seed, lambda_, correction
):
  mdp = tabular_mdp.make_mdp(seed)
  v = tabular_mdp.fixed_point(
    tabular_mdp.operator(
      mdp, corrections.CORRECTIONS[correction], lambda_=lambda_
    )
  )
  np.testing.assert_allclose(v, tabular_mdp.value_of(mdp, mdp.mu), atol=1e-4)
  assert np.max(np.abs(v - tabular_mdp.value_of(mdp, mdp.pi))) > 1e-2
