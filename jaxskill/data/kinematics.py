"""Kinematics: what a movement is made of, in columns that a coach or a clinician can name, out of the places of joints.

Angles are in degrees, lengths in metres (where a recording has no metres, in the unit of its points), times in seconds.
Places, and so speeds and paths, are those against the middle of the hips where a skeleton has both hips: from a video
no other place of the body is known. Coordinates are right-handed. A column whose joints a skeleton lacks is left out;
the names that come with the values say which are there. `<side>` is left or right, of the person.

| column | what it is | range |
|---|---|---|
| `<side>_shoulder angle` | elevation of the upper arm against the trunk: 0 hanging down, 180 overhead | 0 to 180 |
| `<side>_elbow angle` | flexion: 0 straight | 0 to 180 |
| `<side>_wrist angle` | bend of the hand against the forearm, to any side: 0 straight | 0 to 180 |
| `<side>_hip angle` | bend of the thigh against the trunk: 0 upright; behind the trunk it counts alike | 0 to 180 |
| `<side>_knee angle` | flexion: 0 straight | 0 to 180 |
| `<side>_ankle angle` | dorsiflexion: 0 with the toes at a right angle to the shank, toes up above 0 | -90 to 90 |
| `neck angle` | bend of the head (middle of the ears) against the trunk, to any side | 0 to 180 |
| `trunk_forward angle` | lean of the trunk against the vertical, forward above 0 | -180 to 180 |
| `trunk_side angle` | the same sideways, above 0 to the person's right | -180 to 180 |
| `trunk_twist angle` | turn of the shoulders against the hips about the vertical, above 0 to the left | -180 to 180 |
| `<angle> velocity` | change of each of these angles in degrees a second; a turn through 180 is no jump | |
| `<end> speed` | of hands (wrists) and feet (ankles), in metres a second | 0 or more |
| `<end> smoothness` | log dimensionless jerk of the window around the row; 0: even, or no, movement | 0 or less |
| `<end> path` | length of the way since the first row, without what gaps hide | 0 or more |
| `<joint> asymmetry` | left minus right angle, without its sign | 0 to 180 |
| `<end> speed asymmetry` | (left - right) / (left + right) of the speeds, 0 where neither moves | -1 to 1 |

Points in a plane (a video's picture: the third coordinate is the same everywhere) know no depth: `trunk_forward` and
`trunk_twist` are left out, `trunk_side` is the lean to the right of the picture, and all angles are those seen in it.

A point that is missing in a row makes the columns that need it 0 in that row. Nothing is computed across such a gap,
nor across a step in time of more than `longest_step`: derivatives are of the rows between two gaps, and a row by itself
has velocities, speeds and a smoothness of 0.

T rows, J joints, C columns.

Reference: Balasubramanian et al., On the analysis of movement smoothness, JNER 2015 (log dimensionless jerk, here of
velocities, within a window).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SIDES = ("left", "right")
# Joint: two bones, each (from, to), between which its angle is.
BONES = {
    "shoulder": (("shoulder", "hip"), ("shoulder", "elbow")),
    "elbow": (("shoulder", "elbow"), ("elbow", "wrist")),
    "wrist": (("elbow", "wrist"), ("wrist", "index")),
    "hip": (("shoulder", "hip"), ("hip", "knee")),
    "knee": (("hip", "knee"), ("knee", "ankle")),
    "ankle": (("ankle", "knee"), ("ankle", "foot_index")),
}
ENDS = ("left_wrist", "right_wrist", "left_ankle", "right_ankle")
FRONT = (("nose", ("left_shoulder", "right_shoulder")), ("left_foot_index", ("left_ankle",)),
         ("right_foot_index", ("right_ankle",)))         # of these the first is in front of the second
STILL = 1e-9      # metres a second below which nothing moves


def columns(points: np.ndarray, seen: np.ndarray, times: np.ndarray, joints: Mapping[str, int], *,
            up: Sequence[float] | np.ndarray = (0.0, -1.0, 0.0), face_right: bool = False, window: float = 1.0,
            longest_step: float = 1.0, ends: Sequence[str] = (),
            missing: float = 0.0) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns the kinematics of one recording, a row a moment; the columns are those of the table above.

  Args:
    points: `[T, J, 3]` places of the joints in metres; nan where one joint is missing in a row.
    seen: `[T]` bool, False where nobody is seen: whatever the points are there.
    times: `[T]` seconds, increasing; steps may be uneven.
    joints: name -> place in J, by the names of the 33 BlazePose landmarks ("left_shoulder", ...) as far as a skeleton
      has them; further names may be ends.
    up: direction against gravity in these coordinates; that of pictures, whose y points down, by default. Mostly
      (0, 1, 0) or (0, 0, 1) in motion capture.
    face_right: mirror a person who faces the negative x, so that facing left and facing right give the same numbers;
      left then means the side that would be left after mirroring. For views from the side.
    window: seconds around a row of which its smoothness is.
    longest_step: seconds from one row to the next beyond which they are not joined.
    ends: names of joints whose speed, smoothness and path are asked for; () are wrists and ankles, or every joint of a
      skeleton that has neither.
    missing: value where a column needs a point that is missing.

  Returns:
    (`[T, C]` float32 values, `missing` in rows that are not seen, else finite; C names).

  Raises:
    ValueError: if shapes do not fit, a seen row holds an infinity or nothing at all, times do not increase, no two rows
      can be joined, an end or the front of a person is unknown, or there is nothing that a column could be made of.
  """
  points, times = _checked(points, seen, times, joints, longest_step)
  vertical = np.asarray(up, np.float64)
  if vertical.shape != (3,) or not np.isfinite(vertical).all() or not np.any(vertical):
    raise ValueError(f"up={vertical.tolist()} is no direction; expected three numbers, e.g. (0, 1, 0).")
  if not window > 0:
    raise ValueError(f"window={window} must be positive: the seconds of which the smoothness of a row is.")
  vertical = vertical / np.linalg.norm(vertical)
  if face_right:
    points = _facing_right(points, joints, vertical)
  places = {name: points[:, place] for name, place in joints.items()}                      # [T, 3] each
  angles = joint_angles(places) | trunk_angles(places, vertical)
  made = {f"{name} angle": values for name, values in angles.items()}
  for name, values in angles.items():
    made[f"{name} velocity"] = derivative(_unwrapped(values, times, longest_step), times, longest_step)
  moves = _ends(places, times, ends, window, longest_step)
  made |= moves | _asymmetries(angles, moves)
  if not made:
    raise ValueError(f"no column can be made of the joints {', '.join(joints)}; expected some of {', '.join(ENDS)}, or "
                     "their names in `ends`.")
  values = np.nan_to_num(np.stack(list(made.values()), axis=1), nan=missing)
  return values.astype(np.float32), tuple(made)


