"""Logs of a run on a store, which knows no appending: written in a folder of this machine, and copied from there."""

from __future__ import annotations

import contextlib
import math
import time

from etils import epath

from jaxskill import files, stores
from jaxskill.training import leases

EVERY = 30.0          # seconds between two copies at least, but for those that a checkpoint asks for


class Mirror:
  """A folder of this machine whose files are copied whole, when they have grown, to the folder of a run on a store.

  Attributes:
    folder: where they are written; `close` removes it.
  """

  def __init__(self, workdir: epath.Path) -> None:
    """Opens an empty folder for `workdir`, which this process holds the lock of."""
    self._workdir, self._copied, self._last = workdir, dict[str, tuple[int, int]](), -math.inf
    self._passing = contextlib.ExitStack()
    self.folder = self._passing.enter_context(files.passing_folder())

  def save(self, now: bool = True) -> None:
    """Copies what has changed; unless `now`, only if that was not done for a while.

    Raises:
      OSError: if that fails.
      ValueError: if another process has taken the folder over.
    """
    if not now and time.monotonic() - self._last < EVERY:
      return
    leases.check(self._workdir / ".lock")
    for file in sorted(path for path in self.folder.rglob("*") if path.is_file()):
      name, known = file.relative_to(self.folder).as_posix(), file.stat()
      if self._copied.get(name) != (known.st_size, known.st_mtime_ns):
        stores.put(file, self._workdir / name)
        self._copied[name] = known.st_size, known.st_mtime_ns
    self._last = time.monotonic()

  def close(self) -> None:
    """Copies what has changed, see `save`, and removes the folder."""
    with self._passing:
      self.save()
