"""An environment and an agent that count, for tests of alignment."""

import dm_env
import jax.numpy as jnp
import numpy as np

from agents import agent as agent_lib
from agents import trajectory
from agents.networks import distributions
from agents.networks import network as network_lib
from envs import environment

NUM_ACTIONS = 5


class CountingEnv:
  """An environment whose observations and rewards identify every step.

  An observation is (actor, environment, t in the episode, total steps). Episode
  lengths differ between environments. The reward on arriving at t + 1 is
  10 t + a_t: it encodes the step and the action that earned it.
  """

  frames_per_step = 1
  num_stacked = 1

  def __init__(self, actor_id=0, num_envs=2, lengths=(3, 5), truncates=False):
    self.num_envs = num_envs
    self._ids = np.stack(
      [np.full([num_envs], actor_id), np.arange(num_envs)], axis=1
    )
    self._lengths = np.resize(lengths, num_envs)
    self._truncates = truncates
    self._t = np.zeros([num_envs], np.int64)
    self._steps = 0

  def observation_spec(self):
    return dm_env.specs.Array((4,), np.int64)

  def action_spec(self):
    return dm_env.specs.DiscreteArray(NUM_ACTIONS)

  def reset(self):
    return self._time_step(
      np.ones([self.num_envs], bool), np.zeros(self.num_envs)
    )

  def step(self, actions):
    first = self._t == self._lengths
    reward = 10 * self._t + actions
    self._t = np.where(first, 0, self._t + 1)
    self._steps += 1
    return self._time_step(first, reward)

  def close(self):
    pass

  def get_state(self):
    return self._t, np.array(self._steps)

  def set_state(self, state):
    self._t, steps = state
    self._steps = int(steps)

  def _time_step(self, first, reward):
    last = self._t == self._lengths
    never = np.zeros_like(last)
    ended = (never, last) if self._truncates else (last, never)
    counts = np.stack([self._t, np.full_like(self._t, self._steps)], axis=1)
    return environment.time_step(
      environment.Outcome(first, reward, *ended),
      np.concatenate([self._ids, counts], axis=1),
    )


def action_at(t):
  """Returns the counting agent's action at step t of an episode."""
  return (3 * t + 1) % NUM_ACTIONS


def true_value(t, length, discount, truncates, horizon=2_000):
  """Returns V of the counting agent at step t, as a sum of rewards.

  If `truncates`, the sum continues beyond the episode, up to `horizon`.
  """
  end = horizon if truncates else int(length)
  return sum(
    discount ** (k - t) * (10 * k + action_at(k)) for k in range(int(t), end)
  )


def make_counting_agent(value_table=None):
  """Makes an agent that acts by `action_at` and counts its observations.

  Log-probabilities encode the step. The core state is the number of
  observations in this episode. The only parameter is added to the values.

  Args:
    value_table: V by environment and step, `[environments, t]`.
  """

  def initial_state(batch_size):
    return jnp.zeros([batch_size], jnp.int32)

  def log_prob_at(observation):
    return -observation[..., 3] / 1024.0

  def step(params, key, row, core_state):
    del params, key
    observation = row.timestep.observation
    first = trajectory.is_first(row.timestep)
    core_state = jnp.where(first, 0, core_state) + 1
    action = action_at(observation[..., 2]).astype(jnp.int32)
    return (agent_lib.ActorOutput(action, log_prob_at(observation)), core_state)

  def unroll(params, rows, core_state):
    del core_state
    observation = rows.timestep.observation
    table = jnp.zeros([16, 16]) if value_table is None else value_table
    value = table[observation[..., 1], observation[..., 2]] + params['shift']
    outputs = (log_prob_at(observation), action_at(observation[..., 2]))
    return network_lib.NetworkOutput(jnp.stack(outputs, axis=-1), value)

  policy = distributions.Distribution(
    num_outputs=2,
    sample=None,
    mode=None,
    log_prob=lambda outputs, actions: (
      outputs[..., 0] - jnp.abs(actions - outputs[..., 1])
    ),
    entropy=lambda outputs: jnp.zeros(outputs.shape[:-1]),
  )
  return agent_lib.Agent(
    init=lambda key: {'shift': jnp.zeros([])},
    initial_state=initial_state,
    step=step,
    greedy_step=step,
    unroll=unroll,
    policy=policy,
  )
