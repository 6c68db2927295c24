"""From a video file to what the networks of a recipe take: plans, and one pass over the file for all streams.

A recipe has streams; each says which pictures of a video it wants (`sampling`), what it makes of a picture (`input`,
`region`, `crop`) and which network reads them. Nothing here touches a device.

C items of a video (clips or frames), L pictures or flows of an item, S their side.
"""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxskill.data.video import decoding as videos_of
from jaxskill.data.video import flow as flows
from jaxskill.data.video.timeline import Timeline, read_timeline
from jaxskill.extract.pose import recipe as poses
from jaxskill.extract.pose import streams as pose_streams

PLANS = ("stacks", "snippets", "segments", "frames")
ENDS = ("done", "failed")                            # the last message of a video
KINDS = ("planned", "items", "alive", *ENDS)
ALIVE = 5.0                # seconds between two signs of life
_TICK = 0.5                # seconds of a video after which there may be one


def plan(sampling: ConfigDict, seconds: float) -> tuple[np.ndarray, float]:
  """Plans when the pictures of every item are shown.

  Args:
    sampling: of a stream. "stacks": `clips` stacks of `length` successive frames at `fps`, spread evenly and
      overlapping where need be. "snippets": `frames` frames spread over the whole video, clips of `length` of them from
      each of `starts`. "segments": successive clips of `length` frames at `fps`, what is left over at the end is not
      used. "frames": `per_segment` frames of each of `segments`, the last one at its end.
    seconds: the video lasts.

  Returns:
    `[C, L]` times in seconds, ascending along both axes, and the seconds from one item to the next.

  Raises:
    ValueError: if the video is shorter than an item.
  """
  if sampling.plan == "frames":
    count = sampling.segments * sampling.per_segment
    every = seconds / count
    return (every * np.arange(1, count + 1) - min(1e-3, every / 2))[:, None], every
  length = sampling.length
  if sampling.plan == "snippets":
    times = (np.arange(sampling.frames) + 0.5) * seconds / sampling.frames
    starts = np.asarray(sampling.starts)
    return times[starts[:, None] + np.arange(length)], seconds / len(starts)
  count = int(seconds * sampling.fps + 1e-6)
  if count < length:
    raise ValueError(f"lasts {seconds:.2f} s, which is shorter than a clip of {length} frames at {sampling.fps:g} a "
                     "second.")
  if sampling.plan == "stacks":
    starts = np.round(np.linspace(0, count - length, sampling.clips)).astype(int)
    every = seconds / sampling.clips
  else:
    starts, every = np.arange(count // length) * length, length / sampling.fps
  return (starts[:, None] + np.arange(length)) / sampling.fps, every


class Stream:
  """What one stream takes of one video, while its pictures pass by."""

  def __init__(self, recipe: ConfigDict, video: str, seconds: float, persons: Any = None) -> None:
    """
    Args:
      recipe: `config.streams.<name>`.
      video: its name.
      seconds: it lasts.
      persons: where persons are, see `jaxskill.data.video.persons`; for the regions "person" and "pose" only.

    Attributes:
      times: `[C, L]` of the items.
      every: seconds from one item to the next.
      events: (time, unit, whether it ends it) of the pictures that are wanted; a unit is a picture or a flow.
      seen: numbers of the pictures that were taken.
      kept: numbers of the items that are there; others have a frame without a person, where these are discarded.
      lonely: frames whose person is that of another time, or that are discarded.

    Raises:
      ValueError: if the video is shorter than an item.
    """
    self.recipe, self.video, self.persons = recipe, video, persons
    self.times, self.every = plan(recipe.sampling, seconds)
    begins, self.flow = self.times, recipe.input == "flow"
    if self.flow:
      frames = recipe.sampling.plan == "frames"
      step = seconds / recipe.sampling.frames if recipe.sampling.plan == "snippets" else 1 / recipe.sampling.fps
      begins = begins[..., None] + step * (np.arange(-recipe.stack, 0) if frames else np.zeros(1))
      begins = begins.reshape(len(begins), -1).clip(0.0, max(self.times.max() - step, 0.0))
    units, place = np.unique(np.round(begins, 6), return_inverse=True)
    self.places = place.reshape(begins.shape)                               # [C, L] units of every item
    self.events = [(time, unit, not self.flow) for unit, time in enumerate(units)]
    if self.flow:
      self.events += [(time + step, unit, True) for unit, time in enumerate(units)]
    self.step = np.diff(units).min(initial=self.every)
    self.seen, self.kept, self.lonely, self._next = set(), [], 0, 0
    self._cuts = recipe.region in ("person", "pose")
    self._discards = self._cuts and recipe.person.get("missing") == "discard"
    self._begun, self._ready, self._missing = {}, {}, []
    self._found: tuple = (None, None)
    self._image: tuple = (None, None)

  def take(self, unit: int, ends: bool, picture: videos_of.Picture) -> Iterator[np.ndarray]:
    """Takes a picture: of a flow, where it begins or `ends`. Yields items that are then complete, `[L, S, S, c]`."""
    self.seen.add(picture.number)
    if self._image[0] != picture.number:
      self._image = (picture.number, self._look(picture))
    image = self._image[1]
    if not ends:
      self._begun[unit] = image
    elif self.flow:
      yield from self._complete(unit, self._crop(flows.tv_l1(self._begun.pop(unit), image)))
    elif image is None:
      self.lonely += 1
      if self._discards:
        yield from self._complete(unit, None)
      else:
        self._missing.append(unit)
    else:
      yield from self._fill(unit, image)
      yield from self._complete(unit, image)

  def finish(self) -> Iterator[np.ndarray]:
    """Yields the items that wanted a later picture.

    Raises:
      ValueError: if no picture shows a person.
    """
    yield from self._fill(None, None)
    if not self.kept:
      raise ValueError(f"no person found in any of its {len(self.times)} frames.")

  def rows(self) -> tuple[np.ndarray, None, float]:
    """Returns (`[rows]` seconds of the rows that came, None: all of them show something, seconds from one to the next).
    """
    return self.times[self.kept, -1], None, self.every * (len(self.times) / len(self.kept))

  def places_in_picture(self) -> dict[str, np.ndarray]:
    """Returns arrays that go beside the rows: none."""
    return {}

  def check_pictures(self) -> None:
    """Raises a `ValueError` if the video has too few pictures for what is made of them."""
    least = max(2, self.times.shape[1]) if self.recipe.sampling.plan == "snippets" else 2
    if len(self.seen) < min(least, len(self.events)):
      raise ValueError(f"holds {len(self.seen)} picture{'s'[: len(self.seen) != 1]} and at least {least} are needed; "
                       "give a longer video.")

  def warnings(self, where: str) -> Iterator[str]:
    """Says what must be known of the stream."""
    wanted = len({round(time, 3) for time, *_ in self.events})
    if len(self.seen) < 0.9 * wanted:
      yield (f"{where}{wanted} pictures are wanted but only {len(self.seen)} different ones are there; they repeat")
    if self.lonely:
      yield (f"{where}{self.lonely} of {len(self.times)} frames have no person found at their time; "
             + ("they are discarded, and the times of the others are known as a mean only" if self._discards else
                "that of the nearest time stands in"))
    if self._cuts:
      for note in self.persons.notes(self.video):
        yield where + note

  def _fill(self, unit: Any, image: Any) -> Iterator[np.ndarray]:
    """Frames without a person take the nearest one that has one."""
    before, earlier = self._found
    for missing in self._missing:
      nearer = earlier if image is None or (earlier is not None and missing - before <= unit - missing) else image
      yield from self._complete(missing, nearer)
    self._missing, self._found = [], (unit, image)

  def _complete(self, unit: int, value: Any) -> Any:
    self._ready[unit] = value
    while self._next < len(self.places) and self.places[self._next, -1] <= unit:
      pictures = [self._ready[i] for i in self.places[self._next]]
      if all(picture is not None for picture in pictures):
        self.kept.append(self._next)
        yield np.stack(pictures)
      self._next += 1
      oldest = self.places[self._next, 0] if self._next < len(self.places) else unit + 1
      for old in [i for i in self._ready if i < oldest]:
        del self._ready[old]

  def _look(self, picture: videos_of.Picture) -> np.ndarray | None:
    """The image that a picture gives: `[S, S, 3]`, or None without a person; of a flow `[H, W]`, before it is cut."""
    side = self.recipe.crop
    if self._cuts:
      box, away = self.persons.largest(self.video, picture)
      elsewhere = away > max(0.5 * self.step, 0.05)
      if box is None or elsewhere and self._discards:
        return None
      self.lonely += elsewhere
      (left, top), (right, bottom) = np.floor(box[:2]).astype(int).clip(0), np.ceil(box[2:]).astype(int).clip(0)
      cut = picture.image()[top: bottom, left: right]
      if not cut.size:
        raise ValueError(f"the box of a person ({', '.join(f'{x:g}' for x in box)}) lies outside the picture of "
                         f"{picture.size[0]} x {picture.size[1]}; boxes are in its pixels.")
      return videos_of.resize(cut, side, side)
    if self.recipe.region == "frame":
      image = picture.image(side, side)
    else:
      image = picture.image(*videos_of.scale_short_side(self.recipe.short_side)(*picture.size))
    return flows.gray(image) if self.flow else self._crop(image)

  def _crop(self, image: np.ndarray) -> np.ndarray:
    return videos_of.center_crop(image, self.recipe.crop)


def decode_one(path: str | os.PathLike[str], video: str, config: ConfigDict, persons: object,
               send: Callable[[str, Any], object]) -> None:
  """Sends the items of all streams of a video in chunks, then what is known of it.

  Args:
    path: of the file.
    video: its name.
    config: the recipe.
    persons: see `Stream`.
    send: called with ("planned", {stream: (rows, pictures of a row)}), which begins anew where the file ends early;
      ("items", (stream, number of the first row, `[n, L, S, S, c]`)); ("alive", None) now and then; and at last
      ("done", {"row_seconds", "times" of the rows that came, "seen": whether they show anybody where that is asked, all
      by stream, "places" in the picture, see `jaxskill.extract.pose.points`, and "warnings"}) or ("failed", why).
  """
  try:
    send("done", _decode(path, video, config, persons, send, _Alive(send)))
  except Exception as error:   # pylint: disable=broad-except   whatever a codec raises costs this video alone
    why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    send("failed", why.removeprefix(f"{path}: "))


class _Alive:
  """Says that the decoder is at work, when it has said nothing for a while."""

  def __init__(self, send: Callable[..., Any]) -> None:
    self._send, self._spoken = send, clock.monotonic()

  def __call__(self) -> None:
    if clock.monotonic() - self._spoken >= ALIVE:
      self._send("alive", None)
      self._spoken = clock.monotonic()


def _decode(path: str | os.PathLike[str], video: str, config: ConfigDict, persons: Any, send: Callable[..., Any],
            alive: _Alive) -> dict[str, Any] | None:
  """Sends all items of a video; returns what is known of it."""
  timeline = read_timeline(path)
  seconds, warnings = timeline.seconds, list(timeline.warnings)
  while True:
    streams = make_streams(config, video, seconds, timeline.rate, persons)
    send("planned", {name: stream.places.shape for name, stream in streams.items()})
    faults, last = [], 0.0
    if _one_pass(path, timeline, streams, send, alive, faults):
      break
    for picture in videos_of.pictures(path, timeline=timeline):
      last = max(last, picture.time)
      alive()
    if not 0 < last < seconds:
      raise ValueError("not a single clip can be decoded; the file is damaged.")
    warnings.append(f"damaged: of {seconds:.2f} s only the first {last:.2f} can be decoded")
    seconds = last
  warnings += videos_of.damage(faults)
  for name, stream in streams.items():
    warnings += stream.warnings(f"stream {name}: " if len(streams) > 1 else "")
  rows = {name: stream.rows() for name, stream in streams.items()}
  places = [stream.places_in_picture() for stream in streams.values()]
  return dict(row_seconds={name: apart for name, (_, _, apart) in rows.items()}, warnings=warnings,
              times={name: times for name, (times, _, _) in rows.items()},
              seen={name: seen for name, (_, seen, _) in rows.items() if seen is not None}, places=places[0])


def make_streams(config: ConfigDict, video: str, seconds: float, rate: float, persons: Any) -> dict[str, Any]:
  """Returns {name: what a stream takes of a video}, see `Stream` and `jaxskill.extract.pose.streams`."""
  if poses.is_one(config):
    return pose_streams.make(config, video, seconds, rate, persons)
  return {name: Stream(recipe, video, seconds, persons) for name, recipe in config.streams.items()}


def _one_pass(path: str | os.PathLike[str], timeline: Timeline, streams: Mapping[str, Stream], send: Callable[..., Any],
              alive: _Alive, faults: list[str]) -> bool:
  """Decodes the file once and sends the items of all streams; whether they are all there."""
  chunks, sent = {name: [] for name in streams}, dict.fromkeys(streams, 0)

  def put(name: str, items: Iterator[Any], all_of_them: bool = False) -> None:
    for item in items:
      chunks[name].append(item)
      if len(chunks[name]) == streams[name].recipe.batch:
        flush(name)
    if all_of_them and chunks[name]:
      flush(name)

  def flush(name: str) -> None:
    send("items", (name, sent[name], np.stack(chunks[name])))
    sent[name] += len(chunks[name])
    chunks[name] = []
  events = sorted((*event, name) for name, stream in streams.items() for event in stream.events)
  ticks = [(time, -1, False, "") for time in np.arange(0, events[-1][0], _TICK)]          # between distant pictures
  events = sorted(events + ticks)
  shown, done = videos_of.pictures_at(path, [time for time, *_ in events], faults, timeline), 0
  for (_, unit, ends, name), picture in zip(events, shown):
    if name:
      put(name, streams[name].take(unit, ends, picture))
    done += 1
    alive()
  if done < len(events):
    return False
  for name, stream in streams.items():
    put(name, stream.finish(), all_of_them=True)
    stream.check_pictures()
  return True
