"""The deep torso's max-pooling, with a gradient that is fast on CPU too.

Same value and same gradient as `hk.max_pool` with windows of 3 x 3, two pixels
apart, 'SAME'. On CPU XLA scatters the gradient, window by window, several times
slower than the convolutions around it. So there it is gathered: every window
tells where its first maximum is, and every pixel asks the windows that it is
part of, four at most. Other platforms keep XLA's own.
"""

import haiku as hk
import jax
import jax.numpy as jnp

from agents.networks.cpu_gradients import conv

Array = jax.Array

# Along one axis, windows of 3 pixels that are 2 pixels apart overlap in one:
#
#   pixel            0   1   2   3   4   5   6
#   pair             '---'   '---'   '---'
#   window 0         [0   1   2]
#   window 1                 [0   1   2]
#   window 2                         [0   1   2]
#
# The first pixel of pair i is place 0 of window i and place 2 of window i - 1;
# the second is place 1 of window i alone. So for each pixel of a pair the list
# of (place in the window, how many windows before window i):
_WINDOWS = (((0, 0), (2, 1)), ((1, 0),))


@jax.custom_vjp
def max_pool(x: Array) -> Array:
  """The maxima of `[N, H, W, C]`: `[N, ceil(H/2), ceil(W/2), C]`."""
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
  """Each pixel's share of the gradient: of the windows whose maximum it is."""
  size, windows = x.shape[1:3], maxima.shape[1:3]
  # 'SAME': windows begin so many pixels before the first.
  before = [max(2 * m + 1 - n, 0) // 2 for n, m in zip(size, windows)]
  pads = [(b, 2 * m + 1 - n - b) for n, m, b in zip(size, windows, before)]
  places = _first_maxima(conv.pad(x, pads, -jnp.inf), maxima)
  # A window before the first, with a maximum nowhere.
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
  """Where in each window the first maximum is: 0 to 8, row by row."""
  height, width = (2 * n - 1 for n in maxima.shape[1:3])
  places = jnp.full(maxima.shape, -1, jnp.int8)
  for place in reversed(range(9)):
    i, j = divmod(place, 3)
    pixel = padded[:, i : i + height : 2, j : j + width : 2]
    places = jnp.where(pixel == maxima, jnp.int8(place), places)
  # Not computed again for every pixel that asks.
  return jax.lax.optimization_barrier(places)
