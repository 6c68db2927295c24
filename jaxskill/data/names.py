"""Names of videos in one form of letters, however a disk or a table writes them.

A Mac writes é as e and an accent (NFD), most others as one letter (NFC); both look the same. Blanks at the ends of a
name are lost in tables.
"""

from __future__ import annotations

import unicodedata


def plain(name):
  """A name of a video, `folder/file` without its ending: NFC, without blanks at the ends of its parts."""
  return "/".join(part.strip() or part for part in unicodedata.normalize("NFC", name).split("/"))
