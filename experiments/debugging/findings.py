"""Descriptions of non-finite arrays: source, shape, example and operands."""

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
  """A non-finite array and its source; `str` formats it as one line."""

  where: str  # 'the input params/w', or a primitive with its line.
  shape: tuple[int, ...]
  num_nonfinite: int
  example: str  # A non-finite value: 'nan at [0, 3]'.
  operands: tuple[str, ...] = ()  # Types and ranges.

  def __str__(self):
    size = int(np.prod(self.shape))
    names = ', '.join(self.operands)
    operands = f'; operands: {names}' if names else ''
    return (
      f'{self.where}: {self.num_nonfinite} of {size} elements not finite, '
      f'{self.example}{operands}'
    )


def line_of(eqn: Any) -> str:
  """Returns 'file:line (function)' of the innermost frame outside libraries.

  Returns '' if JAX does not give the frames.
  """
  try:
    summarize = jax.extend.source_info_util.summarize
  except AttributeError:  # Not a stable API of JAX.
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
  """Returns whether a path or frame belongs to an installed package."""
  return 'site-packages' in path or 'dist-packages' in path


def is_finite(x: Any) -> bool:
  """Returns whether `x` is finite everywhere or not floating-point."""
  floating = jnp.issubdtype(jnp.result_type(x), jnp.floating)
  return not floating or bool(np.all(np.isfinite(np.asarray(x))))


def describe(where: str, x: Any) -> Finding:
  """Makes a finding; its example is a NaN, else a +inf, else a -inf."""
  x = np.asarray(x)
  kinds = [np.isnan(x), x == np.inf, x == -np.inf]
  index = np.argwhere(next(kind for kind in kinds if kind.any()))[0]
  example = f'{x[tuple(index)]} at {index.tolist()}'
  return Finding(where, x.shape, int(np.sum(~np.isfinite(x))), example)


def range_of(x: Any) -> str:
  """Returns the type and range of an operand: 'float32[4] from 0 to 1'."""
  dtype = jnp.result_type(x)
  text = f'{dtype}{list(jnp.shape(x))}'
  if not jnp.issubdtype(dtype, jnp.number) or not np.size(x):
    return text
  # np.min and np.max propagate NaN, so it is visible here.
  return f'{text} from {np.min(x):.3g} to {np.max(x):.3g}'
