"""Winograd's products: convolutions along one axis with half the multiplications, for CPUs.

Polynomials are multiplied by their values at a few points, here 0, 1, -1, 2, -2 and infinity. Six products give 7 - t
results of a window of t taps. The naive form, for one axis,

  for w in range(7 - t):
    y[w] = sum(x[w + tap] @ kernel[tap] for tap in range(t))

takes t (7 - t): 10 for two and four taps, 12 for three. Rounding grows, so this is for float32 alone. It is kept for
I3D, which it makes a fifth faster: "Extraction of features" in jaxskill/benchmark/README.md.

C channels in, N channels out.

Reference: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, Sec. 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxskill.modules.layers import matmul

# Weights of six neighbouring columns of the data, one row a product.
_DATA = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0),
         (0, 4, 0, -5, 0, 1))
_DIVISORS = np.array((4, -6, -6, 24, 24, 1))[:, None]      # of the kernels: those of interpolation at the points


def results(taps: int) -> int:
  """Returns how many results of a window of `taps` taps the six products give."""
  return 7 - taps


def kernels(columns: Sequence[jax.Array]) -> jax.Array:
  """Returns the six kernels of a window, `[6, ...]`, from its taps, each `[...]`."""
  return jnp.stack([_combine(row, columns) for row in _powers(len(columns)) / _DIVISORS])


def multiply(x: jax.Array, arranged: jax.Array, taps: int, count: int, tiles: int) -> jax.Array:
  """Returns the sums over the taps of windows along the width, in tiles of `results(taps)` places.

  Args:
    x: `[T', H', tiles * results(taps) + taps - 1, C]` data.
    arranged: `[6, C, N]`, see `kernels`.
    taps: of the width, 2 to 4.
    count: N.
    tiles: of the width.

  Returns:
    `[T', H', tiles * results(taps), N]` float32.
  """
  width = results(taps)
  columns = [x[:, :, i: i + width * (tiles - 1) + 1: width] for i in range(6)]
  products = [matmul(_combine(row, columns), kernel) for row, kernel in zip(_DATA, arranged)]
  y = jnp.stack([_combine(row, products) for row in _powers(width).T], axis=3)            # [T', H', tiles, width, N]
  return y.reshape(*y.shape[:2], tiles * width, count)


def _powers(count: int) -> np.ndarray:
  """Returns `[6, count]` powers of the points; of infinity the highest alone."""
  return np.concatenate([np.vander((0, 1, -1, 2, -2), count, increasing=True), np.eye(count, dtype=int)[-1:]])


def _combine(weights: np.ndarray | Sequence[int], parts: Sequence[jax.Array]) -> Any:
  """Returns the weighted sum of the parts, without those of weight 0."""
  return sum(part if weight == 1 else float(weight) * part for weight, part in zip(weights, parts) if weight)
