"""Closes environments within a deadline, whatever they do.

Results, and the first error of a run, must not depend on how a simulator ends.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import threading
import time
from typing import Any

from absl import logging

CLOSE_SECONDS = 10.0  # All environments of a run together.


def close_all(envs: Sequence[Any]) -> None:
  """Closes batches of environments at the same time; raises nothing.

  Logs an error for each that raises, or that is not closed in `CLOSE_SECONDS`.
  """
  threads = [
    threading.Thread(target=_close, args=(env,), daemon=True) for env in envs
  ]
  for thread in threads:
    thread.start()
  deadline = time.monotonic() + CLOSE_SECONDS
  for thread, env in zip(threads, envs, strict=True):
    thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
      logging.error(
        'Closing %s takes more than %g s: it stays open.',
        _name(env),
        CLOSE_SECONDS,
      )


@contextlib.contextmanager
def closing(env: Any) -> Iterator[Any]:
  """Yields a batch of environments and closes it as `close_all` does."""
  try:
    yield env
  finally:
    close_all([env])


def _close(env: Any) -> None:
  try:
    env.close()
  except Exception as error:  # Whatever a simulator raises.
    logging.error('Closing %s failed: %r', _name(env), error)


def _name(env: Any) -> str:
  return getattr(env, 'name', type(env).__name__)
