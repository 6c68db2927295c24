"""What a run leaves: the printed table, results.json with every number of it, and plots."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath

from jaxskill.data.dataset import Fold
from jaxskill.evaluate import breakdown, collapse, metrics, protocol, raters, simple_baselines, truth
from jaxskill.files import save_json, writing
from jaxskill.methods import Assessment
from jaxskill.report import certainty, intervals
from jaxskill.report.tables import NOT_TESTED, table
from jaxskill.training import finished_files
from jaxskill.training.experiment import Experiment


def write(workdir: epath.PathLike, experiment: Experiment, assessments: Assessment,
          history: list[dict[str, Any]], facts: dict[str, Any], about: dict[str, Any], say: Callable[[str], None],
          draws: Sequence[np.ndarray] = ()) -> dict[str, Any]:
  """Evaluates the trained state, writes results.json and plots below `workdir`, prints the table.

  Args:
    experiment: what was trained, see `training.experiment`.
    assessments: `[R, V, ...]`, everything that the trained replicas say.
    history: evaluations of the training, in turn; facts: of `data.audit`.
    about: what else results.json says of the run: steps, digest of the parameters, seconds,
      `cost.of_call`, `files.provenance`.
    draws: `[R, V]` scores for each of several draws of exemplars.

  Returns:
    The contents of results.json.
  """
  dataset, note = experiment.dataset, experiment.method.note
  tested = metrics.is_tested(dataset)
  replicas = [_replica(experiment, assessments, history, i) for i in range(len(experiment.replicas))]
  if tested and experiment.method.items.compares:
    _add_draws(experiment, replicas, draws)
  rows, facts_of_test, moved = _rows(experiment, assessments.score, history, replicas) if tested else ({}, {}, {})
  sure = certainty.of_rows(experiment, np.asarray(assessments.score))
  results = dict(
      format=finished_files.RESULTS_FORMAT, data=dataset.name, simulated=dataset.simulated, tested=tested, audit=facts,
      protocol=experiment.config.evaluate.to_dict() | facts_of_test, rows=rows, intervals=moved, certainty=sure,
      replicas=replicas, config=json.loads(experiment.config.to_json()), **about)
  path = epath.Path(workdir) / "results.json"
  save_json(path, results)
  written = [path]
  if assessments.maps and tested:
    written.append(_save_maps(path.with_name("maps.npz"), experiment, assessments))
  if experiment.config.plots:
    from jaxskill.report import plots  # matplotlib takes half a second to import
    written += plots.draw(workdir, experiment, history, assessments, say)
  say("\n" + (f"{note}: these numbers are for trials\n" if note else "")
      + (table(rows, dataset.simulated, facts_of_test) if tested else NOT_TESTED) + collapse.note(replicas) + "\n"
      + "\n".join(certainty.describe(sure, experiment.method.items.ranks)))
  others = [path.parent / name for name in ("metrics.jsonl", "evaluations.jsonl", "tensorboard", "profile",
                                            "checkpoints", "training_videos.npz")]
  written += [other for other in others if other.exists()]
  say("wrote " + "\n      ".join(map(str, written)))
  return results


def _rows(experiment: Experiment, scores: np.ndarray, history: Sequence[dict[str, Any]],
          replicas: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
  """Models, raters, simple baselines: ({row: of `protocol.summarize`}, `protocol.facts`, `intervals.of_rows`).

  Args:
    scores: `[R, V]` of the trained replicas.
  """
  sides, trained = protocol.sides(experiment, history, replicas), experiment.trained_videos()
  for replica, side in zip(replicas, sides):
    replica["test_side"] = _side(experiment, side)
  rows = {}
  for name in dict.fromkeys(r["row"] for r in replicas):
    of_row = [(r, s) for r, s in zip(replicas, sides) if r["row"] == name]
    rows[name or experiment.config.name] = summarize(experiment.metric, *zip(*of_row))
  scored = not experiment.method.items.ranks
  rated = not scored or any(r.criterion == "score" for r in experiment.replicas)      # and not by another criterion
  agreement = raters.agreement(experiment.dataset.ratings, scored) if rated else {}
  rows |= raters.ceiling(agreement, scored)
  baselines = simple_baselines.score_rows if scored else simple_baselines.pair_rows
  rows |= baselines(experiment, trained)
  shown = protocol.show(rows)
  names = [r["row"] or experiment.config.name for r in replicas]
  moved = intervals.of_rows(experiment, np.asarray(scores), sides, names, shown if scored else None)
  facts = protocol.facts(experiment, trained, sides)
  return rows, facts | (dict(raters=agreement) if agreement else {}), moved


def _side(experiment: Experiment, side: protocol.Side) -> dict[str, Any]:
  """A `protocol.Side` without its fold and seed as JSON holds it, for `jaxskill.collect`: videos by their names."""
  return dict(task=side.task, videos=[experiment.dataset.videos[v] for v in side.videos], pairs=side.pairs,
              labels=None if side.labels is None else side.labels.tolist(),
              said={name: list(values) for name, values in side.said.items() if values is not None})


def summarize(metric: str, replicas: Sequence[dict[str, Any]], sides: Sequence[protocol.Side]) -> dict[str, Any]:
  """Returns one row of models: `protocol.summarize`, and what exemplars have to do with it."""
  result = protocol.summarize(replicas, metric, sides)
  if all("draws" in r for r in replicas) and replicas[0]["draws"]["std"][metric] is not None:
    result |= dict(std_draws=float(np.mean([r["draws"]["std"][metric] for r in replicas])))
  if "test_videos_with_fewer_exemplars" in replicas[0]:
    result |= dict(test_videos_with_fewer_exemplars=max(r["test_videos_with_fewer_exemplars"] for r in replicas),
                   encodings=replicas[0]["encodings"])
  return result


def _replica(experiment: Experiment, assessments: Assessment, history: Sequence[dict[str, Any]],
             index: int) -> dict[str, Any]:
  row, fold_index, seed, _, criterion = experiment.replicas[index]
  dataset, fold, method = experiment.dataset, experiment.dataset.folds[fold_index], experiment.method
  said = jax.tree.map(lambda x: x[index], assessments)
  last, ranks = history[-1]["replicas"][index], method.items.ranks
  pairs = dict(test_ties=last["test_ties"], branches=last["branches"]) if ranks else {}
  result = dict(row=row, fold=fold.name, seed=seed, criterion=criterion,
                **metrics.select(history, index, experiment.metric), **pairs,
                against_truth=_against_truth(experiment, fold, said))
  result["filter_correlation"] = _filter_correlation(experiment, said.attention)
  result["collapsed"] = (collapse.of_ranks(said.score, dataset.pairs[fold.train_pairs]) if ranks
                         else collapse.of_labels(said.score, dataset.labels(criterion)))
  result |= breakdown.of_fold(dataset, fold, np.asarray(said.score), None if ranks else criterion)
  tested = metrics.tested_videos(dataset, fold)
  stream = method.streams[0]
  length, seconds = dataset.lengths[stream], dataset.row_seconds[stream]
  if said.segments:
    of_video = lambda v: {name: values[v] for name, values in said.segments.items()}
    result["segments"] = {dataset.videos[v]: truth.segments(of_video(v), length[v], seconds[v]) for v in tested}
  if said.alignment is not None:
    references, known = (x[:, index] for x in experiment.exemplars())
    result["against_truth"] |= truth.alignment_against_truth(dataset, fold, said.alignment, references, known, stream)
    result["alignment"] = {dataset.videos[v]: {          # seconds into each reference, row by row
        dataset.videos[r]: (np.float64(places[: length[v]]) * seconds[r]).round(3).tolist()
        for places, r, there in zip(said.alignment[v], references[v], known[v]) if there} for v in tested}
  result["scores"] = {dataset.videos[v]: float(said.score[v]) for v in tested}
  for name, values in {} if ranks else said.parts.items():
    result[name] = {dataset.videos[v]: float(values[v]) for v in tested}
  if said.distribution:
    result["distribution"] = {dataset.videos[v]: {
        title: one.probabilities[v].tolist() for title, one in said.distribution.items()} for v in tested}
  return result


def _against_truth(experiment: Experiment, fold: Fold, said: Assessment) -> dict[str, float]:
  """What one replica says `[V, ...]` against the truth of a simulation, as far as it is known."""
  dataset, method = experiment.dataset, experiment.method
  curves = {name: weights.mean(axis=1) for name, weights in said.attention.items()}
  finds = {name: meaning.finds for name, meaning in method.meanings.items()}
  found = truth.against_truth(dataset, fold, said.score, curves, finds, scored=not method.items.ranks, maps=said.maps,
                              rows=said.rows, stream_of=method.stream_of)
  if said.segments:
    found |= truth.segments_against_truth(dataset, fold, said.segments, method.streams[0])
  return found


def _filter_correlation(experiment: Experiment, attention: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """{attention: {another over the rows of the same stream: see `truth.filter_correlation`}}."""
  of_stream, found = experiment.method.stream_of, {}
  for name, other in itertools.combinations(attention, 2):
    if of_stream(name) == of_stream(other):
      found.setdefault(name, {})[other] = truth.filter_correlation(
          experiment.dataset, attention[name], attention[other], of_stream(name))
  return found


def _add_draws(experiment: Experiment, replicas: Sequence[dict[str, Any]], scores: Sequence[np.ndarray]) -> None:
  """How much the choice of exemplars matters: the test metrics of several draws, and how many videos had too few.

  Also how often an evaluation encodes a video: each once here, both sides of every comparison as published.

  Args:
    scores: `[R, V]` of every draw.
  """
  draws, wanted = len(scores), experiment.config.model.exemplars.count
  for index, (replica, result) in enumerate(zip(experiment.replicas, replicas)):
    test = experiment.dataset.folds[replica.fold].test_videos
    evaluated = [experiment.measured(index, score[index], {}) for score in scores]
    measured = [one.get("metrics", {}) | {experiment.metric: one["test"]} for one in evaluated]
    spread = lambda name: float(np.std([m[name] for m in measured], ddof=1)) if draws > 1 else None
    result["draws"] = dict(metrics=measured, std={name: spread(name) for name in measured[0]})
    votes = experiment.exemplars(0)[1][test, index].sum(axis=-1)
    result["test_videos_with_fewer_exemplars"] = int((votes < wanted).sum())
    result["encodings"] = dict(ours=experiment.dataset.num_videos, both_sides_of_comparisons=2 * int(votes.sum()))


def _save_maps(path: epath.Path, experiment: Experiment, assessments: Assessment) -> epath.Path:
  """Writes the heat maps of every replica on the videos that some replica is tested on; returns the path.

  In the file: `videos` [n], `replicas` [R] and, for each kind of maps, `<name>` [R, n, N, h, w] with its
  `<name>_seconds` [n, N], when each was seen.
  """
  dataset, content = experiment.dataset, {}
  folds = [dataset.folds[replica.fold] for replica in experiment.replicas]
  tested = np.unique(np.concatenate([metrics.tested_videos(dataset, fold) for fold in folds]))
  for name, maps in assessments.maps.items():
    stream, rows = experiment.method.stream_of(name), assessments.rows[name][0]
    content[name] = maps[:, tested]
    content[f"{name}_seconds"] = np.stack([dataset.seconds(stream, v)[rows[v]] for v in tested])
  models = [f"{r.row + ', ' if r.row else ''}fold {dataset.folds[r.fold].name}, seed {r.seed}"
            for r in experiment.replicas]
  with writing(path) as file:
    videos = np.array([dataset.videos[v] for v in tested])
    np.savez_compressed(file, videos=videos, replicas=np.array(models), **content)  # type: ignore[arg-type]
  return path
