# %% [markdown]
# # Your own environment
#
# An environment of yours needs no change to this project. Here are two, one
# for the interface of Gymnasium and one for dm_env. They are checked, broken,
# mended and trained on; then the trained policy plays.

# %%
import dm_env
import gymnasium
import numpy as np

import experiments
from experiments import check
from experiments import config
from experiments import plot
from experiments import train
from experiments.plotting import animation
from experiments.plotting import live
from experiments.training import evaluation
from experiments.training import parts

# %% [markdown]
# ## With Gymnasium
#
# A walker on a line of nine cells must find its target. An episode
# *terminates* at the target; after 20 steps it is *truncated*. The difference
# matters: a truncated episode would have continued, so the learner bootstraps
# from the value of its last observation.


# %%
class Walk(gymnasium.Env):
  observation_space = gymnasium.spaces.Box(0.0, 1.0, (2, 9), np.float32)
  action_space = gymnasium.spaces.Discrete(2)  # Left, right.
  render_mode = 'rgb_array'

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.place, self.target = self.np_random.choice(9, 2, replace=False)
    self.time = 0
    return np.eye(9, dtype=np.float32)[[self.place, self.target]], {}

  def step(self, action):
    self.place = np.clip(self.place + 2 * action - 1, 0, 8)
    self.time += 1
    found, late = self.place == self.target, self.time == 20
    observation = np.eye(9, dtype=np.float32)[[self.place, self.target]]
    return observation, 1.0 if found else -0.1, found, late, {}


# %% [markdown]
# A picture is optional. Videos and animations need one.


# %%
class DrawnWalk(Walk):
  def __init__(self, render_mode='rgb_array'):
    self.render_mode = render_mode

  def render(self):
    image = np.full([1, 9, 3], 40, np.uint8)
    image[0, self.target] = 220, 60, 60
    image[0, self.place] = 60, 200, 220
    return image.repeat(40, axis=0).repeat(20, axis=1)


# %% [markdown]
# ## Check it
#
# The pipeline check runs the real actors, queue and learner on the
# environment, and compares what the learner received with what the environment
# did. A factory in a notebook cannot be named by a flag, so it is given as a
# Python object: `parts.Parts(make_env=...)`.


# %%
own = parts.Parts(make_env=DrawnWalk)
small = dict(envs_per_actor=4, batch_size=8, use_lstm=True)
settings = parts.record(config.from_preset('catch', **small), own)
check.report(settings, check.check(settings, seconds=20.0, parts=own))

# %% [markdown]
# ## Break it
#
# Three mistakes that people make. `check.check_env` is the part of the check
# that needs no agent.


# %%
def check_env(make_env):
  one = parts.Parts(make_env=make_env)
  results, _ = check.check_env(parts.record(settings, one), one)
  for result in results:
    print(f'{result.status} {result.name}: {result.evidence}')


check_env(DrawnWalk)

# %% [markdown]
# The first broken environment ignores its seed: no run could be repeated.


# %%
class Unseeded(DrawnWalk):
  def reset(self, *, seed=None, options=None):
    return super().reset(seed=np.random.randint(10**6))


check_env(Unseeded)

# %% [markdown]
# The second writes all observations into one array of the class. The copies of
# an environment share it, so each overwrites what another one gave. (An array
# of each copy's own may be overwritten: the actors copy observations.)


# %%
class Overwriting(DrawnWalk):
  array = np.zeros([2, 9], np.float32)

  def step(self, action):
    self.array[:], *others = super().step(action)
    return self.array, *others


check_env(Overwriting)

# %% [markdown]
# The third forgets a part of what its observation space declares. The sentence
# names the environment and the fault. A training ends with the same sentence.


# %%
class Partial(DrawnWalk):
  def step(self, action):
    observation, *others = super().step(action)
    return observation[:1], *others


try:
  check_env(Partial)
except ValueError as error:
  print(error)

# %% [markdown]
# ## Train
#
# The settings are those of Catch, except for the number of frames. A random
# walk seldom finds the target in time.

# %%
settings = config.from_preset(
  'catch', num_frames=150_000, log_updates=10, quiet=True
)
curve = live.LiveCurve()
result = train.train(settings, make_env=DrawnWalk, writers=[curve])

# %% [markdown]
# ## Evaluate
#
# An evaluation plays whole episodes. From a log directory everything can be
# made again, except for the factory.

# %%
options = evaluation.Options(result.logdir, num_episodes=200)
record = evaluation.evaluate(options, own)
print(f'mean return {record["mean"]:.3f} +- {record["standard_error"]:.3f}')
print(f'mean length {np.mean(record["episode_lengths_in_steps"]):.2f} steps')

# %%
animation.play(result.logdir, num_episodes=6, frames_per_second=6, parts=own)

# %% [markdown]
# ## Use the policy
#
# In a program of yours, `experiments.load` gives the policy. It takes
# timesteps of dm_env; `dm_env.restart` and `dm_env.transition` make them.

# %%
policy, state = experiments.load(result.logdir, parts=own), None
env = DrawnWalk()
observation, _ = env.reset(seed=3)
timestep, over = dm_env.restart(observation), False
while not over:
  action, state = policy(timestep, state)
  observation, reward, terminated, truncated, _ = env.step(action)
  timestep = dm_env.transition(reward, observation)
  over = terminated or truncated
  print(f'action {action}: cell {env.place}, target {env.target}')

# %% [markdown]
# ## With dm_env
#
# The same for an environment of dm_env. Four lamps, one of them lit; pressing
# the button below it pays 1. After eight steps the episode is truncated,
# because the game continues.


# %%
class Lamps(dm_env.Environment):
  def __init__(self, seed):
    self.rng = np.random.default_rng(seed)

  def observation_spec(self):
    return dm_env.specs.BoundedArray((4,), np.float32, 0.0, 1.0, name='lamps')

  def action_spec(self):
    return dm_env.specs.DiscreteArray(4, name='button')

  def reset(self):
    self.time, self.lit = 0, self.rng.integers(4)
    return dm_env.restart(np.eye(4, dtype=np.float32)[self.lit])

  def step(self, action):
    reward = float(action == self.lit)
    self.time, self.lit = self.time + 1, self.rng.integers(4)
    end = dm_env.truncation if self.time == 8 else dm_env.transition
    return end(reward, np.eye(4, dtype=np.float32)[self.lit])


# %%
check_env(Lamps)

# %% [markdown]
# The buttons do not decide which lamp is next, so nothing that comes later has
# to count: `discount=0.0`. A second training in the same process, of another
# game:

# %%
settings = config.from_preset(
  'catch', num_frames=60_000, discount=0.0, log_updates=10, quiet=True
)
result = train.train(settings, make_env=Lamps)
print(f'mean return {result.mean_return:.2f} of 8')

# %%
plot.learning_curve(result.logdir)

# %% [markdown]
# ## From a file
#
# With the class in a module `my_module.py` the commands do all of this:
#
# ```sh
# python -m experiments.check --env=my_module:Walk
# python -m experiments.train --preset=catch --env=my_module:Walk \
#   --logdir=runs/walk
# python -m experiments.evaluate --logdir=runs/walk --video=walk.gif
# ```
#
# [docs/environments.md](../docs/environments.md) has the details: arguments of
# the factory, processes, images, vector environments.
