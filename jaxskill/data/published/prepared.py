"""Published data sets in their prepared form: written once with TensorFlow Datasets, without TensorFlow.

`<prepared_dir>/<name>/<task>/<VERSION>` holds array_record files that `tfds` reads, and from them one array per stream,
which later starts map into memory; they import no `tensorflow_datasets`. The tasks of a data set with scores share
one folder, `all`, so that no features are stored twice.

V videos, T rows of a stream, D channels.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import io
import json
import os
import shutil

import numpy as np
from absl import logging

from jaxskill.data.arrays import MAX_BYTES
from jaxskill.data.published.labels import OF_VIDEOS
from jaxskill.data.published.labels_pairs import TASKS
from jaxskill.data.published.labels_scores import SCORED
from jaxskill.data.published.official_files import STREAM_AXES, read_streams, read_task, whole_task

VERSION = "1.0.0"   # of the prepared files; a new one makes every user prepare again


def prepared_arrays(name, root, task, prepared_dir, found, max_bytes=MAX_BYTES):
  """The features of a task, prepared now if need be.

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
  folder = prepared_dir / name / config / VERSION
  if (arrays := _map_arrays(folder, found)) is None:
    try:
      folder.parent.mkdir(parents=True, exist_ok=True)
      lock = open(folder.parent / ".lock", "w")
    except OSError as error:
      raise ValueError(f"{folder.parent}: cannot be written ({error}); set config.data.prepared_dir to a folder of "
                       "your own.") from error
    with lock:   # of the processes that start together, one prepares and the others wait
      fcntl.flock(lock, fcntl.LOCK_EX)
      if (arrays := _map_arrays(folder, found)) is None:
        _prepare(name, root, config, prepared_dir, folder, found, max_bytes)
        arrays = _map_arrays(folder, found)
  if arrays is None:
    raise ValueError(f"{root}: files of {task or name} changed while they were prepared; start again when the download "
                     "is complete.")
  streams, lengths = arrays
  lengths = {stream: values[found.rows] for stream, values in lengths.items()}
  return {stream: array[found.rows, : lengths[stream].max()] for stream, array in streams.items()}, lengths


def _metadata(folder):
  try:
    return dict(json.loads((folder / "metadata.json").read_text(encoding="utf-8")))
  except (OSError, ValueError, TypeError, RecursionError):   # not there, or cut short by a machine that went down
    return {}


def _is_of(metadata, found):
  """Whether a prepared form is of these files, its videos in this order: other versions may number them otherwise."""
  return metadata.get("fingerprint") == found.fingerprint and metadata.get("videos") == list(found.files)


def _map_arrays(folder, found):
  """The prepared arrays, or None if there are none of these files."""
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


def _prepare(name, root, config, prepared_dir, folder, found, max_bytes):
  """Writes the array_record files of a task where they are not up to date, and the arrays made from them."""
  for leftover in folder.parent.glob("incomplete.*"):   # of a start that was killed
    shutil.rmtree(leftover)
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
  import tensorflow_datasets as tfds  # slow, and not needed once the data are prepared

  tfds.disable_progress_bar()
  if name in TASKS and config not in TASKS[name]:
    config = tfds.core.BuilderConfig(name=config)
  builder = builders()[name](config=config, data_dir=prepared_dir, file_format="array_record")
  builder.max_bytes = max_bytes
  if not current:
    options = tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):   # it prints that it downloads, which it does not
      builder.download_and_prepare(download_config=options)
  records = builder.as_data_source(split="videos")      # read one by one: maps of a data set may not fit into memory
  if [record["video"].decode() for record in records] != list(found.files):
    return   # the files changed under our hands; the caller says so
  for stream in _metadata(folder)["streams"]:
    shapes = [(*record[stream].shape, record[stream].dtype) for record in records]
    lengths = np.array([length for length, *_ in shapes], np.int32)
    files = [folder / f"{name}.npy" for name in (f"{stream}_lengths", stream)]
    unfinished = [file.with_suffix(".npy.unfinished") for file in files]
    with open(unfinished[0], "wb") as out:
      np.save(out, lengths, allow_pickle=False)
    array = np.lib.format.open_memmap(unfinished[1], "w+", shapes[0][-1],
                                      (len(lengths), int(lengths.max()), *shapes[0][1:-1]))
    for row, length, record in zip(array, lengths, records):
      row[:length] = record[stream]
    array.flush()
    for file, path in zip(unfinished, files):      # the features last: where they are, all is there
      os.replace(file, path)


