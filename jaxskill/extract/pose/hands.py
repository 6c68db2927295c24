"""Two hands, followed from picture to picture: 21 landmarks each.

The palm detector is asked where fewer than two hands are followed. Which hand is left or right says the network, on
average over the pictures in which it was followed: of a blurred picture it is often wrong.

Reference: Zhang et al., MediaPipe Hands: On-device Real-time Hand Tracking, 2020; thresholds and margins are those of
MediaPipe's published graphs. Ours: two squares that overlap by half are one hand; landmarks are not smoothed; of two
hands of one side the less sure one takes the other side.
"""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxskill.data.video.decoding import Picture
from jaxskill.extract.pose import crops, detection
from jaxskill.extract.pose.networks import Networks

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
JOINTS = ("wrist", *(f"thumb_{part}" for part in ("cmc", "mcp", "ip", "tip")),
          *(f"{finger}_{part}" for finger in FINGERS[1:] for part in ("mcp", "pip", "dip", "tip")))
SIDES = ("left", "right")
_WRIST, _MIDDLE = 0, 2                   # key points of a palm: wrist, first joint of the middle finger
_OF_PALM = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]         # landmarks that place the next square
_PALM_MARGIN, _PALM_SHIFT, _MARGIN, _SHIFT = 2.6, -0.5, 2.0, -0.1
_DEPTH = 0.4                             # the network's unit of depth, in sides of its square
_SAME = 0.5                              # overlap from which two squares are of one hand
_NEW = 0.1                               # least share of a picture in the chance that a hand is a right one


class Hand(NamedTuple):
  """One hand in one picture.

  Attributes:
    points: `[21, 3]` pixels: x, y, and depth from the wrist in the same unit.
    flag: chance that there is a hand.
    right: chance that it is a right hand, in a picture that is not mirrored: a mean, see above.
    region: the square in which it was found.
    seen: pictures in which it was followed, up to this one.
  """

  points: np.ndarray
  flag: float
  right: float
  region: crops.Region
  seen: int = 1


class Hands:
  """Follows up to two hands through the pictures of a video.

  Attributes:
    asked, looked: pictures in which the detector was asked, and all.
    seconds: {"detection", "landmarks"} spent.
  """

  def __init__(self, networks: Networks, options: ConfigDict) -> None:
    """
    Args:
      networks: with palm_detection and hand_landmark, see `Networks`.
      options: `config.person` of a recipe.
    """
    self._networks, self._options = networks, options
    self._followed: list[Hand] = []                  # of the picture before
    self.asked, self.looked, self.seconds = 0, 0, dict(detection=0.0, landmarks=0.0)

  def look(self, picture: Picture) -> dict[str, Hand]:
    """Returns {"left", "right": `Hand`} of those that are seen; pictures come in the order of time."""
    self.looked += 1
    found = self._read_all(picture, [(square_of_points(hand.points), hand) for hand in self._followed])
    if len(found) < 2:
      begun = clock.perf_counter()
      self.asked += 1
      palms = detection.detect(self._networks, "palm_detection", picture, self._options.detection, signed=False)
      self.seconds["detection"] += clock.perf_counter() - begun
      found = self._read_all(picture, [(square_of_palm(palm), None) for palm in palms], found)
    self._followed = found
    return by_side(found)

  def _read_all(self, picture: Any, squares: Any, found: Any = ()) -> Any:
    """Returns `found` and the hands in some more squares (square, the `Hand` that led to it, or None), at most two."""
    found = list(found)
    for region, before in squares:
      if len(found) < 2 and not _is_among(region, [hand.region for hand in found]):
        hand = self._read(picture, region, before)
        if hand and not _is_among(square_of_points(hand.points), [square_of_points(one.points) for one in found]):
          found.append(hand)
    return found

  def _read(self, picture: Any, region: Any, before: Any) -> Any:
    """Returns the `Hand` in a square, or None; `before`: the same one in the picture before, or None."""
    if not region.is_usable(picture.size):
      return None
    begun = clock.perf_counter()
    points, flag, right, _ = self._networks.run("hand_landmark", crops.cut(picture, region, 224) / np.float32(255))
    self.seconds["landmarks"] += clock.perf_counter() - begun
    if not flag[0] >= self._options.flag:
      return None
    shares = points.reshape(21, 3).astype(np.float64) / 224
    places = np.concatenate([region.to_picture(shares[:, :2]), shares[:, 2:] / _DEPTH * region.side], axis=1)
    is_right, seen = float(right[0]), 1
    if before:
      seen = before.seen + 1
      is_right = before.right + max(1 / seen, _NEW) * (is_right - before.right)
    return Hand(places, float(flag[0]), is_right, region, seen)


def by_side(found: Sequence[Hand]) -> dict[str, Hand]:
  """Returns {"left", "right": hand} of up to two hands; of two of one side the less sure one takes the other side."""
  if len(found) == 2:
    found = sorted(found, key=_rightness)
    return dict(zip(SIDES, found))
  return {SIDES[hand.right > 0.5]: hand for hand in found}


def _rightness(hand: Any) -> Any:
  return hand.right


def _is_among(region: Any, others: Any) -> Any:
  corners = [np.array([[one.x - one.side / 2, one.y - one.side / 2], [one.x + one.side / 2, one.y + one.side / 2]])
             for one in (region, *others)]
  return bool(others) and detection.overlaps(corners[0], np.stack(corners[1:])).max() >= _SAME


def square_of_palm(palm: detection.Detection) -> crops.Region:
  """Returns the `Region` of the hand of a detected palm, its fingers up."""
  turn = crops.turn_of(palm.points[_WRIST], palm.points[_MIDDLE])
  upper, lower = palm.box.reshape(2, 2)
  wide, high = lower - upper
  x, y = (upper + lower) / 2 + crops.rotate(np.array([0.0, _PALM_SHIFT * high]), turn)
  return crops.Region(float(x), float(y), float(max(wide, high) * _PALM_MARGIN), turn)


def square_of_points(points: np.ndarray) -> crops.Region:
  """Returns the `Region` of a hand's `[21, 3]` landmarks, its fingers up."""
  wrist, index, middle, ring = points[[0, 5, 9, 13], :2]
  turn = crops.turn_of(wrist, ((index + ring) / 2 + middle) / 2)
  upright = crops.rotate(points[_OF_PALM, :2], -turn)
  low, high = upright.min(axis=0), upright.max(axis=0)
  size = high - low
  x, y = crops.rotate((low + high) / 2 + (0, _SHIFT * size[1]), turn)
  return crops.Region(float(x), float(y), float(size.max() * _MARGIN), turn)
