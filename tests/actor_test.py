"""The actor: its randomness, and parameters fetched once an unroll."""

import functools
import itertools

import jax
import numpy as np

from agents import actor
from agents import agent as agent_lib
from envs import catch


@functools.cache
def make_agent():
  world = catch.Catch(1, 0)
  return agent_lib.make_agent(
    world.observation_spec(), world.action_spec(), torso='mlp', use_lstm=False
  )


def take_unrolls(key, count, get_params=None):
  agent = make_agent()
  params = jax.jit(agent.init)(jax.random.key(0))
  unrolls = actor.unrolls(
    catch.Catch(16, seed=0),
    actor.make_act(agent),
    get_params or (lambda: (0, params)),
    core_state=agent.initial_state(16),
    key=key,
    unroll_length=5,
    actor_id=0,
  )
  return list(itertools.islice(unrolls, count))


def actions(unrolls):
  return np.concatenate([u.trajectory.rows.action[1:] for u in unrolls])


def test_a_key_decides_the_actions_and_every_step_draws_anew():
  one, same, other = (
    actions(take_unrolls(jax.random.key(seed), 4)) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(one, same)
  assert np.any(one != other)
  # One key for all steps would give each environment one fate: near-uniform
  # policies repeat an action of 16 environments with probability 3**-16.
  assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(one))


def test_parameters_are_fetched_once_an_unroll():
  params = jax.jit(make_agent().init)(jax.random.key(0))
  versions = itertools.count()
  unrolls = take_unrolls(
    jax.random.key(0), 3, get_params=lambda: (next(versions), params)
  )
  assert [u.version for u in unrolls] == [0, 1, 2]
  assert next(versions) == 3
