"""Published data sets in their prepared form: written once with TensorFlow Datasets, without TensorFlow.

`<prepared_dir>/<name>/<task>/<PREPARED_VERSION>` holds array_record files that `tfds` reads, and from them one array
per stream, which later starts map into memory; they import no `tensorflow_datasets`. The tasks of a data set with
scores share one folder, `all`, so that no features are stored twice.

V videos, T rows of a stream, D channels.
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import shutil
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from jaxskill import files
from jaxskill.data.arrays import MAX_BYTES
from jaxskill.data.published.labels_pairs import TASKS
from jaxskill.data.published.labels_scores import SCORED
from jaxskill.data.published.official_files import PREPARED_VERSION, STREAM_AXES, Task, whole_task


def prepared_arrays(name: str, root: pathlib.Path, task: str, prepared_dir: pathlib.Path, found: Task,
                    max_bytes: int = MAX_BYTES) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Returns the features of a task, prepared now if need be.

  Args:
    name, root, task: of the data set; all are named in messages.
    prepared_dir: folder of the prepared forms of all data sets.
    found: the `official_files.Task`.
    max_bytes: that the arrays of one of its files may take in memory.

  Returns:
    (stream -> `[V, T, ...]` mapped from disk, stream -> `[V]` lengths).

  Raises:
    ValueError: if a file cannot be used, or nothing can be written.
  """
  config = "all" if name in SCORED else whole_task(task)
  folder = prepared_dir / name / config / PREPARED_VERSION
  if (arrays := _map_arrays(folder, found)) is None:
    with files.taking_turns(files.open_folder(folder.parent, "config.data.prepared_dir")):
      if (arrays := _map_arrays(folder, found)) is None:
        _prepare(name, root, config, prepared_dir, folder, found, max_bytes)
        arrays = _map_arrays(folder, found)
  if arrays is None:
    raise ValueError(f"{root}: files of {task or name} changed while they were prepared; start again when the download "
                     "is complete.")
  streams, lengths = arrays
  lengths = {stream: values[found.rows] for stream, values in lengths.items()}
  return {stream: array[found.rows, : lengths[stream].max()] for stream, array in streams.items()}, lengths


def _metadata(folder: pathlib.Path) -> dict[str, Any]:
  try:
    return dict(json.loads((folder / "metadata.json").read_text(encoding="utf-8")))
  except (OSError, ValueError, TypeError, RecursionError):   # not there, or cut short by a machine that went down
    return {}


def _is_of(metadata: Mapping[str, Any], found: Task) -> bool:
  """Whether a prepared form is of these files, its videos in this order: other versions may number them otherwise."""
  return metadata.get("fingerprint") == found.fingerprint and metadata.get("videos") == list(found.files)


def _map_arrays(folder: pathlib.Path, found: Task) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]] | None:
  """Returns the prepared arrays, or None if there are none of these files."""
  metadata = _metadata(folder)
  streams = metadata.get("streams", ["rgb"])
  if not _is_of(metadata, found) or not all(
      isinstance(stream, str) and stream in STREAM_AXES and (folder / f"{stream}.npy").is_file() for stream in streams):
    return None
  try:
    arrays = {stream: np.load(folder / f"{stream}.npy", mmap_mode="r") for stream in streams}
    lengths = {stream: np.load(folder / f"{stream}_lengths.npy") for stream in streams}
  except (OSError, ValueError):   # damaged, and made again from the records
    return None
  return arrays, lengths


def _prepare(name: str, root: pathlib.Path, config: str, prepared_dir: pathlib.Path, folder: pathlib.Path, found: Task,
             max_bytes: int) -> None:
  """Writes the array_record files of a task where they are not up to date, and the arrays made from them."""
  for leftover in folder.parent.glob("incomplete.*"):   # of a start that was killed
    shutil.rmtree(leftover)
  files.remove_unfinished(folder.parent)
  stored = _metadata(folder)
  current = _is_of(stored, found)
  task = name if name in SCORED else config
  if "fingerprint" not in stored:
    logging.info("%s: preparing %s (%d videos) once, in %s", root, task, len(found.files), folder)
  elif not current:
    logging.warning("%s: files of %s were added, changed or put in another order; preparing it again, in %s", root,
                    task, folder)
  if not current:
    shutil.rmtree(folder, ignore_errors=True)
  records = _records(name, root, config, prepared_dir, max_bytes, make=not current)
  if [record["video"].decode() for record in records] != list(found.files):
    return   # the files changed under our hands; the caller says so
  for stream in _metadata(folder)["streams"]:
    _write_arrays(folder, stream, records)


def _records(name: str, root: pathlib.Path, config: str, prepared_dir: pathlib.Path, max_bytes: int, make: bool) -> Any:
  """The records of a task, read one by one: maps of a data set may not fit into memory; made first if `make`."""
  import tensorflow_datasets as tfds  # slow, and not needed once the data are prepared

  from jaxskill.data.published import builders
  tfds.disable_progress_bar()
  if name in TASKS and config not in TASKS[name]:
    config = tfds.core.BuilderConfig(name=config)
  builder = builders.BUILDERS[name](config=config, data_dir=prepared_dir, file_format="array_record")
  builder.max_bytes = max_bytes
  if make:
    options = tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):   # it prints that it downloads, which it does not
      builder.download_and_prepare(download_config=options)
  return builder.as_data_source(split="videos")


def _write_arrays(folder: pathlib.Path, stream: str, records: Any) -> None:
  """Writes `<stream>_lengths.npy` `[V]` and `<stream>.npy` `[V, T, ...]`, padded with zeros, one video at a time.

  The features come last: where they are, all is there. They are written, not mapped: a full disk is then an error,
  where writing into a mapped file would kill the process.
  """
  shapes = [record[stream].shape for record in records]
  lengths = np.array([shape[0] for shape in shapes], np.int32)
  with files.writing(folder / f"{stream}_lengths.npy") as file:
    np.save(types.SimpleNamespace(write=file.write), lengths, allow_pickle=False)
  padded = np.zeros((int(lengths.max()), *shapes[0][1:]), records[0][stream].dtype)
  header = dict(descr=np.lib.format.dtype_to_descr(padded.dtype), fortran_order=False,
                shape=(len(lengths), *padded.shape))
  with files.writing(folder / f"{stream}.npy") as file:
    np.lib.format.write_array_header_1_0(file, header)
    for length, record in zip(lengths, records):
      padded[:length], padded[length:] = record[stream], 0
      file.write(padded.tobytes())