def _checked(points: Any, seen: Any, times: Any, joints: Any, longest_step: Any) -> Any:
  """Returns (points with nan where nobody is seen, times), both float64."""
  points, seen, times = np.array(points, np.float64), np.asarray(seen), np.asarray(times, np.float64)
  if points.ndim != 3 or points.shape[2] != 3 or not len(points):
    raise ValueError(f"points are of shape {list(points.shape)}; expected [rows, joints, 3].")
  rows, count, _ = points.shape
  if seen.shape != (rows,) or seen.dtype != bool or times.shape != (rows,):
    raise ValueError(f"seen is {seen.dtype} {list(seen.shape)} and times are {list(times.shape)}; expected [{rows}] "
                     "booleans and seconds, one a row of points.")
  wrong = {name: place for name, place in joints.items() if not 0 <= place < count}
  if wrong or not joints:
    raise ValueError(f"joints {wrong} are none of the {count} points of a row; expected name -> place of at least one.")
  used = points[:, list(joints.values())]
  if (bad := np.flatnonzero(seen & (np.isinf(used).any(axis=(1, 2)) | np.isnan(used).all(axis=(1, 2))))).size:
    raise ValueError(f"row {bad[0]} is seen but holds no finite points; mark it as not seen.")
  check_times(times)
  if rows > 1 and np.diff(times).min() > longest_step:
    raise ValueError(f"no two rows are within {longest_step:g} s of each other, so no velocity is known; record more "
                     "rows a second, or give their times in seconds where they are in another unit.")
  points[~seen] = np.nan
  return points, times


def check_times(times: np.ndarray, places: Sequence[str] | None = None) -> None:
  """Raises a `ValueError` unless `[T]` times are finite and increase; `places` says of each where it is."""
  places = [f"row {row}" for row in range(len(times))] if places is None else places
  if (bad := np.flatnonzero(~np.isfinite(times))).size:
    raise ValueError(f"{places[bad[0]]}: its time is no finite number; expected seconds.")
  if (back := np.flatnonzero(np.diff(times) <= 0)).size:
    row = back[0] + 1
    raise ValueError(f"{places[row]}: its time, {times[row]:g} s, does not come after {times[row - 1]:g} s of the row "
                     "before; expected times that increase: sort the rows, or remove those that repeat.")


