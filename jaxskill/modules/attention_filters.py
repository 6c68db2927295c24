"""Temporal attention filters: which segments of a video say something about skill.

A filter scores every segment with FC(D, H) - ReLU - FC(H, 1); a softmax over the real segments turns the scores into
attention weights. Several modules ("high", "low") of K filters each read the same segments, so all their first layers
are one matrix product.

V videos, T segments, D feature channels, F filters of all modules, H hidden units of a filter, B ranking layers.

Reference: Doughty, Mayol-Cuevas, Damen, The Pros and Cons, CVPR 2019, Sec. 3.3 and Fig. 3.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxskill.modules.layers import contract, dot, torch_uniform

# Rows of [segments, channels] that one chunk of the CPU form holds: its hidden layer then stays in the cache.
_CHUNK_ROWS = 2000
_ALIGNED = 8        # columns that are added to a product at once: units for products like such multiples


def filter_logits(kernel: jax.Array, bias: jax.Array, readout: jax.Array, features: jax.Array,
                  noise: jax.Array | None = None, mean: jax.Array | None = None, scale: jax.Array | None = None, *,
                  dtype: DTypeLike = jnp.float32, implementation: str = "auto") -> jax.Array:
  """Returns attention logits of every filter on every segment, before the softmax; differentiable in reverse mode.

  Args:
    kernel, bias: `[F, H, D]`, `[F, H]` first layers of the filters.
    readout: `[F, H]` second layers.
    features: `[V, T, D]` segments. They are data: no gradient flows into them.
    noise, mean, scale: see `fold_inputs`; data too.
    dtype: of the operands of the matrix products; results and everything else are float32.
    implementation: "plain" (all segments at once, the form for accelerators), "chunked" (the form for CPUs), or "auto":
      "chunked" where JAX runs on a CPU.

  Returns:
    `[V, F, T]` float32 logits.

  Raises:
    ValueError: if `implementation` is not one of the three.
  """
  if implementation == "auto":
    implementation = "chunked" if jax.default_backend() == "cpu" else "plain"
  if implementation not in ("plain", "chunked"):
    raise ValueError(f"implementation={implementation!r} is unknown; use 'auto' or one of ['chunked', 'plain'].")
  chex.assert_shape(bias, kernel.shape[:2])
  plain, segments = implementation == "plain", features.shape[1]
  flat, offset = fold_inputs(kernel.reshape(-1, kernel.shape[2]), bias.ravel(), None if plain else noise, mean, scale,
                             dtype)
  folded, features = flat.reshape(kernel.shape), jax.lax.stop_gradient(features)
  if plain:
    noise = jnp.zeros((segments, kernel.shape[2])) if noise is None else noise if scale is None else noise * scale
    return _plain_logits(folded, offset.reshape(bias.shape), readout, features, noise, dtype)
  offset = jnp.broadcast_to(offset, (len(flat), segments)).reshape(*bias.shape, segments)
  return _chunked_logits(folded, offset, readout, features, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _plain_logits(kernel: jax.Array, bias: jax.Array, readout: jax.Array, features: jax.Array, noise: jax.Array,
                  dtype: DTypeLike) -> jax.Array:
  return _plain_forward(kernel, bias, readout, features, noise, dtype)[0]


def _plain_forward(kernel: jax.Array, bias: jax.Array, readout: jax.Array, features: jax.Array, noise: jax.Array,
                   dtype: DTypeLike) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  """Returns logits and residuals; filters outside, hidden units inside.

  So XLA fuses on a TPU what follows a product into it, and the gate into the next. Noise stays out of the product with
  the features, which the phases of a cycle have in common.
  """
  offset = contract("td,fhd->fth", noise, kernel, dtype) + bias[:, None]
  z = contract("vtd,fhd->fvth", features, kernel, dtype) + offset[:, None]
  logits = (nn.relu(z) * readout[:, None, None]).sum(axis=3).transpose(1, 0, 2)
  return logits, (kernel, bias, readout, features, noise, z > 0)


def _plain_backward(dtype: DTypeLike, residuals: Sequence[jax.Array], dlogits: jax.Array) -> tuple[jax.Array, ...]:
  """Returns the slopes, by one product with what the filters saw and with ones.

  These sum the gate G. A sum beside the product would cost a TPU more than half as much as the product.
  """
  kernel, bias, readout, features, noise, active = residuals
  gated = jnp.where(active, dlogits.transpose(1, 0, 2)[..., None], 0.0)                   # [F, V, T, H]
  aside = ((0, 0), (0, _ALIGNED))
  seen = jnp.pad(features, ((0, 0), *aside)).astype(jnp.float32) + jnp.pad(noise, aside, constant_values=1.0)
  product = contract("fvth,vtd->fhd", gated, seen, dtype)
  width = kernel.shape[2]
  slopes = _slopes(product[..., :width], product[..., width:width + 1], kernel, bias[..., None], readout)
  return slopes[0], slopes[1][..., 0], slopes[2], jnp.zeros_like(features), jnp.zeros_like(noise)


_plain_logits.defvjp(_plain_forward, _plain_backward)


def _slopes(product: jax.Array, total: jax.Array, kernel: jax.Array, offset: jax.Array,
            readout: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the slopes by kernel, offset and readout.

  Only `z > 0` was kept for them: they follow from sums of G, the gradient through
  the ReLU before the readout, for d kernel = readout * (G X^T) and
  d readout = sum_t dlogits * relu(z) = rowsum((G X^T) * kernel) + sum(G * offset). With bfloat16 this last one loses
  digits where channels of X have means of many deviations, standardised or not: that is folded into kernel and offset.

  Args:
    product: `[F, H, D]` G X^T.
    total: `[F, H, T]` sum of G over the videos, or `[F, H, 1]` over all segments too.
    offset: as total; X has all else that was added to the products of the kernel.
  """
  by_readout = (product * kernel).sum(axis=2) + (total * offset).sum(axis=2)
  return product * readout[..., None], total * readout[..., None], by_readout


