"""Files by their addresses: paths on a disk, and what Beam's own file systems read, as gs://bucket/folder.

A file on a disk takes its place when it is whole. Elsewhere it is an object, handed over whole: it is made in memory
first, and written again it is the same. Nothing is renamed or appended to there. Who asks for an object needs Beam.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import IO, Any

from jaxskill import files
from jaxskill.data.video import video_files
from jaxskill.data.video.decoding import ENDINGS
from jaxskill.data.video.video_names import plain

NO_ENDING = "without the ending of a video, which decides where files are not opened to look"


def is_local(address: str) -> bool:
  """Returns whether an address is a path on a disk."""
  return "://" not in address


def absolute(address: str) -> str:
  """Returns an address that is the same from every folder, without a slash at its end."""
  return os.path.abspath(address) if is_local(address) else address.rstrip("/")


def use(options: Any) -> None:
  """Has Beam's file systems heed the options of a pipeline, such as regions and keys."""
  _beam().set_options(options)


def names(folder: str) -> set[str]:
  """Returns the paths of all files below a folder, as seen from it."""
  if is_local(folder):
    return {path.relative_to(folder).as_posix() for path in pathlib.Path(folder).rglob("*") if path.is_file()}
  found = _beam().match([f"{folder}/**"])[0].metadata_list
  return {one.path[len(folder) + 1:] for one in found if not one.path.endswith("/")}


def exists(folder: str, name: str) -> bool:
  """Returns whether a folder holds a file."""
  return os.path.isfile(f"{folder}/{name}") if is_local(folder) else _beam().exists(f"{folder}/{name}")


def read(folder: str, name: str) -> bytes | None:
  """Returns the content of a file in a folder; None if there is none."""
  if not exists(folder, name):
    return None
  with _opened(f"{folder}/{name}") as file:
    return file.read()


@contextlib.contextmanager
def writing(folder: str | os.PathLike[str], name: str) -> Iterator[IO[bytes]]:
  """Opens a file in a folder for bytes; it is there when the body has ended well, and else not.

  Raises:
    OSError: if it cannot be written.
  """
  address = f"{os.fspath(folder)}/{name}"
  if is_local(address):
    path = pathlib.Path(address)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.writing(path) as file:
      yield file
    return
  content = io.BytesIO()
  yield content
  from apache_beam.io.filesystem import CompressionTypes
  with _beam().create(address, compression_type=CompressionTypes.UNCOMPRESSED) as file:
    file.write(content.getvalue())


def write(folder: str, name: str, content: bytes) -> None:
  """Writes a file in a folder, whole; raises an `OSError` if it cannot be written."""
  with writing(folder, name) as file:
    file.write(content)


def fetch(address: str, folder: pathlib.Path) -> pathlib.Path:
  """Copies a file into a local folder, and returns where it lies there, under its own name.

  Raises:
    OSError: if it cannot be read.
  """
  path = folder / address.rpartition("/")[2]
  with _opened(address) as source, open(path, "wb") as target:
    shutil.copyfileobj(source, target, 1 << 20)
  return path


def find_videos(place: str) -> tuple[dict[str, str], dict[str, str]]:
  """Finds the videos of a folder and those below it, or one file; elsewhere than on a disk by their endings alone.

  Returns:
    ({name of the video without its ending: address}, {file that is left out, as seen from the folder: why}).

  Raises:
    ValueError: if there is none, or two of one name.
  """
  if is_local(place):
    paths, left_out = video_files.find_videos(place)
    return {video: str(path) for video, path in paths.items()}, left_out
  folder, _, last = place.rpartition("/")
  if _is_video(last) and exists(folder, last):
    return {plain(video_files.name_of(pathlib.Path(last))): place}, {}
  found, left_out = {}, {}
  for name in sorted(names(place)):
    inside = pathlib.PurePosixPath(name)
    if inside.name.startswith("."):
      continue
    if not _is_video(inside.name):
      left_out[name] = NO_ENDING
      continue
    video = plain(inside.with_name(video_files.name_of(pathlib.Path(inside.name))).as_posix())
    if video in found:
      raise ValueError(f"{place}: {found[video]} and {name} are two videos of one name; rename one.")
    found[video] = name
  if not found:
    raise ValueError(f"{place}: holds no video ({', '.join(ENDINGS[:5])} and others); give the address of a folder of "
                     "films.")
  return {video: f"{place}/{name}" for video, name in found.items()}, left_out


def _is_video(name: str) -> bool:
  return name.lower().endswith(ENDINGS)


def _opened(address: str) -> Any:
  if is_local(address):
    return open(address, "rb")
  from apache_beam.io.filesystem import CompressionTypes
  return _beam().open(address, compression_type=CompressionTypes.UNCOMPRESSED)


def _beam() -> Any:
  """Returns Beam's file systems, which take a second to import and are an extra."""
  from apache_beam.io.filesystems import FileSystems
  return FileSystems
