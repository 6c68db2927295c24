"""The recurrences of soft-DTW: what one anti-diagonal is made of, given the ones before it.

Every step is (shift, k, stop, carry, inputs) -> carry, outputs. Carry, inputs and outputs are tuples of rows `[N]` of
one diagonal, k is its number; stop is `[N]`, the number of the diagonal of the last cell in the row of that cell,
`NEVER` in others; shift(rows, by, fills) moves rows by one, element i is then element i - by of its row, or the fill at
the edge.

Weights exp(-R / gamma) are a mantissa and an exponent of 2, an integer: no sum is too large for them, and scaling one
by a power of two is an addition to its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

FAR = 2.0 ** 100       # the cost of a cell that no path may visit
NONE = 64 - 2 ** 30    # the exponent of a weight that is none; twice this is still an integer of 32 bits
LOG_2 = 355 / 2 ** 9, -445 / 2 ** 21, -1.904654299957768e-9    # ln 2 in three parts, two of them short
NEVER = 2 ** 30        # the number of a diagonal that none has
MOST_ROWS = 4096       # that a kernel holds


def forward_start(cost: jax.Array, free: bool = False) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Returns the carry of `forward_step` before the first diagonal: no weight but that of the first cell.

  Paths with free ends start by steps into the first row, and there is none.
  """
  ones, none = jnp.ones(len(cost), cost.dtype), jnp.full(len(cost), NONE, _integers(cost.dtype))
  return ones, none, ones, none if free else none.at[0].set(0)


def forward_step(shift: Callable[..., Any], k: jax.Array, stop: jax.Array,
                 carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array], inputs: tuple[jax.Array],
                 free: bool = False) -> tuple:
  """Returns weights exp(-R / gamma) of one diagonal as mantissa and exponent, probabilities of the steps up and left.

  The row of the last cell stops there, so that its weight is in the carry at the end. Where ends are free a path comes
  from above into the first row, and into the row of the last cell from above and from the left alone, so that each is
  counted once.
  """
  # Naive form, of R itself (Cuturi and Blondel, ICML 2017, Algorithm 1):
  #   three = jnp.stack([R[i - 1, j], R[i, j - 1], R[i - 1, j - 1]])
  #   R[i, j] = cost[i, j] - gamma * logsumexp(-three / gamma)
  #   up, left, diagonal = softmax(-three / gamma)
  (left, left_power, diagonal, diagonal_power), (cost,) = carry, inputs
  if free:
    up, up_power, next_power = shift((left, left_power, left_power), 1, (1.0, 0, NONE))
    diagonal_power = jnp.where(stop < NEVER, NONE, diagonal_power)
  else:
    up, up_power = shift((left, left_power), 1, (1.0, NONE))
    next_power = up_power
  most = jnp.maximum(jnp.maximum(up_power, left_power), diagonal_power)
  by_up, by_left = _times_power(up, up_power - most), _times_power(left, left_power - most)
  total = by_up + by_left + _times_power(diagonal, diagonal_power - most)
  weight, power = _split_power(cost)
  value, value_power = _normalize(total * weight, most + power)
  value, value_power = jnp.where(k <= stop, value, left), jnp.where(k <= stop, value_power, left_power)
  return (value, value_power, up, next_power), (by_up / total, by_left / total)


def hard_start(cost: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
  """Returns the carry of `hard_step` before the first diagonal: every sum is far, but that before the first cell."""
  far, zeros = jnp.full(len(cost), FAR, cost.dtype), jnp.zeros(len(cost), cost.dtype)
  return far, zeros, far.at[0].set(0.0), zeros


def hard_step(shift: Callable[..., Any], k: jax.Array, stop: jax.Array,
              carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array], inputs: tuple[jax.Array],
              free: bool = False) -> tuple:
  """Returns least sums of one diagonal, as a number and its rounding error, and 1 for the step taken.

  Where ends are free a path comes from above into the first row.
  """
  # Naive form: R[i, j] = cost[i, j] + min(R[i - 1, j], R[i, j - 1], R[i - 1, j - 1])
  del k, stop
  (left, left_error, diagonal, diagonal_error), (cost,) = carry, inputs
  up, up_error = shift((left, left_error), 1, (0.0 if free else FAR, 0.0))
  above = (up < left) | ((up == left) & (up_error <= left_error))
  least, error = jnp.where(above, up, left), jnp.where(above, up_error, left_error)
  straight = (diagonal < least) | ((diagonal == least) & (diagonal_error <= error))
  least, error = jnp.where(straight, diagonal, least), jnp.where(straight, diagonal_error, error)
  value = least + cost
  cost_added = value - least
  error += (least - (value - cost_added)) + (cost - cost_added)
  normal = value + error
  error -= normal - value
  steps = (above & ~straight).astype(cost.dtype), (~above & ~straight).astype(cost.dtype)
  return (normal, error, up, up_error), steps


