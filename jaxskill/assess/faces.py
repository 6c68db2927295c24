"""Faces in the pictures of a video, made unrecognizable.

The face of the person who is followed is known from the landmarks beside the features, those of others roughly, from
the boxes of the detector of bodies, which hold heads. What is not known is not shown: a picture whose nearest row with
the person is more than `NEAR` seconds away is blurred as a whole. A detector misses some: films must be looked at.

N pictures of rows, M of detections, H x W of an image. Circles are (x, y, radius) in pixels of the video.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from jaxskill import pretrained
from jaxskill.data.video import decoding
from jaxskill.extract.pose import body, detection, networks, points

NEAR = 0.2            # seconds from a picture to the nearest row that shows the person, beyond which it is all blurred
SAME = 0.005          # seconds from a picture to its own row
HELD = 0.5            # seconds before and after a detection that its place stays blurred
FACE = slice(0, 11)   # of the landmarks: nose, eyes, ears, mouth
WIDE = 2.2            # radius of a circle by how far these are from their middle, at the most
OF_TRUNK = 0.45       # and by the length of the trunk, or the width of the shoulders, at least
OF_BOX = 0.6          # radius by the side of a detected box
APART = 0.4           # lengths of the person's trunk that shoulders may be away from the person's, to be the same
LARGER = 2.5          # radii of the person's circle that the one of its box has at the most: of a real film 1.3 to 2.4
GROWTH = 10.0         # radii a second that a face may have moved since it was seen
LEAST = 0.3           # score of a detection; a recipe of poses wants more, for which a false one is worse than none
CELLS = 5             # colors across a circle
CELLS_OF_ALL = 8      # colors across the shorter side of a picture that is blurred as a whole
_TRUNK = [body.LANDMARKS.index(f"{side}_{joint}") for joint in ("shoulder", "hip") for side in ("left", "right")]


class Faces:
  """Where faces are in one video, and what hides them.

  Attributes:
    others: whether faces of others than the person who is followed were looked for.
  """

  def __init__(self, person: points.Points, detected: np.ndarray | None = None) -> None:
    """
    Args:
      person: who is followed.
      detected: `[M, 4]` seconds, x, y and radius of faces that were looked for in every picture; None if none were.
    """
    self.others = detected is not None
    self._size = person.size
    self._times, self._circles = person.times[person.seen], circles(person)
    self._detected = np.zeros((0, 4)) if detected is None else detected

  def at(self, time: float) -> np.ndarray | None:
    """Returns circles `[n, 3]` that hold the faces of a picture; None where the person's is not known."""
    after = int(np.searchsorted(self._times, time, side="right"))
    near = [row for row in (after - 1, after)
            if 0 <= row < len(self._times) and abs(self._times[row] - time) <= NEAR]
    if not near:
      return None
    away = np.abs(self._times[near] - time)
    if away.min() < SAME:
      near, away = [near[away.argmin()]], away[[away.argmin()]]
    found = self._circles[near]
    found[:, 2] *= 1 + GROWTH * away
    if len(near) == 2:                              # and between both, for who moves fast
      found = np.append(found, [found[0] + away[0] / away.sum() * (found[1] - found[0])], axis=0)
    begin, end = np.searchsorted(self._detected[:, 0], (time - HELD, time + HELD))
    return np.concatenate([found, self._detected[begin: end, 1:]])

  def hidden(self, image: np.ndarray, time: float) -> np.ndarray:
    """Returns an image `[H, W, 3]` uint8 of the whole picture at a time, its faces blurred."""
    found, (high, wide, _) = self.at(time), image.shape
    if found is None:
      return _coarse(image, min(high, wide) / CELLS_OF_ALL)
    found = found * (wide / self._size[0], high / self._size[1], max(high, wide) / max(self._size))
    inside = np.zeros((high, wide), bool)
    for x, y, radius in found:
      left, top, right, bottom = np.rint([x - radius, y - radius, x + radius, y + radius]).clip(0).astype(int)
      part = inside[top: bottom, left: right]
      across, down = np.arange(part.shape[1]) + left + 0.5 - x, np.arange(part.shape[0]) + top + 0.5 - y
      part |= across ** 2 + down[:, None] ** 2 <= radius ** 2
    return np.where(inside[..., None], _coarse(image, 2 * found[:, 2].max() / CELLS), image)


