"""Copies of an environment that step at the same time, in a process each."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import contextlib
import functools
import multiprocessing
import time
from typing import Any

import gymnasium
from gymnasium.vector import async_vector_env
import numpy as np

from envs import factories
from envs.custom import adapter
from envs.custom import processes
from envs.custom import spaces

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
    """Finds out what the environments declare; `start` makes them.

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
    self._recipe, self._seeds, self._vector = recipe, seeds, None
    self._silent = False  # A process died or was late.

  def start(self) -> None:
    """Starts a process for each environment; waits until all are made.

    Raises:
      FactoryError: if one cannot be made, or differs from the others.
    """
    # Gymnasium makes the first one in this process, too: it gets the spaces.
    here = _Spaces(self.declared)
    numbered = enumerate(self._seeds)
    with contextlib.ExitStack() as stack:
      stack.enter_context(processes.starting())

      def started(vector):
        self._vector = vector
        processes.end_with(self, vector.processes)
        stack.close()

      make = lambda: _Vector(
        started,
        [_Copy(here, self._recipe, i, seed) for i, seed in numbered],
        context=processes.CONTEXT,
        worker=processes.work,
        autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP,
      )
      self._wait(make)
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
    pipes = enumerate(self._vector.parent_pipes if self._vector else [])
    return [i for i, pipe in pipes if pipe and not pipe.poll(0)]

  def close(self) -> None:
    """Closes all environments and waits for their processes to end.

    Kills them if one of them did not answer.
    """
    if self._silent:
      self.kill()
    else:
      self._vector.close()
      self._vector.error_queue = None  # Frees its semaphores before the exit.

  def kill(self) -> None:
    """Kills all processes."""
    if self._vector is not None:
      processes.kill(self._vector.processes)
      self._vector.closed = True
      self._vector.error_queue = None

  def _wait(self, function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function that waits for the processes; names those that fail."""
    try:
      return function(*args)
    except multiprocessing.TimeoutError:
      self._silent = True
      raise factories.FactoryError(
        f'{_these(self._name, self.late())} did not answer within '
        f'{self._step_seconds:g} s.'
      ) from None
    except (EOFError, OSError) as error:
      if self._vector is None:
        raise
      self._silent = True
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
  """An `AsyncVectorEnv` that is known before its environments are made."""

  def __init__(self, started: Callable[[Any], None], *args: Any, **kwargs: Any):
    """Calls `started` with this object once all processes are started."""
    self._started = started
    super().__init__(*args, **kwargs)

  def _check_spaces(self) -> None:
    self._started(self)
    super()._check_spaces()

  def _raise_if_errors(self, successes: Iterable[bool]) -> None:
    """Raises the first environment's error, with the trace of its process."""
    failed = [self.error_queue.get() for success in successes if not success]
    for index, *_ in failed:
      self.parent_pipes[index].close()
      self.parent_pipes[index] = None
    if failed:
      self._state = async_vector_env.AsyncState.DEFAULT
      _, _, error, trace = min(failed, key=lambda failure: failure[0])
      error.add_note(trace)
      raise error


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
  return f'{name}, {factories.numbered(indices)},'
