"""Rehab-Pile, the archive of DeepRehabPile: 39 sets of classes and 21 of scores, skeletons with fixed folds.

  <root>/regression/<set>/info.json              length_TS (frames), n_joints, dim or n_dim (numbers of a joint); of
                                                 scores also max_score_value; commas before a closing bracket are
                                                 let pass, for the archive has some
  <root>/classification/<set>/info.json          the same
  .../<set>/fold<k>/x_train_fold<k>.npy          [n, n_joints x dim, length_TS], or [n, n_joints, dim, length_TS]
  .../<set>/fold<k>/y_train_fold<k>.npy          [n] or [n, 1]: scores, or classes (whole numbers or words)
  .../<set>/fold<k>/x_test_fold<k>.npy, y_test_fold<k>.npy
  <root>/DeepRehabPileForExperiments.json        or beside <root>, as in the repository: {"classification": [[set,
                                                 number of folds], ...], "regression": [...]}; may be absent

A set is one task, e.g. KIMORE_reg_Sq (squats of KIMORE, scores). Its videos have no names in the archive: a movement is
known by its numbers and its label, and is one video, named by the order in which it appears, in however many folds it
lies. Folds are those of the files, to the video. Rows of the stream `pose` [T, n_joints x dim] are frames. All videos
of a set have one length, and the seconds between frames are not in the files.

Scores lie between 0 and max_score_value. Classes are no scores: the archive says of none that it is the better one, and
kinds of errors have no order. Each class is a criterion, "class C", which is 1 for its videos and 0 for others. Who
knows the better class says so: the task KERAAL_clf_bn_CTK:C has the score 1 for class C and 0 for others.

Built from the documentation: README, datasets/get_datasets.sh and the readers of github.com/MSD-IRIMAS/DeepRehabPile at
6bf886b (2026-04-19), and the tables of msd-irimas.github.io/pages/DeepRehabPile at e09f8d1 (2026-06-23). The files
themselves were not at hand. That repository's code is under GPL-3.0; it states no licence of the data, which come from
eight other data sets, each under its owners' terms.

V videos, n videos of a side of a fold, T frames, D numbers of a frame.

Reference: Ismail-Fawaz, Devanne, Berretti, Weber, Forestier, A Standardized Benchmark for Skeleton-Based Rehabilitation
Assessment Using Deep Learning, FG 2026 (arXiv 2507.21018).
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from jaxskill.data import splits
from jaxskill.data.arrays import MAX_BYTES, read_arrays
from jaxskill.data.dataset import NO_PAIRS, Fold, SkillDataset
from jaxskill.data.dataset_checks import check_seconds
from jaxskill.data.published import safe_pickle

NAME, STREAM = "rehab_pile", "pose"
KINDS = ("classification", "regression")
CLASS = "class "                               # before the label of a class, in the name of its criterion
LIST = "DeepRehabPileForExperiments.json"      # of the sets and their numbers of folds
AGAIN = "download the set again"


class Info(NamedTuple):
  """What info.json says of a set."""

  file: Path
  frames: int
  joints: int
  numbers: int                  # of a joint: coordinates, perhaps an orientation
  highest: float | None         # possible score

  @property
  def points(self) -> tuple[tuple[int, ...], ...]:
    """Returns the columns of every joint, as `config.data.points` wants them."""
    return tuple(tuple(range(j * self.numbers, (j + 1) * self.numbers)) for j in range(self.joints))


class Side(NamedTuple):
  """One side of a fold: `[n, T, D]` float32 rows, and n labels, floats or words."""

  rows: np.ndarray
  labels: list


def sets(root: str | os.PathLike[str]) -> dict[str, Path]:
  """Returns {set: its folder}, in alphabetical order.

  Raises:
    ValueError: if there is none, or one name lies in both folders.
  """
  root = Path(root)
  found = [path for kind in KINDS for path in sorted((root / kind).glob("*")) if path.is_dir()]
  folders = {path.name: path for path in found}
  if not found:
    raise ValueError(f"{root}: no set of Rehab-Pile here; expected {root / KINDS[0]}/<set>/info.json and "
                     f"{root / KINDS[1]}/<set>/info.json, as its get_datasets.sh leaves them.")
  if len(folders) < len(found):
    twice = next(name for name, count in collections.Counter(path.name for path in found).items() if count > 1)
    raise ValueError(f"{root}: {twice} lies in {KINDS[0]} and in {KINDS[1]}; remove one.")
  return dict(sorted(folders.items()))


def listed(root: str | os.PathLike[str]) -> dict[str, int]:
  """Returns {set: its number of folds} as the list of the archive says; empty where the list is not there.

  Raises:
    ValueError: for a list that is none.
  """
  for folder in (Path(root), Path(root).parent):
    if not (file := folder / LIST).is_file():
      continue
    content = _json(file)
    entries = [entry for kind in KINDS for entry in (content.get(kind) or [])]
    if not entries or not all(isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)
                              and isinstance(entry[1], int) and entry[1] > 0 for entry in entries):
      raise ValueError(f"{file}: expected lists of [set, number of folds] under {' and '.join(KINDS)}; download it "
                       "again.")
    return dict(entries)
  return {}


def read_info(folder: Path) -> Info:
  """Returns what `<set>/info.json` says.

  Raises:
    ValueError: if it is missing, no JSON, or lacks a field.
  """
  file = folder / "info.json"
  content = _json(file)

  def number(*names: str, whole: bool = True) -> Any:
    value = next((content[name] for name in names if name in content), None)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not 0 < value < np.inf:
      raise ValueError(f"{file}: {' or '.join(names)} is {value!r:.40}; expected a {'whole ' if whole else ''}number "
                       f"above 0: {AGAIN}.")
    return value
  highest = number("max_score_value", whole=False) if "max_score_value" in content else None
  return Info(file, number("length_TS"), number("n_joints"), number("dim", "n_dim"), highest)


def _json(file: Path) -> dict[str, Any]:
  """The object that a file of JSON holds, in which a comma may stand before a closing bracket."""
  try:
    content = json.loads(re.sub(r",(?=\s*[\]}])", "", re.sub(r",(?=\s*,)", "", file.read_text(encoding="utf-8"))))
  except FileNotFoundError:
    raise ValueError(f"{file}: is missing; {AGAIN}.") from None
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{file}: is no JSON ({str(error).splitlines()[0]:.100}); {AGAIN}.") from error
  if not isinstance(content, dict):
    raise ValueError(f"{file}: holds a {type(content).__name__}; expected an object of names and values: {AGAIN}.")
  return content


def load_rehab_pile(root: str | os.PathLike[str], task: str, *, split: str = "auto", make_pairs: bool = False,
                    tie_margin: float = 0.0, pairs_within: str = "", validation_share: float = 0.0, seed: int = 0,
                    segment_seconds: float = 1.0, max_bytes: int = MAX_BYTES) -> SkillDataset:
  """Loads one set of the archive.

  Args:
    root: folder that holds `classification` and `regression`.
    task: a set, e.g. "KIMORE_reg_Sq"; of classes perhaps with the better one, "KERAAL_clf_bn_CTK:C".
    split: "auto" for the folds of the archive; "all" trains on every video and tests none.
    make_pairs, tie_margin: pairs are made of scores, see `splits.pairs_from_scores`.
    pairs_within: must be "": who performed is not in the files.
    validation_share, seed: as of `official.load_official`.
    segment_seconds: from one frame to the next, which the files do not say.
    max_bytes: that the array of one file may take in memory.

  Returns:
    The data set: stream `pose` `[V, T, D]`, a score or one criterion a class, the folds "fold0", "fold1", ...

  Raises:
    ValueError: if a file or an option cannot be used; it names the file and the remedy.
  """
  root, (name, _, better) = Path(root), task.partition(":")
  found = sets(root)
  if name not in found:
    raise ValueError(f"{root}: config.data.task={task!r} is none of the {len(found)} sets here; use one of "
                     f"{', '.join(found)}.")
  if split not in ("auto", "all") or pairs_within:
    raise ValueError(f"config.data.split={split!r}, pairs_within={pairs_within!r}: the folds of Rehab-Pile are fixed "
                     "and its subjects unknown; use 'auto' or 'all', and pairs_within=''.")
  check_seconds(segment_seconds, {})
  info, scored = read_info(found[name]), found[name].parent.name == KINDS[1]
  if better and scored:
    raise ValueError(f"{info.file.parent}: config.data.task={task!r}: its labels are scores, and have no class "
                     f"{better!r}; set it to {name}.")
  sides = {fold: [_side(info, folder, fold, side, scored, max_bytes) for side in ("train", "test")]
           for fold, folder in _folds(found[name], listed(root).get(name)).items()}
  rows, labels, folds = _merge(sides)
  known = _scores(info, labels) if scored else _classes(info, labels, better)
  pairs, tied = _pairs(known.get("score"), tie_margin, info) if make_pairs else (NO_PAIRS, NO_PAIRS)
  made = (splits.everything(len(rows), pairs) if split == "all" else
          tuple(splits.fold_of_videos(fold.name, pairs, fold.train_videos, fold.test_videos) for fold in folds))
  count = len(rows)
  return SkillDataset(
      name=f"{NAME}/{task}", source=str(found[name]), videos=tuple(f"v{i:04d}" for i in range(count)),
      streams={STREAM: rows}, lengths={STREAM: np.full(count, info.frames, np.int32)},
      row_seconds={STREAM: np.full(count, segment_seconds, np.float32)}, pairs=pairs, similar=tied,
      tied_pairs=len(tied), folds=splits.with_validation(made, pairs, validation_share, seed), features_checked=True,
      **known)


def _folds(folder: Path, expected: int | None) -> dict[str, Path]:
  """{"fold0": its folder} of all folds, none missing."""
  found = {path.name: path for path in folder.iterdir() if path.is_dir() and re.fullmatch(r"fold\d+", path.name)}
  wanted = [f"fold{k}" for k in range(expected or max(len(found), 1))]
  if sorted(found) != sorted(wanted):
    why = f", as {LIST} says" if expected else ", without a gap"
    raise ValueError(f"{folder}: holds {', '.join(sorted(found)) or 'no fold'}; expected {wanted[0]} to {wanted[-1]}"
                     f"{why}: {AGAIN}.")
  return {name: found[name] for name in wanted}


def _side(info: Info, folder: Path, fold: str, side: str, scored: bool, max_bytes: int) -> Side:
  """Reads the two files of one side of a fold."""
  files = [folder / f"{letter}_{side}_{fold}.npy" for letter in "xy"]
  rows = _poses(info, files[0], _array(files[0], max_bytes))
  labels = _array(files[1], max_bytes)
  if labels.size != len(rows) or len(labels) != len(rows):
    raise ValueError(f"{files[1]}: holds labels of shape {labels.shape}, but {files[0].name} {len(rows)} movements; "
                     f"{AGAIN}.")
  labels = labels.ravel()
  if scored:
    if labels.dtype.kind not in "biuf" or not np.isfinite(labels).all():
      raise ValueError(f"{files[1]}: holds {labels.dtype} labels, or NaN; expected finite scores: {AGAIN}.")
    return Side(rows, labels.astype(np.float64).tolist())
  whole = labels.dtype.kind in "biu" or labels.dtype.kind == "f" and (labels == np.round(labels)).all()   # NaN is not
  if labels.dtype.kind not in "US" and not whole:
    raise ValueError(f"{files[1]}: holds {labels.dtype} labels; expected classes, words or whole numbers: {AGAIN}.")
  words = labels.astype(np.int64).astype(str) if whole else labels.astype(str)
  return Side(rows, np.char.strip(words).tolist())


def _array(file: Path, max_bytes: int) -> np.ndarray:
  """The array of a `.npy` file, which may be one of Python objects."""
  if not file.is_file():
    raise ValueError(f"{file}: is missing; {AGAIN}.")
  array = safe_pickle.load_objects(file)
  if array is None:
    array = read_arrays(file, max_bytes).get("")
  if array is None or not array.ndim or not len(array):
    raise ValueError(f"{file}: is no array of movements or labels; {AGAIN}.")
  return array


def _poses(info: Info, file: Path, array: np.ndarray) -> np.ndarray:
  """`[n, T, D]` float32 of `[n, D, T]`, or `[n, joints, numbers, T]`."""
  width = info.joints * info.numbers
  shapes = [(len(array), width, info.frames), (len(array), info.joints, info.numbers, info.frames)]
  if array.shape not in shapes or array.dtype.kind not in "iuf":
    raise ValueError(f"{file}: holds {array.dtype} of shape {array.shape}; {info.file.name} says {info.joints} joints "
                     f"of {info.numbers} numbers, {info.frames} frames: expected {shapes[0]} or {shapes[1]}; {AGAIN}.")
  with np.errstate(over="ignore"):
    rows = array.reshape(shapes[0]).astype(np.float32)
  bad = ~np.isfinite(rows).all(axis=(1, 2))
  if bad.any():
    raise ValueError(f"{file}: movement {int(np.argmax(bad))} ({int(bad.sum())} in all) holds NaN, or a number that is "
                     f"not finite in 32 bits; {AGAIN}.")
  return np.ascontiguousarray(rows.transpose(0, 2, 1))


def _merge(sides: dict[str, list[Side]]) -> tuple[np.ndarray, list, list[Fold]]:
  """Gives every movement one number, in however many folds it lies.

  One that lies in a fold twice is two videos there, also where both sides have it: the audit then says that their
  features are equal.

  Returns:
    (`[V, T, D]` rows, V labels, folds without pairs).
  """
  numbers: dict[tuple, int] = {}
  rows, labels, folds = [], [], []
  for name, both in sides.items():
    seen: collections.Counter = collections.Counter()
    ids: list[list[int]] = []
    for side in both:
      ids.append([])
      for row, label in zip(side.rows, side.labels):
        key = hashlib.sha256(row.tobytes()).digest(), label
        number = numbers.setdefault((*key, seen[key]), len(numbers))
        seen[key] += 1
        ids[-1].append(number)
        if number == len(rows):
          rows.append(row)
          labels.append(label)
    folds.append(splits.fold_of_videos(name, NO_PAIRS, *(np.array(one, np.int32) for one in ids)))
  return np.stack(rows), labels, folds


def _scores(info: Info, labels: list) -> dict[str, Any]:
  """Scores and their range, which is left out where a score lies beyond it."""
  score = np.array(labels, np.float32)
  if info.highest is None or score.min() < 0 or score.max() > np.float32(info.highest):
    logging.warning("%s: max_score_value is %s, but scores lie between %g and %g: their possible range is not known",
                    info.file, info.highest, score.min(), score.max())
    return dict(score=score)
  return dict(score=score, score_range=(0.0, float(info.highest)))


def _classes(info: Info, labels: list, better: str) -> dict[str, Any]:
  """A criterion for each class; a score too if one of them is said to be the better one."""
  words, known = np.array(labels), sorted(set(labels))
  if len(known) < 2:
    raise ValueError(f"{info.file.parent}: all movements are of the class {known[0]}; expected two or more: {AGAIN}.")
  if better and better not in known:
    raise ValueError(f"{info.file.parent}: {better!r} is none of its classes {', '.join(known)}; name one of them, as "
                     f"config.data.task={info.file.parent.name}:{known[0]}.")
  criteria = {CLASS + one: (words == one).astype(np.float32) for one in known}
  if not better:
    return dict(criteria=criteria)
  return dict(criteria=criteria, score=criteria[CLASS + better], score_range=(0.0, 1.0))


def _pairs(score: np.ndarray | None, tie_margin: float, info: Info) -> tuple[np.ndarray, np.ndarray]:
  """(`[P, 2]` pairs, `[T, 2]` ties) of scores."""
  if score is None:
    raise ValueError(f"{info.file.parent}: the archive does not say which of its classes is the better one, so there "
                     f"are no pairs; say it with config.data.task={info.file.parent.name}:LABEL.")
  return splits.pairs_from_scores(score, tie_margin)
