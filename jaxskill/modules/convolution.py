"""Convolution and pooling of frames and clips, channels last, with frozen batch normalisation.

XLA's convolutions are fast on accelerators and slow on CPUs, where the same sums are here a few large matrix products;
`implementation` says which form runs, "auto" chooses by platform.

B clips or frames, S spatial axes ([H, W] or [T, H, W]), C channels in, N channels out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxskill.modules import winograd
from jaxskill.modules.layers import matmul

IMPLEMENTATIONS = ("auto", "lax", "dots", "stacked")
CHUNK = 1024              # places that "dots" computes at once
Padding = Literal["SAME"] | Sequence[tuple[int, int]]


def choose(implementation: str) -> str:
  """Returns the form that runs: `implementation` itself, or for "auto" the one that suits the platform.

  Args:
    implementation: "lax" (convolutions of XLA), "dots" (matrix products; in float32 fewer of them, by Winograd's
      sums), "stacked" (matrix products without these sums, to compare with), or "auto": "dots" where JAX runs on a
      CPU, "lax" elsewhere.

  Raises:
    ValueError: if it is none of `IMPLEMENTATIONS`.
  """
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(f"implementation={implementation!r} is unknown; use one of {', '.join(IMPLEMENTATIONS)}.")
  if implementation == "auto":
    return "dots" if jax.default_backend() == "cpu" else "lax"
  return implementation


def same_padding(shape: Sequence[int], size: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
  """Returns the zeros to add to every axis, as TensorFlow and JAX pad "SAME": the odd row, if any, comes behind.

  Args:
    shape: of the input, its S axes alone.
    size, strides: of the window, of the same axes.

  Returns:
    [(before, after)] of every axis.
  """
  total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(shape, size, strides)]
  return [(t // 2, t - t // 2) for t in total]


def _taps(x: jax.Array, axis: int, size: int, stride: int) -> list[jax.Array]:
  """Returns the `size` shifted views of `x` that a window sees along an axis."""
  count = (x.shape[axis] - size) // stride + 1
  return [jax.lax.slice_in_dim(x, tap, tap + stride * (count - 1) + 1, stride, axis) for tap in range(size)]


def convolve(x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Padding, *,
             dtype: DTypeLike = jnp.float32, implementation: str = "auto",
             arranged: jax.Array | None = None) -> jax.Array:
  """Convolves clips or frames, without a bias.

  Args:
    x: `[B, S..., C]`.
    kernel: `[k..., C, N]`, one k for every axis of S.
    strides: of every axis of S.
    padding: "SAME", or [(before, after)] zeros of every axis.
    dtype: of the operands of the products; sums and result are float32.
    implementation: see `choose`.
    arranged: what `arrange` made of the kernel for an x of this shape; None makes it here.

  Returns:
    `[B, S'..., N]` float32.

  Raises:
    ValueError: if `implementation` is unknown.
  """
  *size, _, count = kernel.shape
  padding = same_padding(x.shape[1:-1], size, strides) if padding == "SAME" else padding
  if arranged is None:
    arranged = arrange(kernel, x.shape, strides, padding, dtype=dtype, implementation=implementation)
  x = x.astype(dtype)
  if choose(implementation) == "lax":
    strides, padding = tuple(strides), tuple((before, after) for before, after in padding)
    if x.dtype == jnp.float32:
      return _convolution(strides, padding, x, arranged, jnp.float32)
    return _narrow_convolution(strides, padding, x, arranged)
  x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
  if max(size) == 1:
    return matmul(x[(slice(None), *(slice(None, None, s) for s in strides))], arranged)
  if len(size) == 1:
    x = x[:, None]
  whole = functools.partial(_clip, arranged=arranged, size=(1, 1, *size)[-3:], strides=(1, 1, *strides)[-3:],
                            count=count)
  if len(size) < 3:                                                   # frames are a clip whose window is one of them
    y = whole(x)
  else:
    y = whole(x[0])[None] if len(x) == 1 else jax.lax.map(whole, x)
  return y[:, 0] if len(size) == 1 else y


def _convolution(strides: Sequence[int], padding: Any, x: jax.Array, kernel: jax.Array, out: Any) -> jax.Array:
  axes = "DHW"[-len(strides):]
  return jax.lax.conv_general_dilated(x, kernel, strides, padding, preferred_element_type=out,
                                      dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _narrow_convolution(strides: Sequence[int], padding: Any, x: jax.Array, kernel: jax.Array) -> jax.Array:
  return _convolution(strides, padding, x, kernel, jnp.float32)


def _narrow_backward(strides: Sequence[int], padding: Any,
                     operands: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Does as autodiff, but with operands and results of one type: it would convolve float32 with bfloat16."""
  dtype = operands[0].dtype
  _, pull = jax.vjp(lambda x, kernel: _convolution(strides, padding, x, kernel, dtype), *operands)
  return pull(gradient.astype(dtype))


_narrow_convolution.defvjp(lambda strides, padding, x, kernel: (_narrow_convolution(strides, padding, x, kernel),
                                                                (x, kernel)), _narrow_backward)


