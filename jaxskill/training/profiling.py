"""A look into some steps while they run: a trace for xprof, and what the device holds."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import jax
from etils import epath
from ml_collections import ConfigDict

from jaxskill import files, stores

NAME = "train"          # of the annotation of a call in the trace


class Profile(contextlib.AbstractContextManager):
  """The trace of some steps, written into the folder `profile` of a run.

  Many steps run in one compiled program. Calls are cut where the traced steps begin and end, which changes no bit of
  what is trained, and each call is annotated with the number of its first step.
  """

  def __init__(self, options: ConfigDict | None, workdir: epath.Path, *, cycle: int, total: int, main: bool) -> None:
    """Args:
      options: `config.profile`: `start`, steps that come before the first traced one, and `steps`, 0 for no trace.
      workdir: the folder of the run.
      cycle: steps of a cycle, which is never cut; the trace has whole ones.
      total: steps of the run.
      main: whether this process writes the trace.

    Raises:
      ValueError: if the run has no such steps.
    """
    start, steps = (options.start, options.steps) if options else (0, 0)
    if steps and start >= total:
      raise ValueError(f"config.profile.start={start}: the run has {total} steps; give fewer, or trace none with "
                       "--config.profile.steps=0.")
    self._first = start // cycle * cycle
    self._end = min(-(-(start + steps) // cycle) * cycle, total) if steps else self._first
    self._folder, self._main = workdir / "profile", main
    self._running = contextlib.ExitStack()               # the trace that is under way
    self._tracing, self._memory = False, b""

  def describe(self, step: int) -> str:
    """Returns what is traced by a run that goes on at `step`, in words; "" where nothing was asked for."""
    if self._first == self._end:
      return ""
    steps = f"steps {self._first + 1} to {self._end}"
    return (f"{steps} are traced into {self._folder}" if step < self._end else
            f"{steps}, to be traced, have been taken before: use another --workdir")

  def cut(self, step: int, end: int) -> int:
    """Returns where a call from `step` on has to end that may go to `end`."""
    return min(border for border in (self._first, self._end, end) if border > step)

  @contextlib.contextmanager
  def call(self, step: int, end: int) -> Iterator[Callable[[], None]]:
    """Runs the body, a call of the steps from `step` to `end`, in the trace if it belongs there.

    Yields:
      A function to call as soon as the steps run: it notes once what the device holds then.
    """
    if not self._main or not self._first <= step < self._end:
      yield lambda: None
      return
    if not self._tracing:
      self._start()
    with jax.profiler.StepTraceAnnotation(NAME, step_num=step + 1):
      yield self._look
    if end >= self._end:
      self._running.close()

  def _start(self) -> None:
    local = self._running.enter_context(files.passing_folder())        # the profiler writes to disks of this machine
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0        # a call that compiles makes millions of events in Python: gigabytes
    jax.profiler.start_trace(local, profiler_options=options)
    self._tracing = True
    self._running.callback(self._stop, local)

  def _look(self) -> None:
    self._memory = self._memory or jax.profiler.device_memory_profile()

  def _stop(self, local: pathlib.Path) -> None:
    jax.profiler.stop_trace()
    (local / "memory.prof").write_bytes(self._memory)
    for path in sorted(local.rglob("*")):
      if path.is_file():
        target = self._folder / path.relative_to(local).as_posix()
        stores.make_folder(target.parent)
        stores.put(path, target)

  def __exit__(self, *_: object) -> None:
    self._running.close()                  # of a run that ends within the traced steps
