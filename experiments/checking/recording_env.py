"""An environment wrapper that records actions and timesteps.

The pipeline check compares the records with the batches of the learner.
Observations are recorded as checksums.
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
from envs.custom import leaves

_RECHECK_STEPS = 64  # An observation is checked again after so many steps.
FIRST, LAST = dm_env.StepType.FIRST, dm_env.StepType.LAST


class Record(NamedTuple):
  """One step of a batch of environments; every field is `[B]`."""

  action: np.ndarray  # The action that led here; zeros after `reset()`.
  step_type: np.ndarray
  reward: np.ndarray
  discount: np.ndarray
  checksum: np.ndarray  # CRC-32 of each observation.


class RecordingEnv:
  """Wraps any `environment.Environment` and records all its steps."""

  def __init__(self, env: environment.Environment):
    self._env = env
    self.num_envs = env.num_envs
    self.frames_per_step = env.frames_per_step
    self.num_stacked = env.num_stacked
    self.observation_spec = env.observation_spec
    self.action_spec = env.action_spec
    self.close = env.close
    self.records: list[Record] = []
    self.faults: list[str] = []  # Violated conventions of `Environment`.
    self._kept = collections.deque(maxlen=_RECHECK_STEPS)

  def reset(self) -> dm_env.TimeStep:
    """Resets the environments and records the timestep."""
    return self._record(np.zeros(self.num_envs, np.int32), self._env.reset())

  def step(self, actions: np.ndarray) -> dm_env.TimeStep:
    """Steps the environments and records the actions and the timestep."""
    return self._record(np.array(actions), self._env.step(actions))

  def get_state(self) -> None:
    """Returns None: its state cannot be saved."""

  def _record(
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
    """Adds violations of the conventions of `Environment` to `faults`."""
    first = record.step_type == FIRST
    must_be_first = (
      self.records[-1].step_type == LAST
      if self.records
      else np.ones_like(first)
    )
    shapes = {x.shape for x in record[1:4]}
    self._demand(
      shapes == {(self.num_envs,)},
      'step_type, reward or discount is not of shape [num_envs]',
    )
    self._demand(
      np.isin(record.step_type, [*dm_env.StepType]).all(), 'unknown step types'
    )
    self._demand(
      (first == must_be_first).all(),
      'FIRST without LAST before it, or LAST without FIRST after it',
    )
    self._demand(np.isfinite(record.reward).all(), 'rewards are not finite')
    self._demand((record.reward[first] == 0).all(), 'FIRST has a reward')
    self._demand(
      ((record.discount >= 0) & (record.discount <= 1)).all(),
      'discounts outside [0, 1]',
    )
    fault = spec_fault(timestep.observation, self.observation_spec())
    self._demand(not fault, fault)
    given = getattr(self._env, 'checksums', None)
    if given is not None:  # Of what a custom environment gave.
      values = values_checksums(timestep.observation, self.num_envs)
      self._demand(
        (values == given).all(),
        'observations are not what the environment gave',
      )

  def _check_oldest_kept(self) -> None:
    if len(self._kept) == _RECHECK_STEPS:
      observation, before = self._kept[0]
      same = (checksums(observation) == before).all()
      self._demand(same, 'an observation was overwritten after it was returned')

  def _demand(self, holds: Any, fault: str) -> None:
    if not holds:
      self.faults.append(f'{fault} at step {len(self.records)}')


def checksums(observation: Any) -> np.ndarray:
  """Returns the CRC-32 of each observation, `[B]`.

  Args:
    observation: a pytree of arrays `[B, ...]`.
  """
  leaves = [
    # JAX stores 64-bit numbers in 32 bits on the device.
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


def values_checksums(observation: Any, num_envs: int) -> np.ndarray:
  """Returns the sums of the values of each observation `[B, ...]`, `[B]`.

  They equal those of the numbers that the environment gave, whatever their
  dtypes: see `leaves.values_checksum`.
  """
  each = lambda i: jax.tree.map(lambda x: x[i], observation)
  return np.array([leaves.values_checksum(each(i)) for i in range(num_envs)])


def spec_fault(observation: Any, spec: Any) -> str:
  """Returns how observations `[B, ...]` violate their spec, or ''."""
  specs, structure = jax.tree.flatten(spec)
  if jax.tree.structure(observation) != structure:
    return 'observations do not have the tree structure of their spec'
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
  """Returns the sums of rewards of complete episodes, by environment."""
  returns_by_env = []
  for i in range(len(records[0].reward)):
    returns, total = [], 0.0
    for record in records:
      total = 0.0 if record.step_type[i] == FIRST else total
      total += float(record.reward[i])
      if record.step_type[i] == LAST:
        returns.append(total)
    returns_by_env.append(returns)
  return returns_by_env


def play(env: environment.Environment, num_steps: int) -> list[dm_env.TimeStep]:
  """Plays random actions, the same in every call; returns the timesteps.

  There are `num_steps` + 1 timesteps; the first one is that of the reset.
  """
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
  """Checks whether an environment is reproducible and depends on its seed.

  Args:
    make: makes the environment for a seed.
    num_steps: the number of random steps to play with each environment.

  Returns:
    (whether two plays with one seed are equal, whether a play with another seed
    differs from them).
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
