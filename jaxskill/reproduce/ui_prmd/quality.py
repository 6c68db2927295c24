"""The quality of UI-PRMD deep squats as a user's own features and scores, one subject held out at a time.

  python -m jaxskill.reproduce.ui_prmd.quality vicon_m01_angles_T60_quality.npz --out runs/ui_prmd --method action_net
  python -m jaxskill.reproduce.ui_prmd.quality vicon_m01_angles_T60_quality.npz --out runs/ui_prmd --method core

The file holds the public Vicon recordings of movement 1 (Vakanski et al., Data 3(1), 2018), every repetition resampled
to 60 frames: `x` [repetitions, 60, 117] joint angles, `quality` in 0 to 1, computed by the authors from a mixture
model, and `subject`. ACTION-NET reads ten segments of six frames as its dynamic stream; CoRe, which averages its
snippets, reads the whole movement as one row. PCA + ridge on the whole movement reaches a Spearman correlation of .65
over all repetitions.
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

from jaxskill.evaluate.metrics import spearman

BASELINE = 0.65
# Of a handful tried: with the published SGD on 60 single frames and the range (0, 1), ACTION-NET did not learn (.06).
SETTINGS = dict(
    action_net=["--config.model.streams=('rgb',)", "--config.data.score_range=(0.5, 1.0)", "--config.model.channels=64",
                "--config.model.hidden=64", "--config.train.epochs=60", "--config.train.optimizer=adam",
                "--config.train.learning_rate=1e-3", "--config.train.rates=()", "--config.train.decay=((-20, 0.1),)"],
    core=["--config.model.exemplars.same=()", "--config.model.hidden=64", "--config.train.epochs=60"])
ROWS = dict(action_net=10, core=1)


def write_features(archive: Mapping[str, np.ndarray], folder: pathlib.Path, rows: int) -> None:
  """Writes `<video>.npy` [rows, 60 / rows x 117] and scores.csv."""
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / "scores.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(("video", "score", "subject"))
    for i, angles in enumerate(archive["x"].astype(np.float32)):
      np.save(folder / f"r{i:04d}.npy", angles.reshape(rows, -1))
      table.writerow((f"r{i:04d}", float(archive["quality"][i]), f"s{archive['subject'][i]:02d}"))


def train(method: str, folder: pathlib.Path, workdir: pathlib.Path, *options: str) -> dict[str, Any]:
  """Runs the real command line on a folder; returns its results."""
  command = [sys.executable, "-m", "jaxskill.main", "--config", f"configs/{method}.py:features",
             "--workdir", str(workdir),
             f"--config.data.dir={folder}", "--config.data.validation_share=0.0", *SETTINGS[method], *options]
  subprocess.run(command, check=True)
  return json.loads((workdir / "results.json").read_text())


def pooled(archive: Mapping[str, np.ndarray], results: dict[str, Any]) -> list[float]:
  """Returns Spearman's correlation over all repetitions, one a seed, each by the model without its subject."""
  scores = {}
  for replica in results["replicas"]:
    scores.setdefault(replica["seed"], {}).update(replica["scores"])
  return [spearman([said[video] for video in sorted(said)], archive["quality"]) for said in scores.values()]


def main() -> None:
  """Trains a method on the qualities of the squats of a file and prints Spearman's correlation, one a seed."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("file", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--method", choices=tuple(SETTINGS), required=True)
  parser.add_argument("--rows", type=int, help="rows of a video; 10 (action_net) or 1 (core) if not given")
  options, passed_on = parser.parse_known_args()
  out, rows = options.out.resolve(), options.rows or ROWS[options.method]
  with np.load(options.file) as archive:
    archive = dict(archive)
  write_features(archive, out / f"rows_{rows}", rows)
  results = train(options.method, out / f"rows_{rows}", out / f"{options.method}_{rows}", *passed_on)
  print("over all held-out repetitions, by seed:", " ".join(f"{value:.3f}" for value in pooled(archive, results)))


if __name__ == "__main__":
  main()
