"""Shards: several extractions into one folder, each of its own share of the videos.

A video belongs to shard I of N, from 0, by a digest of its name, so that no list is needed that all would have to agree
on, and further videos move none. Shares are about equal, not exactly. A shard notes what it makes in a file of its own,
`extraction.I-of-N.json`, and writes no other file that nobody else could write again: nothing is lost, also where a
file system has no locks. See `folder` for how the notes become one.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, NamedTuple

from jaxskill.data.user.extraction_note import EXTRACTION


class Shard(NamedTuple):
  """Shard `number` of `count`, from 0; 0 of 1 is all."""

  number: int = 0
  count: int = 1  # type: ignore[assignment]  # hides tuple.count

  @property
  def is_all(self) -> bool:
    """Tells whether it is not one of several."""
    return self.count == 1

  @property
  def note(self) -> str:
    """Returns the name of its note."""
    return EXTRACTION if self.is_all else f"extraction.{self.number}-of-{self.count}.json"

  def members(self, files: dict[str, Any]) -> dict[str, Any]:
    """Returns those of {video: file} that belong to it."""
    return {video: file for video, file in files.items() if _digest(video) % self.count == self.number}


def _digest(video: str) -> Any:
  return int.from_bytes(hashlib.sha256(os.fsencode(video)).digest())


def read(text: str) -> Shard:
  """Returns the `Shard` that "I/N" says; all of "".

  Raises:
    ValueError: if it says none.
  """
  if not text:
    return Shard()
  parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
  shard = Shard(*map(int, parts.groups())) if parts else Shard(0, 0)
  if not 0 <= shard.number < shard.count:
    raise ValueError(f"--shard {text}: expected I/N with I from 0 to N-1, e.g. 0/4, 1/4, 2/4 and 3/4 on four machines.")
  return shard
