"""Protocols and metrics. Test data choose nothing: what a number was selected by is part of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill.data import Fold, SkillDataset

Numbers = np.ndarray | Sequence[float]


def pairwise_accuracy(scores: Numbers, pairs: Numbers, ties: str = "half") -> tuple[float, int]:
  """Returns the share of pairs whose better video gets the higher score.

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


def spearman(predicted: Numbers, true: Numbers) -> float:
  """Returns the rank correlation with average ranks for ties; nan where it is undefined.

  That is of fewer than two values, or where all are equal.
  """
  if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
    return float("nan")
  from scipy import stats  # takes 0.4 s to import
  return float(stats.spearmanr(predicted, true).statistic)


def kendall_tau(predicted: Numbers, true: Numbers) -> float:
  """Returns Kendall's tau-b; nan where it is undefined."""
  if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
    return float("nan")
  from scipy import stats
  return float(stats.kendalltau(predicted, true).statistic)


def fisher_mean(correlations: np.ndarray | Sequence[float | None]) -> float:
  """Returns the mean of correlations by Fisher's z = arctanh(r), as the field averages them over classes.

  Entries that are nan are left out. Nan where a correlation is 1 or -1: it has no finite z, and any number put there
  would decide the mean alone.
  """
  r = np.asarray(correlations, np.float64)
  r = r[np.isfinite(r)]
  return float(np.tanh(np.arctanh(r).mean())) if r.size and not is_at_limit(r).any() else float("nan")


def is_at_limit(correlations: np.ndarray | Sequence[float | None]) -> np.ndarray:
  """Returns where correlations are 1 or -1, up to the rounding of their computation."""
  return np.abs(np.asarray(correlations, np.float64)) > 1 - 1e-9


def squared_error(predicted: Numbers, true: Numbers) -> float:
  """Returns the mean squared error, in the squared unit of the labels."""
  return float(np.mean((np.asarray(predicted, np.float64) - np.asarray(true, np.float64)) ** 2))


def relative_squared_error(predicted: Numbers, true: Numbers, span: float | None = None) -> float:
  """Returns R-l2: mean squared error over a squared range of labels, not times 100 (Yu et al., ICCV 2021, Eq. 11).

  Args:
    span: the range, e.g. of all labels of a class; that of the labels at hand if None.
  """
  span = np.ptp(np.asarray(true, np.float64)) if span is None else span
  return squared_error(predicted, true) / span ** 2 if span else float("nan")


def pearson(predicted: Numbers, true: Numbers) -> float:
  """Returns the linear correlation; nan where it is undefined."""
  if len(predicted) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
    return float("nan")
  return float(np.corrcoef(np.asarray(predicted, np.float64), np.asarray(true, np.float64))[0, 1])


def average_precision(weights: Numbers, relevant: Numbers) -> float:
  """Returns the area under precision and recall when segments are ranked by `weights`, equal ones taken together.

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


def is_tested(dataset: SkillDataset) -> bool:
  """Returns whether some fold has a test side; without one a run trains on everything and only assesses."""
  return any(len(fold.test_videos) or len(fold.test_pairs) for fold in dataset.folds)


def tested_videos(dataset: SkillDataset, fold: Fold) -> np.ndarray:
  """Returns videos of the test side and of its pairs, which training may have seen (EPIC-Skills)."""
  return np.union1d(fold.test_videos, dataset.pairs[fold.test_pairs])


def measure(dataset: SkillDataset, fold: Fold, scores: np.ndarray, parts: Mapping[str, np.ndarray],
            ties: str) -> dict[str, Any]:
  """Measures one replica's scores at one step.

  Args:
    scores: `[V]`; parts: {branch: `[V]`}.

  Returns:
    dict of accuracy on validation and test pairs (nan without pairs), ties, and test accuracy of each branch.

  Raises:
    ValueError: if `ties` is unknown.
  """
  test, validation = dataset.pairs[fold.test_pairs], dataset.pairs[fold.validation_pairs]
  accuracy, tied = pairwise_accuracy(scores, test, ties)
  return dict(test=accuracy, test_ties=tied, validation=pairwise_accuracy(scores, validation, ties)[0],
              branches={name: pairwise_accuracy(part, test, ties)[0] for name, part in parts.items()})


def measure_scores(fold: Fold, labels: np.ndarray, scores: np.ndarray, rl2_range: str = "class") -> dict[str, Any]:
  """Measures one replica's regressed scores at one step.

  Args:
    labels, scores: `[V]` true and predicted, in the same unit.
    rl2_range: what R-l2 divides by: the range of the labels of the "class" (all sides of the fold), or of the "test"
      side (the published code of CoRe).

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


def select(history: Sequence[Mapping[str, Any]], replica: int, metric: str = "accuracy") -> dict[str, Any]:
  """Returns the three numbers of one replica out of its evaluations during training.

  Args:
    history: [{"step", "replicas": [measure(...) or measure_scores(...), ...]}] in order of steps.
    metric: what their "test" and "validation" are called.

  Returns:
    {"last", "validation_selected" (None without a validation side), "best_on_test": {"step", metric, further metrics of
    that step}}; the last of these is what many papers print, and is chosen on the test side.
  """
  rows = [(entry["step"], entry["replicas"][replica]) for entry in history]
  step, last = rows[-1]

  def known(value: float) -> float:
    return value if np.isfinite(value) else -np.inf

  def first_best(name: str) -> tuple[int, dict[str, Any]]:
    return max(rows, key=lambda row: (known(row[1][name]), -row[0]))

  def numbers(step: int, row: Mapping[str, Any]) -> dict[str, float]:
    return dict(step=step) | row.get("metrics", {}) | {metric: row["test"]}
  result = dict(last=numbers(step, last), validation_selected=None)
  if np.isfinite(last["validation"]):
    step, chosen = first_best("validation")
    result["validation_selected"] = numbers(step, chosen) | dict(validation=chosen["validation"])
  return result | dict(best_on_test=numbers(*first_best("test")))


def summarize(values: Sequence[float | None] | np.ndarray, folds: Sequence | np.ndarray, seeds: Sequence | np.ndarray,
              mean: Callable[[np.ndarray], Any] = np.mean) -> dict[str, Any] | None:
  """Returns the mean and the spread of one number over folds and seeds.

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

  def spread(groups: np.ndarray) -> float | None:
    means = [mean(values[groups == group]) for group in np.unique(groups)]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None
  return dict(mean=float(mean(values)), std_seeds=spread(seeds), std_folds=spread(folds), count=len(values))
