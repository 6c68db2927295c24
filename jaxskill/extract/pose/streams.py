"""The streams of a recipe of poses, while the pictures of a video pass by: rows, their times, and who is seen in them.

A row belongs to one picture and has its time. Where a video has many more pictures a second than the recipe wants,
every second or third of them is looked at; a picture that stays is one row. Nothing is made up where nobody is seen:
such rows are zeros, and marked.

`pose`        [T, 132]  x, y, z in metres and visibility of each of 33 landmarks, see `body.Seen.world`
`kinematics`  [T, C]    of the same landmarks, see `jaxskill.data.kinematics`
`hands`       [T, 128]  of the left hand and then the right one x, y, z of 21 landmarks and the chance that it is there;
                        x to the right and y down from the middle of the picture, z from the wrist, all in heights of it

Beside them goes where the body is in the picture, see `points`. T rows, C columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_collections
import numpy as np

from jaxskill.data import kinematics
from jaxskill.data.video.decoding import Picture
from jaxskill.extract.pose import body, hands, points
from jaxskill.extract.pose.choice import Choice
from jaxskill.extract.pose.networks import Networks
from jaxskill.extract.pose.overlay import Overlay

STREAMS = ("pose", "kinematics", "hands")
OF_BODY = ("pose", "kinematics")
NETWORKS_OF = dict(pose_detection=OF_BODY, pose_landmark=OF_BODY, palm_detection=("hands",),
                   hand_landmark=("hands",))               # streams that need a network
JOINTS = {name: place for place, name in enumerate(body.LANDMARKS)}
_SLOW = 0.75               # share of the pictures a second that are wanted, below which it is said
_SMALLEST = 32             # pixels of a picture's shorter side


class Watching:
  """What the processes need that look at videos: networks, whom to follow, and where overlays go ("": none)."""

  def __init__(self, networks: Networks, choice: Choice, overlay: str = "") -> None:
    self.networks, self.choice, self.overlay = networks, choice, overlay

  def about(self, video: str) -> dict[str, str]:
    """Returns what the note says of one video beforehand: whom to follow."""
    return dict(person_sha256=self.choice.digest(video))


class Watched:
  """What the networks see in the pictures of one video, once for all its streams.

  Attributes:
    seen, hands: of the picture looked at last: `body.Seen` or None, and {side: `hands.Hand`}.
    first: name of the stream that speaks for all.
  """

  def __init__(self, config: ml_collections.ConfigDict, video: str, watching: Watching) -> None:
    self.seen: body.Seen | None = None
    self.hands: dict[str, hands.Hand] = {}
    self._number: int | None = None
    options, chosen = config.person, watching.choice.of(video)
    asked, self.first = set(config.streams), next(iter(config.streams))
    self.body = body.Follower(watching.networks, options, chosen) if asked & set(OF_BODY) else None
    self.tracked_hands = hands.Hands(watching.networks, options) if "hands" in asked else None
    self._overlay = Overlay(f"{watching.overlay}/{video}.mp4") if watching.overlay else None
    self.places = points.Kept() if self.body else None

  def look(self, picture: Picture) -> None:
    """Looks at a picture, whose streams all ask for it.

    Raises:
      ValueError: for a picture without room for a person; see `body.Follower.look`.
    """
    if picture.number == self._number:
      return
    if self._number is None:
      _check_picture(picture)
    self._number = picture.number
    self.seen = self.body.look(picture) if self.body else None
    if self.places:
      self.places.add(picture, self.seen)
    self.hands = self.tracked_hands.look(picture) if self.tracked_hands else {}
    if self._overlay:
      self._overlay.add(picture, self.seen, self.hands)

  @property
  def is_seen(self) -> bool:
    """Tells whether anybody is seen: a body, and where no stream asks for one a hand."""
    return self.seen is not None if self.body else bool(self.hands)

  def finish(self) -> None:
    """Ends the overlay."""
    if self._overlay:
      self._overlay.finish()

  def nobody(self, count: int) -> str:
    """Returns why a video gives nothing."""
    if not self.body:
      return f"no hand found in any of its {count} frames."
    if not self.body.passed_by:
      return f"no person found in any of its {count} frames."
    time, x, y, point = self.body.passed_by[0]
    return (f"nobody found at the chosen point {point[0]:g},{point[1]:g} in any of its {count} frames; a person is at "
            f"{x:.0f},{y:.0f} at {time:.2f} s (pixels, middle of the hips): correct --person.")


def _check_picture(picture: Any) -> None:
  wide, high = picture.size
  if min(wide, high) < _SMALLEST:
    raise ValueError(f"is {wide} x {high} pixels, too small to see a person; expected at least {_SMALLEST} a side.")


class Stream:
  """One stream of one video; the attributes are those of `jaxskill.extract.extraction.Stream`."""

  def __init__(self, name: str, recipe: ml_collections.ConfigDict, watched: Watched, times: np.ndarray, every: float,
               slow: float = 0.0) -> None:
    """
    Args:
      name: of `STREAMS`.
      recipe: `config.streams.<name>`.
      watched: shared by the streams of the video.
      times: `[C]` seconds at which a picture is looked at.
      every: seconds from one to the next.
      slow: pictures a second that are wanted, where there are fewer.
    """
    self._slow = slow
    self.name, self.recipe, self.every, self._watched = name, recipe, every, watched
    self.times, self.places = times[:, None], np.arange(len(times))[:, None]
    self.events = [(time, unit, True) for unit, time in enumerate(times)]
    self.seen, self.kept, self._shown, self._mask, self._points = set(), [], [], [], []

  def take(self, unit: int, ends: bool, picture: Picture) -> Iterator[np.ndarray]:
    """Takes a picture. Yields its row; those of kinematics come at the end."""
    del ends
    if picture.number in self.seen:
      return
    self._watched.look(picture)
    self.seen.add(picture.number)
    self.kept.append(unit)
    self._shown.append(picture.time)
    self._mask.append(self._watched.is_seen)
    if self.name == "hands":
      yield hands_row(self._watched.hands, picture.size)
    elif self.name == "pose":
      yield pose_row(self._watched.seen)
    else:
      self._points.append(pose_row(self._watched.seen).reshape(33, 4)[:, :3])

  def finish(self) -> Iterator[np.ndarray]:
    """Yields the rows that needed all pictures.

    Raises:
      ValueError: if nobody is seen.
    """
    self._watched.finish()
    if not any(self._mask):
      raise ValueError(self._watched.nobody(len(self._mask)))
    if self.name == "kinematics":
      yield from kinematics_of(np.stack(self._points), np.array(self._mask), np.array(self._shown), self.recipe)[0]

  def places_in_picture(self) -> dict[str, np.ndarray]:
    """Returns arrays that go beside the rows, see `points`; none where no body is followed."""
    return self._watched.places.arrays() if self._watched.places else {}

  def check_pictures(self) -> None:
    """Raises a `ValueError` if the video has too few pictures for a movement."""
    if len(self.seen) < 2:
      raise ValueError("holds 1 picture and at least 2 are needed; give a longer video.")

  def rows(self) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns (`[T]` seconds of the rows, `[T]` whether anybody is seen, seconds from one to the next, on average)."""
    shown = np.array(self._shown)
    return shown, np.array(self._mask), float(shown[-1] - shown[0]) / max(len(shown) - 1, 1) or self.every

  def warnings(self, where: str) -> Iterator[str]:
    """Yields what must be known of the video; the first of its streams speaks for all, whose rows are the same."""
    del where
    if self.name != self._watched.first:
      return
    share = 1 - np.mean(self._mask)
    if share > self.recipe.gaps:
      gap = np.flatnonzero(~np.array(self._mask))
      end = gap[np.append(np.diff(gap) > 1, True).argmax()]
      yield (f"nobody is seen in {share:.0%} of its {len(self._mask)} frames, first from {self._shown[gap[0]]:.2f} to "
             f"{self._shown[end]:.2f} s; these rows are left out")
    if self._slow:
      yield (f"has {1 / self.every:.3g} pictures a second, fewer than the {self._slow:g} of the recipe: fast movements "
             "are not resolved, and smoothness is not that of a faster camera")
    if body := self._watched.body:
      yield from (*body.notes, *body.again)
      hidden = list(body.hidden)
      if body.is_hidden:
        hidden.append((self._shown[np.flatnonzero(self._mask)[-1]], self._shown[-1]))
      if hidden:
        yield ("another person was in the place of the one who is followed, times: {}, first from {:.2f} to {:.2f} s; "
               "these rows show nobody: see with --overlay who is followed afterwards".format(len(hidden), *hidden[0]))


