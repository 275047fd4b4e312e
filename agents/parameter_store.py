"""The parameter store: the learner publishes parameters, actors get them."""

from typing import Any

import jax

from agents import waiting

Versions = tuple[tuple[int, Any], ...]  # (version, params), oldest first.


class ParameterStore:
  """A store of references to the newest (version, params) and some older ones.

  The store has one writer and many readers. The writer replaces the tuple of
  all versions and never changes it in place. So readers need no lock and always
  get a version together with its own parameters. A reader that waits for a
  version sleeps at a gate of its own until the next one is published.
  """

  def __init__(self, older: int = 0):
    """Initializes an empty store for the newest and `older` older versions."""
    self._length = older + 1
    self._versions: Versions = ()
    self._gates: set[waiting.Gate] = set()  # Of the readers that wait.
    self._closed = False

  def publish(self, version: int, params: Any) -> None:
    """Waits until `params` are computed, then stores them as the newest.

    If an actor got parameters that are still being computed, its step would
    wait on the device and block all other computations there.
    """
    newest = version, jax.block_until_ready(params)
    self._versions = (*self._versions, newest)[-self._length :]
    self._open_gates()

  @property
  def versions(self) -> Versions:
    """All stored (version, params), oldest first."""
    return self._versions

  def get(self) -> tuple[int, Any]:
    """Returns the newest (version, params).

    Raises:
      RuntimeError: if nothing has been published yet.
    """
    if not self._versions:
      raise RuntimeError('No parameters have been published yet.')
    return self._versions[-1]

  def wait_for(
    self, version: int, *, timeout_seconds: float
  ) -> tuple[int, Any] | None:
    """Waits for exactly this version; returns (version, params).

    Returns None if the store is closed.

    Raises:
      RuntimeError: if the version is no longer stored.
      waiting.Timeout: if the version was not published in time.
    """
    gate = waiting.Gate()
    self._gates.add(gate)
    try:
      found = waiting.wait(
        lambda: self._find(version),
        lambda: self._closed,
        gate,
        timeout_seconds=timeout_seconds,
        what=f'An actor waited for the parameters of update {version}',
      )
    finally:
      self._gates.remove(gate)
    return found and found[0]

  def close(self) -> None:
    """Ends all waits: from now on `wait_for` returns None."""
    self._closed = True
    self._open_gates()

  def _open_gates(self) -> None:
    for gate in self._gates.copy():  # Other readers come and go meanwhile.
      gate.open()

  def _find(self, version: int) -> tuple[bool, Any]:
    versions = self._versions
    if versions and version < versions[0][0]:
      raise RuntimeError(
        f'The parameters of update {version} are no longer stored.'
      )
    found = [stored for stored in versions if stored[0] == version]
    return bool(found), found[0] if found else None
