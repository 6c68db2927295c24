"""Squared distances between all segments of two series: one matrix product, with derivatives written out.

N, M segments of the two series, D feature channels.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxskill.modules.layers import contract


def pairwise_squared_distance(x: jax.Array, y: jax.Array, *, form: str = "fast",
                              dtype: DTypeLike = jnp.float32) -> jax.Array:
  """Returns squared Euclidean distances between all segments of two series; not halved.

  Args:
    x: `[N, D]` segments.
    y: `[M, D]` segments.
    form: "fast" is a matrix product, ||x||^2 + ||y||^2 - 2 x.y, with an error of some 1e-7 of the squared norms, never
      below zero; its derivatives, in reverse mode alone, are those of the distance. "safe" sums squared differences:
      exact zeros with zero gradients at equal segments, at several times the time. Segments of padding must be finite
      in both.
    dtype: of the operands of the fast form's products.

  Returns:
    `[N, M]` float32 squared distances (float64 of float64 series).

  Raises:
    ValueError: if the form is unknown or the series are no `[N, D]` and `[M, D]`.
  """
  if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
    raise ValueError(f"x {x.shape} and y {y.shape} are no two series [N, D] and [M, D] of one width; map further axes "
                     "with jax.vmap.")
  x, y = as_float(x), as_float(y)
  x, y = (series.astype(jnp.result_type(x, y)) for series in (x, y))
  if form == "safe":
    return jnp.square(x[:, None] - y[None]).sum(axis=-1)
  if form != "fast":
    raise ValueError(f"form={form!r} is unknown; use 'fast' or 'safe'.")
  return _distance(x, y, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _distance(x: jax.Array, y: jax.Array, dtype: DTypeLike) -> jax.Array:
  """Computes the fast form; its derivative is that of the distance, written out: two products, a pass a series."""
  # Naive form: jnp.square(x[:, None] - y[None]).sum(axis=-1)
  product = _product("nd,md->nm", x, y, dtype)
  return jnp.maximum(jnp.square(x).sum(axis=1)[:, None] + jnp.square(y).sum(axis=1) - (product + product), 0)


def _distance_forward(x: jax.Array, y: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _distance(x, y, dtype), (x, y)


def _distance_backward(dtype: DTypeLike, series: tuple[jax.Array, jax.Array],
                       slope: jax.Array) -> tuple[jax.Array, jax.Array]:
  (x, y), twice = series, slope + slope
  return (x * twice.sum(axis=1)[:, None] - _product("nm,md->nd", twice, y, dtype),
          y * twice.sum(axis=0)[:, None] - _product("nm,nd->md", twice, x, dtype))


_distance.defvjp(_distance_forward, _distance_backward)


def _product(spec: str, left: jax.Array, right: jax.Array, dtype: DTypeLike) -> jax.Array:
  with jax.default_matmul_precision("highest"):         # GPUs and TPUs round the operands of float32 otherwise
    return contract(spec, left, right, dtype) if left.dtype == jnp.float32 else jnp.einsum(spec, left, right)


def as_float(array: jax.Array) -> jax.Array:
  """Returns an array as float32; one of float64 stays as it is."""
  array = jnp.asarray(array)
  return array if array.dtype == jnp.float64 else array.astype(jnp.float32)
