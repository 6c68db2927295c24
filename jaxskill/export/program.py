"""A traced program in operations that converters to other formats know: the same numbers, the forward pass alone.

Functions within it are opened, what nothing uses is left out, and operations that ONNX has no like of are written with
others: shifts of integers, loops that run backwards, windows cut out of one video.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import Literal, jaxprs_in_params

# What is called by name in a program, and the parameter that holds the function.
_CALLS = dict(jit="jaxpr", pjit="jaxpr", closed_call="call_jaxpr", custom_jvp_call="call_jaxpr",
              custom_vjp_call="call_jaxpr", custom_vmap_call="call")


def plain(function: Callable[..., Sequence[jax.Array]],
          inputs: Sequence[jax.ShapeDtypeStruct]) -> tuple[Callable[..., tuple], set[str]]:
  """Returns the plain form of a function of arrays, for such inputs, and the names of the operations in it."""
  traced = jax.make_jaxpr(function)(*inputs)
  opened = jax.make_jaxpr(lambda *arrays: _evaluate(traced.jaxpr, traced.consts, arrays))(*inputs)
  return (lambda *arrays: tuple(_evaluate(opened.jaxpr, opened.consts, arrays))), _operations(opened.jaxpr)


def _operations(jaxpr: Any) -> set[str]:
  found = set()
  for step in _used(jaxpr):
    found |= {step.primitive.name}.union(*map(_operations, jaxprs_in_params(step.params)))
  return found


def _used(jaxpr: Any) -> list[Any]:
  """Returns the steps of a program, in turn, that its results need."""
  needed, used = {one for one in jaxpr.outvars if not isinstance(one, Literal)}, []
  for step in reversed(jaxpr.eqns):
    if not needed.isdisjoint(step.outvars):
      used.append(step)
      needed |= {one for one in step.invars if not isinstance(one, Literal)}
  return used[::-1]


def _evaluate(jaxpr: Any, consts: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
  """Returns the results of a program, step by step."""
  values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arrays]))

  def read(one: Any) -> Any:
    return one.val if isinstance(one, Literal) else values[one]
  for step in _used(jaxpr):
    given = [read(one) for one in step.invars]
    values |= zip(step.outvars, _of_step(step, given))
  return [read(one) for one in jaxpr.outvars]


def _of_step(step: Any, given: list[Any]) -> Sequence[Any]:
  """Returns the results of one step."""
  name, params = step.primitive.name, step.params
  if name in _CALLS:
    inner = params[_CALLS[name]]
    return _evaluate(inner.jaxpr, inner.consts, given)
  if name in _OTHERWISE:
    found = _OTHERWISE[name](params, *given)
    if found is not None:
      return found
  found = step.primitive.bind(*given, **params)
  return found if step.primitive.multiple_results else [found]


def _scan(params: Any, *given: Any) -> list[Any]:
  """A loop, its body opened; one that runs backwards as one over turned rows."""
  inner, first = params["jaxpr"], params["num_consts"]
  carried = params["num_carry"]

  def turn(rows: Any) -> Any:
    return jax.lax.rev(rows, (0,)) if params["reverse"] else rows

  def body(carry: Any, rows: Any) -> Any:
    found = _evaluate(inner.jaxpr, inner.consts, [*given[:first], *carry, *rows])
    return found[:carried], found[carried:]
  rows = list(map(turn, given[first + carried:]))
  last, outputs = jax.lax.scan(body, list(given[first: first + carried]), rows, length=params["length"])
  return [*last, *map(turn, outputs)]


def _gather(params: Any, operand: Any, starts: Any) -> list[Any] | None:
  """A window cut out of each of V videos, where V is 1; other gathers are left as they are."""
  numbers = params["dimension_numbers"]
  if numbers.operand_batching_dims != (0,) or numbers.collapsed_slice_dims or operand.shape[0] != 1:
    return None
  return [jax.lax.dynamic_slice(operand[0], list(starts[0]), params["slice_sizes"][1:])[None]]


def _concatenate(params: Any, *given: Any) -> list[Any]:
  """Without empty parts, whose size of 0 ONNX takes for "as it was"."""
  axis = params["dimension"]
  parts = [one for one in given if not (isinstance(one.shape[axis], int) and one.shape[axis] == 0)]
  return [jax.lax.concatenate(parts, axis) if len(parts) > 1 else parts[0]]


def _stack(params: Any, *given: Any) -> list[Any]:
  axis = params["axis"]
  return [jax.lax.concatenate([jax.lax.expand_dims(one, [axis]) for one in given], axis)]


def _unstack(params: Any, whole: Any) -> list[Any]:
  axis = params["axis"]
  return [jax.lax.index_in_dim(whole, number, axis, keepdims=False) for number in range(whole.shape[axis])]


def _shift_left(params: Any, value: Any, bits: Any) -> list[Any] | None:
  del params
  return [value * jnp.asarray(2 ** int(bits), value.dtype)] if np.ndim(bits) == 0 and _known(bits) else None


def _shift_right(params: Any, value: Any, bits: Any) -> list[Any] | None:
  """Of a signed number: what is shifted out is taken off first, so that the division is exact."""
  del params
  if np.ndim(bits) or not _known(bits):
    return None
  by = jnp.asarray(2 ** int(bits), value.dtype)
  return [jax.lax.div(value - (value & (by - 1)), by)]


def _known(value: Any) -> bool:
  return not isinstance(value, Tracer)


_OTHERWISE: dict[str, Callable[..., Any]] = dict(
    scan=_scan, gather=_gather, concatenate=_concatenate, stack=_stack, unstack=_unstack, shift_left=_shift_left,
    shift_right_arithmetic=_shift_right)