def arrange(kernel: jax.Array, shape: Sequence[int], strides: Sequence[int], padding: Padding,
            *, dtype: DTypeLike = jnp.float32, implementation: str = "auto") -> jax.Array:
  """Returns what `convolve` multiplies with; the same for all x of a shape, so worth keeping where x are many.

  Args:
    kernel: `[k..., C, N]`.
    shape: of x, `[B, S..., C]`.
    strides, padding, dtype, implementation: as in `convolve`; so are errors.

  Returns:
    The kernel itself for "lax"; `[C, N]` for windows of one place; else, for `_stacked`, `[h t C, taps N]`, or, for
    `winograd.multiply`, `[6, h t C, N]`.
  """
  *size, channels, count = kernel.shape
  if choose(implementation) == "lax":
    return kernel.astype(dtype)
  if max(size) == 1:
    return kernel.reshape(channels, count).astype(dtype)
  padding = same_padding(shape[1:-1], size, strides) if padding == "SAME" else padding
  places = np.prod([(n + sum(pad) - k) // s + 1 for n, pad, k, s in zip(shape[1:], padding, size, strides)])
  places *= shape[0] if len(size) < 3 else 1
  stride = strides[-1]
  taps = -(-size[-1] // stride)
  height, time = (1, 1, *size)[-2], (1, 1, *size)[-3]
  kernel = _resize(kernel.reshape(time, height, size[-1], channels, count), 2, stride * taps)
  kernel = kernel.reshape(time, height, taps, stride * channels, count)
  if dtype == jnp.float32 and taps in (2, 3, 4) and places >= CHUNK / 2 and implementation != "stacked":
    kernel = winograd.kernels([kernel[:, :, tap] for tap in range(taps)])                # [6, t, h, C, N]
    return kernel.swapaxes(1, 2).reshape(6, -1, count)                # [6, h t C, N]
  return kernel.transpose(1, 0, 3, 2, 4).reshape(-1, taps * count).astype(dtype)          # [h t C, taps N]


def _clip(x: jax.Array, arranged: jax.Array, size: Any, strides: Any, count: int) -> jax.Array:
  """Convolves `[T, H, W, C]` to `[T', H', W', N]`, so many frames at a time that what they need stays in the cache.

  The naive form, for every place (t, h, w) of the result:
    window = x[t * s0: t * s0 + k0, h * s1: h * s1 + k1, w * s2: w * s2 + k2]             # [k0, k1, k2, C]
    y[t, h, w] = einsum("thwc,thwcn->n", window, kernel)
  Here the window's time and height, and the columns that a stride skips, become channels, so that one product serves
  all places of a row; its width is summed afterwards (`_stacked`, `winograd.multiply`).
  """
  times, height, width = counts = [(n - k) // s + 1 for n, k, s in zip(x.shape, size, strides)]
  stride, taps = strides[2], -(-size[2] // strides[2])
  together_wide = winograd.results(taps) if arranged.ndim == 3 else 1 # of a tile
  tiles = -(-width // together_wide)
  x = _resize(x, 2, stride * (together_wide * tiles + taps - 1))
  x = x.reshape(*x.shape[:2], -1, stride * x.shape[3])                # columns that a stride skips become channels
  together = max(n for n in range(1, times + 1) if times % n == 0 and (n == 1 or n * height * width <= CHUNK))

  channels, step = x.shape[3], strides[0] * x.shape[3]
  if size[0] > 1:
    x = x.transpose(1, 2, 0, 3).reshape(1, *x.shape[1:3], -1)         # a window of time is a slice of channels

  def some(start: int | jax.Array) -> jax.Array:
    """Returns `together` frames of the result, from a place in time on."""
    if size[0] > 1:
      seen = jax.lax.dynamic_slice_in_dim(x, start * step, (together - 1) * step + size[0] * channels, 3)
      return form(_move(gather_times, seen), arranged, taps, count)[:, :, :width]
    seen = jax.lax.dynamic_slice_in_dim(x, start, together)
    return form(_move(gather_heights, seen), arranged, taps, count)[:, :, :width]

  def gather_times(x: jax.Array) -> jax.Array:                    # windows of time that overlap, as frames
    windows = [x[..., i * step: i * step + size[0] * channels] for i in range(together)]
    return gather_heights(jnp.concatenate(windows))

  def gather_heights(x: jax.Array) -> jax.Array:                  # of a window, which become channels, too
    return jnp.concatenate(_taps(x, 1, size[1], strides[1]), axis=-1) # [T', H', columns, h t C]

  form = functools.partial(winograd.multiply, tiles=tiles) if arranged.ndim == 3 else _stacked
  if together == times:
    return some(0)
  starts = together * jnp.arange(times // together)
  return jax.lax.map(jax.checkpoint(some, prevent_cse=False), starts).reshape(*counts, count)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _move(function: Callable[..., Any], x: jax.Array) -> jax.Array:
  """Applies a linear function that only moves numbers; of bfloat16 the bits: XLA's CPU would move them as float32."""
  if x.dtype != jnp.bfloat16:
    return function(x)
  return jax.lax.bitcast_convert_type(function(jax.lax.bitcast_convert_type(x, jnp.uint16)), jnp.bfloat16)


def _move_backward(function: Callable[..., Any], like: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
  return jax.linear_transpose(function, like)(gradient)


_move.defvjp(lambda function, x: (_move(function, x), x), _move_backward)


def _resize(x: jax.Array, axis: int, size: int) -> jax.Array:
  """Returns the first `size` of an axis, with zeros behind where it is shorter."""
  short = max(0, size - x.shape[axis])
  x = jnp.pad(x, [(0, short * (i == axis)) for i in range(x.ndim)]) if short else x
  return jax.lax.slice_in_dim(x, 0, size, axis=axis)


def _stacked(x: jax.Array, kernel: jax.Array, taps: int, count: int) -> Any:
  """Multiplies once, with the taps of the width side by side, and sums the taps."""
  y = matmul(x, kernel)
  width = y.shape[2] - taps + 1
  return sum(y[:, :, tap: tap + width, tap * count: (tap + 1) * count] for tap in range(taps))


def max_pool(x: jax.Array, size: Sequence[int], strides: Sequence[int],
             padding: Padding = "SAME", *, implementation: str = "auto") -> jax.Array:
  """Returns the maxima of windows; padding never wins.

  Args:
    x: `[B, S..., C]`.
    size, strides, padding, implementation: as in `convolve`; so are errors.

  Returns:
    `[B, S'..., C]`, of the type of x.
  """
  padding = same_padding(x.shape[1:-1], size, strides) if padding == "SAME" else padding
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
  """Convolves, normalises by frozen statistics of batches, and applies a ReLU.

  Attributes:
    channels: N.
    size, strides: of the window, one number an axis.
    padding: as in `convolve`.
    eps: added to the variance.
    relu: False leaves the ReLU out.
    normalize: False: a bias in place of the normalisation.
    dtype, implementation: as in `convolve`.
  """

  channels: int
  size: tuple
  strides: tuple | None = None
  padding: Padding = "SAME"
  eps: float = 1e-5
  relu: bool = True
  normalize: bool = True
  dtype: DTypeLike = jnp.float32
  implementation: str = "auto"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape, count = (*self.size, x.shape[-1], self.channels), self.channels
    kernel = self.param("kernel", nn.initializers.variance_scaling(2.0, "fan_in", "normal"), shape)
    bias = self.param("bias", nn.initializers.zeros, (count,))
    if self.normalize:                    # folded into the kernel: the result is never read again
      scale = self.param("scale", nn.initializers.ones, (count,))
      mean = self.variable("batch_stats", "mean", jnp.zeros, (count,)).value
      scale *= jax.lax.rsqrt(self.variable("batch_stats", "var", jnp.ones, (count,)).value + self.eps)
      kernel, bias = kernel * scale, bias - mean * scale
    form: dict[str, Any] = dict(dtype=self.dtype, implementation=self.implementation)
    strides = self.strides or (1,) * len(self.size)
    arranged = self.get_variable("arranged", "kernel")
    if arranged is None:
      arranged = arrange(kernel, x.shape, strides, self.padding, **form)
      if self.is_mutable_collection("arranged") and not self.is_initializing():
        self.put_variable("arranged", "kernel", arranged)
    x = convolve(x, kernel, strides, self.padding, arranged=arranged, **form) + bias
    return nn.relu(x) if self.relu else x


def one_by_one(module: nn.Module, variables: Mapping[str, Any], items: jax.Array,
               read: Callable[[Any], jax.Array]) -> jax.Array:
  """Returns features of items: all at once on accelerators, one by one on CPUs, where larger batches leave the cache.

  Args:
    module: a network of `ConvUnit`.
    variables: of it.
    items: `[B, ...]` clips or frames.
    read: what the network returns for some items -> their features.

  Returns:
    `[B, ...]` features.
  """
  if jax.default_backend() != "cpu":
    return read(module.apply(variables, items))
  _, arranged = module.apply(variables, items[:1], mutable="arranged")     # once; what else this computes is not used

  def encode(item: jax.Array) -> jax.Array:
    return read(module.apply({**variables, **arranged}, item[None]))[0]
  return jax.lax.map(encode, items)


def random_variables(module: nn.Module, inputs: jax.Array, seed: int = 0) -> dict[str, Any]:
  """Returns variables of a network for trials: weights that keep the scale of activations, drawn without compiling.

  Args:
    module: the network.
    inputs: its argument; shape and dtype count.
    seed: of the draw.

  Returns:
    {"params", "batch_stats"}.
  """
  rng = np.random.default_rng(seed)

  def draw(path: Sequence[Any], x: Any) -> jax.Array:
    name = path[-1].key
    if name == "kernel":
      return jnp.asarray(rng.normal(0, np.sqrt(2 / np.prod(x.shape[:-1])), x.shape), jnp.float32)
    if name in ("scale", "var"):
      return jnp.asarray(rng.uniform(0.7, 1.4, x.shape), jnp.float32)
    return jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32)
  return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(module.init, jax.random.key(0), inputs))
