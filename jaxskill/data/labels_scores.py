"""The score labels of seven data sets, as their authors publish them; nothing is downloaded.

Label files lie in the root, in `info`, `data` or `data/info` below it, or in the folder named here.

  mtl_aqa              final_annotations_dict_with_dive_number.pkl (CoRe), augmented_final_annotations_dict.pkl (MUSDL)
                       or final_annotations_dict.pkl, in CoRe_info, MUSDL_info or Ready_2_Use/MTL-AQA_split_0_data,
                       with train_split_0.pkl and test_split_0.pkl. Video <event>_<sample>: 01_001.
  aqa7                 consolidated_train_list.mat and consolidated_test_list.mat, or split_4_train_list.mat and
                       split_4_test_list.mat in Split_4: rows (class, sample, 100 x score). Video <class>/<sample>:
                       diving/054.
  jigsaws              label.pkl, splits.pkl. Video as there: Knot_Tying_B001.
  finediving           finediving.csv: event,sample,split,action_type,score,difficulty. Video <event>/<sample>: 01/1.
  rhythmic_gymnastics  train.txt, test.txt. Video as there: Ball_001.
  fis_v                train_dataset.txt, test_dataset.txt: lines "video tes pcs deductions". Video as there: 1.
  mit_skating          annotations.txt: lines "video total tes pcs first_frame last_frame". Video as there.

What a task is, and its score:

* mtl_aqa, finediving: one task. The score is the final score: difficulty times the sum of three judges' marks, 0 to 30.
  So the possible range of a video is 0 to 30 x difficulty, and score / difficulty is what the field predicts.
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

Reference: Parmar and Morris, CVPR 2019 (MTL-AQA) and WACV 2019 (AQA-7); Gao et al., M2CAI 2014 (JIGSAWS), folds of Tang
et al., CVPR 2020; Xu et al., CVPR 2022 (FineDiving); Zeng et al., ACM MM 2020 (Rhythmic Gymnastics, splits of
MIT-Skating); Xu et al., TCSVT 2019 (Fis-V); Pirsiavash et al., ECCV 2014 (MIT-Skating).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxskill.data import features, safe_pickle
from jaxskill.data.dataset import NO_IDS, Fold, check_scores
from jaxskill.data.labels import Labels, label_file, read_words

FOLDERS = ("", "info", "data", "data/info")
JUDGES = 30.0                                # highest sum of the three marks of a dive that count
AQA7_CLASSES = ("diving", "gym_vault", "ski_big_air", "snowboard_big_air", "sync_diving_3m", "sync_diving_10m")
AQA7_RANGES = np.array([[21.6, 102.6], [12.3, 16.87], [8, 50], [8, 50], [46.2, 104.88], [49.8, 99.36]])
SURGERY = ("knot_tying", "needle_passing", "suturing")
# label.pkl names no part; assumed to be in the order of the elements in JIGSAWS' rating form, not checked against it.
RATINGS = ("respect_for_tissue", "suture_and_needle_handling", "time_and_motion", "flow_of_operation",
           "overall_performance", "quality_of_final_product")
APPARATUS = ("ball", "clubs", "hoop", "ribbon")
SKATING_TASKS = ("tes", "pcs", "total")
SKATING_HIGHEST = dict(fis_v=dict(tes=45.0, pcs=40.0, total=85.0), mit_skating=dict(tes=60.0, pcs=50.0, total=110.0))
MIT_FOLDS, MIT_TEST = 5, 50                  # random splits, and test videos of each
_INTEGERS = (int, np.integer)


class Video(NamedTuple):
  """One line of the labels."""

  id: str
  score: float
  highest: float
  lowest: float = 0.0
  difficulty: float | None = None
  category: str | None = None
  subject: str | None = None
  criteria: Mapping[str, float] = {}


def normalize_aqa7(scores, class_number):
  """AQA-7 scores on the 0 to 100 of the published code: the linear map of a class's fixed range, nothing clipped.

  Args:
    scores: the judges' scores, a number or an array.
    class_number: 1 to 6, as in `AQA7_CLASSES`.

  Returns:
    Float64 of the shape of `scores`; outside 0 to 100 where a score is outside the range.

  Raises:
    ValueError: for another class.
  """
  if class_number not in range(1, len(AQA7_RANGES) + 1):
    raise ValueError(f"class_number={class_number} is none of AQA-7; use 1 to {len(AQA7_RANGES)}: "
                     f"{', '.join(AQA7_CLASSES)}.")
  low, high = AQA7_RANGES[class_number - 1]
  return (np.asarray(scores, np.float64) - low) / (high - low) * 100


def _read_mtl_aqa(root, split, seed):
  names = ("final_annotations_dict_with_dive_number.pkl", "augmented_final_annotations_dict.pkl",
           "final_annotations_dict.pkl")
  folders = (*FOLDERS, "CoRe_info", "MUSDL_info", "Ready_2_Use/MTL-AQA_split_0_data")
  file, *lists = (label_file(root, wanted, folders, "mtl_aqa")
                  for wanted in (names, ("train_split_0.pkl",), ("test_split_0.pkl",)))
  content = safe_pickle.load(file)
  if not isinstance(content, dict) or not content:
    raise ValueError(f"{file}: holds a {type(content).__name__}, not the annotations by (event, sample); download it "
                     "again.")
  videos = []
  for key, dive in content.items():
    video = _dive_id(key, file)
    if not isinstance(dive, dict):
      raise ValueError(f"{file}: dive {key} is a {type(dive).__name__}, not a dict; download it again.")
    videos.append(_dive(video, dive.get("final_score"), dive.get("difficulty"), dive.get("dive_number"), file))
  sides = []
  for path in lists:
    keys = safe_pickle.load(path)
    if not isinstance(keys, list):
      raise ValueError(f"{path}: holds a {type(keys).__name__}, not a list of (event, sample); download it again.")
    sides.append([_dive_id(key, path) for key in keys])
  return _labels(videos, {"official": sides}, (file, *lists))


def _dive_id(key, file):
  if not (isinstance(key, tuple) and len(key) == 2 and all(isinstance(part, _INTEGERS) for part in key)):
    raise ValueError(f"{file}: {key!r} is not an (event, sample); download it again.")
  return f"{key[0]:02d}_{key[1]:03d}"


def _dive(video, score, difficulty, number, place):
  score, difficulty = (features.number(value, name, video, place)
                       for value, name in ((score, "final score"), (difficulty, "difficulty")))
  if difficulty <= 0:
    raise ValueError(f"{place}: difficulty {difficulty:g} of video {video!r} must be positive, for scores are divided "
                     "by it; correct it.")
  return Video(video, score, JUDGES * difficulty, difficulty=difficulty, category=number and str(number))


def _read_finediving(root, split, seed):
  file = label_file(root, ("finediving.csv",), FOLDERS, "finediving")
  table, lines = features.read_table(file, ("event", "sample", "split", "action_type", "score", "difficulty"), ())
  ids = [f"{event}/{sample}" for event, sample in zip(table["event"], table["sample"])]
  cells = zip(ids, table["score"], table["difficulty"], table["action_type"], lines)
  videos = [_dive(*words, f"{file}, line {line}") for *words, line in cells]
  side = lambda name: [video for video, value in zip(ids, table["split"]) if value == name]
  return _labels(videos, {"official": (side("train"), side("test"))}, (file,))


def _read_aqa7(root, split, seed):
  videos, sides, files = [], {name: ([], []) for name in AQA7_CLASSES}, []
  for side, word in enumerate(("train", "test")):
    names = f"consolidated_{word}_list.mat", f"split_4_{word}_list.mat"
    file = label_file(root, names, (*FOLDERS, "Split_4"), "aqa7")
    files.append(file)
    for number, sample, score in _read_mat(file, f"consolidated_{word}_list"):
      if number not in range(1, len(AQA7_CLASSES) + 1) or sample != int(sample):
        raise ValueError(f"{file}: class {number:g}, sample {sample:g} is none of AQA-7; expected classes 1 to "
                         f"{len(AQA7_CLASSES)} and whole numbers; download it again.")
      name, (low, high) = AQA7_CLASSES[int(number) - 1], AQA7_RANGES[int(number) - 1]
      videos.append(Video(f"{name}/{int(sample):03d}", score / 100, high, low, category=name))
      sides[name][side].append(videos[-1].id)
  return _labels(videos, sides, files)


def _read_mat(file, key):
  """`[V, 3]` numbers under a key of a MATLAB file."""
  from scipy import io        # slow to import, and few data sets need it
  try:
    content = io.loadmat(file)
  except Exception as error:   # a damaged file can fail in any way
    raise ValueError(f"{file}: is no readable .mat file ({type(error).__name__}: {error}); download it again."
                     ) from error
  if key not in content:
    found = ", ".join(name for name in content if not name.startswith("__"))
    raise ValueError(f"{file}: holds {found or 'nothing'} but not {key!r}; download it again.")
  table = content[key]
  if table.ndim != 2 or table.shape[1] != 3 or table.dtype.kind not in "fiu" or not np.isfinite(table).all():
    raise ValueError(f"{file}: {key!r} is {table.dtype} of shape {table.shape}; expected finite numbers [videos, 3] "
                     "(class, sample, 100 x score); download it again.")
  return table.astype(np.float64)


def _read_jigsaws(root, split, seed):
  file, splits_file = (label_file(root, (name,), FOLDERS, "jigsaws") for name in ("label.pkl", "splits.pkl"))
  content, published = safe_pickle.load(file), safe_pickle.load(splits_file)
  if not isinstance(content, dict) or not isinstance(published, dict):
    raise ValueError(f"{root}: label.pkl or splits.pkl holds no dict; download them again.")
  videos = [_trial(video, parts, file) for video, parts in content.items()]
  sides = {}
  for task in SURGERY:
    own = [video.id for video in videos if video.category == task]
    key = next((key for key in published if str(key).lower() == task), None)
    if split in ("louo", "loso"):
      kind, part = ("surgeon", slice(-4, -3)) if split == "louo" else ("trial", slice(-3, None))
      tests = {f"{kind}_{name}": [video for video in own if video[part] == name]
               for name in sorted({video[part] for video in own})}
    elif key is None:
      raise ValueError(f"{splits_file}: names {', '.join(map(str, published))} but not {task}; download it again.")
    else:
      tests = {f"fold{number}": list(test) for number, test in enumerate(published[key], 1)}
    sides |= {f"{task}/{name}": ([video for video in own if video not in test], test) for name, test in tests.items()}
  return _labels(videos, sides, (file, splits_file))


def _trial(video, parts, file):
  task = video[:-5].lower() if isinstance(video, str) else ""
  if task not in SURGERY or not video[-3:].isdigit():
    raise ValueError(f"{file}: {video!r} is no trial of {', '.join(SURGERY)}, as Knot_Tying_B001; download it again.")
  ratings = np.asarray(parts)
  if ratings.shape != (len(RATINGS),) or ratings.dtype.kind not in "fiu" or not ((ratings >= 1) & (ratings <= 5)).all():
    raise ValueError(f"{file}: trial {video!r} has the ratings {parts}; expected six of 1 to 5; correct them.")
  return Video(video, ratings.sum(), 30, 6, category=task, subject=video[-4], criteria=dict(zip(RATINGS, ratings)))


def _read_rhythmic_gymnastics(root, split, seed):
  videos, sides, files = [], {name: ([], []) for name in APPARATUS}, []
  for side, word in enumerate(("train", "test")):
    file = label_file(root, (f"{word}.txt",), FOLDERS, "rhythmic_gymnastics")
    files.append(file)
    for line, words in read_words(file, 6, "words (video, difficulty, execution, total, penalty, length)", header=True):
      video, place, name = words[0], f"{file}, line {line}", words[0].split("_")[0].lower()
      if name not in APPARATUS:
        raise ValueError(f"{place}: {video!r} is no {', '.join(APPARATUS)}, as Ball_001; correct the line.")
      scores = {criterion: features.number(word, criterion, video, place)
                for criterion, word in zip(("difficulty", "execution", "total"), words[1:])}
      videos.append(Video(video, scores["total"], 25, category=name, criteria=scores))
      sides[name][side].append(video)
  return _labels(videos, sides, files)


def _read_fis_v(root, split, seed):
  videos, sides, files = [], ([], []), []
  for side, word in enumerate(("train", "test")):
    file = label_file(root, (f"{word}_dataset.txt",), FOLDERS, "fis_v")
    files.append(file)
    for line, (video, *words) in read_words(file, 4, "words (video, tes, pcs, deductions)"):
      tes, pcs, deductions = (features.number(word, name, video, f"{file}, line {line}")
                              for word, name in zip(words, ("tes", "pcs", "deductions")))
      videos.append(_skater("fis_v", video, tes, pcs, tes + pcs - deductions))
      sides[side].append(video)
  return _labels(videos, {"official": sides}, files)


def _read_mit_skating(root, split, seed):
  file = label_file(root, ("annotations.txt",), FOLDERS, "mit_skating")
  videos = []
  for line, (video, *words) in read_words(file, 6, "words (video, total, tes, pcs, first frame, last frame)"):
    total, tes, pcs = (features.number(word, name, video, f"{file}, line {line}")
                       for word, name in zip(words, ("total", "tes", "pcs")))
    videos.append(_skater("mit_skating", video, tes, pcs, total))
  ids = [video.id for video in videos]
  if len(ids) <= MIT_TEST:
    raise ValueError(f"{file}: {len(ids)} videos leave none to train on beside {MIT_TEST} for test; download it again.")
  sides = {}
  for number in range(MIT_FOLDS):
    order = np.random.default_rng([seed, number]).permutation(ids).tolist()
    sides[f"random{number + 1}"] = (order[MIT_TEST:], order[:MIT_TEST])
  return _labels(videos, sides, (file,))


def _skater(name, video, tes, pcs, total):
  return Video(video, total, SKATING_HIGHEST[name]["total"], criteria=dict(tes=tes, pcs=pcs, total=total))


def _labels(videos, sides, files) -> Labels:
  """The labels of a list of `Video`, by category where tasks are categories; `sides`: fold -> (train, test) ids."""
  files = tuple(files)
  first_of = {name: i for i, name in enumerate(dict.fromkeys(fold.split("/")[0] for fold in sides))}
  videos = sorted(videos, key=lambda video: first_of.get(video.category, 0))   # a task's videos lie side by side
  ids = tuple(video.id for video in videos)
  position = {video: i for i, video in enumerate(ids)}
  if len(position) < len(ids):
    twice = next(video for i, video in enumerate(ids) if position[video] != i)
    raise ValueError(f"{files[0]}: video {twice!r} is labelled more than once in {files[0].parent}; keep one.")
  folds = []
  for name, of_sides in sides.items():
    both = set(of_sides[0]) & set(of_sides[1])
    unknown = next((video for side in of_sides for video in side if video not in position), None)
    if both or unknown is not None:
      fault = f"{min(both)!r} trains and tests" if both else f"{unknown!r} has no score in {files[0].name}"
      raise ValueError(f"{files[-1]}: fold {name!r}: video {fault}; download the labels again.")
    folds.append(Fold(name, *(np.array(sorted(position[video] for video in side), np.int32) for side in of_sides),
                      NO_IDS, NO_IDS))
  column = lambda values, kind=np.float64: None if any(value is None for value in values) else np.array(values, kind)
  score = np.array([video.score for video in videos])
  score_range = np.array([(video.lowest, video.highest) for video in videos])
  check_scores(score, score_range, ids, files[0])
  return Labels(
      ids, tuple(folds), files, score=score, score_range=score_range,
      difficulty=column([video.difficulty for video in videos]), category=column([v.category for v in videos], None),
      subject=column([video.subject for video in videos], None),
      criteria={name: np.array([video.criteria[name] for video in videos]) for name in videos[0].criteria})


class Scored(NamedTuple):
  """A data set with scores: how its labels are read and where its features lie."""

  read: Callable                       # (root, split, seed) -> Labels of all tasks
  tasks: tuple[str, ...]               # besides "" and "all"
  features: Mapping[str, str]          # folder below the root -> its stream, or "" where files name their streams
  splits: tuple[str, ...] = ("auto",)


_ANY, _TWO = {"features": ""}, {"dynamic_feat": "rgb", "static_feat": "static"}
SCORED = dict(
    mtl_aqa=Scored(_read_mtl_aqa, (), _ANY),
    aqa7=Scored(_read_aqa7, AQA7_CLASSES, _ANY),
    jigsaws=Scored(_read_jigsaws, SURGERY, _ANY, ("auto", "louo", "loso")),
    finediving=Scored(_read_finediving, (), _ANY),
    rhythmic_gymnastics=Scored(_read_rhythmic_gymnastics, APPARATUS, _TWO),
    fis_v=Scored(_read_fis_v, SKATING_TASKS, _TWO),
    mit_skating=Scored(_read_mit_skating, SKATING_TASKS, _TWO),
)


def read_scores(name, root, split="auto", seed=0) -> Labels:
  """Reads the labels of all tasks of a data set, in the order of its features' prepared form.

  Args:
    name: a key of `SCORED`.
    root: folder of the download.
    split: "auto" for the published or usual folds; of jigsaws also "louo" (leave one surgeon out) and "loso" (leave one
      supertrial out: the trials of one number).
    seed: of the random splits of mit_skating.

  Returns:
    The labels, without pairs.

  Raises:
    ValueError: if the labels cannot be used.
  """
  if split not in SCORED[name].splits:
    raise ValueError(f"split={split!r} is unknown to {name}; use one of {', '.join(SCORED[name].splits)}.")
  return SCORED[name].read(root, split, seed)


def select_task(name, labels, task) -> tuple[Labels, np.ndarray]:
  """(labels with the score and the folds of one task, `[V]` mask of its videos).

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
  return labels._replace(folds=folds), labels.category == task
