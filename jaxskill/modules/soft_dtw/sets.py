"""Soft-DTW of sets of series: between all pairs of two sets, and the mean of a set in the sense of soft-DTW.

A, B, V series of a set, T, S, L segments of a series with padding, D feature channels.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from jaxskill.modules.soft_dtw.alignment import soft_dtw
from jaxskill.modules.soft_dtw.distance import as_float, pairwise_squared_distance
from jaxskill.modules.soft_dtw.layer import linear_alignment

TILE_BYTES = 2 ** 28


def cdist(x: jax.Array, y: jax.Array, gamma: float, *, lengths: tuple[ArrayLike, ArrayLike] | None = None,
          tile_bytes: int = TILE_BYTES, form: str = "fast", dtype: DTypeLike = jnp.float32,
          **options: Any) -> jax.Array:
  """Returns the soft-DTW of every series of one set with every one of another, of squared distances.

  The pairs are taken in tiles, one after the other, so that memory does not grow with their number: it holds the two
  sets and what one tile needs. Differentiable as `soft_dtw`; the backward pass computes each tile again.

  Args:
    x: `[A, T, D]` series.
    y: `[B, S, D]` series.
    gamma: see `soft_dtw`.
    lengths: (`[A]`, `[B]`) real segments; None for all. Segments beyond them may be anything.
    tile_bytes: of memory that a tile may take, at least one pair.
    form, dtype: see `pairwise_squared_distance`.
    options: bandwidth, max_slope, free_ends (x is whole, y may be a piece) and implementation of `soft_dtw`.

  Returns:
    `[A, B]` values, see `soft_dtw`.

  Raises:
    ValueError: if x and y are no two sets of one width, if lengths do not fit them, or as `soft_dtw`.
  """
  x, y = as_float(x), as_float(y)
  if x.ndim != 3 or y.ndim != 3 or x.shape[2] != y.shape[2]:
    raise ValueError(f"x {x.shape} and y {y.shape} are no two sets of series [A, T, D] and [B, S, D] of one width.")
  if lengths is not None:
    ends = _lengths("x", x, lengths[0]), _lengths("y", y, lengths[1])
    x, y = _cleared(x, ends[0]), _cleared(y, ends[1])

  @jax.checkpoint                                        # or what leads back would be kept of all pairs
  def solve(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
    i, j = pair
    cost = pairwise_squared_distance(x[i], y[j], form=form, dtype=dtype)
    return soft_dtw(cost, gamma, lengths=None if lengths is None else (ends[0][i], ends[1][j]), **options)
  (a, rows, _), (b, columns, _) = x.shape, y.shape
  needed = 4 * min(rows, columns) * (rows + columns) * x.dtype.itemsize                  # of a pair, see `soft_dtw`
  first, second = jnp.divmod(jnp.arange(a * b), b)
  return jax.lax.map(solve, (first, second), batch_size=min(max(1, tile_bytes // needed), a * b)).reshape(a, b)


def barycenter(videos: jax.Array, gamma: float, *, lengths: ArrayLike | None = None, weights: ArrayLike | None = None,
               start: jax.Array | int | None = None, steps: int = 100, tolerance: float = 1e-5,
               **options: Any) -> jax.Array:
  """Returns the mean of a set of series: what has the least weighted sum of soft-DTW to them, over their lengths.

  Found by L-BFGS (SciPy's) from the series' mean in linear time; a local minimum. It runs outside of `jax.jit`.

  Args:
    videos: `[V, T, D]` series.
    gamma: see `soft_dtw`; below, the mean of few videos follows one of them at a time.
    lengths: `[V]` real segments; None for all.
    weights: `[V]`, at least 0, one above; None for equal ones. Their sum makes no difference.
    start: `[L, D]` what to begin from, or L alone; None for the mean of the lengths.
    steps: at most so many of L-BFGS.
    tolerance: it ends where no derivative of the mean cost of a segment is larger.
    options: those of `cdist`.

  Returns:
    `[L, D]` float32 (float64 of float64 series).

  Raises:
    ValueError: if videos are no set of series, for lengths, weights or a start that do not fit them, or as `cdist`.

  Reference: Cuturi and Blondel, ICML 2017 (averaging), weights over lengths as there.
  """
  from scipy import optimize  # takes long to load
  videos = as_float(videos)
  if videos.ndim != 3 or not videos.size:
    raise ValueError(f"videos {videos.shape} are no set of series [V, T, D].")
  count, rows, width = videos.shape
  ends = np.asarray(_lengths("videos", videos, np.full(count, rows) if lengths is None else lengths))
  shares = np.ones(count) if weights is None else np.asarray(weights, np.float64)
  if shares.shape != (count,) or not (shares >= 0).all() or not 0 < shares.sum() < np.inf:
    raise ValueError(f"weights {shares.shape} must be {count} numbers of at least 0, one of them above.")
  shares = shares / shares.sum()
  start = int(round(float(np.mean(ends)))) if start is None else start
  mean = _linear_mean(_cleared(videos, ends), ends, shares, start) if isinstance(start, int) else as_float(start)
  if mean.ndim != 2 or mean.shape[1] != width or not mean.size:
    raise ValueError(f"start {mean.shape} must be [L, {width}] or a number of segments.")

  @jax.jit
  def cost_of(mean: jax.Array, videos: jax.Array) -> jax.Array:
    values = cdist(mean[None], videos, gamma, lengths=(np.full(1, len(mean)), ends), **options)
    return values[0] @ (shares / ends).astype(mean.dtype)

  def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
    value, slope = solve(flat.reshape(mean.shape).astype(mean.dtype), videos)
    return float(value), np.asarray(slope, np.float64).ravel()
  solve = jax.value_and_grad(cost_of)
  found = optimize.minimize(objective, np.asarray(mean, np.float64).ravel(), jac=True, method="L-BFGS-B",
                            options=dict(maxiter=steps, gtol=tolerance, ftol=0))
  return jnp.asarray(found.x.reshape(mean.shape), mean.dtype)


def _linear_mean(videos: jax.Array, ends: np.ndarray, shares: np.ndarray, length: int) -> jax.Array:
  """Returns `[L, D]` the weighted mean of series that are brought to one length by scaling time alone."""
  if length < 1:
    raise ValueError(f"start={length} segments; a mean has 1 or more.")
  scale = functools.partial(linear_alignment, length, rows=length, columns=videos.shape[1])
  places = jax.vmap(scale)(jnp.asarray(ends))                                                         # [V, L, T]
  return jnp.einsum("v,vlt,vtd->ld", shares.astype(videos.dtype), places.astype(videos.dtype), videos)


def _lengths(name: str, series: jax.Array, lengths: ArrayLike) -> jax.Array:
  """Returns `[A]` lengths of `[A, T, D]` series; raises a `ValueError` for what is known now and does not fit."""
  if jnp.shape(lengths) != (len(series),):
    raise ValueError(f"lengths of {name} have the shape {jnp.shape(lengths)}; expected one number a series, "
                     f"{len(series)}.")
  if not isinstance(lengths, jax.core.Tracer):
    known = np.asarray(lengths)                          # which stays known within `jax.jit`
    if not ((known >= 1) & (known <= series.shape[1])).all():
      raise ValueError(f"lengths of {name} are {known.min()} to {known.max()}; expected 1 to {series.shape[1]}.")
  return jnp.asarray(lengths)


def _cleared(series: jax.Array, lengths: ArrayLike) -> jax.Array:
  """Returns `[A, T, D]` series with zeros beyond their lengths: what is no number would reach derivatives."""
  return jnp.where((jnp.arange(series.shape[1]) < jnp.asarray(lengths)[:, None])[..., None], series, 0)
