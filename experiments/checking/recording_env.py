"""An environment that is watched: what it was told and what it answered.

It knows nothing of trajectories: what it remembers is held against what reaches
the learner. Observations are remembered by their checksums.
"""

import collections
from collections.abc import Callable
from typing import Any
from typing import NamedTuple
import zlib

import dm_env
import jax
import numpy as np

from envs import environment

_KEPT = 64  # Timesteps that are looked at again.
FIRST, LAST = dm_env.StepType.FIRST, dm_env.StepType.LAST


class Record(NamedTuple):
  """One step of a batch of environments, `[B]` each."""

  action: np.ndarray  # What led here; of a reset, zeros.
  step_type: np.ndarray
  reward: np.ndarray
  discount: np.ndarray
  checksum: np.ndarray  # Of each observation.


class RecordingEnv:
  """Any `environment.Environment`, and the records of all its steps."""

  def __init__(self, env: environment.Environment):
    self._env = env
    self.num_envs = env.num_envs
    self.frames_per_step = env.frames_per_step
    self.num_stacked = env.num_stacked
    self.observation_spec = env.observation_spec
    self.action_spec = env.action_spec
    self.close = env.close
    self.records: list[Record] = []
    self.faults: list[str] = []  # Of the conventions of `Environment`.
    self._kept = collections.deque(maxlen=_KEPT)

  def reset(self) -> dm_env.TimeStep:
    """The environment's, recorded."""
    return self._note(np.zeros(self.num_envs, np.int32), self._env.reset())

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """The environment's, recorded."""
    return self._note(np.array(actions), self._env.step(actions))

  def get_state(self) -> None:
    """None: what is watched plays on."""

  def _note(
    self, actions: np.ndarray, timestep: dm_env.TimeStep
  ) -> dm_env.TimeStep:
    record = Record(
      actions,
      np.array(timestep.step_type),
      np.array(timestep.reward),
      np.array(timestep.discount),
      checksums(timestep.observation),
    )
    self._check(timestep, record)
    self._check_oldest_kept()
    self._kept.append((timestep.observation, record.checksum))
    self.records.append(record)
    return timestep

  def _check(self, timestep: dm_env.TimeStep, record: Record) -> None:
    """Notes what is not as it should be."""
    first = record.step_type == FIRST
    begins = (
      self.records[-1].step_type == LAST
      if self.records
      else np.ones_like(first)
    )
    shapes = {x.shape for x in record[1:4]}
    self._demand(
      shapes == {(self.num_envs,)}, 'not one number for each environment'
    )
    self._demand(
      np.isin(record.step_type, [*dm_env.StepType]).all(), 'unknown step types'
    )
    self._demand((first == begins).all(), 'FIRST does not follow LAST alone')
    self._demand(np.isfinite(record.reward).all(), 'rewards are not finite')
    self._demand((record.reward[first] == 0).all(), 'FIRST has a reward')
    self._demand(
      ((record.discount >= 0) & (record.discount <= 1)).all(),
      'discounts outside [0, 1]',
    )
    fault = spec_fault(timestep.observation, self.observation_spec())
    self._demand(not fault, fault)

  def _check_oldest_kept(self) -> None:
    if len(self._kept) == _KEPT:
      observation, before = self._kept[0]
      same = (checksums(observation) == before).all()
      self._demand(same, 'an observation was overwritten after it was given')

  def _demand(self, holds: Any, fault: str) -> None:
    if not holds:
      self.faults.append(f'{fault} at step {len(self.records)}')


def checksums(observation: Any) -> np.ndarray:
  """Of each observation, `[B]`; observations: arrays `[B, ...]`, nested."""
  leaves = [
    # As the device holds them: numbers of 64 bits have 32 there.
    np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
    for leaf in jax.tree.leaves(observation)
  ]
  sums = []
  for i in range(len(leaves[0])):
    total = 0
    for leaf in leaves:
      total = zlib.crc32(np.ascontiguousarray(leaf[i]), total)
    sums.append(total)
  return np.array(sums)


def spec_fault(observation: Any, spec: Any) -> str:
  """What is wrong with observations `[B, ...]`; empty if nothing is."""
  specs, structure = jax.tree.flatten(spec)
  if jax.tree.structure(observation) != structure:
    return 'observations are not nested as their spec is'
  for leaf, of_one in zip(jax.tree.leaves(observation), specs, strict=True):
    if leaf.shape[1:] != of_one.shape or leaf.dtype != of_one.dtype:
      return (
        f'observations are {leaf.dtype}{list(leaf.shape[1:])}, their spec is '
        f'{of_one.dtype}{list(of_one.shape)}'
      )
    bounded = isinstance(of_one, dm_env.specs.BoundedArray)
    if bounded and not _within(leaf, of_one):
      return 'observations are outside the bounds of their spec'
  return ''


def _within(xs: np.ndarray, spec: dm_env.specs.BoundedArray) -> bool:
  return bool(((xs >= spec.minimum) & (xs <= spec.maximum)).all())


def episode_returns(records: list[Record]) -> list[list[float]]:
  """The sums of rewards of whole episodes, environment by environment."""
  ended = []
  for i in range(len(records[0].reward)):
    returns, total = [], 0.0
    for record in records:
      total = 0.0 if record.step_type[i] == FIRST else total
      total += float(record.reward[i])
      if record.step_type[i] == LAST:
        returns.append(total)
    ended.append(returns)
  return ended


def play(env: environment.Environment, num_steps: int) -> list[dm_env.TimeStep]:
  """What an environment answers to random actions, the same at every call."""
  rng = np.random.default_rng(0)
  number = env.action_spec().num_values
  timesteps = [env.reset()]
  for _ in range(num_steps):
    actions = rng.integers(number, size=env.num_envs, dtype=np.int32)
    timesteps.append(env.step(actions))
  return timesteps


def is_repeatable(
  make: Callable[[int], environment.Environment], num_steps: int
) -> tuple[bool, bool]:
  """Whether a seed decides everything; and whether another one changes any.

  Args:
    make: makes the environment of a seed.
    num_steps: that are played.
  """

  def played(seed):
    env = make(seed)
    timesteps = play(env, num_steps)
    env.close()
    return [(*t[:3], checksums(t.observation)) for t in timesteps]

  def same(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)

  one = played(1)
  return same(one, played(1)), not same(one, played(2))
