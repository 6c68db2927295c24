"""Frames of video files, sampled by time: any frame rate, turned and mirrored pictures, oblong pixels, damaged files.

Needs PyAV (pip install 'jaxskill[video]'). Times are seconds from the first frame, see `jaxskill.data.video.timeline`.
A picture is converted to RGB only where it is looked at, which costs more than to decode it.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxskill.data.video.containers import VideoError, open_file, video_stream
from jaxskill.data.video.timeline import Timeline, demux, is_flush, read_timeline

ENDINGS = (".mp4", ".m4v", ".mov", ".qt", ".avi", ".divx", ".mkv", ".webm", ".mpg", ".mpeg", ".m1v", ".m2v", ".mpv",
           ".vob", ".mod", ".tod", ".wmv", ".asf", ".flv", ".f4v", ".ts", ".mts", ".m2t", ".m2ts", ".3gp", ".3g2",
           ".ogv", ".dv", ".mxf", ".rm", ".rmvb", ".insv", ".lrv", ".y4m", ".ivf", ".nut", ".wtv", ".mjpg", ".mjpeg",
           ".h264", ".264", ".h265", ".265", ".hevc", ".gif")
_EPS = 1e-4                               # seconds; time stamps are rounded to a millisecond or finer
_LATE = 0.5                               # seconds without a picture at the beginning that are told


class Frame(NamedTuple):
  """One picture and the time from which it is shown."""

  time: float
  image: np.ndarray          # [H, W, 3] uint8, RGB, upright


def require_av() -> None:
  """Raises a `ValueError` where PyAV is missing."""
  if importlib.util.find_spec("av") is None:
    raise ValueError("reading videos needs PyAV, which is not installed: pip install 'jaxskill[video]'.")


class Said(str):
  """A whole sentence for the user, among the faults of packets."""


class Picture:
  """A decoded picture, upright and of square pixels, as a player shows it.

  Attributes:
    time: seconds from which it is shown.
    number: of the picture in the file, from 0.
    rate: pictures a second, on average.
    size: (width, height).
  """

  def __init__(self, frame: Any, time: float, number: int, rate: float, aspect: float = 1.0) -> None:
    """
    Args:
      frame: of PyAV.
      time, number, rate: see above.
      aspect: width of a stored pixel by its height.
    """
    self.time, self.number, self.rate = time, number, rate
    self._frame, self._turned = frame, _turn(frame)
    wide, high = max(1, round(frame.width * aspect)), frame.height
    self.size = (high, wide) if self._turned[0] else (wide, high)
    self._images = {}

  def image(self, width: int | None = None, height: int | None = None) -> np.ndarray:
    """Returns `[height, width, 3]` uint8, RGB; scaled where a size is given, once for each size.

    Raises:
      VideoError: if it cannot be converted.
    """
    import av
    size = (width or self.size[0], height or self.size[1])
    if size not in self._images:
      swapped, mirrored, upturned = self._turned
      wide, high = size[::-1] if swapped else size
      try:
        image = self._frame.reformat(wide, high, "rgb24").to_ndarray()
      except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"a picture cannot be converted to RGB ({error}).") from error
      image = image.swapaxes(0, 1) if swapped else image
      self._images[size] = image[:: -1 if upturned else 1, :: -1 if mirrored else 1]
    return self._images[size]


def _turn(frame: Any) -> tuple[bool, bool, bool]:
  """(whether rows and columns change places, whether the result is mirrored, whether it is upside down) of a frame.

  A display matrix (a, b, u, c, d, v, x, y, w) shows the pixel (x, y) at (a x + c y, b x + d y). It turns by quarters
  and may mirror as well, as of a phone's front camera; other angles are rounded.
  """
  matrix = frame.side_data.get("DISPLAYMATRIX")
  if matrix is None:
    return False, False, False
  a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
  return (True, c < 0, b < 0) if abs(int(b)) > abs(int(a)) else (False, a < 0, d < 0)


def _aspect(stream: Any) -> float:
  """Width of a pixel by its height; 1 where the file does not say, or what cannot be."""
  aspect = float(stream.sample_aspect_ratio or 1)
  return aspect if 0.1 < aspect < 10 else 1.0


def pictures(path: str | os.PathLike[str], faults: list[str] | None = None,
             timeline: Timeline | None = None) -> Iterator[Picture]:
  """Yields every `Picture` of a video in the order of time; what cannot be decoded is passed over.

  Args:
    path: of the file.
    faults: a list that gets an entry for every packet that could not be decoded, see `damage`.
    timeline: of the file, where it is known already.

  Raises:
    VideoError: if the file is no video.
  """
  timeline, faults = timeline or read_timeline(path), [] if faults is None else faults
  with open_file(path) as container:
    stream = video_stream(container, timeline.stream)
    stream.thread_type, aspect, number = "AUTO", _aspect(stream), 0
    clock = _Clock(timeline)
    for frame in _frames(container, stream, faults):
      time = clock.read(frame)
      if time is None:
        continue
      if not number and time > _LATE:
        faults.append(Said(f"damaged: the first {time:.2f} s cannot be decoded; the first picture after them stands in "
                           "their place"))
      if time < clock.last - _EPS and not clock.late:
        clock.late = True
        faults.append(Said("damaged: time stamps go back; where they do, pictures are passed over"))
      clock.last = time = max(time, clock.last)
      yield Picture(frame, time, number, timeline.rate, aspect)
      number += 1


class _Clock:
  """Tells when decoded frames are shown, by the packets that they come from."""

  def __init__(self, timeline: Timeline) -> None:
    self._timeline, self._rank = timeline, 0
    self._before = np.cumsum(~timeline.hidden) - ~timeline.hidden            # [N] pictures of the packets before
    self._sorted = np.sort(timeline.times[np.isfinite(timeline.times)])
    self.last, self.late = 0.0, False
    self._offset: float | None = None

  def read(self, frame: Any) -> float | None:
    """Seconds, or None for a frame that is not to be shown."""
    if frame.opaque is None:                 # of a decoder that does not pass it on
      return self.last + 1 / self._timeline.rate if frame.time is None else frame.time + self._shift(frame.time)
    packet, = frame.opaque
    if self._timeline.hidden[packet]:
      return None
    if self._timeline.ranked:
      # All packets before a key frame are shown before it: where some were lost, the count is right again here.
      rank = max(self._rank, int(self._before[packet])) if frame.key_frame else self._rank
      self._rank = rank + 1
      return float(self._sorted[min(rank, len(self._sorted) - 1)])
    time = float(self._timeline.times[packet])
    return time if np.isfinite(time) else self.last + 1 / self._timeline.rate

  def _shift(self, time: float) -> float:
    """Returns seconds from a decoder's own times to those of the axis: the first frame is at 0."""
    if self._offset is None:
      self._offset = -time
    return self._offset


