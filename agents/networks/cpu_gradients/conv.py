"""A two-dimensional convolution whose gradient is fast on CPU too.

Parameters, value and gradient equal those of `hk.Conv2D`. On CPU, XLA's forward
convolution is fast, but its gradient is several times slower. On CPU this
module therefore computes the gradient in the steps below. Other platforms, and
kernels whose size is not a multiple of the stride, use XLA's own gradient.

1. Space to depth removes the stride s. Each block of s x s pixels becomes one
   pixel with s s C channels, in the inputs and in the k x k kernel. The result
   is a convolution with stride 1 and an m x m kernel K, m = k / s. Along one
   axis, with k = 4, s = 2 and kernel a b c d:

     pixels      0 1 2 3 4 5        blocks     (0 1) (2 3) (4 5)
     window 0    a b c d            window 0   (a b) (c d)
     window 1        a b c d        window 1         (a b) (c d)

2. The gradient of the inputs is a forward convolution: the gradient G of the
   outputs with the flipped kernel.

3. The gradient of the kernel is one matrix product. Let X be the blocks, X G
   the outer product over their channels, and y = p + i:

     dK[i, j] = sum_{p, q} X[p + i, q + j] G[p, q]
              = sum_{y, q} X[y, q + j] G[y - i, q].

   In the second line, the column offset j shifts only X, and the row offset i
   shifts only G. The product of m shifted copies of G and m shifted copies of X
   contains all m x m pairs (i, j). With the first line, X would be copied m x m
   times.
"""

from collections.abc import Sequence
import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from agents.networks.cpu_gradients import packed_bytes

Array = jax.Array

_NHWC = ('NHWC', 'HWIO', 'NHWC')


class Conv2D(hk.Module):
  """`hk.Conv2D` for square kernels; inputs `[N, H, W, C]`.

  Inputs of bytes are scaled to [0, 1].
  """

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
    """Convolves inputs `[N, H, W, C]` and adds the bias."""
    k, channels = self._kernel_shape, inputs.shape[-1]
    stddev = 1.0 / np.sqrt(k * k * channels)
    dtype = jnp.float32 if inputs.dtype == jnp.uint8 else inputs.dtype
    w = hk.get_parameter(
      'w',
      [k, k, channels, self._output_channels],
      dtype,
      init=hk.initializers.TruncatedNormal(stddev),
    )
    b = hk.get_parameter('b', [self._output_channels], dtype, init=jnp.zeros)
    if inputs.dtype == jnp.uint8:  # Scales the inputs, which stay bytes.
      w /= 255
    return conv2d(inputs, w, self._stride, self._padding) + b


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(inputs: Array, w: Array, stride: int, padding: str) -> Array:
  """Convolves bytes or floats `[N, H, W, C]` with `w` `[k, k, C, D]`."""
  return _plain(inputs, w, stride, padding)


def _conv2d_fwd(inputs, w, stride, padding):
  return conv2d(inputs, w, stride, padding), (inputs, w)


def _conv2d_bwd(stride, padding, residuals, gradient):
  inputs, w = residuals
  cpu_vjp, xla_vjp = (
    functools.partial(vjp, stride=stride, padding=padding)
    for vjp in (_cpu_vjp, _xla_vjp)
  )
  if w.shape[0] % stride:  # Space to depth needs whole blocks.
    return xla_vjp(inputs, w, gradient)
  if inputs.dtype == jnp.uint8:
    d_w = jax.lax.platform_dependent(
      inputs,
      w,
      gradient,
      cpu=lambda *args: cpu_vjp(*args)[1],
      default=lambda *args: xla_vjp(*args)[1],
    )
    return np.zeros(inputs.shape, jax.dtypes.float0), d_w
  return jax.lax.platform_dependent(
    inputs, w, gradient, cpu=cpu_vjp, default=xla_vjp
  )


conv2d.defvjp(_conv2d_fwd, _conv2d_bwd)


def pad(x: Array, pads: Sequence[tuple[int, int]], value: float = 0) -> Array:
  """Pads height and width of `[N, H, W, C]`; negative padding crops."""
  config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)]
  return jax.lax.pad(x, jnp.asarray(value, x.dtype), config)


def _plain(inputs: Array, w: Array, stride: int, padding: str) -> Array:
  return jax.lax.conv_general_dilated(
    inputs.astype(w.dtype),
    w,
    (stride, stride),
    padding,
    dimension_numbers=_NHWC,
  )


