"""SIGINT and SIGTERM end a run in order: checkpoint, close, exit."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import signal
import threading

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):  # noqa: N818
  """The run was asked to stop, and did; its checkpoint is written."""

  def __init__(self, signum: int):
    super().__init__(signal.Signals(signum).name)
    self.signum = signum


@contextlib.contextmanager
def on_signal(stop: Callable[[], None]) -> Iterator[None]:
  """Calls `stop` on the first signal; the next one finds the old handlers.

  So a second Ctrl-C interrupts at once. Python hears signals in its main thread
  alone; elsewhere nothing changes.

  Raises:
    Stopped: on leaving without another exception, if a signal came.
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
    raise Stopped(received[0])
