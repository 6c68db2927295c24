"""The ratings of JIGSAWS and its kinematics, as their authors publish them.

A trial is rated in six respects, each 1 to 5; its score is their sum.

Reference: Gao et al., M2CAI 2014; folds of Tang et al., CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxskill.data import tables
from jaxskill.data.published import safe_pickle
from jaxskill.data.published.labels import FOLDERS, Labels, NoLabels, Video, from_videos, label_file, read_words

SURGERY = ("knot_tying", "needle_passing", "suturing")
# In the order of the meta files; label.pkl, whose parts have no names, is taken to follow it.
RATINGS = ("respect_for_tissue", "suture_and_needle_handling", "time_and_motion", "flow_of_operation",
           "overall_performance", "quality_of_final_product")
KINEMATICS = 76                              # columns: two master and two patient-side manipulators, 19 each
KINEMATICS_HERTZ = 30.0


def read_jigsaws(root: Path, split: str, seed: int) -> Labels:
  """Returns the labels of JIGSAWS: ratings from label.pkl, else from the meta files.

  Args:
    root, seed: see `labels_scores.read_scores`.
    split: "auto": the folds of splits.pkl, without it those of "louo"; "loso".

  Raises:
    ValueError: if the labels cannot be used.
  """
  videos, files = _read_pickle(root) or _read_meta(root)
  try:
    published = label_file(root, ("splits.pkl",), FOLDERS, "jigsaws")
    files = *files, published              # whatever the split: features are prepared again where these change
  except NoLabels:
    published, split = None, "louo" if split == "auto" else split
  folds = safe_pickle.load(published) if published and split == "auto" else {}
  if not isinstance(folds, dict):
    raise ValueError(f"{published}: holds no dict; download it again.")
  sides = {}
  for task in SURGERY:
    trials = [video.id for video in videos if video.category == task]
    if not trials:
      continue
    if split == "auto":
      key = next((key for key in folds if str(key).lower() == task), None)
      if key is None:
        raise ValueError(f"{published}: names {', '.join(map(str, folds))} but not {task}; download it again.")
      if not _are_folds(folds[key]):
        raise ValueError(f"{published}: {key!r:.40} holds no lists of trials, one a fold; download it again.")
      tests = {f"fold{number}": list(test) for number, test in enumerate(folds[key], 1)}
    else:
      kind, part = ("surgeon", slice(-4, -3)) if split == "louo" else ("trial", slice(-3, None))
      tests = {f"{kind}_{name}": [video for video in trials if video[part] == name]
               for name in sorted({video[part] for video in trials})}
    sides |= {f"{task}/{name}": ([trial for trial in trials if trial not in test], test)
              for name, test in tests.items()}
  return from_videos(videos, sides, files)


def _are_folds(content: Any) -> bool:
  lists = (list, tuple)
  return isinstance(content, lists) and all(isinstance(fold, lists) and all(isinstance(trial, str) for trial in fold)
                                            for fold in content)


def _read_pickle(root: Path) -> tuple | None:
  """Returns (videos, files), or None where there is no pickle."""
  try:
    file = label_file(root, ("label.pkl",), FOLDERS, "jigsaws")
  except NoLabels:
    return None
  content = safe_pickle.load(file)
  if not isinstance(content, dict):
    raise ValueError(f"{file}: holds no dict; download it again.")
  return [_trial(video, parts, file) for video, parts in content.items()], (file,)


def _read_meta(root: Path) -> tuple:
  """Returns (videos, files) of the tasks that are there: lines "trial level total" and the six parts."""
  videos, files = [], []
  for task in SURGERY:
    name = task.title()
    if not (file := Path(root) / name / f"meta_file_{name}.txt").is_file():
      continue
    files.append(file)
    for line, (video, _, *words) in read_words(file, 9, "words (trial, level, total, six ratings)"):
      place = f"{file}, line {line}"
      total, *parts = (tables.number(word, "rating", video, place) for word in words)
      videos.append(_trial(video, parts, place))
      if total != sum(parts):
        raise ValueError(f"{place}: trial {video!r} is rated {total:g} in total, but its parts add up to "
                         f"{sum(parts):g}; correct them.")
  if not files:
    raise NoLabels(f"{root}: no label.pkl here (looked in {', '.join(folder or '.' for folder in FOLDERS)}), and no "
                   "Suturing/meta_file_Suturing.txt or the like; put the labels of jigsaws there, as their authors "
                   "publish them.")
  return videos, tuple(files)


def _trial(video: str, parts: Sequence[float], place: str | Path) -> Video:
  task = video[:-5].lower() if isinstance(video, str) else ""
  if task not in SURGERY or not video[-3:].isdigit():
    raise ValueError(f"{place}: {video!r} is no trial of {', '.join(SURGERY)}, as Knot_Tying_B001; download it again.")
  numbers = isinstance(parts, list | tuple | np.ndarray) and all(np.isscalar(part) for part in parts)
  ratings = np.asarray(parts if numbers else [])
  if ratings.shape != (len(RATINGS),) or ratings.dtype.kind not in "fiu" or not ((ratings >= 1) & (ratings <= 5)).all():
    raise ValueError(f"{place}: trial {video!r} has the ratings {' '.join(repr(parts).split())[:80]}; expected "
                     "six of 1 to 5; correct them.")
  return Video(video, ratings.sum(), 30, 6, category=task, subject=video[-4], criteria=dict(zip(RATINGS, ratings)))


def read_kinematics(file: Path) -> np.ndarray:
  """Returns the kinematics of one trial.

  Args:
    file: text, one row of 76 numbers a thirtieth of a second: position, rotation matrix, velocities and gripper angle
      of the left and right master, then of the left and right patient-side manipulator; metres, radians, seconds.

  Returns:
    `[T, 76]` float32.

  Raises:
    ValueError: if it holds anything else.
  """
  try:
    table = np.loadtxt(file, np.float32, ndmin=2)
  except (ValueError, OSError) as error:
    raise ValueError(f"{file}: is no table of numbers ({error}); download it again.") from error
  if table.shape[1:] != (KINEMATICS,) or not len(table):
    raise ValueError(f"{file}: holds {len(table)} rows of {table.shape[1]} columns; expected {KINEMATICS} columns of "
                     "kinematics; download it again.")
  return table
