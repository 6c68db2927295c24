"""What label files say, before anybody looks for features; `labels_pairs` and `labels_scores` read them.

V videos, P pairs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxskill.data import splits
from jaxskill.data.arrays import refuse_stand_in
from jaxskill.data.dataset import NO_IDS, NO_PAIRS, Fold
from jaxskill.data.dataset_checks import check_scores

FOLDERS = ("", "info", "data", "data/info")    # below the root, where label files may lie
_MOST_NUMBERS = 10 ** 7      # of a MATLAB file of labels
OF_VIDEOS = ("score", "difficulty", "category", "subject", "competition", "score_range", "last_frame")


class NoLabels(ValueError):
  """There are no label files of a data set in a folder."""


class Labels(NamedTuple):
  """The labels of some videos; the fields are those of `SkillDataset`."""

  videos: tuple[str, ...]
  folds: tuple[Fold, ...]                # of pairs: train_videos, test_videos are those that lists add to the pairs'
  files: tuple[Path, ...]                # the label files
  pairs: np.ndarray = NO_PAIRS           # [P, 2]
  score: np.ndarray | None = None        # [V]
  difficulty: np.ndarray | None = None   # [V]
  category: np.ndarray | None = None     # [V]
  subject: np.ndarray | None = None      # [V]
  competition: np.ndarray | None = None  # [V]
  criteria: Mapping[str, np.ndarray] = {}
  score_range: np.ndarray | None = None  # [V, 2]
  last_frame: np.ndarray | None = None   # [V], of the recording that a video was cut from
  unscored: tuple[str, ...] = ()         # videos that lists name and that have no score; left out


class Video(NamedTuple):
  """One line of the labels of a data set with scores."""

  id: str
  score: float
  highest: float
  lowest: float = 0.0
  difficulty: float | None = None
  category: str | None = None
  subject: str | None = None
  competition: str | None = None
  criteria: Mapping[str, float] = {}
  last_frame: int | None = None


def keep(labels: Labels, kept: np.ndarray) -> Labels:
  """Keeps the labels of the videos in the mask `kept` `[V]`, their folds complete; leaves out pairs of the others."""
  pairs_kept = kept[labels.pairs].all(axis=1)
  new_video, new_row = np.cumsum(kept) - 1, np.cumsum(pairs_kept) - 1
  pairs = new_video[labels.pairs[pairs_kept]].astype(np.int32)

  def fold_of(fold: Fold) -> Fold:
    train_videos, test_videos = (new_video[ids[kept[ids]]] for ids in (fold.train_videos, fold.test_videos))
    if not len(labels.pairs):
      return splits.fold_of_videos(fold.name, pairs, train_videos, test_videos)
    train, test = (new_row[ids[pairs_kept[ids]]] for ids in (fold.train_pairs, fold.test_pairs))
    return splits.fold_of_pairs(fold.name, pairs, train, test, train_videos=train_videos, test_videos=test_videos)

  known = {name: getattr(labels, name) for name in OF_VIDEOS}
  of_videos = {name: values[kept] for name, values in known.items() if values is not None}
  return labels._replace(
      videos=tuple(video for video, stays in zip(labels.videos, kept) if stays), pairs=pairs,
      folds=tuple(map(fold_of, labels.folds)),
      criteria={name: values[kept] for name, values in labels.criteria.items()}, **of_videos)


def label_file(root: Path, names: Sequence[str], folders: Sequence[str], what: str) -> Path:
  """Returns the first of some file names in the first folder that has one.

  Args:
    root: folder of the download.
    names: file names, the best first.
    folders: folders below the root to look in, "" for the root itself.
    what: the data set, for the error.

  Returns:
    The file.

  Raises:
    NoLabels: if none is there.
  """
  for name in names:
    for folder in folders:
      if (file := Path(root) / folder / name).is_file():
        return file
  places = ", ".join(folder or "." for folder in folders)
  raise NoLabels(f"{root}: no {' or '.join(names)} here (looked in {places}); put the labels of {what} there, as "
                 "their authors publish them.")


def read_words(path: Path, count: int, what: str, header: bool = False) -> list[tuple[int, tuple[str, ...]]]:
  """Returns the lines of a text file: (line number, `count` words), which errors call `what`; blank lines are skipped.

  With `header`, so is a first line whose second word is no number.

  Raises:
    ValueError: if the file is missing, empty, no text, or a line has another number of words.
  """
  try:
    refuse_stand_in(path)
    lines = Path(path).read_text(encoding="utf-8").splitlines()
  except FileNotFoundError:
    raise ValueError(f"{path}: is missing; download the splits again.") from None
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: is not a text file ({error}); download the splits again.") from error
  result = []
  for number, line in enumerate(lines, 1):
    words = tuple(line.split())
    if header and number == 1 and len(words) > 1 and not words[1][:1].isdigit():
      continue
    if words and len(words) != count:
      raise ValueError(f"{path}, line {number}: expected {count} {what} but found {line!r}; correct the line.")
    if words:
      result.append((number, words))
  if not result:
    raise ValueError(f"{path}: is empty; download the splits again.")
  return result


def read_mat(file: Path, key: str) -> np.ndarray:
  """Returns the finite numbers under a key of a MATLAB file, float64.

  Raises:
    ValueError: if there are none.
  """
  from scipy import io  # slow to import, and few data sets need it
  refuse_stand_in(file)
  try:
    announced = {name: math.prod(shape) for name, shape, _ in io.whosmat(file)}
    if announced.get(key, 0) > _MOST_NUMBERS:
      raise ValueError(f"{key!r} announces {announced[key]} numbers, of at most {_MOST_NUMBERS}")
    content = io.loadmat(file, variable_names=[key])
  except Exception as error:   # a damaged file can fail in any way
    raise ValueError(f"{file}: is no readable .mat file ({type(error).__name__}: {error}); download it again."
                     ) from error
  if key not in content:
    found = ", ".join(announced)
    raise ValueError(f"{file}: holds {found or 'nothing'} but not {key!r}; download it again.")
  table = content[key]
  if table.dtype.kind not in "fiu" or not np.isfinite(table).all():
    raise ValueError(f"{file}: {key!r} is {table.dtype} of shape {table.shape}; expected finite numbers; download it "
                     "again.")
  return table.astype(np.float64)


def from_videos(videos: Sequence[Video], sides: Mapping[str, Sequence[Collection[str]]],
                files: Sequence[Path]) -> Labels:
  """Returns the labels of a list of `Video`, by category where tasks are categories.

  Args:
    videos: the lines of the labels.
    sides: {fold: (ids of its training videos, of its test videos)}.
    files: that were read, named in errors.

  Raises:
    ValueError: for a video that is labelled twice, or that a fold names wrongly.
  """
  files = tuple(files)
  first_of = {name: i for i, name in enumerate(dict.fromkeys(fold.split("/")[0] for fold in sides))}
  videos = sorted(videos, key=lambda video: first_of.get(video.category or "", 0))   # a task's videos lie side by side
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
    train, test = (np.array(sorted(position[video] for video in side), np.int32) for side in of_sides)
    folds.append(Fold(name, train, test, NO_IDS, NO_IDS))

  def column(values: Sequence[Any], kind: type | None = np.float64) -> np.ndarray | None:
    return None if any(value is None for value in values) else np.array(values, kind)
  score = np.array([video.score for video in videos])
  score_range = np.array([(video.lowest, video.highest) for video in videos])
  check_scores(score, score_range, ids, files[0])
  return Labels(
      ids, tuple(folds), files, score=score, score_range=score_range,
      difficulty=column([video.difficulty for video in videos]), category=column([v.category for v in videos], None),
      subject=column([video.subject for video in videos], None),
      competition=column([video.competition for video in videos], None),
      last_frame=column([video.last_frame for video in videos], np.int64),
      criteria={name: np.array([video.criteria[name] for video in videos]) for name in videos[0].criteria})
