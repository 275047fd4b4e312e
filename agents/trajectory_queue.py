"""A lock-free queue from many actors to one learner: one ring per actor.

Every ring has one writer and one reader. It needs no lock, because each of its
two counters is changed by one thread only: the writer fills a slot before it
advances its counter, and the reader empties a slot before it advances its own.
The other thread must see both changes in this order. CPython sees to that, by
the GIL or, in its free-threaded build, by locks of lists and attributes; the
language does not promise it. Only a thread that has to wait sleeps, at one of
the ring's two gates.

The learner reads the rings round-robin. The order is therefore deterministic,
all actors have equal weight, however long their episodes are, and the policy
lag is bounded.
"""

from typing import Any

from agents import waiting


class Ring:
  """A bounded queue for one writer thread and one reader thread.

  Neither `try_put` nor `try_get` waits. The writer may wait at `emptied`, the
  reader at `filled`; each is opened after the other thread's change.
  """

  def __init__(self, capacity: int):
    self.filled, self.emptied = waiting.Gate(), waiting.Gate()
    self._slots: list[Any] = [None] * capacity
    self._written = 0  # Advanced only by the writer.
    self._read = 0  # Advanced only by the reader.

  def __len__(self) -> int:
    return self._written - self._read

  def try_put(self, item: Any) -> bool:
    """Stores `item` and returns True, or returns False if the ring is full."""
    if len(self) == len(self._slots):
      return False
    self._slots[self._written % len(self._slots)] = item
    self._written += 1
    self.filled.open()
    return True

  def try_get(self) -> tuple[bool, Any]:
    """Takes the oldest item: (True, item), or (False, None) if empty."""
    if not len(self):
      return False, None
    slot = self._read % len(self._slots)
    item, self._slots[slot] = self._slots[slot], None
    self._read += 1
    self.emptied.open()
    return True, item


class TrajectoryQueue:
  """A queue of one ring per actor, read round-robin."""

  def __init__(
    self,
    num_actors: int,
    capacity: int,
    timeout_seconds: float,
    turn: int = 0,
  ):
    """Initializes empty rings.

    Args:
      num_actors: number of rings.
      capacity: items per ring.
      timeout_seconds: timeout of `get`. That of `put` is twice as long.
      turn: the actor whose ring is read first.
    """
    self._rings = [Ring(capacity) for _ in range(num_actors)]
    self._timeout_seconds = timeout_seconds
    self._turn = turn  # The ring to read next; changed only by the reader.
    self._closed = False
    self._error: tuple[int, BaseException] | None = None

  def put(self, actor_id: int, item: Any) -> bool:
    """Waits for a slot in this actor's ring and stores `item` there.

    Returns False if the queue is closed.

    Raises:
      waiting.Timeout: if no slot became free in time.
    """
    ring = self._rings[actor_id]
    put = waiting.wait(
      lambda: (ring.try_put(item), True),
      lambda: self._closed,
      ring.emptied,
      # The learner must time out first: its message names the slow actor.
      timeout_seconds=2 * self._timeout_seconds,
      what=f'Actor {actor_id} waited for the learner',
    )
    return put is not None

  def get(self) -> Any:
    """Waits for the next actor's next item; returns None if closed.

    Raises:
      RuntimeError: if any actor failed; its exception is the cause.
      waiting.Timeout: if the next actor put no item in time, or if an actor
        failed with a Timeout.
    """
    ring = self._rings[self._turn]
    taken = waiting.wait(
      ring.try_get,
      lambda: self._closed,
      ring.filled,
      timeout_seconds=self._timeout_seconds,
      what=f'The learner waited for actor {self._turn}',
    )
    if taken is None:
      self.raise_if_failed()
      return None
    self._turn = (self._turn + 1) % len(self._rings)
    return taken[0]

  def raise_if_failed(self) -> None:
    """Raises a RuntimeError from an actor's exception, if an actor failed.

    If the exception is a `waiting.Timeout`, raises a `waiting.Timeout` instead.
    """
    if self._error is not None:
      actor_id, error = self._error
      if isinstance(error, waiting.Timeout):
        raise waiting.Timeout(str(error)) from error
      raise RuntimeError(f'Actor {actor_id} failed: {error!r}') from error

  def close(self) -> None:
    """Ends all waits: from now on `put` returns False and `get` None.

    A signal handler may call it at any moment.
    """
    self._closed = True
    for ring in self._rings:
      ring.filled.open()
      ring.emptied.open()

  def fail(self, actor_id: int, error: BaseException) -> None:
    """Closes the queue because an actor failed; `get` raises from its error."""
    if self._error is None:
      self._error = actor_id, error
    self.close()
