"""An own network, optimizer and auxiliary loss; `--env` brings the environment.

OWN=examples.own_agent
python -m experiments.train --preset=catch --logdir=runs/gru \
  --agent=$OWN:make_agent --optimizer=$OWN:make_optimizer --loss=$OWN:make_loss
"""

import haiku as hk
import jax.numpy as jnp
import optax

from agents import agent as agent_lib
from agents import optimizer as optimizer_lib
from agents import trajectory
from agents.networks import distributions
from agents.networks import network as network_lib
from agents.networks import torsos
from experiments.training import builders


def make_agent(config, env):
  """Makes an agent with a GRU, which also predicts the next reward."""
  del config  # The command-line flags, for those who need them.
  policy = distributions.categorical(env.action_spec().num_values)
  torso = torsos.mlp_torso(env.observation_spec())

  def unroll(rows, core_state):
    x = hk.BatchApply(torso)(rows.timestep.observation)
    core_input = x, trajectory.is_first(rows.timestep)
    core = hk.ResetCore(hk.GRU(64))
    x, core_state = hk.dynamic_unroll(core, core_input, core_state)
    logits = hk.Linear(policy.num_outputs)(x)
    value, next_reward = jnp.moveaxis(hk.Linear(2)(x), -1, 0)
    output = network_lib.NetworkOutput(logits, value, extra=next_reward)
    return output, core_state

  initial_state = lambda batch_size: hk.GRU(64).initial_state(batch_size)
  network = network_lib.from_haiku(unroll, initial_state)
  return agent_lib.from_network(network, policy, env.observation_spec())


def make_optimizer(config):
  """Makes Adam, with the learning rate that the schedule on frames gives."""
  clip = optax.clip_by_global_norm(config.max_grad_norm)
  return optax.chain(clip, optimizer_lib.scheduled(optax.adam))


def make_loss(config):
  """Makes the IMPALA loss plus the squared error of the predicted rewards."""
  impala_loss = builders.make_loss(config)

  def loss(*, extra, **arguments):
    total, metrics = impala_loss(**arguments)
    errors = (extra[:-1] - arguments['rewards']) * arguments['mask']
    reward_loss = 0.5 * jnp.sum(jnp.square(errors))
    return total + 0.1 * reward_loss, metrics | {'reward_loss': reward_loss}

  return loss
