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

from jaxskill import __version__, collapse, evaluate, floors, methods, protocol, raters, wording
from jaxskill.checkpoints import digest
from jaxskill.protocol import SCORE_METRICS, SELECTIONS

NOT_TESTED = ("not tested: config.data.split=all trains on every video and holds none out, so that nothing is known "
              "of how good the answers of this run are")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "tensorflow-datasets")


def write(workdir, trainer, assessments, history, facts, seconds, say):
  """Evaluates the trained state, writes results.json and plots below `workdir`, prints the table.

  Args:
    assessments: `[R, V, ...]`, everything that the trained replicas say.

  Returns:
    The contents of results.json on the main host; an empty dict on the others, which know no history.
  """
  if not trainer.parallel.main:
    return {}
  tested = evaluate.is_tested(trainer.dataset)
  replicas = [_replica(trainer, assessments, history, i) for i in range(len(trainer.replicas))]
  rows, facts_of_test = _rows(trainer, history, replicas) if tested else ({}, {})
  results = dict(
      data=trainer.dataset.name, simulated=trainer.dataset.simulated, tested=tested, audit=facts, steps=trainer.total,
      protocol=dict(trainer.config.evaluate) | facts_of_test, rows=rows, replicas=replicas,
      config=json.loads(trainer.config.to_json()), params_sha256=digest(trainer.state.params),
      seconds=seconds, **provenance(trainer.parallel))
  path = pathlib.Path(workdir) / "results.json"
  save_json(path, results)
  written = [path]
  if assessments.maps and tested:
    written.append(_save_maps(path.with_name("maps.npz"), trainer, assessments))
  if trainer.config.plots:
    from jaxskill import plots            # matplotlib takes half a second to import
    written += plots.draw(workdir, trainer, history, assessments, say)
  say("\n" + (f"{trainer.method.note}: these numbers are for trials\n" if trainer.method.note else "")
      + (table(rows, trainer.dataset.simulated, facts_of_test) if tested else NOT_TESTED) + collapse.note(replicas))
  written += [path.parent / name for name in ("metrics.jsonl", "evaluations.jsonl", "tensorboard", "checkpoints",
                                              "training_videos.npz")]
  say("wrote " + "\n      ".join(map(str, written)))
  return results


def _rows(trainer, history, replicas):
  """({row: of `protocol.summarise`}, what `protocol.facts` says): models, what raters reach, floors."""
  if trainer.method.learns_from in methods.COMPARING:
    _add_draws(trainer, replicas)
  sides, trained = protocol.sides(trainer, history, replicas), trainer.trained_videos()
  rows = {}
  for name in dict.fromkeys(r["row"] for r in replicas):
    own = [(r, s) for r, s in zip(replicas, sides) if r["row"] == name]
    rows[name or trainer.config.name] = _summary(trainer.metric, *zip(*own))
  scored = trainer.metric == "spearman"
  rated = not scored or any(r.criterion == "score" for r in trainer.replicas)             # and not by another criterion
  agreement = raters.agreement(trainer.dataset.ratings, scored) if rated else {}
  rows |= raters.ceiling(agreement, scored)
  rows |= floors.score_rows(trainer, trained) if scored else floors.pair_rows(trainer, trained)
  protocol.show(rows)
  facts = protocol.facts(trainer, trained, sides)
  return rows, facts | (dict(raters=agreement) if agreement else {})


def _summary(metric, replicas, sides):
  """One row of models: `protocol.summarise`, and what exemplars have to do with it."""
  result = protocol.summarise(replicas, metric, sides)
  if all("draws" in r for r in replicas) and replicas[0]["draws"]["std"][metric] is not None:
    result |= dict(std_draws=float(np.mean([r["draws"]["std"][metric] for r in replicas])))
  if "test_videos_with_fewer_exemplars" in replicas[0]:
    result |= dict(test_videos_with_fewer_exemplars=max(r["test_videos_with_fewer_exemplars"] for r in replicas),
                   encodings=replicas[0]["encodings"])
  return result


