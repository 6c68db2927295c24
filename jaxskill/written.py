"""Files of ours beside those of others: which we wrote, so that nothing of a user's is replaced or removed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator

from jaxskill import files

NAME = ".jaxskill.json"       # of the record, in the folder itself: it moves with it
FORMAT = 1
LINK = "link"         # what is noted of a hard link to a file of the user's, in place of a digest


class Record:
  """What we wrote into one folder.

  A file is ours while its SHA-256 is one that we noted; a hard link to a user's file, while that has another name too:
  the last name of a film is never removed.

  Attributes:
    folder: its path.
    new: names that were written through this object.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self.folder, self.new = folder, set[str]()
    self._notes = _read(folder / NAME)

  def is_ours(self, name: str) -> bool:
    """Returns whether a file is there, and as we left it."""
    path, notes = self.folder / name, self._notes.get(name, ())
    if not notes or path.is_symlink() or not path.is_file():
      return False
    return LINK in notes and path.stat().st_nlink > 1 or any(note != LINK for note in notes) and _digest(path) in notes

  def check(self, *names: str) -> None:
    """Raises a `ValueError` if a file of one of these names is there, and none of ours, or was changed since."""
    for name in names:
      path = self.folder / name
      if os.path.lexists(path) and not self.is_ours(name):
        why = "was changed since it was written" if name in self._notes else "was not written by jaxskill"
        raise ValueError(f"{path} is there and {why}; it stays: give another --out, or move it away.")

  @contextlib.contextmanager
  def writing(self, name: str, link: bool = False) -> Iterator[pathlib.Path]:
    """Gives the path of a file to make, which takes the place of `name` when the body has ended well.

    Args:
      link: whether the body makes it a hard link to a file of the user's.

    Raises:
      ValueError: before the body, see `check`.
    """
    self.check(name)
    with files.making(self.folder / name) as unfinished:
      yield unfinished
      # The note before stays, for a process may be killed before the file is in place; but a link is known by its names
      # alone, not by the digest of an earlier copy: then its last name would be taken for that.
      self._notes[name] = [LINK] if link else [*self._notes.get(name, ()), _digest(unfinished)][-2:]
      self._save()
    self.new.add(name)

  def write_text(self, name: str, text: str) -> pathlib.Path:
    """Writes a text in UTF-8, see `writing`; returns its path."""
    with self.writing(name) as path:
      path.write_bytes(text.encode())
    return self.folder / name

  def remove(self, *names: str) -> list[str]:
    """Removes those of these files that are ours; returns the paths of those that we wrote and others changed."""
    left = []
    for name in names:
      if self.is_ours(name):
        (self.folder / name).unlink()
      if os.path.lexists(self.folder / name):
        left += [str(self.folder / name)] if name in self._notes else []
      else:
        self._notes.pop(name, None)
    if (self.folder / NAME).exists():
      self._save()
    return left

  def remove_old(self) -> list[str]:
    """Removes what was not written through this object, see `remove`."""
    return self.remove(*(name for name in list(self._notes) if name not in self.new))

  def _save(self) -> None:
    if self._notes:
      files.save_json(self.folder / NAME, dict(format=FORMAT, files=self._notes))
    else:
      (self.folder / NAME).unlink()


def _digest(path: pathlib.Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: pathlib.Path) -> dict[str, list[str]]:
  """{name: notes} of a record; of one that cannot be read none: then every file is taken for a user's."""
  try:
    notes = json.loads(path.read_text(encoding="utf-8"))["files"]
    return {name: list(map(str, of_file)) for name, of_file in notes.items() if pathlib.PurePath(name).name == name}
  except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
    return {}
