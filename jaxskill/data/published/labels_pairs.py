"""The pair lists of BEST and EPIC-Skills, as their authors publish them.

  <root>/splits/<task>/train.txt, test.txt       BEST: lines "better worse", and one video a line in
                       train_vid_list.txt, test_vid_list.txt
  <root>/splits/<task>/train_split{1..4}.txt, test_split{1..4}.txt       EPIC-Skills: lines "better worse"

Reference: Doughty, Mayol-Cuevas and Damen, The Pros and Cons: Rank-Aware Temporal Attention for Skill Determination in
Long Videos, CVPR 2019 (BEST); Doughty, Damen and Mayol-Cuevas, Who's Better? Who's Best? Pairwise Deep Ranking for
Skill Determination, CVPR 2018 (EPIC-Skills).
"""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np

from jaxskill.data.dataset import Fold
from jaxskill.data.published.labels import Labels, read_words
from jaxskill.data.video.video_names import video_name

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


def read_pairs(name: str, root: Path, task: str) -> Labels:
  """Reads the pair lists of a task.

  Args:
    name: "best" or "epic_skills".
    root: folder of the download.
    task: a folder below `<root>/splits`.

  Returns:
    The labels; a pair that a list repeats is repeated. Where ids lie in several folders ("Hand/A1-S", "Sonic/B1-S"),
    these are sub-tasks learnt together: their category.

  Raises:
    ValueError: if the lists cannot be used.
  """
  folder = Path(root) / "splits" / task
  tasks = sorted(path.name for path in (Path(root) / "splits").glob("*") if path.is_dir())
  if task not in tasks:
    raise ValueError(f"{root}: task {task!r} is not in {Path(root) / 'splits'}; found: {', '.join(tasks) or 'none'}. "
                     f"Set config.data.task; the tasks of {name} are {', '.join(TASKS[name])}.")
  # The folds of EPIC-Skills deal the same pairs out anew, and some pairs are published twice: the n-th time that a fold
  # names a pair is one row of the table, whichever fold says it.
  rows, of_folds = {}, {}
  for fold, sides in FOLD_FILES[name].items():
    times = collections.Counter()
    of_folds[fold] = [[], []]
    for side, file in enumerate(sides):
      for pair in _read_side(folder / file):
        times[pair] += 1
        of_folds[fold][side].append(rows.setdefault((*pair, times[pair]), len(rows)))
  listed = [[video_name(video, f"{folder / file}, line {line}")
             for line, (video,) in read_words(folder / file, 1, "video id(s)")] for file in VIDEO_LISTS[name]]
  listed = listed or [[], []]
  named = dict.fromkeys([*listed[0], *listed[1], *(video for row in rows for video in row[:2])])
  videos = sorted(named, key=lambda video: video.rpartition("/")[0])       # a sub-task's videos lie side by side
  position = {video: i for i, video in enumerate(videos)}
  train, test = (np.array([position[video] for video in side], np.int32) for side in listed)
  pairs = np.array([[position[video] for video in row[:2]] for row in rows], np.int32)
  files = tuple(folder / file for sides in (*FOLD_FILES[name].values(), VIDEO_LISTS[name]) for file in sides)
  folds = tuple(Fold(fold, train, test, *(np.array(side, np.int32) for side in sides))
                for fold, sides in of_folds.items())
  category = np.array([video.rpartition("/")[0] for video in videos])
  return Labels(tuple(videos), folds, files, pairs, category=category if len(np.unique(category)) > 1 else None)


def _read_side(path: Path) -> list[tuple[str, str]]:
  pairs = []
  for line, pair in read_words(path, 2, "video id(s)"):
    better, worse = (video_name(video, f"{path}, line {line}") for video in pair)
    if better == worse:
      raise ValueError(f"{path}, line {line}: compares video {better!r} with itself; remove it.")
    pairs.append((better, worse))
  return pairs
