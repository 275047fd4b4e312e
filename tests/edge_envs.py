"""Custom environments at the edges of their APIs, as 'tests.edge_envs:NAME'."""

import collections
import functools
import os
import threading

import dm_env
from dm_env import specs
import gymnasium
from gymnasium import spaces
import numpy as np

RELEASED = threading.Event()  # Lets the environments that hang end.


class Timer(gymnasium.Env):
  """Shows the time; truncated after 4 steps. `show` says in which form."""

  observation_space = spaces.Box(0, 100, (2,), np.float32)
  action_space = spaces.Discrete(3)

  def __init__(self, show=None, reward=1.5, seed=None):
    self.show = show or (lambda t: np.full(2, t, np.float32))
    self.reward, self.seed = reward, seed

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.time = 0
    return self.show(0), {}

  def step(self, action):
    self.time += 1
    return self.show(self.time), self.reward, False, self.time == 4, {}


def showing(space, show):
  """Returns a factory of Timers that declare `space` and show `show(t)`."""

  def make():
    env = Timer(show)
    env.observation_space = space
    return env

  return make


class Shifted(Timer):
  """Nested observations in an order that is not the alphabet's."""

  observation_space = spaces.Dict(
    {
      'outer': spaces.Dict(
        {'z': spaces.Discrete(5, start=-2), 'a': spaces.Box(-1, 1, (), np.int8)}
      )
    }
  )

  def __init__(self):
    super().__init__(self.both)

  def both(self, t):
    inner = collections.OrderedDict(z=np.int64(t - 2), a=np.int8(t % 2))
    return collections.OrderedDict(outer=inner)


class Wide(dm_env.Environment):
  """Actions from -128 to 127 in bytes, which it validates."""

  def __init__(self, dtype=np.int8, low=-128, high=127):
    self.spec = specs.BoundedArray((), dtype, low, high)

  def observation_spec(self):
    return specs.Array((), np.float32)

  def action_spec(self):
    return self.spec

  def reset(self):
    return dm_env.restart(np.float32(0))

  def step(self, action):
    self.spec.validate(action)
    return dm_env.transition(0.0, np.float32(action))


class Fading(Wide):
  """Ends after three steps; `discounts` are those of its steps."""

  discounts = (0.25, 0.0, 0.5)
  first_reward = None

  def __init__(self, seed=None):
    super().__init__()

  def reset(self):
    self.time = 0
    return dm_env.restart(np.float32(0))._replace(reward=self.first_reward)

  def step(self, action):
    discount = self.discounts[self.time]
    self.time += 1
    kind = dm_env.StepType.LAST if self.time == 3 else dm_env.StepType.MID
    return dm_env.TimeStep(kind, 1.0, discount, np.float32(self.time))


class Vague(Fading):
  """Gives no discount in its second step."""

  discounts = (1.0, None, 1.0)


class Paid(Fading):
  """Has a reward at FIRST."""

  first_reward = 7.0


class Bound(Timer):
  """Must be used in the thread that made it."""

  def __init__(self, seen=None):
    super().__init__()
    self.threads = {threading.get_ident()}
    self.seen = self.threads if seen is None else seen

  def reset(self, **settings):
    self.seen.add(threading.get_ident())
    return super().reset(**settings)

  def step(self, action):
    self.seen.add(threading.get_ident())
    return super().step(action)

  def close(self):
    self.seen.add(threading.get_ident())


class Stuck(Timer):
  """Does not end; also not when it is asked to close."""

  def step(self, action):
    RELEASED.wait(60)
    return super().step(action)

  def close(self):
    RELEASED.wait(60)


class Raising(Timer):
  """Its `close` raises."""

  def close(self):
    raise RuntimeError('already gone')


class Quitting(Timer):
  """Ends the process, or tries to."""

  def step(self, action):
    raise SystemExit(3)

  def close(self):
    raise SystemExit(3)


class Unplugged(gymnasium.Env):
  """Cannot be made."""

  def __init__(self):
    open('no/level7.bsp')


class BeforeGymnasium(Timer):
  """Its `reset` has no seed and returns no `info`."""

  def reset(self):
    self.time = 0
    return self.show(0)


class NoInfo(Timer):
  """Its `reset` returns the observation alone, an array of two."""

  def reset(self, *, seed=None, options=None):
    return super().reset(seed=seed)[0]


class Tuned(Timer):
  """States its action repeats and its stacking."""

  frames_per_step = 6
  num_stacked = 3


class Logged(Timer):
  """Appends its process, and the seeds it gets, to a file."""

  def __init__(self, path, seed=None, fault=None):
    super().__init__(seed=seed)
    self.path, self.fault = path, fault
    self.log('made', seed)

  def log(self, *words):
    with open(self.path, 'a') as file:
      file.write(' '.join(map(str, (os.getpid(), *words))) + '\n')

  def reset(self, *, seed=None, options=None):
    self.log('reset', seed)
    return super().reset(seed=seed)

  def step(self, action):
    outcome = super().step(action)
    if self.fault and self.time == 2 and self.seed % 3 == 1:
      if self.fault == 'dies':
        os._exit(5)
      if self.fault == 'hangs':
        RELEASED.wait(600)
      raise KeyError('no such room')
    return outcome


def logged(**kwargs):
  return Logged(**kwargs)


partly = functools.partial(Timer, None, 2.0)
_ONE = Timer()


def one():
  return _ONE


def wrapped_one():
  return gymnasium.wrappers.TimeLimit(_ONE, 9)


class Keeper(Fading):
  """Keeps what it wraps by a name of its own."""

  def __init__(self):
    super().__init__()
    self.simulator = _ONE


def vector(num_envs, mode='NextStep', seed=0):
  return gymnasium.vector.SyncVectorEnv(
    [Timer] * num_envs,
    copy=False,
    autoreset_mode=gymnasium.vector.AutoresetMode(mode),
  )


def vector_of_five():
  return vector(5)
