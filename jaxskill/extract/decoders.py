"""Processes that decode videos, and what they may say: a process that dies, hangs or errs costs its video, not the run.

A message is (video, kind, content); the kinds are those of `extraction.decode_one`, and "ready" once, of no video.
Only the end of a video, "done" or "failed", hands a process its next one, and a message that names another video than
the one that the process is at is not passed on.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time as clock
from collections.abc import Iterator, Mapping
from multiprocessing import connection as connections
from multiprocessing import resource_tracker
from typing import Any

from ml_collections import ConfigDict

from jaxskill.extract import extraction

STARTING = 60.0            # seconds that a process may take to begin, beyond the patience


def _work(connection: Any, config: ConfigDict, persons: Any) -> None:
  """A process that decodes one video after the other; it is never ahead of its reader by more than one message."""
  def send(*message: Any) -> None:
    try:
      connection.send(message)
    except OSError:                       # the reader is gone
      raise SystemExit from None
  send(None, "ready", None)
  with contextlib.suppress(EOFError, OSError):             # the reader is gone
    for video, path in iter(connection.recv, None):
      extraction.decode_one(path, video, config, persons, lambda kind, content: send(video, kind, content))


class _Decoder:
  """One process, the video that it is at, and the seconds that it was waited for in vain."""

  def __init__(self, process: Any) -> None:
    self.process, self.video, self.alive, self.silent = process, None, False, -STARTING


class Decoders:
  """Processes that decode videos; every video ends in one "done" or "failed".

  Each has a pipe of its own: a process that is killed would leave what it shares with others locked.
  """

  def __init__(self, files: Mapping[str, str], config: ConfigDict, persons: object, count: int,
               patience: float) -> None:
    """
    Args:
      files: {video: path}.
      config, persons: see `extraction.decode_one`.
      count: processes.
      patience: seconds without a word from a process after which it is taken to hang.

    Raises:
      ValueError: if a process cannot be started.
    """
    self._context, self._patience, self._arguments = multiprocessing.get_context("spawn"), patience, (config, persons)
    self._waiting, self._lost_at_start = list(files.items()), 0
    self.decoders = {}                    # connection -> _Decoder
    for _ in range(count):
      self._start()

  def _start(self) -> None:
    """Starts a process that does not hear Ctrl-C: it ends when its reader does."""
    resource_tracker.ensure_running()     # would begin with the process, and let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
      connection, of_process = self._context.Pipe()
      process = self._context.Process(target=_work, args=(of_process, *self._arguments), daemon=True)
      process.start()
    except OSError as error:
      self.close()
      raise ValueError(f"a process that decodes cannot be started ({error.strerror}); give fewer "
                       "--processes.") from error
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, before)
    of_process.close()                    # so that its end is noticed here
    self.decoders[connection] = _Decoder(process)

  def __iter__(self) -> Iterator[tuple[str, str, Any]]:
    """Yields (video, kind, content), see `extraction.decode_one`, until all videos are done or failed.

    Raises:
      ValueError: if processes end before they begin.
    """
    while self.decoders:
      begun = clock.monotonic()
      ready = connections.wait(list(self.decoders), timeout=1.0)
      waited = clock.monotonic() - begun
      for connection, decoder in list(self.decoders.items()):
        if connection in ready:
          yield from self._read(connection, decoder)
          continue
        decoder.silent += waited
        if decoder.silent >= self._patience:
          yield from self._give_up(connection, f"nothing was decoded for {self._patience:g} s")

  def _read(self, connection: Any, decoder: _Decoder) -> Any:
    """Reads a message; yields it if it is of the video that the process is at."""
    try:
      video, kind, content = connection.recv()
    except (EOFError, OSError):
      yield from self._give_up(connection, "the decoder died")
      return
    decoder.silent = 0.0
    if (video, kind) == (None, "ready") and not decoder.alive:
      self._hand_on(connection)
    elif video is None or video != decoder.video or kind not in extraction.KINDS:
      yield from self._give_up(connection, f"the decoder spoke out of turn ({kind!r} of {video!r})")
    else:
      self._lost_at_start = 0
      yield video, kind, content
      if kind in extraction.ENDS:
        self._hand_on(connection)

  def _hand_on(self, connection: Any) -> None:
    """Gives a process its next video, or lets it end."""
    decoder, task = self.decoders[connection], self._waiting.pop(0) if self._waiting else None
    decoder.alive, decoder.video = True, task and task[0]
    with contextlib.suppress(OSError):    # it died: that is noticed when it is read from
      connection.send(task)
    if task is None:
      self._end(connection)

  def _end(self, connection: Any) -> None:
    process = self.decoders.pop(connection).process
    connection.close()
    process.join(10.0)
    process.kill()

  def _give_up(self, connection: Any, why: str) -> Iterator[tuple[str, str, str]]:
    """Kills a process and starts another; yields that its video failed."""
    decoder = self.decoders[connection]
    decoder.process.kill()
    self._end(connection)
    self._lost_at_start += not decoder.alive
    if self._lost_at_start >= 3:
      raise ValueError(f"the processes that decode videos do not start ({why}); see what they printed above.")
    if decoder.video is not None:
      yield decoder.video, "failed", f"{why}; start again, or convert the file with ffmpeg first."
    if self._waiting:
      self._start()

  def close(self) -> None:
    """Ends every process that still decodes."""
    for connection in list(self.decoders):
      self.decoders[connection].process.kill()
      self._end(connection)
