"""The agent's pure functions in a loop of your own: no threads, no flags."""

import dm_env
import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents import agent as agent_lib
from agents import loss_interface
from agents import trajectory
import vtrace

T = 20


def make_update(agent, optimizer):
  """Makes (params, opt_state, unrolls) -> (params, opt_state)."""

  def loss(params, unrolls):
    arguments = loss_interface.arguments(
      agent, params, unrolls, discount=0.99, clip_rewards=vtrace.abs_one
    )
    del arguments['rows'], arguments['extra']  # For auxiliary losses.
    return vtrace.impala_loss(**arguments, baseline_cost=0.5, entropy_cost=0.01)

  def update(params, opt_state, unrolls):
    grads, _ = jax.grad(loss, has_aux=True)(params, unrolls)
    updates, opt_state = optimizer.update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state

  return jax.jit(update)


def train(env, num_updates=100):
  """Trains on a batch of environments; yields the mean last reward."""
  specs = env.observation_spec(), env.action_spec()
  agent = agent_lib.make_agent(*specs, torso='mlp', use_lstm=False)
  optimizer, act = optax.adam(5e-3), jax.jit(agent.step)
  update = make_update(agent, optimizer)
  key, init_key = jax.random.split(jax.random.key(0))
  params, core_state = agent.init(init_key), agent.initial_state(env.num_envs)
  opt_state, row = optimizer.init(params), trajectory.first_row(env.reset())
  for _ in range(num_updates):
    rows, entering = [row], core_state
    for _ in range(T):
      key, step_key = jax.random.split(key)
      output, core_state = act(params, step_key, row, core_state)
      timestep = env.step(np.asarray(output.action))
      row = trajectory.Row(timestep, output.action, output.log_prob)
      rows.append(row)
    rows = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    unrolls = trajectory.Trajectory(rows, entering)
    params, opt_state = update(params, opt_state, unrolls)
    ended = rows.timestep.step_type == dm_env.StepType.LAST
    yield float(rows.timestep.reward[ended].mean())
