"""Files of ours beside those of others: which we wrote, so that nothing of a user's is replaced or removed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Sequence

from jaxskill import files

NAME = ".jaxskill.json"       # of the record, in the folder itself: it moves with it
FORMAT = 1
LINK = "link"         # what is noted of a hard link to a file of the user's, beside its digest


class Record:
  """What we wrote into one folder.

  A file is ours while its SHA-256 is one that we noted. Of a hard link to a user's file, the last name is never
  removed, and only replaced by the same content. Others may write into the folder at once: every question reads the
  record anew.

  Attributes:
    folder: its path.
    new: names that were written through this object.
  """

  def __init__(self, folder: pathlib.Path) -> None:
    self.folder, self.new = folder, set[str]()

  def is_ours(self, name: str) -> bool:
    """Returns whether a file is there, and as we left it.

    Raises:
      ValueError: if the record cannot be read.
    """
    path, notes = self.folder / name, self._read().get(name, ())
    if not notes or path.is_symlink() or not path.is_file():
      return False
    return LINK in notes and path.stat().st_nlink > 1 or _digest(path) in notes

  def check(self, *names: str) -> None:
    """Raises a `ValueError` if a file of one of these names is there, and none of ours, or was changed since."""
    for name in names:
      path = self.folder / name
      if not os.path.lexists(path):
        continue
      with files.taking_turns(self.folder):            # another command may be about to put it there, and to note it
        if os.path.lexists(path) and not self.is_ours(name):
          why = "was changed since it was written" if name in self._read() else "was not written by jaxskill"
          raise ValueError(f"{path} is there and {why}; it stays: give another --out, or move it away.")

  @contextlib.contextmanager
  def writing(self, name: str, link: bool = False) -> Iterator[pathlib.Path]:
    """Gives the path of a file to make, which takes the place of `name` when the body has ended well.

    Args:
      link: whether the body makes it a hard link to a file of the user's.

    Raises:
      ValueError: before the body, see `check`; after it, if the last name of another film would be lost.
    """
    self.check(name)
    with contextlib.ExitStack() as turn:
      with files.making(self.folder / name) as unfinished:
        yield unfinished
        digest = _digest(unfinished)
        notes = [LINK, digest] if link else [digest]
        turn.enter_context(files.taking_turns(self.folder))
        if self._is_last(name) and digest != _digest(self.folder / name):
          raise ValueError(f"{self.folder / name} is there and is the last name of another film; it stays: give "
                           "another --out, or move it away.")
        before = self._read().get(name, [])
        self._note(name, [*before, *notes])         # a process may be killed before the file is in place
      self._note(name, notes)
    self.new.add(name)

  def write_text(self, name: str, text: str) -> pathlib.Path:
    """Writes a text in UTF-8, see `writing`; returns its path."""
    with self.writing(name) as path:
      path.write_bytes(text.encode())
    return self.folder / name

  def remove(self, *names: str) -> list[str]:
    """Removes those of these files that are ours; returns the paths of those that we wrote and others changed.

    Raises:
      ValueError: if the record cannot be read.
    """
    left, known = [], self._read()
    for name in filter(known.__contains__, names):
      with files.taking_turns(self.folder):
        if self.is_ours(name) and not self._is_last(name):
          (self.folder / name).unlink()
        if os.path.lexists(self.folder / name):
          left.append(str(self.folder / name))
        else:
          self._note(name, [])
    return left

  def remove_old(self, *endings: str) -> list[str]:
    """Removes what was not written through this object, see `remove`, and what killed processes left half written.

    Args:
      endings: the paths of other files that end so, in lower case, are returned too: they stay, as no record has them.
    """
    files.remove_unfinished(self.folder, below=False)
    left = self.remove(*sorted(self._read().keys() - self.new))
    others = (str(path) for path in sorted(self.folder.glob("*"))
              if path.name.lower().endswith(endings) and path.name not in self.new and not path.is_dir())
    return list(dict.fromkeys([*left, *others]))

  def _is_last(self, name: str) -> bool:
    """Returns whether a file may be the last name of a user's."""
    path = self.folder / name
    return LINK in self._read().get(name, ()) and path.is_file() and path.stat().st_nlink == 1

  def _read(self) -> dict[str, list[str]]:
    """{name: notes} of the record."""
    path = self.folder / NAME
    try:
      content = json.loads(path.read_text(encoding="utf-8"))
      files.check_format(path, content, FORMAT, "give another --out", oldest=FORMAT)
      if any(pathlib.PurePath(name).name != name for name in content["files"]):
        raise ValueError("it names files elsewhere")
      return {name: list(map(str, notes)) for name, notes in content["files"].items()}
    except (FileNotFoundError, NotADirectoryError):
      return {}
    except files.OtherFormat:
      raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
      raise ValueError(f"{path}: cannot be read ({type(error).__name__}: {error}); it says which files there are of "
                       "jaxskill: mend it, or remove it, and all of them are taken for yours.") from error

  def _note(self, name: str, notes: Sequence[str]) -> None:
    """Notes what a file may be; nothing of one that has gone. The caller has its turn."""
    known = {other: of for other, of in (self._read() | {name: list(notes)}).items() if of}
    if known:
      files.save_json(self.folder / NAME, dict(format=FORMAT, files=known))
    else:
      (self.folder / NAME).unlink(missing_ok=True)


def _digest(path: pathlib.Path) -> str:
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
