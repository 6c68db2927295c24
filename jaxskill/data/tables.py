"""Csv files of labels: their rows, the columns that are asked for, their numbers."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence

import numpy as np

from jaxskill.data.arrays import refuse_stand_in
from jaxskill.data.raters import RATER
from jaxskill.data.splits import SPLIT_VALUES
from jaxskill.data.video.video_names import video_name

_SEPARATORS = {";": "semicolons", "\t": "tabulators", "|": "vertical bars", " ": "blanks"}
_VIDEOS = ("video", "better", "worse")       # columns that name videos
_LARGEST = float(np.finfo(np.float32).max)   # labels are kept as float32


def read_rows(path: str | os.PathLike[str]) -> list[tuple[int, list[str]]]:
  """Returns the rows of a csv file, blank lines left out: (line number, cells without blanks around them).

  Raises:
    ValueError: if it is no csv file in UTF-8.
  """
  try:
    refuse_stand_in(path)
    with open(path, newline="", encoding="utf-8-sig") as file:
      reader = csv.reader(file)
      return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
  except (UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f"{path}: is not a csv file in UTF-8 ({error}); save it again as such.") from error


def check_separators(path: str | os.PathLike[str], header: Sequence[str], lacking: Sequence[str]) -> None:
  """Raises a `ValueError` if a file lacks columns because its cells are separated by something else than commas.

  Args:
    path: the file.
    header: the cells of its first line, as commas separate them.
    lacking: the columns that are not among them.
  """
  line = ",".join(header)
  for separator, word in _SEPARATORS.items():
    if not set(lacking) - {cell.strip(' "') for cell in line.split(separator)}:
      raise ValueError(f"{path}: its cells are separated by {word} ({line:.80}); expected commas, and points in "
                       "decimal numbers: save it again so.")


def read_table(path: str | os.PathLike[str], required: Sequence[str], optional: Sequence[str],
               prefix: tuple[str, str] | None = None,
               split_and_fold: bool = False) -> tuple[dict[str, list[str]], list[int]]:
  """Returns the named columns of a csv file.

  Args:
    path: the file; its first line names the columns.
    required, optional: names of columns; others are not read.
    prefix: columns whose names begin with it, or with one of several, are read as well; None for none. Cells of raters
      may be empty, and their columns may stand in place of a score.
    split_and_fold: whether a table may have both of these columns.

  Returns:
    (name -> list of str, line number of each row); names of videos in their one spelling, see `video_name`.

  Raises:
    ValueError: for a missing or doubled column, other separators than commas, a row of another width, an empty cell, a
      name that leads out of the folder, or an unknown split value.
  """
  rows = read_rows(path)
  header = rows[0][1] if rows else []
  further = dict.fromkeys(name for name in header if prefix and name.startswith(prefix) and name.partition(".")[2])
  lacking = [name for name in required if name not in header]
  if lacking and not (lacking == ["score"] and any(name.startswith(RATER) for name in further)):
    check_separators(path, header, lacking)
    raise ValueError(f"{path}: column {lacking[0]!r} is not in the first line ({','.join(header)}); expected "
                     f"{','.join(required)}[,{','.join(optional)}].")
  names = [name for name in (*required, *optional, *further) if name in header]
  twice = [name for name in names if header.count(name) > 1]
  if twice:
    raise ValueError(f"{path}: column {twice[0]!r} appears more than once in the first line; keep one.")
  if "split" in names and "fold" in names and not split_and_fold:
    raise ValueError(f"{path}: has both a split and a fold column; keep one.")
  if len(rows) < 2:
    raise ValueError(f"{path}: no lines below the first; add the labels.")
  for line, row in rows[1:]:
    if len(row) != len(header):
      raise ValueError(f"{path}, line {line}: {len(row)} cells but the first line has {len(header)}; fill in what is "
                       "missing, or remove the line.")
    empty = [name for name in names if not row[header.index(name)] and not name.startswith(RATER)]
    if empty:
      raise ValueError(f"{path}, line {line}: the cell {empty[0]!r} is empty; fill it in, or remove the line.")
  table = {name: [row[header.index(name)] for _, row in rows[1:]] for name in names}
  lines = [line for line, _ in rows[1:]]
  for column in set(_VIDEOS) & table.keys():
    table[column] = [video_name(text, f"{path}, line {line}") for text, line in zip(table[column], lines)]
  for line, value in zip(lines, table.get("split", ())):
    if value not in SPLIT_VALUES:
      raise ValueError(f"{path}, line {line}: unknown split value {value!r}; expected train, validation (or val) or "
                       "test.")
  return table, lines


def number(text: float | str, name: str, video: str, place: str | os.PathLike[str]) -> float:
  """Returns a finite number of a label file; raises a `ValueError` that names the place."""
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
