"""Protocols and metrics. Test data choose nothing: what a number was selected by is part of its name."""

from __future__ import annotations

import numpy as np


def pairwise_accuracy(scores, pairs, ties="half"):
  """Share of pairs whose better video gets the higher score.

  Args:
    scores: `[V]` of all videos.
    pairs: `[P, 2]` (better, worse).
    ties: "half" counts an equal pair as half right, "wrong" as wrong (the published counting of Pros & Cons).

  Returns:
    (accuracy in 0..1, or nan without pairs; number of tied pairs).

  Raises:
    ValueError: if `ties` is neither.
  """
  if ties not in ("half", "wrong"):
    raise ValueError(f"config.evaluate.ties={ties!r} is unknown; use 'half' or 'wrong'.")
  if not len(pairs):
    return float("nan"), 0
  better, worse = np.asarray(scores)[np.asarray(pairs).T]
  tied = int((better == worse).sum())
  right = (better > worse).sum() + (0.5 * tied if ties == "half" else 0)
  return float(right / len(pairs)), tied


def spearman(predicted, true):
  """Rank correlation with average ranks for ties; nan where it is undefined (fewer than two values, or all equal)."""
  if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
    return float("nan")
  from scipy import stats                 # takes 0.4 s to import
  return float(stats.spearmanr(predicted, true).statistic)


def kendall_tau(predicted, true):
  """Kendall's tau-b; nan where it is undefined."""
  if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
    return float("nan")
  from scipy import stats
  return float(stats.kendalltau(predicted, true).statistic)


def fisher_mean(correlations):
  """Mean of correlations by Fisher's z = arctanh(r), as the field averages them over classes; nan entries are left out.

  Nan where a correlation is 1 or -1: it has no finite z, and any number put there would decide the mean alone.
  """
  r = np.asarray(correlations, np.float64)
  r = r[np.isfinite(r)]
  return float(np.tanh(np.arctanh(r).mean())) if r.size and not is_at_limit(r).any() else float("nan")


def is_at_limit(correlations):
  """Where correlations are 1 or -1, up to the rounding of their computation."""
  return np.abs(np.asarray(correlations, np.float64)) > 1 - 1e-9


def squared_error(predicted, true):
  """Mean squared error, in the squared unit of the labels."""
  return float(np.mean((np.asarray(predicted, np.float64) - np.asarray(true, np.float64)) ** 2))


def relative_squared_error(predicted, true, span=None):
  """R-l2: mean squared error over a squared range of labels, not times 100 (Yu et al., ICCV 2021, Eq. 10).

  Args:
    span: the range, e.g. of all labels of a class; that of the labels at hand if None.
  """
  span = np.ptp(np.asarray(true, np.float64)) if span is None else span
  return squared_error(predicted, true) / span ** 2 if span else float("nan")


def pearson(predicted, true):
  """Linear correlation; nan where it is undefined."""
  if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
    return float("nan")
  return float(np.corrcoef(np.asarray(predicted, np.float64), np.asarray(true, np.float64))[0, 1])


def average_precision(weights, relevant):
  """Area under precision and recall when segments are ranked by `weights`, equal ones taken together.

  Args:
    weights: `[T]`, e.g. attention.
    relevant: `[T]` bool.

  Returns:
    1.0 where all relevant segments come first; the share of relevant segments for equal weights; nan if none is.
  """
  relevant = np.asarray(relevant, bool)
  if not relevant.any():
    return float("nan")
  _, group = np.unique(-np.asarray(weights), return_inverse=True)
  hits, sizes = np.bincount(group, weights=relevant), np.bincount(group)
  precision = np.cumsum(hits) / np.cumsum(sizes)
  return float((precision * hits).sum() / relevant.sum())


def is_tested(dataset):
  """Whether some fold has a test side; without one a run trains on everything and only assesses."""
  return any(len(fold.test_videos) or len(fold.test_pairs) for fold in dataset.folds)


def tested_videos(dataset, fold):
  """Videos of the test side and of its pairs, which training may have seen (EPIC-Skills)."""
  return np.union1d(fold.test_videos, dataset.pairs[fold.test_pairs])