def _coarse(image: np.ndarray, cell: float) -> np.ndarray:
  """An image of which no more is left than the mean color of every cell of some pixels."""
  from PIL import Image  # comes with matplotlib
  high, wide, _ = image.shape
  cells = max(1, round(wide / cell)), max(1, round(high / cell))
  few = Image.fromarray(np.ascontiguousarray(image)).resize(cells, Image.Resampling.BOX)
  return np.asarray(few.resize((wide, high), Image.Resampling.BILINEAR))


def circles(person: points.Points) -> np.ndarray:
  """Returns circles `[N, 3]` around the head of a person, of the rows that show it; larger where it is hardly seen."""
  places, visibility = person.places[person.seen], person.visibility[person.seen]
  face = places[:, FACE]
  middle = face.mean(axis=1)
  spread = np.linalg.norm(face - middle[:, None], axis=-1).max(axis=1)
  left, right, left_hip, right_hip = places[:, _TRUNK].transpose(1, 0, 2)
  trunk = np.linalg.norm((left + right - left_hip - right_hip) / 2, axis=-1)
  size = np.maximum(trunk, np.linalg.norm(left - right, axis=-1))
  radius = np.maximum(WIDE * spread, OF_TRUNK * size) * (2 - np.clip(visibility[:, FACE].mean(axis=1), 0, 1))
  return np.concatenate([middle, radius[:, None]], axis=1)


def detect(film: pathlib.Path, found_by: networks.Networks, person: points.Points) -> np.ndarray:
  """Returns `[M, 4]` seconds, x, y and radius of the heads that the detector finds in every picture.

  Args:
    found_by: with the detector of bodies.
    person: whose head is known better, and left out. A detection at the same shoulders whose box is larger than the
      person's can be is somebody in front, who is kept.

  Raises:
    VideoError: if the file is no video.
  """
  found, known = [], np.zeros(len(person.times))
  known[person.seen] = circles(person)[:, 2]
  for picture in decoding.pictures(film):
    scale = np.divide(person.size, picture.size)
    detected = detection.detect(found_by, "pose_detection", picture, LEAST, signed=True)
    row = int(np.abs(person.times - picture.time).argmin())
    is_known = person.seen[row] and abs(person.times[row] - picture.time) <= NEAR
    shoulders = [one.points[body.SHOULDERS] * scale for one in detected]
    followed = _nearest(shoulders, person.places[row]) if is_known else None
    for number, one in enumerate(detected):
      corners = one.box.reshape(2, 2) * scale
      radius = OF_BOX * (corners[1] - corners[0]).max()
      if number != followed or radius > LARGER * known[row]:
        found.append((picture.time, *corners.mean(axis=0), radius))
  return np.array(found, np.float64).reshape(-1, 4)


def _nearest(shoulders: Sequence[np.ndarray], places: np.ndarray) -> int | None:
  """The number of the place that is the middle of the shoulders of landmarks `[33, 2]`; None if it is none of them."""
  if not shoulders:
    return None
  middle, hips = places[_TRUNK].reshape(2, 2, 2).mean(axis=1)
  away = np.linalg.norm(np.array(shoulders) - middle, axis=-1)
  return int(away.argmin()) if away.min() <= APART * np.linalg.norm(middle - hips) else None


def of_video(film: pathlib.Path, features: pathlib.Path, film_sha256: str,
             detector: networks.Networks | None) -> Faces:
  """Returns the `Faces` of a video.

  Args:
    film: its file, which need not be there.
    features: the file of its features; film_sha256: of the film that they were made from, "" if that is not known.
    detector: finds faces of others than the person who is followed; None if they are not looked for.

  Raises:
    ValueError: if nothing says where the face of the person is.
  """
  if (person := points.read(features)) is None:
    raise ValueError("--blur-faces: nothing says where its face is. Features of poses do, those of this version: "
                     f"remove {features} and extract it again; where a run is on other features, give --videos none, "
                     "which shows nothing.")
  there = film.is_file() and film != features
  if there and film_sha256 and pretrained.digest(film) != film_sha256:
    raise ValueError(f"--blur-faces: {film} is not the film that its features were made from, so that nothing says "
                     "where its face is; extract them again.")
  return Faces(person, detect(film, detector, person) if there and detector else None)
