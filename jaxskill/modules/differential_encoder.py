"""How a performance differs from a reference: embeddings of rows, and perceptrons on aligned pairs of them.

`Heads` is the differential encoder of the preprint; `Rows` stands in its place in the first two rows of its Table 2.

T rows, D channels, E of an embedding, A of a direction, H heads, P hidden units and F outputs of all heads, K segments.

Reference: SkillDiff, preprint 2026, Sec. 3.2 (encoder), 3.3 (heads) and 3.4 (scores of segments).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxskill.modules.layers import contract, dot, torch_uniform

TINY = 1e-6                               # below it a squared norm counts as none


class Linear(nn.Module):
  """`[..., D]` rows -> `[..., N]` float32; products of `dtype`."""

  out: int
  bias: bool = True
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array) -> jax.Array:
    start = torch_uniform(rows.shape[-1])
    result = dot(rows, self.param("kernel", start, (self.out, rows.shape[-1])), self.dtype)
    return result + self.param("bias", start, (self.out,)) if self.bias else result


class Encoder(nn.Module):
  """Reads each row by itself: FC - ReLU - FC to an embedding, to compare; FC and norm 1 to a direction, to align.

  Attributes:
    hidden: units of the first layer; width: E; directions: A, 0 where embeddings themselves are aligned (Sec. 3.2).
    dtype: operands of the matrix products; results are float32.
  """

  hidden: int
  width: int
  directions: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`[..., D]` rows -> `[..., E]` embeddings, `[..., A]` directions; those of a row without any content are zero."""
    units = nn.relu(Linear(self.hidden, dtype=self.dtype, name="hidden_layer")(rows))
    embeddings = Linear(self.width, dtype=self.dtype, name="embedding")(units)
    if not self.directions:
      return embeddings, embeddings
    directions = Linear(self.directions, dtype=self.dtype, name="direction")(embeddings)
    norm = jnp.sqrt(jnp.maximum(jnp.sum(directions ** 2, axis=-1, keepdims=True), TINY))
    return embeddings, directions / norm


def judges(dtype: DTypeLike) -> tuple[Linear, Linear]:
  """Returns the layers that a segment's score and its importance come from (Sec. 3.4)."""
  return Linear(1, dtype=dtype), Linear(1, bias=False, dtype=dtype)       # a softmax sees no bias


class Compared(nn.Module):
  """What the kinds below share: scores of segments, from what `compare` says of their rows."""

  def judge(self, segments: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the logits `[K]` of scores and `[K]` of importance of segments, given their `[K, F]` mean differences."""
    return self.score(segments)[:, 0], self.importance(segments)[:, 0]

  def __call__(self, embeddings: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Touches every parameter, to make them: `[T, E]` embeddings against themselves."""
    return self.judge(self.compare(*self.project(embeddings), jnp.zeros(len(embeddings))))


class Rows(Compared):
  """What the heads would read, as it is: without any differential encoder (Table 2).

  Attributes:
    aligned: whether a row is the query, the aligned reference, their difference and the timing offset; else it is the
      query alone, which no reference touches: direct regression.
  """

  aligned: bool
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the layers; the differences have no parameters."""
    self.score, self.importance = judges(self.dtype)

  def project(self, embeddings: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns `[..., E]` embeddings as they are, as query and as reference."""
    return embeddings, embeddings

  def compare(self, query: jax.Array, reference: jax.Array, offset: jax.Array) -> jax.Array:
    """Returns `[T, F]` what rows show, F = 3 E + 1 or E: see `aligned`.

    Args:
      query: `[T, E]` embeddings.
      reference: `[T, E]` those that are aligned with it.
      offset: `[T]` absolute timing offset, as a share of the duration.
    """
    if not self.aligned:
      return query
    return jnp.concatenate([query - reference, query, reference, offset[:, None]], axis=-1)


class Heads(Compared):
  """How a row differs, by H perceptrons FC - ReLU - FC - ReLU side by side, and what that says of a segment.

  The first layer is linear in query, aligned reference and their difference, so `project` applies it to the rows of
  each video once, not to every aligned pair.
  """

  count: int
  hidden: int                             # units and outputs of one head
  outputs: int
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Makes the layers of all heads, side by side."""
    units = self.count * self.hidden
    self.query = Linear(units, dtype=self.dtype)
    self.reference, self.residual, self.timing = (Linear(units, bias=False, dtype=self.dtype) for _ in range(3))
    start = torch_uniform(self.hidden)
    self.kernel = self.param("kernel", start, (self.count, self.outputs, self.hidden))
    self.bias = self.param("bias", start, (self.count, self.outputs))
    self.score, self.importance = judges(self.dtype)

  def project(self, embeddings: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the `[..., P]` parts of the hidden units of `[..., E]` embeddings as query, and as reference."""
    residual = self.residual(embeddings)
    return self.query(embeddings) + residual, self.reference(embeddings) - residual

  def compare(self, query: jax.Array, reference: jax.Array, offset: jax.Array) -> jax.Array:
    """Returns `[T, F]` how rows differ (Sec. 3.3).

    Args:
      query: `[T, P]` parts of `project`.
      reference: `[T, P]` those of the rows that are aligned with it.
      offset: `[T]` absolute timing offset, as a share of the duration.
    """
    units = nn.relu(query + reference + self.timing(offset[:, None])).reshape(-1, self.count, self.hidden)
    # Heads first: with rows first, XLA compiles the gradient of bfloat16 into a product that some CPUs cannot run.
    heads = contract("htp,hfp->htf", units.swapaxes(0, 1), self.kernel, self.dtype)
    result = add_bias(heads.swapaxes(0, 1), self.bias)
    return nn.relu(result).reshape(len(query), -1)


@jax.custom_vjp
def add_bias(rows: jax.Array, bias: jax.Array) -> jax.Array:
  """Returns `[T, ...]` rows plus a `[...]` bias.

  Its gradient is summed in halves: XLA cuts a plain sum of this size by the number of processor cores, and the last bit
  of training would depend on how many a process was given.
  """
  return rows + bias


def _bias_gradient(_: Any, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
  total = slope
  while len(total) > 1:
    if len(total) % 2:
      total = jnp.concatenate([total, jnp.zeros_like(total[:1])])
    total = total[:len(total) // 2] + total[len(total) // 2:]
  return slope, total[0]


add_bias.defvjp(lambda rows, bias: (rows + bias, None), _bias_gradient)
