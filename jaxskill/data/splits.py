"""Pairs from scores, and splits of videos and pairs into training, validation and test: pure functions.

A video is on one side of a split only. A pair belongs to a side when both its videos do; a pair that crosses is not
used, unless the labels themselves say to which side a pair belongs (`fold_of_pairs`). Where there are scores but no
pairs (`[0, 2]`), the sides have videos alone.

V videos, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from jaxskill.data.dataset import NO_IDS, Fold

DRAWN_VALIDATION = 0.2          # of the training videos of folds that are drawn at random
LEAST_VALIDATION = 10           # videos; a smaller validation side is not taken unasked
LEAST_TEST = 10                 # videos; where a random split would test fewer, all are tested in turn
MOST_SUBJECTS = 20              # that are left out one by one, each a model
SPLIT_VALUES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


def pairs_from_scores(score: ArrayLike, margin: float,
                      groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
  """Returns all pairs of videos whose scores differ by more than a margin.

  Args:
    score: `[V]` scores, higher is better.
    margin: least difference that counts, >= 0, in the unit of `score`; a difference of exactly `margin` is a tie.
    groups: `[V]` labels (subject, category), or None; only videos of the same group are paired.

  Returns:
    (`[P, 2]` int32 positions (better, worse), `[T, 2]` int32 of tied pairs, which are left out).

  Raises:
    ValueError: if `margin` is negative.
  """
  if not margin >= 0:
    raise ValueError(f"tie_margin={margin} must be 0 or more, in the unit of the scores.")
  score = np.asarray(score)
  if not np.issubdtype(score.dtype, np.floating):
    score = score.astype(np.float64)
  difference = score[:, None] - score[None, :]                                            # [V, V]
  # Scores are decimals: 0.4 - 0.3 exceeds 0.1 by a rounding error, and must still be the tie that it is on paper.
  rounding = 4 * np.finfo(score.dtype).eps * np.abs(score).max(initial=0)
  differs = difference > margin + rounding
  comparable = np.triu(np.ones(differs.shape, bool), 1)
  if groups is not None:
    groups = np.asarray(groups)
    same = groups[:, None] == groups[None, :]
    differs, comparable = differs & same, comparable & same
  tied = comparable & ~differs & ~differs.T
  return np.argwhere(differs).astype(np.int32), np.argwhere(tied).astype(np.int32)


def fold_of_videos(name: str, pairs: np.ndarray, train_videos: np.ndarray, test_videos: np.ndarray,
                   validation_videos: np.ndarray = NO_IDS) -> Fold:
  """Returns the fold of a split by videos: each side has the pairs of which it has both videos."""
  sides = [np.unique(np.asarray(ids, np.int32)) for ids in (train_videos, test_videos, validation_videos)]
  train_pairs, test_pairs, validation_pairs = (_rows_inside(pairs, ids) for ids in sides)
  return Fold(name, sides[0], sides[1], train_pairs, test_pairs, sides[2], validation_pairs)


def fold_of_pairs(name: str, pairs: np.ndarray, train_pairs: np.ndarray, test_pairs: np.ndarray,
                  validation_pairs: np.ndarray = NO_IDS, train_videos: np.ndarray = NO_IDS,
                  test_videos: np.ndarray = NO_IDS) -> Fold:
  """Returns the fold of a split by pairs, as published labels give it: a test pair may hold a training video.

  Args:
    name: of the fold.
    pairs: `[P, 2]` (better, worse) of the whole task.
    train_pairs, test_pairs, validation_pairs: rows of `pairs`.
    train_videos, test_videos: further videos of a side, which may be in none of its pairs.

  Returns:
    The fold. Its training videos are those that training reads; test videos are those of the test pairs that training
    does not read; validation videos are those of the validation pairs on neither side.
  """
  def videos_of(rows: np.ndarray, further: np.ndarray = NO_IDS) -> np.ndarray:
    return np.union1d(pairs[np.asarray(rows, np.int32)], further).astype(np.int32)
  train = videos_of(train_pairs, train_videos)
  test = np.setdiff1d(videos_of(test_pairs, test_videos), train)
  validation = np.setdiff1d(videos_of(validation_pairs), np.union1d(train, test))
  rows = [np.asarray(ids, np.int32) for ids in (train_pairs, test_pairs, validation_pairs)]
  return Fold(name, train, test, rows[0], rows[1], validation, rows[2])


def leave_one_out(groups: Sequence[str] | np.ndarray, pairs: np.ndarray, of: str = "videos") -> tuple[Fold, ...]:
  """Returns one fold for each distinct group, which is its test side: the rest trains.

  Args:
    groups: labels, `[V]` of videos (e.g. their subject) or `[P]` of pairs.
    pairs: `[P, 2]` (better, worse).
    of: "videos" or "pairs": what `groups` labels.

  Returns:
    The folds, named after the groups, in their order.

  Raises:
    ValueError: if there are fewer than two groups.
  """
  groups = np.asarray(groups)
  names = np.unique(groups)
  if len(names) < 2:
    raise ValueError(f"leaving one group out needs two groups or more, found {names.tolist()}; use a random split.")
  fold = _fold_of(of)
  return tuple(fold(str(name), pairs, np.flatnonzero(groups != name), np.flatnonzero(groups == name)) for name in names)


def everything(num_videos: int, pairs: np.ndarray) -> tuple[Fold, ...]:
  """Returns one fold, "all", that trains on all videos and pairs and tests none: for a model that only assesses."""
  return (fold_of_videos("all", pairs, np.arange(num_videos), NO_IDS),)


def random_folds(num_videos: int, pairs: np.ndarray, seed: int, test_share: float,
                 groups: np.ndarray | None = None) -> tuple[Fold, ...]:
  """Returns folds that deal the videos out at random, so that each video is tested once.

  Args:
    num_videos: V.
    pairs: `[P, 2]` (better, worse).
    seed: of the draw.
    test_share: share of the videos that a fold tests; 0.25 makes four folds.
    groups: `[V]` labels, or None; a group is never on both sides.

  Returns:
    The folds, named "part1" and so on.

  Raises:
    ValueError: if there are not two folds.
  """
  if not 0 < test_share < 1:
    raise ValueError(f"config.data.test_share={test_share} must lie between 0 and 1.")
  _, unit = np.unique(np.arange(num_videos) if groups is None else groups, return_inverse=True)
  units = int(unit.max(initial=-1)) + 1
  count = min(max(round(1 / test_share), 2), units)
  if count < 2:
    raise ValueError(f"{units} {'video' if groups is None else 'group'} cannot be dealt out to folds; at least two are "
                     "needed.")
  part = (np.random.default_rng(seed).permutation(units) % count)[unit]
  return tuple(fold_of_videos(f"part{k + 1}", pairs, np.flatnonzero(part != k), np.flatnonzero(part == k))
               for k in range(count))


def random_split(num_videos: int, pairs: np.ndarray, seed: int, test_share: float,
                 groups: np.ndarray | None = None) -> Fold:
  """Returns one fold that holds out a random share of the videos.

  Args:
    num_videos: V.
    pairs: `[P, 2]` (better, worse).
    seed: of the draw.
    test_share: share of the videos, or of the groups, that is held out; in (0, 1).
    groups: `[V]` labels, or None; a group is never on both sides.

  Returns:
    The fold, named "random".

  Raises:
    ValueError: if nothing can be held out.
  """
  videos = np.arange(num_videos, dtype=np.int32)
  train, test = _draw(videos, test_share, np.random.default_rng(seed), groups, "config.data.test_share")
  return fold_of_videos("random", pairs, train, test)


def folds_unasked(num_videos: int, pairs: np.ndarray, seed: int, test_share: float,
                  subjects: np.ndarray | None = None) -> tuple[Fold, ...]:
  """Returns the folds of own data where the labels give none: every video is tested where there are few.

  Args:
    num_videos: V; pairs: `[P, 2]`; seed: of a draw.
    test_share: share of the videos that a random split holds out.
    subjects: `[V]` labels, or None.

  Returns:
    With several subjects, each left out once; or several of them at a time, where they are more than `MOST_SUBJECTS` or
    one alone has nothing to test. Else one random split, or folds where that would test fewer than `LEAST_TEST` videos.
  """
  of = "pairs" if len(pairs) else "videos"

  def usable(folds: Sequence[Fold]) -> bool:
    return all(is_usable(fold, of) for fold in folds)
  if subjects is not None and (count := len(np.unique(subjects))) > 1:
    folds = leave_one_out(subjects, pairs)
    dealt = count > MOST_SUBJECTS or not usable(folds)
    several = random_folds(num_videos, pairs, seed, test_share, subjects) if dealt else folds
    return several if usable(several) else folds
  if num_videos > 1 and test_share * num_videos < LEAST_TEST:
    folds = random_folds(num_videos, pairs, seed, test_share)
    if usable(folds):
      return folds
  return (random_split(num_videos, pairs, seed, test_share),)


def folds_given(values: Sequence[str], pairs: np.ndarray, column: str = "split",
                of: str = "videos") -> tuple[Fold, ...]:
  """Returns the folds that a column of the labels gives.

  Args:
    values: the column, `[V]` of videos or `[P]` of pairs: train, validation (or val) and test for a split column; any
      fold names for a fold column.
    pairs: `[P, 2]` (better, worse).
    column: "split" (one fold, named "given") or "fold" (each distinct value is once the test fold).
    of: "videos" or "pairs": what `values` labels.

  Returns:
    The folds.

  Raises:
    ValueError: for an unknown value or column.
  """
  if column == "fold":
    return leave_one_out(values, pairs, of)
  if column != "split":
    raise ValueError(f"unknown column {column!r}; a given split is in a column 'split' or 'fold'.")
  unknown = sorted(set(values) - set(SPLIT_VALUES))
  if unknown:
    raise ValueError(f"unknown split value {unknown[0]!r}; expected train, validation (or val) or test.")
  sides = np.array([SPLIT_VALUES[value] for value in values])
  train, test, validation = (np.flatnonzero(sides == side) for side in ("train", "test", "validation"))
  return (_fold_of(of)("given", pairs, train, test, validation),)


def default_validation_share(folds: Sequence[Fold], at_random: bool) -> float:
  """Returns the default share of `with_validation`: 0 for folds that labels or subjects make.

  Args:
    folds: the folds.
    at_random: whether we drew them.

  Returns:
    `DRAWN_VALIDATION` of folds drawn at random, if that is `LEAST_VALIDATION` videos or more in each; else 0: what so
    few videos choose is chance, and training needs them.
  """
  if not at_random or min(DRAWN_VALIDATION * len(fold.train_videos) for fold in folds) < LEAST_VALIDATION:
    return 0.0
  return DRAWN_VALIDATION


def with_validation(folds: Sequence[Fold], pairs: np.ndarray, share: float, seed: int,
                    groups: np.ndarray | None = None) -> tuple[Fold, ...]:
  """Takes a validation side out of the training side of each fold; test sides stay as they are.

  Args:
    folds: the folds, without validation.
    pairs: `[P, 2]` (better, worse).
    share: share of a fold's training videos, or of their groups, that validates; in [0, 1), and 0 changes nothing.
    seed: of the draw; each fold draws for itself.
    groups: `[V]` labels, or None; a group is never on both sides.

  Returns:
    The folds. A training pair that has one video on each side is in neither.

  Raises:
    ValueError: if a fold has a validation side already, or if there are pairs and a side of it would have none.
  """
  if share == 0:
    return tuple(folds)
  result = []
  for number, fold in enumerate(folds):
    if len(fold.validation_videos) or len(fold.validation_pairs):
      raise ValueError(f"fold {fold.name!r} has validation data already; use config.data.validation_share=0.")
    rng = np.random.default_rng([seed, number])
    train, validation = _draw(fold.train_videos, share, rng, groups, "config.data.validation_share")

    def inside(videos: np.ndarray) -> np.ndarray:
      return fold.train_pairs[_rows_inside(pairs[fold.train_pairs], videos)]
    carved = fold._replace(train_videos=train, validation_videos=validation, train_pairs=inside(train),
                           validation_pairs=inside(validation))
    if len(pairs) and not (len(carved.train_pairs) and len(carved.validation_pairs)):
      raise ValueError(f"fold {fold.name!r}: config.data.validation_share={share} leaves {len(carved.train_pairs)} "
                       f"training and {len(carved.validation_pairs)} validation pairs; use another share, or 0 for "
                       "none.")
    result.append(carved)
  return tuple(result)


def is_usable(fold: Fold, of: str = "pairs") -> bool:
  """Returns whether a fold has something to train on and something to test.

  Args:
    of: "pairs" or "videos"; a `ValueError` for anything else.
  """
  if of not in ("videos", "pairs"):
    raise ValueError(f"of={of!r} must be 'videos' or 'pairs'.")
  return all(len(getattr(fold, f"{side}_{of}")) for side in ("train", "test"))


def check_folds(folds: Sequence[Fold], of: str = "pairs", drawn: str = "", tests: bool = True) -> None:
  """Raises a `ValueError` if a fold has nothing to train on or nothing to test.

  Args:
    folds: the folds.
    of: as in `is_usable`.
    drawn: how the folds were drawn, in words, with the option that decides how many videos a side has.
    tests: whether there must be a test side.
  """
  for fold in folds:
    if is_usable(fold, of) or not tests and len(getattr(fold, f"train_{of}")):
      continue
    side = "test" if len(getattr(fold, f"train_{of}")) else "training"
    had = f" of its {len(getattr(fold, side.removesuffix('ing') + '_videos'))} video(s)"
    if of == "videos":
      raise ValueError(f"fold {fold.name!r} has no {side} videos; {drawn or 'use another split'}.")
    remedy = f"{drawn}, or label more pairs" if drawn else "label more pairs there, use larger groups, or another split"
    raise ValueError(f"fold {fold.name!r} has no {side} pairs{had} (a pair counts when both its videos are on "
                     f"that side); {remedy}.")


def _fold_of(of: str) -> Callable[..., Fold]:
  if of not in ("videos", "pairs"):
    raise ValueError(f"of={of!r} must be 'videos' or 'pairs'.")
  return fold_of_videos if of == "videos" else fold_of_pairs


def _rows_inside(pairs: np.ndarray, videos: np.ndarray) -> np.ndarray:
  """Returns rows of `[P, 2]` pairs that have both sides among the videos."""
  return np.flatnonzero(np.isin(pairs, videos).all(axis=1)).astype(np.int32)


def _draw(videos: np.ndarray, share: float, rng: np.random.Generator, groups: np.ndarray | None,
          option: str) -> tuple[np.ndarray, np.ndarray]:
  """(kept, drawn) videos, sorted: a random share of the videos, or of their groups, at least one and never all."""
  units = videos if groups is None else np.asarray(groups)[videos]
  names = np.unique(units)
  if not 0 < share < 1:
    raise ValueError(f"{option}={share} must lie between 0 and 1.")
  if len(names) < 2:
    raise ValueError(f"{option}={share} cannot split {len(names)} {'video' if groups is None else 'group'}; "
                     "at least two are needed.")
  count = min(max(round(share * len(names)), 1), len(names) - 1)
  drawn = np.isin(units, rng.permutation(names)[:count])
  return videos[~drawn], videos[drawn]