def _facing_right(points: Any, joints: Any, up: Any) -> Any:
  """Returns the points, mirrored in x and with left and right exchanged if the person faces the negative x."""
  if abs(up[0]) > 1e-6:
    raise ValueError(f"face_right mirrors x, so up={up.tolist()} must have no part along x.")
  ahead = [np.nansum(points[:, joints[front], 0] - points[:, [joints[name] for name in back], 0].mean(axis=1))
           for front, back in FRONT if {front, *back} <= joints.keys()]
  if not ahead:
    raise ValueError("face_right needs the nose and both shoulders, or an ankle and the toes (foot_index) of its side, "
                     "to tell where a person faces.")
  if sum(ahead) >= 0:
    return points
  mirrored, names = points * (-1, 1, 1), {}
  for name in joints:
    other = name.replace("left", "\0").replace("right", "left").replace("\0", "right")
    names[name] = other if other in joints else name
  result = mirrored.copy()
  result[:, list(joints.values())] = mirrored[:, [joints[names[name]] for name in joints]]
  return result


def angle_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Returns the `[T]` degrees, 0 to 180, between `[T, 3]` vectors; 0 where one has no length."""
  across = np.linalg.norm(np.cross(first, second), axis=1)
  return np.degrees(np.arctan2(across, (first * second).sum(axis=1)))      # exact near 0 and 180, unlike the arccosine


def joint_angles(places: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns {"left_elbow": `[T]` degrees, ...} of the joints whose bones are there, nan where a point is missing."""
  made = {}
  for joint, bones in BONES.items():
    for side in SIDES:
      ends = [[f"{side}_{end}" for end in bone] for bone in bones]
      if {name for bone in ends for name in bone} <= places.keys():
        first, second = (places[end] - places[start] for start, end in ends)
        between = angle_between(first, second)
        made[f"{side}_{joint}"] = 90 - between if joint == "ankle" else between
  return made


