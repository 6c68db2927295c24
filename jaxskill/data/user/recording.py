"""A recorded movement: the places of points over time, the joints that its points are, and the unit of its lengths.

T rows, J points.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}     # of a unit
AXES = {sign + axis: (1.0 if not sign else -1.0) * np.eye(3)[number] for number, axis in enumerate("xyz")
        for sign in ("", "-")}
TRUNK = (0.1, 1.5)        # metres from the middle of the hips to that of the shoulders, of anybody
WIDEST = 50.0             # metres that points of a recording may be apart
# What markers and joints are called elsewhere, without case, blanks and side: the landmark that it is.
PARTS = {part: part for part in ("ear", "eye", "shoulder", "elbow", "wrist", "pinky", "index", "thumb", "hip", "knee",
                                 "ankle", "heel")}
PARTS |= dict(footindex="foot_index", toe="foot_index", toes="foot_index", bigtoe="foot_index", hand="wrist",
              foot="ankle", upperarm="shoulder", forearm="elbow", upperleg="hip", lowerleg="knee")


class Recording(NamedTuple):
  """What a file holds.

  Attributes:
    points: `[T, J, 3]` in metres, of a picture in pixels; nan where a point was not seen; a picture's have the third
      coordinate 0.
    times: `[T]` seconds, increasing.
    names: J, as the file has them.
    up: the axis against gravity, a name of `AXES`.
    unit: that the lengths of the file were taken for, of `METRES`; "" where they are pixels.
  """

  points: np.ndarray
  times: np.ndarray
  names: tuple[str, ...]
  up: str
  unit: str = "m"


def landmark(name: str) -> str:
  """Returns the BlazePose landmark that a joint's name says, e.g. "left_shoulder" of `LShoulder`; else the name."""
  key = re.sub("[^a-z0-9]", "", name.lower())
  for side in ("left", "right"):
    for part in (key.removeprefix(side), key.removesuffix(side), key.removeprefix(side[0])):
      if part != key and part in PARTS:
        return f"{side}_{PARTS[part]}"
  return "nose" if key == "nose" else name


def _directness(name: str) -> int:
  """Returns 0 for the name of a landmark itself, 1 for its part's own word (`LWrist`), 2 for another word (`LHand`)."""
  called = landmark(name)
  part = called.partition("_")[2].replace("_", "")
  return 0 if called == name else 1 if part in re.sub("[^a-z]", "", name.lower()) else 2


def joints_of(names: Sequence[str], given: Sequence[tuple[str, str]], file: pathlib.Path | str) -> dict[str, int]:
  """Returns {landmark or other name: place} of the points of a recording.

  Args:
    names: as the file has them.
    given: (landmark, name in the file) of points whose names do not say which landmark they are.
    file: what errors name.

  Raises:
    ValueError: if one of `given` is not in the file.
  """
  places, joints = {name: place for place, name in enumerate(names)}, {}
  for pair in given:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or pair[1] not in places:
      raise ValueError(f"{file}: config.data.motion.joints: {pair!r} is no (landmark, name in the file) of its points "
                       f"{', '.join(names)}.")
    joints[pair[0]] = places.pop(pair[1])
  for name in sorted(places, key=_directness):             # a hand is a wrist only where there is no wrist
    called = landmark(name)
    joints.setdefault(name if called in joints else called, places[name])
  return joints


def in_trunks(points: np.ndarray, joints: Mapping[str, int], file: pathlib.Path | str) -> np.ndarray:
  """Returns `[T, J, 3]` pixels in lengths of the median trunk (hips to shoulders), for pictures know no metres.

  Points of what is no body stay in pixels. For `joints` see `joints_of`; `file` is what errors name.

  Raises:
    ValueError: if a body has no trunk in any row.
  """
  length = median_trunk(points, joints)
  if length is not None and not length > 0:
    raise ValueError(f"{file}: no frame shows both shoulders and both hips of the person, whose distance is the unit "
                     "of lengths here; film the whole body.")
  return points / (length or 1.0)


def check_size(points: np.ndarray, joints: Mapping[str, int], file: pathlib.Path | str, unit: str) -> None:
  """Raises a `ValueError` if a person is no person's size in metres, or points are farther apart than any room.

  Args:
    points: `[T, J, 3]` in what should be metres.
    joints: see `joints_of`.
    file, unit: what the error names.
  """
  remedy = f"if its lengths are in {unit}; set config.data.motion.units to their unit: m, cm or mm."
  length = median_trunk(points, joints)
  if length is not None and np.isfinite(length) and not TRUNK[0] <= length <= TRUNK[1]:
    raise ValueError(f"{file}: from hips to shoulders it is {length:.4g} m {remedy}")
  known = points[:, list(joints.values())].reshape(-1, 3)
  across = float(np.ptp(known[np.isfinite(known).all(axis=1)], axis=0).max())
  if across > WIDEST:
    raise ValueError(f"{file}: its points are {across:.4g} m apart {remedy}")


def median_trunk(points: np.ndarray, joints: Mapping[str, int]) -> float | None:
  """Returns the median distance of the middle of the hips from that of the shoulders: nan if no row has both.

  None is that of what has no hips or no shoulders among its points.
  """
  if not {f"{side}_{part}" for side in ("left", "right") for part in ("shoulder", "hip")} <= joints.keys():
    return None
  hips, shoulders = ((points[:, joints[f"left_{part}"]] + points[:, joints[f"right_{part}"]]) / 2
                     for part in ("hip", "shoulder"))
  lengths = np.linalg.norm(shoulders - hips, axis=1)
  return float(np.nanmedian(lengths)) if np.isfinite(lengths).any() else np.nan
