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


class Paths(NamedTuple):
  """All P action paths of n = `STEPS` steps from all states."""

  states: np.ndarray  # [n+1, P]
  actions: np.ndarray  # [n, P]
  probability: np.ndarray  # [P], under mu.


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


def paths(mdp: TabularMDP) -> Paths:
  """Enumerates all action paths."""
  starts, *actions = np.array(
    list(itertools.product(range(STATES), *[range(ACTIONS)] * STEPS))
  ).T
  states, probability = [starts], np.ones(len(starts))
  for a in actions:
    probability = probability * mdp.mu[states[-1], a]
    states.append(mdp.next_state[states[-1], a])
  return Paths(np.array(states), np.array(actions), probability)


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
  all_paths = paths(mdp)
  targets = path_targets(mdp, correction, **settings)
  return lambda v: expectation(all_paths, targets(v))


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


def expectation(all_paths: Paths, xs: np.ndarray) -> np.ndarray:
  """Returns the expectation under mu of a quantity of paths, by first state.

  Args:
    all_paths: all paths of an MDP.
    xs: the quantity, `[P]`.

  Returns:
    `[states]`.
  """
  return np.bincount(all_paths.states[0], all_paths.probability * xs, STATES)


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


def affine_form(
  apply: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
  """Returns A `[states, states]` and b `[states]` of an operator V -> A V + b.

  The operators of all corrections have this form.
  """
  offset = apply(np.zeros(STATES))
  columns = [apply(unit) - offset for unit in np.eye(STATES)]
  return np.stack(columns, axis=1), offset


def solve(apply: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
  """Computes the fixed point (I - A)^-1 b of an operator, not iteratively."""
  matrix, offset = affine_form(apply)
  return np.linalg.solve(np.eye(STATES) - matrix, offset)


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
