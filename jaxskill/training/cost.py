"""What a run costs: seconds by what they were spent on, operations of a step, memory at its peak."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
from etils import epath

from jaxskill.host import peak_bytes

T = TypeVar("T")
_COMPILATION = "/compile/"                 # in the names of JAX's events: tracing, lowering, compiling


class Stopwatch(contextlib.AbstractContextManager):
  """Seconds by what they were spent on. What is measured within something else counts for itself alone.

  As a context manager it hears of JAX when a program was traced, lowered and compiled, or read from the cache of
  compiled ones; that counts as "compilation", wherever it happens in this thread.

  Attributes:
    seconds: {what: seconds}.
  """

  def __init__(self) -> None:
    self.seconds: dict[str, float] = {}
    self._others = [0.0]                   # of each measurement under way: seconds that count for something else
    self._spans: list[tuple[float, float]] = []            # of compilation, none within another
    self._thread = threading.get_ident()

  def __enter__(self) -> Stopwatch:
    jax.monitoring.register_event_time_span_listener(self._compiled)
    return self

  def __exit__(self, *_: object) -> None:
    jax.monitoring.unregister_event_time_span_listener(self._compiled)

  @contextlib.contextmanager
  def __call__(self, what: str) -> Iterator[None]:
    """Adds the seconds of the body to those of `what`."""
    begun = time.perf_counter()
    self._others.append(0.0)
    try:
      yield
    finally:
      took = time.perf_counter() - begun
      self._add(what, took - self._others.pop())
      self._others[-1] += took

  def waiting(self, what: str, values: Iterator[T]) -> Iterator[T]:
    """Yields values; the seconds in which they are waited for count as `what`."""
    while True:
      with self(what):
        try:
          value = next(values)
        except StopIteration:
          return
      yield value

  def _add(self, what: str, seconds: float) -> None:
    self.seconds[what] = self.seconds.get(what, 0.0) + seconds

  def _compiled(self, event: str, start_time: float, end_time: float, **_: Any) -> None:
    if _COMPILATION not in event or threading.get_ident() != self._thread:
      return
    new = end_time - start_time            # a function that is traced within another has been counted before it
    while self._spans and self._spans[-1][0] >= start_time:
      inner = self._spans.pop()
      new -= inner[1] - inner[0]
    self._spans.append((start_time, end_time))
    self._add("compilation", new)
    self._others[-1] += new


def of_call(trainer: Any, first: int, step: dict[str, Any] | None, seconds: float) -> dict[str, Any]:
  """Returns what results.json says of the cost of one call of the training, which may be one of several of a run.

  Args:
    trainer: a `train.Trainer` that has trained.
    first: step that it went on from.
    step: of `memory.check`.
    seconds: that the call took.

  Returns:
    "parameters" of one model; "step", see `of_step`; "peak_memory"; "seconds" by what they were spent on; "steps",
    [first, last] of the call.
  """
  spent = {what: trainer.clock.seconds.get(what, 0.0) for what in ("data", "compilation", "training", "evaluation")}
  peak = peak_memory(trainer.parallel.local[0])
  return dict(parameters=parameters(trainer.state.params), step=step, peak_memory=peak,
              seconds=spent | dict(other=seconds - sum(spent.values())), steps=[first, trainer.total])


def lasting(spent: dict[str, Any], workdir: epath.Path) -> dict[str, Any]:
  """Returns what results.json keeps: `of_call` of this call; where it took no step, what the file there says."""
  first, last = spent["steps"]
  try:
    before = json.loads((workdir / "results.json").read_text(encoding="utf-8"))["cost"] if first == last else None
  except (OSError, ValueError, LookupError, TypeError, RecursionError):
    before = None                          # there is none, or it is damaged and written anew
  return before or spent


def describe(seconds: dict[str, float]) -> str:
  """Returns in words what a call spent its time on, "seconds" of `of_call`."""
  return (f"took {duration(sum(seconds.values()))}: "
          + ", ".join(f"{what} {duration(spent)}" for what, spent in seconds.items()))


def duration(seconds: float) -> str:
  """Returns seconds in words, e.g. "4 s", "12 min", "3.5 h"."""
  if seconds < 99.5:
    return f"{seconds:.2g} s"
  return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.3g} h"


def parameters(params: Any) -> int:
  """Returns how many trained numbers one model has, given those of R models, leading axis R."""
  return sum(math.prod(leaf.shape[1:]) for leaf in jax.tree.leaves(params))


def of_step(function: Any, arguments: tuple, program: Any, cycle: int) -> dict[str, Any]:
  """Returns the operations of one step on one device, all models together; None where they are not known.

  Args:
    function: of `Parallel.compile`, that takes some cycles.
    arguments: that it was compiled for.
    program: that came of it.
    cycle: steps of a cycle, of which the mean is taken.

  Returns:
    "flops": of matrix products and convolutions as they are written, those in loops as often as the loop turns.
    "xla_flops", "xla_bytes": of all operations and of the memory that they touch, as XLA estimates them for the program
    that runs; it counts the body of a loop once, however often the loop turns.
  """
  found = program.cost_analysis() or {}
  known = lambda name: found[name] / cycle if found.get(name, 0) > 0 else None
  alone = jax.process_count() == 1                       # arguments of several hosts have no common shape
  return dict(flops=products(jax.make_jaxpr(function)(*arguments).jaxpr) / cycle if alone else None,
              xla_flops=known("flops"), xla_bytes=known("bytes accessed"))


def products(jaxpr: Any) -> float:
  """Returns the floating-point operations of the matrix products and convolutions of a jaxpr.

  A loop whose turns are known only as it runs counts once; of branches the most expensive one counts.
  """
  total = 0.0
  for equation in jaxpr.eqns:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
      (contracted, _), _ = params["dimension_numbers"]
      inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
      total += 2.0 * inner * math.prod(equation.outvars[0].aval.shape)
    elif name == "conv_general_dilated":
      kernel = equation.invars[1].aval.shape
      features = kernel[params["dimension_numbers"].rhs_spec[0]]
      total += 2.0 * math.prod(kernel) / features * math.prod(equation.outvars[0].aval.shape)
    inside = [products(inner) for inner in within(equation)]
    if inside:
      total += max(inside) if name == "cond" else params.get("length", 1) * sum(inside)
  return total


def within(equation: Any) -> list[Any]:
  """Returns the jaxprs that an equation of a jaxpr runs: bodies of loops, branches, functions."""
  leaves = jax.tree.leaves(tuple(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
  inner = [getattr(value, "jaxpr", value) for value in leaves]
  return [value for value in inner if hasattr(value, "eqns")]


def peak_memory(device: jax.Device) -> dict[str, Any]:
  """Returns {"bytes": at the peak, "of": "device", or "process" where a device says nothing of its memory}."""
  peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
  return dict(bytes=peak, of="device") if peak else dict(bytes=peak_bytes(), of="process")
