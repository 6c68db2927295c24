"""The body of one person, followed from picture to picture: 33 landmarks in the picture, and in metres.

The detector is asked where nobody is followed yet, and again where the landmark network does not see a person in the
square any more. Otherwise the square of a picture follows from the landmarks of the one before, so that a person keeps
identity when others walk in. Who others are, and that none of them is taken for the person: `identity`.

Reference: Bazarevsky et al., BlazePose: On-device Real-time Body Pose Tracking, 2020; thresholds, margins and filters
are those of MediaPipe's published graphs. Ours: the detector is asked again in the very picture in which a person is
lost, and a few times a second for others; for a while only a person near the last place is taken for the same, and the
last square is looked at as well; then it is the nearest one; who is followed can be said; large squares are taken from
a smaller picture; visibility is not smoothed.
"""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxskill.data.video.decoding import Picture
from jaxskill.extract.pose import crops, detection, identity, smoothing
from jaxskill.extract.pose.networks import Networks

LANDMARKS = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb",
    "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index")
HIPS, BODY, SHOULDERS = 0, 1, 2        # key points of a detection: middle of the hips, edge of the body, shoulders
MARGIN = 1.25                          # of the square around a body
_POINTS, _AUXILIARY = slice(0, 33), slice(33, 35)    # of the 39 of the network; the latter place the next square
_WINDOW, _SURE = 7, 0.5                # of the maps of chance that refine a landmark: width, and what is sure
_AT_HAND, _BESIDE = 0.5, 0.25          # half heights that a chosen point may be off a body's axis, and its landmarks
_REACH = 0.25                          # of the side of the last square: how far away a person is found again
_COMPARABLE = 0.5                      # share of the largest body's size from which another one might be meant
_UNSURE = 0.3                          # score of a detection of others, and of one at a chosen point


class Seen(NamedTuple):
  """One person in one picture.

  Attributes:
    points: `[33, 3]` pixels: x, y, and depth in the same unit, from the hips.
    visibility: `[33]` chances that a landmark is not hidden.
    world: `[33, 3]` metres from the middle of the hips: x to the right of the picture, y down, z away from the camera.
    flag: chance that there is a person.
    region: the square in which it was found.
  """

  points: np.ndarray
  visibility: np.ndarray
  world: np.ndarray
  flag: float
  region: crops.Region


class _Read(NamedTuple):
  """What the landmark network says of a square in which it sees a person, before anything is smoothed.

  Attributes:
    points: `[39, 3]` pixels, the last six auxiliary ones.
    world, visibility, flag, region: see `Seen`.
    colors: see `identity.colors_of`.
  """

  points: np.ndarray
  world: np.ndarray
  visibility: np.ndarray
  flag: float
  region: crops.Region
  colors: np.ndarray

  @property
  def place(self) -> np.ndarray:
    """Returns the middle of the hips in pixels, `[2]`."""
    return self.points[_AUXILIARY, :2][0]

  def is_at(self, point: Sequence[float]) -> bool:
    """Returns whether a point (x, y) lies on the person, or near it."""
    points, near = self.points[_POINTS, :2], _BESIDE * self.next_region.side / (2 * MARGIN)
    return bool((points.min(axis=0) - near <= point).all() and (point <= points.max(axis=0) + near).all())

  @property
  def next_region(self) -> crops.Region:
    """Returns the square in which the person is looked for next."""
    middle, edge = self.points[_AUXILIARY, :2]
    return crops.around(middle, edge, MARGIN)


