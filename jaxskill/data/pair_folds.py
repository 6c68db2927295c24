"""Folds of a list of pairs that deals the same pairs out anew in every fold, as the published splits of EPIC-Skills do.

A list names a pair once for each fold: `fold` alone says where it is tested, and it trains in every other fold; with
`split` beside it, the row says on which side of that fold it lies, and it is not in folds that no row names. A video
may be in training pairs of one fold and test pairs of another, or on both sides of one: the audit counts these.

P pairs.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence

import numpy as np

from jaxskill.data import splits
from jaxskill.data.dataset import Fold


def merge_repeated(pairs: Sequence[list[int]] | np.ndarray,
                   fold: Sequence[str] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the table of pairs without those that another fold repeats.

  Args:
    pairs: `[n, 2]` (better, worse) of every row.
    fold: `[n]` names.

  Returns:
    (`[P, 2]` int32 pairs, `[n]` int32 row of the table of each). The k-th time that one fold names a pair is one row of
    the table, whichever fold says it: a pair that is labelled twice weighs twice.
  """
  rows, places, times = {}, [], collections.Counter()
  for better, worse, name in zip(*np.asarray(pairs).T.tolist(), fold):
    times[better, worse, name] += 1
    places.append(rows.setdefault((better, worse, times[better, worse, name]), len(rows)))
  table = np.array([row[:2] for row in rows], np.int32).reshape(-1, 2)
  return table, np.array(places, np.int32)


def check_sides(fold: Sequence[str], split: Sequence[str], pairs: Sequence[tuple[str, str]],
                place: Callable[[int], str]) -> None:
  """Raises a `ValueError` if one fold has a pair on two of its sides, in whichever order it names the two videos.

  Args:
    fold, split, pairs: `[n]`, `[n]`, `[n, 2]` of every row.
    place: row number -> what the error names.
  """
  sides = {}
  for number, (name, side, pair) in enumerate(zip(fold, split, map(tuple, np.asarray(pairs).tolist()))):
    first, other = sides.setdefault((name, frozenset(pair)), (number, splits.SPLIT_VALUES[side]))
    if other != splits.SPLIT_VALUES[side]:
      raise ValueError(f"{place(number)}: this pair is {side} of fold {name!r} here and {other} in {place(first)}; a "
                       "pair lies on one side of a fold: keep one.")


def folds_of_rows(pairs: np.ndarray, places: np.ndarray, fold: Sequence[str] | np.ndarray,
                  split: Sequence[str] | np.ndarray | None = None) -> tuple[Fold, ...]:
  """Returns the folds that the rows of a list give.

  Args:
    pairs, places: see `merge_repeated`.
    fold: `[n]` names of every row.
    split: `[n]` train, validation (or val) or test; None where a row says where the pair is tested.

  Returns:
    The folds, in the order of their names.

  Raises:
    ValueError: if `split` is None and there are fewer than two folds: nothing would train.
  """
  fold, names = np.asarray(fold), np.unique(fold)
  if split is None and len(names) < 2:
    raise ValueError(f"a fold column without a split column needs two folds or more, found {names.tolist()}; add a "
                     "column split (train, test), or use a random split.")
  folds = []
  for name in names:
    of_fold = fold == name
    if split is None:
      test = np.unique(places[of_fold])
      tested = _codes(pairs[test])
      train = np.flatnonzero(~np.isin(_codes(pairs), tested))              # not even where it is labelled again
      validation = splits.NO_IDS
    else:
      side = np.array([splits.SPLIT_VALUES[value] for value in split])
      train, validation, test = (np.unique(places[of_fold & (side == one)]) for one in ("train", "validation", "test"))
    folds.append(splits.fold_of_pairs(str(name), pairs, train, test, validation))
  return tuple(folds)


def _codes(pairs: np.ndarray) -> np.ndarray:
  """Returns one number for each of `[P, 2]` pairs of int32."""
  return pairs[:, 0].astype(np.int64) << 32 | pairs[:, 1]
