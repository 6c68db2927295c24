"""One process at a time in a folder: a lock that the system lets go when its process dies, however it dies.

The lock is the system's (`flock`) on a small file, which says in words who holds it. The file stays, empty, when the
lock is let go: to remove it would let two processes lock two files of one name.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import socket
from collections.abc import Callable, Iterator

from jaxskill import cli

try:
  import fcntl
except ImportError:                       # Windows
  fcntl = None  # type: ignore[assignment]

BOOT = pathlib.Path("/proc/sys/kernel/random/boot_id")         # one for all containers of a machine


@contextlib.contextmanager
def hold(file: pathlib.Path, doing: str, hint: str, say: Callable[[str], None], shared: bool = False,
         named: bool = True) -> Iterator[None]:
  """Holds a lock while the body runs.

  What a dead process of this machine left is taken over. That of another machine is not, for not every file system
  shares its locks between machines.

  Args:
    file: of the lock, in a folder that is there.
    doing: what is done in the folder, as "extraction".
    hint: what else to do than to wait, as "give another --out".
    say: called with a line where the file system cannot lock; the body runs all the same.
    shared: whether others may hold it too who say the same; the file then does not say who they are.
    named: whether the file says who holds it. Without, a process that was killed on another machine keeps nobody out;
      where locks do not reach from one machine to another, neither does one that lives.

  Raises:
    ValueError: if another process holds it: which host, which pid, since when.
    OSError: if the file cannot be opened.
  """
  file = pathlib.Path(file)
  with contextlib.ExitStack() as held:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    held.callback(os.close, descriptor)
    if _lock(descriptor, file, doing, hint, say, shared):
      words, boot = _content(descriptor)
      here = f"host {socket.gethostname()}, "
      if words.startswith("host ") and not words.startswith(here) and boot != boot_id():
        raise ValueError(f"{file.parent}: another {doing} is at work there, or was killed ({words}); if it does not "
                         f"run any more, remove {file}.")
      if shared or not named:
        yield
        return
      held.callback(_write, descriptor, "")
      since = datetime.datetime.now().astimezone()
      held.enter_context(cli.at_end(lambda: _write(descriptor, "")))
      _write(descriptor, f"{here}pid {os.getpid()}, since {since:%Y-%m-%d %H:%M:%S %z}\n{boot_id()}\n")
    yield


def _lock(descriptor: int, file: pathlib.Path, doing: str, hint: str, say: Callable[[str], None], shared: bool) -> bool:
  if fcntl is None:
    say(f"not locked: this system cannot lock {file.parent}; start no second {doing} there")
    return False
  try:
    fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
  except (BlockingIOError, PermissionError) as error:
    words = _content(descriptor)[0] or "it does not say who"
    raise ValueError(f"{file.parent}: another {doing} is at work there ({words}); wait until it ends, or {hint}."
                     ) from error
  except OSError as error:
    say(f"not locked: {file.parent} lies where files cannot be locked ({error.strerror}); start no second {doing} "
        "there")
    return False
  return True


def _content(descriptor: int) -> list[str]:
  """[who holds the lock, the boot of that machine] as the file says."""
  lines = os.pread(descriptor, 500, 0).decode(errors="replace").split("\n")
  return ["".join(letter for letter in line if letter.isprintable()) for line in (*lines, "")[:2]]


def boot_id() -> str:
  """Returns what all processes of this machine have in common until it starts again."""
  return BOOT.read_text().strip() if BOOT.is_file() else socket.gethostname()


def _write(descriptor: int, text: str) -> None:
  with contextlib.suppress(OSError):        # a full disk: the lock holds without words
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
