"""UI-PRMD as a user's own features: rehabilitation movements done correctly or not, one subject held out at a time.

  python -m jaxskill.reproduce.ui_prmd kinect_all_T32_f16.npz --out runs/ui_prmd

The file holds the public Kinect recordings (Vakanski et al., Data 3(1), 2018), every repetition resampled to 32 frames:
`xyz_cm` [repetitions, 32, 22 joints, 3] relative to the waist, `correct`, `movement`, `subject`, `n_frames` (30 Hz).
A segment is a window of 8 frames, every 4 frames: 7 segments of 8 x 66 coordinates a video. Pairs are (correct,
incorrect) repetitions of the same subject; each of the ten subjects is once the test fold. Beside it stands a logistic
regression on all 32 frames (scikit-learn: pip install 'jaxskill[baselines]').
"""

from __future__ import annotations

import argparse
import csv
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxskill.evaluate.metrics import pairwise_accuracy

WINDOW, STRIDE = 8, 4


def coordinates(archive: Mapping[str, np.ndarray]) -> np.ndarray:
  """Returns `[repetitions, 32, 66]` coordinates of the joints in cm."""
  return archive["xyz_cm"].astype(np.float32).reshape(*archive["xyz_cm"].shape[:2], -1)


def all_frames(archive: Mapping[str, np.ndarray]) -> np.ndarray:
  """Returns `[repetitions, 2112]` the coordinates of all frames, in 64 bits for a regression."""
  return coordinates(archive).reshape(len(archive["xyz_cm"]), -1).astype(np.float64)


def write_features(archive: Mapping[str, np.ndarray], movement: int, folder: pathlib.Path, window: int = WINDOW,
                   stride: int = STRIDE, rows: np.ndarray | None = None) -> None:
  """Writes one movement as a folder of own features: `<video>.npy` [7, 528] by default, and scores.csv.

  Args:
    rows: `[repetitions, 32, D]`, of which windows are made; None is the `coordinates`.
  """
  rows = coordinates(archive) if rows is None else rows
  folder.mkdir(parents=True, exist_ok=True)
  chosen = np.flatnonzero(archive["movement"] == movement)
  with (folder / "scores.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(("video", "score", "subject"))
    for i in chosen:
      starts = range(0, rows.shape[1] - window + 1, stride)
      np.save(folder / f"r{i:04d}.npy", np.stack([rows[i, t: t + window].ravel() for t in starts]))
      table.writerow((f"r{i:04d}", int(archive["correct"][i]), f"s{archive['subject'][i]:02d}"))


def by_logistic_regression(archive: Mapping[str, np.ndarray], features: np.ndarray, movement: int,
                           asked: np.ndarray | None = None) -> tuple[list[float], list[float]]:
  """Returns, of each person when held out, the shares of pairs in order and of repetitions told right.

  Args:
    features: `[repetitions, D]`, which the regression standardizes.
    asked: those of the person who is held out, where they are others.
  """
  from sklearn.linear_model import LogisticRegression
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler
  asked, chosen = features if asked is None else asked, np.flatnonzero(archive["movement"] == movement)
  correct, subject = archive["correct"][chosen] == 1, archive["subject"][chosen]
  ordered, told = [], []
  for person in np.unique(subject):
    test = subject == person
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(features[chosen][~test], correct[~test])
    scores = model.decision_function(asked[chosen][test])
    ordered.append(in_order(scores, correct[test]))
    told.append(float(np.mean((scores > 0) == correct[test])))
  return ordered, told


def in_order(scores: np.ndarray, correct: np.ndarray) -> float:
  """Returns the share of pairs (correct, incorrect) whose correct one has the higher score."""
  pairs = np.array([(i, j) for i in np.flatnonzero(correct) for j in np.flatnonzero(~correct)])
  return pairwise_accuracy(scores, pairs)[0]


def train(folder: pathlib.Path, workdir: pathlib.Path, *options: str) -> dict[str, Any]:
  """Runs the real command line on a folder; returns its results."""
  command = [sys.executable, "-m", "jaxskill.main", "--config", "configs/pros_cons.py:features",
             "--workdir", str(workdir),
             f"--config.data.dir={folder}", "--config.data.pairs_within=subject", "--config.data.validation_share=0.0",
             "--config.model.hidden=64", "--config.train.epochs=30", "--config.seeds=(0, 1)", *options]
  subprocess.run(command, check=True)
  return json.loads((workdir / "results.json").read_text())


def main() -> None:
  """Trains Pros & Cons on the movements of a file and prints a table, and the mean over movements."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("file", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--movements", type=int, nargs="*", default=range(1, 11))
  options, passed_on = parser.parse_known_args()
  out, lines = options.out.resolve(), []
  with np.load(options.file) as archive:
    archive = dict(archive)
  frames = all_frames(archive)
  for movement in options.movements:
    write_features(archive, movement, out / f"m{movement:02d}")
    results = train(out / f"m{movement:02d}", out / f"run_m{movement:02d}", *passed_on)
    row = results["rows"]["pros_cons"]["accuracy"]["last"]
    ordered, _ = by_logistic_regression(archive, frames, movement)
    lines.append((movement, row["mean"], row["std_folds"], row["std_seeds"], np.mean(ordered)))
  print("\n| movement | pairs ordered, last step | std over subjects | std over seeds | logistic regression |\n"
        "|---|---|---|---|---|")
  for movement, *values in lines:
    print(f"| m{movement:02d} | " + " | ".join(f"{v:.3f}" for v in values) + " |")
  print("| mean | " + " | ".join(f"{v:.3f}" for v in np.mean([line[1:] for line in lines], axis=0)) + " |")
