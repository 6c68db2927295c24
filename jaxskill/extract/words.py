"""What an extraction tells its user: before it begins, when it ends, and when something ends it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from jaxskill import cli
from jaxskill.data.video.timeline import READING
from jaxskill.data.video.video_files import describe
from jaxskill.files import FULL

Say = Callable[[str], None]


def say_first(left_out: Mapping[str, str], origin: Mapping[str, Any], remarks: Collection[str], say: Say) -> None:
  """Says what must be known before the work begins.

  Args:
    left_out: {file that is no video: why}.
    origin: what the note says of the networks.
    remarks: sentences on them.
    say: called with each line.
  """
  for line in (*describe(left_out), *remarks):
    say(line)
  if origin["random_weights"]:
    say("RANDOM weights: these features are for trials and mean nothing")


def say_older(others: Mapping[str, Mapping[str, Any]], out: object, say: Say) -> None:
  """Warns of features of videos that are not given, where an older version made them; `out` is their folder."""
  if older := [video for video, about in others.items() if about.get("reading") != READING]:
    say(f"warning: the features of {len(older)} videos in {out}, such as {older[0]}, are of an older version, which "
        "read some files in another way, and the videos are not given: give them too, or remove their features")


def say_last(note: Mapping[str, Any], out: object, name: str, seconds: float, say: Say) -> None:
  """Says what became of each video.

  Args:
    note: of the extraction.
    out: folder of the features.
    name: of the note in it.
    seconds: it took.
    say: called with each line.
  """
  for video, about in note["videos"].items():
    for warning in about.get("warnings", ()):
      say(cli.plain(f"warning: {video}: {warning}"))
  for video, why in note["failed"].items():
    say(cli.plain(f"failed: {video}: {why}"))
  say(f"{len(note['videos'])} videos in {out}, {len(note['failed'])} failed, {seconds:.0f} s; how they were "
      f"made: {out}/{name}")


@contextlib.contextmanager
def telling_what_is_kept(out: object, videos: Collection[str], note: Mapping[str, Any], say: Say) -> Iterator[None]:
  """Says, where a signal or a fault ends the body, what is kept.

  Args:
    out: folder of the features.
    videos: names of all that are asked for.
    note: of the extraction, as it grows.
    say: called with the line.

  Raises:
    ValueError: in place of the fault of a full disk, in words.
  """
  def tell() -> None:
    kept = len(note["videos"].keys() & set(videos))
    say(f"{kept} of {len(videos)} videos are done and kept in {out}; the same command does the rest")

  try:
    with cli.at_end(tell):
      yield
  except BaseException as error:
    tell()
    if isinstance(error, OSError) and error.errno in FULL:
      raise ValueError(f"{out}: cannot be written ({error.strerror}); make room, or give another --out.") from error
    raise
