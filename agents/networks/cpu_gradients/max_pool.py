"""The deep torso's max-pooling, with a gradient that is fast on CPU too.

Value and gradient equal those of `hk.max_pool` with 3 x 3 windows, stride 2 and
'SAME' padding. On CPU, XLA scatters the gradient window by window, several
times slower than the convolutions around it. On CPU this module therefore
gathers the gradient. Other platforms use XLA's own gradient.

First, each window stores the place of its first maximum: 0 to 8, row by row.
Then each pixel sums the gradients of those windows whose stored place is this
pixel. Windows overlap in one pixel. Along one axis of the padded image:

  pixel           0   1   2   3   4   5   6
  pair            '-0-'   '-1-'   '-2-'
  window 0       [0   1   2]
  window 1               [0   1   2]            places in each window
  window 2                       [0   1   2]

The first pixel of pair i has place 0 in window i and place 2 in window i - 1.
The second pixel has place 1 in window i and is in no other window. In two
dimensions, the place is 3 * (place of the row) + (place of the column). The
pixels of each 2 x 2 block are in this many windows:

  4  2
  2  1
"""

import haiku as hk
import jax
import jax.numpy as jnp

from agents.networks.cpu_gradients import conv

Array = jax.Array

# For the first and the second pixel of pair i: its windows i - b along one
# axis, as (place in the window, b).
_WINDOWS = (((0, 0), (2, 1)), ((1, 0),))


@jax.custom_vjp
def max_pool(x: Array) -> Array:
  """Returns the maxima of `[N, H, W, C]`: `[N, ceil(H/2), ceil(W/2), C]`."""
  return _plain(x)


def _max_pool_fwd(x):
  maxima = max_pool(x)
  return maxima, (x, maxima)


def _max_pool_bwd(residuals, gradient):
  def xla(x, maxima, gradient):
    del maxima
    return jax.vjp(_plain, x)[1](gradient)[0]

  return (
    jax.lax.platform_dependent(*residuals, gradient, cpu=_gather, default=xla),
  )


max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


def _plain(x: Array) -> Array:
  return hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), 'SAME')


def _gather(x: Array, maxima: Array, gradient: Array) -> Array:
  """Computes the gradient `[N, H, W, C]`: each pixel sums over its windows."""
  size, windows = x.shape[1:3], maxima.shape[1:3]
  # Pixels that 'SAME' padding adds before the first pixel.
  before = [max(2 * m + 1 - n, 0) // 2 for n, m in zip(size, windows)]
  pads = [(b, 2 * m + 1 - n - b) for n, m, b in zip(size, windows, before)]
  places = _first_maxima(conv.pad(x, pads, -jnp.inf), maxima)
  # The pixels of pair 0 have no window i - 1. An additional first window, whose
  # maximum is at no place, stands for it.
  places = conv.pad(places, [(1, 0), (1, 0)], -1)
  gradient = conv.pad(gradient, [(1, 0), (1, 0)], 0)

  def share(row, row_window, column, column_window):
    top, left = 1 - row_window, 1 - column_window
    window = (
      slice(None),
      slice(top, top + windows[0]),
      slice(left, left + windows[1]),
    )
    mine = places[window] == 3 * row + column
    return jnp.where(mine, gradient[window], 0)

  def pixels(row_parity, column_parity):
    return sum(
      share(*row, *column)
      for row in _WINDOWS[row_parity]
      for column in _WINDOWS[column_parity]
    )

  rows = [jnp.stack([pixels(i, 0), pixels(i, 1)], axis=3) for i in (0, 1)]
  pairs = jnp.stack(rows, axis=2)  # [N, H/2, 2, W/2, 2, C]
  height, width = 2 * windows[0], 2 * windows[1]
  whole = pairs.reshape(len(x), height, width, x.shape[-1])
  return conv.pad(whole, [(-lo, 1 - hi) for lo, hi in pads], 0)


def _first_maxima(padded: Array, maxima: Array) -> Array:
  """Returns the place of the first maximum in each window: 0 to 8, by rows.

  A window whose maximum is NaN has its place in the middle, which is never
  padding. So its gradient, mostly NaN too, is not lost; XLA also passes it to
  one pixel, but to which one depends on the order of its comparisons.
  """
  height, width = (2 * n - 1 for n in maxima.shape[1:3])
  places = jnp.full(maxima.shape, 4, jnp.int8)
  for place in reversed(range(9)):
    i, j = divmod(place, 3)
    pixel = padded[:, i : i + height : 2, j : j + width : 2]
    places = jnp.where(pixel == maxima, jnp.int8(place), places)
  # The barrier keeps XLA from recomputing the places for every pixel.
  return jax.lax.optimization_barrier(places)
