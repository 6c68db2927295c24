"""Files of videos, opened by PyAV or refused in one line: what they are, and what to do.

Needs PyAV (pip install 'jaxskill[video]').
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from av.container import InputContainer
  from av.video.stream import VideoStream

PLAYLISTS = ("hls", "dash", "concat", "sdp", "imf", "webm_dash_manifest")     # they name other files
TEXT_ART = ("tty", "bin", "xbin", "adf", "idf")                               # pictures made of letters
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")      # that mp4 and mov begin with


class VideoError(ValueError):
  """A file that yields no picture."""


def is_text(head: bytes) -> bool:
  """Tells whether the first bytes of a file are text: no control characters. Raw video (y4m) has a line too."""
  controls = set(range(32)) - set(b"\t\n\v\f\r\x1b") | {127}
  return head.startswith((b"\xff\xfe", b"\xfe\xff")) and head[2:3] != b"\xff" or not (
      head.startswith(b"YUV4MPEG2") or controls.intersection(head))


def open_file(path: str | os.PathLike[str]) -> InputContainer:
  """Returns an open PyAV container that has a video stream.

  Raises:
    VideoError: if it is no video.
  """
  import av
  path = Path(path)
  if not path.is_file():
    raise VideoError(f"{path}: there is no such file.")
  with open(path, "rb") as file:
    head = file.read(4096)
  if not head:
    raise VideoError(f"{path}: is empty; copy or download it again.")
  if is_text(head):
    first = head.decode("utf-8", "replace").strip().splitlines()[:1]
    raise VideoError(f"{path}: is not a video but a text that begins with {''.join(first)[:60]!r}; give the video "
                     "itself.")
  try:
    container = av.open(str(path.absolute()))        # a relative name with a colon would be taken for an address
  except (av.error.FFmpegError, OSError, ValueError) as error:
    if missing := _missing_index(path):
      raise VideoError(f"{path}: {missing}") from error
    raise VideoError(f"{path}: is not a video that FFmpeg can read ({error}).") from error
  fault = _fault(container, path)
  if fault:
    container.close()
    raise VideoError(f"{path}: {fault}")
  return container


def video_stream(container: InputContainer, index: int) -> VideoStream:
  """Returns the stream of a video that has an index among all streams of its file."""
  return next(stream for stream in container.streams.video if stream.index == index)


def _fault(container: InputContainer, path: Path) -> str:
  """Why an open container is no film; "" if it may be one."""
  if container.format.name in PLAYLISTS + TEXT_ART:
    return f"is a list or text ({container.format.name}), not a video; give the video itself."
  if container.streams.video:
    return ""
  if missing := _missing_index(path):
    return missing
  kinds = ", ".join(sorted({stream.type for stream in container.streams}))
  if not kinds:
    return "holds no streams, neither pictures nor sound; the file is damaged or not complete: copy it again."
  return f"holds {kinds} but no pictures; give a video."


def boxes(path: Path) -> tuple[list[bytes], bool]:
  """Returns ([kinds of the outer parts of an mp4 or mov file], whether the last one is whole); none of other files."""
  size, place, found = path.stat().st_size, 0, []
  with open(path, "rb") as file:
    while place + 8 <= size:
      file.seek(place)
      head = file.read(16)
      length, kind = int.from_bytes(head[:4], "big"), head[4:8]
      if length == 1:
        length = int.from_bytes(head[8:16], "big")
      if not found and kind not in _BOXES:
        break
      found.append(kind)
      if length < 8 or place + length > size:        # 0 is "to the end of the file"
        return found, False
      place += length
  return found, True


def _missing_index(path: Path) -> str:
  """Returns what to say of an mp4 or mov file whose index, the box `moov`, is missing or cut off; "" of any other."""
  found, whole = boxes(path)
  return "" if not found or b"moov" in (found if whole else found[:-1]) else (
      "its index (the part 'moov') is missing or cut off: the recording was not finished, or the copy is not complete. "
      "Copy it again; if the camera was switched off, a repair tool can rebuild the index from another film of it.")
