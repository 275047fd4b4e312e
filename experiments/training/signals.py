"""Graceful shutdown on a signal: checkpoint, close, exit."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import pathlib
import shlex
import signal
import threading
from typing import Any

# Ctrl-C, the default of `kill`, a closed terminal, and what schedulers of
# clusters send before they take a machine away.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Stopped(Exception):  # noqa: N818
  """The run stopped after a signal; the message says how to resume it."""

  def __init__(self, signum: int, logdir: pathlib.Path, result: Any = None):
    """Initializes the exception.

    Args:
      signum: the signal.
      logdir: the log directory of the run, for the message.
      result: of the run so far.
    """
    super().__init__(
      f'Stopped by {signal.Signals(signum).name}: a checkpoint is written. To '
      'resume, run: python -m experiments.train '
      f'--logdir={shlex.quote(str(logdir))}'
    )
    self.signum = signum
    self.result = result


class Stop:
  """A request to stop, which may come before there is something to stop."""

  def __init__(self):
    self.signum: int | None = None  # Of the first signal that was received.
    self.result: Any = None  # Of the run so far, for `Stopped`.
    self._action: Callable[[], None] = lambda: None

  def calls(self, action: Callable[[], None]) -> None:
    """Sets what the signal calls; calls it now if it was received before."""
    self._action = action
    if self.signum is not None:
      action()

  def receive(self, signum: int) -> None:
    """Stores the first signal and calls the action; ignores later ones."""
    if self.signum is None:
      self.signum = signum
      self._action()


@contextlib.contextmanager
def on_signal(logdir: pathlib.Path) -> Iterator[Stop]:
  """Runs the body, which a signal asks to stop.

  The first signal also restores the previous handler of SIGINT, so a second
  Ctrl-C interrupts immediately. Other signals that follow change nothing: the
  shell and the kernel both send SIGHUP when a terminal is closed, and SIGTERM
  may follow SIGUSR1. A SIGHUP that is ignored, as under nohup, stays ignored.
  Python delivers signals to its main thread only; in another thread the
  handlers are left unchanged.

  Args:
    logdir: the log directory of the run, for the message.

  Yields:
    The request; the body sets what it calls.

  Raises:
    Stopped: on leaving, if a signal was received and the body did not raise.
  """
  stop = Stop()
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return
  old = {signum: signal.getsignal(signum) for signum in _SIGNALS}
  if old[signal.SIGHUP] is signal.SIG_IGN:
    del old[signal.SIGHUP]

  def restore():
    for signum, handler in old.items():
      signal.signal(signum, handler)

  def handle(signum, frame):
    del frame
    signal.signal(signal.SIGINT, old[signal.SIGINT])
    stop.receive(signum)

  for signum in old:
    signal.signal(signum, handle)
  try:
    yield stop
  finally:
    restore()
  if stop.signum is not None:
    raise Stopped(stop.signum, logdir, stop.result)