def _replica(trainer, assessments, history, index):
  row, fold_index, seed, _, criterion = trainer.replicas[index]
  dataset, fold = trainer.dataset, trainer.dataset.folds[fold_index]
  own = jax.tree.map(lambda x: x[index], assessments)
  last = history[-1]["replicas"][index]
  pairs = dict(test_ties=last["test_ties"], branches=last["branches"]) if trainer.metric == "accuracy" else {}
  result = dict(row=row, fold=fold.name, seed=seed, criterion=criterion,
                **evaluate.select(history, index, trainer.metric), **pairs,
                against_truth=evaluate.against_truth(dataset, fold, own.score, own.timelines,
                                                     scored=trainer.metric == "spearman", maps=own.maps, rows=own.rows,
                                                     stream_of=trainer.method.stream_of))
  result["filter_correlation"] = {
      module: evaluate.filter_correlation(dataset, fold, own.timelines, module, count)
      for module in dict.fromkeys(name.split(" filter ")[0] for name in own.timelines if " filter " in name)
      if (count := sum(name.startswith(f"{module} filter ") for name in own.timelines)) > 1}
  result["collapsed"] = (collapse.of_ranks(own.score, dataset.pairs[fold.train_pairs]) if trainer.metric == "accuracy"
                         else collapse.of_labels(own.score, dataset.labels(criterion)))
  tested = evaluate.tested_videos(dataset, fold)
  stream = trainer.method.streams[0]
  length, seconds = dataset.lengths[stream], dataset.row_seconds[stream]
  if "segment" in own.timelines:
    result["against_truth"] |= evaluate.segments_against_truth(dataset, fold, own.timelines, stream)
    result["segments"] = {dataset.videos[v]: evaluate.segments(own.timelines, v, length[v], seconds[v]) for v in tested}
  if own.alignment:
    references, known = (x[:, index] for x in trainer.exemplars())
    result["against_truth"] |= evaluate.alignment_against_truth(dataset, fold, own.alignment, references, known, stream)
    result["alignment"] = {dataset.videos[v]: {          # seconds into each reference, row by row
        dataset.videos[r]: (np.float64(places[v, : length[v]]) * seconds[r]).round(3).tolist()
        for places, r, there in zip(own.alignment.values(), references[v], known[v]) if there} for v in tested}
  result["scores"] = {dataset.videos[v]: float(own.score[v]) for v in tested}
  for name, values in own.parts.items() if trainer.metric == "spearman" else ():
    result[name] = {dataset.videos[v]: float(values[v]) for v in tested}
  if own.probabilities:
    result["probabilities"] = {dataset.videos[v]: {level: p[v].tolist() for level, p in own.probabilities.items()}
                               for v in tested}
  return result


def _add_draws(trainer, replicas):
  """How much the choice of exemplars matters: the test metrics of several draws, and how many videos had too few.

  Also how often an evaluation encodes a video: each once here, both sides of every comparison as published.
  """
  draws, wanted = trainer.config.evaluate.draws, trainer.config.model.exemplars.count
  scores = [trainer.assess(draw=draw)[0] for draw in range(draws)]
  for index, (replica, own) in enumerate(zip(trainer.replicas, replicas)):
    test = trainer.dataset.folds[replica.fold].test_videos
    measured = [trainer.measured(index, score[index], {})["metrics"] for score in scores]
    spread = lambda name: float(np.std([m[name] for m in measured], ddof=1)) if draws > 1 else None
    own["draws"] = dict(metrics=measured, std={name: spread(name) for name in measured[0]})
    votes = trainer.exemplars(0)[1][test, index].sum(axis=-1)
    own["test_videos_with_fewer_exemplars"] = int((votes < wanted).sum())
    own["encodings"] = dict(ours=trainer.dataset.num_videos, both_sides_of_comparisons=2 * int(votes.sum()))


def _save_maps(path, trainer, assessments):
  """Writes the heat maps of every replica on the videos that some replica is tested on; returns the path.

  In the file: `videos` [n], `replicas` [R] and, for each kind of maps, `<name>` [R, n, N, h, w] with its `<name>_seconds`
  [n, N], when each was seen.
  """
  dataset, content = trainer.dataset, {}
  tested = np.unique(np.concatenate([evaluate.tested_videos(dataset, dataset.folds[r.fold]) for r in trainer.replicas]))
  for name, maps in assessments.maps.items():
    stream, rows = trainer.method.stream_of(name), assessments.rows[name][0]
    content[name] = maps[:, tested]
    content[f"{name}_seconds"] = np.stack([dataset.seconds(stream, v)[rows[v]] for v in tested])
  names = [f"{r.row + ', ' if r.row else ''}fold {dataset.folds[r.fold].name}, seed {r.seed}" for r in trainer.replicas]
  np.savez_compressed(path, videos=np.array([dataset.videos[v] for v in tested]), replicas=np.array(names), **content)
  return path


def number(summary, percent=False, digits=None):
  """One number as text: mean, ± over seeds, and over folds, as far as there are several of them; "-" if missing.

  An undefined one is called so, and one that rests on too little is marked.
  """
  if summary is None:
    return "-"
  if summary["mean"] is None:
    return "undefined"
  digits = digits or (1 if percent else 3)
  show = lambda x: f"{100 * x if percent else x:.{digits}f}"
  return (show(summary["mean"]) + (f" ± {show(summary['std_seeds'])}" if summary["std_seeds"] is not None else "")
          + (f" (folds {show(summary['std_folds'])})" if summary["std_folds"] is not None else "")
          + protocol.MARK * summary.get("marked", False))


