"""The video beside a page: a hard link to it, a copy, or one made anew; and when its pictures are shown."""

from __future__ import annotations

import contextlib
import fractions
import hashlib
import importlib.util
import pathlib
import shutil
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from jaxskill import written
from jaxskill.assess.faces import Faces
from jaxskill.data.video import containers, decoding, timeline, video_files

# What all browsers of today play, by the family of the file; others get a copy made anew.
PLAYED = {".mp4": ("h264", "vp9", "av1"), ".webm": ("vp8", "vp9", "av1")}
COLORS = ("yuv420p", "yuvj420p")
ENCODERS = dict(libx264=".mp4", libopenh264=".mp4")
ENCODERS["libvpx-vp9"] = ".webm"
TALLEST = 720         # short side of a copy made anew
TICKS = 90_000        # of its clock, a second


class Film(NamedTuple):
  """A video beside a page.

  Attributes:
    file: its name in the folder of the page.
    note: what of `texts.TEXTS` is said of it, "" for nothing.
    offset: where a browser's clock stands at the first picture, in seconds; answers count from there.
    shown: {"first" seconds of a picture, "count", "step" seconds from each to the next}, or {"times"} of all; {} if not
      known.
    digest: SHA-256 of the file that was given.
  """

  file: str
  note: str
  offset: float
  shown: dict[str, Any]
  digest: str


def names(name: str) -> list[str]:
  """Returns what the file of a video may be called beside a page, `name` and an ending."""
  return [f"{name}{ending}" for ending in PLAYED]


def place(source: pathlib.Path, record: written.Record, name: str, how: str,
          faces: Faces | None = None) -> Film | None:
  """Puts a video beside a page, see `arguments.Pages`; what an earlier answer put there by this name goes.

  Args:
    record: of the folder; name: of the file in it, without its ending.
    faces: what blurs faces: then the film is always made anew.

  Returns:
    The `Film`; None where none is wanted, or the source is no film.

  Raises:
    ValueError, OSError: if it cannot be read, or written, or would take the place of a file that is none of ours.
  """
  film = None
  if how != "none" and is_film(source):
    check(record, name, [source.resolve()])
    film = _placed(source, record, name, how, faces)
  if film or how == "none":                       # where the source has gone, what is there may be the last of it
    record.remove(*(other for other in names(name) if film is None or other != film.file))
  return film


def is_film(source: pathlib.Path) -> bool:
  """Returns whether a file is a video that can be looked into."""
  return source.is_file() and not video_files.why_no_video(source)


def check(record: written.Record, name: str, sources: Collection[pathlib.Path]) -> None:
  """Raises a `ValueError` if the file of a video beside a page would be one of these, resolved, or another user's."""
  for target in names(name):
    if (record.folder / target).resolve() in sources:
      raise ValueError(f"{record.folder / target} is itself a video that is asked for, and the film of a page would "
                       "take its place; give another --out, or move it.")
  record.check(*names(name))


def _placed(source: pathlib.Path, record: written.Record, name: str, how: str, faces: Faces | None) -> Film:
  """See `place`; of a film."""
  with open(source, "rb") as file:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
  if faces is None and importlib.util.find_spec("av") is None:
    ending = ".webm" if source.suffix.lower() == ".webm" else ".mp4"
    _put(source, record, f"{name}{ending}", how)
    return Film(f"{name}{ending}", "unsure_film", 0.0, {}, digest)
  import av
  try:
    return _played_or_proxy(source, record, name, how, digest, faces)
  except av.error.FFmpegError as error:           # some are neither a ValueError nor an OSError
    raise ValueError(f"{source}: FFmpeg cannot make the film of its page ({error}); give --videos none.") from error


