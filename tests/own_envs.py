"""Custom environments for tests and examples, as 'tests.own_envs:NAME'."""

import dm_env
import gymnasium
import numpy as np


class Walk(dm_env.Environment):
  """A dm_env environment: terminates at 2, is truncated after 7 steps."""

  def __init__(self, seed=0):
    self._rng = np.random.default_rng(seed)

  def observation_spec(self):
    return {'place': dm_env.specs.BoundedArray((2,), np.float32, -9.0, 9.0)}

  def action_spec(self):
    return dm_env.specs.BoundedArray((), np.int64, -1, 1)

  def reset(self):
    self._time, self._place = 0, int(self._rng.integers(-1, 1))
    return dm_env.restart(self._observation())

  def step(self, action):
    assert action in (-1, 0, 1)
    self._time += 1
    self._place += int(action)
    if self._place >= 2:
      return dm_env.termination(1.0, self._observation())
    if self._time == 7:
      return dm_env.truncation(-0.5, self._observation())
    return dm_env.transition(0.25, self._observation())

  def _observation(self):
    return {'place': np.array([self._place, self._time], np.float32)}


class Dice(gymnasium.Env):
  """A Gymnasium environment: a six terminates, a roll below the bet pays 1."""

  observation_space = gymnasium.spaces.Discrete(7)
  action_space = gymnasium.spaces.Discrete(6, start=1)

  def __init__(self, render_mode=None):
    self.render_mode = render_mode

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self._time, self._shown = 0, 0
    return np.int64(0), {}

  def step(self, action):
    assert self.action_space.contains(action)
    self._time += 1
    self._shown = int(self.np_random.integers(1, 7))
    reward = float(self._shown < action)
    over = self._shown == 6
    return np.int64(self._shown), reward, over, self._time == 5, {}

  def render(self):
    if self.render_mode is None:
      return None
    return np.full([8, 8, 3], self._shown, np.uint8)


def cart_pole():
  """Makes CartPole truncated after 20 steps; few episodes end earlier."""
  return gymnasium.make('CartPole-v1', max_episode_steps=20)


class Unseeded(Walk):
  """A Walk without a seed: all instances share one generator."""

  _shared_rng = np.random.default_rng(0)

  def __init__(self):
    self._rng = self._shared_rng


class Paid(Walk):
  """A Walk that breaks the conventions: its first step has a reward."""

  def reset(self):
    return super().reset()._replace(reward=1.0)


class Unpaid(Walk):
  """A Walk whose rewards are None."""

  def step(self, action):
    return super().step(action)._replace(reward=None)


class Nested(Walk):
  """A Walk whose observation spec is a tuple, which is unsupported."""

  def observation_spec(self):
    return (super().observation_spec(),)


class OldStep(Dice):
  """A Dice whose `step` returns four values, as in Gym."""

  def step(self, action):
    observation, reward, over, _, info = super().step(action)
    return observation, reward, over, info


class Wild(gymnasium.Env):
  """A Gymnasium environment with actions [2] and rewards of shape [1]."""

  observation_space = gymnasium.spaces.Box(-1, 1, (3,))
  action_space = gymnasium.spaces.Box(-1, 1, (2,))

  def reset(self, *, seed=None, options=None):
    return np.zeros(3, np.float32), {}

  def step(self, action):
    return np.zeros(3, np.float32), np.array([0.5]), False, False, {}


def neither():
  return object()


not_callable = 3
