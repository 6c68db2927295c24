"""Where the landmarks of a body are in the picture: kept beside the features, for those who show the video.

`picture_points` `[T, 33, 3]` float32: x and y in pixels of the picture as a player shows it, upright and of square
pixels, and visibility; zeros where nobody is seen. `picture_size` `[2]`: its width and height. They lie in the `.npz`
of the features, whose `times` and `seen` are theirs; no model reads them. Features of earlier versions have none.

T rows.
"""

from __future__ import annotations

import pathlib
import zipfile
from typing import NamedTuple

import numpy as np

from jaxskill.data.arrays import read_arrays
from jaxskill.data.stream_files import PLACES
from jaxskill.data.video.decoding import Picture
from jaxskill.extract.pose.body import LANDMARKS, Seen


class Points(NamedTuple):
  """Where a person is in a video.

  Attributes:
    times: `[T]` seconds, ascending.
    seen: `[T]` whether anybody is seen.
    places: `[T, 33, 2]` x and y in pixels.
    visibility: `[T, 33]`.
    size: (width, height) of the picture.
  """

  times: np.ndarray
  seen: np.ndarray
  places: np.ndarray
  visibility: np.ndarray
  size: tuple[int, int]


class Kept:
  """The places of one video, while its pictures pass by."""

  def __init__(self) -> None:
    self._rows: list[np.ndarray] = []
    self._size: np.ndarray | None = None

  def add(self, picture: Picture, seen: Seen | None) -> None:
    """Adds the row of a picture; `seen` None where nobody is."""
    size = np.array(picture.size)
    self._size = size if self._size is None else self._size          # that of the first picture is that of all
    row = np.zeros((len(LANDMARKS), 3), np.float32)
    if seen is not None:
      row[:, :2], row[:, 2] = seen.points[:, :2] * (self._size / size), seen.visibility
    self._rows.append(row)

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns what goes beside the features."""
    return dict(zip(PLACES, (np.stack(self._rows), np.asarray(self._size, np.int32))))


def read(file: pathlib.Path) -> Points | None:
  """Returns the `Points` that lie beside the features in a file; None where there are none, by the names in it.

  Raises:
    ValueError: if they cannot be read, or do not fit each other.
  """
  if file.suffix != ".npz" or not {*PLACES, "times", "seen"} <= _names(file):
    return None
  arrays = read_arrays(file)
  points, size, times, seen = (arrays[name] for name in (*PLACES, "times", "seen"))
  count = len(times)
  if points.shape != (count, len(LANDMARKS), 3) or seen.shape != (count,) or size.shape != (2,) or min(size) < 1 or (
      not np.isfinite(points).all()) or (np.diff(times) < 0).any():
    raise ValueError(f"{file}: picture_points {list(points.shape)}, picture_size {list(size.shape)}, times and seen of "
                     f"{count} rows do not fit each other; extract the features again.")
  wide, high = map(int, size)
  return Points(times.astype(np.float64), seen.astype(bool), points[..., :2].astype(np.float64), points[..., 2],
                (wide, high))


def _names(file: pathlib.Path) -> set[str]:
  """The names of the arrays in a file, of which none is read: features of maps may be many gigabytes."""
  try:
    with zipfile.ZipFile(file) as packed:
      return {name.removesuffix(".npy") for name in packed.namelist()}
  except zipfile.BadZipFile:                                 # who reads the features says what is wrong with them
    return set()