def _chunks(features: jax.Array) -> jax.Array:
  """Cuts `[V, T, D]` into `[n, V/n, T, D]` of about `_CHUNK_ROWS` segments."""
  videos, segments = features.shape[:2]
  size = max(c for c in range(1, videos + 1) if videos % c == 0 and (c == 1 or c * segments <= _CHUNK_ROWS))
  return features.reshape(videos // size, size, *features.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _chunked_logits(kernel: jax.Array, offset: jax.Array, readout: jax.Array, features: jax.Array,
                    dtype: DTypeLike) -> jax.Array:
  return _chunked_forward(kernel, offset, readout, features, dtype)[0]


def _chunked_forward(kernel: jax.Array, offset: jax.Array, readout: jax.Array, features: jax.Array,
                     dtype: DTypeLike) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  """Returns logits and residuals; hidden units outside, segments inside.

  So both products run along contiguous memory, and what follows them stays in the cache.

  In float32 the first product stands outside the chunks, where XLA sees that the phases of a cycle have it in common:
  the filters rest in the ranking phase, and noise is only in the offset. With narrower operands a product costs no more
  than writing it out and reading it again.
  """
  filters, hidden, width = kernel.shape
  chunks = _chunks(features)
  rows = chunks.shape[1] * chunks.shape[2]

  def product(segments: jax.Array) -> jax.Array:
    return dot(kernel.reshape(-1, width), segments.reshape(-1, width), dtype)
  whole = product(features) if dtype == jnp.float32 else None                             # [F*H, V*T]

  def chunk(number: jax.Array) -> tuple[jax.Array, jax.Array]:
    part = (product(chunks[number]) if whole is None else
            jax.lax.dynamic_slice_in_dim(whole, number * rows, rows, axis=1))             # [F*H, c*T]
    part = part.reshape(filters, hidden, *chunks.shape[1:3]) + offset[:, :, None]         # [F, H, c, T]
    flat = nn.relu(part).reshape(filters, hidden, -1)       # in three axes: a fourth halves the speed of the next line
    logits = jnp.einsum("fht,fh->ft", flat, readout).reshape(filters, *chunks.shape[1:3])
    return logits, part > 0

  logits, active = jax.lax.map(chunk, jnp.arange(len(chunks)))                                  # [n, F, c, T]
  logits = logits.transpose(0, 2, 1, 3).reshape(-1, filters, features.shape[1])
  return logits, (kernel, offset, readout, features, active)


