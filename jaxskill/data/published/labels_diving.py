"""The score labels of three data sets of dives, as their authors publish them.

The score of a dive is its difficulty times the sum of the three judges' marks that count, 0 to 30.

Reference: Parmar and Morris, CVPR 2019 (MTL-AQA) and CVPRW 2017 (UNLV-Dive); Xu et al., CVPR 2022 (FineDiving).
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from jaxskill.data import tables
from jaxskill.data.published import safe_pickle
from jaxskill.data.published.labels import FOLDERS, Labels, NoLabels, Video, from_videos, label_file, read_mat
from jaxskill.data.video.video_names import video_name

JUDGES = 30.0                                # highest sum of the three marks of a dive that count
_INTEGERS = (int, np.integer)


def read_mtl_aqa(root: pathlib.Path, split: str, seed: int) -> Labels:
  """Returns the labels of MTL-AQA; see `labels_scores.read_scores` for arguments and errors."""
  names = ("final_annotations_dict_with_dive_number.pkl", "augmented_final_annotations_dict.pkl",
           "final_annotations_dict.pkl")
  folders = (*FOLDERS, "CoRe_info", "MUSDL_info", "Ready_2_Use/MTL-AQA_split_0_data")
  file, *lists = (label_file(root, wanted, folders, "mtl_aqa")
                  for wanted in (names, ("train_split_0.pkl",), ("test_split_0.pkl",)))
  videos = _read_annotations(file)
  if split == "competition":
    held_out = {name: [video.id for video in videos if video.competition == name]
                for name in sorted({video.competition or "" for video in videos})}
    sides = {f"competition_{name}": ([video.id for video in videos if video.competition != name], tests)
             for name, tests in held_out.items()}
  else:
    train, test = map(_read_list, lists)
    sides = {"official": (train, test)}
  return from_videos(videos, sides, (file, *lists))


def read_unlv_dive(root: pathlib.Path, split: str, seed: int) -> Labels:
  """Returns the labels of UNLV-Dive; for arguments and what it raises see `labels_scores.read_scores`."""
  try:
    file = label_file(root, ("diving_overall_scores.mat",), FOLDERS, "unlv_dive")
  except NoLabels:
    return _read_unlv_dive_of_mtl_aqa(root)
  of_difficulty, *lists = (label_file(root, (name,), FOLDERS, "unlv_dive") for name in (
      "diving_difficulty_level.mat", "split_300_70/training_idx.mat", "split_300_70/testing_idx.mat"))
  scores, difficulties = (read_mat(path, key).ravel() for path, key in
                          ((file, "overall_scores"), (of_difficulty, "difficulty_level")))
  if len(scores) != len(difficulties):
    raise ValueError(f"{of_difficulty}: holds {len(difficulties)} difficulties for the {len(scores)} scores in "
                     f"{file.name}; download both again.")
  videos = [_dive(f"{number:03d}", *words, None, file) for number, words in enumerate(zip(scores, difficulties), 1)]
  sides = []
  for path, key in zip(lists, ("training_idx", "testing_idx")):
    numbers = read_mat(path, key).ravel()
    wrong = numbers[(numbers < 1) | (numbers > len(videos)) | (numbers % 1 != 0)]
    if wrong.size:
      raise ValueError(f"{path}: {wrong[0]:g} is the number of no dive; expected 1 to {len(videos)}; download it "
                       "again.")
    sides.append([f"{int(number):03d}" for number in numbers])
  return from_videos(videos, {"official": sides}, (file, of_difficulty, *lists))


def _read_unlv_dive_of_mtl_aqa(root: pathlib.Path) -> Labels:
  """Returns the copy that comes with MTL-AQA, whose lists name one dive that has no score there."""
  folders = (*FOLDERS, "UNLV_Dive_split_4")
  *lists, file = (label_file(root, (name,), folders, "unlv_dive") for name in (
      "train_split_370_4.pkl", "test_split_370_4.pkl", "final_annotations_dict.pkl"))
  videos = {video.id: video for video in _read_annotations(file)}
  named = [_read_list(path) for path in lists]
  sides = [[video for video in side if video in videos] for side in named]
  unscored = tuple(video for side in named for video in side if video not in videos)
  used = [videos[video] for video in sorted(sum(sides, []))]
  return from_videos(used, {"official": sides}, (file, *lists))._replace(unscored=unscored)


def read_finediving(root: pathlib.Path, split: str, seed: int) -> Labels:
  """Returns the labels of FineDiving; see `labels_scores.read_scores` for arguments and errors."""
  file = label_file(root, ("finediving.csv",), FOLDERS, "finediving")
  table, lines = tables.read_table(file, ("event", "sample", "split", "action_type", "score", "difficulty"), ())
  ids = [video_name(f"{event}/{sample}", f"{file}, line {line}")
         for event, sample, line in zip(table["event"], table["sample"], lines)]
  cells = zip(ids, table["score"], table["difficulty"], table["action_type"], table["event"], lines)
  videos = [_dive(video, score, difficulty, action, f"{file}, line {line}", competition)
            for video, score, difficulty, action, competition, line in cells]

  def side(name: str) -> list[str]:
    return [video for video, value in zip(ids, table["split"]) if value == name]
  return from_videos(videos, {"official": (side("train"), side("test"))}, (file,))


def _read_annotations(file: pathlib.Path) -> list[Video]:
  content = safe_pickle.load(file)
  if not isinstance(content, dict) or not content:
    raise ValueError(f"{file}: holds a {type(content).__name__}, not the annotations by (event, sample); download it "
                     "again.")
  videos = []
  for key, dive in content.items():
    video = _dive_id(key, file)
    if not isinstance(dive, dict):
      raise ValueError(f"{file}: dive {key} is a {type(dive).__name__}, not a dict; download it again.")
    last, dive_of = dive.get("end_frame"), _dive(video, dive.get("final_score"), dive.get("difficulty"),
                                                 dive.get("dive_number"), file, competition=video.split("_")[0])
    videos.append(dive_of._replace(last_frame=int(last) if isinstance(last, _INTEGERS) else None))
  return videos


def _read_list(path: pathlib.Path) -> list[str]:
  keys = safe_pickle.load(path)
  if not isinstance(keys, list):
    raise ValueError(f"{path}: holds a {type(keys).__name__}, not a list of (event, sample); download it again.")
  return [_dive_id(key, path) for key in keys]


def _dive_id(key: tuple[int, int], file: pathlib.Path) -> str:
  if not (isinstance(key, tuple) and len(key) == 2 and all(isinstance(part, _INTEGERS) for part in key)):
    raise ValueError(f"{file}: {key!r} is not an (event, sample); download it again.")
  return f"{key[0]:02d}_{key[1]:03d}"


def _dive(video: str, score: Any, difficulty: Any, kind: Any, place: Any,
          competition: str | None = None) -> Video:
  score, difficulty = (tables.number(value, name, video, place)
                       for value, name in ((score, "final score"), (difficulty, "difficulty")))
  if difficulty <= 0:
    raise ValueError(f"{place}: difficulty {difficulty:g} of video {video!r} must be positive, for scores are divided "
                     "by it; correct it.")
  return Video(video, score, JUDGES * difficulty, difficulty=difficulty, category=kind and str(kind),
               competition=competition)
