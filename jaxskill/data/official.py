"""BEST and EPIC-Skills as their authors publish them, prepared once with TensorFlow Datasets (without TensorFlow).

  <root>/features/<video>_rgb.npz                arr_0: float [T, D], 400 x 1024 as published; <video> may hold folders,
                                                 and features/<task>/<video>_rgb.npz will do as well
  <root>/splits/<task>/train.txt, test.txt       BEST: lines "better worse", and one video a line in
                       train_vid_list.txt, test_vid_list.txt
  <root>/splits/<task>/train_split{1..4}.txt, test_split{1..4}.txt       EPIC-Skills: lines "better worse"

The first start writes `<prepared_dir>/<name>/<task>/1.0.0`: array_record files that `tfds` reads, and from them one
array per stream; later starts only map that array into memory, and import no `tensorflow_datasets`. The builders are
`official.Best` and `official.EpicSkills`.

V videos, T segments, D channels, P pairs.

Reference: Doughty, Mayol-Cuevas and Damen, The Pros and Cons: Rank-Aware Temporal Attention for Skill Determination in
Long Videos, CVPR 2019 (BEST); Doughty, Damen and Mayol-Cuevas, Who's Better? Who's Best? Pairwise Deep Ranking for
Skill Determination, CVPR 2018 (EPIC-Skills).
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import functools
import io
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from jaxskill.data import features, splits
from jaxskill.data.dataset import SIMULATED_NOTE, Fold, SkillDataset, check_pairs, pad_streams

VERSION = "1.0.0"   # of the prepared files; a new one makes every user prepare again
# Fold name -> the files of its training and test pairs.
FOLD_FILES = {
    "best": {"official": ("train.txt", "test.txt")},
    "epic_skills": {f"split{k}": (f"train_split{k}.txt", f"test_split{k}.txt") for k in (1, 2, 3, 4)},
}
VIDEO_LISTS = {"best": ("train_vid_list.txt", "test_vid_list.txt"), "epic_skills": ()}
TASKS = {
    "best": ("apply_eyeliner", "braid_hair", "origami", "scrambled_eggs", "tie_tie"),
    "epic_skills": ("chopstick_using", "dough_rolling", "drawing", "surgery"),
}


class Task(NamedTuple):
  """One task as it lies on disk: what can be used of its labels, and where its features are."""

  files: dict[str, Path]         # feature file of each video
  pairs: np.ndarray              # [P, 2] positions in `files`: (better, worse)
  folds: tuple[Fold, ...]
  missing: tuple[str, ...]
  dropped_pairs: int
  fingerprint: dict[str, list]   # path below the root -> [bytes, time of change in ns]


def load_official(name, root, task, prepared_dir="", validation_share=0.0, seed=0, segment_seconds=1.0) -> SkillDataset:
  """Loads one task of BEST or EPIC-Skills, and prepares it first where that has not been done.

  Args:
    name: "best" or "epic_skills".
    root: folder of the download, which holds `features` and `splits`.
    task: e.g. "tie_tie"; a folder below `splits`.
    prepared_dir: where prepared data are kept; `<root>/prepared` if empty.
    validation_share: share of each fold's training videos that validates; 0 for none.
    seed: of the validation videos.
    segment_seconds: seconds from one segment to the next.

  Returns:
    The data set, its stream `rgb` `[V, T, D]` mapped from disk. Videos that the labels name and the disk lacks are left
    out and listed in `missing`.

  Raises:
    ValueError: if the download, a file of it, or an option cannot be used; it names the place and the remedy.
  """
  if name not in FOLD_FILES:
    raise ValueError(f"name={name!r} is unknown; use one of {', '.join(FOLD_FILES)}.")
  if not segment_seconds > 0:
    raise ValueError(f"segment_seconds={segment_seconds} must be positive.")
  root = Path(root)
  found = read_task(name, root, task)
  if found.missing:
    logging.warning("%s: %d videos of %s are not on disk and left out, with %d pairs: %s", root, len(found.missing),
                    task, found.dropped_pairs, ", ".join(found.missing[:5]))
  folds = tuple(fold for fold in found.folds if len(fold.train_pairs) and len(fold.test_pairs))
  if not folds:
    raise ValueError(f"{root}: the {len(found.files)} videos of {task} on disk leave no fold with training and test "
                     f"pairs ({len(found.missing)} videos are missing); complete the download.")
  if len(folds) < len(found.folds):
    lost = sorted({fold.name for fold in found.folds} - {fold.name for fold in folds})
    logging.warning("%s: no training or no test pairs are left of %s, fold %s: left out", root, task, ", ".join(lost))
  folds = splits.with_validation(folds, found.pairs, validation_share, seed)
  rgb, lengths = _prepared_arrays(name, root, task, Path(prepared_dir or root / "prepared"), found)
  simulated = (root / SIMULATED_NOTE).exists()
  return SkillDataset(
      name=f"simulated features for {name}/{task}" if simulated else f"{name}/{task}", simulated=simulated,
      source=str(root), videos=tuple(found.files), streams=dict(rgb=rgb), lengths=dict(rgb=lengths),
      row_seconds=dict(rgb=np.full(len(lengths), segment_seconds, np.float32)), pairs=found.pairs, folds=folds,
      missing=found.missing, dropped_pairs=found.dropped_pairs, features_checked=True)


def read_task(name, root, task) -> Task:
  """Reads the labels of a task and looks for its features.

  Args:
    name: "best" or "epic_skills".
    root: folder of the download.
    task: a folder below `<root>/splits`.

  Returns:
    The task, without the videos that are not on disk and their pairs.

  Raises:
    ValueError: if the labels cannot be used, or no features are there.
  """
  root, folder = Path(root), Path(root) / "splits" / task
  if not root.is_dir():
    raise ValueError(f"{root}: no such folder; set config.data.dir to the folder of the {name} download.")
  tasks = sorted(path.name for path in (root / "splits").glob("*") if path.is_dir())
  if task not in tasks:
    raise ValueError(f"{root}: task {task!r} is not in {root / 'splits'}; found: {', '.join(tasks) or 'none'}. "
                     f"Set config.data.task; the tasks of {name} are {', '.join(TASKS[name])}.")
  # The folds of EPIC-Skills deal the same pairs out anew, and some pairs are published twice: the n-th time that a fold
  # names a pair is one row of the table, whichever fold says it.
  rows, of_folds = {}, {}
  for fold, sides in FOLD_FILES[name].items():
    times = collections.Counter()
    of_folds[fold] = [[], []]
    for side, file in enumerate(sides):
      for pair in _read_words(folder / file, 2):
        times[pair] += 1
        of_folds[fold][side].append(rows.setdefault((*pair, times[pair]), len(rows)))
  listed = [[video for video, in _read_words(folder / file, 1)] for file in VIDEO_LISTS[name]] or [[], []]
  named = dict.fromkeys([*listed[0], *listed[1], *(video for row in rows for video in row[:2])])
  files = {video: file for video in named if (file := _feature_file(root, task, video))}
  if not files:
    raise ValueError(f"{root}: none of the {len(named)} videos of {task} is on disk; expected "
                     f"{root / 'features' / '<video>_rgb.npz'}, e.g. {next(iter(named), '')}_rgb.npz.")

  position = {video: i for i, video in enumerate(files)}
  pairs = np.array([[position.get(video, -1) for video in row[:2]] for row in rows], np.int32).reshape(-1, 2)
  kept = (pairs >= 0).all(axis=1)
  new_row = np.cumsum(kept) - 1
  pairs = pairs[kept]
  check_pairs(pairs, tuple(files), str(folder))
  listed = [[position[video] for video in side if video in position] for side in listed]
  folds = tuple(splits.fold_of_pairs(fold, pairs, *(new_row[side][kept[side]] for side in map(np.array, sides)),
                                     train_videos=listed[0], test_videos=listed[1])
                for fold, sides in of_folds.items())
  labels = [folder / file for sides in (*FOLD_FILES[name].values(), VIDEO_LISTS[name]) for file in sides]
  return Task(files, pairs, folds, tuple(video for video in named if video not in files), int((~kept).sum()),
              _fingerprint(root, [*labels, *files.values()]))


def _read_words(path, count):
  """The lines of a text file as tuples of `count` words."""
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
  except FileNotFoundError:
    raise ValueError(f"{path}: is missing; download the splits again.") from None
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: is not a text file ({error}); download the splits again.") from error
  result = []
  for number, line in enumerate(lines, 1):
    words = tuple(line.split())
    if words and len(words) != count:
      raise ValueError(f"{path}, line {number}: expected {count} video id(s) but found {line!r}; correct the line.")
    if count == 2 and words and words[0] == words[1]:
      raise ValueError(f"{path}, line {number}: compares video {words[0]!r} with itself; remove it.")
    if words:
      result.append(words)
  if not result:
    raise ValueError(f"{path}: is empty; download the splits again.")
  return result


def _feature_file(root, task, video):
  for folder in (root / "features" / task, root / "features"):
    if (file := folder / f"{video}_rgb.npz").is_file():
      return file
  return None


def _fingerprint(root, paths):
  stats = {path: path.stat() for path in paths}
  return {path.relative_to(root).as_posix(): [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}


def _prepared_arrays(name, root, task, prepared_dir, found):
  """(`[V, T, D]` features mapped from disk, `[V]` lengths) of a task, prepared now if need be."""
  folder = prepared_dir / name / task / VERSION
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
        _prepare(name, root, task, prepared_dir, folder, found)
        arrays = _map_arrays(folder, found)
  if arrays is None:
    raise ValueError(f"{root}: files of {task} changed while they were prepared; start again when the download is "
                     "complete.")
  return arrays


def _stored_fingerprint(folder):
  try:
    return json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["fingerprint"]
  except (OSError, ValueError, KeyError):   # not there, or cut short by a machine that went down
    return None


def _map_arrays(folder, found):
  """The prepared arrays, or None if there are none of these files."""
  if _stored_fingerprint(folder) != found.fingerprint or not (folder / "rgb.npy").is_file():
    return None
  return np.load(folder / "rgb.npy", mmap_mode="r"), np.load(folder / "rgb_lengths.npy")


def _prepare(name, root, task, prepared_dir, folder, found):
  """Writes the array_record files of a task where they are not up to date, and the arrays made from them."""
  for leftover in folder.parent.glob("incomplete.*"):   # of a start that was killed
    shutil.rmtree(leftover)
  stored = _stored_fingerprint(folder)
  if stored is None:
    logging.info("%s: preparing %s (%d videos) once, in %s", root, task, len(found.files), folder)
  elif stored != found.fingerprint:
    logging.warning("%s: files of %s were added or changed; preparing it again, in %s", root, task, folder)
  if stored != found.fingerprint:
    shutil.rmtree(folder, ignore_errors=True)
  import tensorflow_datasets as tfds   # slow, and not needed once the data are prepared

  tfds.disable_progress_bar()
  config = task if task in TASKS[name] else tfds.core.BuilderConfig(name=task)
  builder = _builders()[name](config=config, data_dir=prepared_dir, file_format="array_record")
  if stored != found.fingerprint:
    options = tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO()):   # it prints that it downloads, which it does not
      builder.download_and_prepare(download_config=options)
  records = list(builder.as_data_source(split="videos"))
  if [record["video"].decode() for record in records] != list(found.files):
    return   # the files changed under our hands; the caller says so
  rgb, lengths = pad_streams(tuple(found.files), [record["rgb"] for record in records])
  for file, array in (("rgb_lengths.npy", lengths), ("rgb.npy", rgb)):   # rgb.npy last: where it is, all is there
    unfinished = folder / f"{file}.unfinished"
    with open(unfinished, "wb") as out:
      np.save(out, array, allow_pickle=False)
    os.replace(unfinished, folder / file)


@functools.cache
def _builders():
  """Builder class of each data set; in a function, for importing `tensorflow_datasets` takes longer than loading."""
  import tensorflow_datasets as tfds

  class Official(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A task's features in one split, "videos"; its pairs, folds and missing videos are in `info.metadata`."""

    VERSION = tfds.core.Version(VERSION)
    url_infos = None   # nothing is fetched; looking for check sums would need a package that nobody else here needs
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Get features and splits from the authors, and pass their folder as manual_dir."

    def _info(self):
      return tfds.core.DatasetInfo(
          builder=self, description=self.__doc__, homepage=self.HOMEPAGE, metadata=tfds.core.MetadataDict(),
          disable_shuffling=True, features=tfds.features.FeaturesDict({
              "video": tfds.features.Text(),
              "rgb": tfds.features.Tensor(shape=(None, None), dtype=np.float32, encoding="bytes"),   # [T, D]
          }))

    def _split_generators(self, dl_manager):
      task = read_task(self.name, dl_manager.manual_dir, self.builder_config.name)
      self.info.metadata.update(
          videos=list(task.files), pairs=task.pairs.tolist(), missing=list(task.missing),
          dropped_pairs=task.dropped_pairs, fingerprint=task.fingerprint,
          folds=[{field: value if field == "name" else value.tolist() for field, value in fold._asdict().items()}
                 for fold in task.folds])
      return {"videos": self._generate_examples(task.files)}

    def _generate_examples(self, files):
      first = None
      for number, (video, file) in enumerate(files.items()):
        arrays = features.read_arrays(file)
        if "arr_0" not in arrays:
          raise ValueError(f"{file}: holds {sorted(arrays)} but not the array 'arr_0'; download it again.")
        rgb = features.as_features(arrays["arr_0"], "rgb", video, file)
        first = first or (rgb, file)
        features.check_widths(rgb, first[0], "rgb", file, first[1])
        yield number, {"video": video, "rgb": rgb}

  class Best(Official):
    """BEST: five daily tasks in 100 long videos each, compared in pairs (Doughty et al., CVPR 2019)."""

    HOMEPAGE = "https://github.com/hazeld/rank-aware-attention-network"
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=task) for task in TASKS["best"]]

  class EpicSkills(Official):
    """EPIC-Skills: four tasks, compared in pairs and dealt into four folds (Doughty et al., CVPR 2018)."""

    HOMEPAGE = "https://github.com/hazeld/EPIC-Skills2018"
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=task) for task in TASKS["epic_skills"]]

  return {builder.name: builder for builder in (Best, EpicSkills)}


def __getattr__(name):
  builders = dict(Best="best", EpicSkills="epic_skills")
  if name not in builders:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return _builders()[builders[name]]
