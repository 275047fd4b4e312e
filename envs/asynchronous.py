"""Copies of an environment that step at the same time, in a process each."""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import multiprocessing
import time
from typing import Any

import gymnasium
import numpy as np

from envs import adapter
from envs import factories
from envs import processes
from envs import spaces

_DEAD_SECONDS = 1.0  # From a closed pipe to an exit status.


class Asynchronous:
  """Gymnasium's `AsyncVectorEnv` of adapted environments.

  One more environment is made and closed, in a process of its own and without a
  seed if the factory can do without: it tells what the others will be like.
  """

  def __init__(
    self,
    recipe: adapter.Recipe,
    seeds: Sequence[int],
    unseeded: bool,
    *,
    make_seconds: float | None,
    step_seconds: float | None,
  ):
    """Starts a process for each environment.

    Args:
      recipe: how to make an environment.
      seeds: one for each.
      unseeded: whether the factory can be called without a seed.
      make_seconds: the deadline for an environment to be made.
      step_seconds: the deadline for all environments to answer.

    Raises:
      FactoryError: if the first one cannot be made.
    """
    self._name, self._step_seconds = recipe.name, step_seconds
    self.declared = processes.declared_by(
      recipe, None if unseeded else seeds[0], make_seconds
    )
    # Gymnasium makes the first one in this process, too: it gets the spaces.
    spaces_only = _Spaces(self.declared)
    with processes.starting():
      vector = _Vector(
        [_Copy(spaces_only, recipe, i, seed) for i, seed in enumerate(seeds)],
        context=processes.CONTEXT,
        worker=processes.work,
        autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP,
      )
    self._vector = vector
    processes.end_with(self, vector.processes)

  def check(self) -> None:
    """Waits until all environments are made.

    Raises:
      FactoryError: if one cannot be made, or differs from the others.
    """
    self._wait(self._vector._check_spaces)
    for i, declared in enumerate(self._wait(self._vector.call, 'declared')):
      adapter.check_agree(self._name, declared, self.declared, i)

  def reset(self) -> Any:
    """Resets all environments."""
    self._vector.reset_async()
    return self._wait(self._vector.reset_wait, self._step_seconds)

  def step(self, actions: np.ndarray) -> Any:
    """Steps all environments."""
    self._wait(self._vector.step_async, actions)
    return self._wait(self._vector.step_wait, self._step_seconds)

  def render(self, index: int) -> np.ndarray:
    """Returns the image of an environment."""
    self._vector.call_async('render')
    return self._wait(self._vector.call_wait, self._step_seconds)[index]

  def late(self) -> list[int]:
    """Returns the indices of the environments that do not answer."""
    pipes = enumerate(self._vector.parent_pipes)
    return [i for i, pipe in pipes if pipe and not pipe.poll(0)]

  def close(self) -> None:
    """Closes all environments and waits for their processes to end."""
    self._vector.close()

  def kill(self) -> None:
    """Kills all processes."""
    processes.kill(self._vector.processes)
    self._vector.closed = True

  def _wait(self, function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function that waits for the processes; names those that fail."""
    try:
      return function(*args)
    except multiprocessing.TimeoutError:
      raise factories.FactoryError(
        f'{_these(self._name, self.late())} did not answer within '
        f'{self._step_seconds:g} s.'
      ) from None
    except (EOFError, OSError) as error:
      raise factories.FactoryError(self._dead()) from error

  def _dead(self) -> str:
    """Returns which processes died."""
    deadline = time.monotonic() + _DEAD_SECONDS
    workers = self._vector.processes
    while all(p.is_alive() for p in workers) and time.monotonic() < deadline:
      time.sleep(0.01)
    dead = [i for i, p in enumerate(workers) if not p.is_alive()]
    codes = ', '.join(str(workers[i].exitcode) for i in dead)
    return f'{_these(self._name, dead)} died (exit status {codes}).'


class _Vector(gymnasium.vector.AsyncVectorEnv):
  """An `AsyncVectorEnv` whose constructor does not wait for its processes."""

  _checked = False

  def _check_spaces(self) -> None:
    if self._checked:
      super()._check_spaces()
    self._checked = True


class _Spaces(gymnasium.Env):
  """The spaces of an environment, and nothing else."""

  def __init__(self, declared: adapter.Declared):
    self.observation_space = spaces.batchable(declared.observation)
    self.action_space = spaces.action_space(declared.action)


class _Copy:
  """Called here, returns the spaces; in another process, makes a copy."""

  def __init__(self, here: _Spaces, *how: Any):
    self._here, self._how = here, how

  def __call__(self) -> _Spaces:
    return self._here

  def __reduce__(self) -> Any:
    return functools.partial, (adapter.make, *self._how)


def _these(name: str, indices: list[int]) -> str:
  numbers = ', '.join(map(str, indices)) or 'unknown'
  return f'{name}, environment {numbers},'
