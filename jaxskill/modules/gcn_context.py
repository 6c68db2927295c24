"""Context-aware attention: one feature of a stream of instances, each seen among the others of its video.

Every instance (a segment, a frame) is embedded; two graph convolutions show it the instances that resemble it or lie
near it; an attention unit reads both, and its weights pool them.

V videos, T instances, D feature channels, C channels of embedding and graph, R = V * T instances of a batch.
Activations are feature-major, `[channels, R]`: forward and backward products then all run along contiguous memory,
which XLA needs on CPUs. Accelerators read their operands either way, so this is the only form.

Reference: Zeng et al., Hybrid Dynamic-static Context-aware Attention Network for Action Assessment in Long Videos, ACM
MM 2020. "Eq." below are its equations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.typing import DTypeLike

from jaxskill.modules.attention_filters import AttentionFilters
from jaxskill.modules.layers import dot

ADJACENCIES = ("feature", "time")
CONTEXTS = ("gcn", "none", "lstm", "bilstm")
POOLINGS = ("attention", "average", "max", "filters")

# Squared distances below this share of the squared norms are rounding: such features count as equal.
_ROUNDING = 1e-6


def _matmul(left: jax.Array, right: jax.Array, dtype: DTypeLike) -> jax.Array:
  """Multiplies `[N, M]` by `[M, D]`; `dot` would fold a transpose into it, which XLA makes 3 times as slow."""
  return jax.lax.dot_general(left.astype(dtype), right.astype(dtype), (((1,), (0,)), ((), ())),
                             preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def product(kernel: jax.Array, x: jax.Array, from_rows: bool, dtype: DTypeLike) -> jax.Array:
  """Returns the float32 product of a kernel with instances `[N, R]`; operands are cast to `dtype`.

  Args:
    kernel: `[N, D]`.
    x: `[D, R]`, or `[R, D]` with `from_rows`: then they are data, and no gradient flows into them.
  """
  return dot(kernel, x, dtype) if from_rows else _matmul(kernel, x, dtype)


def _product_forward(kernel: jax.Array, x: jax.Array, from_rows: bool,
                     dtype: DTypeLike) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return product(kernel, x, from_rows, dtype), (kernel, x)


def _as_written(matrix: jax.Array) -> jax.Array:
  """Rows of the matrix lie side by side in the memory of a CPU.

  XLA:CPU makes a product four times as slow when it folds a transpose into it, and cannot run one of bfloat16 with two.
  """
  return jax.lax.platform_dependent(
      matrix, cpu=lambda x: with_layout_constraint(x, Layout((0, 1))), default=lambda x: x)


def _product_backward(from_rows: bool, dtype: DTypeLike, residuals: tuple[jax.Array, jax.Array],
                      gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns both slopes; autodiff would multiply float32 by the cast operand, in float32, and sum over major axes."""
  kernel, x = residuals
  if from_rows:
    return _matmul(gradient, x, dtype), jnp.zeros_like(x)
  return dot(gradient, x, dtype), _as_written(_matmul(_as_written(kernel.T), gradient, dtype))


product.defvjp(_product_forward, _product_backward)


class Dense(nn.Module):
  """Fully connected layer on feature-major instances. Xavier-uniform and zero at first, as published."""

  channels: int
  dtype: DTypeLike = jnp.float32
  from_rows: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    width = x.shape[-1] if self.from_rows else x.shape[0]
    kernel = self.param("kernel", nn.initializers.xavier_uniform(), (self.channels, width))
    bias = self.param("bias", nn.initializers.zeros, (self.channels,))
    return product(kernel, x, self.from_rows, self.dtype) + bias[:, None]                 # [channels, R]


def distances(features: jax.Array) -> jax.Array:
  """Returns Euclidean distances between the instances of each video; the gradient is 0 where two features are equal.

  The naive form, whose `[V, T, T, C]` differences do not fit in a cache:
    difference = features[:, :, None] - features[:, None]
    return sqrt((difference ** 2).sum(axis=3))

  Args:
    features: `[V, T, C]`.

  Returns:
    `[V, T, T]`, zero on the diagonal.
  """
  gram = jnp.einsum("vsc,vtc->vst", features, features, precision="highest")              # differences of its entries
  norms = jnp.einsum("vtt->vt", gram)
  total = norms[:, :, None] + norms[:, None]
  square = total - 2 * gram
  apart = square > _ROUNDING * total
  return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)


