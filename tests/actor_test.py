"""The actor: its randomness, and parameters fetched once a rollout."""

import functools
import itertools

import jax
import numpy as np
import optax

from agents import actor
from agents import agent as agent_lib
from agents import learner
from envs import catch


@functools.cache
def make_agent():
  world = catch.Catch(1, 0)
  return agent_lib.make_agent(
    world.observation_spec(), world.action_spec(), torso='mlp', use_lstm=False
  )


def take_rollouts(key, count, get_params=None, act=None):
  agent = make_agent()
  params = jax.jit(agent.init)(jax.random.key(0))
  rollouts = actor.rollouts(
    catch.Catch(16, seed=0),
    act or actor.make_act(agent),
    get_params or (lambda: (0, params)),
    core_state=agent.initial_state(16),
    key=key,
    unroll_length=5,
    actor_id=0,
  )
  return list(itertools.islice(rollouts, count))


def actions(rollouts):
  return np.concatenate([r.trajectory.rows.action[1:] for r in rollouts])


def test_a_key_decides_the_actions_and_every_step_draws_anew():
  one, same, other = (
    actions(take_rollouts(jax.random.key(seed), 4)) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(one, same)
  assert np.any(one != other)
  # One key for all steps would give each environment one fate: near-uniform
  # policies repeat an action of 16 environments with probability 3**-16.
  assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(one))


def test_parameters_are_fetched_once_a_rollout():
  params = jax.jit(make_agent().init)(jax.random.key(0))
  versions = itertools.count()
  rollouts = take_rollouts(
    jax.random.key(0), 3, get_params=lambda: (next(versions), params)
  )
  assert [r.version for r in rollouts] == [0, 1, 2]
  assert next(versions) == 3


def test_acting_is_compiled_once():
  agent = make_agent()
  act = actor.make_act(agent)
  state = learner.init(
    agent, optax.identity(), jax.random.key(0), jax.devices()[:1]
  )
  params = learner.local_params(state)
  take_rollouts(jax.random.key(0), 3, lambda: (0, params), act)
  assert act._cache_size() == 1
