"""Graceful shutdown on SIGINT and SIGTERM: checkpoint, close, exit."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import pathlib
import signal
import threading

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818
  """The run stopped after a signal; the message says how to resume it."""

  def __init__(self, signum: int, logdir: pathlib.Path):
    super().__init__(
      f'Stopped by {signal.Signals(signum).name}: a checkpoint is written. To '
      f'resume, run: python -m experiments.train --logdir={logdir}'
    )
    self.signum = signum


@contextlib.contextmanager
def on_signal(stop: Callable[[], None], logdir: pathlib.Path) -> Iterator[None]:
  """Runs the body; calls `stop` on the first SIGINT or SIGTERM.

  The first signal also restores the previous handlers, so a second Ctrl-C
  interrupts immediately. Python delivers signals to its main thread only; in
  another thread the handlers are left unchanged.

  Args:
    stop: ends the body.
    logdir: the log directory of the run, for the message.

  Raises:
    Stopped: on leaving, if a signal was received and the body did not raise.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  received = []
  old = {signum: signal.getsignal(signum) for signum in _SIGNALS}

  def restore():
    for signum, handler in old.items():
      signal.signal(signum, handler)

  def handle(signum, frame):
    del frame
    received.append(signum)
    restore()
    stop()

  for signum in _SIGNALS:
    signal.signal(signum, handle)
  try:
    yield
  finally:
    restore()
  if received:
    raise Stopped(received[0], logdir)