def graph(adjacency: str, mask: jax.Array, embedded: jax.Array,
          scale: float = 1.0) -> tuple[jax.Array, jax.Array | None]:
  """Returns the graph on the instances of each video: D^-1/2 A D^-1/2 (Eq. 1, 2).

  Args:
    adjacency: "feature": A = exp(-||f_i - f_j|| / K) + I (the paper), or "time": A = exp(-|i - j|) (the published
      code), whose diagonal is 1 already.
    mask: `[V, T]` bool, True on real instances.
    embedded: `[C, R]` f, the embedded features.
    scale: K of "feature", in the unit of f.

  Returns:
    (matrix, factor): "feature": all of it, `[V, T, T]`, zero on padding, and None; "time": A, `[T, T]` for all videos,
      and D^-1/2, `[V, T]`, zero on padding, which its rows and columns are still to be multiplied by.

  Raises:
    ValueError: if `adjacency` is neither.
  """
  videos, count = mask.shape
  if adjacency == "feature":
    features = jnp.where(mask[..., None], embedded.reshape(-1, videos, count).transpose(1, 2, 0), 0.0)
    real = mask.sum(axis=1)[:, None, None]
    features -= features.sum(axis=1, keepdims=True) / real        # distances stay, the norms that hide them go
    features = jnp.where(mask[..., None], features, 0.0)
    matrix = jnp.exp(-distances(features) / scale) + jnp.eye(count)
    degree = jnp.einsum("vst,vt->vs", matrix, mask.astype(matrix.dtype))
    factor = jnp.where(mask, jax.lax.rsqrt(degree), 0.0)
    return factor[:, :, None] * matrix * factor[:, None], None
  if adjacency == "time":
    place = jnp.arange(count)
    matrix = jnp.exp(-jnp.abs(place[:, None] - place).astype(embedded.dtype))
    return matrix, jnp.where(mask, jax.lax.rsqrt(mask.astype(matrix.dtype) @ matrix), 0.0)
  raise ValueError(f"adjacency={adjacency!r} is unknown; use one of {', '.join(ADJACENCIES)}.")


def propagate(matrix: jax.Array, factor: jax.Array | None, x: jax.Array) -> jax.Array:
  """Replaces every instance by the weighted sum of its neighbors.

  Args:
    matrix, factor: see `graph`.
    x: `[C, R]` instances.

  Returns:
    `[C, R]` float32.
  """
  if factor is None:
    return jnp.einsum("cvt,vts->cvs", x.reshape(len(x), *matrix.shape[:2]), matrix).reshape(len(x), -1)
  x = x.reshape(len(x), *factor.shape) * factor                                           # [C, V, T]
  return (x @ matrix * factor).reshape(len(x), -1)


