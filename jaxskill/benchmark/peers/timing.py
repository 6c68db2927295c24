"""How peers in PyTorch are compiled and timed: batches are drawn before the clock starts, and the device has ended when
it stops.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast

import torch

from jaxskill.benchmark.peers import NO_COMPILER, has_compiler
from jaxskill.host import peak_bytes

T = TypeVar("T", bound=Callable[..., Any])


def compiled(function: T, words: Collection[str], **options: Any) -> T:
  """Returns the function or, where the words of a form say "compile", what `torch.compile` makes of it, with `options`.

  Raises:
    ValueError: if there is no C++ compiler, which PyTorch needs for that.
  """
  if "compile" not in words:
    return function
  if not has_compiler():
    raise ValueError(f"torch+compile {NO_COMPILER}, or leave the form out.")
  return cast(T, torch.compile(function, dynamic=False, options=options or None))


def first_cycle(cycle: Callable[[], Any], words: Collection[str]) -> dict[str, float]:
  """Takes the first cycle of a form; returns its seconds, of a compiled one also those that a second one saves."""
  def timed() -> float:
    start = time.perf_counter()
    cycle()
    return time.perf_counter() - start
  first = timed()
  return dict(first_cycle_s=first, **(dict(compile_s=max(0.0, first - timed())) if "compile" in words else {}))


def seconds(draw: Callable[[], tuple], step: Callable[..., Any], count: int) -> float:
  """Returns the seconds of `count` steps, without those in which `draw` makes the arguments of each."""
  synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
  total = 0.0
  for _ in range(count):
    batch = draw()
    synchronize()
    start = time.perf_counter()
    step(*batch)
    synchronize()
    total += time.perf_counter() - start
  return total


def memory() -> dict[str, int | None]:
  """Returns what a contender says at its end: the bytes at its peak, and nothing of a compiled program."""
  peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_bytes()
  return dict(peak_memory_bytes=peak, program_bytes=None, compiled_flops=None)