def _xla_vjp(
  inputs: Array, w: Array, gradient: Array, *, stride: int, padding: str
) -> tuple[Array, Array]:
  """Computes XLA's gradients of inputs (None for bytes) and `w`."""
  if inputs.dtype == jnp.uint8:
    conv = functools.partial(_plain, inputs, stride=stride, padding=padding)
    return None, jax.vjp(conv, w)[1](gradient)[0]
  conv = functools.partial(_plain, stride=stride, padding=padding)
  return jax.vjp(conv, inputs, w)[1](gradient)


def _cpu_vjp(
  inputs: Array, w: Array, gradient: Array, *, stride: int, padding: str
) -> tuple[Array, Array]:
  """Computes the gradients of `_xla_vjp` with operations that are fast on CPU.

  Requires that the stride divides the kernel size. See the module's docstring.
  """
  k, s = w.shape[0], stride
  size = inputs.shape[1:3]
  pads = jax.lax.padtype_to_pads(size, (k, k), (s, s), padding)
  used = [(n - 1) * s + k for n in gradient.shape[1:3]]
  # A negative padding crops the pixels that the last window does not reach.
  pads = [(lo, m - n - lo) for (lo, _), m, n in zip(pads, used, size)]
  d_kernel = _weight_gradient(pad(inputs, pads), gradient, s)
  d_w = _kernel_from_depth(d_kernel, s)
  if inputs.dtype == jnp.uint8:
    return None, d_w
  d_blocks = _input_gradient(_kernel_to_depth(w, s), gradient)
  d_inputs = _depth_to_space(d_blocks, s)
  return pad(d_inputs, [(-lo, -hi) for lo, hi in pads]), d_w


def _input_gradient(kernel: Array, gradient: Array) -> Array:
  """Computes the gradient of the blocks (step 2 of the module's docstring).

  Args:
    kernel: K, `[m, m, s s C, D]`.
    gradient: G, `[N, H', W', D]`.

  Returns:
    `[N, H' + m - 1, W' + m - 1, s s C]`.
  """
  m = kernel.shape[0]
  return jax.lax.conv_general_dilated(
    gradient,
    kernel[::-1, ::-1].swapaxes(2, 3),
    (1, 1),
    [(m - 1, m - 1)] * 2,
    dimension_numbers=_NHWC,
  )


def _weight_gradient(inputs: Array, gradient: Array, s: int) -> Array:
  """Computes the gradient of the kernel (step 3 of the module's docstring).

  The matrix product is `[m D, N Y W'] x [N Y W', m s s C]`: `down.T` holds the
  shifted copies of G, `along` those of X, and Y = H' + m - 1. Bytes of four
  channels are rearranged as words and become numbers last.

  Args:
    inputs: padded or cropped, `[N, s Y, s (W' + m - 1), C]`.
    gradient: G, `[N, H', W', D]`.
    s: the stride.

  Returns:
    dK, `[m, m, s s C, D]`.
  """
  height, width = gradient.shape[1:3]
  as_words = packed_bytes.are_packable(inputs)
  if as_words:
    inputs = packed_bytes.pack(inputs)[..., None]
  blocks = _space_to_depth(inputs, s)
  m = blocks.shape[1] - height + 1
  along = jnp.concatenate([blocks[:, :, j : j + width] for j in range(m)], -1)
  if as_words:
    along = packed_bytes.unpack(jax.lax.optimization_barrier(along))
  down = jnp.concatenate(
    [pad(gradient, [(i, m - 1 - i), (0, 0)]) for i in range(m)], -1
  )
  down = down.reshape(-1, m * gradient.shape[-1])
  along = along.reshape(len(down), -1).astype(gradient.dtype)
  product = (down.T @ along).reshape(m, gradient.shape[-1], m, -1)
  return product.transpose(0, 2, 3, 1)


def _space_to_depth(x: Array, s: int) -> Array:
  """Rearranges `[N, H, W, C]` to `[N, H/s, W/s, s s C]`."""
  n, h, w, c = x.shape
  x = x.reshape(n, h // s, s, w // s, s, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, h // s, w // s, s * s * c)


def _depth_to_space(x: Array, s: int) -> Array:
  """Rearranges `[N, H/s, W/s, s s C]` to `[N, H, W, C]`."""
  n, h, w, _ = x.shape
  x = x.reshape(n, h, w, s, s, -1).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, h * s, w * s, -1)


def _kernel_to_depth(w: Array, s: int) -> Array:
  """Rearranges `[k, k, C, D]` to `[k/s, k/s, s s C, D]`."""
  return jnp.moveaxis(_space_to_depth(jnp.moveaxis(w, 3, 0), s), 0, 3)


def _kernel_from_depth(w: Array, s: int) -> Array:
  """Rearranges `[k/s, k/s, s s C, D]` to `[k, k, C, D]`."""
  return jnp.moveaxis(_depth_to_space(jnp.moveaxis(w, 3, 0), s), 0, 3)
