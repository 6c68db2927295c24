"""Folders of OpenPose BODY_25: a JSON file a frame, with the points of everybody in the picture.

T frames, P persons of a frame, J = 25 points.
"""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import numpy as np
from absl import logging

from jaxskill.data.user.recording import Recording

NAMES = ("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
         "middle_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye",
         "left_eye", "right_ear", "left_ear", "left_foot_index", "left_small_toe", "left_heel", "right_foot_index",
         "right_small_toe", "right_heel")
CONFIDENCE = 0.1      # below which a point is taken for not seen; ours
LOST = 1.0            # seconds after which somebody who is not found again is given up; ours

MISSING = 1.5         # usual steps from file to file above which frames are missing; ours


def is_folder(path: pathlib.Path) -> bool:
  """Returns whether a path is a folder that holds JSON files of frames."""
  return path.is_dir() and any(path.glob("*_keypoints.json"))


def read_openpose(folder: pathlib.Path, row_seconds: float) -> Recording:
  """Reads one person out of a folder of OpenPose BODY_25 files.

  Of several persons the largest in the first frame that shows any is followed, by the nearest points from frame to
  frame. Who is farther from the points of the last second than these are high or wide is not the person; after a second
  in which the person is not found the largest is taken anew. Lengths are in pixels.

  Args:
    folder: of files `..._<frame>_keypoints.json`. Where a step from one number to the next is more than `MISSING` of
      the usual, median one, frames are missing: one row in which nobody is seen stands for them.
    row_seconds: from one frame to the next.

  Raises:
    ValueError: for a file that is not of OpenPose's BODY_25.
  """
  frames = {}
  for file in sorted(folder.glob("*.json")):
    number = re.search(r"(\d+)(?:_keypoints)?\.json", file.name)
    if number is None:
      raise ValueError(f"{file}: its name has no number of a frame; expected e.g. video_000000000012_keypoints.json.")
    if int(number[1]) in frames:
      raise ValueError(f"{file}: there is another file of frame {int(number[1])} in its folder; remove one.")
    frames[int(number[1])] = _persons(file)
  if several := sum(len(people) > 1 for people in frames.values()):
    logging.warning("%s: %d of %d frames show several persons; the largest of the first frame is followed.", folder,
                    several, len(frames))
  frames |= {number: [] for number in _missing(sorted(frames))}
  numbers = sorted(frames)
  times = (np.array(numbers) - numbers[0]) * float(row_seconds)
  pixels = _follow([frames[number] for number in numbers], times)
  return Recording(pixels, times, NAMES, "-y", unit="")


def _missing(numbers: list[int]) -> list[int]:
  """Returns a number of each run of frames that are missing between `numbers`, which increase."""
  steps = np.diff(numbers)
  return [numbers[place] + 1 for place in np.flatnonzero(steps > MISSING * np.median(steps))] if len(steps) else []


def _persons(file: pathlib.Path) -> Any:
  """Returns `[P, 25, 3]` x, y in pixels, nan where a point is not seen, and the third coordinate 0."""
  try:
    people = json.loads(file.read_text(encoding="utf-8"))["people"]
    found = np.array([person["pose_keypoints_2d"] for person in people], np.float64)
  except (ValueError, KeyError, TypeError, OSError) as error:
    raise ValueError(f"{file}: is no frame of OpenPose ({type(error).__name__}: {str(error):.80}); expected people "
                     "with pose_keypoints_2d: run OpenPose again.") from error
  if len(found) and found.shape[1:] != (3 * len(NAMES),):
    raise ValueError(f"{file}: pose_keypoints_2d is of shape {list(found.shape[1:])}; expected {3 * len(NAMES)} "
                     "numbers, three for each point of BODY_25: run OpenPose with --model_pose BODY_25.")
  found = found.reshape(-1, len(NAMES), 3)
  seen = np.isfinite(found).all(axis=2) & (found[..., 2] >= CONFIDENCE)
  return np.where(seen[..., None], found * (1, 1, 0), np.nan)


def _follow(frames: Any, times: Any) -> Any:
  """Returns `[T, 25, 3]` of one person, nan where the person is not found."""
  result = np.full((len(frames), len(NAMES), 3), np.nan)
  last, when = result[0], np.full(len(NAMES), -np.inf)             # place of each point, and when it was seen there
  for row, (people, time) in enumerate(zip(frames, times)):
    people = [person for person in people if np.isfinite(person).all(axis=1).any()]
    if not people:
      continue
    last = np.where((time - when <= LOST)[:, None], last, np.nan)
    if np.isnan(last).all():
      chosen = max(people, key=lambda person: np.prod(_extent(person)))
    else:                                            # against all points of a second: one frame may show few of them
      away = [_distance(person, last) for person in people]
      chosen = people[int(np.argmin(away))]
      if not min(away) <= max(_extent(last)):
        continue
    seen = np.isfinite(chosen).all(axis=1)
    result[row], last, when = chosen, np.where(seen[:, None], chosen, last), np.where(seen, time, when)
  return result


def _extent(person: Any) -> Any:
  """Returns (width, height) in pixels of the box around the points that are seen."""
  return np.nanmax(person[:, :2], axis=0) - np.nanmin(person[:, :2], axis=0)


def _distance(person: Any, other: Any) -> Any:
  """Returns the mean distance of the points that both have; infinite if there is none."""
  away = np.linalg.norm(person - other, axis=1)
  return np.nanmean(away) if np.isfinite(away).any() else np.inf
