"""Where the athlete of a picture is, by the networks of poses: for recipes that cut persons out.

The box is that of the 33 landmarks, larger by a tenth of its longer side on each side (ours): landmarks end at the eyes
and the knuckles.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from jaxskill.data.video.decoding import Picture
from jaxskill.extract.pose.body import Follower
from jaxskill.extract.pose.choice import Choice
from jaxskill.extract.pose.networks import Networks

MARGIN = 0.1


class _Options(NamedTuple):
  """Of `Follower`, for pictures that may be a second apart: the nearest person is the same at once, however far."""

  detection: float = 0.5
  flag: float = 0.5
  hold: float = 0.0
  several: str = "largest"
  smoothing: bool = False


class Athletes:
  """Finds one person in pictures, as `jaxskill.data.video.persons` do."""

  def __init__(self, source: str | os.PathLike[str], person: str | Choice) -> None:
    """
    Args:
      source: of `Networks`.
      person: whom to follow: a `Choice`, or what it is made from.

    Raises:
      ValueError: see both.
    """
    self.networks = Networks(source, ("pose_detection", "pose_landmark"))
    self._choice = person if isinstance(person, Choice) else Choice(person)
    self._follower = Follower(self.networks, _Options())           # of the video that is looked at
    self._video: str | None = None
    self._number = -1                                              # of its last picture

  def about(self, video: str) -> dict[str, str]:
    """Returns what the note says of one video beforehand: whom to follow."""
    return dict(person_sha256=self._choice.digest(video))

  def notes(self, video: str) -> list[str]:
    """Returns sentences on whom it followed in the video looked at last."""
    return self._follower.notes if video == self._video else []

  def largest(self, video: str, picture: Picture) -> tuple[np.ndarray | None, float]:
    """Returns the box (x1, y1, x2, y2) of the person who is followed, or None; and 0.

    Raises:
      ValueError: if a chosen point lies outside the picture.
    """
    if self._video != video or picture.number < self._number:      # a damaged video is read once more
      self._follower, self._video = Follower(self.networks, _Options(), self._choice.of(video)), video
    self._number = picture.number
    seen = self._follower.look(picture)
    if seen is None:
      return None, 0.0
    low, high = seen.points[:, :2].min(axis=0), seen.points[:, :2].max(axis=0)
    margin = MARGIN * (high - low).max()
    box = np.clip(np.concatenate([low - margin, high + margin]), 0, np.tile(picture.size, 2))
    return (box if (box[2:] - box[:2]).min() >= 1 else None), 0.0
