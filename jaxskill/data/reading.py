"""Videos of a stream, read into memory that is at hand: one pass from where they lie to where they are used.

Streams that are mapped from a file are read from the file and not through the mapping: a file that is cut short while
it is mapped ends the process that touches it, and pages that are mapped anew cost more than a read.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

_BLOCK = 2 ** 18      # numbers that are read and then rounded, so that they are still in the processor's cache


class Videos:
  """The videos of a stream `[V, T, ...]`."""

  def __init__(self, stream: Any) -> None:
    """Args: stream: of a `SkillDataset`, in memory or mapped as a whole or video by video."""
    self._stream = stream
    self._file = _mapping(stream) if isinstance(stream, np.ndarray) else None
    self._known = None if self._file is None else _state(os.stat(self._file.filename))

  def read(self, ids: Sequence[int] | np.ndarray, out: np.ndarray) -> None:
    """Puts videos into the first rows of `out`, rounded to its dtype.

    Args:
      ids: N numbers of videos.
      out: `[N or more, T, ...]`, contiguous.

    Raises:
      OSError: if a file is gone, or is not what it was.
    """
    if self._file is None:
      for video, place in zip(ids, out):
        self._read_one(self._stream[video], place)
      return
    with _opened(self._file) as file:
      if _state(os.fstat(file.fileno())) != self._known:
        raise _changed(self._file.filename)
      for video, place in zip(ids, out):
        _fill(place, self._stream[video], self._file, file)

  def _read_one(self, rows: np.ndarray, place: np.ndarray) -> None:
    mapping = _mapping(rows)
    if rows.shape != place.shape:
      raise _changed(getattr(mapping, "filename", None))
    if mapping is None:
      np.copyto(place, rows, casting="unsafe")
      return
    with _opened(mapping) as file:
      _fill(place, rows, mapping, file)


def _mapping(array: Any) -> Any:
  """Returns the `np.memmap` of the whole file that an array is a part of; None where it is of no file."""
  while array is not None and not isinstance(getattr(array, "base", None), mmap.mmap):
    array = getattr(array, "base", None)
  return array if isinstance(array, np.memmap) and array.filename is not None and array.mode != "c" else None


def _state(found: os.stat_result) -> tuple[int, int]:
  return found.st_size, found.st_mtime_ns


def _opened(mapping: Any) -> contextlib.AbstractContextManager[IO[bytes]]:
  return open(mapping.filename, "rb", buffering=0)


def _fill(place: np.ndarray, rows: np.ndarray, mapping: Any, file: Any) -> None:
  """Reads the part `rows` of a mapped file out of the file itself."""
  if not rows.flags.c_contiguous:
    np.copyto(place, rows, casting="unsafe")
    return
  file.seek(mapping.offset + rows.ctypes.data - mapping.ctypes.data)
  place = place.reshape(-1)
  if place.dtype == rows.dtype:
    _read_whole(file, place)
    return
  block = np.empty(min(_BLOCK, place.size), rows.dtype)
  for start in range(0, place.size, _BLOCK):
    part = block[: place.size - start]
    _read_whole(file, part)
    np.copyto(place[start: start + _BLOCK], part, casting="unsafe")


def _read_whole(file: Any, place: np.ndarray) -> None:
  """Reads as much as an array `[N]` holds; one call to the system may read less."""
  room = memoryview(place.view(np.uint8).data)
  while room:
    try:
      count = file.readinto(room)
    except OSError as error:                               # knows of no name
      raise OSError(error.errno, error.strerror, file.name) from error
    if not count:
      raise OSError(errno.EIO, "ends too early: it was cut short while it is read; make it again, and start again",
                    file.name)
    room = room[count:]


def _changed(file: str | os.PathLike[str] | None) -> OSError:
  name = None if file is None else os.fspath(file)
  return OSError(errno.ESTALE, "was changed while it is read; start again with what it holds now", name)
