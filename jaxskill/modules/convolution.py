"""Convolution and pooling of frames and clips, channels last, with frozen batch normalisation.

XLA's convolutions are fast on accelerators and slow on CPUs, where the same sums are here a few large matrix products;
`implementation` says which form runs, "auto" chooses by platform.

B clips or frames, S spatial axes ([H, W] or [T, H, W]), C channels in, N channels out.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

IMPLEMENTATIONS = ("auto", "lax", "dots")


def choose(implementation):
  """"lax" or "dots"; "auto" is "dots" where JAX runs on a CPU.

  Raises:
    ValueError: if it is none of `IMPLEMENTATIONS`.
  """
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(f"implementation={implementation!r} is unknown; use one of {', '.join(IMPLEMENTATIONS)}.")
  if implementation == "auto":
    return "dots" if jax.default_backend() == "cpu" else "lax"
  return implementation


def same_padding(shape, size, strides):
  """[(before, after)] of every axis, as TensorFlow and JAX pad "SAME": the odd row, if any, comes behind."""
  total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(shape, size, strides)]
  return [(t // 2, t - t // 2) for t in total]


def _taps(x, axis, size, stride):
  """The `size` shifted views of `x` that a window sees along an axis."""
  count = (x.shape[axis] - size) // stride + 1
  return [jax.lax.slice_in_dim(x, tap, tap + stride * (count - 1) + 1, stride, axis) for tap in range(size)]


def convolve(x, kernel, strides, padding, *, dtype=jnp.float32, implementation="auto"):
  """A convolution without bias.

  Args:
    x: `[B, S..., C]`.
    kernel: `[k..., C, N]`, a window as many axes as S.
    strides: of every axis of S.
    padding: "SAME", or [(before, after)] zeros of every axis.
    dtype: of the operands of the products; sums and result are float32.
    implementation: "lax", "dots" (matrix products, the form for CPUs) or "auto".

  Returns:
    `[B, S'..., N]` float32.
  """
  *size, channels, count = kernel.shape
  if padding == "SAME":
    padding = same_padding(x.shape[1:-1], size, strides)
  if choose(implementation) == "lax" or (len(size) == 2 and max(strides) > 1 and max(size) > 1):
    axes = "DHW"[-len(size):]
    return jax.lax.conv_general_dilated(
        x.astype(dtype), kernel.astype(dtype), strides, padding, preferred_element_type=jnp.float32,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"))
  x = jnp.pad(x.astype(dtype), [(0, 0), *padding, (0, 0)])
  if len(size) == 3 and max(strides) > 1 and max(size) > 1:           # taps of time become channels of frames
    x = jnp.concatenate(_taps(x, 1, size[0], strides[0]), axis=-1)    # [B, T', H, W, k C]
    frames = x.reshape(-1, *x.shape[2:])
    kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(*size[1:], -1, count)
    frames, kernel = _blocks(frames, kernel, strides[1:])             # XLA's gradient with strides takes a minute a clip
    y = convolve(frames, kernel, (1, 1), [(0, 0), (0, 0)], dtype=dtype, implementation=implementation)
    return y.reshape(*x.shape[:2], *y.shape[1:])
  if max(size) == 1:
    x = x[(slice(None), *(slice(None, None, s) for s in strides))]
    return _product(x, kernel.reshape(channels, count), dtype)
  # Taps of the leading axes are stacked into the channels that are summed over, those of the last into the results.
  for axis, taps in enumerate(size[:-1], 1):
    x = jnp.concatenate(_taps(x, axis, taps, 1), axis=-1)             # later axes vary slowest
  order = (*reversed(range(len(size) - 1)), len(size), len(size) - 1, len(size) + 1)
  kernel = kernel.transpose(order).reshape(-1, size[-1] * count)      # [taps C, k N]
  y = _product(x, kernel, dtype)
  width = y.shape[-2] - size[-1] + 1
  return sum(y[..., tap: tap + width, tap * count: (tap + 1) * count] for tap in range(size[-1]))


def _blocks(x, kernel, strides):
  """Frames `[B, H, W, C]` in blocks of as many pixels as a window moves, `[B, H', W', c C]`; its window moves by one."""

  def fit(array, axis, length):           # zeros behind, or what no window reaches taken away
    edges = [(0, length - array.shape[axis] if i == axis else 0, 0) for i in range(array.ndim)]
    return jax.lax.pad(array, jnp.zeros((), array.dtype), edges)
  for axis, (taps, stride) in enumerate(zip(kernel.shape[:2], strides)):
    whole = -(-taps // stride)                                        # blocks that a window touches
    x = fit(x, axis + 1, ((x.shape[axis + 1] - taps) // stride + whole) * stride)
    kernel = fit(kernel, axis, whole * stride)
  (up, left), (high, wide) = strides, x.shape[1:3]
  x = x.reshape(-1, high // up, up, wide // left, left, x.shape[-1]).transpose(0, 1, 3, 2, 4, 5)
  kernel = kernel.reshape(-1, up, kernel.shape[1] // left, left, *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
  return x.reshape(*x.shape[:3], -1), kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])


def _product(x, kernel, dtype):
  return jax.lax.dot_general(x.astype(dtype), kernel.astype(dtype), (((x.ndim - 1,), (0,)), ((), ())),
                             preferred_element_type=jnp.float32)


def max_pool(x, size, strides, padding="SAME", *, implementation="auto"):
  """Maxima of windows: `[B, S..., C]` -> `[B, S'..., C]`; padding, as in `convolve`, never wins."""
  if padding == "SAME":
    padding = same_padding(x.shape[1:-1], size, strides)
  whole = [(0, 0), *padding, (0, 0)]
  if choose(implementation) == "lax":
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *size, 1), (1, *strides, 1), whole)
  x = jnp.pad(x, whole, constant_values=-jnp.inf)
  for axis, (taps, stride) in enumerate(zip(size, strides), 1):
    first, *rest = _taps(x, axis, taps, stride)
    for tap in rest:
      first = jnp.maximum(first, tap)
    x = first
  return x


class ConvUnit(nn.Module):
  """Convolution, batch normalisation by frozen statistics, ReLU.

  Attributes:
    channels: N.
    size, strides: of the window, one number an axis.
    padding: as in `convolve`.
    eps: added to the variance.
    relu: False leaves the ReLU out.
    normalise: False: a bias in place of the normalisation.
    dtype, implementation: as in `convolve`.
  """

  channels: int
  size: tuple
  strides: tuple | None = None
  padding: str | tuple = "SAME"
  eps: float = 1e-5
  relu: bool = True
  normalise: bool = True
  dtype: jnp.dtype = jnp.float32
  implementation: str = "auto"

  @nn.compact
  def __call__(self, x):
    shape, count = (*self.size, x.shape[-1], self.channels), self.channels
    kernel = self.param("kernel", nn.initializers.variance_scaling(2.0, "fan_in", "normal"), shape)
    bias = self.param("bias", nn.initializers.zeros, (count,))
    if self.normalise:                    # folded into the kernel: the result is never read again
      scale = self.param("scale", nn.initializers.ones, (count,))
      mean = self.variable("batch_stats", "mean", jnp.zeros, (count,)).value
      scale *= jax.lax.rsqrt(self.variable("batch_stats", "var", jnp.ones, (count,)).value + self.eps)
      kernel, bias = kernel * scale, bias - mean * scale
    strides = self.strides or (1,) * len(self.size)
    x = convolve(x, kernel, strides, self.padding, dtype=self.dtype, implementation=self.implementation) + bias
    return nn.relu(x) if self.relu else x


def random_variables(module, inputs, seed=0):
  """Variables of a network for trials: weights that keep the scale of what goes through, drawn without compiling.

  Args:
    module: the network.
    inputs: its argument; shape and dtype count.
    seed: of the draw.

  Returns:
    {"params", "batch_stats"}.
  """
  rng = np.random.default_rng(seed)

  def draw(path, x):
    name = path[-1].key
    if name == "kernel":
      return jnp.asarray(rng.normal(0, np.sqrt(2 / np.prod(x.shape[:-1])), x.shape), jnp.float32)
    if name in ("scale", "var"):
      return jnp.asarray(rng.uniform(0.7, 1.4, x.shape), jnp.float32)
    return jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32)
  return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(module.init, jax.random.key(0), inputs))
