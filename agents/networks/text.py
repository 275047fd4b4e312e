"""The leaves of an observation that are text, as their specs say.

The spec of such a leaf has the attribute `is_text`; its values are words as
integers from 1 to `spec.maximum`, padded with 0.
"""

from collections.abc import Iterator
from typing import Any


def without(observation: Any, spec: Any) -> Any:
  """Returns an observation, or its spec, without the leaves that are text.

  Args:
    observation: a dict, perhaps of dicts, or a single leaf.
    spec: its spec, in the same structure; None: nothing is text.
  """
  if not isinstance(spec, dict):
    return observation
  rest = {
    key: without(observation[key], part)
    for key, part in spec.items()
    if not _is_text(part)
  }
  return {k: v for k, v in rest.items() if not (isinstance(v, dict) and not v)}


def leaves(observation: Any, spec: Any) -> Iterator[tuple[Any, int]]:
  """Yields (leaf, number of words) of the text, in the order of its keys."""
  if isinstance(spec, dict):
    for key in sorted(spec):
      if _is_text(spec[key]):
        yield observation[key], int(spec[key].maximum)
      else:
        yield from leaves(observation[key], spec[key])


def _is_text(spec: Any) -> bool:
  return getattr(spec, 'is_text', False)
