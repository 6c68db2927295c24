"""How peers in PyTorch are timed: batches are drawn before the clock starts, and the device has ended when it stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from jaxskill.training.host_memory import peak_bytes


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
