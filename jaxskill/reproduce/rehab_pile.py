"""Rehab-Pile: every set of rehabilitation movements by one command, fold by fold, beside simple baselines.

  python -m jaxskill.reproduce.rehab_pile REHAB_PILE
  python -m jaxskill.reproduce.rehab_pile REHAB_PILE --set KIMORE_reg_Sq --set KERAAL_clf_mc_CTK
  python -m jaxskill.reproduce.rehab_pile REHAB_PILE --config configs/lstm.py:rehab_pile --seeds 5

REHAB_PILE is the folder of `jaxskill.data.published.rehab_pile`. A set is trained in all its folds, which are those of
the archive, in one run. Scores are regressed; of two classes the last by name is told by a score, whether a movement is
of it, against one half; of several, each class has a model, and the one that says most is the answer. With several
seeds their mean says it, as the archive's authors take the mean of five. By default CoRe reads statistics of motion:
sets have 48 to 2432 movements, for which a network on every frame takes hours more.

The metrics are the archive's: of scores the mean absolute error and the root mean square error, in the unit of the
labels, of classes accuracy and balanced accuracy (the mean over the classes that a fold tests of the share told right);
beside them Spearman's correlation, and of two classes the share of pairs of both that are in order (the area under the
ROC curve). Means and standard deviations are over folds. Baselines: a ridge regression on statistics of motion, and the
mean of the training labels, of classes the most frequent one.

What was trained is kept below --out: the same command goes on where it was stopped. OUT/table.md has all sets,
OUT/folds.csv every fold. Exit status 1: a set could not be used; the last lines say which and why.
"""

from __future__ import annotations

import argparse
import csv
import io
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxskill import cli, data, files, train
from jaxskill.data import derived
from jaxskill.data.dataset import SkillDataset
from jaxskill.data.published import rehab_pile
from jaxskill.evaluate import metrics, simple_baselines
from jaxskill.reproduce import runs
from jaxskill.training import kernels, sizes

CONFIG = "configs/core.py:rehab_pile,statistics"
RIDGE = "ridge on statistics of motion"
RIDGES = RIDGE, "ridge on mean features"   # rows of results.json; the second where a model reads statistics alone
MEAN, MOST = "mean of training labels", "most frequent class"      # of scores and of classes, the same
SCORES, CLASSES = ("MAE", "RMSE", "Spearman"), ("accuracy", "balanced accuracy", "AUC")
Said = Mapping[str, Mapping[str, np.ndarray]]      # {fold: {criterion: `[n]` predicted}}


class Measured(NamedTuple):
  """One set: {who: {metric: [number of each fold, None where undefined]}}."""

  name: str
  videos: int
  classes: int             # 0 of scores
  folds: tuple[str, ...]
  rows: dict[str, dict[str, list[float | None]]]


def configure(file: str, seeds: int, overrides: Sequence[str]) -> ConfigDict:
  """Returns the config of all sets.

  Raises:
    ValueError: for a config that does not read the archive, or predicts no scores.
  """
  config = cli.read_config(file, overrides)[0].copy_and_resolve_references().unlock()
  if config.data.name != rehab_pile.NAME or "criteria" not in config.data:
    raise ValueError(f"--config={file}: expected a config that reads {rehab_pile.NAME} and predicts scores, e.g. "
                     f"{CONFIG}.")
  config.update(seeds=tuple(range(seeds)), plots=False)
  config.data.statistics = rehab_pile.STREAM            # of the ridge regression, whatever the model reads
  if kernels.FIELD in config.model:
    config.model[kernels.FIELD] = "scan"                # as in all tables: one form on every machine
  return config


def of_set(base: ConfigDict, root: pathlib.Path, name: str) -> tuple[ConfigDict, SkillDataset]:
  """Returns (config, data) of a set: two classes are learnt as the last one, several each by itself.

  Raises:
    ValueError: for a set that cannot be read.
  """
  config = base.copy_and_resolve_references()
  points = rehab_pile.read_info(rehab_pile.sets(root)[name]).points
  config.data.update(dir=str(root), task=name, points=points)
  dataset = data.read(config.data)
  if classes := tuple(dataset.criteria):
    config.data.criteria = classes[-1:] if len(classes) == 2 else classes
    if "score_ranges" in config.model:
      config.model.score_ranges = {one: (0.0, 1.0) for one in config.data.criteria}
  return sizes.decide(config.lock(), dataset), dataset            # as a finished run records it


def results_of(config: ConfigDict, dataset: SkillDataset, folder: pathlib.Path) -> dict[str, Any]:
  """Returns results.json of a set, trained now unless that is finished."""
  place = runs.Place(rehab_pile.NAME, config.data.task, pathlib.Path(config.data.dir))
  found = runs.read(runs.Job("", ("",), place, config, folder))
  return found or train.run(config, folder, derived.of_dataset(config.data, dataset))


