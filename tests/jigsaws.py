"""A folder as a download of JIGSAWS lies on disk, with ratings and kinematics that are made up.

  python tests/jigsaws.py FOLDER [--trials 5] [--seconds 60]

Skilled surgeons are faster, smoother and stand still less; where they stand says nothing.
"""

import argparse
import pathlib

import numpy as np

SURGEONS = "BCDEFGHI"
HERTZ, COLUMNS, PLACES = 30, 76, (0, 19, 38, 57)     # of the left and right masters, then of the instruments


def kinematics(skill, seconds, rng):
  """`[T, 76]` rows of one trial: places that move from target to target, turning matrices, velocities, a gripper."""
  count = round(HERTZ * seconds)
  rows = rng.normal(0, 1e-3, (count, COLUMNS))
  for first in PLACES:
    moves = max(2, round(seconds / 2))
    targets = rng.normal(0, 0.05, (moves, 3)) + rng.normal(0, 0.3, 3)
    at = np.sort(rng.uniform(0, count, moves))
    place = np.stack([np.interp(np.arange(count), at, target) for target in targets.T], axis=1)
    tremor = np.cumsum(rng.normal(0, 4e-3 * (1.2 - skill), (count, 3)), axis=0)
    place += tremor - np.linspace(0, 1, count)[:, None] * tremor[-1]
    rows[:, first: first + 3] = place
    rows[:, first + 3: first + 12] = np.eye(3).ravel()
    rows[:, first + 12: first + 15] = np.gradient(place, 1 / HERTZ, axis=0)
    rows[:, first + 18] = np.sin(np.arange(count) / HERTZ)
  return rows


def write(folder, trials=5, seconds=60.0, tasks=("Suturing",), seed=0):
  """Writes meta files and kinematics; returns the names of the trials."""
  rng, names = np.random.default_rng(seed), []
  for task in tasks:
    place = pathlib.Path(folder) / task
    (place / "kinematics" / "AllGestures").mkdir(parents=True, exist_ok=True)
    lines = []
    for surgeon in SURGEONS:
      experience = rng.uniform()
      for trial in range(1, trials + 1):
        skill = np.clip(experience + rng.normal(0, 0.1), 0, 1)
        parts = np.clip(np.round(1 + 4 * skill + rng.normal(0, 0.4, 6)), 1, 5).astype(int)
        name = f"{task}_{surgeon}{trial:03d}"
        lines.append("\t".join([name, "E", str(parts.sum()), *map(str, parts)]))
        rows = kinematics(skill, seconds * (1.3 - 0.6 * skill) * rng.uniform(0.9, 1.1), rng)
        np.savetxt(place / "kinematics" / "AllGestures" / f"{name}.txt", rows, "%.6f")
        names.append(name)
    (place / f"meta_file_{task}.txt").write_text("\n".join(lines) + "\n")
  return names


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("folder", type=pathlib.Path)
  parser.add_argument("--trials", type=int, default=5)
  parser.add_argument("--seconds", type=float, default=60.0)
  options = parser.parse_args()
  print(len(write(options.folder, options.trials, options.seconds)), "trials")


if __name__ == "__main__":
  main()
