"""Where the person of a picture is: boxes from a csv table, or from a detector in an ONNX file.

A table has the columns video,time,x1,y1,x2,y2 (seconds from the first frame) or video,frame,x1,y1,x2,y2 (its number,
from 0), and if there is one, score; corners in pixels of the picture as a player shows it, upright and with square
pixels (a film stored as 720 x 576 with pixels of 64:45 is 1024 x 576), any number of boxes at a time. Each picture
takes the largest box at the nearest time.

A detector is run by OpenCV (pip install 'jaxskill[flow]'). It takes `[1, 3, S, S]` RGB in [0, 1], the picture scaled to
fit and padded below or on the right with grey, and gives one output of a picture's boxes, in pixels of its input:
  `[1, N, 5 or 6]`      rows x1, y1, x2, y2, score[, class], as networks without further suppression export them
  `[1, 4 + classes, N]` columns of centre x, centre y, width, height and a score for each class, as YOLOv8 and later do
Persons are class 0, as in COCO. The largest box above a score is all that is asked for, so none is suppressed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxskill.data.tables import number, read_table
from jaxskill.data.video.decoding import Picture

CORNERS = ("x1", "y1", "x2", "y2")
_LARGEST = 1e5             # pixels that a corner may be away


class Boxes:
  """The boxes of a csv table."""

  def __init__(self, file: str | os.PathLike[str]) -> None:
    """
    Raises:
      ValueError: for a fault of the file: which line, and why.
    """
    file = pathlib.Path(file)
    if not file.is_file():
      raise ValueError(f"{file}: there is no such table of boxes.")
    table, lines = read_table(file, ("video", *CORNERS), ("time", "frame", "score"))
    if ("time" in table) == ("frame" in table):
      raise ValueError(f"{file}: needs one of the columns time (seconds) and frame (number, from 0).")
    self.by = "time" if "time" in table else "frame"
    names = (self.by, *CORNERS)
    rows = np.array([[number(table[name][i], name, video, f"{file}, line {lines[i]}") for name in names]
                     for i, video in enumerate(table["video"])])                          # [N, 5]
    for line, row in zip(lines, rows):
      if row[0] < 0 or row[3] <= row[1] or row[4] <= row[2]:
        raise ValueError(f"{file}, line {line}: {self.by} must not be negative, x2 must be above x1 and y2 above y1, "
                         f"got {', '.join(f'{name}={value:g}' for name, value in zip(names, row))}; correct the box.")
      if np.abs(row[1:]).max() > _LARGEST:
        raise ValueError(f"{file}, line {line}: {', '.join(f'{value:g}' for value in row[1:])} are no pixels of a "
                         "picture; correct the box.")
    if np.abs(rows[:, 1:]).max() <= 1.5:
      raise ValueError(f"{file}: all corners lie between {rows[:, 1:].min():g} and {rows[:, 1:].max():g}, as shares of "
                       "the picture do; expected pixels: multiply x by the width of the pictures and y by their "
                       "height.")
    videos = np.array(table["video"])
    self.source, self._of = file.name, {str(video): rows[videos == video] for video in np.unique(videos)}

  def renamed(self, names: Mapping[str, str]) -> Boxes:
    """Returns these boxes, which are known by other names of the videos too.

    Args:
      names: {video of the table: its other name}.
    """
    self._of |= {other: self._of[video] for video, other in names.items() if video in self._of}
    return self

  def digest(self, video: str) -> str:
    """Returns a digest of the boxes of one video; "" if there are none."""
    return hashlib.sha256(self._of[video].tobytes()).hexdigest() if video in self._of else ""

  def about(self, video: str) -> dict[str, Any]:
    """Returns what the note says of one video beforehand."""
    return dict(boxes_sha256=self.digest(video))

  def notes(self, video: str) -> list[str]:
    """Returns sentences on whom it chose in a video: none, the largest person is what it stands for."""
    del video
    return []

  def largest(self, video: str, picture: Picture) -> tuple[np.ndarray, float]:
    """Returns the largest box (x1, y1, x2, y2) at the time nearest to a picture, and how many seconds away that is.

    Raises:
      ValueError: if the video has no box.
    """
    if video not in self._of:
      raise ValueError(f"no person found: {self.source} has no box of this video, only of {len(self._of)} others such "
                       f"as {next(iter(self._of))!r}; names are without the ending of the file.")
    rows = self._of[video]
    away = np.abs(rows[:, 0] - picture.time if self.by == "time" else (rows[:, 0] - picture.number) / picture.rate)
    nearest = rows[away <= away.min() + 1e-9]
    sizes = (nearest[:, 3] - nearest[:, 1]) * (nearest[:, 4] - nearest[:, 2])
    return nearest[np.argmax(sizes), 1:], float(away.min())


class Detector:
  """A network that finds persons; loaded in the process that uses it."""

  def __init__(self, file: str | os.PathLike[str], size: int, score: float) -> None:
    """
    Args:
      file: ONNX.
      size: S, the side of the network's input.
      score: below which a box is no person.

    Raises:
      ValueError: if the file or OpenCV is missing, or the network cannot be run.
    """
    self.file, self.size, self.score = pathlib.Path(file), size, score
    self._net: Any = None
    if not self.file.is_file():
      raise ValueError(f"{file}: there is no such file of a detector.")
    if importlib.util.find_spec("cv2") is None:
      raise ValueError("a person detector needs OpenCV, which is not installed: pip install 'jaxskill[flow]'.")
    self._boxes(np.zeros((size, size, 3), np.uint8))

  def __getstate__(self) -> dict[str, Any]:
    return self.__dict__ | dict(_net=None)       # OpenCV's networks do not travel between processes

  def about(self, video: str) -> dict[str, Any]:
    """Returns what the note says of one video beforehand: nothing."""
    del video
    return {}

  def notes(self, video: str) -> list[str]:
    """Returns sentences on whom it chose in a video: none, the largest person is what it stands for."""
    del video
    return []

  def largest(self, video: str, picture: Picture) -> tuple[np.ndarray | None, float]:
    """Returns the largest person's box (x1, y1, x2, y2) in a picture, or None; and 0."""
    del video
    width, height = picture.size
    factor = self.size / max(width, height)
    small = picture.image(max(1, round(width * factor)), max(1, round(height * factor)))
    padded = np.full((self.size, self.size, 3), 114, np.uint8)
    padded[: small.shape[0], : small.shape[1]] = small
    boxes = self._boxes(padded)
    boxes = np.clip(boxes[np.isfinite(boxes).all(axis=1)] / factor, 0, [width, height, width, height])
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return (boxes[np.argmax(sizes)] if len(boxes) and sizes.max() > 1 else None), 0.0

  def _boxes(self, image: np.ndarray) -> np.ndarray:
    """Returns `[N, 4]` corners of the persons, in pixels of the network's input."""
    import cv2
    try:
      if self._net is None:
        cv2.setNumThreads(1)
        self._net = cv2.dnn.readNetFromONNX(str(self.file))
      self._net.setInput(cv2.dnn.blobFromImage(image, 1 / 255))
      output = np.asarray(self._net.forward())
    except cv2.error as error:
      message = " ".join(str(error).split())
      raise ValueError(f"{self.file}: OpenCV cannot run this as a detector on [1, 3, {self.size}, {self.size}] "
                       f"({message}); export it as ONNX with that input, or set config.streams.<name>.person.size."
                       ) from error
    return person_boxes(output, self.score, self.file)


def person_boxes(output: np.ndarray, score: float, source: str | os.PathLike[str] = "the detector") -> np.ndarray:
  """Returns `[N, 4]` corners of the boxes of class 0 at or above a score, of a detector's output in either form.

  Raises:
    ValueError: for an output of another shape.
  """
  shape = output.shape
  if output.ndim == 3:
    output, = output[:1]
  if output.ndim == 2 and output.shape[1] in (5, 6):
    sure = output[:, 4] >= score
    if output.shape[1] == 6:
      sure &= np.round(output[:, 5]) == 0
    return output[sure, :4]
  if len(shape) == 3 and 5 <= shape[1] <= shape[2]:
    x, y, width, height, *scores = output
    sure = (scores[0] >= score) & (scores[0] >= np.max(scores, axis=0))
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)[sure]
  raise ValueError(f"{source}: gives an output of shape {list(shape)}; expected [1, boxes, 5 or 6] or [1, 4 + classes, "
                   "boxes], see jaxskill/data/video/persons.py.")
