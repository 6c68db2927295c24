"""`extraction.json`: what `jaxskill.extract` notes beside the features that it makes.

Extractions in shards write `extraction.I-of-N.json`, one each; together they are read as one note, with
`extraction.json`.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxskill import files
from jaxskill.data.video.video_names import plain

EXTRACTION = "extraction.json"
FORMAT = 2            # of it; in 1 and before no places in the picture lay beside poses
_NAME = re.compile(r"extraction(\.\d+-of-\d+)?\.json")


def note_files(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the notes of a folder, the oldest first."""
  found = []
  for file in folder.glob("extraction*.json"):
    with contextlib.suppress(FileNotFoundError):             # an extraction may just have put it into one for all
      if _NAME.fullmatch(file.name) and file.is_file():
        found.append((file.stat().st_mtime_ns, file.name, file))
  return [file for *_, file in sorted(found)]


def read_extraction(folder: pathlib.Path) -> dict[str, Any]:
  """Returns what `jaxskill.extract` noted of the features of a folder.

  Returns:
    {"recipe": {...}, "videos": {video: {"row_seconds", "warnings", ...}}, "failed": {video: why}}; empty where the
    features were made otherwise. Of a video in several notes the latest one counts.

  Raises:
    ValueError: if a file cannot be read, or is not what was written; or if shards had different recipes.
  """
  recipe, videos, failed = {}, {}, {}
  for file in note_files(folder) or [folder / EXTRACTION]:
    note = read_note(file)
    if videos and note["videos"] and not are_alike(note["recipe"], recipe):
      raise ValueError(f"{file}: is of another recipe or other weights than the other notes beside it; extract all "
                       "shards alike, into a new folder.")
    recipe = note["recipe"] if note["videos"] or not recipe else recipe
    videos = {video: about for video, about in videos.items() if video not in note["failed"]} | note["videos"]
    failed = {video: why for video, why in (failed | note["failed"]).items() if video not in note["videos"]}
  return dict(recipe=recipe, videos=videos, failed=failed)


def are_alike(recipe: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
  """Returns whether recipes of two notes are the same.

  Names of files do not count where their digests are known; notes of earlier versions, which say no engine, are of JAX.
  """
  return _without_names(recipe) == _without_names(other)


def _without_names(recipe: Any) -> Any:
  """Returns a recipe without the names of files of which it has the digests, of weights and of what finds persons."""
  names, digests, persons = (recipe.get(field) for field in ("weights", "weights_sha256", "persons"))
  if isinstance(names, dict) and isinstance(digests, dict):
    names = {stream: "" if digests.get(stream) else name for stream, name in names.items()}
  elif digests:
    names = ""
  if isinstance(persons, dict) and persons.get("sha256"):
    persons = persons["sha256"]
  return {"engine": "jax", **recipe, "weights": names, "persons": persons}


def read_note(file: pathlib.Path) -> dict[str, Any]:
  """Returns the same as `read_extraction` of one note; raises the same."""
  try:
    note = json.loads(file.read_text(encoding="utf-8"))
    _check(file, note)
  except FileNotFoundError:
    return dict(recipe={}, videos={}, failed={})
  except files.OtherFormat:
    raise
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(f"{file}: is not what jaxskill.extract wrote ({error}); extract the features again into a new "
                     "folder, or remove the file.") from error
  videos = {plain(video): about for video, about in note["videos"].items()}
  failed = {plain(video): why for video, why in note.get("failed", {}).items()}
  return dict(recipe=note["recipe"], videos=videos, failed=failed)


def noted_seconds(about: Mapping[str, Any], stream: str, otherwise: float) -> float:
  """Seconds from one row of a stream to the next, as `extraction.json` says of a video: one number, or one a stream."""
  noted = about.get("row_seconds", otherwise)
  return noted.get(stream, otherwise) if isinstance(noted, dict) else noted


def _check(file: pathlib.Path, note: Any) -> None:
  """Raises a `ValueError` that says what is wrong with the content of the file."""
  if isinstance(note, dict):
    files.check_format(file, note, FORMAT, "extract the features again into a new folder")
  for name in ("recipe", "videos"):
    if not isinstance(note, dict) or not isinstance(note.get(name), dict):
      raise ValueError(f"expected an object with the objects recipe and videos, {name} is none")
  failed = note.get("failed", {})
  if not isinstance(failed, dict) or not _are_texts(list(failed.values())):
    raise ValueError("failed is no object of texts")
  for video, about in note["videos"].items():
    if not isinstance(about, dict):
      raise ValueError(f"expected an object of video {video!r}")
    seconds = about.get("row_seconds", 1.0)
    for value in seconds.values() if isinstance(seconds, dict) else (seconds,):
      if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise ValueError(f"row_seconds of video {video!r} is {json.dumps(value)[:40]}, expected a number above 0")
    if not _are_texts(about.get("warnings", [])):
      raise ValueError(f"warnings of video {video!r} are no list of texts")


def _are_texts(value: int | Sequence[str]) -> bool:
  return isinstance(value, list) and all(isinstance(one, str) for one in value)
