"""What a run leaves: the printed table, results.json with every number of it, and plots."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys

import jax
import numpy as np

from jaxskill import __version__, evaluate
from jaxskill.checkpoints import digest

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "tensorflow-datasets")
SELECTIONS = dict(last="last step", validation_selected="validation-selected", best_on_test="best on test*")


def write(workdir, trainer, history, facts, seconds, say):
  """Evaluates the trained state, writes results.json and plots below `workdir`, prints the table.

  Returns:
    The contents of results.json on the main host; an empty dict on the others, which know no history.
  """
  assessments = trainer.assess(everything=True)
  if not trainer.parallel.main:
    return {}
  replicas = [_replica(trainer, assessments, history, i) for i in range(len(trainer.replicas))]
  rows = {row: summarise([r for r in replicas if r["row"] == row]) for row in dict.fromkeys(r["row"] for r in replicas)}
  results = dict(
      data=trainer.dataset.name, simulated=trainer.dataset.simulated, audit=facts, steps=trainer.total,
      ties_count_as=trainer.config.evaluate.ties, rows=rows, replicas=replicas,
      config=json.loads(trainer.config.to_json()), params_sha256=digest(trainer.state.params),
      seconds=seconds, **provenance(trainer.parallel))
  path = pathlib.Path(workdir) / "results.json"
  save_json(path, results)
  written = [path]
  if trainer.config.plots:
    from jaxskill import plots            # matplotlib takes half a second to import
    written += plots.draw(workdir, trainer, history, assessments)
  say("\n" + table(rows, trainer.dataset.simulated))
  written += [path.parent / name for name in ("metrics.jsonl", "evaluations.jsonl", "tensorboard", "checkpoints")]
  say("wrote " + "\n      ".join(map(str, written)))
  return results


def _replica(trainer, assessments, history, index):
  row, fold_index, seed, _ = trainer.replicas[index]
  dataset, fold = trainer.dataset, trainer.dataset.folds[fold_index]
  own = jax.tree.map(lambda x: x[index], assessments)
  last = history[-1]["replicas"][index]
  result = dict(row=row, fold=fold.name, seed=seed, **evaluate.select(history, index),
                test_ties=last["test_ties"], branches=last["branches"],
                against_truth=evaluate.against_truth(dataset, fold, own.score, own.timelines))
  result["filter_correlation"] = {
      module: evaluate.filter_correlation(dataset, fold, own.timelines, module, count)
      for module in dict.fromkeys(name.split(" filter ")[0] for name in own.timelines if " filter " in name)
      if (count := sum(name.startswith(f"{module} filter ") for name in own.timelines)) > 1}
  result["scores"] = {dataset.videos[v]: float(own.score[v]) for v in tested_videos(dataset, fold)}
  return result


def tested_videos(dataset, fold):
  """Videos of the test side and of its pairs, which training may have seen (EPIC-Skills)."""
  return np.union1d(fold.test_videos, dataset.pairs[fold.test_pairs])


def summarise(replicas):
  """Means and spreads over the folds and seeds of one row."""
  summary = lambda pick, **how: evaluate.summarise([pick(r) for r in replicas], [r["fold"] for r in replicas],
                                                   [r["seed"] for r in replicas], **how)
  take = lambda selection: lambda r: r[selection]["accuracy"] if r[selection] else None
  names = dict.fromkeys(name for r in replicas for name in r["against_truth"])
  how = lambda name: dict(mean=evaluate.fisher_mean) if name.startswith("spearman") else {}
  return dict(
      accuracy={selection: summary(take(selection)) for selection in SELECTIONS},
      branches={b: summary(lambda r: r["branches"][b]) for b in replicas[0]["branches"]},
      test_ties=sum(r["test_ties"] for r in replicas),
      against_truth={name: summary(lambda r: r["against_truth"].get(name), **how(name)) for name in names})


def number(summary, percent=False):
  """One summary as text: mean, ± over seeds, and over folds, as far as there are several of them; "-" if missing."""
  if summary is None:
    return "-"
  show = lambda x: f"{100 * x:.1f}" if percent else f"{x:.3f}"
  return (show(summary["mean"]) + (f" ± {show(summary['std_seeds'])}" if summary["std_seeds"] is not None else "")
          + (f" (folds {show(summary['std_folds'])})" if summary["std_folds"] is not None else ""))


def table(rows, simulated):
  """The rows as text: accuracies in per cent, mean and standard deviation over seeds and over folds."""
  branches = list(dict.fromkeys(b for row in rows.values() for b in row["branches"]))
  truths = list(dict.fromkeys(t for row in rows.values() for t in row["against_truth"]))
  named = any(rows)
  header = (["row"] if named else []) + [*SELECTIONS.values(), *(f"{b} branch" for b in branches), "ties", *truths]
  lines = [header]
  for name, row in rows.items():
    lines.append(([name] if named else []) + [number(row["accuracy"][s], percent=True) for s in SELECTIONS]
                 + [number(row["branches"].get(b), percent=True) for b in branches] + [str(row["test_ties"])]
                 + [number(row["against_truth"].get(t)) for t in truths])
  if not named:     # one row reads better downwards
    body = "\n".join(f"{h:<{max(map(len, header))}}  {c}" for h, c in zip(*lines))
  else:
    widths = [max(map(len, column)) for column in zip(*lines)]
    body = "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)
  spread = ", mean ± standard deviation over seeds" if "±" in body else ", one seed"
  notes = ["Pairwise accuracy on test pairs, %" + spread + (" (and over folds)" if "(folds" in body else "")
           + (", SIMULATED data" if simulated else ""), body,
           "* chosen on the test pairs themselves, as many papers print; not a result of an honest protocol"]
  return "\n".join(notes)


def provenance(parallel):
  """Versions, devices and git revision of a run."""
  root = pathlib.Path(__file__).resolve().parents[1]
  git = lambda *args: subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True,
                                     check=False).stdout.strip()
  revision = ""
  if (root / ".git").exists():            # and not a repository that the installed package merely lies in
    try:
      revision = git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except OSError:                       # there is no git
      pass
  versions = {}
  for package in _PACKAGES:
    versions[package] = importlib.metadata.version(package)
  return dict(versions=dict(jaxskill=__version__, python=platform.python_version(), **versions),
              devices=[f"{d.platform}: {d.device_kind}" for d in parallel.devices], hosts=jax.process_count(),
              git_revision=revision, command=sys.argv)


def save_json(path, content):
  """Writes JSON whole or not at all."""
  temporary = pathlib.Path(path).with_suffix(".tmp")
  temporary.write_text(to_json(content, indent=1))
  os.replace(temporary, path)


def to_json(content, indent=None):
  """JSON text; numbers that are not finite become null."""
  def clean(value):
    if isinstance(value, dict):
      return {k: clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
      return [clean(v) for v in value]
    if isinstance(value, (float, np.floating)):
      return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
  return json.dumps(clean(content), indent=indent, allow_nan=False)
