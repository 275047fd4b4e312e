"""Theorem 1 on a small MDP: V-trace's fixed point, and how fast it is reached.

The exact operator enumerates every action path of n steps from every state and
weights it by mu; each path's target is the code's own. Transitions are
deterministic, so that the action paths are all there is.
"""

import itertools

import jax
import numpy as np
import pytest

import vtrace

STATES, ACTIONS, STEPS, GAMMA = 4, 3, 3, 0.8


class World:
  """A random deterministic MDP with two policies."""

  def __init__(self, seed):
    rng = np.random.default_rng(seed)
    self.next_state = rng.integers(STATES, size=(STATES, ACTIONS))
    self.reward = rng.normal(size=(STATES, ACTIONS))
    self.mu = rng.dirichlet(np.ones(ACTIONS), size=STATES)
    self.pi = rng.dirichlet(np.ones(ACTIONS), size=STATES)

  def paths(self):
    """States `[n+1, P]`, actions `[n, P]` and mu-probabilities `[P]`."""
    starts, *actions = np.array(
      list(itertools.product(range(STATES), *[range(ACTIONS)] * STEPS))
    ).T
    states, probability = [starts], np.ones(len(starts))
    for a in actions:
      probability = probability * self.mu[states[-1], a]
      states.append(self.next_state[states[-1], a])
    return np.array(states), np.array(actions), probability


def operator(world, thresholds):
  """V -> R V, the expectation of v_s over mu's paths from each state."""
  states, actions, probability = world.paths()
  log_rhos = np.log(world.pi / world.mu)[states[:-1], actions]
  rewards = world.reward[states[:-1], actions]
  discounts = np.full(rewards.shape, GAMMA)
  target = jax.jit(
    lambda values, bootstrap: vtrace.from_importance_weights(
      log_rhos, discounts, rewards, values, bootstrap, **thresholds
    ).vs[0]
  )

  def apply(v):
    vs = np.asarray(target(v[states[:-1]], v[states[-1]]), np.float64)
    return np.array(
      [np.sum((probability * vs)[states[0] == x]) for x in range(STATES)]
    )

  return apply


def value_of(world, policy):
  """V of a policy in closed form: (I - gamma P)^-1 r."""
  transition = np.zeros([STATES, STATES])
  for x, a in itertools.product(range(STATES), range(ACTIONS)):
    transition[x, world.next_state[x, a]] += policy[x, a]
  reward = np.sum(policy * world.reward, axis=1)
  return np.linalg.solve(np.eye(STATES) - GAMMA * transition, reward)


def clipped_policy(world, rho_bar):
  """pi_rho_bar of equation 3."""
  policy = (
    world.pi if rho_bar is None else np.minimum(rho_bar * world.mu, world.pi)
  )
  return policy / np.sum(policy, axis=1, keepdims=True)


CASES = (
  (1.0, 1.0, 1.0),
  (1.0, 0.5, 0.9),
  (0.3, 0.3, 1.0),
  (2.0, 1.0, 1.0),
  (None, 1.0, 0.5),
  (1.0, 1.0, 0.0),
)


@pytest.mark.parametrize('rho_bar,c_bar,lambda_', CASES)
@pytest.mark.parametrize('seed', range(3))
def test_iterating_lands_on_the_value_of_the_clipped_policy(
  seed, rho_bar, c_bar, lambda_
):
  world = World(seed)
  apply = operator(
    world,
    dict(clip_rho_threshold=rho_bar, clip_c_threshold=c_bar, lambda_=lambda_),
  )
  v = np.zeros(STATES)
  for _ in range(400):
    v = apply(v)
  np.testing.assert_allclose(
    v, value_of(world, clipped_policy(world, rho_bar)), atol=1e-4
  )


@pytest.mark.parametrize('rho_bar,c_bar,lambda_', CASES)
@pytest.mark.parametrize('seed', range(3))
def test_contracts_at_least_as_fast_as_the_bound(seed, rho_bar, c_bar, lambda_):
  world = World(seed)
  apply = operator(
    world,
    dict(clip_rho_threshold=rho_bar, clip_c_threshold=c_bar, lambda_=lambda_),
  )
  rhos = world.pi / world.mu
  rhos = rhos if rho_bar is None else np.minimum(rho_bar, rhos)
  beta = np.min(np.sum(world.mu * rhos, axis=1))
  eta = 1 - (1 - GAMMA) * beta
  rng = np.random.default_rng(seed)
  for _ in range(20):
    v, w = rng.normal(size=(2, STATES))
    apart = np.max(np.abs(apply(v) - apply(w)))
    assert apart <= eta * np.max(np.abs(v - w)) + 1e-5


def test_the_fixed_point_is_neither_mu_nor_pi_when_rho_is_clipped():
  world = World(0)
  clipped = value_of(world, clipped_policy(world, 0.5))
  for policy in (world.mu, world.pi):
    assert np.max(np.abs(clipped - value_of(world, policy))) > 1e-2
