"""Results of the checks: passed, failed, or not seen."""

from typing import NamedTuple

import numpy as np

from experiments.checking import comparisons

PASS, FAIL, NOT_SEEN = 'pass', 'FAIL', 'not seen'

# Between what is computed twice, in batches of other shapes; relative.
_ROUNDING = {'f32': 5e-3, 'bf16': 0.1}
_EXACT = 1e-6


class Check(NamedTuple):
  """What is checked."""

  says: str
  is_rounded: bool = False  # Whether it allows for rounding.


CHECKS = {
  'conventions': Check('the environment keeps its specs and the conventions'),
  'seed': Check('a seed decides everything in the environment'),
  'observations': Check('what was observed arrives as it was'),
  'step types': Check('episodes begin and end where they did'),
  'actions': Check('a row has the action that led to it'),
  'rewards': Check('step t has the reward that followed action t'),
  'discounts': Check('step t has the discount that followed action t'),
  'resets': Check('the step from one episode to the next weighs nothing'),
  'terminations': Check('what ends for good is bootstrapped with 0', True),
  'truncations': Check('what is cut off, with V of its last row', True),
  'loss': Check("the update's loss is that of the whole batch", True),
  'targets': Check('targets are those of equation 1', True),
  'advantages': Check('grad log pi is weighed with r + gamma v - V', True),
  'weights': Check('without a lag every importance weight is 1', True),
  'behaviour': Check('log mu stays that of the policy that acted', True),
  'core goes on': Check('an unroll enters with the core of the last', True),
  'core begins anew': Check('a new episode knows nothing of the last', True),
  'episode returns': Check('returns are the sums of the rewards'),
  'frames': Check('frames are counted as they were played'),
}
_BEFORE = ('conventions', 'seed')  # Of the environment alone.


class Result(NamedTuple):
  """What came of one check."""

  status: str  # PASS, FAIL or NOT_SEEN.
  name: str
  evidence: str


class Tally:
  """The deviations seen so far, by check."""

  def __init__(self, precision: str):
    self._rounding = _ROUNDING[precision]
    self._counts: dict[str, int] = {}
    self._worst: dict[str, tuple[float, str]] = {}

  def add(self, deviations: comparisons.Deviations, where: str) -> None:
    """Counts them, and remembers the worst."""
    for name, apart in deviations.items():
      self._counts[name] = self._counts.get(name, 0) + apart.size
      if not apart.size:
        continue
      # What is not a number is as wrong as can be.
      apart = np.where(np.isnan(apart), np.inf, apart)
      place = np.unravel_index(np.argmax(apart), apart.shape)
      if apart[place] > self._worst.get(name, (0.0, ''))[0]:
        names = ('step', 'environment') if apart.ndim == 2 else ('number',)
        words = (f'{n} {i}' for n, i in zip(names, place))
        self._worst[name] = float(apart[place]), ', '.join([where, *words])

  def count(self, name: str) -> int:
    """How many were compared."""
    return self._counts.get(name, 0)

  def results(self) -> list[Result]:
    """Of all that was added."""
    return [self._result(name) for name in CHECKS if name not in _BEFORE]

  def _result(self, name: str) -> Result:
    if not self.count(name):
      return Result(NOT_SEEN, name, '')
    worst, where = self._worst.get(name, (0.0, ''))
    compared = f'{self.count(name):,} compared'
    if worst > (self._rounding if CHECKS[name].is_rounded else _EXACT):
      return Result(FAIL, name, f'{compared}, off by {worst:.3g} at {where}')
    apart = f'within {worst:.1g}' if worst else 'equal'
    return Result(PASS, name, f'{compared}, {apart}')


def conventions_result(faults: list[str], num_steps: int = 0) -> Result:
  """Returns the result for the faults that a recording environment found."""
  if faults:
    return Result(FAIL, 'conventions', faults[0])
  return Result(PASS, 'conventions', f'{num_steps:,} steps')


def seed_result(same: bool, another_differs: bool) -> Result:
  """Returns the result of two plays of one seed, and one of another."""
  if not same:
    return Result(FAIL, 'seed', 'two plays of one seed differ')
  another = 'plays otherwise' if another_differs else 'changes nothing'
  return Result(PASS, 'seed', f'another seed {another}')
