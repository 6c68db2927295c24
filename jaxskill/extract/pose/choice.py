"""Who is followed: a point on a person, for all videos or from a csv table.

A table has the columns video,x,y and, if there is one, time: seconds from the first picture, 0 without it. Points are
in pixels of the picture as a player shows it, upright and with square pixels. Of several rows of a video each holds
from its time on; before the first one nobody is followed.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Collection
from typing import Any

import numpy as np

from jaxskill.data.tables import number, read_table


class Choice:
  """Whom to follow in each video."""

  def __init__(self, said: str | os.PathLike[str] = "") -> None:
    """
    Args:
      said: "x,y" of all videos, a csv table, or "" for the largest person of each.

    Raises:
      ValueError: for a point that cannot be, or a fault of the table: which line, and why.
    """
    self._of: dict[str, tuple[tuple[float, float, float], ...]] = {}
    self._of_all: tuple[tuple[float, float, float], ...] = ()
    words = str(said).split(",")
    if not said:
      return
    if len(words) == 2 and not pathlib.Path(said).is_file():
      try:
        point = [float(word) for word in words]
      except ValueError:
        raise ValueError(f"--person {said}: expected x,y in pixels, e.g. 320,180, or a csv table.") from None
      self._of_all = (_checked((0.0, *point), f"--person {said}"),)
      return
    self._of = _read(pathlib.Path(said))

  def renamed(self, names: dict[str, str]) -> Choice:
    """Returns this choice, which knows videos by other names: {video of the table: its other name}."""
    self._of = {names.get(video, video): rows for video, rows in self._of.items()}
    return self

  def strangers(self, videos: Collection[str]) -> str:
    """Returns a sentence on the names of the table that are none of `videos`; "" if all are."""
    strange = [name for name in self._of if name not in videos]
    if not strange:
      return ""
    return (f"--person: {len(strange)} of {len(self._of)} names of the table are no videos here, such as "
            f"{strange[0]!r}; names are without the ending of the file")

  def of(self, video: str) -> tuple[tuple[float, float, float], ...]:
    """Returns rows (seconds, x, y) of one video, ascending; () where nobody is chosen."""
    return self._of.get(video, self._of_all)

  def digest(self, video: str) -> str:
    """Returns SHA-256 of the choice for one video; "" if there is none."""
    rows = self.of(video)
    return hashlib.sha256(np.array(rows, np.float64).tobytes()).hexdigest() if rows else ""


def _read(file: pathlib.Path) -> Any:
  """Returns {video: rows} of a table."""
  if not file.is_file():
    raise ValueError(f"--person {file}: there is no such table, and it is no point x,y in pixels.")
  table, lines = read_table(file, ("video", "x", "y"), ("time",))
  found = {}
  for place, video in enumerate(table["video"]):
    where = f"{file}, line {lines[place]}"
    row = [number(table[name][place], name, video, where) for name in ("x", "y")]
    time = number(table["time"][place], "time", video, where) if "time" in table else 0.0
    found.setdefault(str(video), []).append(_checked((time, *row), where))
  for video, rows in found.items():
    times = [time for time, *_ in rows]
    if len(set(times)) < len(times):
      raise ValueError(f"{file}: video {video!r} has two points at one time; keep one.")
  return {video: tuple(sorted(rows)) for video, rows in found.items()}


def _checked(row: Any, where: Any) -> Any:
  """Returns a row (seconds, x, y); raises a `ValueError` for what is no place of a picture."""
  time, x, y = map(float, row)
  if not np.isfinite([time, x, y]).all() or min(time, x, y) < 0:
    raise ValueError(f"{where}: time={time:g}, x={x:g}, y={y:g} are no moment and place of a video; expected "
                     "seconds and pixels of at least 0.")
  if 0 < max(x, y) <= 1:
    raise ValueError(f"{where}: x={x:g}, y={y:g} look like shares of the picture; expected pixels: multiply x by its "
                     "width and y by its height.")
  return time, x, y
