"""Frames of video files, sampled by time: constant and variable frame rates, rotation tags, damaged files.

Needs PyAV (pip install 'jaxskill[video]'). Times are seconds from the first frame. A picture is converted to RGB only
where it is looked at, which costs more than to decode it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".gif")
_EPS = 1e-4                               # seconds; time stamps are rounded to a millisecond or finer


class VideoError(ValueError):
  """A file that yields no frame at all."""


class Frame(NamedTuple):
  """One picture and the time from which it is shown."""

  time: float
  image: np.ndarray          # [H, W, 3] uint8, RGB, upright


def require_av():
  """Raises a `ValueError` where PyAV is missing."""
  if importlib.util.find_spec("av") is None:
    raise ValueError("reading videos needs PyAV, which is not installed: pip install 'jaxskill[video]'.")


def _open(path):
  """An open container whose first video stream decodes.

  Raises:
    VideoError: if it is no video.
  """
  import av
  path = Path(path)
  if not path.is_file():
    raise VideoError(f"{path}: there is no such file.")
  if not path.stat().st_size:
    raise VideoError(f"{path}: is empty; copy or download it again.")
  try:
    container = av.open(str(path))
  except (av.error.FFmpegError, OSError, ValueError) as error:
    raise VideoError(f"{path}: is not a video that FFmpeg can read ({error}).") from error
  if not container.streams.video:
    kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    container.close()
    raise VideoError(f"{path}: holds {kinds} but no pictures; give a video.")
  return container


class Length(NamedTuple):
  """How long a video is, in seconds."""

  seconds: float             # from the first frame to the end of the last one that is there
  announced: float           # by the file; the same where it does not say


def length(path) -> Length:
  """Reads the time stamps of a video's packets; nothing is decoded.

  Raises:
    VideoError: if the file is no video or has no frame.
  """
  import av
  with _open(path) as container:
    stream, starts, ends = container.streams.video[0], [], []
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    announced = (container.duration or 0) / av.time_base
    try:
      for packet in container.demux(stream):
        if packet.pts is not None:
          starts.append(float(packet.pts * packet.time_base))
          ends.append(starts[-1] + (float(packet.duration * packet.time_base) if packet.duration else 1 / rate))
    except av.error.FFmpegError:          # cut short; what is there counts
      pass
  if not starts:
    raise VideoError(f"{path}: holds no frame with a time; convert it to mp4 first.")
  seconds = max(ends) - min(starts)
  return Length(seconds, max(announced, seconds))


class Picture:
  """A decoded picture, upright.

  Attributes:
    time: seconds from which it is shown.
    number: of the picture in the file, from 0.
    rate: pictures a second, on average.
    size: (width, height).
  """

  def __init__(self, frame, time, number, rate):
    self.time, self.number, self.rate = time, number, rate
    self._frame, self._turned = frame, round(frame.rotation / 90) % 4       # quarter turns, counter-clockwise
    self.size = (frame.height, frame.width) if self._turned % 2 else (frame.width, frame.height)
    self._images = {}

  def image(self, width=None, height=None):
    """`[height, width, 3]` uint8, RGB; scaled where a size is given, once for each size.

    Raises:
      VideoError: if it cannot be converted.
    """
    import av
    wide, high = size = (width or self.size[0], height or self.size[1])
    if size not in self._images:
      wide, high = (high, wide) if self._turned % 2 else (wide, high)
      try:
        image = self._frame.reformat(wide, high, "rgb24").to_ndarray()
      except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"a picture cannot be converted to RGB ({error}).") from error
      self._images[size] = np.rot90(image, self._turned) if self._turned else image
    return self._images[size]


def pictures(path, faults=None):
  """Yields every `Picture` of a video in the order of time; what cannot be decoded is passed over.

  Args:
    faults: a list that gets an entry for every packet that could not be decoded.

  Raises:
    VideoError: if the file is no video.
  """
  with _open(path) as container:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    first, rate = None, float(stream.average_rate or stream.guessed_rate or 25)
    for number, frame in enumerate(_frames(container, stream, [] if faults is None else faults)):
      time = frame.time if frame.time is not None else (first or 0.0) + number / rate
      first = time if first is None else first
      yield Picture(frame, time - first, number, rate)


def decode(path, size=None, faults=None):
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


def _frames(container, stream, faults):
  """Frames as the decoder gives them; faults of packets are noted."""
  import av
  packets = container.demux(stream)
  while True:
    try:
      packet = next(packets)
    except StopIteration:
      return
    except av.error.FFmpegError as error:                   # the file itself cannot be read further
      faults.append(str(error))
      return
    try:
      yield from packet.decode()
    except av.error.FFmpegError as error:
      faults.append(str(error))


def pictures_at(path, times, faults=None):
  """Yields the `Picture` that is shown at each of some times, ascending; ends early where the file does.

  Args:
    times: seconds from the first frame, ascending.
    faults: see `pictures`.
  """
  times, shown, gap = iter(times), None, 0.0
  wanted = next(times, None)
  for picture in pictures(path, faults):
    while shown is not None and wanted is not None and wanted < picture.time - _EPS:
      yield shown
      wanted = next(times, None)
    if wanted is None:
      return
    gap = max(gap, picture.time - shown.time) if shown else 0.0
    shown = picture
  while shown is not None and wanted is not None and wanted <= shown.time + max(gap, 0.5):      # the last picture stays
    yield shown
    wanted = next(times, None)


def frames_at(path, times, size=None, faults=None):
  """As `pictures_at`, but images: `[H, W, 3]` uint8; `size` as in `decode`."""
  for picture in pictures_at(path, times, faults):
    yield picture.image(*size(*picture.size) if size else ())


def scale_short_side(short_side):
  """For `decode`: scales the short side to `short_side`, the other one in proportion."""
  def size(width, height):
    factor = short_side / min(width, height)
    return max(short_side, round(width * factor)), max(short_side, round(height * factor))
  return size


def centre_crop(image, size):
  """`[size, size, 3]` middle of a picture that is at least as large."""
  top, left = ((n - size) // 2 for n in image.shape[:2])
  return image[top: top + size, left: left + size]


def resize(image, width, height):
  """An RGB image `[H, W, 3]` uint8 -> `[height, width, 3]`."""
  import av
  frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
  return frame.reformat(width, height, "rgb24", interpolation="AREA").to_ndarray()