def measure(dataset, fold, scores, parts, ties):
  """One replica's scores at one step.

  Args:
    scores: `[V]`; parts: {branch: `[V]`}.

  Returns:
    dict of accuracy on validation and test pairs (nan without pairs), ties, and test accuracy of each branch.
  """
  test, validation = dataset.pairs[fold.test_pairs], dataset.pairs[fold.validation_pairs]
  accuracy, tied = pairwise_accuracy(scores, test, ties)
  return dict(test=accuracy, test_ties=tied, validation=pairwise_accuracy(scores, validation, ties)[0],
              branches={name: pairwise_accuracy(part, test, ties)[0] for name, part in parts.items()})


def measure_scores(fold, labels, scores, rl2_range="class"):
  """One replica's regressed scores at one step.

  Args:
    labels, scores: `[V]` true and predicted, in the same unit.
    rl2_range: what R-l2 divides by: the range of the labels of the "class" (all sides of the fold), or of the "test" side
      (the published code of CoRe).

  Returns:
    dict of Spearman's correlation on validation and test videos (nan where undefined), metrics of the test videos:
    spearman, pearson, mae (mean absolute error, in the unit of the labels), rl2 (R-l2, not times 100), nan without any;
    and scores, the predictions for the test videos, which pooling over folds needs (nan where all videos of the data
    set are predicted equal: what has no order within a fold must not get one from the means of different folds).

  Raises:
    ValueError: if `rl2_range` is neither.
  """
  if rl2_range not in ("class", "test"):
    raise ValueError(f"config.evaluate.rl2_range={rl2_range!r} is unknown; use 'class' or 'test'.")
  labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
  known = scores[np.isfinite(scores)]     # a training video that is alone of its kind has none
  test, validation = fold.test_videos, fold.validation_videos
  span_of = np.concatenate([fold.train_videos, test, validation]) if rl2_range == "class" else test
  metrics = dict.fromkeys(("spearman", "pearson", "mae", "rl2"), float("nan"))
  if len(test):
    metrics = dict(spearman=spearman(scores[test], labels[test]), pearson=pearson(scores[test], labels[test]),
                   mae=float(np.abs(scores[test] - labels[test]).mean()),
                   rl2=relative_squared_error(scores[test], labels[test], np.ptp(labels[span_of])))
  return dict(test=metrics["spearman"], validation=spearman(scores[validation], labels[validation]), metrics=metrics,
              scores=scores[test].tolist() if known.size and np.ptp(known) > 0 else [float("nan")] * len(test))


PLACES = ("place", "distractor")     # truths about maps: where the action is, and what only looks like it
PLACE_RADIUS = 0.2                   # share of the frame's side: two standard deviations of what is shown at a place


def place_mass(maps, places, radius=PLACE_RADIUS):
  """Mean share of heat maps that lies around places.

  Args:
    maps: `[N, h, w]`, each of a positive sum; their places tile the frame.
    places: `[N, 2]` (row, column) as shares of its sides.
    radius: what counts as around, as a share of a side.
  """
  rows, columns = ((np.arange(size) + 0.5) / size for size in maps.shape[1:])
  square = (rows[:, None] - places[:, 0, None, None]) ** 2 + (columns - places[:, 1, None, None]) ** 2
  return float(((maps * (square <= radius ** 2)).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))).mean())


# What attention should find: the truth, and whose attention it is held against, the first of these that there is.
TRUTHS = dict(high=("relevant_high", ("high", "attention", "both")), low=("relevant_low", ("low", "attention", "both")),
              key_moment=("critical", ("rgb",)), posture_error=("posture_error", ("static",)))


