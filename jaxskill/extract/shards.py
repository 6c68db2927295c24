"""Shards: several extractions into one folder, each of its own share of the videos.

A video belongs to shard I of N by a digest of its name, so that no list is needed that all would have to agree on. A
shard writes a note of its own, `extraction.I-of-N.json`, and no other file that another one writes: none can be lost,
also where a file system has no locks. Who reads the folder reads all notes. An extraction without shards puts their
notes into one.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any, NamedTuple

from jaxskill.data.user.extraction_note import EXTRACTION


class Shard(NamedTuple):
  """The `number`-th of `count` shards, from 1; 1 of 1 is all."""

  number: int = 1
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
    return {video: file for video, file in files.items() if _digest(video) % self.count == self.number - 1}


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
  if not 1 <= shard.number <= shard.count:
    raise ValueError(f"--shard {text}: expected I/N with I from 1 to N, e.g. 1/4, 2/4, 3/4 and 4/4 on four machines.")
  return shard
