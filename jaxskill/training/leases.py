"""One process at a time in a folder on a store: a lock that its process renews, and that others take over once it dies.

The lock is an object that is created only if there is none. It says who holds it, and its process writes it anew every
`BEAT` seconds with another number. Who finds a lock watches it: one that changes is held, and the folder is refused;
one that does not for `AGE` seconds was left by a process that died, and is taken over. So a job that starts again after
a preemption waits for a minute at most, and no clocks of two machines are compared. That a process of this machine has
died is known at once.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from etils import epath

from jaxskill import cli, stores
from jaxskill.training import locks

BEAT, AGE = 10.0, 60.0       # seconds
_SETTLED = 1.0               # seconds after which two that took over one lock see which of them has it
_TRIES = 5                   # to create what others let go meanwhile


@contextlib.contextmanager
def hold(file: epath.Path, doing: str, hint: str, say: Callable[[str], None]) -> Iterator[None]:
  """Holds a lock while the body runs; for the arguments see `locks.hold`.

  Raises:
    ValueError: if another process holds it: which host, which pid, since when.
  """
  fault = ""
  try:
    lease = _Lease(file)
    created = lease.create()
  except (ImportError, ValueError, OSError) as error:
    fault = next(iter(str(error).splitlines()), type(error).__name__)
  if fault:
    say(f"not locked: {file.parent} lies where no file can be created only if there is none ({fault}); start no "
        f"second {doing} there")
    yield
    return
  if not created:
    _take_over(lease, file.parent, doing, hint, say)
  ended = threading.Event()
  renewing = threading.Thread(target=_renew, args=(lease, ended), daemon=True)
  renewing.start()

  def let_go() -> None:
    ended.set()
    lease.remove()

  try:
    with cli.at_end(let_go):
      yield
  finally:
    ended.set()
    renewing.join()                        # or it might write what is removed now
    lease.remove()


def check(file: epath.Path) -> None:
  """Raises a `ValueError` if another process has taken over the lock that this one held on a store."""
  try:
    found = _Lease(file).read()
  except (ImportError, ValueError, OSError):                   # it was not locked, which was said
    return
  if found is not None and not (found.startswith(_here()) and _lines(found)[1] == _machine()):
    raise ValueError(f"{file.parent}: another process has taken over this folder ({_words(found)}), for this one had "
                     f"not renewed its lock for {AGE:.0f} s; this one ends, the other goes on.")


class _Lease:
  """The object of a lock; every method raises an `OSError` if the store cannot be reached."""

  def __init__(self, file: epath.Path) -> None:
    import fsspec  # which a run on this machine needs not
    self._file, self._token, self._number = file, uuid.uuid4().hex, 0
    self._since = f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}"
    self._store, self._name = fsspec.url_to_fs(os.fspath(file), use_listings_cache=False)    # as it is there now

  def read(self) -> str | None:
    """Returns what the lock says, None if there is none."""
    with stores.as_os_error(self._file):
      try:
        return self._store.cat_file(self._name).decode(errors="replace")
      except FileNotFoundError:
        return None

  def create(self) -> bool:
    """Creates the lock if there is none; returns whether this process has it now.

    Raises:
      OSError: besides, if the store writes over what is there.
    """
    if self.read() is None:
      try:
        self._write("create")
        self._write("create")              # which must fail
      except FileExistsError:
        return self.mine()
      self.remove()
      raise OSError("it writes over what is there")
    return self.mine()

  def renew(self) -> bool:
    """Writes the lock with the next number; returns False, and leaves it as it is, if it is another's now."""
    if not self.mine():
      return False
    self._number += 1
    self._write("overwrite")
    return True

  def remove(self) -> None:
    """Removes the lock, if it is there and of this process; one that cannot be removed grows old."""
    with contextlib.suppress(OSError), stores.as_os_error(self._file):
      if self.mine():
        self._store.rm_file(self._name)

  def remove_old(self, found: str) -> None:
    """Removes a lock that others left, if it still says what it did."""
    with contextlib.suppress(FileNotFoundError), stores.as_os_error(self._file):
      if self.read() == found:
        self._store.rm_file(self._name)

  def mine(self) -> bool:
    """Returns whether the lock is this one."""
    return self._token in (self.read() or "")

  def _write(self, mode: str) -> None:
    text = f"{_here()}since {self._since}\n{_machine()}\n{self._token} {self._number}\n"
    with stores.as_os_error(self._file):
      self._store.pipe_file(self._name, text.encode(), mode=mode)


def _take_over(lease: _Lease, folder: epath.Path, doing: str, hint: str, say: Callable[[str], None]) -> None:
  """Takes the lock once its process is known to have died; raises a `ValueError` if it lives."""
  found = None
  for _ in range(_TRIES):
    found = lease.read()
    if found is not None and not _is_dead(found):
      say(f"{folder}: there is a lock ({_words(found)}); it is watched for {AGE:.0f} s to see whether its process "
          "lives")
      says = _watch(lease, found)
      if says not in (None, found):
        break
      found = says
    if found is not None:
      say(f"{folder}: the lock was left by a process that died ({_words(found)}); it is taken over")
      lease.remove_old(found)
    if lease.create():
      time.sleep(0 if found is None else _SETTLED)
      if lease.mine():
        return
  raise ValueError(f"{folder}: another {doing} is at work there ({_words(found or '')}); wait until it ends, or "
                   f"{hint}.")


def _watch(lease: _Lease, found: str) -> str | None:
  """Returns what a lock says as soon as it says something else, or after `AGE` seconds."""
  until = time.monotonic() + AGE
  while (says := lease.read()) == found and time.monotonic() < until:
    time.sleep(BEAT / 10)
  return says


def _renew(lease: _Lease, ended: threading.Event) -> None:
  """Renews a lock until the end, or until another has it."""
  while not ended.wait(BEAT):
    with contextlib.suppress(OSError):     # the next time, perhaps
      if not lease.renew():
        return


def _here() -> str:
  return f"host {socket.gethostname()}, pid {os.getpid()}, "


def _machine() -> str:
  """Returns what all processes have in common that know this one by its pid."""
  pids = pathlib.Path("/proc/self/ns/pid")                     # containers on one machine have their own
  return f"{locks.boot_id()} {os.readlink(pids) if pids.is_symlink() else ''}"


def _lines(found: str) -> list[str]:
  return [*found.split("\n"), ""]


def _words(found: str) -> str:
  return "".join(letter for letter in _lines(found)[0][:200] if letter.isprintable()) or "it does not say who"


def _is_dead(found: str) -> bool:
  """Returns whether a lock says that it is of a process of this machine which does not run any more."""
  words, machine, *_ = _lines(found)
  said = re.match(r"host (.*), pid (\d+), ", words)
  if os.name == "nt" or not said or said[1] != socket.gethostname() or machine != _machine():
    return False
  try:
    os.kill(int(said[2]), 0)
  except ProcessLookupError:
    return True
  except (OSError, OverflowError):
    pass
  return False
