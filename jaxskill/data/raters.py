"""Labels of several raters: columns `rater.<name>` of scores.csv, a column `rater` of pairs.csv, where pairs repeat.

The score of a video is the mean of its ratings, unless a column `score` says otherwise; a cell may be empty where a
rater has not seen a video. Of a pair that several raters compared the majority says which video is better; a pair that
splits them evenly is tied and left out. A row that calls the two similar is no vote for either.

V videos, R raters, N comparisons.
"""

from __future__ import annotations

import collections
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

RATER = "rater."


def of_scores(table: dict[str, Any], lines: Sequence[int], path: pathlib.Path) -> dict[str, Any]:
  """Completes the columns of scores.csv: ratings become numbers, their mean the score where there is no such column.

  Args:
    table: name -> list of str, with columns `rater.<name>`; lines: line number of each row; path: the file.

  Returns:
    The table; empty cells of raters are nan.

  Raises:
    ValueError: for a rating that is no finite number, or a video that nobody has rated.
  """
  names = [name for name in table if name.startswith(RATER)]
  if not names:
    return table
  rated = {}
  for name in names:
    rated[name] = [_rating(text, name, video, f"{path}, line {line}")
                   for text, video, line in zip(table[name], table["video"], lines)]
  table = table | rated
  if "score" not in table:
    ratings = np.array([rated[name] for name in names])                                    # [R, V]
    unrated = np.flatnonzero(np.isnan(ratings).all(axis=0))
    if unrated.size:
      raise ValueError(f"{path}, line {lines[unrated[0]]}: nobody has rated video {table['video'][unrated[0]]!r}; fill "
                       f"in a column {names[0]!r} or the like, or remove the line.")
    table["score"] = [repr(float(x)) for x in np.nanmean(ratings, axis=0)]
  return table


def _rating(text: str, name: str, video: str, place: str) -> float:
  if not text:
    return math.nan
  try:
    value = float(text)
  except ValueError:
    value = math.nan
  if not math.isfinite(value):
    raise ValueError(f"{place}: {name} {text!r} of video {video!r} is not a finite number; correct it, or leave the "
                     "cell empty where this rater has not seen the video.")
  return value


def of_pairs(table: dict[str, Any], similar: Sequence[bool], lines: Sequence[int],
             path: pathlib.Path) -> tuple[dict[str, Any], list[tuple[str, str, str]], list[tuple[str, ...]]]:
  """Takes the votes out of pairs.csv: one row a pair, in the order that most raters gave.

  Args:
    table: "better", "worse", "rater" and further columns, lists of str.
    similar: of each row, whether the rater finds neither better; lines: its line number; path: the file.

  Returns:
    (table without "rater", one row a pair; list of all (better, worse, rater) that are not similar; list of tied pairs,
    left out).

  Raises:
    ValueError: if a rater judges a pair twice, or rows of one pair differ in a further column.
  """
  votes = list(zip(table["better"], table["worse"], table["rater"]))
  seen, rows = {}, collections.defaultdict(list)
  for number, (better, worse, rater) in enumerate(votes):
    pair = tuple(sorted((better, worse)))
    if (pair, rater) in seen:
      raise ValueError(f"{path}, line {lines[number]}: rater {rater!r} has compared {better!r} and {worse!r} in line "
                       f"{seen[pair, rater]} already; keep one of the lines.")
    seen[pair, rater] = lines[number]
    rows[pair].append(number)
  further = [name for name in table if name not in ("better", "worse", "rater")]
  kept, tied = [], []
  for pair, places in rows.items():
    for name in further:
      if other := next((i for i in places if table[name][i] != table[name][places[0]]), None):
        raise ValueError(f"{path}, line {lines[other]}: {name} {table[name][other]!r} of the pair {pair[0]!r} and "
                         f"{pair[1]!r} is {table[name][places[0]]!r} in line {lines[places[0]]}; a pair has one "
                         f"{name}, whoever judges it.")
    ordered = [i for i in places if not similar[i]]
    first = [i for i in ordered if table["better"][i] == pair[0]]
    if 2 * len(first) == len(ordered):
      tied.append(pair)
    else:
      kept.append(first[0] if 2 * len(first) > len(ordered) else next(i for i in ordered if i not in first))
  kept.sort()
  result = {name: [table[name][i] for i in kept] for name in ("better", "worse", *further)}
  return result, [vote for vote, alike in zip(votes, similar) if not alike], tied
