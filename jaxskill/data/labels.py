"""What label files say, before anybody looks for features; `labels_pairs` and `labels_scores` read them.

V videos, P pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxskill.data import splits
from jaxskill.data.dataset import Fold

NO_PAIRS = np.zeros((0, 2), np.int32)


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
  criteria: Mapping[str, np.ndarray] = {}
  score_range: np.ndarray | None = None  # [V, 2]


def keep(labels, kept) -> Labels:
  """The labels of the videos in the mask `kept` `[V]` alone, their folds complete; pairs of the others are left out."""
  pairs_kept = kept[labels.pairs].all(axis=1)
  new_video, new_row = np.cumsum(kept) - 1, np.cumsum(pairs_kept) - 1
  pairs = new_video[labels.pairs[pairs_kept]].astype(np.int32)

  def fold_of(fold):
    train_videos, test_videos = (new_video[ids[kept[ids]]] for ids in (fold.train_videos, fold.test_videos))
    if not len(labels.pairs):
      return splits.fold_of_videos(fold.name, pairs, train_videos, test_videos)
    rows = (new_row[ids[pairs_kept[ids]]] for ids in (fold.train_pairs, fold.test_pairs))
    return splits.fold_of_pairs(fold.name, pairs, *rows, train_videos=train_videos, test_videos=test_videos)

  of_videos = {name: values[kept] for name in ("score", "difficulty", "category", "subject", "score_range")
               if (values := getattr(labels, name)) is not None}
  return labels._replace(
      videos=tuple(video for video, stays in zip(labels.videos, kept) if stays), pairs=pairs,
      folds=tuple(map(fold_of, labels.folds)),
      criteria={name: values[kept] for name, values in labels.criteria.items()}, **of_videos)


def label_file(root, names, folders, what) -> Path:
  """The first of some file names in the first folder that has one.

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


def read_words(path, count, what, header=False) -> list[tuple[int, tuple[str, ...]]]:
  """The lines of a text file: (line number, `count` words), which errors call `what`; blank lines are skipped.

  With `header`, so is a first line whose second word is no number.

  Raises:
    ValueError: if the file is missing, empty, no text, or a line has another number of words.
  """
  try:
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
