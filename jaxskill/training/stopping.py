"""Signals that stop a training, and calls short enough to heed them soon."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
_ONE_REQUEST = 0.5      # seconds; `timeout` and a terminal that closes send their signal twice at once
_CALL = 2.0             # seconds that a call should take: a signal is heeded at its end
_GROWTH = 8             # a call is at most so many times longer than the one before, for short calls are badly timed


class Stopped(SystemExit):
  """A signal stopped the run, and what was done is saved: ends the program with status 128 + the signal's number.

  Attributes:
    number: of the signal.
  """

  def __init__(self, number: int) -> None:
    super().__init__(128 + number)
    self.number = number


class StopSignal(contextlib.AbstractContextManager):
  """Turns SIGTERM, SIGINT and SIGHUP into a request to save and stop; a second one ends the process at once.

  A thread listens, for Python calls its handlers only when the present call into compiled code has ended. What was
  ignored before (SIGHUP under nohup) stays ignored. A request that nobody heeded is a plain signal again on leaving.

  Attributes:
    number: of the signal that came, 0 until one did.
  """

  def __enter__(self) -> StopSignal:
    self.number = 0
    heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    self._reader, self._writer = os.pipe()
    os.set_blocking(self._writer, False)
    self._listener = threading.Thread(target=self._listen, args=(heeded,), daemon=True)
    self._listener.start()
    self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
    self._before = {number: signal.signal(number, lambda *_: None) for number in heeded}
    return self

  def _listen(self, heeded: Sequence[Any]) -> None:
    first = None
    while number := int.from_bytes(os.read(self._reader, 1), "little"):         # nothing to read: closed
      if number in heeded and not self.number:
        self.number, first = number, time.monotonic()
      elif number in heeded and time.monotonic() - (first or 0) > _ONE_REQUEST:
        os._exit(128 + number)                # not sys.exit: the main thread may be in compiled code for minutes

  def __exit__(self, kind: type | None, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    signal.set_wakeup_fd(self._wakeup)
    os.close(self._writer)
    self._listener.join()
    os.close(self._reader)
    if self.number and kind is None:
      signal.raise_signal(self.number)


class CallLength:
  """How many steps the next call takes, by the speed of the one before: a call lasts about two seconds at most.

  The first call, which may compile, is as short as can be.
  """

  def __init__(self, cycle: int) -> None:
    """Starts with a call of `cycle` steps; all calls are multiples of it."""
    self._cycle = self._steps = cycle

  def steps(self, left: int) -> int:
    """Returns the steps of the next call, of the `left` ones up to where it must end; rounded up to whole cycles."""
    return -(-min(self._steps, left) // self._cycle) * self._cycle

  def took(self, steps: int, seconds: float) -> None:
    """Notes what a call took."""
    most = min(_GROWTH * steps, int(steps * _CALL / max(seconds, 1e-9)))
    self._steps = max(1, most // self._cycle) * self._cycle
