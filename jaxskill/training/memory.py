"""Memory of a run, asked of the compiler before the first step: a run that cannot fit is refused at once, in one line.

The programs are compiled for this anyway and stay compiled; nothing is computed with them here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxskill.training import cost

STEP = "one step of training"


def needed_bytes(program: jax.stages.Compiled) -> int:
  """Returns the bytes that a program holds on one device at its peak, its arguments and results among them.

  Returns:
    The number, or 0 where a backend does not say.
  """
  stats = program.memory_analysis()
  if stats is None:
    return 0
  return (stats.argument_size_in_bytes + stats.temp_size_in_bytes + stats.output_size_in_bytes
          - stats.alias_size_in_bytes)


def largest_array(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[tuple[int, ...], np.dtype]:
  """Returns (shape, dtype) of the largest array that a function computes, where nothing is fused."""
  found, todo = ((), np.dtype(np.float32)), [jax.make_jaxpr(function)(*arguments).jaxpr]
  size = lambda shape, dtype: int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
  while todo:
    for equation in todo.pop().eqns:
      todo += cost.within(equation)
      for out in equation.outvars:
        shape, dtype = getattr(out.aval, "shape", ()), getattr(out.aval, "dtype", None)
        if isinstance(dtype, np.dtype) and size(shape, dtype) > size(*found):
          found = shape, dtype
  return found


def check(trainer: Any) -> dict[str, Any] | None:
  """Refuses a run that does not fit: a step of a `train.Trainer`, or its answer about all videos.

  Returns:
    What a step costs, see `cost.of_step`, and "program_bytes" that its program holds on a device at its peak; None
    where none is taken.

  Raises:
    ValueError: if a device has less memory than that: which array is largest, and which options make it smaller.
  """
  available, found, streamed, part = trainer.parallel.memory_bytes(), None, 0, 0
  if not trainer.loader.resident:
    streamed = trainer.loader.stream_bytes(len(trainer.method.phases), trainer.num_unique)
    part = trainer.loader.stream_bytes(1, trainer.num_unique) // 2               # of all videos, as they are assessed
  for what, function, arguments in _programs(trainer):
    program = function.lower(*arguments).compile()
    of_program = needed_bytes(program)
    needed = of_program + (streamed // 2 if what == STEP else streamed + part)   # the other half is the argument
    if needed > available:
      raise ValueError(_refusal(trainer, what, needed, available, *largest_array(function, arguments)))
    if what == STEP:
      found = cost.of_step(function, arguments, program, len(trainer.method.phases))
      found["program_bytes"] = of_program or None
  return found


def _programs(trainer: Any) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
  """Yields (what it does, compiled function, arguments) of everything that a run repeats."""
  if trainer.total:
    yield STEP, *trainer.first_call()
  yield from trainer.all_videos.programs(trainer.state)


def _refusal(trainer: Any, what: str, needed: int, available: int, shape: tuple[int, ...],
             dtype: Any) -> str:
  """Returns the refusal in words; a comparison of all rows falls with the square of their number."""
  config, dataset, share, remedies = trainer.config, trainer.dataset, available / needed, []
  rows, stream = max((int(dataset.lengths[name].max()), name) for name in trainer.method.streams)
  seconds = float(np.median(dataset.row_seconds[stream]))
  # Axes as long as a video, or a few videos: a comparison of all rows with all rows has two.
  across = sum(rows > 1 and size >= rows and min(size % rows, -size % rows) <= 2 for size in shape)
  if rows > 1 and dataset.streams[stream].dtype != np.uint8:
    rate = share ** (1 / max(across, 1)) / seconds
    remedies.append(f"lower config.data.rows_per_second (now {1 / seconds:.4g}, about {0.8 * rate:.2g} should fit)")
  batch = config.train.batch_size
  if what.startswith("one step") and batch > 1 and share * batch >= 1:
    remedies.append(f"lower config.train.batch_size (now {batch}, about {max(1, int(0.8 * share * batch))} should fit)")
  if trainer.loader.resident and trainer.loader.bytes > needed / 2:
    remedies.append("lower config.data.device_budget, so that features stream")
  if trainer.at_once > 1:
    remedies.append(f"train fewer models at once (now {trainer.at_once} folds, seeds and criteria)")
  if trainer.parallel.count > 1 and trainer.parallel.devices[0].platform == "cpu":
    remedies.append(f"set config.devices=1 (now {trainer.parallel.count}, which share the machine's memory)")
  return (f"{dataset.source}: {what} needs about {in_words(needed)} of memory, and a device has {in_words(available)}; "
          f"features are {in_words(trainer.loader.bytes)}, videos have up to {rows} rows of {stream!r}, and the "
          f"largest array is {dtype}{list(shape)}: "
          f"{' or '.join(remedies) or 'use shorter videos, or a device with more memory'}.")


def in_words(count: int) -> str:
  """Returns bytes in words, e.g. "1.5 GiB"."""
  power = min(max(int(np.log2(max(count, 1))) // 10, 1), 4)
  return f"{count / 1024 ** power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"