def make(config: ml_collections.ConfigDict, video: str, seconds: float, rate: float,
         watching: Watching) -> dict[str, Stream]:
  """Returns {name: `Stream`} of one video.

  Args:
    config: the recipe.
    video: its name.
    seconds: it lasts.
    rate: its pictures a second.
    watching: `Watching`.
  """
  times, every = moments(seconds, rate, config.fps)
  watched = Watched(config, video, watching)
  slow = config.fps if 1 / every < _SLOW * config.fps else 0.0
  return {name: Stream(name, recipe, watched, times, every, slow) for name, recipe in config.streams.items()}


def moments(seconds: float, rate: float, fps: float) -> tuple[np.ndarray, float]:
  """Returns `[C]` times in the middle of each picture that is looked at, and seconds from one to the next.

  Args:
    seconds: a video lasts.
    rate: its pictures a second.
    fps: pictures a second that are wanted: as near to it as every first, second or third of them gives.
  """
  every = max(1, round(rate / fps)) / rate
  times = np.arange(max(1, round(seconds / every))) * every + 0.5 / rate
  return times[times < max(seconds, 1 / rate)], every


def pose_row(seen: body.Seen | None) -> np.ndarray:
  """Returns `[132]` float32 of what is seen of a body, zeros of None."""
  if seen is None:
    return np.zeros(132, np.float32)
  return np.concatenate([seen.world, seen.visibility[:, None]], axis=1).astype(np.float32).reshape(-1)


