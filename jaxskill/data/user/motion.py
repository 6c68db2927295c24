"""Recorded movements as a user has them, read as the stream `kinematics`: see `jaxskill.data.kinematics`.

  <video>.csv    time,name_x,name_y,name_z,...         motion capture; `motion_tables`
  <video>.trc    marker files of OpenSim               `motion_tables`
  <video>.txt    kinematics of JIGSAWS, 76 columns     `published.labels_jigsaws`
  <video>/       JSON files of OpenPose, BODY_25       `openpose`

T rows, C columns.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from jaxskill.data import kinematics
from jaxskill.data.dataset import SIMULATED_NOTE
from jaxskill.data.published.labels_jigsaws import KINEMATICS_HERTZ, read_kinematics
from jaxskill.data.user import motion_tables, openpose
from jaxskill.data.user.recording import AXES, METRES, Recording, check_size, in_trunks, joints_of
from jaxskill.data.video.video_names import plain

STREAM = "kinematics"
ENDINGS = (".csv", ".trc", ".txt")
OTHERS = ("scores.csv", "pairs.csv", "NOTICE.txt", SIMULATED_NOTE)      # files of these endings that may lie beside
# Columns of JIGSAWS at which the place of each manipulator begins.
MANIPULATORS = dict(left_master=0, right_master=19, left_tool=38, right_tool=57)
GAPS = 0.2                # share of rows without anybody above which it is said


class Options(NamedTuple):
  """How recordings are read, `config.data.motion`.

  Attributes:
    units: of lengths in csv and .trc files, of `METRES`; "" is m of csv, pixels of csv without `_z`, and what a .trc
      file says.
    up: axis against gravity, of `AXES`; "" is y, of pictures -y, of JIGSAWS z.
    joints: (landmark, name in the file) of points whose names do not say which landmark they are.
    face_right, window, ends: see `kinematics.columns`.
  """

  units: str = ""
  up: str = ""
  joints: tuple = ()
  face_right: bool = False
  window: float = 1.0
  ends: tuple = ()


def options(config: ConfigDict) -> Options:
  """Returns the `Options` of `config.data`; older configs lack them.

  Raises:
    ValueError: for a unit or an axis that is unknown.
  """
  given = Options(**dict(getattr(config, "motion", None) or {}))
  for name, value, known in (("units", given.units, METRES), ("up", given.up, AXES)):
    if value and value not in known:
      raise ValueError(f"config.data.motion.{name}={value!r} is unknown; use one of {', '.join(known)}, or '' for what "
                       "is usual in files of a format.")
  return given


def is_motion(path: pathlib.Path) -> bool:
  """Returns whether a path is a file or a folder of a recorded movement, by its ending or its files."""
  if path.name.startswith("._"):                             # what Macs leave beside files on other disks
    return False
  return path.is_file() and path.suffix.lower() in ENDINGS and path.name not in OTHERS or openpose.is_folder(path)


def place_of(path: pathlib.Path) -> pathlib.Path:
  """Returns the path of a recording without its ending; a folder has none, whatever points its name holds."""
  return path if path.is_dir() else path.with_suffix("")


def recordings_in(folder: pathlib.Path | str) -> tuple[dict[str, pathlib.Path], dict[str, str]]:
  """Returns ({name: path} of the recorded movements in a folder and those below it, {file: why it is left out}).

  A csv file without a time and without coordinates, or a text without numbers, is no recording; who reads the folder
  says so. There may be none.

  Raises:
    ValueError: if two are of one name.
  """
  folder, left_out = pathlib.Path(folder), {}
  found: dict[str, pathlib.Path] = {}
  for path in sorted(filter(is_motion, folder.rglob("*"))):
    name = plain(place_of(path).relative_to(folder).as_posix())
    if why := _why_none(path):
      left_out[path.relative_to(folder).as_posix()] = why
    elif name in found:
      raise ValueError(f"{found[name]} and {path} are two recordings of one name ({name!r}); remove or rename one.")
    else:
      found[name] = path
  return found, left_out


def _why_none(path: pathlib.Path) -> str:
  """Returns why a file of `ENDINGS` is another table or text by its first line; "" if it may be a recording."""
  if path.is_dir() or path.suffix.lower() not in (".csv", ".txt"):
    return ""
  try:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
      first = next((line for line in file if line.strip()), "")
  except OSError:
    return ""                                                # who reads it says why it cannot be read
  if path.suffix.lower() == ".txt":
    return "" if re.match(r"\s*[-+.\d]", first) else "no table of numbers"
  return "" if motion_tables.is_header(first) else "neither a time nor coordinates"


def read(path: pathlib.Path, given: Options = Options(),
         row_seconds: float = 1.0, missing: float = 0.0) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
  """Reads one recording.

  Args:
    path: see `is_motion`.
    given: `Options`.
    row_seconds: from one frame to the next, of files that know no times (OpenPose).
    missing: see `kinematics.columns`.

  Returns:
    ({"kinematics": `[T, C]` float32 of the rows that show anybody, lengths in metres, or as `recording.in_trunks` has
      them, "times": `[T]` float32 seconds since the first row of the file}, names of the columns).

  Raises:
    ValueError: if it cannot be read, shows nobody, or is in another unit than is said.
  """
  recording = _read(path, given, row_seconds)
  joints = joints_of(recording.names, given.joints, path)
  points = recording.points
  if not recording.unit:
    points = in_trunks(points, joints, path)
  used = points[:, list(joints.values())]
  seen = np.isfinite(used).all(axis=2).any(axis=1)
  if not seen.any():
    raise ValueError(f"{path}: no row has the place of any point; record the movement again.")
  if recording.unit:
    check_size(points, joints, path, recording.unit)
  if (share := 1 - seen.mean()) > GAPS:
    logging.warning("%s: %.0f %% of its rows show nobody; they are left out.", path, 100 * share)
  try:
    values, names = kinematics.columns(
        points, seen, recording.times, dict(sorted(joints.items())), up=AXES[given.up or recording.up],
        face_right=given.face_right, window=given.window, ends=tuple(given.ends), missing=missing)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  times = recording.times - recording.times[0]
  return {STREAM: values[seen], "times": times[seen].astype(np.float32)}, names


def _read(path: pathlib.Path, given: Any, row_seconds: Any) -> Any:
  """Returns the `Recording` of a path."""
  if path.is_dir():
    return openpose.read_openpose(path, row_seconds)
  ending = path.suffix.lower()
  if ending == ".csv":
    return motion_tables.read_csv(path, given.units)
  if ending == ".trc":
    return motion_tables.read_trc(path, given.units)
  table = read_kinematics(path).astype(np.float64)
  points = np.stack([table[:, first: first + 3] for first in MANIPULATORS.values()], axis=1)
  return Recording(points, np.arange(len(table)) / KINEMATICS_HERTZ, tuple(MANIPULATORS), "z")
