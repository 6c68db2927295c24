"""Squares of a picture: where a body or a hand is, turned upright, and the pixels that a network sees of it.

Places are in pixels of the upright picture, a pixel reaching from its number to the next; shares of a square count from
its upper left corner, x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxskill.data.video.decoding import Picture


class Region(NamedTuple):
  """A square of a picture.

  Attributes:
    x, y: its middle, in pixels.
    side: in pixels.
    turn: radians by which it is turned clockwise.
  """

  x: float
  y: float
  side: float
  turn: float

  def to_picture(self, shares: np.ndarray) -> np.ndarray:
    """Returns `[..., 2]` pixels of places that are given in shares of the square."""
    offset = self.side * (np.asarray(shares) - 0.5)
    return rotate(offset, self.turn) + (self.x, self.y)

  def to_shares(self, places: np.ndarray) -> np.ndarray:
    """Returns `[..., 2]` shares of the square of places in pixels."""
    return rotate(np.asarray(places) - (self.x, self.y), -self.turn) / self.side + 0.5

  def is_usable(self, size: tuple[int, int]) -> bool:
    """Returns whether the square is finite, and its middle at most a side away from a picture of (width, height)."""
    if not np.isfinite(self).all() or self.side < 1:
      return False
    return all(-self.side < middle < wide + self.side for middle, wide in zip((self.x, self.y), size))


def rotate(points: np.ndarray, turn: float) -> np.ndarray:
  """Returns `[..., 2]` points, turned clockwise around 0 by an angle in radians; further coordinates stay."""
  cosine, sine = np.cos(turn), np.sin(turn)
  x, y = points[..., 0], points[..., 1]
  return np.concatenate([np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1), points[..., 2:]], axis=-1)


def turn_of(start: Sequence[float] | np.ndarray, end: Sequence[float] | np.ndarray) -> float:
  """Returns the angle, in radians in [-pi, pi), by which a square is turned in which `end` is right above `start`."""
  turn = np.pi / 2 - np.arctan2(start[1] - end[1], end[0] - start[0])
  return float((turn + np.pi) % (2 * np.pi) - np.pi)


def around(middle: Sequence[float] | np.ndarray, edge: Sequence[float] | np.ndarray, scale: float) -> Region:
  """Returns the square around `middle` in which `edge` is straight above: twice as wide as they are apart, scaled."""
  side = 2 * float(np.hypot(edge[0] - middle[0], edge[1] - middle[1])) * scale
  return Region(float(middle[0]), float(middle[1]), side, turn_of(middle, edge))


def cut(picture: Picture, region: Region, side: int) -> np.ndarray:
  """Returns the pixels of a square, `[side, side, 3]` float32 in [0, 255]; beyond the picture its edge goes on.

  A large square is taken from a picture that was scaled down first, so that every pixel of it counts.
  """
  wide, high = picture.size
  factor = min(1.0, side / region.side)
  image = picture.image(max(1, round(wide * factor)), max(1, round(high * factor)))
  scale = np.array([image.shape[1] / wide, image.shape[0] / high])
  steps = (np.arange(side) + 0.5) / side
  shares = np.stack(np.meshgrid(steps, steps), axis=-1)                                # [side, side, 2]
  return _sample(image, (region.to_picture(shares) * scale - 0.5).reshape(-1, 2)).reshape(side, side, 3)


def _sample(image: np.ndarray, places: Any) -> Any:
  """Returns `[N, 3]` float32: an image between its pixels, at `[N, 2]` places (x, y) from the middle of the first."""
  high, wide, _ = image.shape
  x, y = (np.clip(values, 0, last) for values, last in zip(places.T.astype(np.float32), (wide - 1, high - 1)))
  left, top = np.minimum(x.astype(np.int32), max(wide - 2, 0)), np.minimum(y.astype(np.int32), max(high - 2, 0))
  right, down = np.asarray(x - left, np.float32)[:, None], np.asarray(y - top, np.float32)[:, None]
  pixels, first = np.ascontiguousarray(image).reshape(-1, 3), top * wide + left
  across, below = int(wide > 1), wide * int(high > 1)
  upper = pixels[first] * (1 - right) + pixels[first + across] * right
  lower = pixels[first + below] * (1 - right) + pixels[first + below + across] * right
  return upper * (1 - down) + lower * down


def letterbox(picture: Picture, side: int) -> tuple[np.ndarray, Region]:
  """Fits a whole picture into the middle of a black square.

  Returns:
    `[side, side, 3]` float32 in [0, 255]; the `Region` of the picture that the square shows.
  """
  wide, high = picture.size
  factor = side / max(wide, high)
  image = picture.image(max(1, round(wide * factor)), max(1, round(high * factor)))
  square = np.zeros((side, side, 3), np.float32)
  top, left = ((side - length) // 2 for length in image.shape[:2])
  square[top: top + image.shape[0], left: left + image.shape[1]] = image
  return square, Region(wide / 2, high / 2, float(max(wide, high)), 0.0)
