"""Convolution and pooling of frames and clips, channels last, with frozen batch normalisation.

XLA's convolutions are fast on accelerators and slow on CPUs, where the same sums are here a few large matrix products;
`implementation` says which form runs, "auto" chooses by platform.

B clips or frames, S spatial axes ([H, W] or [T, H, W]), C channels in, N channels out.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

IMPLEMENTATIONS = ("auto", "lax", "dots")
CHUNK = 1024              # places that "dots" computes at once


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
  if choose(implementation) == "lax":
    axes = "DHW"[-len(size):]
    return jax.lax.conv_general_dilated(
        x.astype(dtype), kernel.astype(dtype), strides, padding, preferred_element_type=jnp.float32,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"))
  x = jnp.pad(x.astype(dtype), [(0, 0), *padding, (0, 0)])
  if max(size) == 1:
    x = x[(slice(None), *(slice(None, None, s) for s in strides))]
    return _product(x, kernel.reshape(channels, count), dtype)
  if len(size) == 1:
    return convolve(x[:, None], kernel[None], (1, *strides), [(0, 0)] * 2, dtype=dtype, implementation="dots")[:, 0]
  if len(size) == 2:                                                  # frames are a clip whose window is one of them
    return _clip(x, kernel[None], (1, *strides), dtype)
  whole = functools.partial(_clip, kernel=kernel, strides=strides, dtype=dtype)
  return whole(x[0])[None] if len(x) == 1 else jax.lax.map(whole, x)


def _clip(x, kernel, strides, dtype):
  """A convolution `[T, H, W, C]` -> `[T', H', W', N]`, so many frames at a time that what they need stays in the cache."""
  counts = [(n - k) // s + 1 for n, k, s in zip(x.shape, kernel.shape, strides)]
  times, places = counts[0], counts[1] * counts[2]
  together = max(n for n in range(1, times + 1) if times % n == 0 and (n == 1 or n * places <= CHUNK))
  fast = dtype == jnp.float32 and kernel.shape[2] == 3 and strides[2] == 1
  form = functools.partial(_winograd if fast else _stacked, kernel=kernel, strides=strides, dtype=dtype)
  if together == times:
    return form(x)
  taken = (together - 1) * strides[0] + len(kernel)
  step = jax.checkpoint(lambda start: form(jax.lax.dynamic_slice_in_dim(x, start, taken)), prevent_cse=False)
  return jax.lax.map(step, together * strides[0] * jnp.arange(times // together)).reshape(*counts, -1)


def _gather(x, size, strides):
  """Taps of time and height become channels: `[T, H, W, C]` -> `[T', H', W, h t C]`."""
  for axis in (0, 1):
    x = jnp.concatenate(_taps(x, axis, size[axis], strides[axis]), axis=-1)
  return x


def _stacked(x, kernel, strides, dtype):
  """One product: taps of time and height are summed over, those of width stand side by side in its results."""
  *size, channels, count = kernel.shape
  stride = strides[2]
  width, taps = (x.shape[2] - size[2]) // stride + 1, -(-size[2] // stride)
  columns = width + taps - 1
  x = jnp.pad(x, ((0, 0), (0, 0), (0, max(0, stride * columns - x.shape[2])), (0, 0)))[:, :, : stride * columns]
  x = _gather(x.reshape(*x.shape[:2], columns, -1), size, strides)    # columns that a stride skips are channels, too
  kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, stride * taps - size[2]), (0, 0), (0, 0)))
  kernel = kernel.reshape(*size[:2], taps, stride * channels, count).transpose(1, 0, 3, 2, 4)
  y = _product(x, kernel.reshape(-1, taps * count), dtype)            # [T', H', columns, taps N]
  return sum(y[:, :, tap: tap + width, tap * count: (tap + 1) * count] for tap in range(taps))


# Four results of a window of three by six products in place of twelve (Winograd, F(4, 3)): of data, window, results.
_DATA = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0),
         (0, 4, 0, -5, 0, 1))
_WINDOW = np.array(((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24)), np.float32) / 24
_RESULTS = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def _combine(weights, parts):
  """Sum of the parts that weigh something."""
  return sum(part if weight == 1 else weight * part for weight, part in zip(weights, parts) if weight)


def _winograd(x, kernel, strides, dtype):
  """Windows three wide with half the products; in float32 alone, for rounding grows."""
  width, count = x.shape[2] - 2, kernel.shape[-1]
  tiles = -(-width // 4)
  x = jnp.pad(x, ((0, 0), (0, 0), (0, 4 * tiles - width), (0, 0)))
  columns = [x[:, :, i: i + 4 * tiles - 3: 4] for i in range(6)]
  kernels = jnp.einsum("gw,thwcn->ghtcn", _WINDOW, kernel, precision="highest").reshape(6, -1, count)
  products = [_product(_gather(_combine(row, columns), kernel.shape, strides), own, dtype)
              for row, own in zip(_DATA, kernels)]
  y = jnp.stack([_combine(row, products) for row in _RESULTS], axis=3)                    # [T', H', tiles, 4, N]
  return y.reshape(*y.shape[:2], 4 * tiles, count)[:, :, :width]


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
