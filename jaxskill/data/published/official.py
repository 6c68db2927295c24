"""Published data sets, prepared once with TensorFlow Datasets (without TensorFlow) and mapped into memory.

  best, epic_skills               pairs: `labels_pairs` says where the lists lie
    <root>/features/<video>_rgb.npz            arr_0: float [T, D], 400 x 1024 as published; <video> may hold folders,
                                               and features/<task>/<video>_rgb.npz will do as well
    <root>/maps/<video>.npz                    feature maps `rgb` and `flow`, or `maps`, [F, H, W, C], the stream
                                               `maps`, and, if known, `times` [F] in seconds; with both folders, both
                                               streams
  mtl_aqa, unlv_dive, aqa7, jigsaws, finediving  scores: `labels_scores` says where the labels lie
    <root>/features/<video>.npy                the stream `rgb`: float [T, D], e.g. 10 snippets x 1024
    <root>/features/<video>.npz                or one such array, or the streams `rgb` [T, D], `static` [N, D], `maps`
                                               [F, H, W, C] under their names; features/<category>/<video>.np[yz] (of
                                               jigsaws and aqa7: the task) will do as well
    <root>/<Task>/kinematics/AllGestures/<video>.txt           of jigsaws, beside features or without: the stream
                                               `kinematics` [T, 76], 30 rows a second
  rhythmic_gymnastics, fis_v, mit_skating        scores
    <root>/dynamic_feat/<video>.npy            the stream `rgb`: float [T, D], 1024 wide as published
    <root>/static_feat/<video>.npy             the stream `static`: float [N, D], 2048 wide as published; without this
                                               folder, or the other one, there is one stream

With scores, videos or folders of their frames may lie there in place of features: `official_files.read_videos`.
Labelled videos without features are left out and reported, features without labels too. The first start writes
`<prepared_dir>/<name>/<task>/1.0.0` (`prepared`). `builders.BUILDERS` are
the `tfds` builders, by these names.

V videos, T segments, N static frames, D channels, P pairs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from jaxskill.data import splits
from jaxskill.data.arrays import MAX_BYTES
from jaxskill.data.dataset import NO_PAIRS, SIMULATED_NOTE, Fold, SkillDataset
from jaxskill.data.dataset_checks import check_seconds
from jaxskill.data.published.labels import Labels
from jaxskill.data.published.labels_scores import SCORED
from jaxskill.data.published.official_files import NAMES, Task, read_task, read_videos, recordings_of
from jaxskill.data.published.prepared import prepared_arrays
from jaxskill.data.stream_files import take_times
from jaxskill.data.video import frames

# Data sets of which all pairs were shown to annotators: those on which they did not agree are in no list. Doughty,
# Mayol-Cuevas, Damen, CVPR 2019, Sec. 4 (of BEST 40 % were).
ALL_COMPARED = ("epic_skills",)


def load_official(name: str, root: str | os.PathLike[str], task: str = "", prepared_dir: str | os.PathLike[str] = "",
                  validation_share: float = 0.0, seed: int = 0, segment_seconds: float = 1.0, *, split: str = "auto",
                  make_pairs: bool = False, tie_margin: float = 0.0, pairs_within: str = "",
                  stream_seconds: Mapping[str, float] | None = None, sampling: frames.Sampling | None = None,
                  max_bytes: int = MAX_BYTES) -> SkillDataset:
  """Loads one task of a published data set, and prepares it first where that has not been done.

  Args:
    name: of `NAMES`: "best", "epic_skills", or a data set with scores; root: folder of the download.
    task: of BEST and EPIC-Skills a folder below `splits`, e.g. "tie_tie", or one of its sub-tasks ("surgery/Suturing");
      of a data set with scores as in `labels_scores`, where "" or "all" is every video.
    prepared_dir: where prepared data are kept; `<root>/prepared` if empty.
    validation_share: share of each fold's training videos that validates; 0 for none.
    seed: of the validation videos, and of the random splits of mit_skating.
    segment_seconds: seconds from one segment to the next; what was recorded with the videos has a rate of its own.
    stream_seconds: {stream: seconds from one row to the next}, for streams where it is another.
    split: "auto" for the published or usual folds; others of some data sets: `labels_scores.read_scores`; "all" trains
      on every video and tests none.
    make_pairs: make pairs from scores; without, a data set with scores has none. BEST and EPIC-Skills have their own.
    tie_margin, pairs_within: of pairs made from scores, as in `features.load_features`.
    sampling: a `frames.Sampling`: instead of features, the frames of the videos of a data set with scores.
    max_bytes: that the arrays of one file may take in memory.

  Returns:
    The data set, its streams `[V, T, ...]` mapped from disk. Videos that the labels name and the disk lacks are left
    out and listed in `missing`.

  Raises:
    ValueError: if the download, a file of it, or an option cannot be used; it names the place and the remedy.
  """
  if name not in NAMES:
    raise ValueError(f"name={name!r} is unknown; use one of {', '.join(NAMES)}.")
  stream_seconds = dict(stream_seconds or {})
  check_seconds(segment_seconds, stream_seconds)
  root, prepared = Path(root), Path(prepared_dir or Path(root) / "prepared")
  published = "auto" if split == "all" else split
  if sampling:
    found, decoded = read_videos(name, root, task, published, seed, prepared / name / "frames", sampling)
  else:
    found = read_task(name, root, task, published, seed)
  labels = _reported(found, root, name, task).labels
  tied = _undecided(labels) if name in ALL_COMPARED else NO_PAIRS
  if name in SCORED and make_pairs:
    labels, tied = _with_pairs(labels, tie_margin, pairs_within, root)
  folds = (splits.everything(len(labels.videos), labels.pairs) if split == "all" else
           _usable(root, task or name, found, labels))
  folds = splits.with_validation(folds, labels.pairs, validation_share, seed)
  if sampling:
    streams, lengths, row_times, between = frames.streams_of(decoded)
  else:
    streams, lengths, row_times, between = take_times(*prepared_arrays(name, root, task, prepared, found, max_bytes))
  full_name, simulated = f"{name}/{task}" if task else name, (root / SIMULATED_NOTE).exists()
  seconds = stream_seconds | {recording.stream: recording.row_seconds for recording in recordings_of(name)}
  row_seconds = {stream: np.full(len(labels.videos), seconds.get(stream, segment_seconds), np.float32)
                 for stream in streams}
  return SkillDataset(
      name=f"simulated features for {full_name}" if simulated else full_name, simulated=simulated, source=str(root),
      streams=streams, lengths=lengths, row_seconds=row_seconds | between, row_times=row_times, folds=folds,
      missing=found.missing, dropped_pairs=found.dropped_pairs, features_checked=True,
      similar=tied, tied_pairs=len(tied), **_known(labels))


def _reported(found: Task, root: Path, name: str, task: str) -> Task:
  """The `Task`, after what is left out has been said: labelled videos without features, features without labels."""
  if found.missing:
    pairs = f", with {found.dropped_pairs} pairs" if found.dropped_pairs else ""
    logging.warning("%s: %d videos of %s have no features on disk, or no score, and are left out%s: %s", root,
                    len(found.missing), task or name, pairs, ", ".join(found.missing[:5]))
  if found.unlabeled:
    logging.warning("%s: %d feature files have no label in %s and are left out: %s", root, len(found.unlabeled), name,
                    ", ".join(found.unlabeled[:5]))
  return found


def _known(labels: Labels) -> dict[str, Any]:
  """Returns what labels say of the videos, as fields of a `SkillDataset`."""
  numbers = {name: getattr(labels, name) for name in ("score", "difficulty")}
  same = ("videos", "pairs", "category", "subject", "competition", "criteria", "score_range")
  return {name: getattr(labels, name) for name in same} | {
      name: None if values is None else values.astype(np.float32) for name, values in numbers.items()}


def _undecided(labels: Labels) -> np.ndarray:
  """`[S, 2]` pairs of videos of one category that no list orders: annotators did not agree on them."""
  ordered = np.eye(len(labels.videos), dtype=bool)
  ordered[tuple(labels.pairs.T)] = True
  same = True if labels.category is None else labels.category[:, None] == labels.category
  return np.argwhere(np.triu(~ordered & ~ordered.T & same)).astype(np.int32)


def _with_pairs(labels: Labels, tie_margin: float, pairs_within: str, root: Path) -> tuple[Labels, np.ndarray]:
  """Returns (labels with pairs made from their scores, `[T, 2]` tied pairs)."""
  groups = getattr(labels, pairs_within) if pairs_within in ("category", "subject") else None
  if pairs_within and groups is None:
    raise ValueError(f"{root}: pairs_within={pairs_within!r} needs to be '', 'category' or 'subject', and known in the "
                     "labels.")
  assert labels.score is not None              # of a data set with scores
  pairs, tied = splits.pairs_from_scores(labels.score, tie_margin, groups)
  if not len(pairs):
    raise ValueError(f"{root}: the scores of {len(labels.videos)} videos make no pair ({len(tied)} tied); lower "
                     "config.data.tie_margin, or set config.data.make_pairs=False where scores will do.")
  folds = tuple(splits.fold_of_videos(fold.name, pairs, fold.train_videos, fold.test_videos) for fold in labels.folds)
  return labels._replace(pairs=pairs, folds=folds), tied


def _usable(root: Path, task: str, found: Task, labels: Labels) -> tuple[Fold, ...]:
  """Returns the folds with something to train on and to test; says so if others are left out."""
  of = "pairs" if len(labels.pairs) else "videos"
  folds = tuple(fold for fold in labels.folds if splits.is_usable(fold, of))
  if not folds:
    raise ValueError(f"{root}: the {len(labels.videos)} videos of {task} on disk leave no fold with training and test "
                     f"{of} ({len(found.missing)} videos are missing); complete the download, or use another split"
                     + (": a side of one video, or of equal scores, has no pair." if of == "pairs" else "."))
  if len(folds) < len(labels.folds):
    lost = sorted({fold.name for fold in labels.folds} - {fold.name for fold in folds})
    logging.warning("%s: no training or no test %s are left of %s, fold %s: left out", root, of, task, ", ".join(lost))
  return folds
