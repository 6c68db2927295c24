"""What a worker does with one video, and what it notes of it; nothing here imports Beam.

The features and a note of each video are written whole, under names that follow from the video. A worker that finds the
note of a video, and the features, and that the video is still the same, makes nothing.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxskill import files, pretrained
from jaxskill.data.user.extraction_note import are_alike
from jaxskill.data.video.timeline import READING
from jaxskill.extract import extraction, feature_files, kinds, storage

PARTS = "extraction.parts"     # folder of what workers note, of each video
_READERS = 16                  # of these, at a time

Item = tuple[str, str, Any]    # (video, its address, what a note says of it or None)


class Job(NamedTuple):
  """What all workers are told.

  Attributes:
    config, weights, given: see `jaxskill.extract.run` and `kinds.Given`.
    recipe: of the note.
    out: address of the folder of features.
  """

  config: ConfigDict
  weights: str | Mapping[str, str]
  given: kinds.Given
  recipe: Mapping[str, Any]
  out: str


class Loaded:
  """The networks of a recipe and what finds persons, from wherever their files lie.

  Attributes:
    networks, persons: see `kinds.Kind`.
    about: what the note says of them.
  """

  def __init__(self, config: ConfigDict, weights: str | Mapping[str, str], given: kinds.Given,
               scratch: pathlib.Path) -> None:
    """
    Args:
      config, weights, given: see `Job`.
      scratch: a folder for files that are fetched; it is needed as long as the networks are.

    Raises:
      ValueError: if a file cannot be read, or is not what the recipe wants.
    """
    def here(address: str) -> str:
      if storage.is_local(address):
        return address
      try:
        return str(storage.fetch(address, pathlib.Path(tempfile.mkdtemp(dir=scratch))))
      except Exception as error:
        raise ValueError(f"{address}: cannot be read ({_why(error)}).") from error
    kind = kinds.of(config)
    local = here(weights) if isinstance(weights, str) else {stream: here(one) for stream, one in weights.items()}
    self.networks, origin = kind.load(config, local)
    self.persons, about = kind.look(config, self.networks, given._replace(detector=here(given.detector)))
    self.about = origin | about


def gather_parts(out: str, recipe: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
  """Reads what workers noted in a folder, of the same recipe.

  Returns:
    ({video: what is noted of it}, {video: why it failed}).
  """
  done, failed = {}, {}
  names = sorted(name for name in storage.names(f"{out}/{PARTS}") if name.endswith(".json"))
  with concurrent.futures.ThreadPoolExecutor(_READERS) as readers:
    parts = list(readers.map(lambda name: _part(storage.read(f"{out}/{PARTS}", name), recipe), names))
  for part in parts:
    if "about" in part:
      done[part["video"]] = part["about"]
    elif part:
      failed[part["video"]] = part["failed"]
  return done, failed


def _part(content: bytes | None, recipe: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what a worker noted; {} of what is damaged, of an older version, or of another recipe."""
  try:
    part = json.loads(content or b"")
    whole = isinstance(part["video"], str) and are_alike(part["recipe"], recipe) and (
        isinstance(part["failed"], str) if "failed" in part else isinstance(part["about"]["sha256"], str))
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    return {}
  return part if whole else {}


def extract_one(item: Item, job: Job, encode: Mapping[str, Callable[..., Any]], persons: Any) -> dict[str, Any]:
  """Makes the features of one video, unless they are there, and notes it.

  Args:
    item: the video.
    job: see `Job`.
    encode: {stream: items -> features}.
    persons: see `jaxskill.extract.extraction.Stream`.

  Returns:
    {"about": what is noted of it} or {"failed": why}; it is written too.
  """
  video, address, known = item
  folder, name = f"{job.out}/{PARTS}", f"{hashlib.sha256(os.fsencode(video)).hexdigest()}.json"
  earlier = _part(storage.read(folder, name), job.recipe)
  found: dict[str, Any]
  with files.passing_folder() as scratch:
    try:
      film = storage.fetch(address, scratch)
      content = dict(sha256=pretrained.digest(film), reading=READING, **(persons.about(video) if persons else {}))
    except Exception as error:   # pylint: disable=broad-except   whatever a file system raises costs this video alone
      found = dict(failed=f"cannot be read ({_why(error)}); change its permissions, or copy it again.")
    else:
      ready = [dict(about=about) for about in (earlier.get("about"), known) if _is_ready(about, content, video, job)]
      found = ready[0] if ready else _made(video, film, address, content, job, encode, persons)
  part = dict(video=video, recipe=job.recipe, **found)
  if part != earlier:
    storage.write(folder, name, files.to_json(part).encode())
  return found


def _is_ready(about: Any, content: Mapping[str, Any], video: str, job: Job) -> bool:
  """Returns whether features that something is noted of are there, and of the same content."""
  return (about is not None and content.items() <= about.items()
          and storage.exists(job.out, feature_files.feature_name(video, job.config))
          and (not job.given.overlay or os.path.isfile(f"{job.given.overlay}/{video}.mp4")))


def _made(video: str, film: pathlib.Path, address: str, content: Mapping[str, Any], job: Job,
          encode: Mapping[str, Callable[..., Any]], persons: Any) -> dict[str, Any]:
  """Writes the features of a video; returns {"about": what is noted of it} or {"failed": why}."""
  features = feature_files.Features(job.config, encode, job.out, video)
  extraction.decode_one(film, video, job.config, persons, features.take)
  if features.failed:
    return dict(failed=features.failed)
  return dict(about=dict(file=address.rpartition("/")[2], **content, **features.about))


def _why(error: Exception) -> str:
  return getattr(error, "strerror", "") or f"{type(error).__name__}: {error}"[:300]
