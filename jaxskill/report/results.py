"""What a run leaves: the printed table, results.json with every number of it, and plots."""

from __future__ import annotations

import json
import pathlib

import jax
import numpy as np

from jaxskill import methods
from jaxskill.evaluate import collapse, metrics, protocol, raters, simple_baselines, truth
from jaxskill.files import provenance, save_json, writing
from jaxskill.report.tables import NOT_TESTED, table
from jaxskill.training import finished_files
from jaxskill.training.checkpoints import digest


def write(workdir, trainer, assessments, history, facts, seconds, say):
  """Evaluates the trained state, writes results.json and plots below `workdir`, prints the table.

  Args:
    assessments: `[R, V, ...]`, everything that the trained replicas say.

  Returns:
    The contents of results.json on the main host; an empty dict on the others, which know no history.
  """
  if not trainer.parallel.main:
    return {}
  tested = metrics.is_tested(trainer.dataset)
  replicas = [_replica(trainer, assessments, history, i) for i in range(len(trainer.replicas))]
  rows, facts_of_test = _rows(trainer, history, replicas) if tested else ({}, {})
  results = dict(
      format=finished_files.RESULTS_FORMAT, data=trainer.dataset.name, simulated=trainer.dataset.simulated, tested=tested,
      audit=facts, steps=trainer.total, protocol=dict(trainer.config.evaluate) | facts_of_test, rows=rows, replicas=replicas,
      config=json.loads(trainer.config.to_json()), params_sha256=digest(trainer.state.params),
      seconds=seconds, **provenance(trainer.parallel))
  path = pathlib.Path(workdir) / "results.json"
  save_json(path, results)
  written = [path]
  if assessments.maps and tested:
    written.append(_save_maps(path.with_name("maps.npz"), trainer, assessments))
  if trainer.config.plots:
    from jaxskill.report import plots  # matplotlib takes half a second to import
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
  rows |= simple_baselines.score_rows(trainer, trained) if scored else simple_baselines.pair_rows(trainer, trained)
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
                **metrics.select(history, index, trainer.metric), **pairs,
                against_truth=truth.against_truth(dataset, fold, own.score, own.timelines,
                                                     scored=trainer.metric == "spearman", maps=own.maps, rows=own.rows,
                                                     stream_of=trainer.method.stream_of))
  result["filter_correlation"] = {
      module: truth.filter_correlation(dataset, fold, own.timelines, module, count)
      for module in dict.fromkeys(name.split(" filter ")[0] for name in own.timelines if " filter " in name)
      if (count := sum(name.startswith(f"{module} filter ") for name in own.timelines)) > 1}
  result["collapsed"] = (collapse.of_ranks(own.score, dataset.pairs[fold.train_pairs]) if trainer.metric == "accuracy"
                         else collapse.of_labels(own.score, dataset.labels(criterion)))
  tested = metrics.tested_videos(dataset, fold)
  stream = trainer.method.streams[0]
  length, seconds = dataset.lengths[stream], dataset.row_seconds[stream]
  if "segment" in own.timelines:
    result["against_truth"] |= truth.segments_against_truth(dataset, fold, own.timelines, stream)
    result["segments"] = {dataset.videos[v]: truth.segments(own.timelines, v, length[v], seconds[v]) for v in tested}
  if own.alignment:
    references, known = (x[:, index] for x in trainer.exemplars())
    result["against_truth"] |= truth.alignment_against_truth(dataset, fold, own.alignment, references, known, stream)
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
  tested = np.unique(np.concatenate([metrics.tested_videos(dataset, dataset.folds[r.fold]) for r in trainer.replicas]))
  for name, maps in assessments.maps.items():
    stream, rows = trainer.method.stream_of(name), assessments.rows[name][0]
    content[name] = maps[:, tested]
    content[f"{name}_seconds"] = np.stack([dataset.seconds(stream, v)[rows[v]] for v in tested])
  names = [f"{r.row + ', ' if r.row else ''}fold {dataset.folds[r.fold].name}, seed {r.seed}" for r in trainer.replicas]
  with writing(path) as file:
    np.savez_compressed(file, videos=np.array([dataset.videos[v] for v in tested]), replicas=np.array(names), **content)
  return path
