"""Tables of labels: csv files whose first line names the columns, and the numbers in them.

`scores.csv` has one row a video, `pairs.csv` one row a pair; every fault is named with its file and its line.
"""

from __future__ import annotations

import csv
import math

import numpy as np

from jaxskill.data import splits
from jaxskill.data.arrays import HEAD, stands_in
from jaxskill.data.names import video_name

CRITERION = "criterion."     # what the name of a column begins with that holds a further score
_LARGEST = float(np.finfo(np.float32).max)                   # labels are kept as float32
_NAMES = ("video", "better", "worse")                        # columns that name videos
_SEPARATORS = {";": "semicolons", "\t": "tabulators", "|": "vertical bars", " ": "blanks"}


def read_table(path, required, optional, prefix=None):
  """The columns of a csv file that are asked for.

  Args:
    path: the file; its first line names the columns.
    required, optional: names of columns; others are not read.
    prefix: columns whose names begin with it are read as well; None for none.

  Returns:
    (name -> list of str, line number of each row); names of videos in their one spelling, see `video_name`.

  Raises:
    ValueError: for a missing or doubled column, other separators than commas, a row of another width, an empty cell, a
      name that leads out of the folder, or an unknown split value.
  """
  rows = _read_rows(path)
  header = rows[0][1] if rows else []
  lacking = [name for name in required if name not in header]
  if lacking:
    for separator, word in _SEPARATORS.items():
      if not set(lacking) - {cell.strip(' "') for cell in ",".join(header).split(separator)}:
        raise ValueError(f"{path}: its cells are separated by {word} ({','.join(header)[:80]}); expected commas, and points "
                         "in decimal numbers: save it again so.")
    raise ValueError(f"{path}: column {lacking[0]!r} is not in the first line ({','.join(header)}); expected "
                     f"{','.join(required)}[,{','.join(optional)}].")
  further = dict.fromkeys(name for name in header if prefix and name.startswith(prefix) and name != prefix)
  names = [name for name in (*required, *optional, *further) if name in header]
  twice = [name for name in names if header.count(name) > 1]
  if twice:
    raise ValueError(f"{path}: column {twice[0]!r} appears more than once in the first line; keep one.")
  if "split" in names and "fold" in names:
    raise ValueError(f"{path}: has both a split and a fold column; keep one.")
  if len(rows) < 2:
    raise ValueError(f"{path}: no lines below the first; add the labels.")
  for line, row in rows[1:]:
    if len(row) != len(header):
      raise ValueError(f"{path}, line {line}: {len(row)} cells but the first line has {len(header)}; fill in what is "
                       "missing, or remove the line.")
    empty = [name for name in names if not row[header.index(name)]]
    if empty:
      raise ValueError(f"{path}, line {line}: the cell {empty[0]!r} is empty; fill it in, or remove the line.")
  table = {name: [row[header.index(name)] for _, row in rows[1:]] for name in names}
  lines = [line for line, _ in rows[1:]]
  for column in set(_NAMES) & table.keys():
    table[column] = [video_name(text, f"{path}, line {line}") for text, line in zip(table[column], lines)]
  for line, value in zip(lines, table.get("split", ())):
    if value not in splits.SPLIT_VALUES:
      raise ValueError(f"{path}, line {line}: unknown split value {value!r}; expected train, validation (or val) or "
                       "test.")
  return table, lines


def _read_rows(path):
  """[(line number, cells)] of a csv file, blank lines left out."""
  try:
    with open(path, "rb") as file:
      if stand_in := stands_in(file.read(HEAD)):
        raise ValueError(f"{path}: {stand_in}")
    with open(path, newline="", encoding="utf-8-sig") as file:
      reader = csv.reader(file)
      return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
  except (UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f"{path}: is not a csv file in UTF-8 ({error}); save it again as such.") from error


def read_scores(path):
  """The columns of `scores.csv`: one row a video.

  Raises:
    ValueError: as `read_table`, and for a video with two rows, or a score that is no number.
  """
  table, lines = read_table(path, ("video", "score"), ("difficulty", "category", "subject", "split", "fold"), CRITERION)
  seen = {}
  for line, video in zip(lines, table["video"]):
    if video in seen:
      raise ValueError(f"{path}, line {line}: video {video!r} has a score in line {seen[video]} already; keep one.")
    seen[video] = line
  for name in table:
    if name in ("score", "difficulty") or name.startswith(CRITERION):
      cells = zip(table[name], table["video"], lines)
      table[name] = [number(text, name, video, f"{path}, line {line}") for text, video, line in cells]
  return table


def number(text, name, video, place):
  """A finite number of a label file, or a `ValueError` that names the place."""
  try:
    value = math.nan if isinstance(text, np.ndarray) else float(text)
  except (ValueError, TypeError, OverflowError):
    value = math.nan
  if not abs(value) <= _LARGEST:
    hint = ", decimals with a point" if isinstance(text, str) and "," in text else ""
    shown = " ".join(repr(text).split())[:60]
    raise ValueError(f"{place}: {name} {shown} of video {video!r} is not a finite number below 3.4e38; correct it"
                     f"{hint}.")
  return value


def read_pairs(path, labels=None):
  """The columns of `pairs.csv`: one row a pair; `labels` are those of `read_scores`, whose videos alone may be named.

  Raises:
    ValueError: as `read_table`, and for a pair of a video with itself, or one given in both orders.
  """
  table, lines = read_table(path, ("better", "worse"), ("split", "fold"))
  scored = set(labels["video"]) if labels else None
  seen = {}
  for line, better, worse in zip(lines, table["better"], table["worse"]):
    if better == worse:
      raise ValueError(f"{path}, line {line}: compares video {better!r} with itself; remove it.")
    if (worse, better) in seen:
      raise ValueError(f"{path}, line {line}: contradictory pair: {better!r} is better than {worse!r} here and worse "
                       f"in line {seen[worse, better]}; keep the order that the annotators agreed on.")
    for video in (better, worse):
      if scored is not None and video not in scored:
        raise ValueError(f"{path}, line {line}: video {video!r} is not in scores.csv; add it, or remove the pair.")
    seen.setdefault((better, worse), line)
  return table


