# %% [markdown]
# # Your own agent
#
# A network, an optimizer and an auxiliary loss of your own, trained by the
# actors and the learner of this project. V-trace, the queue, checkpoints and
# figures stay as they are. [examples/own_agent.py](../examples/own_agent.py)
# has the same as a module.

# %%
import haiku as hk
import jax
import jax.numpy as jnp
from matplotlib import pyplot as plt
import optax

from agents import agent
from agents import optimizer
from agents import trajectory
from agents.networks import distributions
from agents.networks import network
import experiments
from experiments import check
from experiments import config
from experiments import plot
from experiments import train
from experiments.plotting import animation
from experiments.training import builders
from experiments.training import parts

# %% [markdown]
# ## A network
#
# A network reads *arrival rows* `[T, B]`: what was known on arriving at each
# step. It returns the parameters of the policy, the value, and `extra`,
# anything that a loss of yours wants. Actors and learner call the same
# function; actors with T = 1.
#
# This one has a residual block, a GRU, and a third head, which predicts the
# reward of the next step. `hk.ResetCore` resets the GRU at the first row of an
# episode.


# %%
def residual_block(x):
  y = hk.LayerNorm(-1, create_scale=True, create_offset=True)(x)
  return x + hk.Linear(64)(jax.nn.relu(hk.Linear(64)(y)))


def features(observation):
  return residual_block(hk.Linear(64)(hk.Flatten()(observation)))


def heads(x, num_outputs):
  value, next_reward = jnp.moveaxis(hk.Linear(2)(x), -1, 0)
  policy = hk.Linear(num_outputs)(x)
  return network.NetworkOutput(policy, value, extra=next_reward)


# %%
def make_unroll(num_outputs, reset_core=hk.ResetCore):
  def unroll(rows, core_state):
    x = hk.BatchApply(features)(rows.timestep.observation)
    inputs = x, trajectory.is_first(rows.timestep)
    core = reset_core(hk.GRU(64))
    x, core_state = hk.dynamic_unroll(core, inputs, core_state)
    return heads(x, num_outputs), core_state

  return unroll


# %% [markdown]
# An agent is a network and a distribution of actions. Its factory gets the
# settings and the environments of one actor.


# %%
def make_agent(settings, env, **options):
  policy = distributions.categorical(env.action_spec().num_values)
  own = network.from_haiku(
    make_unroll(policy.num_outputs, **options),
    initial_state=lambda batch_size: hk.GRU(64).initial_state(batch_size),
  )
  return agent.from_network(own, policy, env.observation_spec())


# %% [markdown]
# ## An optimizer
#
# Any optax optimizer will do. `optimizer.scheduled` gives it the learning rate
# of `learning_rate`, which decays with the frames.


# %%
def make_optimizer(settings):
  return optax.chain(
    optax.clip_by_global_norm(settings.max_grad_norm),
    optimizer.scheduled(optax.adamw),
  )


# %% [markdown]
# ## An auxiliary loss
#
# A loss gets the arrays of `vtrace.impala_loss` by keyword, and `extra` if its
# signature names it. It sums over time and batch. Row t of `extra` was
# computed on arriving at step t, so it predicts `rewards[t]`, which follows.
# `mask` is 0 where an environment was reset.


# %%
def make_loss(settings):
  impala_loss = builders.make_loss(settings)

  def loss(*, extra, **arrays):
    total, metrics = impala_loss(**arrays)
    errors = arrays['mask'] * (extra[:-1] - arrays['rewards'])
    reward_loss = 0.5 * jnp.sum(jnp.square(errors))
    return total + 0.1 * reward_loss, metrics | {'reward_loss': reward_loss}

  return loss


# %% [markdown]
# ## Check it
#
# The pipeline check tells whether the core state passes from unroll to unroll
# and is reset between episodes, and whether the loss weighs every step as the
# paper does.

# %%
own = parts.Parts(None, make_agent, make_optimizer, make_loss)
settings = parts.record(
  config.from_preset(
    'catch', num_frames=200_000, learning_rate=1e-3, log_updates=10, quiet=True
  ),
  own,
)
check.report(settings, check.check(settings, seconds=20.0, parts=own))

# %% [markdown]
# ## Break it
#
# A core that is never reset carries the end of an episode into the next one.
# It would still learn Catch. The check finds it:


# %%
class NeverReset(hk.ResetCore):
  def __call__(self, inputs, state):
    x, should_reset = inputs
    return super().__call__((x, jnp.zeros_like(should_reset)), state)


def make_broken(settings, env):
  return make_agent(settings, env, reset_core=NeverReset)


broken = parts.Parts(None, make_broken, make_optimizer, make_loss)
found = check.check(settings, 20.0, broken)
for result in found.results:
  if result.status == 'FAIL':
    print(f'{result.name}: {result.evidence}')

# %% [markdown]
# ## Train
#
# `train.train` takes the same factories.

# %%
result = train.train(
  settings,
  make_agent=make_agent,
  make_optimizer=make_optimizer,
  make_loss=make_loss,
)
print(f'mean return {result.mean_return:.2f} in {result.seconds:.0f} seconds')

# %% [markdown]
# Every metric of a loss is a column of `metrics.csv`. The errors are summed
# over the 640 steps of a batch.

# %%
figure, axes = plt.subplots(figsize=(8, 3), layout='constrained')
axes.plot(result.metrics['num_frames'], result.metrics['reward_loss'])
axes.set_xlabel('environment frames')
axes.set_ylabel('reward_loss')
axes.set_ylim(bottom=0.0)
plt.show()

# %% [markdown]
# ## Compare it
#
# The agent of the paper for this game, a perceptron without a core, with
# RMSProp:

# %%
paper = config.from_preset(
  'catch', num_frames=200_000, log_updates=10, quiet=True
)
paper_result = train.train(paper)
plot.learning_curve(result.logdir, paper_result.logdir)

# %% [markdown]
# One seed proves nothing. `python -m experiments.plot` draws a line and a band
# of many seeds.
#
# ## Use it
#
# The policy that was trained, in three lines. The factories are needed again,
# because a function of a notebook cannot be found by its name; those of a
# module can.

# %%
policy = experiments.load(result.logdir, parts=own)
print(f'{policy.num_updates} updates; {policy.action_spec.num_values} actions')
animation.play(result.logdir, num_episodes=5, frames_per_second=8, parts=own)
