"""The folder of features, while several extractions may work in it: locks, and one note of many.

Notes of shards stay beside `extraction.json`, which each shard brings up to date when it begins and when it ends, one
at a time where the file system can lock. Where it cannot, one may overwrite what another has just put there; the notes
of the shards still say it, whoever reads the folder reads them too, and the next call brings them together. An
extraction of all videos, beside which no shard works, takes them away.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from jaxskill.data.user.extraction_note import EXTRACTION, note_files, read_extraction
from jaxskill.extract import feature_files
from jaxskill.extract.shards import Shard
from jaxskill.files import open_folder, remove_unfinished, taking_turns
from jaxskill.training import locks

LOCK = ".extraction.lock"


@contextlib.contextmanager
def alone(out: pathlib.Path, overlay: str, shard: Shard, say: Callable[[str], None]) -> Iterator[None]:
  """Holds the folders while the body runs: all of them, or of a shard that one, beside others.

  Raises:
    ValueError: if another extraction is at work there.
  """
  options, shared = {out.resolve(): "--out"}, not shard.is_all
  if overlay:
    options.setdefault(open_folder(pathlib.Path(overlay), "--overlay").resolve(), "--overlay")
  with contextlib.ExitStack() as held:
    for folder, option in options.items():
      held.enter_context(locks.hold(folder / LOCK, "extraction", f"give another {option}", say, shared))
    if shard.is_all:
      for folder in options:
        remove_unfinished(folder)
    else:
      lock = LOCK.replace(".lock", f".{shard.number}-of-{shard.count}.lock")
      # Two of one shard lose nothing, they make it twice; a scheduler starts one whose machine died on another machine.
      held.enter_context(locks.hold(out / lock, "extraction of this shard", "give another --shard", say, named=False))
    yield


def begin_note(out: pathlib.Path, note: Mapping[str, Any], shard: Shard, todo: Collection[str]) -> None:
  """Writes the note with what is there already, and brings all notes together.

  Args:
    out: folder of the features.
    note: of this extraction.
    shard: of it.
    todo: videos that it makes anew; what notes say of them does not count any more.
  """
  feature_files.save_note(out, note, shard.note)
  if shard.is_all:
    remove_notes_of_shards(out)
  else:
    merge_notes(out, note, todo)


def remove_notes_of_shards(out: pathlib.Path) -> None:
  """Removes the notes of shards from a folder, whose `extraction.json` says what they do."""
  for file in note_files(out):
    if file.name != EXTRACTION:
      file.unlink(missing_ok=True)


def merge_notes(out: pathlib.Path, note: Mapping[str, Any], without: Collection[str] = ()) -> None:
  """Writes `extraction.json` with what all notes of a folder say.

  Args:
    out: folder of the features.
    note: of this extraction; what is no list of videos is its own.
    without: videos that are left out.
  """
  with taking_turns(out):
    said = read_extraction(out)
    videos = {video: about for video, about in said["videos"].items() if video not in without}
    feature_files.save_note(out, {**note, "videos": videos, "failed": said["failed"]})
