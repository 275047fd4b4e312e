"""Small MDPs on which a correction's operator is exact.

The operator enumerates every action path of n steps from every state and
weighs it by mu; each path's target is the code's own. Transitions are
deterministic, so that the action paths are all there is.
"""

from collections.abc import Callable
import functools
import itertools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtrace import corrections

STATES, ACTIONS, STEPS, GAMMA = 4, 3, 3, 0.8


class TabularMDP(NamedTuple):
  """A deterministic MDP with two policies; all `[states, actions]`."""

  next_state: np.ndarray
  reward: np.ndarray
  mu: np.ndarray  # Acts.
  pi: np.ndarray  # Is learnt about.


def make_mdp(seed: int) -> TabularMDP:
  """A random one."""
  rng = np.random.default_rng(seed)
  shape = STATES, ACTIONS
  return TabularMDP(
    next_state=rng.integers(STATES, size=shape),
    reward=rng.normal(size=shape),
    mu=rng.dirichlet(np.ones(ACTIONS), size=STATES),
    pi=rng.dirichlet(np.ones(ACTIONS), size=STATES),
  )


def paths(mdp: TabularMDP) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """States `[n+1, P]`, actions `[n, P]` and mu-probabilities `[P]`."""
  starts, *actions = np.array(
    list(itertools.product(range(STATES), *[range(ACTIONS)] * STEPS))
  ).T
  states, probability = [starts], np.ones(len(starts))
  for a in actions:
    probability = probability * mdp.mu[states[-1], a]
    states.append(mdp.next_state[states[-1], a])
  return np.array(states), np.array(actions), probability


def operator(
  mdp: TabularMDP, correction: corrections.Correction, **settings: Any
) -> Callable[[np.ndarray], np.ndarray]:
  """V -> R V, the expectation of v_s over mu's paths from each state."""
  states, actions, probability = paths(mdp)
  here = states[:-1], actions
  log_pi = np.log(mdp.pi)
  inputs = (log_pi - np.log(mdp.mu))[here], mdp.reward[here], log_pi[here]

  def apply(v):
    targets = _targets(
      correction,
      tuple(settings.items()),
      *inputs,
      v[states[:-1]],
      v[states[-1]],
    )
    vs = np.asarray(targets, np.float64)
    return np.array(
      [np.sum((probability * vs)[states[0] == x]) for x in range(STATES)]
    )

  return apply


def fixed_point(
  apply: Callable[[np.ndarray], np.ndarray], iterations: int = 400
) -> np.ndarray:
  """Where iterating an operator from zero ends, or comes to rest."""
  v = np.zeros(STATES)
  for _ in range(iterations):
    v, before = apply(v), v
    if np.max(np.abs(v - before)) < 1e-7:
      break
  return v


@functools.partial(jax.jit, static_argnames=('correction', 'settings'))
def _targets(
  correction, settings, log_rhos, rewards, log_probs, values, bootstrap_value
):
  """Returns v_s of the first step of each path, `[P]`; compiled but once."""
  returns = corrections.targets_and_advantages(
    correction,
    log_rhos,
    jnp.full_like(rewards, GAMMA),
    rewards,
    values,
    bootstrap_value,
    target_log_probs=log_probs,
    **dict(settings),
  )
  return returns.vs[0]


def value_of(mdp: TabularMDP, policy: np.ndarray) -> np.ndarray:
  """V of a policy in closed form: (I - gamma P)^-1 r."""
  transition = np.zeros([STATES, STATES])
  for x, a in itertools.product(range(STATES), range(ACTIONS)):
    transition[x, mdp.next_state[x, a]] += policy[x, a]
  reward = np.sum(policy * mdp.reward, axis=1)
  return np.linalg.solve(np.eye(STATES) - GAMMA * transition, reward)


def clipped_policy(mdp: TabularMDP, rho_bar: float | None) -> np.ndarray:
  """pi_rho_bar of equation 3."""
  policy = mdp.pi if rho_bar is None else np.minimum(rho_bar * mdp.mu, mdp.pi)
  return policy / np.sum(policy, axis=1, keepdims=True)
