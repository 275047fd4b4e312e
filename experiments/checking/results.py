"""The table of checks, and their results: pass, FAIL, differs or not seen."""

from typing import NamedTuple

import numpy as np

from experiments.checking import comparisons

PASS, FAIL, NOT_SEEN = 'pass', 'FAIL', 'not seen'
DIFFERS = 'differs'  # From the paper's loss: a custom loss may do so.

# Relative tolerance between two computations in batches of different shapes.
_ROUNDING = {'f32': 5e-3, 'bf16': 0.1}
_EXACT = 1e-6


class Check(NamedTuple):
  """A row of the table of checks."""

  description: str  # The expected behaviour, at most 53 characters.
  is_rounded: bool = False  # Whether `_ROUNDING` is the tolerance.


CHECKS = {
  'conventions': Check('environments obey their specs and the conventions'),
  'seed': Check('the seed fully determines the environment'),
  'observations': Check('observations reach the learner unchanged'),
  'step types': Check('step types are those of the environment'),
  'actions': Check('each row has the action that led to it'),
  'rewards': Check('step t has the reward that followed action t'),
  'discounts': Check('step t has the discount that followed action t'),
  'resets': Check('steps across a reset have weight 0 in the loss'),
  'terminations': Check('terminations bootstrap with 0', True),
  'truncations': Check(
    'truncations bootstrap with V of the last observation', True
  ),
  'loss': Check('the reported loss is that of the whole batch', True),
  'targets': Check('value targets are those of equation 1', True),
  'advantages': Check('grad log pi is weighted by r + gamma v - V', True),
  'weights': Check('importance weights are 1 without policy lag', True),
  'behaviour': Check('log mu is recorded by the actor, not recomputed', True),
  'core state carried': Check(
    'the core state passes from unroll to unroll', True
  ),
  'core state reset': Check(
    'the core state is reset when an episode starts', True
  ),
  'episode returns': Check('episode returns are sums of rewards'),
  'frames': Check('the frame count matches the environment steps'),
}
# What no check can see, because only the author of the environment knows it.
BLIND = (
  'Not checked: the environment itself. No comparison shows rewards doubled by '
  'its\nauthor, observations late by a step, or a time limit reported as a '
  'termination.'
)
# A custom loss decides about these.
_OF_THE_LOSS = ('terminations', 'truncations', 'targets', 'advantages')
_ENV_ONLY = ('conventions', 'seed')  # Checked without an agent.


class Result(NamedTuple):
  """The result of one check."""

  status: str  # PASS, FAIL, DIFFERS or NOT_SEEN.
  name: str
  evidence: str  # How much was compared, and the largest deviation.


class Tally:
  """The largest deviation so far of every check."""

  def __init__(self, precision: str, custom_loss: bool = False):
    self._rounding = _ROUNDING[precision]
    self._may_differ = _OF_THE_LOSS if custom_loss else ()
    self._counts: dict[str, int] = {}
    self._worst: dict[str, tuple[float, str]] = {}

  def add(self, deviations: comparisons.Deviations, where: str) -> None:
    """Adds the deviations of one batch; `where` names it in the evidence."""
    for name, deviation in deviations.items():
      self._counts[name] = self._counts.get(name, 0) + deviation.size
      if not deviation.size:
        continue
      # NaN counts as the largest deviation.
      deviation = np.where(np.isnan(deviation), np.inf, deviation)
      place = np.unravel_index(np.argmax(deviation), deviation.shape)
      if deviation[place] > self._worst.get(name, (0.0, ''))[0]:
        is_2d = deviation.ndim == 2
        names = ('step', 'environment') if is_2d else ('number',)
        words = (f'{n} {i}' for n, i in zip(names, place))
        location = ', '.join([where, *words])
        self._worst[name] = float(deviation[place]), location

  def count(self, name: str) -> int:
    """Returns the number of values compared so far by the check `name`."""
    return self._counts.get(name, 0)

  def results(self) -> list[Result]:
    """Returns the results of all checks but those without an agent."""
    return [self._result(name) for name in CHECKS if name not in _ENV_ONLY]

  def _result(self, name: str) -> Result:
    if not self.count(name):
      return Result(NOT_SEEN, name, '')
    worst, where = self._worst.get(name, (0.0, ''))
    compared = f'{self.count(name):,} compared'
    if worst > (self._rounding if CHECKS[name].is_rounded else _EXACT):
      status = DIFFERS if name in self._may_differ else FAIL
      return Result(status, name, f'{compared}, off by {worst:.3g} at {where}')
    agreement = f'within {worst:.1g}' if worst else 'equal'
    return Result(PASS, name, f'{compared}, {agreement}')


def conventions_result(faults: list[str], num_steps: int = 0) -> Result:
  """Returns the result for the faults that a recording environment found."""
  if faults:
    return Result(FAIL, 'conventions', faults[0])
  return Result(PASS, 'conventions', f'{num_steps:,} steps')


def seed_result(same: bool, another_differs: bool) -> Result:
  """Returns the result for the values of `recording_env.is_repeatable`."""
  if not same:
    return Result(FAIL, 'seed', 'two plays with one seed differ')
  another = 'differs' if another_differs else 'does not differ'
  return Result(PASS, 'seed', f'a play with another seed {another}')
