"""Which files of a folder are videos: those in which FFmpeg finds a film, whatever their ending.

A file whose ending is that of a video is always one, so that a damaged one is reported as such. Of all others the
content decides; texts, tables, arrays, single pictures and sound are left out, and the caller tells the user of them.
Hidden files that are no videos, such as the `._*` of Macs, are passed over.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping

from jaxskill import written
from jaxskill.data.video import containers, timeline
from jaxskill.data.video.decoding import ENDINGS, require_av
from jaxskill.data.video.video_names import plain
from jaxskill.files import UNFINISHED

_UNSURE = (".ts", ".gif", ".mod")                 # also of programs, single pictures and music
_ARRAYS = (b"\x93NUMPY", b"PK\x03\x04", b"\x1f\x8b", b"\x89HDF", b"%PDF", b"\x80\x02", b"\x80\x03", b"\x80\x04",
           b"\x80\x05")
_PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")
OURS = "of a page of an earlier answer"
SHOWN = 8                                         # names of files left out that are printed for each reason


def find_videos(folder: str | os.PathLike[str]) -> tuple[dict[str, pathlib.Path], dict[str, str]]:
  """Finds the videos of a folder and those below it.

  Args:
    folder: links to folders are followed; or a single file, which is a video.

  Returns:
    ({name of the video without its ending: file}, {file that is left out, as seen from the folder: why}).

  Raises:
    ValueError: if the folder cannot be read, holds no video, or two of one name.
  """
  folder = pathlib.Path(folder)
  if folder.is_file():
    return {name_of(folder): folder}, {}
  if not folder.is_dir():
    raise ValueError(f"{folder}: no such folder of videos.")
  found, left_out, failed = {}, {}, []
  for place, folders, files in os.walk(folder, onerror=failed.append, followlinks=True):
    folders[:] = sorted(name for name in folders if not _leads_back(pathlib.Path(place, name)))
    record = written.Record(pathlib.Path(place))
    for file in sorted(pathlib.Path(place) / name for name in files if not name.endswith(UNFINISHED)):
      inside = file.relative_to(folder)
      why = why_no_video(file) or (OURS if record.is_ours(file.name) else "")
      if why:
        if not file.name.startswith("."):
          left_out[inside.as_posix()] = why
        continue
      name = plain(inside.with_name(name_of(file)).as_posix())
      if name in found:
        raise ValueError(f"{folder}: {found[name].name} and {file.name} are two videos of one name; rename one.")
      found[name] = file
  if failed:
    raise ValueError(f"{failed[0].filename}: cannot be read ({failed[0].strerror}); change its permissions, or move it."
                     ) from failed[0]
  if not found:
    others = "; ".join(describe(left_out))
    raise ValueError(f"{folder}: holds no video that FFmpeg can read{': ' + others if others else ''}. Give a folder "
                     "of films (mp4, mov, avi, MTS and others).")
  return dict(sorted(found.items())), left_out


def _leads_back(folder: pathlib.Path) -> bool:
  """Returns whether a folder is a link to one of those that it lies in."""
  return folder.is_symlink() and folder.resolve() in {above.resolve() for above in folder.parents}


def name_of(file: pathlib.Path) -> str:
  """Returns a file's name without its ending: that of a video, or up to four letters and digits, no number."""
  name = plain(file.name)
  stem, dot, ending = name.rpartition(".")
  known = f".{ending.lower()}" in ENDINGS or re.fullmatch(r"(?=.*[A-Za-z])\w{1,4}", ending, re.ASCII)
  return plain(stem) if dot and stem and known else name


def find_video(place: pathlib.Path) -> pathlib.Path | None:
  """Returns the video file at a place whose ending may be left out, or None."""
  if place.is_file() and not why_no_video(place):
    return place
  for ending in ENDINGS:
    if (file := place.with_name(place.name + ending)).is_file():
      return file
  if not place.parent.is_dir():
    return None
  of_name = (file for file in sorted(place.parent.iterdir()) if name_of(file) == plain(place.name)
             and file.is_file())
  return next((file for file in of_name if not why_no_video(file)), None)


def why_no_video(file: pathlib.Path) -> str:
  """Returns why a file is no video, in a few words; "" if it is one."""
  ending, hidden = file.suffix.lower(), file.name.startswith("._")
  if file.exists() and not file.is_file():
    return "no plain file"                        # a pipe would wait for its writer
  if ending in ENDINGS and ending not in _UNSURE and not hidden:
    return ""
  try:
    with open(file, "rb") as opened:
      head = opened.read(4096)
  except OSError as error:
    return "" if ending in ENDINGS else f"cannot be read ({error.strerror})"
  if not head:
    return "" if ending in ENDINGS and not hidden else "empty file"
  if containers.is_text(head):
    return "text"
  if head.startswith(_ARRAYS):
    return "array, archive or document"
  if ending in _PICTURE_ENDINGS and head.startswith(_PICTURES) and b"acTL" not in head or head[8:12] == b"WEBP":
    return "single picture"                       # there may be thousands: FFmpeg is not asked
  return _why_no_film(file, ending in ENDINGS and not hidden)


def _why_no_film(file: pathlib.Path, named_so: bool) -> str:
  """The same by what FFmpeg finds in it; `named_so`: it has the ending of a video, so that its faults are reported."""
  require_av()
  import av
  try:
    with containers.open_file(file) as container:
      stills = {stream.index for stream in container.streams.video
                if not stream.codec_context or not stream.codec_context.width or timeline.is_cover(stream)}
      if stills == {stream.index for stream in container.streams.video}:
        return "sound with a cover picture" if container.streams.audio else "no film that FFmpeg can read"
      counts = {}
      for packet in timeline.demux(container, container.streams.video):
        counts[packet.stream_index] = counts.get(packet.stream_index, 0) + (not timeline.is_flush(packet))
        if packet.stream_index not in stills and counts[packet.stream_index] > 1:
          return ""
      return "" if named_so and container.format.name != "gif" else "single picture"
  except containers.VideoError as error:
    if named_so or "'moov'" in str(error):
      return ""
    return "sound" if "holds audio" in str(error) else "no film that FFmpeg can read"
  except (av.error.FFmpegError, ValueError):
    return "" if named_so else "no film that FFmpeg can read"


def describe(left_out: Mapping[str, str]) -> list[str]:
  """Returns a line for each reason for which files were left out: how many, and the first of them."""
  reasons = {}
  for file, why in left_out.items():
    reasons.setdefault(why, []).append(file)
  lines = []
  for why, files in reasons.items():
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    lines.append(f"left out, {why}: {', '.join(files[:SHOWN])}{more}")
  return lines
