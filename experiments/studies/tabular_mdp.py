"""Small MDPs on which the operator of a correction is computed exactly.

The operator enumerates every action path of n steps from every state and
weights it by its probability under mu. The target of each path comes from
`vtrace.corrections`. Transitions are deterministic, so actions are the only
source of randomness.
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
  """A deterministic MDP with two policies; fields are `[states, actions]`."""

  next_state: np.ndarray
  reward: np.ndarray
  mu: np.ndarray  # Behaviour policy.
  pi: np.ndarray  # Target policy.


def make_mdp(seed: int) -> TabularMDP:
  """Makes a random MDP with random policies."""
  rng = np.random.default_rng(seed)
  shape = STATES, ACTIONS
  return TabularMDP(
    next_state=rng.integers(STATES, size=shape),
    reward=rng.normal(size=shape),
    mu=rng.dirichlet(np.ones(ACTIONS), size=STATES),
    pi=rng.dirichlet(np.ones(ACTIONS), size=STATES),
  )


def paths(mdp: TabularMDP) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Enumerates all P action paths of n = `STEPS` steps from all states.

  Returns:
    States `[n+1, P]`, actions `[n, P]` and probabilities under mu `[P]`.
  """
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
  """Returns the operator V -> R V of a correction.

  (R V)(x) is the expectation of the target v_s over the paths of mu from x.

  Args:
    mdp: the MDP.
    correction: one of `corrections.CORRECTIONS`.
    **settings: keyword arguments of `corrections.targets_and_advantages`.

  Returns:
    A function from values `[states]` to values `[states]`.
  """
  targets = path_targets(mdp, correction, **settings)
  return lambda v: expectation(mdp, targets(v))


def path_targets(
  mdp: TabularMDP, correction: corrections.Correction, **settings: Any
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a function from values `[states]` to the targets of paths, `[P]`.

  The target v_s of a path is that of its first state. The arguments are those
  of `operator`, and the paths those of `paths`.
  """
  states, actions, _ = paths(mdp)
  here = states[:-1], actions
  log_pi = np.log(mdp.pi)
  inputs = (log_pi - np.log(mdp.mu))[here], mdp.reward[here], log_pi[here]

  def apply(v):
    vs = _targets(
      correction,
      tuple(settings.items()),
      *inputs,
      v[states[:-1]],
      v[states[-1]],
    )
    return np.asarray(vs, np.float64)

  return apply


def expectation(mdp: TabularMDP, xs: np.ndarray) -> np.ndarray:
  """Returns the expectation of a quantity of paths under mu, by first state.

  Args:
    mdp: the MDP.
    xs: the quantity, of every path of `paths`, `[P]`.

  Returns:
    `[states]`.
  """
  states, _, probability = paths(mdp)
  weighted = probability * xs
  return np.array([np.sum(weighted[states[0] == x]) for x in range(STATES)])


def fixed_point(
  apply: Callable[[np.ndarray], np.ndarray], iterations: int = 400
) -> np.ndarray:
  """Iterates an operator from V = 0 to convergence, `iterations` times at most.

  It has converged when no value changes by 1e-7 or more.
  """
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
  """Returns v_s of the first step of each path, `[P]`."""
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
  """Returns the value of a policy, (I - gamma P)^-1 r, `[states]`."""
  transition = np.zeros([STATES, STATES])
  for x, a in itertools.product(range(STATES), range(ACTIONS)):
    transition[x, mdp.next_state[x, a]] += policy[x, a]
  reward = np.sum(policy * mdp.reward, axis=1)
  return np.linalg.solve(np.eye(STATES) - GAMMA * transition, reward)