def hands_row(found: dict[str, hands.Hand], size: tuple[int, int]) -> np.ndarray:
  """Returns `[128]` float32 of {side: `hands.Hand`} in a picture of (width, height); zeros of one that is not seen."""
  row = np.zeros((2, 64), np.float32)
  for place, side in enumerate(hands.SIDES):
    if side in found:
      points = (found[side].points - (size[0] / 2, size[1] / 2, 0)) / size[1]
      row[place] = np.append(points.reshape(-1), found[side].flag)
  return row.reshape(-1)


def kinematics_of(points: np.ndarray, seen: np.ndarray, times: np.ndarray,
                  recipe: ml_collections.ConfigDict) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns (`[T, C]` rows, C names) of `[T, 33, 3]` landmarks in metres, as the recipe of a stream wants them."""
  return kinematics.columns(points, seen, times, JOINTS, face_right=recipe.face_right, window=recipe.window)


def columns(config: ml_collections.ConfigDict) -> dict[str, list[str]]:
  """Returns {stream: names of its columns} of a recipe."""
  made = {}
  for name, recipe in config.streams.items():
    if name == "pose":
      made[name] = [f"{joint} {what}" for joint in body.LANDMARKS for what in ("x", "y", "z", "visibility")]
    elif name == "hands":
      made[name] = [column for side in hands.SIDES for column in (
          *(f"{side}_{joint} {axis}" for joint in hands.JOINTS for axis in "xyz"), f"{side} chance")]
    else:
      nobody = np.random.default_rng(0).normal(size=(4, 33, 3))
      made[name] = list(kinematics_of(nobody, np.ones(4, bool), np.arange(4) / 25, recipe)[1])
  return made