def table(rows, simulated, facts=None):
  """The rows as text: mean and standard deviation over seeds and over folds.

  Args:
    rows: {row: of `protocol.summarise`}, after `protocol.show`.
    facts: of `protocol.facts`, with "raters" where there are several.
  """
  scored = any("spearman" in row for row in rows.values())
  columns = _score_columns(rows) if scored else _pair_columns(rows)
  truths = list(dict.fromkeys(t for row in rows.values() for t in row["against_truth"]))
  columns |= {t: lambda row, t=t: number(row["against_truth"].get(t)) for t in truths}
  lines = [["row", *columns]] + [[wording.plain(name), *(cell(row) for cell in columns.values())]
                                 for name, row in rows.items()]
  if not scored and len(rows) < 4:     # few rows of many columns read better downwards
    lines = [list(line) for line in zip(*lines)]
  widths = [max(map(len, column)) for column in zip(*lines)]
  body = "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)
  cells = [cell for line in lines for cell in line]
  title = _title(rows, scored, cells, len(facts["folds"]) if facts else 1)
  notes = [title + (", SIMULATED data" if simulated else ""), body,
           f"* chosen on the test {'videos' if scored else 'pairs'} themselves, as many papers print; not a result of an "
           "honest protocol"]
  notes += _undefined(rows) + (protocol.describe(facts, scored) if facts else [])
  if facts and "raters" in facts:
    notes += raters.describe(facts["raters"])
  notes += floors.describe(rows)
  few = max(row.get("test_videos_with_fewer_exemplars", 0) for row in rows.values())
  if few:
    notes.append(f"{few} test video(s) had fewer exemplars than were asked for; all that there are voted")
  for encodings in [row["encodings"] for row in rows.values() if "encodings" in row][:1]:
    notes.append(f"an evaluation encodes {encodings['ours']} videos, each once; both sides of every comparison of a test "
                 f"video would be {encodings['both_sides_of_comparisons']}")
  return "\n".join(notes)


def _title(rows, scored, cells, folds):
  """What the numbers are: which mean over folds, and which spreads stand beside it."""
  shown = {n["shown"] for row in rows.values() for n in row.get("spearman", {}).values()
           if n and "shown" in n and n["mean"] is not None}
  seeds = any(" ± " in cell for cell in cells)
  if scored:
    how = " and ".join(words for name, words in protocol.MEANS.items() if name in shown)
    how = how if folds > 1 else how.replace("over folds", "over seeds") if seeds and "fisher" in shown else ""
    title = "Spearman's correlation on test videos" + (f" ({how})" if how else "")
  else:
    pooled = any(row.get("pooled") for row in rows.values())
    title = "Pairwise accuracy on test pairs, %" + (" (mean over folds)" if pooled else "")
  headline = "spearman" if scored else "accuracy"
  single = all(n["count"] <= folds for row in rows.values() for n in row[headline].values() if n and "count" in n)
  spread = ", mean ± standard deviation over seeds" if seeds else ", one seed" if single else ""
  return title + spread + (" (and over folds)" if any("(folds" in cell for cell in cells) else "")


def _undefined(rows):
  """Why numbers of the headline are undefined, each reason once."""
  why = {}
  for name, row in rows.items():
    for number_ in {**row.get("spearman", {}), **row.get("accuracy", {})}.values():
      for one in (number_, number_ and number_.get("over_folds")):
        if one and one.get("undefined"):
          why.setdefault(str(one["undefined"]), dict.fromkeys([])).setdefault(name)
  return [f"undefined: {reason} ({', '.join(names)})" for reason, names in why.items()]


def _pair_columns(rows):
  branches = list(dict.fromkeys(b for row in rows.values() for b in row.get("branches", {})))
  columns = {title: lambda row, s=s: number(row["accuracy"][s], percent=True) for s, title in SELECTIONS.items()}
  if any(row.get("pooled") for row in rows.values()):
    columns["pooled over folds"] = lambda row: number(row["pooled"], percent=True)
  return columns | {f"{b} branch": lambda row, b=b: number(row["branches"].get(b), percent=True) for b in branches} | {
      "ties": lambda row: str(row.get("test_ties", "-"))}


def _score_columns(rows):
  columns = {title: lambda row, s=s: number(row["spearman"][s]) for s, title in SELECTIONS.items()}
  last = [row["spearman"]["last"] for row in rows.values() if row["spearman"]["last"]]
  if any(n.get("shown") == "pooled" for n in last):
    columns["mean over folds"] = lambda row: number(row["spearman"]["last"].get("over_folds"))
  if any("std_draws" in row for row in rows.values()):
    spread = lambda value: f"{value:.3f}" if np.isfinite(value) else "undefined"
    columns["± over draws"] = lambda row: spread(row["std_draws"]) if "std_draws" in row else "-"
  return columns | {title: lambda row, m=m: number(row["metrics"][m], percent=m == "rl2", digits=3)    # published 0.260
                    for m, title in SCORE_METRICS.items()}


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


def open_folder(out):
  """Makes a folder if need be, and proves that it can be written; returns it.

  Raises:
    ValueError: if it cannot.
  """
  try:
    out.mkdir(parents=True, exist_ok=True)
    (out / ".writable").touch()
    (out / ".writable").unlink(missing_ok=True)
  except OSError as error:
    raise ValueError(f"{out}: cannot be written ({error}); give another --out.") from error
  return out


def save_json(path, content):
  """Writes JSON whole or not at all."""
  temporary = pathlib.Path(path).with_suffix(".tmp")
  try:
    temporary.write_text(to_json(content, indent=1), encoding="utf-8")
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)         # of a full disk


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