def against_truth(dataset, fold, scores, timelines, scored=False, stream_of=None, maps=None, rows=None):
  """How well scores and attention agree with what is known about the test videos.

  Args:
    stream_of: timeline -> the stream whose rows it follows; the first stream if None.
    maps, rows: {name: `[V, N, h, w]`}, {name: `[V, N]`} heat maps and the frames they lie over.

  Returns:
    {"spearman_skill" | "spearman_score" | "kendall_score": test videos against the simulated skill or the labels;
    "ap_" and a name of `TRUTHS`: mean average precision of that attention for the truly relevant rows, beside "chance_",
    what equal weights reach; the name of heat maps and one of `PLACES`, e.g. "attention_place": their share around that place}.
  """
  ids, result = fold.test_videos, {}
  if dataset.score is not None and len(ids) and not scored:      # where scores are learnt, they are measured as such
    result["spearman_score"] = spearman(scores[ids], dataset.score[ids])
    result["kendall_score"] = kendall_tau(scores[ids], dataset.score[ids])
  if "skill" in dataset.truth and len(ids):
    result["spearman_skill"] = spearman(scores[ids], dataset.truth["skill"][ids])
  for side, (truth, modules) in TRUTHS.items():
    relevant = dataset.truth.get(truth)
    name = next((name for module in modules if (name := f"{module} attention") in timelines), None)
    if relevant is None or name is None or relevant.shape != timelines[name].shape:     # the truth is of another stream
      continue
    lengths = dataset.lengths[stream_of(name) if stream_of else next(iter(dataset.lengths))]
    found, chance = [], []
    for video in ids:
      shown = relevant[video, :lengths[video]]
      found.append(average_precision(timelines[name][video, :lengths[video]], shown))
      chance.append(float(shown.mean()) if shown.any() else float("nan"))
    if np.isfinite(found).any():
      result[f"ap_{side}"], result[f"chance_{side}"] = float(np.nanmean(found)), float(np.nanmean(chance))
  for name, shown in (maps or {}).items():
    for truth in PLACES if len(ids) else ():
      if truth in dataset.truth:
        places = np.take_along_axis(dataset.truth[truth][ids], rows[name][ids][..., None], axis=1).reshape(-1, 2)
        own = shown[ids].reshape(-1, *shown.shape[2:])
        result[f"{name}_{truth}"] = place_mass(own, places)
  return result


def alignment_against_truth(dataset, fold, alignment, references, known, stream):
  """How well test videos are aligned with their references, where the progress through the task is known.

  Args:
    alignment: {name: `[V, T]`} the place in each of M references that a row leads to, in rows of the reference.
    references, known: `[V, M]` videos, and which of them there are.
    stream: whose rows are aligned.

  Returns:
    Means over test videos and references: "alignment_error_s", seconds between the aligned place in the reference and
    the one where it was as far in the task, and "kendall_alignment", Kendall's tau of true progress, of the video and of
    the reference at the aligned place (near 1 for whatever goes forward); beside them "linear_error_s" and
    "kendall_linear", what scaling time alone reaches. Empty where the truth is not known.
  """
  progress, result = dataset.truth.get("progress"), {}
  if progress is None or progress.shape != dataset.streams[stream].shape[:2]:
    return {}
  lengths, seconds = dataset.lengths[stream], dataset.row_seconds[stream]
  for video in fold.test_videos:
    own = progress[video, : lengths[video]]
    compared = zip(alignment.values(), references[video], known[video])
    for place, reference in [(places[video], reference) for places, reference, there in compared if there]:
      times = (np.arange(lengths[reference]) + 0.5) * seconds[reference]
      reached = progress[reference, : lengths[reference]]
      true = np.interp(own, reached, times)
      for name, found in dict(alignment=place[: len(own)] * seconds[reference],
                              linear=(np.arange(len(own)) + 0.5) / len(own) * len(times) * seconds[reference]).items():
        result.setdefault(f"{name}_error_s", []).append(np.abs(found - true).mean())
        tau = kendall_tau(np.interp(found, times, reached), own)
        result.setdefault(f"kendall_{name}", []).append(tau)
  return {name: float(np.nanmean(values)) for name, values in result.items() if np.isfinite(values).any()}


