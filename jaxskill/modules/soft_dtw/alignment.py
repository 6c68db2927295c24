"""Soft-DTW, its expected alignment, the hard path of classic DTW, and the divergence: what callers use.

N, M segments of the two series (rows, columns), D feature channels.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxskill.modules.soft_dtw import passes, wavefront
from jaxskill.modules.soft_dtw.distance import pairwise_squared_distance
from jaxskill.modules.soft_dtw.region import check, prepare
from jaxskill.modules.soft_dtw.steps import FAR, NEVER, hard_start, hard_step


def soft_dtw(cost: jax.Array, gamma: float, *, lengths: tuple[jax.Array, jax.Array] | None = None,
             bandwidth: int | None = None, max_slope: float | None = None, free_ends: bool = False,
             implementation: str = "auto") -> jax.Array:
  """Returns the smoothed cost of aligning two series in temporal order; map it with `jax.vmap` over pairs.

  Differentiable twice by `cost` and `gamma`, in reverse mode. Kept for the backward pass: E, N M numbers. To find E
  takes, for a while, up to 4 N (N + M) numbers with N the shorter series ("checkpointed": 2.2 N (N + M)), of every
  pair; a CPU works on a few at a time where they are many or long.

  Args:
    cost: `[N, M]` distances between the segments of the two series; R, their sum along a path, of size below 7e8 gamma.
      No path visits a cell of +inf. What lies beyond the lengths or outside the band may be anything, NaN too.
    gamma: softness, > 0, in the unit of `cost`; hard DTW is the limit at 0.
    lengths: (n, m) real segments of the two series, 1 <= n <= N and 1 <= m <= M; None for all.
    bandwidth: Sakoe-Chiba band: only cells with |i - j| <= bandwidth; None for all. It must reach the last cell. Where
      it is known only at run time (traced), a band narrower than |n - m| is widened to that.
    max_slope: Itakura's band: a path is, from its first and from its last cell on, at most so many times faster or
      slower than the straight line between the two, see `region.parallelogram`; 1 or more, 2 is usual; None for any.
    free_ends: whether the rows, all of them, are aligned with a piece of the columns, the softly best of all pieces
      (subsequence alignment); transpose `cost` to align with a piece of the rows. It has no band. The value is
      -gamma log sum exp(-soft_dtw(cost[:, a:b], gamma) / gamma) over all pieces a < b, at most gamma log(M (M + 1) / 2)
      below that of the best one. Memory is as if the rows were the shorter series, of which kernels hold 4095.
    implementation: "scan"; "checkpointed", for long series: every 32nd diagonal is stored and the others are computed
      again in the backward pass (its second derivative is that of "scan"); "pallas", kernels for GPUs (Hopper or
      newer) and TPUs, float32 and up to 4096 segments of the shorter series; "kernel", these where there are any for
      the device, the type and the length, else "scan"; "auto" is "kernel" where `jaxskill.benchmark --suite` has found
      it faster on such a device (kept beside the compiled programs, see `jaxskill.measured`), else "scan".

  Returns:
    `[]` alignment cost, in the unit of `cost`, float32 (float64 if `cost` is); can be negative. NaN where one of the
    costs is, where it is more than 7e8 gamma and where no path is left; -inf where a cost is. The gradient is then NaN.

  Raises:
    ValueError: if `cost` is not a non-empty matrix; if gamma, a length or a band is known and out of range, or a
      band is asked for with free ends; if the implementation is unknown or has no kernel for the device, the type or
      the length.

  Reference: Cuturi and Blondel, ICML 2017, Algorithm 1; free ends: Müller, Information Retrieval for Music and Motion,
    2007, Sec. 4.4 (subsequence DTW).
  """
  scaled, stop, _ = prepare(cost, gamma, lengths, bandwidth, max_slope, free_ends)
  return gamma * passes.value_of(scaled, stop, wavefront.choose(implementation, scaled), free_ends)


def soft_alignment(cost: jax.Array, gamma: float, *, lengths: tuple[jax.Array, jax.Array] | None = None,
                   bandwidth: int | None = None, max_slope: float | None = None, free_ends: bool = False,
                   implementation: str = "auto") -> jax.Array:
  """Returns the probability that each pair of segments is matched: the gradient of `soft_dtw` by `cost`.

  Differentiable by `cost` and `gamma`. Arguments and memory as in `soft_dtw`; to be differentiated it keeps
  2 N (N + M) numbers, and its derivative needs 4 N (N + M) more for a while.

  Returns:
    `[N, M]` float in [0, 1]: 1 at the first and the last cell, every row and column of real segments sums to at least
    1 (with free ends every row does), zeros beyond the lengths, outside the band and at costs of +inf. Others are NaN
    where `soft_dtw` is not finite.

  Raises:
    ValueError: as `soft_dtw`.

  Reference: Cuturi and Blondel, ICML 2017, Algorithm 2.
  """
  scaled, stop, transposed = prepare(cost, gamma, lengths, bandwidth, max_slope, free_ends)
  value, alignment = passes.value_and_alignment(scaled, stop, wavefront.choose(implementation, scaled), free_ends)
  alignment = jnp.where(jnp.isfinite(value), 1, jnp.where(scaled >= FAR, 0, jnp.nan)) * alignment
  return _cells(alignment, stop, transposed, free_ends)


def hard_alignment(cost: jax.Array, *, lengths: tuple[jax.Array, jax.Array] | None = None,
                   bandwidth: int | None = None, max_slope: float | None = None, free_ends: bool = False,
                   implementation: str = "auto") -> jax.Array:
  """Returns the best path of classic DTW as a matrix; its cost is `(hard_alignment(cost) * cost).sum()`.

  Of equally good steps into a cell the diagonal one is taken, then the one along the shorter series (of equal ones the
  first). No gradient flows. Arguments as in `soft_dtw`.

  Returns:
    `[N, M]` float, 1 on the cells of the path, else 0. NaN where a path may go, if a cost there is NaN or -inf.

  Raises:
    ValueError: as `soft_dtw`.

  Reference: Sakoe and Chiba, IEEE TASSP 1978.
  """
  scaled, stop, transposed = prepare(cost, 1.0, lengths, bandwidth, max_slope, free_ends)
  scaled = jnp.minimum(jax.lax.stop_gradient(scaled), FAR)
  run = wavefront.runner(wavefront.choose(implementation, scaled))
  step = functools.partial(hard_step, free=free_ends)
  _, steps = run(step, hard_start(scaled), (wavefront.skew(scaled, FAR),), stop)
  up, left = steps
  path = passes.expectation(up, left, stop, run)
  path = jnp.where((scaled == FAR) | (scaled.min() > -FAR), path, jnp.nan)
  return _cells(path, stop, transposed, free_ends)


def _cells(visits: jax.Array, stop: jax.Array, transposed: bool, free_ends: bool) -> jax.Array:
  """Returns `[N, M]`, what the passes found of the cells of the cost: without the row that ended paths walk along."""
  if free_ends:
    return jnp.where((stop < NEVER)[:, None], 0, visits)[:-1]
  return visits.T if transposed else visits


def soft_dtw_divergence(x: jax.Array, y: jax.Array, gamma: float, *, lengths: tuple[jax.Array, jax.Array] | None = None,
                        bandwidth: int | None = None, max_slope: float | None = None, form: str = "fast",
                        dtype: DTypeLike = jnp.float32, implementation: str = "auto") -> jax.Array:
  """Returns sdtw(x, y) - (sdtw(x, x) + sdtw(y, y)) / 2 of squared distances: 0, without slope, for equal series.

  Args:
    x: `[N, D]` segments.
    y: `[M, D]` segments.
    form, dtype: see `pairwise_squared_distance`.
    gamma, lengths, bandwidth, max_slope, implementation: see `soft_dtw`; segments beyond the lengths may be anything.

  Returns:
    `[]` divergence, in the unit of the squared distance.

  Raises:
    ValueError: as `soft_dtw` and `pairwise_squared_distance`.

  Reference: Blondel, Mensch and Vert, AISTATS 2021 (with the whole squared distance, not its half).
  """
  ends: tuple[int | jax.Array, int | jax.Array] = (len(x), len(y)) if lengths is None else lengths
  n, m = ends
  check(gamma, (n, m), (len(x), len(y)), bandwidth, max_slope)
  size = max(len(x), len(y))      # one recursion for the three
  x, y = (jnp.pad(jnp.where(jnp.arange(len(series))[:, None] < length, series, 0), ((0, size - len(series)), (0, 0)))
          for series, length in ((x, n), (y, m)))
  left, right = jnp.stack([x, x, y]), jnp.stack([y, x, y])
  cost = jax.vmap(functools.partial(pairwise_squared_distance, form=form, dtype=dtype))(left, right)     # [3, P, P]
  pairs = jnp.stack([jnp.stack([n, n, m]), jnp.stack([m, n, m])], axis=1)                                # [3, 2]

  def solve(cost: jax.Array, lengths: jax.Array) -> jax.Array:
    return soft_dtw(cost, gamma, lengths=(lengths[0], lengths[1]), bandwidth=bandwidth, max_slope=max_slope,
                    implementation=implementation)
  both, x_alone, y_alone = jax.vmap(solve)(cost, pairs)
  return both - (x_alone + y_alone) / 2
