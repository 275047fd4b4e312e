"""A two-dimensional convolution whose gradient is fast on CPU too.

Same parameters, same value and same gradient as `hk.Conv2D`. On CPU XLA's
convolution is fast forward and several times slower backward, and slower still
inside a loop. So there the differentiated convolution is a matrix product over
patches: stride s becomes depth (s x s blocks of pixels turned into channels),
then the k/s x k/s shifted views are laid side by side. Other platforms keep
XLA's own, and so does acting everywhere.
"""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


class Conv2D(hk.Module):
  """`hk.Conv2D` for square kernels; inputs `[N, H, W, C]`."""

  def __init__(
    self,
    output_channels: int,
    kernel_shape: int,
    stride: int = 1,
    padding: str = 'SAME',
    name: str | None = None,
  ):
    super().__init__(name=name)
    self._output_channels = output_channels
    self._kernel_shape = kernel_shape
    self._stride = stride
    self._padding = padding

  def __call__(self, inputs: Array) -> Array:
    """Convolves `[N, H, W, C]` and adds the bias."""
    k, channels = self._kernel_shape, inputs.shape[-1]
    stddev = 1.0 / np.sqrt(k * k * channels)
    w = hk.get_parameter(
      'w',
      [k, k, channels, self._output_channels],
      inputs.dtype,
      init=hk.initializers.TruncatedNormal(stddev),
    )
    b = hk.get_parameter(
      'b', [self._output_channels], inputs.dtype, init=jnp.zeros
    )
    return conv2d(inputs, w, self._stride, self._padding) + b


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(inputs: Array, w: Array, stride: int, padding: str) -> Array:
  """Convolves `[N, H, W, C]` with `w`, `[k, k, C, D]`."""
  return _plain(inputs, w, stride, padding)


def _conv2d_fwd(inputs, w, stride, padding):
  differentiable = jax.lax.platform_dependent(
    inputs,
    w,
    cpu=lambda x, w: _by_patches(x, w, stride, padding),
    default=lambda x, w: _plain(x, w, stride, padding),
  )
  return differentiable, (inputs, w)


def _conv2d_bwd(stride, padding, residuals, gradient):
  inputs, w = residuals

  def pull_back(conv):
    def run(x, w, gradient):
      return jax.vjp(lambda x, w: conv(x, w, stride, padding), x, w)[1](
        gradient
      )

    return run

  return jax.lax.platform_dependent(
    inputs, w, gradient, cpu=pull_back(_by_patches), default=pull_back(_plain)
  )


conv2d.defvjp(_conv2d_fwd, _conv2d_bwd)


def _plain(inputs: Array, w: Array, stride: int, padding: str) -> Array:
  return jax.lax.conv_general_dilated(
    inputs,
    w,
    (stride, stride),
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def _by_patches(inputs: Array, w: Array, stride: int, padding: str) -> Array:
  """The same convolution as one matrix product over patches."""
  k, s = w.shape[0], stride
  if k % s:
    return _plain(inputs, w, stride, padding)
  pads = jax.lax.padtype_to_pads(inputs.shape[1:3], (k, k), (s, s), padding)
  inputs = jnp.pad(inputs, [(0, 0), *pads, (0, 0)])
  height, width = [(size - k) // s + 1 for size in inputs.shape[1:3]]
  blocks = _space_to_depth(
    inputs[:, : (height - 1) * s + k, : (width - 1) * s + k], s
  )
  shifts = range(k // s)
  patches = jnp.concatenate(
    [blocks[:, i : i + height, j : j + width] for i in shifts for j in shifts],
    -1,
  )
  return patches @ _depth_kernel(w, s)


def _space_to_depth(x: Array, s: int) -> Array:
  """`[N, H, W, C]` to `[N, H/s, W/s, s s C]`."""
  n, h, w, c = x.shape
  x = x.reshape(n, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, h // s, w // s, s * s * c)


def _depth_kernel(w: Array, s: int) -> Array:
  """The kernel `[k, k, C, D]` as a matrix `[k k C, D]`, in patch order."""
  k, _, c, d = w.shape
  w = w.reshape(k // s, s, k // s, s, c, d).transpose(0, 2, 1, 3, 4, 5)
  return w.reshape(k * k * c, d)
