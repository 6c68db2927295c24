"""Folders of this machine and on stores of objects, `gs://` and `s3://`: one kind of path for both, `etils.epath.Path`.

On a store a file is an object that is there when it is whole. Nothing is renamed or appended to, and there are no
folders to make. All that lies in the folder of a run is therefore written by `files.writing` and its like, or copied by
`put`, and listed by `children`.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import pathlib
import shutil
from collections.abc import Iterator

from etils import epath

from jaxskill import cli

PACKAGES = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3")}      # that read a store, and the extra that installs them
_PIECE = 1 << 24                                               # bytes that are copied at once


def place(text: str | os.PathLike[str]) -> epath.Path:
  """Returns the path of a folder of this machine, `~` as in `cli.path`, or of one on a store.

  Raises:
    ValueError: for a store that is not known, or without the package that reads it.
  """
  text = cli.path(text)
  scheme, separator, _ = text.partition("://")
  if separator:
    package, extra = PACKAGES.get(scheme, ("", ""))
    if package and not importlib.util.find_spec(package):
      raise ValueError(f"{text}: {scheme}:// is read by {package}, which is not installed: "
                       f"pip install 'jaxskill[{extra}]'")
    os.environ.setdefault("EPATH_USE_TF", "false")         # else TensorFlow reads it where that happens to be there
  try:
    return epath.Path(text)
  except KeyError:
    raise ValueError(f"{text}: {scheme}:// is not known; give a folder of this machine, or of "
                     f"{' or '.join(f'{name}://' for name in PACKAGES)}.") from None


def is_local(path: str | os.PathLike[str]) -> bool:
  """Returns whether a path is of this machine's file systems, and not of a store."""
  return "://" not in os.fspath(path)


def make_folder(folder: epath.Path) -> None:
  """Makes a folder and those above it, as far as they are not there; on a store there is nothing to make."""
  if is_local(folder):
    folder.mkdir(parents=True, exist_ok=True)


def children(folder: epath.Path) -> list[epath.Path]:
  """Returns what lies in a folder, in the order of names; nothing if there is no such folder.

  Raises:
    OSError: if it cannot be read.
  """
  with as_os_error(folder):
    return sorted(folder.iterdir()) if folder.is_dir() else []


def put(file: pathlib.Path, path: epath.Path) -> None:
  """Writes a file of this machine to a store, as one object that is there when it is whole.

  Raises:
    OSError: if it cannot be written.
  """
  with as_os_error(path), open(file, "rb") as source, path.open("wb") as target:
    shutil.copyfileobj(source, target, _PIECE)


def get(path: epath.Path, file: pathlib.Path) -> None:
  """Reads an object of a store into a file of this machine, which is not there yet.

  Raises:
    OSError: if it cannot be read.
  """
  with as_os_error(path), path.open("rb") as source, open(file, "xb") as target:
    shutil.copyfileobj(source, target, _PIECE)


@contextlib.contextmanager
def as_os_error(path: epath.Path) -> Iterator[None]:
  """Turns what the packages raise that read a store into an `OSError`, which is what a disk would give."""
  try:
    yield
  except (OSError, MemoryError):
    raise
  except Exception as error:   # pylint: disable=broad-except   each package has its own
    raise OSError(errno.EIO, f"{type(error).__name__}: {error}".split("\n")[0][:300], str(path)) from error
