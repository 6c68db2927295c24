"""A process that measures for another one, which watches it: whatever takes too long or dies, the others go on."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Callable
from typing import Any

import jax

from jaxskill import cli

START_S = 120            # more than a process ever takes to start


class Stopped(Exception):
  """What was asked for took too long, failed, or ended the process; the message says which."""


class Process:
  """Calls functions in a process of its own; after one that is stopped or fails it is not to be used again."""

  def __init__(self, devices: int = 1, keeps: bool = False, cache: str | None = None) -> None:
    """Args: devices: of a CPU, as many as JAX is to see; keeps: it keeps freed memory; cache: of compiled programs."""
    context = multiprocessing.get_context("spawn")
    self._pipe, theirs = context.Pipe()
    self._process = context.Process(target=_serve, args=(theirs, devices, keeps, cache), daemon=True)
    self._process.start()
    theirs.close()

  def ask(self, limit: float, function: Callable[..., Any], *arguments: Any) -> list[dict[str, Any]]:
    """Returns what a function of a module returns there.

    Args:
      limit: seconds after which the process is ended.

    Raises:
      Stopped: if there is no answer.
    """
    try:
      self._pipe.send((function, arguments))
      answered = self._pipe.poll(limit)
      answer, fault = self._pipe.recv() if answered else ([], "")
    except (EOFError, OSError):
      self._process.join(5)
      raise Stopped(f"its process ended with status {self._process.exitcode}, out of memory perhaps") from None
    if not answered:
      self.end()
      raise Stopped(f"stopped after {limit:.0f} s")
    if fault:
      raise Stopped(fault)
    return answer

  def end(self) -> None:
    """Ends the process with those that it has started, and gives back what it held."""
    if (number := self._process.pid) and self._process.is_alive() and hasattr(os, "killpg"):
      with contextlib.suppress(ProcessLookupError, PermissionError):     # it has not begun, and leads no group yet
        os.killpg(number, signal.SIGKILL)
    self._process.kill()
    self._process.join(10)                 # one that hangs in a driver is left alone
    self._pipe.close()


def _serve(pipe: multiprocessing.connection.Connection, devices: int, keeps: bool, cache: str | None) -> None:
  """Answers until the other end is gone."""
  if hasattr(os, "setpgid"):
    os.setpgid(0, 0)                       # what it starts ends with it
  if keeps:
    cli.keep_memory()
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")        # others may measure on the same device
  if cache:
    os.environ["TMPDIR"] = cache                                         # what it leaves behind goes with the cache
  jax.config.update("jax_compilation_cache_dir", cache)                  # not that of the environment
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
  jax.config.update("jax_persistent_cache_enable_xla_caches", "none")    # of fusions, which come again elsewhere
  if devices > 1 and "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    jax.config.update("jax_num_cpu_devices", devices)
  while True:
    try:
      function, arguments = pipe.recv()
    except (EOFError, OSError):
      return
    except ImportError as error:                                         # of the module of the function
      pipe.send((None, _in_words(error)))
      continue
    try:
      answer = function(*arguments), ""
    except BaseException as error:   # pylint: disable=broad-except   is said, and the others go on
      answer = None, _in_words(error)
    pipe.send(answer)
    del answer
    jax.clear_caches()
    gc.collect()


def _in_words(error: BaseException) -> str:
  return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no message'}"
