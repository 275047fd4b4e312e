"""Tests of the actor: PRNG keys, parameters, resuming and waiting times."""

import functools
import itertools

import jax
import numpy as np
import optax
import pytest

from agents import actor
from agents import agent as agent_lib
from agents import learner
from envs import catch


@functools.cache
def make_agent():
  env = catch.Catch(1, 0)
  return agent_lib.make_agent(
    env.observation_spec(), env.action_spec(), torso='mlp', use_lstm=False
  )


def make_rollouts(key, get_params=None, act=None):
  """Returns the endless rollouts of an actor on Catch: T = 5, B = 16."""
  agent = make_agent()
  params = jax.jit(agent.init)(jax.random.key(0))
  return actor.rollouts(
    catch.Catch(16, seed=0),
    act or actor.make_act(agent),
    get_params or (lambda: (0, params)),
    state=actor.ActorState(key, None),
    initial_core_state=agent.initial_state(16),
    unroll_length=5,
    actor_id=0,
  )


def take_rollouts(key, count, get_params=None, act=None):
  """Returns the first `count` rollouts."""
  return list(itertools.islice(make_rollouts(key, get_params, act), count))


def actions(rollouts):
  return np.concatenate([r.trajectory.rows.action[1:] for r in rollouts])


def test_actions_depend_on_the_key_and_differ_between_steps():
  one, same, other = (
    actions(take_rollouts(jax.random.key(seed), 4)) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(one, same)
  assert np.any(one != other)
  # With one key for all steps, the actions would repeat. With new keys, a
  # near-uniform policy repeats all 16 actions with probability 3**-16.
  assert not any(np.array_equal(a, b) for a, b in itertools.pairwise(one))


def test_parameters_are_fetched_once_per_rollout():
  params = jax.jit(make_agent().init)(jax.random.key(0))
  versions = itertools.count()
  rollouts = take_rollouts(
    jax.random.key(0), 3, get_params=lambda: (next(versions), params)
  )
  assert [r.version for r in rollouts] == [0, 1, 2]
  assert next(versions) == 3


def test_act_is_compiled_once():
  agent = make_agent()
  act = actor.make_act(agent)
  state = learner.init(
    agent, optax.identity(), jax.random.key(0), jax.devices()[:1]
  )
  params = learner.local_params(state)
  take_rollouts(jax.random.key(0), 3, lambda: (0, params), act)
  assert act._cache_size() == 1


def interrupted_rollouts(use_lstm, env, num_before):
  """Returns rollouts of one actor, and of one resumed from its state."""
  agent = agent_lib.make_agent(
    env.observation_spec(), env.action_spec(), torso='mlp', use_lstm=use_lstm
  )
  params = jax.jit(agent.init)(jax.random.key(0))

  def rollouts(env, state):
    return actor.rollouts(
      env,
      actor.make_act(agent),
      lambda: (0, params),
      state=state,
      initial_core_state=agent.initial_state(env.num_envs),
      unroll_length=7,
      actor_id=0,
    )

  begin = actor.ActorState(jax.random.key(1), None)
  uninterrupted = list(itertools.islice(rollouts(env, begin), num_before + 3))
  other_seed = catch.Catch(env.num_envs, seed=99)
  resumed = rollouts(other_seed, uninterrupted[num_before - 1].state)
  return uninterrupted[num_before:], list(itertools.islice(resumed, 3))


@pytest.mark.parametrize('use_lstm', (False, True), ids=('ff', 'lstm'))
def test_a_resumed_actor_is_bit_identical(use_lstm):
  env = catch.Catch(4, seed=0)
  uninterrupted, resumed = interrupted_rollouts(use_lstm, env, num_before=2)
  for a, b in zip(uninterrupted, resumed, strict=True):
    a, b = (r._replace(wait_seconds=0.0) for r in (a, b))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
      if isinstance(x, jax.Array) and x.dtype == jax.random.key(0).dtype:
        x, y = jax.random.key_data(x), jax.random.key_data(y)
      np.testing.assert_array_equal(x, y)
  assert any(len(rollout.episode_returns) for rollout in resumed)


class Stateless(catch.Catch):
  """A Catch that cannot save its state, like EnvPool."""

  def get_state(self):
    return None


def test_episodes_restart_if_the_env_cannot_save_its_state():
  uninterrupted, resumed = interrupted_rollouts(True, Stateless(4, seed=0), 2)
  first = resumed[0].trajectory
  assert np.all(first.rows.timestep.step_type[0] == 0)
  assert not first.core_state.hidden.any()
  assert uninterrupted[0].trajectory.core_state.hidden.any()
  # The key continues, so that earlier actions are not sampled again.
  np.testing.assert_array_equal(
    *(jax.random.key_data(r[2].state.key) for r in (uninterrupted, resumed))
  )


def test_carry_template_does_not_change_the_envs():
  envs = [catch.Catch(4, seed=0) for _ in range(2)]
  template = actor.carry_template(envs[0], core_state=())
  assert template.row.action.shape == (4,)
  a, b = (env.reset().observation for env in envs)
  np.testing.assert_array_equal(a, b)
  assert actor.carry_template(Stateless(4, 0), ()) is None


def test_an_actor_stops_when_get_params_returns_none():
  params = jax.jit(make_agent().init)(jax.random.key(0))
  versions = iter([(0, params), (1, params), None])
  rollouts = take_rollouts(jax.random.key(0), 9, lambda: next(versions))
  assert [r.version for r in rollouts] == [0, 1]


def test_wait_seconds_cover_parameters_and_the_queue_but_not_acting(
  monkeypatch,
):
  now = 0.0
  monkeypatch.setattr(actor.time, 'monotonic', lambda: now)
  agent = make_agent()
  params = jax.jit(agent.init)(jax.random.key(0))
  compiled = actor.make_act(agent)

  def get_params():
    nonlocal now
    now += 1.0
    return 0, params

  def act(*arguments):
    nonlocal now
    now += 100.0
    return compiled(*arguments)

  waits = []
  for rollout in make_rollouts(jax.random.key(0), get_params, act):
    waits.append(rollout.wait_seconds)
    if len(waits) == 3:
      break
    now += 10.0  # The queue is full: `put` returns only now.
  assert waits == [1.0, 11.0, 11.0]


def test_every_step_uses_a_new_key():
  """Checks that each step's key is split from the actor's key."""
  used = []
  agent = make_agent()

  def step(params, key, row, core_state):
    jax.debug.callback(
      lambda x: used.append(x.tolist()), jax.random.key_data(key)
    )
    return agent.step(params, key, row, core_state)

  begin = jax.random.key(3)
  rollouts = take_rollouts(
    begin, 3, act=actor.make_act(agent._replace(step=step))
  )
  jax.effects_barrier()
  key, expected, carried = begin, [], []
  for _ in range(15):
    key, step_key = jax.random.split(key)
    expected.append(jax.random.key_data(step_key).tolist())
    carried.append(jax.random.key_data(key).tolist())
  assert used == expected
  states = [jax.random.key_data(r.state.key).tolist() for r in rollouts]
  assert states == carried[4::5]
