"""Checkpoints on a store: each is an archive, one object that is there when it is whole.

Orbax makes a checkpoint by renaming folders, which a store does not know. It therefore works in a folder of this
machine, which passes; what it has finished there is put on the store, the new before the old goes.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import zipfile
from collections.abc import Iterator

from etils import epath

from jaxskill import files, stores

DAMAGED = "damaged"   # folder of what could not be restored
_ENDING = ".zip"


def steps(directory: epath.Path) -> list[int]:
  """Returns the steps that a directory, of this machine or on a store, has checkpoints of, whole or not, ascending."""
  return sorted(int(name) for name in _names(directory) if name.isdigit())


@contextlib.contextmanager
def unpacked(directory: epath.Path, step: int) -> Iterator[epath.Path]:
  """Gives a directory of this machine that holds the checkpoint of a step, if `directory` does."""
  if stores.is_local(directory):
    yield directory.expanduser().resolve()
    return
  with files.passing_folder() as folder:
    if step in steps(directory):
      _unpack(directory / f"{step}{_ENDING}", folder / str(step))
    yield epath.Path(folder)


class Archives:
  """A folder of this machine with the checkpoints of a directory on a store.

  Attributes:
    folder: where they are; `close` removes it.
  """

  def __init__(self, directory: epath.Path) -> None:
    """Reads all checkpoints of a directory.

    Raises:
      OSError: if that fails.
    """
    self._directory = directory
    self._there = {name for name in _names(directory) if name.isdigit()} | {
        f"{DAMAGED}/{name}" for name in _names(directory / DAMAGED)}
    self._passing = contextlib.ExitStack()
    self.folder = self._passing.enter_context(files.passing_folder())
    for name in self._there:
      _unpack(directory / f"{name}{_ENDING}", self.folder / name)

  def save(self) -> None:
    """Puts the checkpoints that are new in the folder on the store, then removes there those that are gone.

    Raises:
      OSError: if that fails.
    """
    here = {path.name for path in self.folder.iterdir() if path.name.isdigit()} | {
        f"{DAMAGED}/{path.name}" for path in (self.folder / DAMAGED).glob("*")}
    for name in sorted(here - self._there):
      with files.writing(self._directory / f"{name}{_ENDING}") as file, zipfile.ZipFile(file, "w") as archive:
        for path in sorted((self.folder / name).rglob("*")):
          archive.write(path, path.relative_to(self.folder / name))
      self._there.add(name)
    for name in sorted(self._there - here):
      with stores.as_os_error(self._directory):
        (self._directory / f"{name}{_ENDING}").unlink(missing_ok=True)
      self._there.remove(name)

  def close(self) -> None:
    """Removes the folder."""
    self._passing.close()


def _names(directory: epath.Path) -> list[str]:
  return [path.name.removesuffix(_ENDING) for path in stores.children(directory)]


def _unpack(archive: epath.Path, folder: pathlib.Path) -> None:
  """Unpacks a checkpoint; in place of a damaged one the folder holds the archive, which is no checkpoint."""
  with files.local_copy(archive) as copy:
    try:
      with zipfile.ZipFile(copy) as content:
        content.extractall(folder)
    except (OSError, MemoryError):
      raise                                # says nothing about the archive
    except Exception:   # pylint: disable=broad-except   any byte may be wrong, so anything may be raised
      shutil.rmtree(folder, ignore_errors=True)
      folder.mkdir(parents=True)
      shutil.copy(copy, folder)
