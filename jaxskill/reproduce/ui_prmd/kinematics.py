"""UI-PRMD by kinematics in place of coordinates: do columns that a clinician can name tell as much as raw frames?

  python -m jaxskill.reproduce.ui_prmd.kinematics kinect_all_T32_f16.npz --out runs/ui_prmd
  python -m jaxskill.reproduce.ui_prmd.kinematics kinect_all_T32_f16.npz --out runs/ui_prmd --train
  python -m jaxskill.reproduce.ui_prmd.kinematics kinect_all_T32_f16.npz --out runs/ui_prmd \\
      --quality vicon_m01_angles_T60_quality.npz

Of the 22 Kinect joints of the file of `correctness` the columns of `jaxskill.data.kinematics` are computed, at the
times that the frames had before they were resampled. Every person is held out once. The first command compares logistic
regressions: pairs of a correct and an incorrect repetition of the person that is held out, as recorded and turned by 45
degrees about the vertical, as if the camera stood elsewhere. --train does the same with Pros & Cons, settings and
windows as in `correctness`, by columns alone; its folders go on where they were stopped, and what is known stands in
OUT/kinematics.json. --quality compares ridge regressions on the quality of the deep squats of the file of `quality`,
whose Vicon recordings are of the same repetitions.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill import files
from jaxskill.data import kinematics
from jaxskill.data.user.recording import joints_of
from jaxskill.evaluate import simple_baselines
from jaxskill.evaluate.metrics import spearman
from jaxskill.reproduce.ui_prmd import correctness

HERTZ, UP, TURN = 30.0, (0.0, 1.0, 0.0), 45.0


def columns(archive: Mapping[str, np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns (`[repetitions, 32, C]` kinematics, C names)."""
  joints = joints_of(tuple(map(str, archive["joint_names"])), (), "joint_names")
  points = archive["xyz_cm"].astype(np.float64) / 100
  rows: list[np.ndarray] = []
  names: tuple[str, ...] = ()
  for places, count in zip(points, archive["n_frames"]):
    times = np.linspace(0, (int(count) - 1) / HERTZ, len(places))
    values, names = kinematics.columns(places, np.ones(len(places), bool), times, joints, up=UP)
    rows.append(values)
  return np.stack(rows), names


def forms(archive: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns {what a regression reads: `[repetitions, D]`}."""
  made = {}
  for name, rows in dict(coordinates=correctness.coordinates(archive), kinematics=columns(archive)[0]).items():
    rows = rows.astype(np.float64)
    made[f"{name}, all 32 rows"] = rows.reshape(len(rows), -1)
    made[f"{name}, mean and deviation"] = np.concatenate([rows.mean(axis=1), rows.std(axis=1)], axis=1)
  return made


def turned(archive: dict[str, np.ndarray], degrees: float) -> dict[str, np.ndarray]:
  """Returns the recordings as they would be of people who are turned about the vertical."""
  cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
  turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
  return archive | dict(xyz_cm=archive["xyz_cm"].astype(np.float64) @ turn.T)


def by_ridge(features: np.ndarray, labels: np.ndarray, subject: np.ndarray) -> tuple[float, list[float]]:
  """Returns Spearman's correlation of all repetitions, each predicted without its person, and of each person alone."""
  predicted = np.zeros(len(labels))
  for person in np.unique(subject):
    test = subject == person
    predicted[test] = simple_baselines.ridge(features[~test], labels[~test], features[test])
  return spearman(predicted, labels), [spearman(predicted[subject == one], labels[subject == one])
                                       for one in np.unique(subject)]


def same_repetitions(archive: Mapping[str, np.ndarray], quality: Mapping[str, np.ndarray]) -> np.ndarray:
  """Returns `[n]` repetitions of the first file that are those of the second one."""
  def keys(file: Mapping[str, np.ndarray], movement: Any) -> Any:
    return list(zip(movement, file["correct"], file["subject"], file["repetition"]))
  place = {key: number for number, key in enumerate(keys(archive, archive["movement"]))}
  return np.array([place[key] for key in keys(quality, np.ones(len(quality["subject"]), int))])


def train(archive: Mapping[str, np.ndarray], movement: int, out: pathlib.Path, *options: str) -> list[float]:
  """Trains Pros & Cons on the columns of one movement; returns the share in order of each fold and seed."""
  folder = out / f"kinematics_m{movement:02d}"
  correctness.write_features(archive, movement, folder, rows=columns(archive)[0])
  results = correctness.train(folder, out / f"run_kinematics_m{movement:02d}", "--config.plots=False", *options)
  row = results["rows"]["pros_cons"]["accuracy"]["last"]
  return [row["mean"], row["std_folds"], row["std_seeds"]]


def show_pairs(found: Mapping[str, list[list[float]]], movements: Sequence[int]) -> None:
  """Prints the mean over movements of shares in order, and the spread over people of its means."""
  print("\n| logistic regression on | mean of the movements | std over people | "
        + " | ".join(f"m{movement:02d}" for movement in movements) + " |\n" + "|---" * (3 + len(movements)) + "|")
  for name, shares in found.items():
    every = np.array(shares)                                               # [movements, people]
    cells = [every.mean(), every.mean(axis=0).std(ddof=1), *every.mean(axis=1)]
    print(f"| {name} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")


def show_trained(found: Mapping[str, list[float]]) -> None:
  """Prints a row for each movement."""
  print("\n| movement | Pros & Cons on kinematics, last step | std over subjects | std over seeds |\n|---|---|---|---|")
  for movement, values in found.items():
    print(f"| {movement} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
  print("| mean | " + " | ".join(f"{value:.3f}" for value in np.mean(list(found.values()), axis=0)) + " |")


def show_quality(archive: Mapping[str, np.ndarray], quality: Mapping[str, np.ndarray]) -> None:
  """Prints Spearman's correlations of ridge regressions."""
  chosen = same_repetitions(archive, quality)
  print("\n| ridge on | all repetitions pooled | mean over people | std over people |\n|---|---|---|---|")
  for name, features in forms(archive).items():
    pooled, people = by_ridge(features[chosen], quality["quality"].astype(np.float64), quality["subject"])
    print(f"| {name} | {pooled:.3f} | {np.mean(people):.3f} | {np.std(people, ddof=1):.3f} |")


def main() -> None:
  """Reads the command line and prints the tables it asks for."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("file", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--movements", type=int, nargs="*", default=range(1, 11))
  parser.add_argument("--train", action="store_true", help="Pros & Cons too")
  parser.add_argument("--quality", type=pathlib.Path, help="file of `quality`: ridge regressions in place of pairs")
  options, passed_on = parser.parse_known_args()
  out, archive = options.out.resolve(), dict(np.load(options.file))
  if options.quality:
    show_quality(archive, dict(np.load(options.quality)))
    return
  out.mkdir(parents=True, exist_ok=True)
  known = json.loads((out / "kinematics.json").read_text()) if (out / "kinematics.json").is_file() else {}
  if not options.train:
    for asked in (archive, turned(archive, TURN)):
      of_asked = forms(asked)
      show_pairs({name: [correctness.by_logistic_regression(archive, features, movement, of_asked[name])[0]
                         for movement in options.movements] for name, features in forms(archive).items()},
                 options.movements)
    return
  for movement in options.movements:
    if f"m{movement:02d}" not in known:
      known[f"m{movement:02d}"] = train(archive, movement, out, *passed_on)
      files.save_json(out / "kinematics.json", known)
  show_trained(known)


if __name__ == "__main__":
  main()
