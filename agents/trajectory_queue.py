"""A lock-free queue from many actors to one learner: one ring per actor.

Every ring has one writer and one reader, and each of its two counters has one
owner, so no lock is needed: the writer fills a slot before it advances its
counter, and the reader empties one before it advances its own. The learner
reads the rings in turn. That makes the order deterministic, weighs actors
equally however long their episodes are, and bounds the policy lag.
"""

from typing import Any

from agents import polling


class Ring:
  """A bounded queue for one writer thread and one reader thread."""

  def __init__(self, capacity: int):
    self._slots: list[Any] = [None] * capacity
    self._written = 0  # Advanced by the writer alone.
    self._read = 0  # Advanced by the reader alone.

  def __len__(self) -> int:
    return self._written - self._read

  def try_put(self, item: Any) -> bool:
    """Stores `item`, or gives False if the ring is full."""
    if len(self) == len(self._slots):
      return False
    self._slots[self._written % len(self._slots)] = item
    self._written += 1
    return True

  def try_get(self) -> tuple[bool, Any]:
    """(True, the oldest item), or (False, None) if the ring is empty."""
    if not len(self):
      return False, None
    slot = self._read % len(self._slots)
    item, self._slots[slot] = self._slots[slot], None
    self._read += 1
    return True, item


class TrajectoryQueue:
  """Rings of `capacity` items, one per actor, read in turn."""

  def __init__(
    self,
    num_actors: int,
    capacity: int,
    timeout_seconds: float,
    turn: int = 0,
  ):
    """Actor `turn` is read first; an actor waits twice as long at most."""
    self._rings = [Ring(capacity) for _ in range(num_actors)]
    self._timeout_seconds = timeout_seconds
    self._turn = turn  # The ring to read next; the reader's.
    self._closed = False
    self._error: tuple[int, BaseException] | None = None

  def put(self, actor_id: int, item: Any) -> bool:
    """Waits for a slot in this actor's ring; False if the queue is closed."""
    ring = self._rings[actor_id]
    put = polling.wait(
      lambda: (ring.try_put(item), True),
      lambda: self._closed,
      # The learner gives up first: it knows for whom it waits.
      timeout_seconds=2 * self._timeout_seconds,
      what=f'Actor {actor_id} waited for the learner',
    )
    return put is not None

  def get(self) -> Any:
    """Waits for the next actor's next item; None if the queue is closed.

    Raises:
      RuntimeError: from an actor's exception, as soon as it has failed.
      polling.Timeout: if the actor gave nothing in time, or waited too long.
    """
    ring = self._rings[self._turn]
    taken = polling.wait(
      ring.try_get,
      lambda: self._closed,
      timeout_seconds=self._timeout_seconds,
      what=f'The learner waited for actor {self._turn}',
    )
    if taken is None:
      self.raise_if_failed()
      return None
    self._turn = (self._turn + 1) % len(self._rings)
    return taken[0]

  def raise_if_failed(self) -> None:
    """Raises a RuntimeError from an actor's exception, if one has died.

    An actor's own `Timeout` stays one.
    """
    if self._error is not None:
      actor_id, error = self._error
      if isinstance(error, polling.Timeout):
        raise polling.Timeout(str(error)) from error
      raise RuntimeError(f'Actor {actor_id} failed: {error!r}') from error

  def close(self) -> None:
    """Wakes everybody: from now on `put` gives False and `get` None."""
    self._closed = True

  def fail(self, actor_id: int, error: BaseException) -> None:
    """Closes the queue because an actor died; `get` raises its error."""
    if self._error is None:
      self._error = actor_id, error
    self.close()
