"""Tests of the agent: `unroll` equals `step`, and core states reset."""

import operator

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import agent as agent_lib
from agents import trajectory

T, B, ACTIONS = 6, 3, 4
SPECS = {
  'mlp': dm_env.specs.Array((5,), np.float32),
  'shallow': dm_env.specs.Array((40, 44, 3), np.uint8),
  'deep': dm_env.specs.Array((36, 36, 2), np.uint8),
}


def make_agent(torso, use_lstm):
  return agent_lib.make_agent(
    SPECS[torso],
    dm_env.specs.DiscreteArray(ACTIONS),
    torso=torso,
    use_lstm=use_lstm,
  )


def make_rows(torso, seed=0):
  """Returns random rows `[T, B]`; episodes of env b start at step b + 1."""
  rng = np.random.default_rng(seed)
  spec = SPECS[torso]
  step_type = np.full([T, B], dm_env.StepType.MID, np.int32)
  step_type[np.arange(B) + 1, np.arange(B)] = dm_env.StepType.FIRST
  observation = (255 * rng.random((T, B, *spec.shape))).astype(spec.dtype)
  timestep = dm_env.TimeStep(
    step_type,
    np.float32(rng.normal(size=(T, B))),
    np.ones([T, B], np.float32),
    observation,
  )
  return trajectory.Row(
    timestep,
    rng.integers(ACTIONS, size=(T, B), dtype=np.int32),
    np.zeros([T, B], np.float32),
  )


@pytest.mark.parametrize('use_lstm', (False, True), ids=('ff', 'lstm'))
@pytest.mark.parametrize('torso', SPECS)
def test_unroll_equals_the_actors_steps(torso, use_lstm):
  agent, rows = make_agent(torso, use_lstm), make_rows(torso)
  params = agent.init(jax.random.key(0))
  core = agent.initial_state(B)
  output = jax.jit(agent.unroll)(params, rows, core)
  step = jax.jit(agent.step)
  for t in range(T):
    row = jax.tree.map(operator.itemgetter(t), rows)
    acted, core = step(params, jax.random.key(t), row, core)
    np.testing.assert_allclose(
      agent.policy.log_prob(output.policy[t], acted.action),
      acted.log_prob,
      atol=1e-5,
    )


@pytest.mark.parametrize('use_lstm', (False, True), ids=('ff', 'lstm'))
def test_a_greedy_step_takes_the_most_likely_action(use_lstm):
  agent, rows = make_agent('mlp', use_lstm), make_rows('mlp')
  params, core = jax.jit(agent.init)(jax.random.key(0)), agent.initial_state(B)
  logits = jax.jit(agent.unroll)(params, rows, core).policy
  step, greedy_step = jax.jit(agent.step), jax.jit(agent.greedy_step)
  for t in range(T):
    row = jax.tree.map(operator.itemgetter(t), rows)
    greedy, after = greedy_step(params, jax.random.key(t), row, core)
    _, core = step(params, jax.random.key(t), row, core)
    np.testing.assert_array_equal(greedy.action, np.argmax(logits[t], axis=-1))
    np.testing.assert_allclose(
      agent.policy.log_prob(logits[t], greedy.action),
      greedy.log_prob,
      atol=1e-5,
    )
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(core)):
      np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize('torso', ('shallow', 'deep'))
def test_unroll_under_grad_equals_unroll(torso):
  # Differentiated convolutions use a different implementation.
  agent, rows = make_agent(torso, True), make_rows(torso)
  params, core = agent.init(jax.random.key(0)), agent.initial_state(B)

  def loss(params):
    output = agent.unroll(params, rows, core)
    return jnp.sum(output.value), output

  _, differentiated = jax.jit(jax.grad(loss, has_aux=True))(params)
  plain = jax.jit(agent.unroll)(params, rows, core)
  for a, b in zip(differentiated, plain):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_core_state_resets_before_an_episodes_first_observation():
  agent, rows = make_agent('mlp', True), make_rows('mlp')
  params = agent.init(jax.random.key(0))
  dirty = jax.tree.map(lambda x: x + 1.0, agent.initial_state(B))
  clean = agent.initial_state(B)
  a, b = (agent.unroll(params, rows, core).value for core in (dirty, clean))
  for env in range(B):
    first = env + 1
    np.testing.assert_array_equal(a[first:, env], b[first:, env])
    assert np.all(np.abs(a[:first, env] - b[:first, env]) > 1e-4)


@pytest.mark.parametrize('use_lstm', (False, True), ids=('ff', 'lstm'))
def test_only_a_core_reads_the_last_action_and_reward(use_lstm):
  agent, rows = make_agent('mlp', use_lstm), make_rows('mlp')
  params, core = agent.init(jax.random.key(0)), agent.initial_state(B)
  value = agent.unroll(params, rows, core).value
  other_action = rows._replace(action=(rows.action + 1) % ACTIONS)
  other_reward = rows._replace(
    timestep=rows.timestep._replace(reward=-rows.timestep.reward)
  )
  huge = rows._replace(
    timestep=rows.timestep._replace(reward=np.sign(rows.timestep.reward) * 1e6)
  )
  unit = rows._replace(
    timestep=rows.timestep._replace(reward=np.sign(rows.timestep.reward))
  )
  for changed in (other_action, other_reward):
    changes = np.max(np.abs(agent.unroll(params, changed, core).value - value))
    assert (changes > 1e-4) == use_lstm
  np.testing.assert_array_equal(
    agent.unroll(params, huge, core).value,
    agent.unroll(params, unit, core).value,
  )


def test_the_first_row_of_an_episode_ignores_its_last_action():
  agent, rows = make_agent('mlp', True), make_rows('mlp')
  params, core = agent.init(jax.random.key(0)), agent.initial_state(B)
  first = np.asarray(trajectory.is_first(rows.timestep))
  other = np.where(first, (rows.action + 1) % ACTIONS, rows.action)
  np.testing.assert_array_equal(
    agent.unroll(params, rows, core).value,
    agent.unroll(params, rows._replace(action=other), core).value,
  )


@pytest.mark.parametrize('torso', ('shallow', 'mlp'))
def test_a_dict_of_one_image_gives_the_values_of_that_image(torso):
  spec = dm_env.specs.Array((24, 20, 3), np.uint8)
  rng = np.random.default_rng(0)
  image = rng.integers(256, size=(T, B, *spec.shape), dtype=np.uint8)
  rows = make_rows('mlp')
  values = []
  for spec_, observation in ((spec, image), ({'rgb': spec}, {'rgb': image})):
    agent = agent_lib.make_agent(
      spec_, dm_env.specs.DiscreteArray(ACTIONS), torso=torso, use_lstm=False
    )
    rows = rows._replace(
      timestep=rows.timestep._replace(observation=observation)
    )
    params = agent.init(jax.random.key(0))
    values.append(agent.unroll(params, rows, ()).value)
  np.testing.assert_array_equal(*values)
