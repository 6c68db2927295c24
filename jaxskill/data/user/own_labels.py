"""The labels of a folder of one's own: `scores.csv`, `pairs.csv` or both; their columns are in `features`."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxskill.data import pair_folds, raters
from jaxskill.data.tables import number, read_table

CRITERION = "criterion."     # what the name of a column begins with that holds a further score


class OwnLabels(NamedTuple):
  """What the tables say, name of a column -> list; see `read_labels`.

  Attributes:
    scores: of scores.csv, a row a video; None without that file.
    pairs: of pairs.csv, a row a pair where there are raters; None without that file.
    votes: (better, worse, rater) of all rows of pairs.csv that say which is better, where there are raters.
    tied: pairs (video, video) that the raters tie in, or that a row calls similar.
  """

  scores: Any
  pairs: Any
  votes: list
  tied: list

  def videos(self) -> tuple[str, ...]:
    """Returns all that are named, also in tied pairs."""
    if self.scores:
      return tuple(self.scores["video"])
    compared = [vote[:2] for vote in self.votes] or list(zip(self.pairs["better"], self.pairs["worse"]))
    return tuple(dict.fromkeys(video for pair in compared + self.tied for video in pair))


def read_labels(folder: pathlib.Path) -> OwnLabels:
  """Reads the tables of a folder.

  Raises:
    ValueError: if there is none, or for a fault in one; it names the line and the remedy.
  """
  pairs_file, scores_file = folder / "pairs.csv", folder / "scores.csv"
  if not pairs_file.is_file() and not scores_file.is_file():
    raise ValueError(f"{folder}: neither pairs.csv (better,worse) nor scores.csv (video,score) is there; add one.")
  scores = _read_scores(scores_file) if scores_file.is_file() else None
  pairs, votes, tied = _read_pairs(pairs_file, scores) if pairs_file.is_file() else (None, [], [])
  return OwnLabels(scores, pairs, votes, tied)


def _read_scores(path: pathlib.Path) -> dict[str, Any]:
  cells, lines = read_table(path, ("video", "score"), ("difficulty", "category", "subject", "group", "split", "fold"),
                            (CRITERION, raters.RATER))
  table = raters.of_scores(cells, lines, path)
  seen = {}
  for line, video in zip(lines, table["video"]):
    if video in seen:
      raise ValueError(f"{path}, line {line}: video {video!r} has a score in line {seen[video]} already; keep one.")
    seen[video] = line
  for name in table:
    if name in ("score", "difficulty") or name.startswith(CRITERION):
      rows = zip(table[name], table["video"], lines)
      table[name] = [number(text, name, video, f"{path}, line {line}") for text, video, line in rows]
  return table


def _read_pairs(path: pathlib.Path, labels: Mapping[str, Any] | None) -> tuple[dict[str, Any], list, list]:
  """(columns of pairs.csv, one row a pair where there are raters; their votes; pairs in which neither is better)."""
  table, lines = read_table(path, ("better", "worse"), ("split", "fold", "rater", "similar"), split_and_fold=True)
  similar = _similar(table, lines, path)
  scored = set(labels["video"]) if labels else None
  seen = {}
  for line, better, worse, alike in zip(lines, table["better"], table["worse"], similar):
    if better == worse:
      raise ValueError(f"{path}, line {line}: compares video {better!r} with itself; remove it.")
    if not alike and (worse, better) in seen and "rater" not in table:
      raise ValueError(f"{path}, line {line}: contradictory pair: {better!r} is better than {worse!r} here and worse "
                       f"in line {seen[worse, better]}; keep the order that the annotators agreed on, or say in a "
                       "column 'rater' whose each line is.")
    for video in (better, worse):
      if scored is not None and video not in scored:
        raise ValueError(f"{path}, line {line}: video {video!r} is not in scores.csv; add it, or remove the pair.")
    if not alike:
      seen.setdefault((better, worse), line)
  if "split" in table and "fold" in table:
    pair_folds.check_sides(table["fold"], table["split"], list(zip(table["better"], table["worse"])),
                           lambda number: f"{path}, line {lines[number]}")
  if "rater" in table:
    return raters.of_pairs(table, similar, lines, path)
  tied = {tuple(sorted(pair)) for *pair, alike in zip(table["better"], table["worse"], similar) if alike}
  ordered = {name: [cell for cell, alike in zip(cells, similar) if not alike] for name, cells in table.items()}
  return ordered, [], sorted(tied)


def _similar(table: dict[str, Any], lines: Sequence[int], path: pathlib.Path) -> list[bool]:
  """Takes the column "similar" out of pairs.csv: whether neither video of a row is better; without it, of no row."""
  cells = table.pop("similar", ["no"] * len(lines))
  for line, cell in zip(lines, cells):
    if cell not in ("yes", "no"):
      raise ValueError(f"{path}, line {line}: similar is {cell!r}; expected yes, where neither of the two videos is "
                       "better, or no.")
  return [cell == "yes" for cell in cells]


def ratings_of(column: Mapping[str, np.ndarray], votes: Sequence[tuple[str, str, str]],
               videos: Sequence[str]) -> dict[str, np.ndarray]:
  """Returns what several raters said, by the numbers of videos that are there; see `SkillDataset.ratings`."""
  names = [name for name in column if name.startswith(raters.RATER)]
  result: dict[str, Any] = {}
  if names:
    result["scores"] = np.stack([column[name].astype(np.float64) for name in names], axis=1)
  if votes:
    position = {video: i for i, video in enumerate(videos)}
    positions = {rater: i for i, rater in enumerate(dict.fromkeys(rater for *_, rater in votes))}
    kept = [(position[better], position[worse], positions[rater]) for better, worse, rater in votes
            if better in position and worse in position]
    result["votes"] = np.array(kept, np.int32).reshape(-1, 3)
  return result