def said_by(results: Mapping[str, Any], dataset: SkillDataset) -> dict[str, Said]:
  """Returns what the models and baselines of a run say of the test videos of every fold, {who: `Said`}.

  A prediction is the mean over seeds.
  """
  videos = {fold.name: [dataset.videos[v] for v in fold.test_videos] for fold in dataset.folds}
  criteria = list(dict.fromkeys(replica["criterion"] for replica in results["replicas"]))

  def of(scores: Mapping[str, float], fold: str) -> np.ndarray:
    return np.array([scores[video] for video in videos[fold]], np.float64)           # None is nan
  found: dict[str, Said] = {results["config"]["name"]: {
      fold: {criterion: np.mean([of(one["scores"], fold) for one in results["replicas"]
                                 if (one["fold"], one["criterion"]) == (fold, criterion)], axis=0)
             for criterion in criteria} for fold in videos}}
  for baseline in RIDGES:
    rows = {criterion: results["rows"].get(simple_baselines.named(baseline, criterion if len(criteria) > 1 else ""))
            for criterion in criteria}
    if RIDGE not in found and all(rows.values()):
      found[RIDGE] = {fold: {criterion: of(row["by_fold"][fold]["scores"], fold) for criterion, row in rows.items()}
                      for fold in videos}
  found[MOST if dataset.criteria else MEAN] = {fold.name: {
      criterion: np.full(len(fold.test_videos), dataset.labels(criterion)[fold.train_videos].mean(dtype=np.float64))
      for criterion in criteria} for fold in dataset.folds}
  return found