def _chunked_backward(dtype: DTypeLike, residuals: Sequence[jax.Array],
                      dlogits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  kernel, offset, readout, features, active = residuals
  filters, hidden, width = kernel.shape
  chunks = _chunks(features)
  dlogits = dlogits.reshape(*chunks.shape[:2], filters, -1).transpose(0, 2, 1, 3)         # [n, F, c, T]

  def chunk(sums: tuple[jax.Array, jax.Array],
            inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[tuple[jax.Array, jax.Array], None]:
    product, total = sums
    segments, active, dlogits = inputs
    gated = jnp.where(active, dlogits[:, None], 0.0)                                      # [F, H, c, T]
    flat = gated.reshape(filters * hidden, -1).astype(dtype)
    product += jax.lax.dot_general(flat, segments.reshape(-1, width).astype(dtype), (((1,), (0,)), ((), ())),
                                   preferred_element_type=jnp.float32)
    return (product, total + gated.sum(axis=2)), None

  zeros = (jnp.zeros((filters * hidden, width)), jnp.zeros(offset.shape))
  (product, total), _ = jax.lax.scan(chunk, zeros, (chunks, active, dlogits))
  return *_slopes(product.reshape(kernel.shape), total, kernel, offset, readout), jnp.zeros_like(features)


_chunked_logits.defvjp(_chunked_forward, _chunked_backward)


def fold_inputs(kernel: jax.Array, bias: jax.Array, noise: jax.Array | None = None, mean: jax.Array | None = None,
                scale: jax.Array | None = None, dtype: DTypeLike = jnp.float32) -> tuple[jax.Array, jax.Array]:
  """Returns a linear layer that does what happens to the features before it, so that features are never rewritten.

  kernel @ ((x - mean) / scale + noise) + bias = (kernel / scale) @ x + offset.

  Args:
    kernel, bias: `[N, D]`, `[N]` of the layer.
    noise: `[T, D]` one draw for all videos, or None.
    mean, scale: `[D]` that standardize the features, or None.
    dtype: operands of the product with the noise.

  Returns:
    `[N, D]` kernel for the raw features, `[N, T]` (`[N, 1]` without noise) float32 offset.
  """
  offset = bias[:, None]
  if noise is not None:
    offset = offset + dot(kernel, noise, dtype)
  if mean is not None and scale is not None:
    kernel = kernel / scale
    offset = offset - (kernel @ mean)[:, None]
  return kernel, offset


class AttentionFilters(nn.Module):
  """M attention modules of K filters each.

  Attributes:
    modules: names of the modules; each becomes a sub-tree of parameters.
    num_filters: K, filters of a module.
    hidden: H, hidden units of a filter.
    normalize: "softmax" over the real segments (below Eq. 17), or "sigmoid" a segment, divided by their number (the
      class-agnostic attention of STPN: Nguyen et al., CVPR 2018, Eq. 1).
    dtype: operands of the matrix products.
    implementation: see `filter_logits`.
  """

  modules: tuple[str, ...]
  num_filters: int = 3
  hidden: int = 256
  normalize: str = "softmax"
  dtype: DTypeLike = jnp.float32
  implementation: str = "auto"

  @nn.compact
  def __call__(self, features: jax.Array, mask: jax.Array, noise: jax.Array | None = None,
               mean: jax.Array | None = None, scale: jax.Array | None = None) -> dict[str, jax.Array]:
    """Returns the attention weights of every filter: the terms of Eq. 17.

    Args:
      features: `[V, T, D]` segments.
      mask: `[V, T]` bool, True on real segments.
      noise, mean, scale: see `fold_inputs`.

    Returns:
      {module: `[V, K, T]` float32 attention weights, zero on padding}.
    """
    width = features.shape[-1]
    shapes = dict(kernel=(self.num_filters, self.hidden, width), bias=(self.num_filters, self.hidden),
                  readout=(self.num_filters, self.hidden), readout_bias=(self.num_filters,))
    fan_in = dict(kernel=width, bias=width, readout=self.hidden, readout_bias=self.hidden)

    def initialize(key: jax.Array) -> Any:
      return {name: torch_uniform(fan_in[name])(k, shape) for (name, shape), k in
              zip(shapes.items(), jax.random.split(key, len(shapes)))}
    parameters = [self.param(module, initialize) for module in self.modules]
    kernel, bias, readout, readout_bias = (jnp.concatenate([p[name] for p in parameters]) for name in shapes)
    logits = filter_logits(kernel, bias, readout, features, noise, mean, scale, dtype=self.dtype,
                           implementation=self.implementation) + readout_bias[:, None]
    mask = mask[:, None]                                                                  # [V, 1, T]
    if self.normalize == "softmax":
      weights = jnp.where(mask, nn.softmax(jnp.where(mask, logits, -1e9), axis=-1), 0.0)  # [V, F, T]
    elif self.normalize == "sigmoid":
      weights = jnp.where(mask, nn.sigmoid(logits), 0.0) / mask.sum(axis=-1, keepdims=True)
    else:
      raise ValueError(f"normalize={self.normalize!r} is unknown; use 'softmax' or 'sigmoid'.")
    return dict(zip(self.modules, jnp.split(weights, len(self.modules), axis=1)))


class RankingLayers(nn.Module):
  """One FC(D, 1) a branch, applied to segments: it commutes with pooling, so pooled features are never formed.

  fc(sum_t a_t x_t) = sum_t a_t fc(x_t) (Eq. 3, 8, 9).
  """

  branches: tuple[str, ...]
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: jax.Array, noise: jax.Array | None = None, mean: jax.Array | None = None,
               scale: jax.Array | None = None) -> dict[str, Any]:
    """Applies every branch to every segment.

    Args:
      features: `[V, T, D]` segments. They are data: no gradient flows into them.
      noise, mean, scale: see `fold_inputs`.

    Returns:
      {branch: (`[V, T]` float32 products with its kernel, `[]` its bias)}.
    """
    width = features.shape[-1]
    kernels = [self.param(f"{branch}_kernel", torch_uniform(width), (width,)) for branch in self.branches]
    biases = [self.param(f"{branch}_bias", torch_uniform(width), ()) for branch in self.branches]
    kernel, offset = fold_inputs(jnp.stack(kernels), jnp.zeros(len(kernels)), noise, mean, scale, self.dtype)
    values = dot(jax.lax.stop_gradient(features), kernel, self.dtype) + offset.T          # [V, T, B]
    return {branch: (values[..., i], biases[i]) for i, branch in enumerate(self.branches)}
