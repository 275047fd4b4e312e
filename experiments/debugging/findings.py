"""What is told of an array that is not finite: where from, and made of what."""

import pathlib
import re
from typing import Any
from typing import NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

_ROOT = pathlib.Path(__file__).parents[2]


class Finding(NamedTuple):
  """A non-finite array, and where it is from; `str` makes a sentence of it."""

  where: str  # 'the input params/w', or a primitive, its line, its module.
  shape: tuple[int, ...]
  num_nonfinite: int
  example: str  # A bad value and its index: 'nan at [0, 3]'.
  operands: tuple[str, ...] = ()  # Of the primitive: types and ranges.

  def __str__(self):
    size = int(np.prod(self.shape))
    made_of = f'; made of {", ".join(self.operands)}' if self.operands else ''
    return (
      f'{self.where}: {self.num_nonfinite} of {size} elements not finite, '
      f'{self.example}{made_of}'
    )


def line_of(eqn: Any) -> str:
  """'file:line (function)' of the innermost frame outside of libraries."""
  try:
    summarize = jax.extend.source_info_util.summarize
  except AttributeError:  # No version of jax promises that there is one.
    return ''
  frames = summarize(eqn.source_info, num_frames=1000).splitlines()
  own = [frame for frame in frames if not is_library(frame)]
  match = re.match(r'(.+?):(\d+)\S* \((.+)\)', (own or frames or [''])[-1])
  if not match:
    return ''
  path, line, function = match.groups()
  path = pathlib.Path(path)
  if path.is_relative_to(_ROOT):
    path = path.relative_to(_ROOT)
  return f'{path}:{line} ({function.rpartition(".")[-1]})'


def is_library(path: str) -> bool:
  """Whether a path, or a frame that begins with one, is installed code."""
  return 'site-packages' in path or 'dist-packages' in path


def is_finite(x: Any) -> bool:
  """Whether all of it is finite, or it is not floating at all."""
  floating = jnp.issubdtype(jnp.result_type(x), jnp.floating)
  return not floating or bool(np.all(np.isfinite(np.asarray(x))))


def describe(where: str, x: Any) -> Finding:
  """A finding; of its bad values NaN is shown first, then +inf."""
  x = np.asarray(x)
  kinds = [np.isnan(x), x == np.inf, x == -np.inf]
  index = np.argwhere(next(kind for kind in kinds if kind.any()))[0]
  example = f'{x[tuple(index)]} at {index.tolist()}'
  return Finding(where, x.shape, int(np.sum(~np.isfinite(x))), example)


def range_of(x: Any) -> str:
  """'float32[4] from 0 to 1': an operand's type and range."""
  dtype = jnp.result_type(x)
  text = f'{dtype}{list(jnp.shape(x))}'
  if not jnp.issubdtype(dtype, jnp.number) or not np.size(x):
    return text
  # A NaN among them is both the least and the greatest, so it shows.
  return f'{text} from {np.min(x):.3g} to {np.max(x):.3g}'
