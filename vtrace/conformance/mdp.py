"""Small MDPs in which the expectation of a target is computed exactly.

Every path of n actions from every state is a column of one call, and its
probability under the behaviour policy is known. Transitions are deterministic:
actions are the only source of randomness.
"""

import itertools
from typing import NamedTuple

import numpy as np

from vtrace.conformance import cases

# States and steps, the smallest MDP first: the first that fails is reported.
SIZES = ((1, 1), (1, 2), (2, 3))
_ACTIONS = 2


class MDP(NamedTuple):
  """A deterministic MDP with two policies, and all its paths of n steps."""

  next_state: np.ndarray  # [states, actions].
  reward: np.ndarray  # [states, actions].
  mu: np.ndarray  # [states, actions]: the behaviour policy.
  pi: np.ndarray  # [states, actions]: the target policy.
  states: np.ndarray  # [n + 1, P]: the states of every path.
  probability: np.ndarray  # [P]: of the path under mu, given its first state.

  def __str__(self) -> str:
    rows = [
      f'    state {x}: next states {self.next_state[x]}, rewards '
      f'{self.reward[x]}, mu {self.mu[x].round(4)}, pi {self.pi[x].round(4)}'
      for x in range(len(self.reward))
    ]
    return '\n'.join(
      [f'    All paths of {len(self.states) - 1} steps in an MDP:', *rows]
    )


def mdp_cases(dtype: np.dtype) -> list[cases.Case]:
  """Makes a case of every size, whose values are 0 so far."""
  return [_case(seed, *size, dtype) for seed, size in enumerate(SIZES)]


def _case(
  seed: int, num_states: int, num_steps: int, dtype: np.dtype
) -> cases.Case:
  rng = np.random.default_rng(seed)
  shape = num_states, _ACTIONS
  next_state = rng.integers(num_states, size=shape)
  reward = rng.normal(size=shape).round(1)
  mu, pi = (rng.dirichlet(np.ones(_ACTIONS), num_states) for _ in range(2))
  starts, *actions = np.array(
    list(itertools.product(range(num_states), *[range(_ACTIONS)] * num_steps))
  ).T
  states, probability = [starts], np.ones(len(starts))
  for a in actions:
    probability = probability * mu[states[-1], a]
    states.append(next_state[states[-1], a])
  mdp = MDP(next_state, reward, mu, pi, np.array(states), probability)
  taken = mdp.states[:-1], np.array(actions)
  zeros = np.zeros_like(taken[0])
  arrays = np.log(pi / mu)[taken], zeros + cases.GAMMA, reward[taken], zeros
  with_dtype = (x.astype(dtype) for x in (*arrays, zeros[0]))
  return cases.Case(*with_dtype, settings={}, details=mdp)


def with_values(case: cases.Case, v: np.ndarray) -> cases.Case:
  """Returns the case with the value of every state on every path."""
  v = v.astype(case.values.dtype)
  states = case.details.states
  return case._replace(values=v[states[:-1]], bootstrap_value=v[states[-1]])


def expectation(case: cases.Case, first_vs: np.ndarray) -> np.ndarray:
  """Returns the expected target of every state, from v_0 of all paths."""
  starts, weighted = case.details.states[0], case.details.probability * first_vs
  return np.array([np.sum(weighted[starts == x]) for x in np.unique(starts)])


def clipped_policy(mdp: MDP, rho_bar: float | None) -> np.ndarray:
  """Returns pi_rho_bar of equation 3; None stands for no clipping."""
  policy = mdp.pi if rho_bar is None else np.minimum(rho_bar * mdp.mu, mdp.pi)
  return policy / np.sum(policy, axis=1, keepdims=True)


def value_of(mdp: MDP, policy: np.ndarray) -> np.ndarray:
  """Returns the value of a policy, (I - gamma P)^-1 r, `[states]`."""
  num_states = len(policy)
  transition = np.zeros([num_states, num_states])
  for x, a in itertools.product(range(num_states), range(_ACTIONS)):
    transition[x, mdp.next_state[x, a]] += policy[x, a]
  reward = np.sum(policy * mdp.reward, axis=1)
  return np.linalg.solve(np.eye(num_states) - cases.GAMMA * transition, reward)


def contraction_bound(mdp: MDP, rho_bar: float | None) -> float:
  """Returns eta <= 1 - (1 - gamma) beta of theorem 1."""
  ratios = mdp.pi / mdp.mu
  rhos = ratios if rho_bar is None else np.minimum(rho_bar, ratios)
  beta = min(1.0, np.min(np.sum(mdp.mu * rhos, axis=1)))
  return 1 - (1 - cases.GAMMA) * beta
