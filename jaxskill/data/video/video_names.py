"""Names of videos, as labels give them, and what they mean on a disk.

A name is a path below a folder, without its ending: parts joined by "/". However a table or a disk spells it (`./a`,
`a//b`, letters composed or decomposed), it is one name. A Mac writes é as e and an accent (NFD), most others as one
letter (NFC); both look the same. Blanks at the ends of a name are lost in tables.
"""

from __future__ import annotations

import pathlib
import unicodedata

_LONGEST_PART, _LONGEST = 240, 1000      # bytes; a file system takes 255 with the ending of what is written beside it


def plain(name: str) -> str:
  """Returns a name of a video, `folder/file` without its ending, in NFC and without blanks at the ends of its parts."""
  return "/".join(part.strip() or part for part in unicodedata.normalize("NFC", name).split("/"))


def video_name(text: str, place: str) -> str:
  """Returns the one spelling of a video's name: relative, "/" between its parts, see `plain`.

  Args:
    text: the name as a table has it.
    place: file and line that an error names.

  Raises:
    ValueError: if it leads out of the folder, is longer than files can be called, or is none.
  """
  path = pathlib.PurePath(plain(text))
  if path.is_absolute() or path.drive or ".." in path.parts:
    raise ValueError(f"{place}: the video name {text!r:.200} leads out of the folder; expected a path below it, "
                     "e.g. monday/v1: correct the row.")
  if not path.parts or "\0" in text:
    raise ValueError(f"{place}: {text!r:.200} is no name of a video; correct the row.")
  longest = max(len(part.encode(errors="replace")) for part in path.parts)
  if longest > _LONGEST_PART or len(text.encode(errors="replace")) > _LONGEST:
    raise ValueError(f"{place}: the video name {text[:40]!r}... is longer than files can be called ({longest} bytes, "
                     f"of at most {_LONGEST_PART}); rename the video, here and on the disk.")
  return path.as_posix()


def spellings(folder: pathlib.Path, name: str,
              listings: dict[pathlib.Path, dict[str, list[pathlib.Path]]] | None = None) -> list[pathlib.Path]:
  """Returns the paths below a folder that a video's name may mean, its ending left out, as the disk spells them.

  Args:
    folder: that the name is a path below.
    name: of `video_name`; a disk may have its letters decomposed, or in some parts only.
    listings: a dict that a caller keeps who asks for many names: each folder is then listed once.
  """
  places, listings = [pathlib.Path(folder)], {} if listings is None else listings
  if name.isascii():
    return [places[0] / name]
  for part in name.split("/"):
    for place in places:
      if place not in listings:
        listings[place] = _listing(place) if place.is_dir() else {}
    places = list(dict.fromkeys(file for place in places for file in listings[place].get(part, ())))
  return places


def _listing(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """Returns {name in its one spelling, with its ending and without: paths that are spelt so}."""
  listing = {}
  for file in folder.iterdir():
    for spelling in {file.stem, file.name}:
      listing.setdefault(plain(spelling), []).append(file.with_name(spelling))
  return listing