class StreamEncoder(nn.Module):
  """One stream of a video -> one feature.

  Attributes:
    hidden: units of the first embedding layer; 0 is half the width of the stream (512, 1024 in the paper).
    channels: C, even with "bilstm".
    context: what an instance knows of the others. "gcn": two graph convolutions, concatenated with the embedding
      (Eq. 4); "none": the embedding alone; "lstm": the states of a recurrent network of C units over the embedding;
      "bilstm": those of C / 2 units in each direction, concatenated (256 and 128 in Sec. 5.4 of the paper).
    adjacency, scale: see `graph`.
    pooling: "attention": the attention unit (Eq. 5); "average", "max"; "filters": mean of the filters of Pros & Cons,
      which read the stream itself.
    attention_hidden: units of the attention unit.
    num_filters, filter_hidden: of "filters".
    dtype: operands of the products with kernels; recurrent networks are float32.
  """

  hidden: int = 0
  channels: int = 256
  context: str = "gcn"
  adjacency: str = "feature"
  scale: float = 1.0
  pooling: str = "attention"
  attention_hidden: int = 128
  num_filters: int = 3
  filter_hidden: int = 256
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Embeds the instances, shows each its context, and pools them (Eq. 1 to 5).

    Args:
      features: `[V, T, D]` instances. They are data: no gradient flows into them.
      mask: `[V, T]` bool, True on real instances, at least one a video.

    Returns:
      `[V, C']` feature of the stream (C' = 2C with "gcn", else C), and `[V, T]` how much each instance weighs in it:
      sums to 1, zero on padding. Both float32.

    Raises:
      ValueError: if an attribute is none of its choices.
    """
    for name, allowed in (("context", CONTEXTS), ("pooling", POOLINGS)):
      if getattr(self, name) not in allowed:
        raise ValueError(f"{name}={getattr(self, name)!r} is unknown; use one of {', '.join(allowed)}.")
    videos, count, width = features.shape
    dense = functools.partial(Dense, dtype=self.dtype)
    x = nn.relu(dense(self.hidden or width // 2, from_rows=True, name="embed_1")(features.reshape(-1, width)))
    x = nn.relu(dense(self.channels, name="embed_2")(x))                                  # [C, R]
    if self.context == "gcn":
      x = self._graph_convolutions(dense, x, mask)
    elif self.context != "none":
      x = self._recurrence(x, mask)
    if self.pooling == "filters":
      filters = AttentionFilters(("filters",), self.num_filters, self.filter_hidden, dtype=self.dtype, name="attend")
      weights = filters(features, mask)["filters"].mean(axis=1)                           # [V, T]
    elif self.pooling == "attention":
      logits = nn.relu(dense(self.attention_hidden, name="attend_1")(x))
      logits = Dense(1, name="attend_2")(logits).reshape(videos, count)
      weights = jnp.where(mask, nn.softmax(jnp.where(mask, logits, -1e9), axis=1), 0.0)
    else:
      weights = mask / mask.sum(axis=1, keepdims=True)
    x = x.reshape(-1, videos, count)
    if self.pooling == "max":
      x = jnp.where(mask, x, -jnp.inf)
      weights = jax.nn.one_hot(jnp.argmax(x, axis=2), count).mean(axis=0)                 # share of the channels
      return x.max(axis=2).T, weights
    return jnp.einsum("cvt,vt->vc", x, weights), weights

  def _graph_convolutions(self, dense: Callable[..., Any], embedded: jax.Array, mask: jax.Array) -> jax.Array:
    near = graph(self.adjacency, mask, embedded, self.scale)
    x = nn.relu(dense(self.channels, name="graph_1")(propagate(*near, embedded)))
    x = dense(self.channels, name="graph_2")(propagate(*near, x))                         # Eq. 3
    return jnp.concatenate([embedded, nn.relu(x)])                                        # [2C, R] (Eq. 4)

  def _recurrence(self, embedded: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns `[n U, R]` states of an LSTM; one scan for both directions: on a CPU, two scans can block each other."""
    ways = 1 + (self.context == "bilstm")
    units = self.channels // ways

    def initialize(key: jax.Array) -> Any:
      keys = jax.random.split(key)
      start = nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
      return dict(input=start(keys[0], (ways, self.channels, 4 * units)), bias=jnp.zeros((ways, 4 * units)),
                  state=nn.initializers.orthogonal()(keys[1], (ways, units, 4 * units)))
    weights = self.param("lstm", initialize)

    def turned(x: jax.Array) -> jax.Array:
      return jnp.stack([x, x[::-1]][:ways], axis=1)  # [T, n, V, ...]
    rows = turned(embedded.reshape(self.channels, *mask.shape).transpose(2, 1, 0))
    gates = jnp.einsum("tnvc,nck->tnvk", rows, weights["input"]) + weights["bias"][:, None]

    def step(carry: tuple[jax.Array, jax.Array],
             now: tuple[jax.Array, jax.Array]) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
      (state, memory), (gate, real) = carry, now
      gate = gate + jnp.einsum("nvc,nck->nvk", state, weights["state"])
      write, forget, show = (nn.sigmoid(x) for x in jnp.split(gate[..., : 3 * units], 3, axis=-1))
      new = forget * memory + write * jnp.tanh(gate[..., 3 * units:])
      memory, state = jnp.where(real, new, memory), jnp.where(real, show * jnp.tanh(new), state)
      return (state, memory), state

    start = jnp.zeros((2, ways, len(mask), units))
    _, states = jax.lax.scan(step, tuple(start), (gates, turned(mask.T)[..., None]))      # [T, n, V, U]
    states = jnp.concatenate([states[:, 0], states[::-1, 1]] if ways == 2 else [states[:, 0]], axis=-1)
    return states.transpose(2, 1, 0).reshape(-1, embedded.shape[1])


class ScoreHead(nn.Module):
  """The features of all streams -> a score between 0 and 1 (Eq. 6)."""

  hidden: int = 128
  dropout: float = 0.5
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: jax.Array, keys: jax.Array | None = None) -> jax.Array:
    """Scores videos.

    Args:
      features: `[V, F]` of all streams, side by side.
      keys: `[V]` dropout keys of the videos; None: no dropout.

    Returns:
      `[V]` float32 scores between 0 and 1.
    """
    x = nn.relu(Dense(self.hidden, self.dtype, name="fc_1")(features.T))                  # [H, V]
    if keys is not None and self.dropout:
      keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.dropout, (self.hidden,)), out_axes=1)(keys)
      x = jnp.where(keep, x / (1 - self.dropout), 0.0)
    return nn.sigmoid(Dense(1, name="fc_2")(x)[0])
