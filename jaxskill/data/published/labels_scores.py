"""The score labels of eight data sets, as their authors publish them; nothing is downloaded.

Label files lie in the root, in `info`, `data` or `data/info` below it, or in the folder named here.

  mtl_aqa              final_annotations_dict_with_dive_number.pkl (CoRe), augmented_final_annotations_dict.pkl (MUSDL)
                       or final_annotations_dict.pkl, in CoRe_info, MUSDL_info or Ready_2_Use/MTL-AQA_split_0_data,
                       with train_split_0.pkl and test_split_0.pkl. Video <event>_<sample>: 01_001.
  unlv_dive            diving_overall_scores.mat, diving_difficulty_level.mat, split_300_70/training_idx.mat and
                       testing_idx.mat. Video 001 to 370. Or the copy that comes with MTL-AQA, in UNLV_Dive_split_4:
                       final_annotations_dict.pkl, train_split_370_4.pkl and test_split_370_4.pkl, videos as there.
  aqa7                 consolidated_train_list.mat and consolidated_test_list.mat, or split_4_train_list.mat and
                       split_4_test_list.mat in Split_4: rows (class, sample, 100 x score). Video <class>/<sample>:
                       diving/054.
  jigsaws              label.pkl, or <Task>/meta_file_<Task>.txt: lines "trial level total" and six ratings; splits.pkl
                       where its folds are asked for. Video as there: Knot_Tying_B001.
  finediving           finediving.csv: event,sample,split,action_type,score,difficulty. Video <event>/<sample>: 01/1.
  rhythmic_gymnastics  train.txt, test.txt. Video as there: Ball_001.
  fis_v                train_dataset.txt, test_dataset.txt: lines "video tes pcs deductions". Video as there: 1.
  mit_skating          annotations.txt: lines "video total tes pcs first_frame last_frame". Video as there.

What a task is, and its score:

* mtl_aqa, unlv_dive, finediving: one task. The score is the final score: difficulty times the sum of three judges'
  marks, 0 to 30. So the possible range of a video is 0 to 30 x difficulty, and score / difficulty is what the field
  predicts. An event is a competition: MTL-AQA's lists have all of them on both sides.
* aqa7: a class is a task. Scores are the judges'; the ranges are those of the published normalisation (`AQA7_RANGES`).
* jigsaws: the score is the sum of six ratings of 1 to 5. Subjects are the surgeons.
* rhythmic_gymnastics: an apparatus is a task. Total = difficulty + execution - penalty, to a rounding of 0.01; 0 to 25,
  for the paper divides it by 25. Of its parts the rules bound execution alone, by 10. The difficulty part is a
  judgement (Spearman .95 with the total): a criterion, never `SkillDataset.difficulty`, which methods may read.
* fis_v, mit_skating: a score is a task: tes (technical), pcs (components) or total (tes + pcs - deductions). Rules
  bound components alone: 40 (ladies' short programme) and 50 (men's). No rule bounds technical scores: 45 and 60 are
  round numbers above all labels.

"" or "all" is every video: of aqa7, jigsaws and rhythmic_gymnastics with the folds of each task, named after it; of
fis_v and mit_skating with the total.

V videos.

Reference: Parmar and Morris, WACV 2019 (AQA-7); Zeng et al., ACM MM 2020 (Rhythmic Gymnastics, splits of MIT-Skating);
Xu et al., TCSVT 2019 (Fis-V); Pirsiavash et al., ECCV 2014 (MIT-Skating). Others: `labels_diving`, `labels_jigsaws`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxskill.data import tables
from jaxskill.data.dataset_checks import check_scores
from jaxskill.data.published.labels import FOLDERS, Labels, Video, from_videos, label_file, read_mat, read_words
from jaxskill.data.published.labels_diving import read_finediving, read_mtl_aqa, read_unlv_dive
from jaxskill.data.published.labels_jigsaws import KINEMATICS_HERTZ, SURGERY, read_jigsaws, read_kinematics
from jaxskill.data.video.video_names import video_name

AQA7_CLASSES = ("diving", "gym_vault", "ski_big_air", "snowboard_big_air", "sync_diving_3m", "sync_diving_10m")
AQA7_RANGES = np.array([[21.6, 102.6], [12.3, 16.87], [8, 50], [8, 50], [46.2, 104.88], [49.8, 99.36]])
APPARATUS = ("ball", "clubs", "hoop", "ribbon")
SKATING_TASKS = ("tes", "pcs", "total")
SKATING_HIGHEST = dict(fis_v=dict(tes=45.0, pcs=40.0, total=85.0), mit_skating=dict(tes=60.0, pcs=50.0, total=110.0))
MIT_FOLDS, MIT_TEST = 5, 50                  # random splits, and test videos of each


def _read_aqa7(root: pathlib.Path, split: str, seed: int) -> Labels:
  videos, sides, files = [], {name: ([], []) for name in AQA7_CLASSES}, []
  for side, word in enumerate(("train", "test")):
    names = f"consolidated_{word}_list.mat", f"split_4_{word}_list.mat"
    file = label_file(root, names, (*FOLDERS, "Split_4"), "aqa7")
    files.append(file)
    table = read_mat(file, f"consolidated_{word}_list")
    if table.ndim != 2 or table.shape[1] != 3:
      raise ValueError(f"{file}: holds numbers of shape {table.shape}; expected [videos, 3] (class, sample, 100 x "
                       "score); download it again.")
    for number, sample, score in table:
      if number not in range(1, len(AQA7_CLASSES) + 1) or sample != int(sample):
        raise ValueError(f"{file}: class {number:g}, sample {sample:g} is none of AQA-7; expected classes 1 to "
                         f"{len(AQA7_CLASSES)} and whole numbers; download it again.")
      name, (low, high) = AQA7_CLASSES[int(number) - 1], AQA7_RANGES[int(number) - 1]
      videos.append(Video(f"{name}/{int(sample):03d}", score / 100, high, low, category=name))
      sides[name][side].append(videos[-1].id)
  return from_videos(videos, sides, files)


def _read_rhythmic_gymnastics(root: pathlib.Path, split: str, seed: int) -> Labels:
  videos, sides, files = [], {name: ([], []) for name in APPARATUS}, []
  for side, word in enumerate(("train", "test")):
    file = label_file(root, (f"{word}.txt",), FOLDERS, "rhythmic_gymnastics")
    files.append(file)
    for line, words in read_words(file, 6, "words (video, difficulty, execution, total, penalty, length)", header=True):
      place, name = f"{file}, line {line}", words[0].split("_")[0].lower()
      video = video_name(words[0], place)
      if name not in APPARATUS:
        raise ValueError(f"{place}: {video!r} is no {', '.join(APPARATUS)}, as Ball_001; correct the line.")
      scores = {criterion: tables.number(word, criterion, video, place)
                for criterion, word in zip(("difficulty", "execution", "total"), words[1:])}
      videos.append(Video(video, scores["total"], 25, category=name, criteria=scores))
      sides[name][side].append(video)
  return from_videos(videos, sides, files)


def _read_fis_v(root: pathlib.Path, split: str, seed: int) -> Labels:
  videos, sides, files = [], ([], []), []
  for side, word in enumerate(("train", "test")):
    file = label_file(root, (f"{word}_dataset.txt",), FOLDERS, "fis_v")
    files.append(file)
    for line, (video, *words) in read_words(file, 4, "words (video, tes, pcs, deductions)"):
      video = video_name(video, f"{file}, line {line}")
      tes, pcs, deductions = (tables.number(word, name, video, f"{file}, line {line}")
                              for word, name in zip(words, ("tes", "pcs", "deductions")))
      videos.append(_skater("fis_v", video, tes, pcs, tes + pcs - deductions))
      sides[side].append(video)
  return from_videos(videos, {"official": sides}, files)


def _read_mit_skating(root: pathlib.Path, split: str, seed: int) -> Labels:
  file = label_file(root, ("annotations.txt",), FOLDERS, "mit_skating")
  videos = []
  for line, (video, *words) in read_words(file, 6, "words (video, total, tes, pcs, first frame, last frame)"):
    video = video_name(video, f"{file}, line {line}")
    total, tes, pcs = (tables.number(word, name, video, f"{file}, line {line}")
                       for word, name in zip(words, ("total", "tes", "pcs")))
    videos.append(_skater("mit_skating", video, tes, pcs, total))
  ids = [video.id for video in videos]
  if len(ids) <= MIT_TEST:
    raise ValueError(f"{file}: {len(ids)} videos leave none to train on beside {MIT_TEST} for test; download it again.")
  sides = {}
  for number in range(MIT_FOLDS):
    order = np.random.default_rng([seed, number]).permutation(ids).tolist()
    sides[f"random{number + 1}"] = (order[MIT_TEST:], order[:MIT_TEST])
  return from_videos(videos, sides, (file,))


def _skater(name: str, video: str, tes: float, pcs: float, total: float) -> Video:
  return Video(video, total, SKATING_HIGHEST[name]["total"], criteria=dict(tes=tes, pcs=pcs, total=total))


class Recording(NamedTuple):
  """Numbers that were recorded with the videos and published as text, one file a video."""

  stream: str
  read: Callable                       # (file) -> [T, D]
  row_seconds: float


class Scored(NamedTuple):
  """A data set with scores: how its labels are read and where its features lie."""

  read: Callable                       # (root, split, seed) -> Labels of all tasks
  tasks: tuple[str, ...]               # besides "" and "all"
  features: Mapping[str, str]          # folder below the root -> its stream, or "" where files name their streams
  splits: tuple[str, ...] = ("auto",)
  recordings: Mapping[str, Recording] = {}      # pattern of folders -> text tables, a stream beside the features


_ANY, _TWO = {"features": ""}, {"dynamic_feat": "rgb", "static_feat": "static"}
SCORED = dict(
    mtl_aqa=Scored(read_mtl_aqa, (), _ANY, ("auto", "competition")),
    unlv_dive=Scored(read_unlv_dive, (), _ANY),
    aqa7=Scored(_read_aqa7, AQA7_CLASSES, _ANY),
    jigsaws=Scored(read_jigsaws, SURGERY, _ANY, ("auto", "louo", "loso"),
                   {"*/kinematics/AllGestures": Recording("kinematics", read_kinematics, 1 / KINEMATICS_HERTZ)}),
    finediving=Scored(read_finediving, (), _ANY),
    rhythmic_gymnastics=Scored(_read_rhythmic_gymnastics, APPARATUS, _TWO),
    fis_v=Scored(_read_fis_v, SKATING_TASKS, _TWO),
    mit_skating=Scored(_read_mit_skating, SKATING_TASKS, _TWO),
)


def read_scores(name: str, root: pathlib.Path, split: str = "auto", seed: int = 0) -> Labels:
  """Reads the labels of all tasks of a data set, in the order of its features' prepared form.

  Args:
    name: a key of `SCORED`.
    root: folder of the download.
    split: "auto" for the published or usual folds; of mtl_aqa also "competition" (leave one out), of jigsaws "louo"
      (leave one surgeon out; what "auto" is without splits.pkl) and "loso" (leave one supertrial out: the trials of
      one number).
    seed: of the random splits of mit_skating.

  Returns:
    The labels, without pairs.

  Raises:
    ValueError: if the labels cannot be used.
  """
  if split not in SCORED[name].splits:
    raise ValueError(f"split={split!r} is unknown to {name}; use one of {', '.join(SCORED[name].splits)}.")
  return SCORED[name].read(root, split, seed)


def select_task(name: str, labels: Labels, task: str) -> tuple[Labels, np.ndarray]:
  """Returns (labels with the score and the folds of one task, `[V]` mask of its videos).

  Raises:
    ValueError: for an unknown task.
  """
  everything = np.ones(len(labels.videos), bool)
  if task in ("", "all"):
    return labels, everything
  if task not in SCORED[name].tasks:
    raise ValueError(f"task {task!r} is none of {name}; set config.data.task to "
                     f"{', '.join([*SCORED[name].tasks, 'all'])}.")
  if name in SKATING_HIGHEST:
    score_range = np.tile([0, SKATING_HIGHEST[name][task]], (len(labels.videos), 1))
    check_scores(labels.criteria[task], score_range, labels.videos, labels.files[0])
    return labels._replace(score=labels.criteria[task], score_range=score_range), everything
  folds = tuple(fold._replace(name=fold.name.removeprefix(f"{task}/")) for fold in labels.folds
                if fold.name.split("/")[0] == task)
  assert labels.category is not None         # of a data set whose tasks are its categories
  return labels._replace(folds=folds), np.equal(labels.category, task)
