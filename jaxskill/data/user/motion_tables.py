"""Tables of motion capture: csv files with a column for each coordinate, and the `.trc` files of OpenSim.

T rows, J points.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np

from jaxskill.data.arrays import refuse_stand_in
from jaxskill.data.kinematics import check_times
from jaxskill.data.tables import check_separators, read_rows
from jaxskill.data.user.recording import METRES, Recording

_COORDINATE = re.compile(r"(.+)[_. ]([xyz])", re.IGNORECASE)
_UNITS = {"mm": "mm", "millimeters": "mm", "cm": "cm", "centimeters": "cm", "m": "m", "meters": "m"}


def read_csv(path: pathlib.Path, units: str = "") -> Recording:
  """Reads a csv file `time,name_x,name_y,name_z,...`: seconds, and the places of points, empty where one is not seen.

  Args:
    path: the file. Without any `_z` its points are those of a picture, whose y points down; further columns are not
      read.
    units: of the lengths, of `METRES`; "" is m, and of a picture pixels.

  Raises:
    ValueError: for a missing or doubled column, a cell that is no number, or times that do not increase.
  """
  rows = read_rows(path)
  header = rows[0][1] if rows else []
  time = [number for number, name in enumerate(header) if name.lower() == "time"]
  if not time:
    check_separators(path, header, ["time"])
    raise ValueError(f"{path}: column 'time' is not in the first line ({','.join(header):.80}); expected "
                     "time,name_x,name_y,name_z,... with the time in seconds.")
  columns = _coordinates(path, header)
  wanted = [time[0], *(column for point in columns.values() for column in point)]
  lines = [line for line, _ in rows[1:]]
  for line, row in rows[1:]:
    if len(row) != len(header):
      raise ValueError(f"{path}, line {line}: {len(row)} cells but the first line has {len(header)}; fill in what is "
                       "missing, or remove the line.")
  table = _numbers(path, [[row[column] for column in wanted] for _, row in rows[1:]], lines,
                   [header[column] for column in wanted])
  points = table[:, 1:].reshape(len(table), len(columns), -1)
  flat = points.shape[2] == 2
  unit = units or ("" if flat else "m")
  points = np.concatenate([points, 0 * points[..., :1]], axis=2) if flat else points
  return Recording(points * METRES.get(unit, 1.0), table[:, 0], tuple(columns), "-y" if flat else "y", unit)


def is_header(line: str) -> bool:
  """Returns whether a first line of a csv file, whatever separates its cells, has a time or a coordinate."""
  cells = [cell.strip(' "') for cell in re.split("[,;\t]", line.strip())]
  return any(cell.lower() == "time" or _COORDINATE.fullmatch(cell) for cell in cells)


def _coordinates(path: pathlib.Path, header: Any) -> Any:
  """Returns {name of a point: its columns}, all of two or all of three coordinates."""
  found: dict[str, dict[str, int]] = {}
  for number, name in enumerate(header):
    if match := _COORDINATE.fullmatch(name):
      axes = found.setdefault(match[1], {})
      if match[2].lower() in axes:
        raise ValueError(f"{path}: column {name!r} appears more than once in the first line; keep one.")
      axes[match[2].lower()] = number
  if not found:
    raise ValueError(f"{path}: no column is a coordinate of a point ({','.join(header):.80}); expected "
                     "time,name_x,name_y,name_z,...")
  wanted = "xyz" if any("z" in axes for axes in found.values()) else "xy"
  for name, axes in found.items():
    if lacking := set(wanted) - axes.keys():
      raise ValueError(f"{path}: column {name + '_' + min(lacking)!r} is not in the first line; every point needs its "
                       f"{', '.join('_' + axis for axis in wanted)}, or all of them _x and _y alone: add the column, "
                       "or remove the point.")
  return {name: [axes[axis] for axis in wanted] for name, axes in found.items()}


def read_trc(path: pathlib.Path, units: str = "") -> Recording:
  """Reads a `.trc` file of OpenSim, whose head says the unit of lengths, and whose markers are empty where not seen.

  Args:
    path: the file.
    units: in place of that of the head, where it is wrong.

  Raises:
    ValueError: for a damaged head, a cell that is no number, times that do not increase, or fewer frames than the head
      announces.
  """
  refuse_stand_in(path)
  try:
    content = path.read_text(encoding="utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: is no text in UTF-8 ({error}); export it again as a .trc file.") from error
  rows = [(number, [cell.strip() for cell in line.split("\t")])
          for number, line in enumerate(content.splitlines(), 1) if line.strip()]
  names, unit = _trc_head(path, rows)
  body = [(line, row[: 2 + 3 * len(names)]) for line, row in rows[5:]]
  announced = dict(zip(rows[1][1], rows[2][1])).get("NumFrames", "")
  if announced.isdigit() and int(announced) != len(body):
    raise ValueError(f"{path}: announces {announced} frames (NumFrames) but holds {len(body)}; it is damaged or cut "
                     "short: export it again.")
  columns = ["Frame#", "Time", *(f"{axis} of marker {name}" for name in names for axis in "XYZ")]
  cells = [row + [""] * (len(columns) - len(row)) for _, row in body]
  table = _numbers(path, [row[1:] for row in cells], [line for line, _ in body], columns[1:])
  points = table[:, 1:].reshape(len(table), len(names), 3) * METRES[units or unit]
  return Recording(points, table[:, 0], names, "y", units or unit)


def _trc_head(path: pathlib.Path, rows: Any) -> Any:
  """Returns (names of the markers, unit) of the five lines that begin a `.trc` file."""
  lines = [row for _, row in rows[:5]]
  if len(lines) < 5 or not lines[0][0].startswith("PathFileType") or "Units" not in lines[1]:
    raise ValueError(f"{path}: does not begin as a .trc file does (PathFileType; DataRate ... Units ...; their values; "
                     "Frame#, Time and markers; X1, Y1, Z1, ...), separated by tabulators; export it again.")
  said = dict(zip(lines[1], lines[2])).get("Units", "")
  if said.lower() not in _UNITS:
    raise ValueError(f"{path}: Units is {said!r}; expected mm, cm or m: correct the head of the file.")
  if [cell.lower() for cell in lines[3][:2]] != ["frame#", "time"]:
    raise ValueError(f"{path}: column 'Time' is not the second of its line of markers ({lines[3][:3]}); expected "
                     "Frame#, Time and the names of markers.")
  names = tuple(filter(None, lines[3][2:]))
  if not names or len(set(names)) < len(names):
    raise ValueError(f"{path}: its line of markers names {'none' if not names else 'one twice'}; name each once.")
  if len(axes := list(filter(None, lines[4]))) != 3 * len(names):
    raise ValueError(f"{path}: names {len(names)} markers but {len(axes)} coordinates (X1, Y1, Z1, ...); expected "
                     "three of each marker: export it again.")
  return names, _UNITS[said.lower()]


def _numbers(path: pathlib.Path, rows: Any, lines: Any, columns: Any) -> Any:
  """Returns `[T, C]` float64 of cells, nan of empty ones; the first column is the time, which increases."""
  if not rows:
    raise ValueError(f"{path}: no lines below the first; record the movement again.")
  try:
    table = np.array([[cell or "nan" for cell in row] for row in rows]).astype(np.float64)
  except ValueError:
    table = np.array([[_number(cell, f"{path}, line {line}: {column}") for cell, column in zip(row, columns)]
                      for line, row in zip(lines, rows)])
  if (bad := np.argwhere(np.isinf(table))).size:
    row, column = bad[0]
    raise ValueError(f"{path}, line {lines[row]}: {columns[column]} is infinite; leave the cell empty where a point is "
                     "not seen.")
  check_times(table[:, 0], [f"{path}, line {line}" for line in lines])
  return table


def _number(cell: Any, place: Any) -> Any:
  try:
    return float(cell or "nan")
  except ValueError:
    raise ValueError(f"{place} is {cell!r:.40}, no number; correct it, decimals with a point, or leave it empty where "
                     "a point is not seen.") from None
