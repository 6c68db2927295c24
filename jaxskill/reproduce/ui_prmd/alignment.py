"""UI-PRMD deep squats against correct ones of other people, by SkillDiff: who did it badly, and where in the movement.

  python -m jaxskill.reproduce.ui_prmd.alignment kinect_all_T32_f16.npz --out runs/ui_prmd

Reads the file of `correctness`; a row is a window of 4 frames, every frame: 29 rows of 4 x 66 coordinates. Scores are 1
for a correct and 0 for an incorrect repetition, so references are five correct ones of the nine people that are not
held out. The plot shows how held-out repetitions score, segment by segment.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxskill.reproduce.ui_prmd import correctness

WINDOW, STRIDE, MOVEMENT, RATE = 4, 1, 1, 30
SETTINGS = ["--config.data.score_range=(0.0, 1.0)", "--config.data.validation_share=0.0", "--config.model.hidden=64",
            "--config.model.width=32", "--config.model.directions=16", "--config.model.head_hidden=16",
            "--config.model.head_outputs=8", "--config.train.learning_rate=1e-3", "--config.train.epochs=30"]


def write_features(archive: Mapping[str, np.ndarray], folder: pathlib.Path) -> float:
  """Writes the deep squats; returns the mean seconds from one row to the next."""
  correctness.write_features(archive, MOVEMENT, folder, WINDOW, STRIDE)
  frames = archive["n_frames"][archive["movement"] == MOVEMENT]
  return float(frames.mean() / RATE / archive["xyz_cm"].shape[1])


def train(folder: pathlib.Path, workdir: pathlib.Path, seconds: float, *options: str) -> dict[str, Any]:
  """Runs the real command line on a folder; returns its results."""
  command = [sys.executable, "-m", "jaxskill.main", "--config", "configs/skilldiff.py:features",
             "--workdir", str(workdir),
             f"--config.data.dir={folder}", f"--config.data.segment_seconds={seconds}", *SETTINGS, *options]
  subprocess.run(command, check=True)
  return json.loads((workdir / "results.json").read_text())


def held_out(archive: Mapping[str, np.ndarray], results: dict[str, Any]) -> np.ndarray:
  """Returns `[replicas, 2]`: shares of the held-out person's pairs in order, and of repetitions told right at 0.5."""
  found = []
  for replica in results["replicas"]:
    scores = np.array(list(replica["scores"].values()))
    correct = np.array([archive["correct"][int(video[1:])] for video in replica["scores"]], bool)
    found.append((correctness.in_order(scores, correct), np.mean((scores > 0.5) == correct)))
  return np.array(found)


def draw(archive: Mapping[str, np.ndarray], results: dict[str, Any], path: pathlib.Path) -> None:
  """Draws mean segment scores and importance of held-out repetitions, correct and incorrect, over time."""
  import matplotlib
  matplotlib.use("Agg")
  import matplotlib.pyplot as plt
  figure, axes = plt.subplots(2, 1, figsize=(7, 5), sharex=True, layout="constrained")
  for label, color, wanted in (("correct", "tab:green", True), ("incorrect", "tab:red", False)):
    chosen = [segments for replica in results["replicas"] for video, segments in replica["segments"].items()
              if archive["correct"][int(video[1:])] == wanted]
    middle = [(s["start"] + s["end"]) / 2 for s in chosen[0]]
    for axis, name in zip(axes, ("score", "importance")):
      values = np.array([[s[name] for s in segments] for segments in chosen])
      axis.plot(middle, values.mean(axis=0), "o-", color=color, label=f"{label} ({len(chosen)})")
      axis.fill_between(middle, *np.quantile(values, (0.25, 0.75), axis=0), color=color, alpha=0.15)
      axis.set(ylabel=f"{name} of a segment")
  axes[0].legend(fontsize=8)
  axes[1].set(xlabel="time in the movement [s]")
  axes[0].set_title("deep squats of people that training did not see; mean and quartiles", fontsize=9)
  figure.savefig(path, dpi=120)
  plt.close(figure)


def main() -> None:
  """Trains SkillDiff on the squats of a file, draws its segments and prints what it tells right."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("file", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  options, passed_on = parser.parse_known_args()
  out = options.out.resolve()
  with np.load(options.file) as archive:
    archive = dict(archive)
  seconds = write_features(archive, out / "squats")
  results = train(out / "squats", out / "skilldiff_squats", seconds, "--config.seeds=(0, 1)", *passed_on)
  draw(archive, results, out / "squats.png")
  baselines = correctness.by_logistic_regression(archive, correctness.all_frames(archive), MOVEMENT)
  for name, values, people in zip(("pairs in order", "told right at 0.5"), held_out(archive, results).T, baselines):
    folds = [values[[r["fold"] == fold for r in results["replicas"]]].mean()
             for fold in dict.fromkeys(r["fold"] for r in results["replicas"])]
    print(f"{name}: {values.mean():.3f} ± {np.std(folds, ddof=1):.3f} over people; "
          f"logistic regression {np.mean(people):.3f}")
  print(f"wrote {out / 'squats.png'}")


if __name__ == "__main__":
  main()
