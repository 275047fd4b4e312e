"""Worker processes for environments: started clean, ended for certain.

Processes start by a fork server: forking beside JAX's threads is unsafe.
"""

import atexit
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import functools
import multiprocessing
import signal
import sys
import traceback
from typing import Any
import weakref

from gymnasium.vector import async_vector_env
from gymnasium.vector.utils import CloudpickleWrapper

from envs import factories
from envs.custom import adapter

CONTEXT = 'forkserver'
# Signals to a whole process group, such as Ctrl-C, are for the main process: it
# still needs the environments for its last steps and its checkpoint.
_IGNORED = ('SIGINT', 'SIGHUP', 'SIGUSR1')
_GRACE_SECONDS = 20  # After SIGTERM.
_END_SECONDS = 5.0  # For a process whose work is done.
_workers: weakref.WeakSet[Any] = weakref.WeakSet()


@contextlib.contextmanager
def starting() -> Iterator[None]:
  """Runs the body, whose new processes do not run the main module again.

  They do not need it, and it would load JAX into every one of them.
  """
  context = multiprocessing.get_context(CONTEXT)
  context.set_forkserver_preload(['envs.custom.processes'])
  main = sys.modules['__main__']
  hidden = {
    name: main.__dict__.pop(name)
    for name in ('__spec__', '__file__')
    if name in main.__dict__
  }
  main.__spec__ = None
  try:
    yield
  finally:
    main.__dict__.update(hidden)


def declared_by(
  recipe: adapter.Recipe, seed: int | None, timeout_seconds: float | None
) -> adapter.Declared:
  """Makes one environment in a process of its own, and closes it again.

  Returns:
    What it declares.

  Raises:
    FactoryError: if it cannot be made, in time.
  """
  context = multiprocessing.get_context(CONTEXT)
  receiving, sending = context.Pipe(duplex=False)
  make = CloudpickleWrapper(functools.partial(adapter.make, recipe, 0, seed))
  process = context.Process(target=_declare, args=(make, sending), daemon=True)
  with starting():
    _start(process, recipe.name)
  sending.close()
  try:
    if not receiving.poll(timeout_seconds):
      raise factories.FactoryError(
        f'Cannot make {recipe.name}: it took more than {timeout_seconds:g} s.'
      )
    declared = receiving.recv()
  except EOFError:
    process.join(_END_SECONDS)
    raise factories.FactoryError(
      f'Cannot make {recipe.name}: its process died '
      f'(exit status {process.exitcode}).'
    ) from None
  finally:
    end([process])
  if isinstance(declared, str):
    raise factories.FactoryError(declared)
  return declared


def work(
  index: int,
  make: Callable[[], adapter.Adapter],
  pipe: Any,
  parent_pipe: Any,
  shared_memory: Any,
  errors: Any,
  *settings: Any,
) -> None:
  """Runs Gymnasium's worker; an environment that cannot be made is an error.

  Gymnasium's own worker would die without a message.
  """
  _ignore_signals()
  try:
    env = make()
  except Exception as error:
    parent_pipe.close()
    pipe.recv()  # The first command, which this answers.
    errors.put((index, type(error), error, traceback.format_exc()))
    pipe.send((None, False))
    return
  async_vector_env._async_worker(
    index, lambda: env, pipe, parent_pipe, shared_memory, errors, *settings
  )


def end(processes: Sequence[Any]) -> None:
  """Waits for processes to end, and kills those that do not."""
  for process in processes:
    process.join(_END_SECONDS)
    if process.is_alive():
      process.kill()


def kill(processes: Sequence[Any]) -> None:
  """Kills processes, and waits until they are gone."""
  for process in processes:
    process.kill()
  for process in processes:
    process.join(_END_SECONDS)


def end_with(owner: Any, processes: Sequence[Any]) -> None:
  """Kills the processes when their owner, or this process, ends.

  At exit, Python only asks them to end, and waits.
  """
  _workers.update(processes)
  _kill_at_exit()
  weakref.finalize(owner, kill, processes).atexit = False


@functools.cache  # Registered once, after Python's own.
def _kill_at_exit() -> None:
  atexit.register(lambda: kill(list(_workers)))


def _start(process: Any, name: str) -> None:
  try:
    process.start()
  except Exception as error:  # Objects that cannot be pickled raise many kinds.
    raise factories.FactoryError(
      f'{name} cannot be sent to another process: {error!r}'
    ) from error


def _declare(make: Callable[[], adapter.Adapter], sending: Any) -> None:
  """Sends what an environment declares, or why it cannot be made."""
  _ignore_signals()
  try:
    env = make()
  except factories.FactoryError as error:
    sending.send(str(error))
    return
  sending.send(env.declared)
  sending.close()
  env.close()


def _ignore_signals() -> None:
  for name in _IGNORED:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
  # Ends the process a while later, if the main process has not by then.
  signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_SECONDS))
