"""Names of videos in one form of letters, however a disk or a table writes them.

A Mac writes é as e and an accent (NFD), most others as one letter (NFC); both look the same. Blanks at the ends of a name
are lost in tables.
"""

from __future__ import annotations

import os
import pathlib
import unicodedata


def plain(name):
  """A name of a video, `folder/file` without its ending: NFC, without blanks at the ends of its parts."""
  return "/".join(part.strip() or part for part in unicodedata.normalize("NFC", name).split("/"))


def find(folder, name, endings):
  """The file of a video in a folder, or None; the name as it is given goes before one that is `plain`ly the same."""
  *folders, last = name.split("/")
  place = pathlib.Path(folder)
  for part in folders:
    place = next(_alike(place, part, ""), None)
    if place is None:
      return None
  return next((file for ending in endings for file in _alike(place, last, ending) if file.is_file()), None)


def _alike(folder, name, ending):
  """Yields the entries of a folder that are `name` with an ending, or `plain`ly so."""
  if os.path.exists(exact := folder / f"{name}{ending}"):
    yield exact
  wanted = plain(name)
  try:
    entries = sorted(os.listdir(folder))
  except OSError:
    return
  for entry in entries:
    stem = entry.removesuffix(ending)
    if f"{stem}{ending}" == entry and stem != name and plain(stem) == wanted:
      yield folder / entry
