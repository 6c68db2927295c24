"""Puts the results of several runs of one config into one table, as one run of all their folds and seeds prints it.

  python -m jaxskill.collect runs/array/fold0_seed0 runs/array/fold1_seed0 --out runs/array.json

Runs may differ in `config.folds`, `config.seeds` and where their data and files lie, in nothing else. Each fold must be
there with each seed, once. Intervals and ranges, which need what models say of every video, stay with the single runs.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill import cli, files, stores
from jaxskill.evaluate import collapse, protocol, raters
from jaxskill.report import results, tables
from jaxskill.training import finished_files, log_lines, run_folder

# Fields in which runs may differ: none of them changes a number.
MAY_DIFFER = ("config.folds", "config.seeds", "config.plots", "config.data.dir", "config.data.prepared_dir",
              "config.data.device_budget", "config.train.keep_checkpoints", *run_folder.WATCHING)
OF_ALL = ("format", "data", "simulated", "tested", "audit")                         # what is the same in every run
OF_EACH = ("params_sha256", "steps", "seconds", "versions", "devices", "git_revision")      # and what is kept of each


def run(workdirs: Sequence[str | os.PathLike[str]], allow_missing: bool = False) -> dict[str, Any]:
  """Returns the results of several runs as those of one.

  Args:
    workdirs: folders of finished runs, at least one.
    allow_missing: whether folds of the data may be in none of them.

  Returns:
    {"format", "data", "simulated", "tested", "audit", "protocol", "rows", "replicas", "config"} as in results.json, and
    "runs": [{"workdir", "folds", "seeds", "data_dir", what identifies it}].

  Raises:
    ValueError: if a run is not finished or tests nothing; if it is of another config or other data than the first; if a
      fold is there twice with one seed, or not with each; if a fold is missing.
  """
  runs = {os.fspath(workdir): _read(workdir) for workdir in workdirs}
  first, *others = runs
  for other in others:
    _check_alike((first, other), (runs[first], runs[other]))
  whole = runs[first]
  every, seeds = whole["protocol"]["all_folds"], sorted({r["seed"] for one in runs.values() for r in one["replicas"]})
  replicas = _in_order(runs, every, seeds, allow_missing)
  sides = _sides(replicas)
  of_folds = {fold["name"]: fold for one in runs.values() for fold in one["protocol"]["folds"]}
  folds = [name for name in every if name in of_folds]
  facts = whole["protocol"] | dict(folds=[of_folds[name] for name in folds], **protocol.sizes(sides))
  if "init_from" in facts:
    facts["init_from"] = facts["init_from"] | dict(models=len(replicas))
  chosen = [] if folds == every else [every.index(name) for name in folds]
  return {name: whole[name] for name in OF_ALL} | dict(
      protocol=facts, rows=_rows(list(runs.values()), replicas, sides), replicas=replicas,
      config=whole["config"] | dict(seeds=seeds, folds=chosen), runs=[_about(*one) for one in runs.items()])


def _read(workdir: str | os.PathLike[str]) -> dict[str, Any]:
  """The results.json of a finished run."""
  folder = stores.place(workdir)
  path = folder / "results.json"
  try:
    with stores.as_os_error(path):               # e.g. no credentials for a store
      content = path.read_bytes()
    result = json.loads(content)
    files.check_format(path, result, finished_files.RESULTS_FORMAT, "train again", oldest=finished_files.RESULTS_FORMAT)
    tested, replicas, facts = result["tested"], result["replicas"], result["protocol"]
  except FileNotFoundError:
    if (folder / "table.json").exists():
      raise ValueError(f"{folder}: holds a table; give the folders of one row of several tables.") from None
    if (folder / "config.json").exists():
      raise ValueError(f"{folder}: this run is not finished; start the command that trained it again with the same "
                       "--workdir, which goes on, or leave it out.") from None
    raise ValueError(f"{folder}: is not the folder of a run; give the --workdir of a training.") from None
  except files.OtherFormat:
    raise
  except OSError as error:
    raise ValueError(f"{path} cannot be read ({error}).") from error
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise ValueError(f"{path}: is not what training wrote ({finished_files.reason(error)}); "
                     f"{finished_files.WRITE_AGAIN}.") from error
  if not tested:
    raise ValueError(f"{folder}: tested nothing (config.data.split=all), so that there is no number to collect.")
  if "all_folds" not in facts:
    raise ValueError(f"{path}: was written by an older jaxskill, without what a table of several runs needs; train "
                     "again.")
  for replica in replicas:                         # null is nan, but for what was not asked for
    for name in (*protocol.SELECTIONS, "branches", "against_truth"):
      if replica.get(name):
        replica[name] = log_lines.with_nan(replica[name])
  if "raters" in facts:
    facts["raters"] = log_lines.with_nan(facts["raters"])
  return result


def _check_alike(names: tuple[str, str], two: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
  """Refuses two runs whose numbers do not belong into one table."""
  where: Any = tuple(f"in {name}" for name in names)
  configs, audits = [run_folder.completed(one["config"]) for one in two], [one["audit"] for one in two]
  for path, (there, here), remedy in (("config", configs, "collect runs of one config"),
                                      ("audit", audits, "their data differ")):
    if found := run_folder.differences(there, here, where, path, MAY_DIFFER):
      raise ValueError(f"{found}: one table cannot hold both; {remedy}.")


def _in_order(runs: Mapping[str, Mapping[str, Any]], every: Sequence[str], seeds: Sequence[int],
              allow_missing: bool) -> list[dict[str, Any]]:
  """The replicas of all runs, in the order in which one run has them; each fold once with each seed, or refused."""
  origin, found, tested = {}, {}, {}
  for workdir, result in runs.items():
    for replica in result["replicas"]:
      model = row, criterion, fold, seed = replica["row"], replica["criterion"], replica["fold"], replica["seed"]
      if model in found:
        raise ValueError(f"{_name(row, fold, seed)} is in {origin[model]} and in {workdir}; give one of them.")
      origin[model], found[model] = workdir, replica
      side = {name: replica["test_side"][name] for name in ("videos", "pairs", "labels")}
      other, known = tested.setdefault((criterion, fold), (workdir, side))
      if side != known:
        raise ValueError(f"fold {fold} has other test videos or labels in {workdir} than in {other}: "
                         "their data differ.")
  folds = [name for name in every if any(model[2] == name for model in found)]
  if len(folds) < len(every) and not allow_missing:
    raise ValueError(f"no run holds fold {', '.join(name for name in every if name not in folds)}; train it, or use "
                     "--allow-missing for a table without it.")
  ordered = []
  for row, criterion in dict.fromkeys(model[:2] for model in found):
    for fold in folds:
      for seed in seeds:
        if (row, criterion, fold, seed) not in found:
          raise ValueError(f"no run holds {_name(row, fold, seed)}; a table needs each of its folds with each of its "
                           f"seeds ({', '.join(map(str, seeds))}).")
        ordered.append(found[row, criterion, fold, seed])
  return ordered


def _name(row: str, fold: str, seed: int) -> str:
  return f"fold {fold}, seed {seed}" + (f" of {row}" if row else "")


def _sides(replicas: Sequence[Mapping[str, Any]]) -> list[protocol.Side]:
  """The `protocol.Side` of every replica, with numbers for the videos, the same in all."""
  numbers: dict[str, int] = {}
  result = []
  for replica in replicas:
    side = replica["test_side"]
    videos = [numbers.setdefault(name, len(numbers)) for name in side["videos"]]
    labels = None if side["labels"] is None else np.array(side["labels"], np.float64)
    said = {name: np.array(values, np.float64) for name, values in side["said"].items()}         # null is nan
    result.append(protocol.Side(replica["fold"], replica["seed"], side["task"], np.array(videos, int), side["pairs"],
                                labels, said))
  return result


def _rows(runs: Sequence[Mapping[str, Any]], replicas: Sequence[dict[str, Any]],
          sides: Sequence[protocol.Side]) -> dict[str, Any]:
  """Models, raters and simple baselines, as `report.results` makes them of one run."""
  metric, rows = "accuracy" if "accuracy" in replicas[0]["last"] else "spearman", {}
  for name in dict.fromkeys(r["row"] for r in replicas):
    of_row = [(r, s) for r, s in zip(replicas, sides) if r["row"] == name]
    rows[name or runs[0]["config"]["name"]] = results.summarize(metric, *zip(*of_row))
  rows |= raters.ceiling(runs[0]["protocol"].get("raters", {}), metric == "spearman")
  side_of = {(r["criterion"], r["fold"]): side for r, side in zip(replicas, sides)}
  names = dict.fromkeys(name for one in runs for name, row in one["rows"].items() if "by_fold" in row)
  for name in names:
    found = [one["rows"][name] for one in runs if name in one["rows"]]
    of_fold = {fold: entry for row in found for fold, entry in row["by_fold"].items()}
    if len(of_fold) < len({side.fold for side in sides}):
      continue                                     # one that some fold knows nothing of is no row
    rows[name] = _baseline(metric, of_fold, side_of)
    better = {fold: one for row in found for fold, one in row.get("better_is", {}).items()}
    rows[name] |= dict(better_is=better) if better else {}
  protocol.show(rows)
  return rows


def _baseline(metric: str, of_fold: Mapping[str, dict[str, Any]],
              side_of: Mapping[tuple[str, str], protocol.Side]) -> dict[str, Any]:
  """The row of a simple baseline, which knows no seed.

  Args:
    of_fold: {fold: what results.json says of it there}; side_of: {(criterion, fold): that of a model}.
  """
  folds = list(dict.fromkeys(fold for _, fold in side_of))
  entries, sides = [], []
  for fold in folds:
    entry = of_fold[fold]
    said = dict(last=np.array(list(entry["scores"].values()), np.float64)) if entry["scores"] else {}
    entries.append(entry | {name: log_lines.with_nan(entry[name]) for name in ("last", "against_truth")})
    sides.append(side_of[entry["criterion"], fold]._replace(seed=0, said=said))
  return protocol.summarize(entries, metric, sides) | dict(by_fold={fold: of_fold[fold] for fold in folds})


def _about(workdir: str, result: Mapping[str, Any]) -> dict[str, Any]:
  """What is kept of a run itself."""
  return dict(workdir=workdir, data_dir=result["config"]["data"].get("dir", ""),
              folds=[fold["name"] for fold in result["protocol"]["folds"]],
              seeds=sorted({r["seed"] for r in result["replicas"]})) | {
                  name: result[name] for name in OF_EACH if name in result}


def describe(found: Mapping[str, Any]) -> str:
  """Returns the table of what `run` returned, with what must be known beside it."""
  folders = sorted({one["data_dir"] for one in found["runs"]})
  copies = ("" if len(folders) == 1 else f"\nfeatures lay in {', '.join(folders)}; whether these are copies of the "
            "same files is not known here")
  return (f"{found['data']}, {len(found['runs'])} run(s)\n" + tables.table(
      found["rows"], found["simulated"], found["protocol"]) + collapse.note(found["replicas"]) + copies)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.collect", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("runs", nargs="+", metavar="RUN", type=cli.path, help="folder of a finished run")
  parser.add_argument("--out", type=cli.path, help="JSON file to write, in the form of results.json")
  parser.add_argument("--allow-missing", action="store_true", help="make the table without folds that are in no run")
  options = parser.parse_args(argv)
  with cli.command():
    found = run(options.runs, options.allow_missing)
    cli.say(describe(found))
    if options.out:
      files.save_json(stores.place(options.out), found)
      cli.say(f"wrote {options.out}")


if __name__ == "__main__":
  cli.listen()
  main()