def segments(timelines, video, length, row_seconds):
  """The segments of one video: [{"start", "end" in seconds, "score", "importance"}].

  Args:
    timelines: {"segment", "segment score", "segment importance": `[V, T]`}, equal within a segment.
  """
  number = timelines["segment"][video, :length]
  first = np.flatnonzero(np.diff(number, prepend=-1))
  return [dict(start=float(start * row_seconds), end=float(end * row_seconds),
               score=float(timelines["segment score"][video, start]),
               importance=float(timelines["segment importance"][video, start]))
          for start, end in zip(first, [*first[1:], length])]


def segments_against_truth(dataset, fold, timelines, stream):
  """Whether the segments of a test video that score lowest are the faulty ones, which show a mistake.

  Returns:
    {"ap_faulty": mean average precision, "chance_faulty": what equal scores reach}; empty where the truth is not known.
  """
  faulty, found = dataset.truth.get("relevant_low"), []
  if faulty is None or faulty.shape != timelines["segment"].shape:
    return {}
  for video in fold.test_videos:
    number = timelines["segment"][video, : dataset.lengths[stream][video]]
    first = np.flatnonzero(np.diff(number, prepend=-1))
    shown = np.logical_or.reduceat(faulty[video, : len(number)], first)
    if shown.any():
      found.append((average_precision(-timelines["segment score"][video, first], shown), shown.mean()))
  return dict(zip(("ap_faulty", "chance_faulty"), map(float, np.mean(found, axis=0)))) if found else {}


def filter_correlation(dataset, fold, timelines, module, count):
  """Mean correlation of the attention of each two filters over the test videos (Fig. 7), `[K, K]` nested lists."""
  matrices = []
  for video in fold.test_videos:
    real = next(iter(dataset.lengths.values()))[video]
    curves = np.stack([timelines[f"{module} filter {k + 1}"][video, :real] for k in range(count)])
    if real > 1 and (np.ptp(curves, axis=1) > 0).all():
      matrices.append(np.corrcoef(curves))
  return np.mean(matrices, axis=0).tolist() if matrices else None


def select(history, replica, metric="accuracy"):
  """The three numbers of one replica out of its evaluations during training.

  Args:
    history: [{"step", "replicas": [measure(...) or measure_scores(...), ...]}] in order of steps.
    metric: what their "test" and "validation" are called.

  Returns:
    {"last", "validation_selected" (None without a validation side), "best_on_test": {"step", metric, further metrics of
    that step}}; the last of these is what many papers print, and is chosen on the test side.
  """
  rows = [(entry["step"], entry["replicas"][replica]) for entry in history]
  step, last = rows[-1]
  known = lambda value: value if np.isfinite(value) else -np.inf
  first_best = lambda name: max(rows, key=lambda row: (known(row[1][name]), -row[0]))
  numbers = lambda step, row: dict(step=step) | row.get("metrics", {}) | {metric: row["test"]}
  result = dict(last=numbers(step, last), validation_selected=None)
  if np.isfinite(last["validation"]):
    step, chosen = first_best("validation")
    result["validation_selected"] = numbers(step, chosen) | dict(validation=chosen["validation"])
  return result | dict(best_on_test=numbers(*first_best("test")))


def summarise(values, folds, seeds, mean=np.mean):
  """Mean and spread of one number over folds and seeds.

  Args:
    values: one per replica; folds, seeds: which fold and seed each belongs to.
    mean: of values; `fisher_mean` for correlations.

  Returns:
    dict of mean; std_seeds, the standard deviation over seeds of the mean over folds; std_folds, that over folds of the
    mean over seeds (None for a single seed or fold: one number has no spread); count. Where a value is nan, mean and
    spreads are None, and undefined says of which folds. None where a value is None: it was not asked for.
  """
  if any(v is None for v in values):
    return None
  values, folds, seeds = np.asarray(values, float), np.asarray(folds), np.asarray(seeds)
  if not np.isfinite(values).all():
    lost = list(dict.fromkeys(folds[~np.isfinite(values)].tolist()))
    return dict(mean=None, std_seeds=None, std_folds=None, count=len(values), undefined=lost)

  def spread(groups):
    means = [mean(values[groups == group]) for group in np.unique(groups)]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None
  return dict(mean=float(mean(values)), std_seeds=spread(seeds), std_folds=spread(folds), count=len(values))
