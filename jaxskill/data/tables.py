"""Rows of csv files, and what is wrong with a file that has none."""

from __future__ import annotations

import csv

from jaxskill.data.arrays import HEAD, stands_in

_SEPARATORS = {";": "semicolons", "\t": "tabulators", "|": "vertical bars", " ": "blanks"}


def read_rows(path) -> list[tuple[int, list[str]]]:
  """The rows of a csv file, blank lines left out: (line number, cells without blanks around them).

  Raises:
    ValueError: if it is no csv file in UTF-8.
  """
  try:
    with open(path, "rb") as file:
      if stand_in := stands_in(file.read(HEAD)):
        raise ValueError(f"{path}: {stand_in}")
    with open(path, newline="", encoding="utf-8-sig") as file:
      reader = csv.reader(file)
      return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
  except (UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f"{path}: is not a csv file in UTF-8 ({error}); save it again as such.") from error


def check_separators(path, header, lacking):
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
