"""How the process of a command ends: by Ctrl-C, with lost output, at once.

Only modules of Python itself are imported here, because this module must be
ready before the others are imported, which takes seconds.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import errno
import os
import signal
import sys
import threading
from typing import Any

INTERRUPTED = 128 + signal.SIGINT  # The exit status after Ctrl-C.
# After Ctrl-C, a command has this long to close its files and environments.
_GRACE_SECONDS = 30.0
_GONE = (errno.EPIPE, errno.EIO)  # The reader or the terminal has gone.


def prepare() -> None:
  """Prepares the process for the import of modules.

  Opens closed streams. Makes Ctrl-C end the process at once: a
  KeyboardInterrupt may crash a module that is being loaded, or be swallowed.
  """

  def interrupt(signum, frame):
    del signum, frame
    _end_interrupted()

  _open_closed_descriptors()
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, interrupt)


def raise_on_interrupt() -> Callable[[], bool]:
  """Makes Ctrl-C raise a KeyboardInterrupt, and end the process later.

  The exception may be swallowed, or what it interrupts may hang. The process
  therefore ends at the second Ctrl-C, or `_GRACE_SECONDS` after the first one.

  Returns:
    A function that returns whether Ctrl-C was received.
  """
  received = []

  def interrupt(signum, frame):
    del signum, frame
    if received:
      _end_interrupted()
    received.append(True)
    watchdog = threading.Timer(_GRACE_SECONDS, _end_interrupted)
    watchdog.daemon = True
    watchdog.start()
    raise KeyboardInterrupt

  if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, interrupt)
  return lambda: bool(received)


def end(status: int) -> None:
  """Ends the process now.

  The interpreter would first wait for threads that may hang, and then crash
  native threads that still use it. Worker processes are killed; functions that
  were registered with `atexit` are not called.
  """
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(Exception):
      stream.flush()
  _kill_workers()
  os._exit(status)


@contextlib.contextmanager
def tolerating_lost_output() -> Iterator[Callable[[], OSError | None]]:
  """Lets the body run on when stdout or stderr cannot be written.

  What is written to a stream after an error is discarded.

  Yields:
    A function that returns the error of stdout, or None if nothing is lost or
    if its reader has gone, which needs no message.
  """
  old = sys.stdout, sys.stderr
  out, err = _Stream(sys.stdout, 1), _Stream(sys.stderr, 2)
  sys.stdout, sys.stderr = out, err

  def lost():
    out.flush()
    is_gone = out.error is None or out.error.errno in _GONE
    return None if is_gone else out.error

  try:
    yield lost
  finally:
    sys.stdout, sys.stderr = old


class _Stream:
  """A text stream that discards its output after an error."""

  def __init__(self, stream: Any, descriptor: int):
    self._stream = stream or open(os.devnull, 'w')  # Python was started
    self._descriptor = descriptor  # without this stream.
    self.error: OSError | None = None

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    """Writes `text`; returns its length."""
    return self._try(self._stream.write, text) or len(text)

  def flush(self) -> None:
    """Writes what is buffered."""
    self._try(self._stream.flush)

  def _try(self, call: Callable[..., Any], *args: Any) -> Any:
    try:
      return call(*args)
    except UnicodeEncodeError:  # A terminal with few characters.
      plain = (x.encode('ascii', 'backslashreplace').decode() for x in args)
      return self._try(call, *plain)
    except OSError as error:
      self.error = self.error or error
      _discard(self._descriptor)
      return None


def _discard(descriptor: int) -> None:
  """Sends what is written to a descriptor, also by libraries, to nowhere."""
  nowhere = os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, descriptor)
  os.close(nowhere)


def _open_closed_descriptors() -> None:
  """Opens stdin, stdout and stderr if they are closed.

  A record that gets the number of a closed stream would receive its output.
  """
  for descriptor in range(3):
    try:
      os.fstat(descriptor)
    except OSError:
      _discard(descriptor)


def _end_interrupted() -> None:
  with contextlib.suppress(Exception):
    os.write(2, b'Interrupted.\n')
  _kill_workers()
  os._exit(INTERRUPTED)


def _kill_workers() -> None:
  """Kills the processes that `multiprocessing` has started.

  It would do so itself when the interpreter ends.
  """
  multiprocessing = sys.modules.get('multiprocessing')
  with contextlib.suppress(Exception):
    for worker in multiprocessing.active_children() if multiprocessing else ():
      worker.kill()
