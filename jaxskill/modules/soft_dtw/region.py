"""Where a path may go in a cost matrix, and the matrix as the passes take it.

N, M segments of the two series (rows, columns).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxskill.modules.soft_dtw.distance import as_float
from jaxskill.modules.soft_dtw.steps import FAR, NEVER


def parallelogram(rows: int, columns: int, lengths: tuple[int | jax.Array, int | jax.Array],
                  max_slope: float) -> jax.Array:
  """Returns `[N, M]` bool, the cells of Itakura's band of two series.

  With the first cell at (0, 0), the last at (1, 1) and the others evenly between them, these are the cells that can be
  reached from both along lines with slopes from 1 / max_slope to max_slope; of series of one length, the mask that
  tslearn gives. Where these leave no path, for series of different lengths or a slope near 1, the cells
  nearest to the straight line are in the band too, so that there is always one.

  Args:
    rows, columns: N and M, with padding.
    lengths: (n, m) real segments.
    max_slope: 1 or more.

  Reference: Itakura, IEEE TASSP 23(1), 1975, whose slopes are 1/2 and 2 (his rule for single steps is not applied).
  """
  n, m = (length - 1 for length in lengths)
  down, right = jnp.arange(rows)[:, None] * m, jnp.arange(columns) * n       # both in units of 1 / (n m)
  slope = max_slope * (1 + 1e-6)                                             # what is on the edge is inside
  inside = jnp.ones((rows, columns), bool)
  for one, other in ((down, right), (n * m - down, n * m - right)):
    inside &= (one <= slope * other) & (other <= slope * one)
  nearest = 2 * jnp.abs(down - right) <= jnp.maximum(n, m)                   # a chain of cells, corner to corner
  return inside | nearest


def prepare(cost: jax.Array, gamma: float, lengths: tuple[jax.Array, jax.Array] | None, bandwidth: int | None,
            max_slope: float | None, free_ends: bool = False) -> tuple[jax.Array, jax.Array, bool]:
  """Returns what the passes take: the cost in gammas, where paths end, and whether rows and columns are swapped.

  Args:
    cost: `[N, M]`.
    gamma, lengths, bandwidth, max_slope, free_ends: see `alignment.soft_dtw`.

  Returns:
    `[N, M]` cost / gamma with N <= M, far where no path may go. Where ends are free nothing is swapped, and it is
      `[N + 1, M]`: a path that has ended walks on along the row after its last one, at no cost, to the last column.
    `[N]` int32 stop: the number of the diagonal of the last cell in the row of that cell, in others one that none has.
    Whether the two series are swapped, so that N <= M.

  Raises:
    ValueError: as `alignment.soft_dtw`.
  """
  cost = jnp.asarray(cost)
  if cost.ndim != 2 or not cost.size:
    raise ValueError(f"cost has the shape {cost.shape}; expected a matrix [N, M] that is not empty; map further axes "
                     "with jax.vmap.")
  ends: tuple[int | jax.Array, int | jax.Array] = (cost.shape[0], cost.shape[1]) if lengths is None else lengths
  check(gamma, ends, cost.shape, bandwidth, max_slope)
  if free_ends and not (bandwidth is None and max_slope is None):
    raise ValueError("free_ends aligns with any piece of a series, wherever it lies, and has no band; leave bandwidth "
                     "and max_slope out.")
  cost, transposed = as_float(cost), cost.shape[0] > cost.shape[1] and not free_ends
  if transposed:                   # short diagonals, more of them: fewer cells outside the matrix
    cost, ends = cost.T, (ends[1], ends[0])
  rows, columns = jnp.arange(cost.shape[0]), jnp.arange(cost.shape[1])
  limits = []
  if lengths is not None:
    limits.append((rows < ends[0])[:, None] & (columns < ends[1]))
  if bandwidth is not None:
    width = jnp.maximum(bandwidth, jnp.abs(ends[0] - ends[1]))
    limits.append(jnp.abs(rows[:, None] - columns) <= width)
  if max_slope is not None:
    limits.append(parallelogram(cost.shape[0], cost.shape[1], ends, max_slope))
  if limits:                       # cleared before the division, or NaN would reach the gradient of gamma
    allowed = functools.reduce(jnp.logical_and, limits)
    scaled = jnp.where(allowed, jnp.where(allowed, cost, 0) / gamma, FAR)
  else:
    scaled = cost / gamma
  if free_ends:
    rows, ends = jnp.arange(len(cost) + 1), (ends[0] + 1, ends[1])
    walk = (rows == ends[0] - 1)[:, None] & (columns < ends[1])
    scaled = jnp.where(walk, 0.0, jnp.pad(scaled, ((0, 1), (0, 0)), constant_values=FAR))
  stop = jnp.where(rows == ends[0] - 1, ends[0] + ends[1] - 2, NEVER)
  return scaled.astype(cost.dtype), stop.astype(jnp.int32), transposed


def check(gamma: float, lengths: Any, shape: tuple[int, ...], bandwidth: Any, max_slope: Any) -> None:
  """Raises a `ValueError` for what is known now and out of range; see `alignment.soft_dtw`.

  Args:
    lengths: (n, m).
    shape: (N, M).
    gamma, bandwidth, max_slope: see `alignment.soft_dtw`.
  """
  if _known(gamma) is not None and not gamma > 0:
    raise ValueError(f"gamma={gamma} must be above 0; for the hard path use hard_alignment.")
  for name, length, most in zip(("n", "m"), lengths, shape):
    if _known(length) is not None and not 1 <= length <= most:
      raise ValueError(f"lengths: {name}={length} of a series of {most} segments; expected 1 to {most}.")
  if _known(bandwidth) is not None:
    known = all(_known(length) is not None for length in lengths)
    gap = abs(int(lengths[0]) - int(lengths[1])) if known else 0
    if bandwidth < gap:
      raise ValueError(f"bandwidth={bandwidth} leaves no path: the series differ by {gap} segments; use {gap} or more.")
  if _known(max_slope) is not None and not max_slope >= 1:
    raise ValueError(f"max_slope={max_slope} must be 1 or more: 2 lets a series run twice as fast as the other, or "
                     "half as fast.")


def _known(value: float | jax.Array | None) -> Any:
  return None if value is None or isinstance(value, jax.core.Tracer) else value