class Follower:
  """Follows one person through the pictures of a video.

  Attributes:
    asked, looked: pictures in which the detector was asked, and all.
    seconds: {"detection", "landmarks"} spent.
    passed_by: (seconds, x, y, the chosen point) of persons who were found, but not where one was chosen.
    notes, again: sentences on whom it follows, and on persons who were lost and followed again.
    hidden: (seconds when the person was seen last, when it was seen again) where another one was in its place.
    is_hidden: whether another one is there now.
  """

  def __init__(self, networks: Networks, options: ConfigDict,
               chosen: Sequence[tuple[float, float, float]] = ()) -> None:
    """
    Args:
      networks: with pose_detection and pose_landmark, see `Networks`.
      options: `config.person` of a recipe.
      chosen: rows (seconds, x, y): who is followed from then on, in pixels; () is the largest person.
    """
    self._networks, self._options, self._chosen = networks, options, list(chosen)
    self._region: Any = None                         # the square of the next picture, or the last one of who is lost
    self._seen_at = self._asked_at = -np.inf         # seconds
    self._person: Any = None
    self._others = identity.Others(self._read)
    self._filters = dict(points=smoothing.OneEuro(0.05, 80.0), world=smoothing.OneEuro(0.1, 40.0),
                         auxiliary=smoothing.OneEuro(0.01, 10.0))
    self.asked, self.looked, self.seconds = 0, 0, dict(detection=0.0, landmarks=0.0)
    self.passed_by, self.notes, self.again = [], [], []
    self.hidden, self.is_hidden = [], False

  def look(self, picture: Picture) -> Seen | None:
    """Returns what is `Seen` of the person, or None; pictures come in the order of time.

    Raises:
      ValueError: if several persons are there, none is chosen, and that is not allowed; or if a chosen point lies
        outside the picture.
    """
    if not self.looked:
      _check_chosen(self._chosen, picture.size)
    self.looked += 1
    self._pass_over(picture.time)
    if self._chosen and self._chosen[0][0] <= picture.time:
      read = self._choose(picture)
      if read:                                       # else the next picture is asked for the same person
        self._chosen.pop(0)
        self._others, self.is_hidden = identity.Others(self._read), False
      return self._begin(picture, read, is_new=True)
    if self._region is None and self._chosen:
      return None                                    # nobody is followed yet
    self._others.forget(picture.time)
    read = self._read(picture, self._region) if self._holds(picture) else None
    if read and self._is_person(picture, read):
      self._look_around(picture, read)
      return self._take(picture, read)
    return self._begin(picture, *self._find(picture))

  def _pass_over(self, time: Any) -> None:
    """Gives up who was chosen earlier and never seen, once the time of the next choice has come."""
    while len(self._chosen) > 1 and self._chosen[1][0] <= time:
      since, x, y = self._chosen.pop(0)
      self.notes.append(f"nobody seen at the chosen point {x:g},{y:g} from {since:.2f} s on, until another one is "
                        f"chosen at {self._chosen[0][0]:.2f} s: correct --person")

  def _begin(self, picture: Any, read: Any, note: Any = "", is_new: bool = False) -> Any:
    """Takes what was read in a square that does not follow from the picture before; no filter remembers that one."""
    for smooth in self._filters.values():
      smooth.forget()
    if read is None:
      return None
    if note:
      (self.notes if self._region is None else self.again).append(note)
    if note or is_new:
      self._person = None
    self._asked_at = -np.inf                         # who else is there is not known yet
    return self._take(picture, read)

  def _holds(self, picture: Any) -> Any:
    """Returns whether a person who was seen, and maybe lost, is still looked for in the last square."""
    return self._region is not None and picture.time - self._seen_at <= self._options.hold

  @property
  def _unit(self) -> Any:
    """Returns half the height of the person in pixels."""
    return self._region.side / (2 * MARGIN)

  def _detect(self, picture: Any, least: Any) -> Any:
    begun = clock.perf_counter()
    self.asked += 1
    self._asked_at = picture.time
    found = detection.detect(self._networks, "pose_detection", picture, least, signed=True)
    self.seconds["detection"] += clock.perf_counter() - begun
    return found

  def _choose(self, picture: Any) -> Any:
    """Returns what is read of the person at the chosen point, or None if nobody is there."""
    _, *point = self._chosen[0]
    found = {away_from(one, point): one for one in self._detect(picture, min(_UNSURE, self._options.detection))}
    near = [distance for distance in sorted(found) if distance <= _AT_HAND]
    if not near:
      self.passed_by += [(picture.time, *one.points[HIPS], point) for one in found.values()]
    for distance in near:
      read = self._read(picture, square_of(found[distance]))
      if read and read.is_at(point):
        return read
    return None

  def _find(self, picture: Any) -> Any:
    """Returns (what is read of the person nearest to the last place, or None; at first of the largest one, a note)."""
    found = sorted(self._detect(picture, self._options.detection), key=_size, reverse=True)
    if not found:
      return None, ""
    if self._region is None:
      note = self._check_first(picture, found)
      return self._read(picture, square_of(found[0])), note
    away = {float(np.hypot(*(one.points[HIPS] - self._region[:2]))): one for one in found}
    for distance, one in sorted(away.items()):
      is_near = distance <= _REACH * self._region.side
      if not is_near and self._holds(picture):
        break
      read = self._read(picture, square_of(one))
      if read is None:
        break
      if self._is_person(picture, read):
        return read, "" if is_near else (
            f"lost at {self._seen_at:.2f} s, a person is followed again from {picture.time:.2f} s on, {distance:.0f} "
            "pixels away: see with --overlay whether it is the same")
    return None, ""

  def _is_person(self, picture: Any, read: Any) -> Any:
    """Returns whether what was read is the person who is followed, rather than another one who came near."""
    is_it = self._others.is_person(picture, self._person, read, self._unit, self.is_hidden)
    self.is_hidden |= not is_it
    return is_it

  def _look_around(self, picture: Any, read: Any) -> None:
    """Takes note of others who are near the person, so that none of them is taken for it when they meet."""
    due = picture.time - self._asked_at > identity.WATCH - 1e-3                # times are rounded
    if due or self._others.are_near(self._person, self._unit):
      found = self._detect(picture, min(_UNSURE, self._options.detection))
      self._others.note(picture, [(one.points[HIPS], square_of(one)) for one in found], read.place, self._unit)

  def _check_first(self, picture: Any, found: Any) -> Any:
    """Returns a note on following the largest one of those who are found first, the largest before the others."""
    alike = []
    for one in found:
      apart = [np.hypot(*(one.points[HIPS] - other.points[HIPS])) for other in alike]
      if _size(one) >= _COMPARABLE * _size(found[0]) and min(apart, default=np.inf) > identity.APART * _size(found[0]):
        alike.append(one)
    if len(alike) == 1:
      return ""
    places = " and ".join("{:.0f},{:.0f}".format(*one.points[HIPS]) for one in alike)
    there = f"{len(alike)} persons at {picture.time:.2f} s, at {places} (pixels, middle of the hips)"
    if self._options.several == "error":
      raise ValueError(f"shows {there}, and none is chosen: say --person x,y, or give it a table; jaxskill.extract "
                       "takes the largest with --config.person.several=largest.")
    return f"shows {there}; the largest is followed, the first of these; --person x,y says another"

  def _read(self, picture: Any, region: Any) -> Any:
    """Returns what the landmark network sees in a square, or None."""
    if region is None or not region.is_usable(picture.size):
      return None
    begun = clock.perf_counter()
    pixels = crops.cut(picture, region, 256)
    outputs = self._networks.run("pose_landmark", pixels / np.float32(255))
    self.seconds["landmarks"] += clock.perf_counter() - begun
    flag = float(outputs[1][0])
    if not flag >= self._options.flag:
      return None
    points, world, visibility = landmarks(outputs, region)
    colors = identity.colors_of(pixels, region.to_shares(points[_POINTS, :2]))
    return _Read(points, world, visibility, flag, region, colors)

  def _take(self, picture: Any, read: Any) -> Any:
    """Returns what is `Seen` of the person in what was read; the next square follows from it."""
    if self.is_hidden and picture.time - self._seen_at > identity.WATCH:
      self.hidden.append((self._seen_at, picture.time))
    self.is_hidden = False
    unit = read.region.side / MARGIN
    middle, edge = self._smooth("auxiliary", picture.time, read.points[_AUXILIARY, :2], unit)
    self._region, self._seen_at = crops.around(middle, edge, MARGIN), picture.time
    self._person = self._person or identity.Person(read.place, picture.time, self._region)
    self._person.see(read.place, picture.time, self._region, read.colors)
    return Seen(self._smooth("points", picture.time, read.points[_POINTS], unit), read.visibility,
                self._smooth("world", picture.time, read.world), read.flag, read.region)

  def _smooth(self, name: str, time: Any, values: Any, unit: Any = 1.0) -> Any:
    """Auxiliary points place the next square and are always smoothed."""
    return self._filters[name](time, values, unit) if self._options.smoothing or name == "auxiliary" else values


