"""A task of a published data set as it lies on disk: which of its labels can be used, and where its features are.

V videos, T rows of a stream, D channels, P pairs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxskill.data import stream_files
from jaxskill.data.arrays import MAX_BYTES, read_arrays
from jaxskill.data.dataset import Fold
from jaxskill.data.dataset_checks import check_pairs
from jaxskill.data.published.labels import Labels, keep
from jaxskill.data.published.labels_pairs import FOLD_FILES, read_pairs
from jaxskill.data.published.labels_scores import SCORED, read_scores, select_task
from jaxskill.data.user import motion
from jaxskill.data.video import frames
from jaxskill.data.video.video_names import plain, spellings

PREPARED_VERSION = "1.0.0"         # of the prepared files; a new one makes every user prepare again
STREAM_AXES = dict(rgb=2, static=2, kinematics=2, maps=4, times=1)   # [T, D], [N, D], [T, D], [F, H, W, C], [F]
_PAIRS_STREAM = "arr_0"                       # what BEST and EPIC-Skills call the features in their files
# Of BEST and EPIC-Skills: what a file holds -> its folder and the end of its name.
_PAIRS_FILES = {_PAIRS_STREAM: ("features", "_rgb.npz"), "maps": ("maps", ".npz")}
_EVENTS = "new/new_total_frames_256s"         # where the frames of MTL-AQA's whole events lie
NAMES = (*FOLD_FILES, *SCORED)


class Task(NamedTuple):
  """What can be used of a task, and the features of all tasks that are prepared with it."""

  labels: Labels                 # of the videos of the task that are on disk
  files: dict[str, dict]         # prepared together: video -> {stream, or "" where the file names its streams: file}
  rows: slice                    # of the task's videos among `files`
  missing: tuple[str, ...]       # of the task: no features on disk, or no score
  dropped_pairs: int
  unlabeled: tuple[str, ...]    # feature files, without their ending, of no video that any task names
  fingerprint: dict[str, list]   # path below the root -> [bytes, time of change in ns]

  @property
  def pairs(self) -> np.ndarray:
    """Returns the pairs of the labels, `[P, 2]`."""
    return self.labels.pairs

  @property
  def folds(self) -> tuple[Fold, ...]:
    """Returns the folds of the labels."""
    return self.labels.folds


def read_task(name: str, root: str | os.PathLike[str], task: str, split: str = "auto", seed: int = 0) -> Task:
  """Reads the labels of a task and looks for its features.

  Args:
    name: of `NAMES`.
    root: folder of the download.
    task: of a data set of pairs a folder below `<root>/splits`, or one of its sub-tasks alone ("surgery/Suturing");
      else as in `labels_scores`.
    split, seed: see `labels_scores.read_scores`.

  Returns:
    The task, without the videos that are not on disk and their pairs.

  Raises:
    ValueError: if the labels cannot be used, or no features are there.
  """
  root = Path(root)
  if not root.is_dir():
    raise ValueError(f"{root}: no such folder; set config.data.dir to the folder of the {name} download.")
  if name in SCORED:
    labels = read_scores(name, root, split, seed)
    files, unlabeled = _find_scored(name, root, labels)
    labels, chosen = select_task(name, labels, task)
  elif split != "auto":
    raise ValueError(f"split={split!r} is unknown to {name}, whose folds are published; use 'auto'.")
  else:
    labels, chosen = _sub_task(read_pairs(name, root, whole_task(task)), root, task)
    kinds = {kind: place for kind, place in _PAIRS_FILES.items() if (root / place[0]).is_dir()}
    listings = {}
    found = {video: _pairs_files(root, whole_task(task), video, kinds, listings) for video in labels.videos}
    files = {video: of_video for video, of_video in found.items() if len(of_video) == len(kinds) > 0}
    unlabeled = ()                     # features of all tasks lie in one folder
  present = np.array([video in files for video in labels.videos])
  if not (present & chosen).any():
    expected = f"{root / 'features' / '<video>_rgb.npz'}, e.g. {next(iter(labels.videos), '')}_rgb.npz"
    expected += f", or {root / 'maps' / '<video>.npz'}, or both files of every video where both folders are there"
    if name in SCORED:
      first = labels.videos[int(np.argmax(chosen))]
      expected = " and ".join(str(root / folder / f"{first}.npy") for folder in SCORED[name].features)
      expected += "".join(f", or {root / folder / f'{first}.txt'}" for folder in SCORED[name].recordings) + ", ..."
    raise ValueError(f"{root}: none of the {chosen.sum()} videos of {task or name} is on disk; expected {expected}.")
  kept = keep(labels, present & chosen)
  check_pairs(kept.pairs, kept.videos, str(root / "splits" / task))
  start = list(files).index(kept.videos[0])
  used = [*labels.files, *(file for of_video in files.values() for file in of_video.values())]
  return Task(kept, files, slice(start, start + len(kept.videos)),
              tuple(video for video, on in zip(labels.videos, present | ~chosen) if not on) + labels.unscored,
              int(chosen[labels.pairs].all(axis=1).sum()) - len(kept.pairs), unlabeled, _fingerprint(root, used))


def whole_task(task: str) -> str:
  """Returns the task that a sub-task of a data set of pairs belongs to: "surgery" of "surgery/Suturing"."""
  return task.partition("/")[0]


def _sub_task(labels: Labels, root: Path, task: str) -> tuple[Labels, Any]:
  """(labels of a whole task of pairs, `[V]` mask of the videos of a sub-task, its category; of all without one)."""
  _, _, part = task.partition("/")
  kinds = [] if labels.category is None else np.unique(labels.category).tolist()
  if part and part not in kinds:
    raise ValueError(f"{root}: task {task!r}: {whole_task(task)!r} has no part {part!r}, "
                     + (f"only {', '.join(kinds)}." if kinds else "it is one task: set config.data.task to it alone."))
  return labels, labels.category == part if part else np.ones(len(labels.videos), bool)


def read_videos(name: str, root: str | os.PathLike[str], task: str, split: str, seed: int, cache: Path,
                sampling: frames.Sampling) -> tuple[Task, list]:
  """Returns (a task of a data set with scores, its decoded videos: `frames.Ready`), decoded now if need be.

  A video lies in `frames` or `videos` below the root, or in the root, as a file or as a folder of pictures, under its
  id; of AQA-7 also as `<class>-out/<sample>`. Of MTL-AQA the frames of a whole event will do, in a folder of the
  event's number: a dive is then the frames before the last one of its annotation, as published.

  Args:
    name, root, task, split, seed: as of `read_task`.
    cache, sampling: as of `frames.prepare`.

  Raises:
    ValueError: if the labels cannot be used, or there is no video that can be decoded.
  """
  root = Path(root)
  if name not in SCORED:
    raise ValueError(f"config.data.frames.count: frames of {name} are not decoded; set it to 0 and give features.")
  labels, chosen = select_task(name, read_scores(name, root, split, seed), task)
  bases, sources, listings = (root / "frames", root / "videos", root), {}, {}
  for number in np.flatnonzero(chosen):
    video = labels.videos[number]
    names = (video, "-out/".join(video.split("/"))) if name == "aqa7" else (video,)
    source = frames.find(place for base in bases if base.is_dir() for spelling in names
                         for place in spellings(base, spelling, listings))
    if not source and name == "mtl_aqa" and labels.last_frame is not None:
      event = video.split("_")[0]
      source = frames.find((base / event for base in (*bases, root / _EVENTS)), int(labels.last_frame[number]))
    if source:
      sources[video] = source
  ready, failed = frames.prepare(sources, cache, sampling) if sources else ({}, {})
  frames.report(failed)
  if not ready:
    first = labels.videos[int(np.argmax(chosen))]
    why = next(iter(failed.values()), f"expected {root / 'videos' / first}.mp4 or {root / 'frames' / first}/*.jpg, ...")
    raise ValueError(f"{root}: none of the {chosen.sum()} videos of {task or name} is on disk and can be decoded: "
                     f"{why}")
  kept = keep(labels, np.array([video in ready for video in labels.videos]))
  missing = tuple(video for video, of_task in zip(labels.videos, chosen) if of_task and video not in ready)
  return Task(kept, {}, slice(None), missing + labels.unscored, 0, (), {}), [ready[video] for video in kept.videos]


def recordings_of(name: str) -> tuple:
  """Returns what was recorded with the videos of a data set: `labels_scores.Recording`s."""
  return tuple(SCORED[name].recordings.values()) if name in SCORED else ()


def text_reader(name: str, streams: Collection[str], file: Path) -> Callable[[Path], np.ndarray] | None:
  """Returns what reads a recorded movement as the data set reads its own; None where it has none, or of features.

  Args:
    name: of the data set that a run was trained on, of `NAMES` or another.
    streams: that the run reads.
    file: a recorded movement, or a file of features.

  Raises:
    ValueError: for a recorded movement of another kind, whose columns cannot be those of the data set.
  """
  reader = next((recording.read for recording in recordings_of(name) if recording.stream in streams), None)
  if reader is None or not motion.is_motion(file):
    return None
  if file.suffix.lower() != ".txt":
    raise ValueError(f"{file}: this run was trained on the recorded movements of {name} as published, which are text "
                     "files (.txt), and what they hold cannot be made of another kind of recording; give such a text, "
                     "or train on a folder of your own recordings (config.data.name=features).")
  return reader


def _pairs_files(root: Path, task: str, video: str, kinds: Mapping[str, Any],
                 listings: dict[Path, Any]) -> dict[str, Path]:
  """Returns {what a file holds: the file}, as far as the video has them."""
  files = {}
  for kind, (folder, ending) in kinds.items():
    for place in (root / folder, root / folder / task):        # the task's own folder wins
      for spelt in spellings(place, f"{video}{ending}", listings) if place.is_dir() else ():
        if spelt.is_file():
          files[kind] = spelt
  return files


def _find_scored(name: str, root: Path, labels: Labels) -> tuple[dict[str, Any], tuple]:
  """Returns (feature files of each video that has all its streams, files that belong to no video)."""
  streams = {stream: _list_files([root / folder], (".npy", ".npz"))
             for folder, stream in SCORED[name].features.items() if (root / folder).is_dir()}
  for pattern, recording in SCORED[name].recordings.items():
    if folders := sorted(root.glob(pattern)):
      streams[recording.stream] = _list_files(folders, (".txt",))
  groups = np.full(len(labels.videos), "") if labels.category is None else labels.category
  files, used = {}, set()
  for video, group in zip(labels.videos, groups):
    found = {stream: listed[key] for stream, listed in streams.items() for key in (video, f"{group}/{video}")
             if key in listed}
    used.update(found.values())
    if streams and len(found) == len(streams):
      files[video] = found
  unlabeled = [file.relative_to(root).with_suffix("").as_posix() for listed in streams.values()
               for file in listed.values() if file not in used]
  return files, tuple(unlabeled)


def _list_files(folders: Sequence[Path], endings: tuple[str, ...]) -> dict[str, Path]:
  """Returns every file with one of the endings below some folders, by its path without the ending."""
  listed = {}
  for folder in folders:
    for file in sorted(file for file in folder.rglob("*") if file.suffix in endings):
      video = plain(file.relative_to(folder).with_suffix("").as_posix())
      if video in listed:
        raise ValueError(f"{folder}: video {video!r} has two files, {listed[video]} and {file.name}; remove one.")
      listed[video] = file
  return listed


def _fingerprint(root: Path, paths: Sequence[Path]) -> dict[str, Any]:
  stats = {path: path.stat() for path in paths}
  return {path.relative_to(root).as_posix(): [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}


def read_streams(name: str, files: Mapping[str, Mapping[str, Path]],
                 max_bytes: int = MAX_BYTES) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
  """Yields the features of the videos, one video at a time.

  Args:
    name: of `NAMES`.
    files: `Task.files`.
    max_bytes: that the arrays of one file may take in memory.

  Yields:
    (video, stream -> float32 array), every video with the same streams of the same widths.

  Raises:
    ValueError: for a file that cannot be used, or that differs from the first in more than its length.
  """
  first = None
  recordings = {recording.stream: recording.read for recording in recordings_of(name)}
  for video, of_video in files.items():
    streams = {}
    for kind, file in of_video.items():
      arrays = {kind: recordings[kind](file)} if kind in recordings else _read_file(kind, file, video, max_bytes)
      streams |= {stream: (array if stream == "times" else stream_files.as_features(array, stream, video, file), file)
                  for stream, array in arrays.items()}
    first = first or streams
    for stream, (array, file) in streams.items():
      if streams.keys() != first.keys():
        raise ValueError(f"{file}: holds the streams {sorted(streams)} but {next(iter(first.values()))[1]} holds "
                         f"{sorted(first)}; every video needs the same streams.")
      if array.ndim != STREAM_AXES[stream]:
        raise ValueError(f"{file}: video {video!r}, stream {stream!r} has {array.ndim} axes (shape {array.shape}); "
                         f"expected {STREAM_AXES[stream]}; save it again.")
      stream_files.check_widths(array, first[stream][0], stream, file, first[stream][1])
    yield video, {stream: array for stream, (array, _) in streams.items()}


def _read_file(kind: str, file: Path, video: str, max_bytes: int) -> dict[str, np.ndarray]:
  """Returns the arrays of one file by stream; `kind` is a stream, the name of the array in BEST's files, or ""."""
  arrays = stream_files.with_maps(read_arrays(file, max_bytes), video, file)
  if kind == _PAIRS_STREAM:
    if kind not in arrays:
      raise ValueError(f"{file}: holds {sorted(arrays)} but not the array {kind!r}; download it again.")
    return {"rgb": arrays[kind]}
  if len(arrays) == 1:
    (key, array), = arrays.items()
    return {kind or (key if key in STREAM_AXES else "rgb"): array}
  if kind == "maps" and arrays.keys() == {"maps", "times"}:
    return arrays
  if kind or arrays.keys() - STREAM_AXES.keys() or "times" in arrays and "maps" not in arrays:
    raise ValueError(f"{file}: holds the arrays {sorted(arrays)}; expected "
                     f"{'one array' if kind else 'one array, or streams of ' + ', '.join(STREAM_AXES)}; save it again.")
  return arrays
