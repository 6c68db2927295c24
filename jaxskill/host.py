"""Memory and cores that this process may take on its machine: a container or a batch job often has less than that."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

# Where Linux shows limits: of all resources together (version 2), or of memory by itself (version 1).
_GROUPS = "sys/fs/cgroup"


def host_bytes(root: str | os.PathLike[str] = "/") -> int:
  """Returns the bytes of memory of the machine, or of the tightest limit above this process where that is less.

  Args:
    root: folder that holds `proc` and `sys`.
  """
  found = _limits(pathlib.Path(root), "memory", ("memory.max", "memory.limit_in_bytes"))
  return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
              *(int(text) for _, text in found if text.isdigit())])                       # "max" is none


def hold_more(folders: Sequence[str], count: float, most: int = 5000) -> bool:
  """Returns whether the files below folders take more than `count` bytes; of more than `most` files, the first ones.

  Links to folders are not followed, and a folder that is not there holds nothing.
  """
  below = (os.path.join(place, name) for folder in folders for place, _, names in os.walk(folder) for name in names)
  held = 0
  for file in itertools.islice(below, most):
    with contextlib.suppress(OSError):                     # e.g. a link that leads nowhere: loading says it
      held += os.stat(file).st_size
    if held > count:
      return True
  return False


def host_cores(root: str | os.PathLike[str] = "/") -> int:
  """Returns the number of cores that this process may use: a scheduler gives a job a part of its node.

  Args:
    root: folder that holds `proc` and `sys`.
  """
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
  for file, text in _limits(pathlib.Path(root), "cpu", ("cpu.max", "cpu.cfs_quota_us")):
    quota, _, period = text.partition(" ")                                  # microseconds of so many; "max", -1: any
    if quota.isdigit():
      period = period or file.with_name("cpu.cfs_period_us").read_text()
      cores = min(cores, max(1, int(quota) // int(period)))
  return cores


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


def _limits(root: pathlib.Path, kind: str, names: Sequence[str]) -> Iterator[tuple[pathlib.Path, str]]:
  """Yields (file, its text) of the limits of the control groups of this process and of all above them.

  Args:
    kind: of resource, as version 1 names it; names: of files.
  """
  try:
    groups = (root / "proc/self/cgroup").read_text().splitlines()
  except OSError:                                        # no Linux
    return
  for line in groups:
    _, kinds, group = line.split(":", 2)                 # "0::/job", "4:memory:/job" or "2:cpu,cpuacct:/job"
    if kinds and kind not in kinds.split(","):
      continue
    top = root / _GROUPS / kinds
    # A container names its group as the machine does, and sees it as the top: a folder may be missing.
    for folder in (top / group.strip("/"), *(top / group.strip("/")).parents):
      for name in names:
        with contextlib.suppress(OSError):
          yield folder / name, (folder / name).read_text().strip()
      if folder == top:
        break