def _played_or_proxy(source: pathlib.Path, record: written.Record, name: str, how: str, digest: str,
                     faces: Faces | None) -> Film:
  """See `place`; of a film, by what PyAV finds in it."""
  times = timeline.read_timeline(source)
  shown = np.sort(times.times[~times.hidden & np.isfinite(times.times)])
  ending, offset = _played(source, times.stream)
  if ending and faces is None:
    _put(source, record, f"{name}{ending}", how)
    return Film(f"{name}{ending}", "", offset, _regular(shown), digest)
  note = "proxy" if faces is None else "blurred" if faces.others else "blurred_one"
  return Film(_encode(source, record, name, faces), note, 0.0, _regular(shown), digest)


def _put(source: pathlib.Path, record: written.Record, name: str, how: str) -> None:
  """Makes a hard link to a file, or a copy where that cannot be."""
  if how == "link":
    with contextlib.suppress(OSError), record.writing(name, link=True) as path:
      path.hardlink_to(source.resolve())
    if name in record.new:
      return
  with record.writing(name) as path:
    shutil.copyfile(source, path)


def _played(path: pathlib.Path, number: int) -> tuple[str, float]:
  """Returns the ending under which browsers play a file, "" if they do not, and its `Film.offset`."""
  with containers.open_file(path) as container:
    stream, names = containers.video_stream(container, number), container.format.name.split(",")
    ending = ".mp4" if "mp4" in names else ".webm" if "webm" in names and path.suffix.lower() == ".webm" else ""
    known = stream.codec_context.name.removeprefix("lib") in PLAYED.get(ending, ()) or (
        stream.codec_context.codec.canonical_name in PLAYED.get(ending, ()))
    if not known or stream.codec_context.pix_fmt not in COLORS:
      return "", 0.0
    first = float((stream.start_time or 0) * (stream.time_base or 0))
    return ending, first - min((container.start_time or 0) / 1e6, 0.0)


def _regular(times: np.ndarray) -> dict[str, Any]:
  """Returns times of pictures as `Film.shown`: three numbers where they are even, to two milliseconds, else all."""
  if len(times) > 1:
    step = (times[-1] - times[0]) / (len(times) - 1)
    if np.abs(times - (times[0] + step * np.arange(len(times)))).max() < 0.002:
      return dict(first=float(times[0]), count=len(times), step=float(step))
  return dict(times=times.round(3).tolist())


def _encode(source: pathlib.Path, record: written.Record, name: str, faces: Faces | None) -> str:
  """Writes the pictures of a video at their times, upright, without sound and metadata; returns the file's name."""
  import av
  codec = next((name for name in ENCODERS if name in av.codecs_available), "")
  if not codec:
    raise ValueError(f"{source}: must be written anew, and this PyAV cannot write a format that browsers play; "
                     "install PyAV's own wheel, or give --videos none.")
  target, stream = f"{name}{ENCODERS[codec]}", None
  with record.writing(target) as path, av.open(str(path), "w", format=ENCODERS[codec][1:],
                                               options={"movflags": "+faststart"}) as container:
    for picture in decoding.pictures(source):
      if stream is None:
        scale = min(1.0, TALLEST / min(picture.size))
        width, height = (2 * max(1, round(side * scale / 2)) for side in picture.size)
        stream = _stream(container, codec, width, height)
      image = picture.image(width, height)
      frame = av.VideoFrame.from_ndarray(faces.hidden(image, picture.time) if faces else image, "rgb24")
      frame.pts, frame.time_base = round(picture.time * TICKS), fractions.Fraction(1, TICKS)
      container.mux(stream.encode(frame))
    if stream is not None:
      container.mux(stream.encode())
  return target


def _stream(container: Any, codec: str, width: int, height: int) -> Any:
  """Adds a stream of pictures to a file that is written."""
  stream = container.add_stream(codec, rate=30)
  stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
  stream.codec_context.time_base = fractions.Fraction(1, TICKS)
  stream.codec_context.gop_size = 15                       # a player jumps fast
  stream.options = {"crf": "23", "preset": "veryfast", "bf": "0"} if codec == "libx264" else {}
  return stream
