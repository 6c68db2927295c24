"""Recorded movements that are made up, in every format that is read: squats, which the skilled do deeper and smoother.

  python tests/recordings.py FOLDER [--format csv]
"""

import argparse
import json
import pathlib

import numpy as np

from jaxskill.data.user.openpose import NAMES as BODY_25

SIDED = ("ear", "shoulder", "elbow", "wrist", "index", "hip", "knee", "ankle", "foot_index")
NAMES = ("nose", *(f"{side}_{name}" for name in SIDED for side in ("left", "right")))
HERTZ, FORMATS = 25, ("csv", "trc", "txt", "openpose", "npz")


def squats(skill, seconds=4.0, seed=0):
  """([T] seconds, [T, J, 3] metres, y up, x to the person's left): squats of 2 s, trembling where skill is low."""
  rng = np.random.default_rng(seed)
  times = np.arange(round(seconds * HERTZ)) / HERTZ
  bend = (.4 + .8 * skill) * (1 - np.cos(np.pi * times)) / 2              # radians of thigh and shank against up
  side = dict(ear=(.08, 1.6, 0), shoulder=(.2, 1.4, 0), elbow=(.2, 1.1, 0), wrist=(.2, .85, 0), index=(.2, .75, 0),
              hip=(.12, .9, 0), knee=(.12, .5, 0), ankle=(.12, .1, 0), foot_index=(.12, .1, .2))
  points = np.zeros((len(times), len(NAMES), 3))
  for place, name in enumerate(NAMES):
    sign = -1 if name.startswith("right") else 1
    points[:, place] = np.array(side.get(name[5:] if sign == 1 else name[6:], (0, 1.6, .1))) * (sign, 1, 1)
  lower = [NAMES.index(f"{one}_{part}") for one in ("left", "right") for part in ("knee", "ankle", "foot_index")]
  upper = [place for place in range(len(NAMES)) if place not in lower]
  points[:, upper, 1] -= .8 * (1 - np.cos(bend))[:, None]
  for one in ("left", "right"):
    points[:, NAMES.index(f"{one}_knee"), 1] = .1 + .4 * np.cos(bend)
    points[:, NAMES.index(f"{one}_knee"), 2] = .4 * np.sin(bend)
  return times, points + rng.normal(0, .004 * (1.2 - skill), points.shape)


def write(folder, name, kind, skill, seed=0):
  """Writes one recording; returns its path."""
  times, points = squats(skill, seed=seed)
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / (name if kind == "openpose" else f"{name}.{kind}")
  {"csv": write_csv, "trc": write_trc, "txt": write_jigsaws, "openpose": write_openpose, "npz": write_npz}[kind](
      path, times, points)
  return path


def write_csv(path, times, points, names=NAMES):
  header = ["time", *(f"{name}_{axis}" for name in names for axis in "xyz"[: points.shape[2]])]
  cells = [[f"{time:.4f}", *("" if np.isnan(x) else f"{x:.5f}" for x in row.ravel())]
           for time, row in zip(times, points)]
  path.write_text("\n".join(map(",".join, [header, *cells])) + "\n")


def write_trc(path, times, points, names=NAMES, units="mm"):
  """As OpenSim has them: five lines, tabulators, empty cells where a marker is not seen."""
  factor = dict(mm=1000.0, m=1.0)[units]
  count = len(names)
  head = [["PathFileType", "4", "(X/Y/Z)", path.name],
          ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate"],
          [str(HERTZ), str(HERTZ), str(len(times)), str(count), units, str(HERTZ)],
          ["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))],
          ["", "", *(f"{axis}{number}" for number in range(1, count + 1) for axis in "XYZ")]]
  body = [[str(row + 1), f"{time:.4f}", *("" if np.isnan(x) else f"{factor * x:.3f}" for x in place.ravel())]
          for row, (time, place) in enumerate(zip(times, points))]
  path.write_text("\n".join(map("\t".join, [*head, [], *body])) + "\n")


def write_jigsaws(path, times, points):
  """76 columns, 30 rows a second: hands are the masters, feet the instruments."""
  rows = np.zeros((len(times), 76))
  for first, name in zip((0, 19, 38, 57), ("left_wrist", "right_wrist", "left_knee", "right_knee")):
    rows[:, first: first + 3] = points[:, NAMES.index(name)]
  np.savetxt(path, rows, "%.6f", delimiter="    ")


def picture(points):
  """`[T, 25, 3]` x, y in pixels and confidence, of BODY_25; points that are not known have confidence 0."""
  result = np.zeros((len(points), len(BODY_25), 3))
  for place, name in enumerate(BODY_25):
    if name in NAMES:
      point = points[:, NAMES.index(name)]
      result[:, place] = np.stack([400 + 200 * point[:, 2] + 50 * point[:, 0], 500 - 200 * point[:, 1], np.ones(len(point))],
                                  axis=1)
  return result


def write_openpose(path, times, points, others=()):
  """A file a frame; `others` are further persons, `[T, 25, 3]` each, listed first."""
  path.mkdir(parents=True)
  for frame, people in enumerate(zip(*others, picture(points))):
    content = dict(version=1.3, people=[dict(pose_keypoints_2d=person.ravel().tolist()) for person in people])
    (path / f"film_{frame:012d}_keypoints.json").write_text(json.dumps(content))


def write_npz(path, times, points):
  """As features of one's own: columns, times, and rows that show nobody."""
  from jaxskill.data import kinematics
  seen = np.ones(len(times), bool)
  seen[10:13] = False
  values, _ = kinematics.columns(points, seen, times, dict(zip(NAMES, range(len(NAMES)))), up=(0, 1, 0))
  np.savez(path, kinematics=values, times=times, seen=seen)


def write_folder(folder, kind, videos=16):
  """Writes recordings of several people, with the scores of their skill."""
  folder, skills = pathlib.Path(folder), np.random.default_rng(1).permutation(np.linspace(0, 1, videos))
  for number, skill in enumerate(skills):
    write(folder, f"v{number}", kind, skill, seed=number)
  rows = [f"v{number},{10 * skill:.3f},p{number % 4}" for number, skill in enumerate(skills)]
  (folder / "scores.csv").write_text("\n".join(["video,score,subject", *rows]) + "\n")


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("folder")
  parser.add_argument("--format", choices=FORMATS, default="csv")
  options = parser.parse_args()
  write_folder(options.folder, options.format)


if __name__ == "__main__":
  main()
