"""Custom environments in a process each, against the same ones in one thread.

python -m benchmarks.env_processes --json=env_processes.json

A step of `Slow` takes 5 ms of CPU time, a step of `Fast` nothing.
"""

import contextlib
import time

from absl import flags
import gymnasium
import numpy as np

from benchmarks import timing
from envs import registry
from experiments import cli
from experiments.records import hardware

_NUM_STEPS = 50
_ROUNDS = 9


class Fast(gymnasium.Env):
  """An environment whose episodes end after 100 steps."""

  observation_space = gymnasium.spaces.Box(-1, 1, (8,))
  action_space = gymnasium.spaces.Discrete(2)
  milliseconds = 0

  def reset(self, *, seed=None, options=None):
    """Starts an episode."""
    super().reset(seed=seed)
    self._time = 0
    return np.zeros(8, np.float32), {}

  def step(self, action):
    """Works for `milliseconds` of this thread's time."""
    end = time.thread_time() + self.milliseconds / 1000
    while time.thread_time() < end:
      pass
    self._time += 1
    observation = np.full(8, action, np.float32)
    return observation, 1.0, False, self._time == 100, {}


class Slow(Fast):
  """The same with 5 ms of work in a step."""

  milliseconds = 5


def measure(name: str, num_envs: int) -> dict[str, dict[str, float]]:
  """Returns the agent steps per second in a thread and in processes."""
  with contextlib.ExitStack() as stack:
    calls = {}
    for place in ('thread', 'processes'):
      env = registry.make(
        f'{__spec__.name}:{name}',
        num_envs,
        seed=0,
        env_processes=place == 'processes',
      )
      stack.enter_context(contextlib.closing(env))
      env.reset()
      calls[place] = lambda env=env: [
        env.step(np.zeros(num_envs, np.int32)) for _ in range(_NUM_STEPS)
      ]
    seconds = timing.interleave(calls, _ROUNDS)
  return timing.rates(seconds, _NUM_STEPS * num_envs)


def main() -> None:
  """Compares processes with a thread, for slow and fast environments."""
  num_cores = hardware.num_cores()
  with timing.recording('steps/s', 'processes', flags.FLAGS.json) as record:
    for name in ('Slow', 'Fast'):
      for num_envs in sorted({num_cores, 4 * num_cores}):
        record[f'{name}, {num_envs} environments'] = measure(name, num_envs)


if __name__ == '__main__':
  flags.DEFINE_string('json', '', 'Also writes the results to this file.')
  cli.run(main)
