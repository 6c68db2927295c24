"""Memory that this process may take on its machine: a container or a batch job often has less than the machine."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Iterator

# Where Linux shows limits: of all resources together (version 2), or of memory by itself (version 1).
_GROUPS = "sys/fs/cgroup"


def host_bytes(root: str | os.PathLike[str] = "/") -> int:
  """Returns the bytes of memory of the machine, or of the tightest limit above this process where that is less.

  Args:
    root: folder that holds `proc` and `sys`.
  """
  return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits(pathlib.Path(root))])


def peak_bytes(root: str | os.PathLike[str] = "/") -> int:
  """Returns the most bytes that this process ever held in memory; 0 where the system does not say.

  Args:
    root: folder that holds `proc`.
  """
  try:
    for line in (pathlib.Path(root) / "proc/self/status").read_text().splitlines():
      if line.startswith("VmHWM:"):
        return 1024 * int(line.split()[1])
  except OSError:                                        # no Linux
    pass
  try:
    import resource
  except ImportError:                                    # Windows
    return 0
  # Linux hands this number on to the processes that are started, so it is asked for last.
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _limits(root: pathlib.Path) -> Iterator[int]:
  """Yields the limits of the control groups of this process and of all above them."""
  try:
    groups = (root / "proc/self/cgroup").read_text().splitlines()
  except OSError:                                        # no Linux
    return
  for line in groups:
    _, kinds, group = line.split(":", 2)                 # "0::/job" or "4:memory:/job"
    if kinds not in ("", "memory"):
      continue
    top = root / _GROUPS / kinds
    # A container names its group as the machine does, and sees it as the top: a folder may be missing.
    for folder in (top / group.strip("/"), *(top / group.strip("/")).parents):
      for name in ("memory.max", "memory.limit_in_bytes"):
        try:
          text = (folder / name).read_text().strip()
        except OSError:
          continue
        if text.isdigit():                               # "max" is none
          yield int(text)
      if folder == top:
        break
