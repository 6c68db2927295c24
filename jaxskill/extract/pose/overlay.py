"""A video with the skeleton drawn on it: how a user checks what was followed."""

from __future__ import annotations

import contextlib
import fractions
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxskill import files
from jaxskill.data.video.decoding import Picture
from jaxskill.extract.pose.body import LANDMARKS, Seen
from jaxskill.extract.pose.hands import Hand

LINES = (("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"), ("nose", "left_ear"), ("nose", "right_ear"),
         *((f"{side}_{start}", f"{side}_{end}") for side in ("left", "right") for start, end in (
             ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "index"), ("wrist", "thumb"), ("shoulder", "hip"),
             ("hip", "knee"), ("knee", "ankle"), ("ankle", "heel"), ("heel", "foot_index"), ("ankle", "foot_index"))))
HAND_LINES = tuple((4 * finger + part if part else 0, 4 * finger + part + 1)
                   for finger in range(5) for part in range(4))
COLORS = dict(left=(40, 160, 255), right=(255, 120, 40), middle=(240, 240, 240), lost=(220, 30, 30))
_HIGHEST = 480                 # pixels of the shorter side
_HIDDEN = 0.5                  # visibility below which a line is thin
_TICK = fractions.Fraction(1, 1000)            # seconds
MARK = "skeleton drawn by jaxskill.extract"    # comment in the file


class Overlay:
  """Writes the pictures of a video, as they come, with what is seen in them; the file is there when it is whole."""

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self._path = pathlib.Path(path)
    self._file = contextlib.ExitStack()
    self._container: Any = None
    self._stream: Any = None
    self._size: Any = None

  def add(self, picture: Picture, seen: Seen | None, hands: dict[str, Hand]) -> None:
    """Adds a picture.

    Args:
      picture: see `jaxskill.data.video.decoding.Picture`.
      seen: `body.Seen` or None.
      hands: {"left", "right": `hands.Hand`}.
    """
    import av
    if self._size is None:                                     # that of the first picture is that of all
      factor = min(1.0, _HIGHEST / min(picture.size))
      self._size = tuple(max(2, round(length * factor / 2) * 2) for length in picture.size)      # even, for the codec
    wide, high = self._size
    image = picture.image(wide, high).copy()
    draw(image, seen, hands, np.array([wide / picture.size[0], high / picture.size[1]]))
    if self._container is None:
      self._path.parent.mkdir(parents=True, exist_ok=True)
      self._container = av.open(self._file.enter_context(files.writing(self._path)), "w", format="mp4")
      self._container.metadata["comment"] = MARK
      self._stream = self._container.add_stream("libx264", rate=1 / _TICK, options={"crf": "23", "preset": "veryfast"})
      self._stream.width, self._stream.height, self._stream.pix_fmt = wide, high, "yuv420p"
      self._stream.codec_context.time_base = _TICK
    frame = av.VideoFrame.from_ndarray(image, "rgb24")
    frame.pts, frame.time_base = round(picture.time / _TICK), _TICK
    self._container.mux(self._stream.encode(frame))

  def finish(self) -> None:
    """Closes the file and puts it in its place."""
    if self._container is not None:
      self._container.mux(self._stream.encode())
      self._container.close()
      self._container = None            # nothing is left to remove
      self._file.close()

  def __del__(self) -> None:
    """Leaves nothing of a file that was not finished: of a video that failed, or is read anew."""
    if self._container is not None:
      self._container.close()
      self._file.__exit__(InterruptedError, InterruptedError(), None)


def check(overlay: str, videos: str, films: Mapping[str, pathlib.Path]) -> None:
  """Checks that overlays take the place of no other file.

  Args:
    overlay: their folder.
    videos: the folder of the videos that are looked at, or a single file.
    films: {video: file} of all of them.

  Raises:
    ValueError: if overlays would lie among the videos, or in the place of a file that is no overlay.
  """
  place, looked_at = pathlib.Path(overlay).resolve(), pathlib.Path(videos).resolve()
  if place == looked_at.parent and looked_at.is_file() or looked_at in (place, *place.parents):
    raise ValueError(f"--overlay {overlay}: lies within the folder of the videos, where it would be taken for more of "
                     "them; give another folder.")
  inputs = {_identity(film) for film in films.values() if film.exists()}
  for video in films:
    target = pathlib.Path(f"{overlay}/{video}.mp4")
    if os.path.lexists(target) and not (_is_overlay(target) and _identity(target) not in inputs):
      raise ValueError(f"--overlay {overlay}: {target} is there already and was not made here, and an overlay would "
                       "take its place; give another folder.")


def _identity(file: Any) -> Any:
  about = file.stat()
  return about.st_dev, about.st_ino


def _is_overlay(file: Any) -> Any:
  """Returns whether a file was written by `Overlay`."""
  import av
  if not file.is_file():
    return False
  try:
    with av.open(str(file.absolute())) as container:
      return container.metadata.get("comment") == MARK
  except (av.error.FFmpegError, OSError):
    return False


def draw(image: np.ndarray, seen: Seen | None, hands: dict[str, Hand], scale: np.ndarray) -> None:
  """Draws on an image `[H, W, 3]` uint8; a red edge where nobody is seen. `scale`: pixels of it by those of points."""
  if seen is None and not hands:
    for edge in (image[:4], image[-4:], image[:, :4], image[:, -4:]):
      edge[:] = COLORS["lost"]
  if seen is not None:
    points = seen.points[:, :2] * scale
    for start, end in LINES:
      one, other = LANDMARKS.index(start), LANDMARKS.index(end)
      side, other_side = (name.partition("_")[0] for name in (start, end))
      color = COLORS.get(side if side == other_side else "middle", COLORS["middle"])
      wide = 1 if min(seen.visibility[[one, other]]) < _HIDDEN else 3
      _line(image, points[one], points[other], color, wide)
  for side, hand in hands.items():
    points = hand.points[:, :2] * scale
    for one, other in HAND_LINES:
      _line(image, points[one], points[other], COLORS[side], 2)


def _line(image: np.ndarray, start: Any, end: Any, color: Any, wide: Any) -> None:
  """Draws a line of squares of `wide` pixels; what lies outside is left out."""
  high, across, _ = image.shape
  if not np.isfinite([*start, *end]).all() or np.abs([*start, *end]).max() > 1e5:
    return
  steps = int(np.abs(end - start).max()) + 1
  places = np.round(start + np.linspace(0, 1, steps)[:, None] * (end - start)).astype(int)
  reach = np.arange(wide) - wide // 2
  x, y = (places[:, None, None, axis] + shift for axis, shift in ((0, reach[None, :, None]), (1, reach[None, None])))
  x, y = np.broadcast_arrays(x, y)
  inside = (x >= 0) & (x < across) & (y >= 0) & (y < high)
  image[y[inside], x[inside]] = color