@functools.cache
def builders():
  """Builder class of each data set; in a function, for importing `tensorflow_datasets` takes longer than loading."""
  import tensorflow_datasets as tfds

  class Official(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A task's features in one split, "videos"; its labels, folds and missing videos are in `info.metadata`.

    A record has a tensor for each of `STREAMS`; what is not among `info.metadata["streams"]` is absent, and a single 0.
    """

    VERSION = tfds.core.Version(VERSION)
    STREAMS = ("rgb",)
    max_bytes = MAX_BYTES
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="all")]
    url_infos = None   # nothing is fetched; looking for check sums would need a package that nobody else here needs
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Get features and labels from the authors, and pass their folder as manual_dir."

    def _info(self):
      tensor = lambda axes: tfds.features.Tensor(shape=(None,) * axes, dtype=np.float32, encoding="bytes")
      of_stream = {stream: tensor(STREAM_AXES[stream]) for stream in self.STREAMS}
      return tfds.core.DatasetInfo(
          builder=self, description=self.__doc__, homepage=self.HOMEPAGE, metadata=tfds.core.MetadataDict(),
          disable_shuffling=True, features=tfds.features.FeaturesDict({"video": tfds.features.Text()} | of_stream))

    def _split_generators(self, dl_manager):
      task = read_task(self.name, dl_manager.manual_dir, self.builder_config.name)
      labels = {name: values.tolist() for name in OF_VIDEOS if (values := getattr(task.labels, name)) is not None}
      labels["criteria"] = {name: values.tolist() for name, values in task.labels.criteria.items()}
      self.info.metadata.update(
          videos=list(task.files), pairs=task.pairs.tolist(), missing=list(task.missing),
          dropped_pairs=task.dropped_pairs, fingerprint=task.fingerprint, labels=labels,
          folds=[{field: value if field == "name" else value.tolist() for field, value in fold._asdict().items()}
                 for fold in task.folds])
      return {"videos": self._generate_examples(task.files)}

    def _generate_examples(self, files):
      for number, (video, streams) in enumerate(read_streams(self.name, files, self.max_bytes)):
        self.info.metadata["streams"] = sorted(streams)
        absent = {stream: np.zeros((1,) * STREAM_AXES[stream], np.float32) for stream in self.STREAMS}
        yield number, {"video": video} | absent | streams

  class Best(Official):
    """BEST: five daily tasks in 100 long videos each, compared in pairs (Doughty et al., CVPR 2019)."""

    HOMEPAGE = "https://github.com/hazeld/rank-aware-attention-network"
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=task) for task in TASKS["best"]]
    STREAMS = ("rgb", "maps", "times")

  class EpicSkills(Official):
    """EPIC-Skills: four tasks, compared in pairs and dealt into four folds (Doughty et al., CVPR 2018)."""

    HOMEPAGE = "https://github.com/hazeld/EPIC-Skills2018"
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=task) for task in TASKS["epic_skills"]]
    STREAMS = ("rgb", "maps", "times")

  class MtlAqa(Official):
    """MTL-AQA: 1412 dives with score and difficulty (Parmar and Morris, CVPR 2019)."""

    HOMEPAGE = "https://github.com/ParitoshParmar/MTL-AQA"
    STREAMS = tuple(STREAM_AXES)

  class UnlvDive(Official):
    """UNLV-Dive: 370 dives with score and difficulty (Parmar and Morris, CVPRW 2017)."""

    HOMEPAGE = "http://rtis.oit.unlv.edu/datasets.html"
    STREAMS = tuple(STREAM_AXES)

  class Aqa7(Official):
    """AQA-7: six classes of Olympic events with scores (Parmar and Morris, WACV 2019)."""

    HOMEPAGE = "http://rtis.oit.unlv.edu/datasets.html"
    STREAMS = tuple(STREAM_AXES)

  class Jigsaws(Official):
    """JIGSAWS: 103 trials of three surgical tasks, rated in six respects (Gao et al., M2CAI 2014)."""

    HOMEPAGE = "https://cirl.lcsr.jhu.edu/research/hmm/datasets/jigsaws_release/"
    STREAMS = tuple(STREAM_AXES)

  class FineDiving(Official):
    """FineDiving: 3000 dives with score, difficulty and action type (Xu et al., CVPR 2022)."""

    HOMEPAGE = "https://github.com/xujinglin/FineDiving"
    name = "finediving"
    STREAMS = tuple(STREAM_AXES)

  class RhythmicGymnastics(Official):
    """Rhythmic Gymnastics: 1000 routines with four apparatus, scored (Zeng et al., ACM MM 2020)."""

    HOMEPAGE = "https://github.com/lingan1996/ACTION-NET"
    STREAMS = ("rgb", "static")

  class FisV(Official):
    """Fis-V: 500 figure skating short programmes, technical and component scores (Xu et al., TCSVT 2019)."""

    HOMEPAGE = "https://github.com/loadder/MS_LSTM"
    STREAMS = ("rgb", "static")

  class MitSkating(Official):
    """MIT-Skating: 150 figure skating programmes with scores (Pirsiavash et al., ECCV 2014)."""

    HOMEPAGE = "https://github.com/loadder/MS_LSTM"
    STREAMS = ("rgb", "static")

  return {builder.name: builder for builder in (Best, EpicSkills, MtlAqa, UnlvDive, Aqa7, Jigsaws, FineDiving,
                                                RhythmicGymnastics, FisV, MitSkating)}
