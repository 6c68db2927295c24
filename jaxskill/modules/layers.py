"""What the modules share: products of a chosen type, initial values, means of rows, and taking items of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

_LARGE = 2 ** 18        # bytes of an item that a TPU copies by itself


def _einsum(spec: str, left: jax.Array, right: jax.Array, dtype: DTypeLike) -> jax.Array:
  return jnp.einsum(spec, left.astype(dtype), right.astype(dtype), preferred_element_type=jnp.float32)


_narrow_einsum = jax.custom_vjp(_einsum, nondiff_argnums=(0, 3))


def _einsum_backward(spec: str, dtype: DTypeLike, operands: tuple[jax.Array, ...],
                     gradient: jax.Array) -> tuple[jax.Array, ...]:
  inputs, output = spec.split("->")
  first, second = inputs.split(",")
  left, right, *like = operands
  slopes = (contract(f"{output},{second}->{first}", gradient, right, dtype),
            contract(f"{output},{first}->{second}", gradient, left, dtype))
  return tuple(slope.astype(operand.dtype) for slope, operand in zip(slopes, like))


def _einsum_forward(spec: str, left: jax.Array, right: jax.Array,
                    dtype: DTypeLike) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  narrow, like = [x.astype(dtype) for x in (left, right)], [jnp.zeros(0, x.dtype) for x in (left, right)]
  return _einsum(spec, narrow[0], narrow[1], dtype), (*narrow, *like)


_narrow_einsum.defvjp(_einsum_forward, _einsum_backward)


def torch_uniform(fan_in: int) -> Callable[..., jax.Array]:
  """Returns an initializer, uniform in +-1/sqrt(fan_in), as PyTorch starts linear layers; the papers do not say."""
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -1, 1) / jnp.sqrt(fan_in)


def contract(spec: str, left: jax.Array, right: jax.Array, dtype: DTypeLike) -> jax.Array:
  """Contracts two arrays, as `jnp.einsum`, into float32; operands are cast to `dtype`, in the gradient too.

  Left to autodiff, products of the gradient would have one operand of `dtype` and one of float32, for which
  accelerators have no unit: they would run in float32. So that they are contractions too, every index of an operand
  must be one of the other or of the result.
  """
  return (_einsum if jnp.dtype(dtype) == jnp.float32 else _narrow_einsum)(spec, left, right, dtype)


def dot(rows: jax.Array, kernel: jax.Array, dtype: DTypeLike) -> jax.Array:
  """Multiplies `[..., D]` rows by a `[N, D]` kernel into `[..., N]` float32, see `contract`."""
  axes = "abc"[: rows.ndim - 1]
  return contract(f"{axes}d,nd->{axes}n", rows, kernel, dtype)


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Multiplies `[..., C]` by `[C, N]` -> `[..., N]` float32, in products of the type of x."""
  axes = "abcd"[: x.ndim - 1]
  return contract(f"{axes}s,sn->{axes}n", x, kernel, x.dtype)


def mean_of_rows(rows: jax.Array, lengths: jax.Array) -> jax.Array:
  """Returns `[V, D]` float32 means of rows `[V, T, D]`, the first `[V]` of which are real."""
  real = (jnp.arange(rows.shape[1]) < lengths[:, None])[..., None]
  return jnp.where(real, rows.astype(jnp.float32), 0.0).sum(axis=1) / lengths[:, None]


def take(x: jax.Array, ids: jax.Array) -> jax.Array:
  """Returns `x[ids]` for `[n]` ids, in a form for which XLA makes no copy of all of `x`.

  On a CPU it would gather bfloat16 from a float32 copy of `x`, on a TPU large items from a copy in another order.
  """
  backend = jax.default_backend()
  if backend == "cpu" and x.dtype == jnp.bfloat16:
    return jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(x, jnp.uint16)[ids], x.dtype)
  if backend == "tpu" and x.dtype.itemsize * x.size >= _LARGE * len(x):
    return jax.lax.map(functools.partial(jax.lax.dynamic_index_in_dim, x, keepdims=False), ids)
  return x[ids]
