# %% [markdown]
# # Catch in a minute
#
# An agent learns to catch a ball. You see the learning curve while it grows,
# the agent before and after the training, and how old its experience was.
#
# In [Catch](../envs/catch.py) a ball falls over a board of 10 rows and 5
# columns. The paddle on the bottom row moves left, stays, or moves right.
# After nine steps the reward is +1 for a catch and -1 for a miss, so that a
# perfect agent has a mean return of 1.

# %%
from experiments import config
from experiments import plot
from experiments import train
from experiments.plotting import animation
from experiments.plotting import live

settings = config.from_preset('catch', seed=1, log_updates=10)
print(f'{settings.num_actors} actors, {settings.envs_per_actor} boards each')
print(
  f'{settings.batch_size} unrolls of {settings.unroll_length} steps a batch'
)

# %% [markdown]
# ## Train
#
# The two actors play, the learner updates the network, and they do not wait
# for each other. A row of metrics is written every `log_updates` updates; the
# `LiveCurve` draws it. **Interrupt the kernel** whenever you have seen enough:
# the cell then ends with a checkpoint, and `result` is what was trained so
# far.

# %%
result = train.train(settings, writers=[live.LiveCurve()])

# %% [markdown]
# The result has the totals of the run, and the columns of `metrics.csv` as
# arrays.

# %%
print(f'{result.num_updates:,} updates in {result.seconds:.0f} seconds')
print(f'mean return at the end: {result.mean_return:.2f}')
print(f'interrupted: {result.interrupted}')
result.metrics['mean_return'].round(2)

# %% [markdown]
# ## Watch it play
#
# A run writes its first checkpoint before the first update. Its parameters are
# random: the paddle (cyan) moves at random, too. Where it catches the ball
# (red), the cell turns white.

# %%
animation.play(result.logdir, step=0, num_episodes=8, frames_per_second=8)

# %% [markdown]
# The newest checkpoint:

# %%
animation.play(result.logdir, num_episodes=8, frames_per_second=8)

# %% [markdown]
# ## How old was the experience?
#
# While actors play, the learner continues. The *policy lag* of an unroll is the
# number of updates between the parameters that acted and those that learn from
# it. The *importance weights* pi(a|x) / mu(a|x) tell how much the two policies
# differ: they are 1 where the policies agree. V-trace clips them at 1 (section
# 4.1 of [the paper](https://arxiv.org/abs/1802.01561)).

# %%
for name in 'policy_lag', 'rho_clipped', 'effective_sample_size', 'kl':
  values = result.metrics[name]
  print(f'{name:22} mean {values.mean():6.3f}  highest {values.max():6.3f}')

# %%
plot.diagnostics(result.logdir)

# %% [markdown]
# The lag was a few updates, as the histogram in the first row shows. About
# half of the weights are above 1 and are clipped, but by little: the histogram
# of their logarithms is narrow, and the effective sample size is close to
# 100%. The experience was nearly on-policy.
#
# ## More lag
#
# With `lag=20` the parameters that act are exactly 20 updates older than those
# that learn. (The default, `lag=-1`, fixes nothing: actors take the newest
# parameters that there are.) This is another run in the same process. How do
# the weights change, and what does V-trace make of it?

# %%
late = config.from_preset('catch', seed=1, log_updates=10, lag=20, quiet=True)
late_result = train.train(late)

# %%
for name in 'policy_lag', 'rho_clipped', 'effective_sample_size', 'kl':
  values, late_values = result.metrics[name], late_result.metrics[name]
  print(f'{name:22} {values.mean():6.3f}, with lag {late_values.mean():6.3f}')

# %% [markdown]
# The mean lag is a little below 20 because the first 20 updates cannot be so
# far behind. The policies differ more, and the effective sample size is lower.
# The two learning curves are named by the setting in which the runs differ:
# `lag=-1` is the first run, whose lag was not fixed, and `lag=20` the second.

# %%
plot.learning_curve(result.logdir, late_result.logdir)

# %% [markdown]
# At a lag of 20 the agent learns a little later, and as well in the end:
# V-trace corrects for policies that differ so much. The notebook `read_a_run`
# has runs at a lag of 64, with V-trace and without.

# %% [markdown]
# ## Where to go from here
#
# - `train.train(settings)` with `logdir=result.logdir` and a larger
#   `num_frames` trains the same run on.
# - The command `python -m experiments.train --preset=catch` does the same.
# - [your_own_environment](your_own_environment.ipynb) trains on a game of
#   yours.
# - [read_a_run](read_a_run.ipynb) explains the diagnostics one by one.
