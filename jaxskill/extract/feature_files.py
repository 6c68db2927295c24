"""The files that an extraction writes: features of a video, whole or not at all, and the note beside them."""

from __future__ import annotations

import json
import os
import pathlib
import types
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxskill import files, pretrained
from jaxskill.data.user.extraction_note import EXTRACTION as NOTE
from jaxskill.data.user.extraction_note import are_alike, note_files, read_extraction
from jaxskill.extract import storage
from jaxskill.files import FULL, UNFINISHED

LICENCE = "NOTICE.txt"         # of the networks, beside the features


class Features:
  """The features of one video, as its messages come in; a fault of the video, or of its files, is its own.

  Attributes:
    about: what the note says of the video, when its file is written.
    failed: why there will be none.
  """

  def __init__(self, config: ConfigDict, encode: Mapping[str, Callable[..., Any]], out: str | os.PathLike[str],
               video: str) -> None:
    """
    Args:
      config: the recipe.
      encode: {stream: items -> features}.
      out: folder of the features, or its address, see `storage`.
      video: its name.
    """
    self._config, self._encode, self._out, self._video = config, encode, out, video
    self._planned, self._rows = {}, {}
    self.about: Any = None
    self.failed: Any = None

  def take(self, kind: str, content: Any) -> int:
    """Takes a message of `extraction.decode_one`; returns the number of pictures in it.

    Raises:
      OSError: if the disk is full.
    """
    if self.failed:
      return 0
    try:
      if kind == "planned":
        self._planned, self._rows = content, {stream: [] for stream in content}
      elif kind == "items":
        return self._add(*content)
      elif kind == "failed":
        self.failed = content
      elif kind == "done":
        self.about = self._save(content)
    except (ValueError, OSError) as error:
      if getattr(error, "errno", None) in FULL:
        raise
      name = feature_name(self._video, self._config)
      self.failed = (f"its features cannot be written ({error.strerror or error}: {name}); rename the video, or what "
                     "is in the way." if isinstance(error, OSError) else str(error))
      self._rows = {}
    return 0

  def _add(self, stream: str, first: int, items: np.ndarray) -> int:
    """Encodes successive rows."""
    there, planned = self._counts(stream)
    if first != there or first + len(items) > planned:
      raise ValueError(f"rows {first} to {first + len(items)} of stream {stream} came when {there} of {planned} were "
                       "there; start again.")
    self._rows[stream].append(self._encode[stream](items))
    if stream == drawn(self._config):
      self._rows.setdefault("frames", []).append(pretrained.shrink(items, self._config.draw))
    return len(items) * self._planned[stream][1]

  def _counts(self, stream: str) -> tuple[int, int]:
    """Returns (rows of a stream that are there, rows that are planned)."""
    return sum(map(len, self._rows.get(stream, ()))), self._planned.get(stream, (0,))[0]

  def _save(self, said: Any) -> dict[str, Any]:
    """Writes the file; returns what the note says of it."""
    for stream in self._config.streams:
      (there, _), sent = self._counts(stream), len(said["times"][stream])
      if not there or there != sent:
        raise ValueError(f"{there} rows of stream {stream} came, {sent} were sent; start again.")
    arrays: dict[str, Any] = {stream: np.concatenate(rows) for stream, rows in self._rows.items()}
    streams = list(self._config.streams)
    name = feature_name(self._video, self._config)
    maps = [stream for stream in streams if self._config.streams[stream].keep == "maps"]
    if maps or said.get("seen"):         # where it is said who is seen, all streams have the same rows
      arrays["times"] = said["times"][(maps or streams)[0]].astype(np.float32)
    if said.get("seen"):
      arrays["seen"] = said["seen"][streams[0]]
    arrays |= said.get("places", {})
    with storage.writing(self._out, name) as file:
      if name.endswith(".npy"):          # NumPy's own way into a file does not say why it fails
        np.save(types.SimpleNamespace(write=file.write), arrays[streams[0]], allow_pickle=False)
      else:
        np.savez(file, **arrays)
    return dict(rows=pretrained.single({stream: len(arrays[stream]) for stream in streams}),
                row_seconds=pretrained.single(said["row_seconds"]), warnings=said["warnings"])


def feature_name(video: str, config: ConfigDict) -> str:
  """Returns the name of the file of features of a video, in the folder of all."""
  streams = list(config.streams.values())
  return f"{video}.{'npy' if len(streams) == 1 and streams[0].keep == 'feature' else 'npz'}"


def feature_file(out: pathlib.Path, video: str, config: ConfigDict) -> pathlib.Path:
  """Returns where the features of a video go."""
  return pathlib.Path(out) / feature_name(video, config)


def drawn(config: ConfigDict) -> str | None:
  """Returns the stream whose pictures are kept small beside its maps, or None."""
  streams = config.streams.items()
  return next((name for name, recipe in streams if recipe.keep == "maps" and recipe.input == "rgb"), None)


def save_note(out: pathlib.Path, note: Mapping[str, Any], name: str = NOTE) -> None:
  """Writes `extraction.json`, or the note of a shard, whole or not at all."""
  files.save_json(out / name, note)


def known(out: pathlib.Path, recipe: Mapping[str, Any]) -> dict[str, Any]:
  """Returns {video: what an earlier extraction of the same recipe and weights noted of it}.

  Raises:
    ValueError: if the note is damaged, or of another recipe or other weights.
  """
  note = read_extraction(out)
  if not note["videos"] or are_alike(note["recipe"], json.loads(files.to_json(recipe))):
    return note["videos"]
  raise ValueError(f"{out}: holds features of another recipe or other weights; give a new --out, for they must not "
                   "mix.")


def check_unknown(out: pathlib.Path, videos: Iterable[str], is_there: Callable[[str], bool]) -> None:
  """Raises a `ValueError` if files of features would be overwritten that were not made here.

  Args:
    out: folder of the notes.
    videos: names of those that will be written.
    is_there: tells whether there is a file of a name among the features.
  """
  if not note_files(out):
    for video in videos:
      for name in (f"{video}.npy", f"{video}.npz"):
        if is_there(name):
          raise ValueError(f"{out}/{name}: is there already, and no {NOTE} says that it was made here; give a new "
                           "--out.")


def check_names(out: pathlib.Path, videos: Mapping[str, pathlib.Path]) -> None:
  """Raises a `ValueError` if two names are one for the disk: its files would overwrite each other."""
  seen = {}
  for video in videos:
    other = seen.setdefault(video.casefold(), video)
    if other != video and _ignores_case(out):
      raise ValueError(f"{out}: {other!r} and {video!r} are one name there, where large and small letters are the "
                       "same; rename one of the videos, or give a --out elsewhere.")


def _ignores_case(out: pathlib.Path) -> bool:
  name = f".{uuid.uuid4().hex}"
  file = out / f"{name}a{UNFINISHED}"
  file.touch()
  try:
    return (out / f"{name}A{UNFINISHED}").exists()
  finally:
    file.unlink()