def trunk_angles(places: Mapping[str, np.ndarray], up: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the angles of neck and trunk against the vertical `up`, as far as the joints are there."""
  middle = {name: (places[f"left_{name}"] + places[f"right_{name}"]) / 2 for name in ("ear", "shoulder", "hip")
            if {f"left_{name}", f"right_{name}"} <= places.keys()}
  made = {}
  if not {"shoulder", "hip"} <= middle.keys():
    return made
  trunk = middle["shoulder"] - middle["hip"]
  if "ear" in middle:
    made["neck"] = angle_between(trunk, middle["ear"] - middle["shoulder"])
  if flat(places):
    made["trunk_side"] = np.degrees(np.arctan2(trunk[:, 0], trunk @ up))
    return made
  hips, shoulders = (_level(places[f"right_{name}"] - places[f"left_{name}"], up) for name in ("hip", "shoulder"))
  ahead = np.cross(up, hips)                                  # of a right-handed system: up x right is forward
  made["trunk_forward"] = np.degrees(np.arctan2((trunk * ahead).sum(axis=1), trunk @ up))
  made["trunk_side"] = np.degrees(np.arctan2((trunk * hips).sum(axis=1), trunk @ up))
  made["trunk_twist"] = np.degrees(np.arctan2(np.cross(hips, shoulders) @ up, (hips * shoulders).sum(axis=1)))
  return made


def flat(places: Mapping[str, np.ndarray]) -> bool:
  """Returns whether all points of {name: `[T, 3]`} have one third coordinate: they are those of a picture."""
  depth = np.stack([place[:, 2] for place in places.values()])
  known = depth[np.isfinite(depth)]
  return bool(known.size) and np.ptp(known) == 0


def _level(vectors: Any, up: Any) -> Any:
  """Returns `[T, 3]` vectors without their vertical part, of length 1; 0 where nothing is left."""
  level = vectors - (vectors @ up)[:, None] * up
  length = np.linalg.norm(level, axis=1, keepdims=True)
  return level / np.where(length == 0, 1.0, length)


def _runs(values: Any, times: Any, longest_step: Any) -> Any:
  """Returns the slices of rows without a gap: all finite, and no step beyond `longest_step`."""
  known = np.isfinite(values).reshape(len(values), -1).all(axis=1)
  joined = known[1:] & known[:-1] & (np.diff(times) <= longest_step)
  starts = np.flatnonzero(known & ~np.append(False, joined))
  stops = np.flatnonzero(known & ~np.append(joined, False)) + 1
  return [slice(start, stop) for start, stop in zip(starts, stops)]


def _unwrapped(angles: Any, times: Any, longest_step: Any) -> Any:
  """Returns `[T]` angles in degrees without jumps of a whole turn between rows that are joined."""
  result = angles.copy()
  for run in _runs(angles, times, longest_step):
    result[run] = np.unwrap(angles[run], period=360.0)
  return result


def derivative(values: np.ndarray, times: np.ndarray, longest_step: float) -> np.ndarray:
  """Returns the derivative by time of `[T, ...]` values within runs without a gap; nan where there are no values.

  Central differences of second order for uneven times, one-sided ones at both ends of a run; 0 in a run of one row.
  """
  result = np.where(np.isfinite(values), 0.0, np.nan)
  for run in _runs(values, times, longest_step):
    if run.stop - run.start > 1:
      result[run] = np.gradient(values[run], times[run], axis=0)
  return result


def _ends(places: Any, times: Any, ends: Any, window: Any, longest_step: Any) -> Any:
  """Returns the speed, smoothness and path of hands and feet, or of the `ends` that are named."""
  if lacking := [name for name in ends if name not in places]:
    raise ValueError(f"there is no point {lacking[0]!r}, only {', '.join(places)}.")
  chosen = tuple(ends) or tuple(name for name in ENDS if name in places) or tuple(places)
  hips = [places[name] for name in ("left_hip", "right_hip") if name in places]
  middle = sum(hips) / 2 if len(hips) == 2 else 0.0
  made = {}
  for name in chosen:
    place = places[name] - middle
    velocity = derivative(place, times, longest_step)                                      # [T, 3]
    made[f"{name} speed"] = np.linalg.norm(velocity, axis=1)
    made[f"{name} smoothness"] = smoothness(velocity, times, window, longest_step)
    made[f"{name} path"] = path(place, times, longest_step)
  return made


def path(place: np.ndarray, times: np.ndarray, longest_step: float) -> np.ndarray:
  """Returns the `[T]` length of the way along `[T, 3]` places since the first row; gaps add nothing to it."""
  steps = np.zeros(len(place))
  for run in _runs(place, times, longest_step):
    steps[run.start + 1: run.stop] = np.linalg.norm(np.diff(place[run], axis=0), axis=1)
  return np.where(np.isfinite(place).all(axis=1), np.cumsum(steps), np.nan)


def smoothness(velocity: np.ndarray, times: np.ndarray, window: float, longest_step: float) -> np.ndarray:
  """Returns the `[T]` log dimensionless jerk of the window around each row, cut off at gaps.

  -ln(D^3 / peak^2 * integral of |d2 velocity / dt2|^2) over the D seconds that the window has, peak its highest speed;
  not above 0, which is also that of a window in which nothing moves or that has fewer than four rows.

  Args:
    velocity: `[T, 3]`, nan in gaps.
    times, window, longest_step: see `columns`.
  """
  jerk = derivative(derivative(velocity, times, longest_step), times, longest_step)
  speed, squared = np.linalg.norm(velocity, axis=1), (jerk ** 2).sum(axis=1)
  result = np.full(len(times), np.nan)
  for run in _runs(velocity, times, longest_step):
    at = times[run]
    area = np.append(0.0, np.cumsum((squared[run][1:] + squared[run][:-1]) / 2 * np.diff(at)))
    first = np.searchsorted(at, at - window / 2 - STILL)
    last = np.searchsorted(at, at + window / 2 + STILL, side="right") - 1
    peak = _highest(speed[run], first, last)
    moving = (peak > STILL) & (last - first >= 3)
    ratio = (at[last] - at[first]) ** 3 * (area[last] - area[first]) / np.where(moving, peak, 1.0) ** 2
    result[run] = np.where(moving, -np.log(np.maximum(ratio, 1.0)), 0.0)
  return result


def _highest(values: Any, first: Any, last: Any) -> Any:
  """Returns the maxima of `values[first: last + 1]`, of as many ranges as there are values.

  Maxima of all ranges of 1, 2, 4, ... values are made once; any range is the union of two of them.
  """
  level = np.log2(last - first + 1).astype(int)
  table = [values]
  for n in range(level.max()):
    table.append(np.maximum(table[-1], np.append(table[-1][2 ** n:], np.full(2 ** n, -np.inf))))
  maxima = np.stack(table)
  return np.maximum(maxima[level, first], maxima[level, last - 2 ** level + 1])


def _asymmetries(angles: Any, moves: Any) -> Any:
  """Returns how unlike left and right are, of every joint and every end that has both sides."""
  made = {}
  for name in angles:
    joint = name.removeprefix("left_")
    if joint != name and f"right_{joint}" in angles:
      made[f"{joint} asymmetry"] = np.abs(angles[name] - angles[f"right_{joint}"])
  for name, left in moves.items():
    end = name.removeprefix("left_")
    if end != name and end.endswith(" speed") and f"right_{end}" in moves:
      right = moves[f"right_{end}"]
      total = left + right
      share = (left - right) / np.where(total > STILL, total, 1.0)
      made[f"{end} asymmetry"] = np.where(total > STILL, share, 0 * total)                 # nan in gaps
  return made
