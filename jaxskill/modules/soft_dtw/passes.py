"""The passes of soft-DTW over the anti-diagonals: value, expected alignment E, and the derivatives of both.

Costs are in gammas. `value` and `solve` carry their derivatives: what leads back to E are the probabilities of the
steps, so that E is products and sums of them alone. "checkpointed" stores every 32nd diagonal and computes the others
again.

N, M segments of the two series (rows, columns, N <= M), K = N + M - 1 anti-diagonals, b blocks of 32 of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxskill.modules.soft_dtw import wavefront
from jaxskill.modules.soft_dtw.steps import (
  FAR,
  LOG_2,
  NEVER,
  expectation_step,
  expectation_tangent_step,
  forward_start,
  forward_step,
  one_pair,
  tangent_step,
)

_BLOCK = 32             # diagonals between two checkpoints
_CELLS = 2 ** 19        # up to so many in a table of all pairs, a CPU works on all pairs at once,
_ROWS = 1024            # beyond on pairs of so many rows at a time
_MOST = 7e8             # gammas: more than the exponents hold, of a cost or of a value,
_MOST_POWER = int(_MOST / sum(LOG_2))    # and the same as an exponent


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def value_of(cost: jax.Array, stop: jax.Array, implementation: str, free: bool) -> jax.Array:
  """Returns `[]` value / gamma of soft-DTW.

  Args:
    cost: `[K, N]` anti-diagonals of the cost in gammas.
    stop: `[N]`, see `steps`.
    implementation: "scan", "checkpointed", or the platform of a kernel.
    free: whether ends are free, see `steps.forward_step`.
  """
  if implementation == "checkpointed":
    return _unless_spoiled(_forward_blocks(cost, stop, free)[0], cost)
  return _unless_spoiled(_forward(cost, stop, wavefront.runner(implementation), free)[0], cost)


def _value_forward(cost: jax.Array, stop: jax.Array, implementation: str,
                   free: bool) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  value, expected = value_and_alignment(cost, stop, implementation, free)
  return value, (value, expected)


def _value_backward(implementation: str, free: bool, solved: tuple[jax.Array, jax.Array],
                    gradient: jax.Array) -> tuple[jax.Array, None]:
  del implementation, free
  value, expected = solved
  return jnp.where(jnp.isfinite(value), gradient, jnp.nan) * expected, None


value_of.defvjp(_value_forward, _value_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def value_and_alignment(cost: jax.Array, stop: jax.Array, implementation: str,
                        free: bool) -> tuple[jax.Array, jax.Array]:
  """Returns `[]` value / gamma and `[N, M]` E at once: what leads to E need not be kept for the backward pass."""
  def solve(cost: jax.Array, stop: jax.Array) -> tuple[jax.Array, jax.Array]:
    if implementation == "checkpointed":
      value, starts = _forward_blocks(cost, stop, free)
      expected = _expectation_blocks(cost, stop, starts, free)
    else:
      run = wavefront.runner(implementation)
      value, steps = _forward(cost, stop, run, free)
      expected = expectation(*steps, stop, run)
    return _unless_spoiled(value, cost), expected
  if implementation in ("gpu", "tpu") or jax.default_backend() != "cpu":
    return solve(cost, stop)
  return one_pair(functools.partial(_few_at_once, solve))(cost, stop)


def _few_at_once(solve: Callable[..., Any], cost: jax.Array, stop: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Maps over pairs, a few at a time where they are many or long: what is between cost and E stays in the caches."""
  pairs, rows, columns = cost.shape
  turns = -(-pairs * rows // _ROWS) if pairs * rows * (rows + columns - 1) > _CELLS else 1
  if turns <= 1:
    return jax.vmap(solve)(cost, stop)
  return jax.lax.map(lambda pair: solve(*pair), (cost, stop), batch_size=-(-len(cost) // turns))


def _solve_forward(cost: jax.Array, stop: jax.Array, implementation: str, free: bool) -> tuple:
  if implementation == "checkpointed":
    value, expected = value_and_alignment(cost, stop, implementation, free)
    return (value, expected), (cost, stop, expected, None)
  run = wavefront.runner(implementation)
  value, steps = _forward(cost, stop, run, free)
  value, expected = _unless_spoiled(value, cost), expectation(*steps, stop, run)
  return (value, expected), (cost, stop, expected, steps)


def _solve_backward(implementation: str, free: bool,
                    residuals: tuple[jax.Array, jax.Array, jax.Array, tuple[jax.Array, jax.Array]],
                    gradients: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
  """The Hessian of soft-DTW times a direction: being symmetric, it is the change of E in that direction of the cost."""
  (cost, stop, expected, steps), (by_value, direction) = residuals, gradients
  run = wavefront.runner(implementation)
  if steps is None:
    _, steps = _forward(cost, stop, run, free)
  zeros = jnp.zeros_like(steps[0][0])
  _, changes = run(tangent_step, (zeros, zeros), (wavefront.skew(direction, 0.0), *steps), stop)
  _, (change,) = run(expectation_tangent_step, (zeros, zeros), (wavefront.skew(expected, 0.0), *steps, *changes), stop,
                     reverse=True)
  return _last(by_value * expected + wavefront.unskew(change), cost), None


@jax.custom_jvp
def _last(derivative: jax.Array, cost: jax.Array) -> jax.Array:
  """The derivative, which must not be differentiated by the cost: arithmetic on bits would give zeros unnoticed."""
  del cost
  return derivative


@_last.defjvp
def _no_further(primals: Any, tangents: Any) -> Any:
  raise NotImplementedError("soft-DTW is differentiable twice and its alignment once, by reverse mode.")


value_and_alignment.defvjp(_solve_forward, _solve_backward)


def _forward(cost: jax.Array, stop: jax.Array, run: Callable[..., Any],
             free: bool) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  """Returns `[]` value / gamma; `[K, N]` probabilities of the steps up and left."""
  step = functools.partial(forward_step, free=free)
  carry, steps = run(step, forward_start(cost, free), (wavefront.skew(cost, FAR),), stop)
  return at_stop(carry, stop), steps


def at_stop(carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array], stop: jax.Array) -> jax.Array:
  """Returns `[]` value / gamma, NaN where it left the range of exponents."""
  weight, power = carry[:2]
  high, middle, low = LOG_2
  value = -(power * high).astype(weight.dtype) - (power * (middle + low) + jnp.log(weight))
  value = jnp.where(jnp.abs(power) < _MOST_POWER, value, jnp.nan)
  return jnp.where(stop < NEVER, value, 0.0).sum().astype(weight.dtype)


def _unless_spoiled(value: jax.Array, cost: jax.Array) -> jax.Array:
  """Returns value / gamma, or NaN or -inf for a cost that a mantissa and an exponent cannot hold."""
  least = cost.min(axis=0)                                  # and not of all at once: a CPU would take one by one
  low = jnp.where(jnp.isnan(least).any() | (least > -jnp.inf).all(), jnp.nan, -jnp.inf)
  return jnp.where((least > -_MOST).all(), value, low)


def expectation(up: jax.Array, left: jax.Array, stop: jax.Array, run: Callable[..., Any]) -> jax.Array:
  """Returns `[N, M]` E from the `[K, N]` probabilities of the steps up and left."""
  zeros = jnp.zeros_like(up[0])
  _, (expected,) = run(expectation_step, (zeros, zeros), (up, left), stop, reverse=True)
  return wavefront.unskew(expected)


def _blocks(cost: Any) -> Any:
  """-> `[b]` numbers of the first diagonals of the blocks; what cuts out a block, `[32, N]`, far beyond the end."""
  sheared = wavefront.sheared(cost, FAR)
  count = -(-sheared.shape[1] // _BLOCK)
  sheared = jnp.pad(sheared, ((0, 0), (0, count * _BLOCK - sheared.shape[1])), constant_values=FAR)
  return _BLOCK * jnp.arange(count), lambda first: jax.lax.dynamic_slice_in_dim(sheared, first, _BLOCK, axis=1).T


def _forward_blocks(cost: Any, stop: Any, free: bool) -> Any:
  """Returns `[]` value / gamma; `[b, N]` carries before each block."""
  (numbers, cut), step = _blocks(cost), functools.partial(forward_step, free=free)

  def block(carry: Any, first: Any) -> Any:
    return wavefront.scan(step, carry, (cut(first),), stop, first=first)[0], carry
  carry, starts = jax.lax.scan(block, forward_start(cost, free), numbers)
  return at_stop(carry, stop), starts


def _expectation_blocks(cost: Any, stop: Any, starts: Any, free: bool) -> Any:
  (numbers, cut), step = _blocks(cost), functools.partial(forward_step, free=free)

  def block(carry: Any, numbered: Any) -> Any:
    first, start = numbered
    _, steps = wavefront.scan(step, start, (cut(first),), stop, first=first)
    carry, (expected,) = wavefront.scan(expectation_step, carry, steps, stop, first=first, reverse=True)
    return carry, expected
  zeros = jnp.zeros_like(starts[0][0])
  _, expected = jax.lax.scan(block, (zeros, zeros), (numbers, starts), reverse=True)
  return wavefront.unskew(expected.reshape(-1, len(cost))[: sum(cost.shape) - 1])