def _check_chosen(chosen: Any, size: Any) -> None:
  for _, x, y in chosen:
    if x > size[0] or y > size[1]:
      raise ValueError(f"the chosen point {x:g},{y:g} lies outside the picture of {size[0]} x {size[1]} pixels; "
                       "correct --person.")


def _size(one: Any) -> Any:
  return float(np.hypot(*(one.points[BODY] - one.points[HIPS])))


def square_of(found: detection.Detection) -> crops.Region:
  """Returns the `Region` of a detected body, turned upright."""
  return crops.around(found.points[HIPS], found.points[BODY], MARGIN)


def away_from(found: detection.Detection, point: Sequence[float]) -> float:
  """Returns how far a point (x, y) is from a detected body's axis, from its feet to its top, by half its height."""
  half = found.points[BODY] - found.points[HIPS]
  offset = np.asarray(point) - found.points[HIPS]
  share = np.clip(offset @ half / max(half @ half, 1e-9), -1, 1)
  return float(np.hypot(*(offset - share * half))) / max(_size(found), 1e-9)


def landmarks(outputs: Sequence[np.ndarray], region: crops.Region) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the landmarks in the outputs of the network pose_landmark.

  Args:
    outputs: `[195]`, `[1]`, `[256, 256, 1]`, `[64, 64, 39]`, `[117]`.
    region: the square that the network was shown.

  Returns:
    (`[39, 3]` pixels, the last six of them auxiliary; `[33, 3]` metres; `[33]` visibility).
  """
  raw, _, _, maps, world = outputs
  raw = raw.reshape(39, 5).astype(np.float64)
  shares = raw[:, :3] / 256
  shares[:, :2] = refine(shares[:, :2], maps)
  points = np.concatenate([region.to_picture(shares[:, :2]), shares[:, 2:] * region.side], axis=1)
  world = crops.rotate(world.reshape(39, 3).astype(np.float64)[_POINTS], region.turn)
  return points, world, 1 / (1 + np.exp(-raw[_POINTS, 3]))


def refine(shares: np.ndarray, maps: np.ndarray) -> np.ndarray:
  """Returns `[N, 2]` places moved to the mean of their map of chance nearby, where that is sure.

  Args:
    shares: `[N, 2]` places (x, y) in shares of a square.
    maps: `[H, W, N]` logits.
  """
  high, wide, count = maps.shape
  reach = np.arange(_WINDOW) - _WINDOW // 2
  column, row = (shares * (wide, high)).astype(int).T
  columns, rows = column[:, None] + reach, row[:, None] + reach                                  # [N, 7]
  inside = ((rows >= 0) & (rows < high))[:, :, None] & ((columns >= 0) & (columns < wide))[:, None]
  found = maps[rows.clip(0, high - 1)[:, :, None], columns.clip(0, wide - 1)[:, None], np.arange(count)[:, None, None]]
  chances = np.where(inside, 1 / (1 + np.exp(-found.astype(np.float64))), 0.0)                   # [N, 7, 7]
  total = chances.sum(axis=(1, 2))
  sure = (chances.max(axis=(1, 2)) >= _SURE) & (total > 0)
  means = np.stack([(chances.sum(axis=1) * columns).sum(axis=1) / wide,
                    (chances.sum(axis=2) * rows).sum(axis=1) / high], axis=-1) / np.maximum(total, 1e-12)[:, None]
  return np.where(sure[:, None], means, shares)
