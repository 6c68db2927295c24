"""Arrays from `.npy` and `.npz` files of strangers: what a file announces is checked before anything is read."""

from __future__ import annotations

import io
import math
import os
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any

import numpy as np

MAX_BYTES = 2 ** 30          # that the arrays of one file may take; config.data.max_bytes says otherwise
_HEAD = 512                  # bytes that tell what a file is
_MOST_ARRAYS = 1000          # of one file
_MOST_AXES = 32
_LONGEST_HEADER = 10_000     # bytes that NumPy reads; version 2 of the format can announce gigabytes
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGED = (ValueError, EOFError, OSError, KeyError, NotImplementedError, RuntimeError, OverflowError, struct.error,
            zipfile.BadZipFile, zlib.error)


def read_arrays(path: pathlib.Path, max_bytes: int = MAX_BYTES, named: object = None) -> dict[str, np.ndarray]:
  """Returns the arrays of a `.npy` (under the name "") or `.npz` file; nothing is unpickled.

  Args:
    path: the file.
    max_bytes: that all its arrays together may take in memory.
    named: what errors call it; None is `path`.

  Returns:
    name -> read-only array.

  Raises:
    ValueError: if the file is damaged, is no NumPy file, is empty, holds anything but arrays of numbers or strings, or
      announces other arrays than it holds, or more than `max_bytes`.
  """
  named = named or path
  try:
    with open(path, "rb") as file:
      head = file.read(_HEAD)
      if stand_in := _stands_in(head):
        raise _Refused(stand_in)
      file.seek(0)
      if not head.startswith(b"PK"):
        read = _announced(file, os.fstat(file.fileno()).st_size, max_bytes, "it")
        return {"": read(file)}
      arrays = _read_packed(file, max_bytes)
  except _Refused as error:
    raise ValueError(f"{named}: {error}") from error.__cause__
  except PermissionError as error:
    raise ValueError(f"{named}: must not be read ({error.strerror}); change its permissions.") from error
  except _DAMAGED as error:
    why = " ".join(f"{type(error).__name__}: {error}".split())
    raise ValueError(f"{named}: cannot be read ({why:.200}); the file is damaged, or is not a NumPy file. Save plain "
                     "numbers again with np.save or np.savez.") from error
  if not arrays:
    raise ValueError(f"{named}: holds no array; save the video's features again with np.savez.")
  return arrays


class _Refused(Exception):
  """What the message says after the name of the file."""


def _read_packed(file: IO[bytes], max_bytes: int) -> dict[str, np.ndarray]:
  """Returns the arrays of an `.npz` file, all of them announced within the limit before the first is read."""
  with zipfile.ZipFile(file) as packed:
    members = packed.infolist()
    if len(members) > _MOST_ARRAYS:
      raise _Refused(f"holds {len(members)} arrays; expected a few streams of one video, at most {_MOST_ARRAYS}.")
    readers, room = {}, max_bytes
    for member in members:
      name = member.filename.removesuffix(".npy")
      what = f"the array {name!r:.80}"
      if member.filename == name:
        raise _Refused(f"holds {name!r:.80}, which is no array; save the arrays alone, with np.savez.")
      if name in readers:
        raise _Refused(f"holds {what} more than once; save it again with np.savez.")
      if member.flag_bits & 1:
        raise _Refused(f"{what} is encrypted; save it again with np.savez.")
      if member.compress_type not in _PACKED:
        raise _Refused(f"{what} is packed in a way that NumPy does not write; save it again with np.savez.")
      with packed.open(member) as one:
        readers[name] = _announced(one, member.file_size, room, what)
      room -= member.file_size
    arrays = {}
    for member, (name, read) in zip(members, readers.items()):
      with packed.open(member) as one:
        arrays[name] = read(one)
    return arrays


def _announced(file: Any, size: int, room: int, what: str) -> Callable[..., Any]:
  """Reads what a `.npy` file of `size` bytes announces; returns the function that reads the array."""
  header = io.BytesIO(file.read(_LONGEST_HEADER + 12))      # and no more of it
  version = np.lib.format.read_magic(header)
  if version not in _HEADERS:
    raise _Refused(f"{what} is of version {version[0]}.{version[1]} of NumPy's format; expected 1.0 or 2.0: save it "
                   "again with np.save.")
  try:
    shape, fortran, dtype = _HEADERS[version](header)
  except Exception as error:      # a header is text that anybody can have written
    why = " ".join(f"{type(error).__name__}: {error}".split())
    raise _Refused(f"the header of {what} is damaged ({why:.120}); save it again with np.save or np.savez.") from error
  if dtype.hasobject:
    raise _Refused(f"{what} holds Python objects, which are refused; save plain numbers again with np.save or "
                   "np.savez.")
  if type(shape) is not tuple or len(shape) > _MOST_AXES or not all(type(n) is int and n >= 0 for n in shape):
    raise _Refused(f"the header of {what} announces the shape {shape!r:.80}; expected whole numbers, none negative: "
                   "save it again.")
  begin, count = header.tell(), math.prod(shape) * dtype.itemsize
  if math.prod(max(n, 1) for n in shape) * dtype.itemsize > room:
    raise _Refused(f"{what} announces {dtype} of shape {shape!r:.80}, beyond the {max(room, 0):,} bytes that "
                   "config.data.max_bytes leaves it; raise that if this is right.")
  if begin + count != size:
    raise _Refused(f"{what} announces {dtype} of shape {shape!r:.80}, {count:,} bytes, but holds {size - begin:,}; the "
                   "file is damaged or cut short: save or copy it again.")

  def read(file: Any) -> np.ndarray:
    file.seek(begin)
    content = file.read(count)
    if len(content) != count or file.read(1):      # at the end of an archive's member its check sum is compared
      raise EOFError("ends early")
    return np.ndarray(shape, dtype, content, order="F" if fortran else "C")
  return read


def refuse_stand_in(path: str | os.PathLike[str]) -> None:
  """Raises a `ValueError` for a file that is a pointer of Git LFS or a web page in place of what was wanted."""
  with open(path, "rb") as file:
    if stand_in := _stands_in(file.read(_HEAD)):
      raise ValueError(f"{path}: {stand_in}")


def _stands_in(head: bytes) -> str:
  """Returns what stands in for a file that begins so, as the end of a sentence; "" where nothing looks like it."""
  if head.startswith(b"version https://git-lfs.github.com/spec/"):
    return "is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`."
  if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
    return "is a web page, not the file itself; download it again, logged in if need be."
  return ""
