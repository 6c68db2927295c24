"""The group-aware regression tree: a difference of scores, first coarsely as a group, then finely within it.

The range of differences is cut into groups, one a leaf. A binary tree walks from the root to the leaves; the
probability of a leaf is the product of the branches on its path, and every leaf regresses where in its group the
difference lies.

B rows, D channels of a row, H hidden units of a node, L leaves (a power of two); level i has 2^i nodes.

Reference: Yu et al., Group-aware Contrastive Regression for Action Quality Assessment, ICCV 2021, Sec. 3.2 and Fig. 3.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxskill.modules.layers import contract, dot, torch_uniform


class RegressionTree(nn.Module):
  """The tree; all nodes of a level are one batched product.

  Attributes:
    num_leaves: L, 2 or more. The paper writes 2^d leaves for depth d, the published code has 2^(d - 1).
    hidden: H.
    activation: of the regressions of the leaves, "sigmoid" (the paper) or "none" (the published code).
    dtype: operands of the matrix products; results and everything else are float32.
  """

  num_leaves: int
  hidden: int = 256
  activation: str = "sigmoid"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array) -> tuple[list[jax.Array], jax.Array]:
    """Walks down the tree.

    Activations are node-major with rows innermost, `[n, H, B]`: the two children of every node lie side by side in what
    its product gives, so going down a level is a reshape, and all products run along contiguous memory.

    Args:
      rows: `[B, D]`.

    Returns:
      ([`[B, 2]`, `[B, 4]`, ..., `[B, L]`] log-probabilities, level by level, and `[B, L]` regressions of the leaves).

    Raises:
      ValueError: if the number of leaves is not a power of two, or the activation is unknown.
    """
    check(self.num_leaves, self.activation)
    hidden = self.hidden
    nodes = nn.relu(self._products("first", 1, hidden, rows.T[None]))                     # [1, H, B]
    path, levels = jnp.zeros((1, len(rows))), []
    for level in range(self.num_leaves.bit_length() - 1):
      count = 2 ** level
      out = self._products(f"level_{level}", count, 2 * hidden + 2, nodes)                # [n, 2 H + 2, B]
      branch = nn.log_softmax(out[:, 2 * hidden:], axis=1)                                # the two branches of a node
      path = (path[:, None] + branch).reshape(2 * count, -1)                              # [2 n, B]
      levels.append(path.T)
      nodes = nn.relu(out[:, : 2 * hidden]).reshape(2 * count, hidden, -1)                # [2 n, H, B]
    regression = self._products("leaves", self.num_leaves, 1, nodes, jnp.float32)[:, 0].T
    return levels, nn.sigmoid(regression) if self.activation == "sigmoid" else regression

  def _products(self, name: str, nodes: int, out: int, rows: jax.Array, dtype: DTypeLike | None = None) -> jax.Array:
    """Sends `[n, D, B]` rows through a layer of each of n nodes: -> `[n, out, B]` float32."""
    width, dtype = rows.shape[1], dtype or self.dtype

    def initialize(key: jax.Array) -> Any:
      kernel_key, bias_key = jax.random.split(key)
      return dict(kernel=torch_uniform(width)(kernel_key, (nodes, out, width)),
                  bias=torch_uniform(width)(bias_key, (nodes, out)))
    weights = self.param(name, initialize)
    return contract("nkd,ndb->nkb", weights["kernel"], rows, dtype) + weights["bias"][..., None]


class Perceptron(nn.Module):
  """What stands in the place of the tree in Table 3: a perceptron as wide as its path, `[B, D]` rows -> `[B]`."""

  hidden: int = 256
  depth: int = 3
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array) -> jax.Array:
    for layer in range(self.depth):
      out = 1 if layer == self.depth - 1 else self.hidden
      start = torch_uniform(rows.shape[-1])
      kernel = self.param(f"kernel_{layer}", start, (out, rows.shape[-1]))
      bias = self.param(f"bias_{layer}", start, (out,))
      rows = dot(rows, kernel, self.dtype) + bias
      rows = nn.relu(rows) if layer < self.depth - 1 else rows
    return rows[..., 0]


def check(num_leaves: int, activation: str) -> None:
  """Raises a `ValueError` for a tree that cannot be."""
  if num_leaves < 2 or num_leaves & (num_leaves - 1):
    raise ValueError(f"num_leaves={num_leaves} must be a power of two, 2 or more.")
  if activation not in ("sigmoid", "none"):
    raise ValueError(f"activation={activation!r} is unknown; use 'sigmoid' or 'none'.")


def group_borders(differences: np.ndarray, num_leaves: int, *, symmetric: bool = False,
                  limits: tuple[int, float] | None = None) -> np.ndarray:
  """Cuts the differences of training pairs into groups of equal count (Eq. 5).

  Args:
    differences: `[n]` score differences; float32, like the differences that are compared with the borders.
    num_leaves: L.
    symmetric: as published: absolute differences are cut into L / 2 groups, which are mirrored.
    limits: (inner, outer) bounds that replace the outermost ones, as published: (0, score range) with `symmetric`,
      (lowest, highest) without; None keeps those of the data.

  Returns:
    `[L, 2]` float32 (left, right) of each group, ascending; groups without width arise from equal differences.

  Raises:
    ValueError: if there is no difference.
  """
  values = np.sort(np.abs(differences) if symmetric else differences).astype(np.float32)
  if not values.size:
    raise ValueError("groups of score differences need training pairs; there is none.")
  parts = num_leaves // 2 if symmetric else num_leaves
  edges = values[(len(values) - 1) * np.arange(parts + 1) // parts]
  if limits is not None:
    edges[[0, -1]] = limits
  bounds = np.stack([edges[:-1], edges[1:]], axis=1)
  return np.concatenate([-bounds[::-1, ::-1], bounds]) if symmetric else bounds


def group_of(difference: jax.Array, bounds: jax.Array, outside: str = "nearest") -> jax.Array:
  """Returns the group that holds a difference: [left, right) from zero on, (left, right] below, compared in float32.

  Args:
    difference: `[...]`.
    bounds: `[L, 2]`.
    outside: of all groups: "nearest" takes the outermost; "first" the first, without a regression (as published).

  Returns:
    `[..., L]` float32: 1 at the group, or all 0 where a difference is in none.
  """
  d, left, right = difference[..., None], bounds[:, 0], bounds[:, 1]
  if outside == "nearest":
    left, right = left.at[0].set(-jnp.inf), right.at[-1].set(jnp.inf)
  return jnp.where(d >= 0, (left <= d) & (d < right), (left < d) & (d <= right)).astype(jnp.float32)


def within_group(difference: jax.Array, bounds: jax.Array) -> jax.Array:
  """Returns where differences lie in each group: 0 at its left border, 1 at its right (the inverse of Eq. 7).

  Args:
    difference: `[...]`.
    bounds: `[L, 2]`.

  Returns:
    `[..., L]`; 0 in a group without width.
  """
  width = bounds[:, 1] - bounds[:, 0]
  return jnp.where(width > 0, (difference[..., None] - bounds[:, 0]) / jnp.where(width > 0, width, 1.0), 0.0)


def decode(log_probability: jax.Array, regression: jax.Array, bounds: jax.Array, empty: str = "border") -> jax.Array:
  """Returns the difference that the most probable leaf says, the first of equal ones (Eq. 7).

  Args:
    log_probability, regression: `[..., L]` of the leaves.
    bounds: `[L, 2]`.
    empty: what a leaf says whose group has no width: its "border", or border + regression, an "offset" (as published).

  Returns:
    `[...]` differences, in the unit of the bounds.
  """
  leaf = jnp.argmax(log_probability, axis=-1)[..., None]
  width = bounds[:, 1] - bounds[:, 0]
  value = bounds[:, 0] + regression * (jnp.where(width > 0, width, 1.0) if empty == "offset" else width)
  return jnp.take_along_axis(value, leaf, axis=-1)[..., 0]


def expected(log_probability: jax.Array, regression: jax.Array, bounds: jax.Array) -> jax.Array:
  """Returns `[...]` differences that a tree expects over all its leaves, given as to `decode`."""
  value = bounds[:, 0] + regression * (bounds[:, 1] - bounds[:, 0])
  return jnp.sum(jnp.exp(log_probability) * value, axis=-1)


def log_one_minus_exp(log_probability: jax.Array) -> jax.Array:
  """Returns log(1 - exp(x)) for `[...]` x <= 0, finite with a finite gradient up to x = 0."""
  x = jnp.minimum(log_probability, -1e-7)
  near = x > -0.6931472
  return jnp.where(near, jnp.log(-jnp.expm1(x)), jnp.log1p(-jnp.exp(jnp.where(near, -1.0, x))))