def expectation_step(shift: Callable[..., Any], k: jax.Array, stop: jax.Array, carry: tuple[jax.Array, jax.Array],
                     inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array]]:
  """Returns E of one diagonal from the next ones: what flows back through the steps that leave its cells."""
  # Naive form (ibid., Algorithm 2), with the probabilities of the steps into the three cells that follow:
  #   E[i, j] = up[i + 1, j] * E[i + 1, j] + left[i, j + 1] * E[i, j + 1] + diagonal[i + 1, j + 1] * E[i + 1, j + 1]
  (expected, diagonal), (up, left) = carry, inputs
  expected = jnp.where(k == stop, 1.0, expected)
  by_up, by_left = up * expected, left * expected
  above, = shift((by_up + diagonal,), -1, (0.0,))
  return (above + by_left, expected - by_up - by_left), (expected,)


def tangent_step(shift: Callable[..., Any], k: jax.Array, stop: jax.Array, carry: tuple[jax.Array, jax.Array],
                 inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[tuple[jax.Array, jax.Array],
                                                                          tuple[jax.Array, jax.Array]]:
  """Returns the change of the probabilities (up, left) of one diagonal when the cost changes in a direction."""
  del k, stop
  (left, diagonal), (change, up_step, left_step) = carry, inputs
  up, = shift((left,), 1, (0.0,))
  mean = diagonal + up_step * (up - diagonal) + left_step * (left - diagonal)
  return (change + mean, up), (up_step * (mean - up), left_step * (mean - left))


def expectation_tangent_step(shift: Callable[..., Any], k: jax.Array, stop: jax.Array,
                             carry: tuple[jax.Array, jax.Array],
                             inputs: Sequence[jax.Array]) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array]]:
  """Returns the change of E in one diagonal from the next ones."""
  del k, stop
  (change, diagonal), (expected, up, left, up_change, left_change) = carry, inputs
  by_up, by_left = up * change + up_change * expected, left * change + left_change * expected
  above, = shift((by_up + diagonal,), -1, (0.0,))
  return (above + by_left, change - by_up - by_left), (change,)


def one_pair(pairs: Callable[..., Any]) -> Callable[..., Any]:
  """Makes of a function of many pairs (a leading axis on all) one of a pair, which `jax.vmap` maps at no cost."""
  @jax.custom_batching.custom_vmap
  def many(*arrays: jax.Array) -> tuple[jax.Array, jax.Array]:
    return pairs(*arrays)

  @many.def_vmap
  def more(size: int, mapped: Sequence[bool],
           *arrays: jax.Array) -> tuple[tuple[jax.Array, jax.Array], tuple[bool, bool]]:
    whole = jax.tree.map(lambda x, axis: x if axis else jnp.broadcast_to(x, (size, *x.shape)), arrays, tuple(mapped))
    merged = many(*jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), whole))
    result = jax.tree.map(lambda x: x.reshape(size, -1, *x.shape[1:]), merged)
    return result, jax.tree.map(lambda _: True, result)

  return lambda *arrays: jax.tree.map(lambda x: x[0], many(*jax.tree.map(lambda x: x[None], arrays)))


def _split_power(scaled: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns exp(-scaled) as mantissa, near 1, and exponent of 2; far costs have an exponent of `NONE` or less."""
  power = jnp.clip(scaled * 1.4426950408889634, NONE, -NONE).astype(_integers(scaled.dtype))
  coarse = (power >> 12) << 12
  fine, coarse = (power - coarse).astype(scaled.dtype), coarse.astype(scaled.dtype)
  high, middle, low = LOG_2                                  # products with short numbers have no rounding error
  rest = (coarse * high - scaled) + fine * high + coarse * middle
  return jnp.exp(rest + (fine * middle + (coarse + fine) * low)), -power


def _integers(dtype: DTypeLike) -> type:
  return jnp.int32 if dtype == jnp.float32 else jnp.int64


def _times_power(mantissa: jax.Array, power: jax.Array) -> jax.Array:
  """Returns mantissa * 2^power for powers <= 0, by adding to the bits of the exponent; tiny for low powers."""
  info, integers = jnp.finfo(mantissa.dtype), _integers(mantissa.dtype)
  bits = jax.lax.bitcast_convert_type(mantissa, integers) + (jnp.maximum(power, info.minexp) << info.nmant)
  return jax.lax.bitcast_convert_type(bits, mantissa.dtype)


def _normalize(mantissa: jax.Array, exponent: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the same number with its mantissa in [1, 2)."""
  info, integers = jnp.finfo(mantissa.dtype), _integers(mantissa.dtype)
  bits = jax.lax.bitcast_convert_type(mantissa, integers)
  power = (bits >> info.nmant) + (info.minexp - 1)
  return (jax.lax.bitcast_convert_type(bits - (power << info.nmant), mantissa.dtype),
          jnp.maximum(exponent + power, NONE))