def damage(faults: Sequence[str]) -> list[str]:
  """Returns the sentences for a user on the faults that `pictures` found."""
  said = [str(fault) for fault in faults if isinstance(fault, Said)]
  packets = len(faults) - len(said)
  return list(dict.fromkeys(said)) + ([f"damaged: {packets} packets could not be decoded; the picture before stays in "
                                       "their place"] if packets else [])


def decode(path: pathlib.Path, size: Callable[[int, int], tuple[int, int]] | None = None,
           faults: list[str] | None = None) -> Iterator[Frame]:
  """Yields every `Frame` of a video, see `pictures`.

  Args:
    size: (width, height) of an upright picture -> (width, height) to scale to; None keeps the size.
  """
  faults = [] if faults is None else faults
  for picture in pictures(path, faults):
    try:
      yield Frame(picture.time, picture.image(*size(*picture.size) if size else ()))
    except VideoError as error:
      faults.append(str(error))


def _frames(container: Any, stream: Any, faults: list) -> Iterator[Any]:
  """Frames as the decoder gives them, each with the number of its packet; faults of packets are noted."""
  import av
  from av.codec.context import Flags
  stream.codec_context.flags |= Flags.copy_opaque.value
  packets, number = demux(container, [stream]), 0
  while True:
    try:
      packet = next(packets)
    except StopIteration:
      return
    except av.error.FFmpegError as error:                   # the file itself cannot be read further
      faults.append(str(error))
      return
    if not is_flush(packet):
      packet.opaque, number = (number,), number + 1         # PyAV tells objects apart by their address: a new one each
    try:
      yield from packet.decode()
    except av.error.FFmpegError as error:
      faults.append(str(error))


def pictures_at(path: str | os.PathLike[str], times: Iterable[float], faults: list[str] | None = None,
                timeline: Timeline | None = None) -> Iterator[Picture]:
  """Yields the `Picture` that is shown at each of some times, ascending; ends early where the file does.

  Args:
    path: of the file.
    times: seconds from the first frame, ascending.
    faults, timeline: see `pictures`.
  """
  timeline, times, shown, gap = timeline or read_timeline(path), iter(times), None, 0.0
  wanted = next(times, None)
  for picture in pictures(path, faults, timeline):
    while shown is not None and wanted is not None and wanted < picture.time - _EPS:
      yield shown
      wanted = next(times, None)
    if wanted is None:
      return
    gap = max(gap, picture.time - shown.time) if shown else 0.0
    shown = picture
  if shown is None:
    return
  whole = shown.time > np.nanmax(timeline.times) - _EPS        # the last picture stays as long as the file says
  until = max(shown.time + max(gap, 0.5), timeline.seconds if whole else 0.0)
  while wanted is not None and wanted <= until:
    yield shown
    wanted = next(times, None)


def frames_at(path: pathlib.Path, times: Sequence[float] | np.ndarray,
              size: Callable[[int, int], tuple[int, int]] | None = None, faults: list[str] | None = None,
              timeline: Timeline | None = None) -> Iterator[np.ndarray]:
  """Does as `pictures_at`, but gives images: `[H, W, 3]` uint8; `size` as in `decode`."""
  for picture in pictures_at(path, times, faults, timeline):
    yield picture.image(*size(*picture.size) if size else ())


def scale_short_side(short_side: int) -> Callable[[int, int], tuple[int, int]]:
  """Returns a size for `decode`: the short side is `short_side`, the other one in proportion."""
  def size(width: int, height: int) -> tuple[int, int]:
    factor = short_side / min(width, height)
    return max(short_side, round(width * factor)), max(short_side, round(height * factor))
  return size


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
  """Returns `[size, size, 3]` middle of a picture that is at least as large."""
  top, left = ((n - size) // 2 for n in image.shape[:2])
  return image[top: top + size, left: left + size]


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
  """Scales an RGB image `[H, W, 3]` uint8 to `[height, width, 3]`."""
  import av
  frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
  return frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