def measure_scores(labels: np.ndarray, said: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Returns `SCORES` of the `[n]` predictions of one fold, nan where undefined."""
  predicted, = said.values()
  error = predicted - labels
  return dict(zip(SCORES, (float(np.abs(error).mean()), float(np.sqrt((error ** 2).mean())),
                           metrics.spearman(predicted, labels))))


def measure_classes(labels: np.ndarray, names: Sequence[str], said: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Returns `CLASSES` of one fold, nan where undefined.

  Args:
    labels: `[n]` numbers of classes in `names`.
    said: {class: `[n]` how much a movement is of it}: of two classes the last alone.
  """
  if len(said) == 1:
    (last, score), = said.items()
    predicted = np.where(score > 0.5, names.index(last), 1 - names.index(last))
    first, second = (np.flatnonzero(labels == one) for one in (0, 1))
    pairs = np.stack(np.meshgrid(second, first), axis=-1).reshape(-1, 2)
    area = metrics.pairwise_accuracy(score, pairs)[0]
  else:
    predicted, area = np.argmax([said[name] for name in names], axis=0), np.nan
  right = predicted == labels
  balanced = np.mean([right[labels == one].mean() for one in np.unique(labels)])
  return dict(zip(CLASSES, (float(right.mean()), float(balanced), area)))


def measure(results: Mapping[str, Any], dataset: SkillDataset, name: str) -> Measured:
  """Returns what a finished run, and its baselines, reach on a set."""
  names = list(dataset.criteria)
  labels = (np.argmax([dataset.criteria[one] for one in names], axis=0) if names else
            np.asarray(dataset.score, np.float64))
  rows: dict[str, dict[str, list[float | None]]] = {}
  for who, said in said_by(results, dataset).items():
    rows[who] = {metric: [] for metric in (CLASSES if names else SCORES)}
    for fold in dataset.folds:
      true = labels[fold.test_videos]
      of_fold = measure_classes(true, names, said[fold.name]) if names else measure_scores(true, said[fold.name])
      for metric, value in of_fold.items():
        rows[who][metric].append(value if np.isfinite(value) else None)
  return Measured(name, len(dataset.videos), len(names), tuple(fold.name for fold in dataset.folds), rows)


def shown(values: Sequence[float | None]) -> str:
  """Returns mean ± standard deviation over the folds in which a number is defined, and in how many if not in all."""
  known = [value for value in values if value is not None]
  if not known:
    return "-"
  spread = f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else ""
  share = f" ({len(known)} of {len(values)} folds)" if len(known) < len(values) else ""
  return f"{np.mean(known):.3f}{spread}{share}"


def table(measured: Sequence[Measured]) -> str:
  """Returns sets of one kind as a table, a line for each set and who says it."""
  columns = CLASSES if measured[0].classes else SCORES
  what = ["set", "movements", *(["classes"] if measured[0].classes else []), "folds", "", *columns]
  lines = [what, ["---"] * len(what)]
  for one in measured:
    about = [one.name, one.videos, *([one.classes] if one.classes else []), len(one.folds)]
    lines += [[*map(str, about), who, *(shown(row[column]) for column in columns)] for who, row in one.rows.items()]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def over_sets(measured: Sequence[Measured]) -> list[str]:
  """Returns a line for each who: the means over sets of the means over folds."""
  lines = []
  for who in dict.fromkeys(who for one in measured for who in one.rows):
    parts = []
    for metric in CLASSES if measured[0].classes else SCORES:
      means = [np.mean(known) for one in measured if who in one.rows
               for known in [[value for value in one.rows[who][metric] if value is not None]] if known]
      if means and metric not in ("MAE", "RMSE"):              # whose units differ from set to set
        parts.append(f"{metric} {np.mean(means):.3f} ({len(means)} sets)")
    if parts:
      lines.append(f"  {who}: {', '.join(parts)}")
  return lines


def by_fold(measured: Sequence[Measured]) -> str:
  """Returns every number of every fold as CSV; empty where it is undefined."""
  text = io.StringIO()
  written = csv.writer(text, lineterminator="\n")
  written.writerow(("set", "fold", "who", "metric", "value"))
  for one in measured:
    for who, row in one.rows.items():
      for metric, values in row.items():
        written.writerows((one.name, fold, who, metric, "" if value is None else value)
                          for fold, value in zip(one.folds, values))
  return text.getvalue()


def write(out: pathlib.Path, measured: Sequence[Measured]) -> None:
  """Writes OUT/table.md and OUT/folds.csv, and prints means over the sets of each kind."""
  parts = []
  for title, chosen in (("Classes", [one for one in measured if one.classes]),
                        ("Scores", [one for one in measured if not one.classes])):
    if chosen:
      parts.append(f"{title}: mean ± standard deviation over folds\n\n{table(chosen)}\n")
      cli.say("\n".join([f"\n{title}: {len(chosen)} set(s), means over sets of means over folds", *over_sets(chosen)]))
  files.write_text(out / "table.md", "\n".join(parts))
  files.write_text(out / "folds.csv", by_fold(measured))
  cli.say(f"wrote {out / 'table.md'}\n      {out / 'folds.csv'}")


def run(root: pathlib.Path, out: pathlib.Path, names: Sequence[str],
        base: ConfigDict) -> tuple[list[Measured], dict[str, str]]:
  """Trains and measures sets, one after the other.

  Args:
    root: of the archive; out: below which a set has a folder; base: config of all sets.

  Returns:
    (what was measured, {set that could not be used: why}).

  Raises:
    ValueError: if the archive, or its list, is none.
    OSError, Stopped: see `train.run`.
  """
  measured: list[Measured] = []
  failed: dict[str, str] = {}
  for count, name in enumerate(names, 1):
    cli.say(f"\n{name} ({count} of {len(names)})")
    try:
      config, dataset = of_set(base, root, name)
      measured.append(measure(results_of(config, dataset, out / files.folder(name)), dataset, name))
      cli.say(table(measured[-1:]))
    except (ValueError, FloatingPointError) as error:
      failed[name] = str(error)
      cli.say(f"{name}: {error}")
  absent = sorted(rehab_pile.listed(root).keys() - rehab_pile.sets(root).keys())
  if absent:
    cli.say(f"\n{root}: {len(absent)} set(s) of the archive's list are not there: {', '.join(absent)}")
  return measured, failed


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process; raises SystemExit with one line after a mistake."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.reproduce.rehab_pile", description=__doc__,
                                   allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("folder", type=cli.path, metavar="REHAB_PILE", help="that holds classification/ and regression/")
  parser.add_argument("--set", action="append", metavar="NAME", help="a set; repeatable; all if not given")
  parser.add_argument("--config", default=CONFIG, metavar="FILE[:OPTIONS]",
                      help="what learns (%(default)s); --config.FIELD=VALUE overrides a field")
  parser.add_argument("--seeds", type=int, default=1, metavar="N",
                      help="models of a fold, whose mean counts (%(default)s)")
  parser.add_argument("--tiny", action="store_true", help="networks and trainings of seconds, to see that all works")
  parser.add_argument("--out", type=cli.path, default="runs/rehab_pile", help="where all is written (%(default)s)")
  options, overrides = cli.parse(parser, argv)
  with cli.command():
    root, out = pathlib.Path(options.folder).resolve(), pathlib.Path(options.out).resolve()
    found = rehab_pile.sets(root)
    names = list(dict.fromkeys(options.set or found))
    if unknown := [name for name in names if name not in found]:
      raise ValueError(f"{root}: no set {unknown[0]!r} here; use one of {', '.join(found)}.")
    if options.seeds < 1:
      raise ValueError(f"--seeds={options.seeds} is no number of seeds; give 1 or more.")
    base = configure(options.config + ",tiny" * options.tiny, options.seeds, overrides)
    cli.use_compilation_cache()
    measured, failed = run(root, out, names, base)
    if measured:
      write(out, measured)
    for name, why in failed.items():
      cli.say(f"{name} could not be used: {why}")
  if failed:
    sys.exit(1)


if __name__ == "__main__":
  cli.listen()
  main()
