"""`jaxskill.extract` as an Apache Beam pipeline: each worker decodes and encodes whole videos.

Needs Beam (pip install 'jaxskill[beam]') and, on a cluster, jaxskill on every worker and one file system for all:
videos, weights and the folder of features are paths there. A worker writes each video's features, and what is noted of
it, as soon as they are there; the program that started the pipeline merges the notes, those of a run that was stopped
too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxskill import files
from jaxskill.extract import extraction, feature_files, kinds
from jaxskill.files import writing
from jaxskill.training.parallel import Parallel

PARTS = "extraction.parts"


def require() -> None:
  """Raises a `ValueError` where Beam is missing."""
  if importlib.util.find_spec("apache_beam") is None:
    raise ValueError("--runner beam needs Apache Beam, which is not installed: pip install 'jaxskill[beam]'.")


def run(config: ConfigDict, todo: Mapping[str, str | pathlib.Path], contents: Mapping[str, Mapping[str, Any]],
        out: pathlib.Path, weights: str | Mapping[str, str], persons: object, recipe: ConfigDict,
        done: Callable[[str, dict[str, Any]], None], options: Sequence[str] = ()) -> dict[str, str]:
  """Extracts the features of `todo` {video: path} as a pipeline.

  Args:
    config, out, weights: see `jaxskill.extract.run`.
    contents: {video: digests}, which the note of a stopped run must have to count.
    persons: see `jaxskill.extract.extraction.Stream`.
    recipe: of the note, which it must have too.
    done: called with (video, what is noted of it) for each that is finished.
    options: of the pipeline, as on Beam's command line.

  Returns:
    {video: why} of those that failed.

  Raises:
    ValueError: if Beam is missing or the pipeline fails.
  """
  require()
  import apache_beam as beam
  from apache_beam.options.pipeline_options import PipelineOptions
  from apache_beam.utils.shared import Shared
  parts = pathlib.Path(out).resolve() / PARTS
  recipe, contents = json.loads(files.to_json(recipe)), {video: contents[video] for video in todo}

  class Extract(beam.DoFn):
    """(video, path) -> the files of the video's features and note."""

    def __init__(self) -> None:
      self._shared = Shared()

    def setup(self) -> None:
      self._encoders = self._shared.acquire(lambda: _Encoders(config, weights))           # once a process

    def process(self, item: Any) -> None:
      video, path = item
      found = extract_one(video, path, config, parts.parent, self._encoders.by_stream, persons)
      parts.mkdir(exist_ok=True)
      part = found | dict(video=video, recipe=recipe, content=contents[video])
      with writing(parts / f"{hashlib.sha256(os.fsencode(video)).hexdigest()}.json") as file:
        file.write(files.to_json(part).encode())

  _, noted = _merge(parts, recipe, contents, done)
  left = [(video, str(pathlib.Path(path).resolve())) for video, path in todo.items() if video not in noted]
  try:
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
      pipeline | beam.Create(left) | beam.Reshuffle() | beam.ParDo(Extract())
  except Exception as error:      # whatever a runner raises; what is finished is kept
    _, noted = _merge(parts, recipe, contents, done)
    why = str(error).strip().rpartition("\n")[-1][:300]
    raise ValueError(f"the Beam pipeline failed ({type(error).__name__}: {why}); {len(noted)} of {len(todo)} videos "
                     "are done. Started again, it does the rest.") from error
  failed, noted = _merge(parts, recipe, contents, done)
  shutil.rmtree(parts, ignore_errors=True)
  lost = dict.fromkeys(todo.keys() - noted - failed.keys(),
                       "no worker noted it; --out must lie on a file system of all workers.")
  return failed | lost


def _merge(parts: pathlib.Path, recipe: Mapping[str, Any], contents: Mapping[str, Any],
           done: Any) -> tuple[dict[str, str], set[str]]:
  """Hands the notes of the workers to `done`; returns ({video: why} of those that failed, {videos that are done})."""
  failed, noted = {}, set()
  for file in sorted(parts.glob("*.json")):
    try:
      part = json.loads(file.read_text())
      video, failure, about = part["video"], part.get("failed"), part.get("about")
      current = part["recipe"] == recipe and part["content"] == contents[video]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):        # damaged, or of an older version
      continue
    if current and failure is not None:
      failed[video] = failure
    elif current and isinstance(about, dict):
      done(video, about)
      noted.add(video)
  return failed, noted


class _Encoders:
  """The networks, on the devices of a worker."""

  def __init__(self, config: ConfigDict, weights: Any) -> None:
    kind = kinds.of(config)
    networks, _ = kind.load(config, weights)
    self.by_stream = kind.encoders(config, networks, Parallel())


def extract_one(video: str, path: str, config: ConfigDict, out: pathlib.Path, encode: Mapping[str, Callable[..., Any]],
                persons: object) -> dict[str, Any]:
  """Writes the features of one video; {"about": what is noted of it} or {"failed": why}."""
  features = feature_files.Features(config, encode, out, video)
  extraction.decode_one(path, video, config, persons, features.take)
  return dict(failed=features.failed) if features.failed else dict(about=features.about)
