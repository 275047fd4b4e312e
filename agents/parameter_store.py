"""Where the learner leaves parameters and the actors find the newest."""

from typing import Any

import jax


class ParameterStore:
  """Holds one (version, params) by reference; one writer, many readers.

  A single reference is replaced, never changed, so readers need no lock and see
  a version with exactly its parameters.
  """

  def __init__(self):
    self._latest: tuple[int, Any] | None = None

  def publish(self, version: int, params: Any) -> None:
    """Makes `params` the newest, once they are computed.

    An actor's step that had to wait for its parameters would hold up every
    other computation on its device; so they are waited for here, by the writer.
    """
    self._latest = version, jax.block_until_ready(params)

  def get(self) -> tuple[int, Any]:
    """The newest (version, params).

    Raises:
      RuntimeError: if nothing has been published yet.
    """
    if self._latest is None:
      raise RuntimeError('No parameters have been published yet.')
    return self._latest
