"""Inputs of V-trace functions: made at random from a seed, and cut."""

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

KEYWORDS = (
  'clip_rho_threshold',
  'clip_c_threshold',
  'clip_pg_rho_threshold',
  'lambda_',
)
STEPS, BATCH = 8, 3  # They differ, so that a swap of the two axes shows.
GAMMA = 0.9  # Every discount is 0 or GAMMA, except in the property 'discounts'.
_SEEDS = range(3)
_WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
_TERMINATION_PROBABILITY = 0.1


class Case(NamedTuple):
  """The inputs of one call, time-major NumPy arrays of one dtype."""

  log_rhos: np.ndarray  # [T, B]: log w_t.
  discounts: np.ndarray  # [T, B]: gamma_t.
  rewards: np.ndarray  # [T, B]: r_t.
  values: np.ndarray  # [T, B]: V(x_t).
  bootstrap_value: np.ndarray  # [B]: V(x_T).
  settings: Mapping[str, float | None]  # Of KEYWORDS; what is left out is 1.
  details: Any = None  # What a property wants to know about its own inputs.


def random_cases(dtype: np.dtype) -> list[Case]:
  """Makes a few random cases of one shape, `[STEPS, BATCH]`."""
  return [_random_case(seed, dtype) for seed in _SEEDS]


def _random_case(seed: int, dtype: np.dtype) -> Case:
  rng = np.random.default_rng(seed)
  shape = STEPS, BATCH
  ends = rng.random(shape) < _TERMINATION_PROBABILITY
  arrays = (
    np.log(rng.choice(_WEIGHTS, shape)),
    np.where(ends, 0.0, GAMMA),
    rng.normal(size=shape).round(2),
    rng.normal(size=shape).round(2),
    rng.normal(size=shape[1:]).round(2),
  )
  return Case(*(x.astype(dtype) for x in arrays), settings={})


def arrays(case: Case) -> tuple[np.ndarray, ...]:
  """Returns the five arrays of a case, in the order of the arguments."""
  return case[:5]


def steps(case: Case, start: int, stop: int) -> Case:
  """Returns steps `start` to `stop - 1`, bootstrapped from V(x_stop)."""
  after = np.concatenate([case.values, case.bootstrap_value[None]])[stop]
  cut = (x[start:stop] for x in case[:4])
  return Case(*cut, after, case.settings, case.details)


def columns(case: Case, chosen: list[int]) -> Case:
  """Returns some columns of the batch."""
  cut = (x[..., chosen] for x in arrays(case))
  return Case(*cut, case.settings, case.details)


def without_terminations(case: Case) -> Case:
  """Returns the case with a discount of GAMMA wherever it was 0."""
  gamma = case.discounts.dtype.type(GAMMA)
  return case._replace(
    discounts=np.where(case.discounts == 0, gamma, case.discounts)
  )


def middle(case: Case) -> int:
  """Returns the step in the middle, the earlier one of two."""
  return (len(case.rewards) - 1) // 2


def replace_at(array: np.ndarray, place: Any, value: float) -> np.ndarray:
  """Returns a copy with another value at a place; the dtype stays."""
  copy = np.array(array)
  copy[place] = value
  return copy


def huge(dtype: np.dtype) -> float:
  """Returns a number that is huge, but whose products are finite."""
  return float(np.sqrt(float(jnp.finfo(dtype).max))) / 100


def with_huge_rows(case: Case, start: int) -> Case:
  """Returns the case with huge rewards and values from step `start` on."""
  value = huge(case.rewards.dtype)
  return case._replace(
    rewards=replace_at(case.rewards, slice(start, None), value),
    values=replace_at(case.values, slice(start, None), -value),
    bootstrap_value=np.full_like(case.bootstrap_value, value),
  )
