"""Thirty training videos of UI-PRMD deep squats: which features, and which sizes of CoRe, do.

  python -m jaxskill.reproduce.ui_prmd.small vicon_m01_angles_T60_quality.npz baselines
  python -m jaxskill.reproduce.ui_prmd.small vicon_m01_angles_T60_quality.npz core --leaves 4 --hidden 64

Of the ten subjects of the file (see `quality`), five are drawn to train and five to test; of the repetitions of
the first, thirty. That is done several times, and each time is one number: Spearman's correlation over the repetitions
of the five others.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from jaxskill import cli, train
from jaxskill.data.statistics import motion_statistics
from jaxskill.evaluate import simple_baselines
from jaxskill.evaluate.metrics import spearman

VIDEOS, ROW_SECONDS = 30, 1 / 30


def draw(archive: Mapping[str, np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns (`[30]` training, `[n]` test) repetitions."""
  rng, subjects = np.random.default_rng(seed), np.unique(archive["subject"])
  trains = np.isin(archive["subject"], rng.permutation(subjects)[:5])
  return rng.permutation(np.flatnonzero(trains))[:VIDEOS], np.flatnonzero(~trains)


def ridge_on(archive: Mapping[str, np.ndarray], features: np.ndarray, draws: int) -> list[float]:
  """Returns Spearman's correlation of a ridge regression, one a draw."""
  quality, found = archive["quality"], []
  for seed in range(draws):
    training, test = draw(archive, seed)
    found.append(spearman(simple_baselines.ridge(features[training], quality[training], features)[test], quality[test]))
  return found


def core_of(archive: Mapping[str, np.ndarray], draws: int, leaves: int, hidden: int,
            batch_size: int) -> tuple[list[float], float]:
  """Returns the same of CoRe on the statistics, two seeds a draw, and the seconds of a run."""
  found, seconds = [], []
  for seed in range(draws):
    training, test = draw(archive, seed)
    with tempfile.TemporaryDirectory() as folder:
      with open(pathlib.Path(folder) / "scores.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("video", "score", "split"))
        for i in np.union1d(training, test):
          np.save(pathlib.Path(folder) / f"r{i:04d}.npy", archive["x"][i].astype(np.float32))
          table.writerow((f"r{i:04d}", float(archive["quality"][i]), "test" if i in test else "train"))
      config = cli.read_config("configs/core.py:features,statistics")[0].unlock()
      config.update_from_flattened_dict({
          "data.dir": folder, "data.validation_share": 0.0, "data.segment_seconds": ROW_SECONDS, "seeds": (0, 1),
          "model.num_leaves": leaves, "model.hidden": hidden, "train.batch_size": batch_size, "plots": False})
      results = train.run(config.lock(), pathlib.Path(folder) / "run")
    found += [replica["last"]["spearman"] for replica in results["replicas"]]
    seconds.append(results["seconds"])
  return found, float(np.mean(seconds))


def show(name: str, values: Sequence[float]) -> None:
  """Prints the mean of some correlations and their standard deviation."""
  print(f"{name}: {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} ({len(values)} numbers)")


def main() -> None:
  """Prints what baselines, or CoRe, reach on few squats, as the command line asks."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("file", type=pathlib.Path)
  parser.add_argument("what", choices=("baselines", "core"))
  parser.add_argument("--draws", type=int)
  parser.add_argument("--leaves", type=int, default=0)
  parser.add_argument("--hidden", type=int, default=0)
  parser.add_argument("--batch-size", type=int, default=64)
  options = parser.parse_args()
  with np.load(options.file) as archive:
    archive = dict(archive)
  if options.what == "core":
    found, seconds = core_of(archive, options.draws or 5, options.leaves, options.hidden, options.batch_size)
    show(f"CoRe, {options.leaves or 'default'} leaves, width {options.hidden or 'default'}, {seconds:.1f} s", found)
    return
  x = archive["x"].astype(np.float64)
  statistics = np.stack([motion_statistics(video, ROW_SECONDS) for video in x])
  for name, features in {"means of raw columns": x.mean(axis=1), "statistics of motion": statistics,
                         "all rows side by side": x.reshape(len(x), -1)}.items():
    show(f"ridge on {features.shape[1]} {name}", ridge_on(archive, features, options.draws or 10))


if __name__ == "__main__":
  main()
