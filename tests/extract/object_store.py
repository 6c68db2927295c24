"""What workers of Beam find in tests: an object store, and a network that is none. They import it as Beam's plugin.

An object is there when it is whole; it is never renamed, appended to or on a disk, as far as anybody is to know. All of
them lie in the folder `OBJECTS`; in `WORKERS` each worker writes what it does.
"""

import contextlib
import io
import os
import pathlib
import time
import uuid

from apache_beam.io.filesystem import FileMetadata, FileSystem

from jaxskill.extract import extraction, kinds, local
from tests.extract import pictures

OBJECTS, WORKERS, NAP = "JAXSKILL_TEST_OBJECTS", "JAXSKILL_TEST_WORKERS", "JAXSKILL_TEST_NAP"
SCHEME = "shelf"


class Shelf(FileSystem):
  """shelf://NAME is the file NAME below `OBJECTS`."""

  @classmethod
  def scheme(cls):
    return SCHEME

  def join(self, basepath, *paths):
    return "/".join((basepath, *paths))

  def split(self, path):
    return tuple(path.rsplit("/", 1))

  def has_dirs(self):
    return False

  def exists(self, path):
    return _file(path).is_file()

  def size(self, path):
    return _file(path).stat().st_size

  def last_updated(self, path):
    return _file(path).stat().st_mtime

  def metadata(self, path):
    return FileMetadata(path, self.size(path), self.last_updated(path))

  def open(self, path, mime_type="", compression_type=None):
    return open(_file(path), "rb")

  def create(self, path, mime_type="", compression_type=None):
    return _Object(_file(path))

  def _list(self, dir_or_prefix):
    root = _file(f"{SCHEME}://")
    for file in sorted(root.rglob("*")):
      path = f"{SCHEME}://{file.relative_to(root).as_posix()}"
      with contextlib.suppress(FileNotFoundError):                     # replaced meanwhile
        if path.startswith(dir_or_prefix) and file.is_file() and not file.name.endswith("~"):
          yield self.metadata(path)

  def mkdirs(self, path):
    raise AssertionError("there are no folders")

  def copy(self, source_file_names, destination_file_names):
    raise AssertionError("nothing is copied")

  def rename(self, sources, destinations):
    raise AssertionError("nothing is renamed")

  def delete(self, paths):
    raise AssertionError("nothing is deleted")


class _Object(io.BytesIO):
  """Appears when it is closed."""

  def __init__(self, file):
    super().__init__()
    self._file = file

  def close(self):
    if not self.closed:
      self._file.parent.mkdir(parents=True, exist_ok=True)
      begun = self._file.with_name(f".{uuid.uuid4().hex}~")
      begun.write_bytes(self.getvalue())
      os.replace(begun, self._file)
    super().close()


def _file(path):
  return pathlib.Path(os.environ[OBJECTS], path.removeprefix(f"{SCHEME}://"))


def note(what):
  """Adds a line to what this process has done."""
  if WORKERS in os.environ:
    with open(pathlib.Path(os.environ[WORKERS]) / str(os.getpid()), "a", encoding="utf-8") as file:
      file.write(f"{what}\n")


def load(*arguments):
  """Loads no network, and says so."""
  note("load")
  return pictures.load(*arguments)


KIND = pictures.KIND._replace(load=load)

OF_WORKERS = (*pictures.IN_PROCESS, "--direct_running_mode=multi_processing", "--direct_num_workers=3",
              "--beam_plugins=tests.extract.object_store")


def main():
  """Extracts shelf://videos into shelf://out with three workers; returns the note."""
  return local.run(pictures.config(), "shelf://videos", "shelf://out", "random:0", runner="beam",
                   beam_options=OF_WORKERS, say=print)


if WORKERS in os.environ:                # a worker, and no process of pytest
  kinds.VIDEO, decode_one = KIND, extraction.decode_one

  def noted(path, video, *arguments):
    """Says which video it takes, and takes its time."""
    note(video)
    time.sleep(float(os.environ[NAP]))
    decode_one(path, video, *arguments)
  extraction.decode_one = noted
