"""Where the learner leaves parameters and the actors find them."""

from typing import Any

import jax

from agents import polling

Versions = tuple[tuple[int, Any], ...]  # (version, params), oldest first.


class ParameterStore:
  """Holds the newest (version, params) and some before, by reference.

  One writer, many readers. A single reference to all of them is replaced, never
  changed, so readers need no lock and see a version with exactly its
  parameters.
  """

  def __init__(self, older: int = 0):
    """Keeps `older` versions besides the newest."""
    self._length = older + 1
    self._versions: Versions = ()
    self._closed = False

  def publish(self, version: int, params: Any) -> None:
    """Makes `params` the newest, once they are computed.

    An actor's step that had to wait for its parameters would hold up every
    other computation on its device; so they are waited for here, by the writer.
    """
    newest = version, jax.block_until_ready(params)
    self._versions = (*self._versions, newest)[-self._length :]

  @property
  def versions(self) -> Versions:
    """All that is held."""
    return self._versions

  def get(self) -> tuple[int, Any]:
    """The newest (version, params).

    Raises:
      RuntimeError: if nothing has been published yet.
    """
    if not self._versions:
      raise RuntimeError('No parameters have been published yet.')
    return self._versions[-1]

  def wait_for(
    self, version: int, *, timeout_seconds: float
  ) -> tuple[int, Any] | None:
    """(version, params) of exactly this version; None once closed.

    Raises:
      RuntimeError: if the version is no longer held.
      polling.Timeout: if it was not published in time.
    """
    found = polling.wait(
      lambda: self._find(version),
      lambda: self._closed,
      timeout_seconds=timeout_seconds,
      what=f'An actor waited for the parameters of update {version}',
    )
    return found and found[0]

  def close(self) -> None:
    """Wakes those who wait."""
    self._closed = True

  def _find(self, version: int) -> tuple[bool, Any]:
    versions = self._versions
    if versions and version < versions[0][0]:
      raise RuntimeError(f'The parameters of update {version} are gone.')
    found = [held for held in versions if held[0] == version]
    return bool(found), found[0] if found else None
