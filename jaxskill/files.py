"""Files: written whole or not at all, JSON, names that every file system takes, and where a result comes from."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import numpy as np
from etils import epath

from jaxskill import __version__, cli, stores

try:
  import fcntl
except ImportError:                       # Windows
  fcntl = None  # type: ignore[assignment]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)         # faults of the disk, and of no single file
UNFINISHED = ".unfinished"
LOCKS = ".*lock"                                         # names of locks, as .lock and .extraction.lock
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "tensorflow-datasets")
# What no folder may be called on Windows, and what stands beside the answers.
RESERVED = {"con", "prn", "aux", "nul", "features", "frames", "pairs", "index", *(f"com{n}" for n in range(10)),
            *(f"lpt{n}" for n in range(10))}
LONGEST = 100         # bytes of a folder's name: two of them, and what is put between, make one name of 255


@contextlib.contextmanager
def making(path: epath.Path) -> Iterator[pathlib.Path]:
  """Gives the path of a file to make, which takes the place of `path` when the body has ended well, and else goes.

  It is of this machine, whether `path` is or is on a store: there it becomes an object at the end.
  """
  if not stores.is_local(path):
    with passing_folder() as folder:
      yield folder / path.name
      stores.put(folder / path.name, path)
    return
  unfinished = pathlib.Path(path.parent) / f".{uuid.uuid4().hex}{UNFINISHED}"      # as short as the longest name may be
  try:
    with cli.at_end(lambda: unfinished.unlink(missing_ok=True)):
      yield unfinished
      os.replace(unfinished, path)
  finally:
    unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: epath.Path) -> Iterator[IO[bytes]]:
  """Opens a file for bytes that takes the place of `path` when the body has ended well, and else leaves nothing."""
  with making(path) as unfinished, open(unfinished, "xb") as file:
    yield file


@contextlib.contextmanager
def local_copy(path: epath.Path) -> Iterator[pathlib.Path]:
  """Gives a file of this machine with the content of another: itself, or of one on a store a copy, which goes again.

  Raises:
    OSError: if it cannot be read.
  """
  if stores.is_local(path):
    yield pathlib.Path(path)
    return
  with passing_folder() as folder:
    stores.get(path, folder / path.name)
    yield folder / path.name


@contextlib.contextmanager
def passing_folder(within: pathlib.Path | None = None) -> Iterator[pathlib.Path]:
  """Makes a folder, closed to other users, which goes with all that it holds, also where a signal ends the command.

  Args:
    within: a folder where it is hidden; None for that of the system.
  """
  hidden: dict[str, Any] = dict(dir=within, prefix=".", suffix=UNFINISHED) if within else {}
  with tempfile.TemporaryDirectory(**hidden, ignore_cleanup_errors=True) as passing:
    def remove() -> None:
      while os.path.lexists(passing):             # the main thread may still be writing there
        shutil.rmtree(passing, ignore_errors=True)

    with cli.at_end(remove):
      yield pathlib.Path(passing)


@contextlib.contextmanager
def writing_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Makes a folder that takes the place of `path` when the body has ended well, and else leaves nothing.

  Args:
    path: is not there, or an empty folder; the folders above it are made.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  with passing_folder(path.parent) as closed:                                                     # to other users
    folder = closed / path.name
    folder.mkdir()
    yield folder
    if path.exists():
      path.rmdir()
    folder.rename(path)


@contextlib.contextmanager
def taking_turns(folder: pathlib.Path) -> Iterator[None]:
  """Runs the body in one process at a time, of those that ask for the same folder; leaves no file for that.

  Where the system cannot lock a folder, as Windows and some disks of networks, all of them run.
  """
  descriptor = os.open(folder, os.O_RDONLY) if fcntl else None
  try:
    if fcntl and descriptor is not None:
      with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
  finally:
    if descriptor is not None:
      os.close(descriptor)


def write_text(path: epath.Path, text: str) -> None:
  """Writes a text in UTF-8, whole or not at all."""
  with writing(path) as file:
    file.write(text.encode())


def remove_unfinished(folder: pathlib.Path, below: bool = True) -> None:
  """Removes what a killed process left half written in a folder, and in those below it if so told.

  A folder below it with a lock of its own (`training.locks`) belongs to another command, which may be writing there:
  it is left alone, with all that is below it. Who writes takes the lock first, so it is looked for last.
  """
  for path in list((folder.rglob if below else folder.glob)(f".*{UNFINISHED}")):
    inside = path.relative_to(folder).parents[:-1]                      # the folders between, without `folder` itself
    if not any(any((folder / name).glob(LOCKS)) for name in inside):
      if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
      else:
        path.unlink(missing_ok=True)


def provenance(parallel: Any) -> dict[str, Any]:
  """Returns the versions, the devices and the git revision of a run."""
  import jax  # seconds, which not all that write files should wait
  root = pathlib.Path(__file__).resolve().parents[1]

  def git(*args: str) -> str:
    return subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True,
                          check=False).stdout.strip()
  revision = ""
  if (root / ".git").exists():            # and not a repository that the installed package merely lies in
    try:
      revision = git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except OSError:                       # there is no git
      pass
  versions = {}
  for package in _PACKAGES:
    versions[package] = importlib.metadata.version(package)
  return dict(versions=dict(jaxskill=__version__, python=platform.python_version(), **versions),
              devices=[f"{d.platform}: {d.device_kind}" for d in parallel.devices], hosts=jax.process_count(),
              git_revision=revision, command=sys.argv)


def open_folder(out: pathlib.Path, option: str = "--out") -> pathlib.Path:
  """Makes a folder if need be, and proves that it can be written; returns it. `option`: of a command, that names it.

  Raises:
    ValueError: if it cannot.
  """
  try:
    out.mkdir(parents=True, exist_ok=True)
    (out / ".writable").touch()
    (out / ".writable").unlink(missing_ok=True)
  except OSError as error:
    raise ValueError(f"{out}: cannot be written ({error}); give another {option}.") from error
  return out


class OtherFormat(ValueError):
  """A file of ours is whole, but of a format that this version does not read."""


def check_format(path: str | os.PathLike[str], content: Mapping[str, Any], newest: int, remedy: str,
                 oldest: int = 0) -> None:
  """Refuses what another version of the software wrote in a format that this one does not read.

  Args:
    path: of the file, for the message.
    content: its dict; "format" is an integer, 0 where there is none: files were written before formats were numbered.
    newest, oldest: formats that are read.
    remedy: what to do, as "extract the features again".

  Raises:
    OtherFormat: with a message of one line.
    ValueError: if "format" is no integer.
  """
  found = content.get("format", 0)
  if isinstance(found, bool) or not isinstance(found, int):
    raise ValueError(f"its format is {found!r:.40}, expected an integer")
  known = f"format {found}; this one reads {f'{oldest} to {newest}' if oldest < newest else newest}"
  if found > newest:
    raise OtherFormat(f"{path}: was written by a newer jaxskill ({known}); update jaxskill, or {remedy}.")
  if found < oldest:
    raise OtherFormat(f"{path}: was written by an older jaxskill ({known}); {remedy}.")


def save_json(path: epath.Path, content: object) -> None:
  """Writes JSON whole or not at all."""
  write_text(epath.Path(path), to_json(content, indent=1))


def to_json(content: object, indent: int | None = None) -> str:
  """Returns JSON text; numbers that are not finite become null."""
  def clean(value: object) -> object:
    if isinstance(value, dict):
      return {k: clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
      return [clean(v) for v in value]
    if isinstance(value, (float, np.floating)):
      return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
  return json.dumps(clean(content), indent=indent, allow_nan=False)


def folder(name: str) -> str:
  """Returns a relative path for files about a video that every file system takes, and that leads nowhere else.

  Usual names stay as they are. A part that no folder can be called gets a digest, so that two names never become one.
  """
  return "/".join(map(_folder_name, name.split("/")))


def folders(names: Iterable[str]) -> dict[str, str]:
  """Returns {name: path}, see `folder`; they differ also where capital and small letters are the same to a disk."""
  found, taken = {}, set()
  for name in names:
    path = folder(name)
    if _same(path) in taken:
      path += f"-{_digest(name)}"
    taken.add(_same(path))
    found[name] = path
  return found


def _same(path: str) -> str:
  return unicodedata.normalize("NFC", path).casefold()


def _digest(name: str) -> str:
  return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _folder_name(part: str) -> str:
  kept = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in part)
  kept = kept.lstrip(" .").rstrip(" .")
  while len(kept.encode()) > LONGEST:
    kept = kept[:-1]
  reserved = kept.split(".")[0].strip().lower() in RESERVED
  return kept if kept and kept == part and not reserved else f"{'_' * (reserved or not kept)}{kept}-{_digest(part)}"
