"""Calls a function of any framework and layout on time-major NumPy arrays."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vtrace.conformance import cases

Array = Any  # An array of the framework of the function.
# Whether the five arrays have a time axis.
_TIMED = (True, True, True, True, False)
# What a function may lack besides the keywords in `cases.KEYWORDS`.
FEATURES = ('None', 'discounts', 'pg_advantages')


class Subject(NamedTuple):
  """A function under test, and how it is called."""

  fn: Callable[..., Any]
  to_native: Callable[[np.ndarray], Array]
  to_numpy: Callable[[Array], np.ndarray]
  time_major: bool
  ranks: tuple[int, ...]  # Of `rewards` that the function takes: 1, 2, 3.
  without: Mapping[str, Any]  # What the function lacks: its value instead.
  gradient: Callable[..., Sequence[Array]] | None


class Returned(NamedTuple):
  """What a call returned, time-major."""

  vs: np.ndarray  # [T, ...].
  pg_advantages: np.ndarray | None  # [T, ...]; None if declared missing.
  inputs: tuple[np.ndarray, ...]  # The five arrays as they are after the call.


def settings_of(
  subject: Subject, case: cases.Case
) -> dict[str, float | str | None]:
  """Returns the thresholds and lambda under which the function computes.

  A keyword that the function lacks has a fixed value, or that of another
  keyword.
  """
  found = {name: case.settings.get(name, 1.0) for name in cases.KEYWORDS}
  missing = [name for name in cases.KEYWORDS if name in subject.without]
  for name in missing:
    instead = subject.without[name]
    found[name] = found.get(instead, instead)
  return found


def lacking(subject: Subject) -> set[str]:
  """Returns the names of all that the function lacks."""
  names = set(subject.without)
  if subject.gradient is None:
    names.add('gradient')
  if subject.ranks == (1,):
    names.add('batch')
  if names >= set(cases.KEYWORDS[:3]):
    names.add('None')
  return names


def call(subject: Subject, case: cases.Case) -> Returned:
  """Returns what the function returns for a case.

  If the function has no batch axis, every column is a call of its own.

  Raises:
    TypeError: if the function returns something else than targets and
      advantages.
    ValueError: if their shape is not that of the rewards.
  """
  returned = call_unchecked(subject, case)
  for name, x in zip(Returned._fields, returned[:2]):
    if x is not None and x.shape != case.rewards.shape:
      raise ValueError(
        f'{name} has the shape {list(x.shape)}, and the rewards '
        f'{list(case.rewards.shape)}, time-major.'
      )
  return returned


def call_unchecked(subject: Subject, case: cases.Case) -> Returned:
  """Returns what the function returns, whatever its shape."""

  def run(natives, keywords):
    vs, pg_advantages = unpack(subject.fn(*natives, **keywords), subject)
    outputs = [vs] if pg_advantages is None else [vs, pg_advantages]
    return [*outputs, *natives], [*[True] * len(outputs), *_TIMED]

  outputs = _in_layout(subject, case, run)
  vs, *rest = outputs[:-5]
  return Returned(vs, rest[0] if rest else None, tuple(outputs[-5:]))


def gradients(subject: Subject, case: cases.Case) -> list[np.ndarray]:
  """Returns the gradients of targets and advantages in the five arrays."""

  def run(natives, keywords):
    found = subject.gradient(*natives, **keywords)
    return [
      subject.to_native(np.zeros(subject.to_numpy(x).shape)) if g is None else g
      for g, x in zip(found, natives, strict=True)
    ], _TIMED

  return _in_layout(subject, case, run)


def unpack(returned: Any, subject: Subject) -> tuple[Array, Array | None]:
  """Returns (vs, pg_advantages) of an object, a mapping or a pair."""
  vs, rest = _split(returned)
  if 'pg_advantages' in subject.without:
    return vs, None
  if vs is None or len(rest) != 1:
    raise TypeError('The function should return (vs, pg_advantages).')
  return vs, rest[0]


def _split(returned: Any) -> tuple[Array, list[Array]]:
  """Returns the targets, and a list of what there is besides them.

  Of an object or a mapping that is at most `pg_advantages`.
  """
  if isinstance(returned, Mapping):
    vs, *rest = returned.get('vs'), returned.get('pg_advantages')
  elif hasattr(returned, 'vs'):
    vs, *rest = returned.vs, getattr(returned, 'pg_advantages', None)
  elif isinstance(returned, tuple | list):
    vs, *rest = returned
  else:
    vs, rest = returned, []
  return vs, [x for x in rest if x is not None]


def jax_gradient(fn: Callable[..., Any]) -> Callable[..., Sequence[Array]]:
  """Returns the `gradient` adapter of a JAX function, by `jax.grad`.

  Args:
    fn: returns (vs, pg_advantages), or an object or mapping with these names.

  Returns:
    A function of the arguments of `fn`. It returns the gradients of
    sum(vs) + 3 sum(pg_advantages) in the first five of them.
  """

  def total(arrays, keywords):
    vs, rest = _split(fn(*arrays, **keywords))
    # Factors that differ: two gradients do not cancel each other.
    return jnp.sum(vs) + 3 * sum(jnp.sum(x) for x in rest)

  def gradient(*arrays, **keywords):
    return jax.grad(total)(arrays, keywords)

  return gradient


def _in_layout(subject: Subject, case: cases.Case, run: Any) -> list:
  """Calls `run` on arrays of a rank and a layout that the function takes."""
  rank = case.rewards.ndim
  if rank in subject.ranks:
    return _run_native(subject, case, run)
  if rank == 2 and 1 in subject.ranks:
    singles = [
      cases.columns(case, column) for column in range(case.rewards.shape[1])
    ]
    results = [_run_native(subject, single, run) for single in singles]
    return [np.stack(found, axis=-1) for found in zip(*results)]
  expanded = cases.Case(
    *(x[..., None] for x in cases.arrays(case)), settings=case.settings
  )
  return [x[..., 0] for x in _run_native(subject, expanded, run)]


def _run_native(subject: Subject, case: cases.Case, run: Any) -> list:
  keywords = {
    name: value
    for name, value in settings_of(subject, case).items()
    if name not in subject.without
  }
  # Copies: what the function writes into its inputs stays with this call.
  natives = [
    subject.to_native(np.array(_swap(subject, x, timed), order='C'))
    for x, timed in zip(cases.arrays(case), _TIMED)
  ]
  found, timed = run(natives, keywords)
  return [
    _swap(subject, np.array(subject.to_numpy(x)), has_time)
    for x, has_time in zip(found, timed)
  ]


def _swap(subject: Subject, x: np.ndarray, has_time: bool) -> np.ndarray:
  """Converts between the layout of the function and time-major."""
  if subject.time_major or not has_time or x.ndim < 2:
    return x
  return np.swapaxes(x, 0, 1)
