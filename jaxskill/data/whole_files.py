"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)         # faults of the disk, and of no single file
UNFINISHED = ".unfinished"


@contextlib.contextmanager
def writing(path):
  """Opens a file for bytes that takes the place of `path` when the body has ended well, and else leaves nothing."""
  unfinished = path.parent / f".{uuid.uuid4().hex}{UNFINISHED}"             # as short as the longest name may be
  try:
    with open(unfinished, "xb") as file:
      yield file
    os.replace(unfinished, path)
  finally:
    unfinished.unlink(missing_ok=True)


def remove_unfinished(folder):
  """Removes what a killed process left half written, in a folder and those below it."""
  for file in folder.rglob(f".*{UNFINISHED}"):
    file.unlink(missing_ok=True)
