"""What needs no network: predictions that every table of scores should show beside the models.

V videos, n training videos, D channels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill.data import Fold, SkillDataset, statistics
from jaxskill.evaluate import protocol, truth

RIDGE_PENALTIES = 10.0 ** np.arange(-2, 7)
SVR_COSTS = 10.0 ** np.arange(-4, 1)      # libsvm takes minutes above
RANKING_COSTS = 10.0 ** np.arange(-3, 4)


PREFIX = "baseline: "                        # of their rows in results.json


def named(name: str, criterion: str = "") -> str:
  """Returns the name of a row of results: of a prediction, and of the score where several are learnt."""
  return f"{PREFIX}{name}" + (f", {criterion}" if criterion else "")


def predict(dataset: SkillDataset, fold: Fold, labels: np.ndarray, targets: np.ndarray, streams: str | Sequence[str],
            svr: bool = False) -> dict[str, np.ndarray]:
  """Returns predictions for all videos, fitted on the training videos of a fold.

  Args:
    labels: `[V]` scores.
    targets: `[V]` what the models learn instead, the labels themselves or by difficulty; so does the ridge regression.
    streams: name or names of the features that a regression reads, side by side.
    svr: whether to fit linear support vector regressions too, which needs scikit-learn.

  Returns:
    {"mean score", "difficulty only", "duration only", "ridge on mean features", "ridge on statistics of motion",
    "linear SVR on mean features", "linear SVR on max features": `[V]`}, as far as these are known; a line through
    difficulty or duration, by least squares. Of several streams the regressions read all, side by side; a support
    vector regression also reads each alone ("linear SVR on mean features of rgb").
  """
  train, labels, targets = fold.train_videos, np.asarray(labels, np.float64), np.asarray(targets, np.float64)
  result = {"mean score": np.full(len(labels), labels[train].mean())}
  streams = (streams,) if isinstance(streams, str) else tuple(streams)
  stream = streams[0]
  duration = dataset.lengths[stream] * dataset.row_seconds[stream]
  for name, values in (("difficulty only", dataset.difficulty), ("duration only", duration)):
    if values is not None and np.ptp(values[train]) > 0:
      slope, offset = np.polyfit(values[train].astype(np.float64), labels[train], 1)
      result[name] = offset + slope * values
  streams = tuple(name for name in streams if dataset.streams[name].dtype != np.uint8)      # frames are no features
  if not streams:
    return result
  unit = 1.0 if np.array_equal(targets, labels) else dataset.difficulty

  def side_by_side(pool: Callable[..., Any], names: Sequence[str] = streams) -> np.ndarray:
    return np.concatenate([pool(dataset, name) for name in names], axis=1)
  features = side_by_side(mean_features)
  result["ridge on mean features"] = ridge(features[train], targets[train], features) * unit
  if statistics.STREAM in dataset.streams and streams != (statistics.STREAM,):             # whose mean is that one row
    motion = mean_features(dataset, statistics.STREAM)
    result["ridge on statistics of motion"] = ridge(motion[train], targets[train], motion) * unit
  for name, pool in (("mean", mean_features), ("max", max_features)) if svr else ():
    alone = [(f" of {stream}", (stream,)) for stream in streams] if len(streams) > 1 else []
    for of, names in [("", streams), *alone]:
      features = side_by_side(pool, names)
      result[f"linear SVR on {name} features{of}"] = linear_svr(features[train], targets[train], features) * unit
  return result


def score_rows(experiment: Any, trained: Mapping[int, np.ndarray]) -> dict[str, Any]:
  """Returns rows of the table, one number a fold: {name: of `protocol.summarize`}.

  They are fitted on the videos that training reads.

  Args:
    trained: {fold: numbers of these videos}.
  """
  dataset, found, of_fold = experiment.dataset, {}, protocol.tasks(experiment.dataset.folds)
  several = len({r.criterion for r in experiment.replicas}) > 1
  for criterion, number in dict.fromkeys((r.criterion, r.fold) for r in experiment.replicas):
    index = next(i for i, r in enumerate(experiment.replicas) if (r.criterion, r.fold) == (criterion, number))
    fold = dataset.folds[number]
    predicted = predict(dataset, fold._replace(train_videos=trained[number]), dataset.labels(criterion),
                        experiment.method.targets(dataset, criterion), experiment.method.streams,
                        experiment.config.evaluate.get("svr", False))
    for name, scores in predicted.items():
      measured = experiment.measured(index, scores, {})
      side = protocol.side_of(dataset, fold, 0, of_fold[number], criterion=criterion,
                              said=dict(last=measured["scores"]))
      entry = dict(criterion=criterion, last=measured["metrics"], validation_selected=None, best_on_test=None,
                   against_truth={})
      found.setdefault(named(name, criterion if several else ""), []).append((entry, side))
  return {row: _row(dataset, "spearman", entries) for row, entries in found.items()
          if len(entries) == len(trained)}       # one that some fold knows nothing of is no row


def _row(dataset: SkillDataset, metric: str, entries: Sequence[tuple[dict[str, Any], protocol.Side]]) -> dict[str, Any]:
  """The row of a baseline: its summary and what it says fold by fold, of (entry, `protocol.Side`) each."""
  return protocol.summarize([e for e, _ in entries], metric, [s for _, s in entries]) | _by_fold(dataset, entries)


def _by_fold(dataset: SkillDataset, entries: Sequence[tuple[dict[str, Any], protocol.Side]]) -> dict[str, Any]:
  """{"by_fold": {fold: entry | {"scores": {test video: predicted}}}} of (entry, `protocol.Side`) each."""
  return dict(by_fold={side.fold: entry | dict(
      scores={dataset.videos[v]: said if np.isfinite(said) else None
              for v, said in zip(side.videos, side.said["last"])} if side.said else {}) for entry, side in entries})


def pair_rows(experiment: Any, trained: Mapping[int, np.ndarray]) -> dict[str, Any]:
  """Returns rows of the table where pairs are learnt, see `score_rows`.

  They are by duration alone and, if the config asks for it, by a linear ranking.
  """
  dataset, found, of_fold = experiment.dataset, {}, protocol.tasks(experiment.dataset.folds)
  stream, better_is = experiment.method.streams[0], {}
  for number in trained:
    fold = dataset.folds[number]._replace(train_videos=trained[number])
    index = next(i for i, r in enumerate(experiment.replicas) if r.fold == number)
    predicted = {}
    duration = dataset.lengths[stream] * dataset.row_seconds[stream]
    if np.ptp(duration[fold.train_videos]) > 0:
      share = longer_is_better(duration, dataset.pairs[fold.train_pairs])
      predicted["duration only"] = duration if share > 0.5 else -duration
      better_is[fold.name] = dict(video="longer" if share > 0.5 else "shorter", training_pairs=max(share, 1 - share))
    if experiment.config.evaluate.get("rank_svm", False):
      predicted["RankSVM on mean features"] = rank(dataset, fold, experiment.method.streams)
    for name, scores in predicted.items():
      measured = experiment.measured(index, scores, {})
      entry = dict(criterion=experiment.replicas[index].criterion, last=dict(accuracy=measured["test"]),
                   validation_selected=None, best_on_test=None, branches={}, test_ties=measured["test_ties"],
                   against_truth=truth.against_truth(dataset, fold, scores, {}, {}))
      found.setdefault(named(name), []).append((entry, protocol.side_of(dataset, fold, 0, of_fold[number])))
  found = {row: entries for row, entries in found.items() if len(entries) == len(trained)}
  rows = {row: _row(dataset, "accuracy", entries) for row, entries in found.items()}
  if named("duration only") in rows:
    rows[named("duration only")]["better_is"] = better_is
  return rows


def longer_is_better(duration: np.ndarray, pairs: np.ndarray) -> float:
  """Returns the share of `[P, 2]` pairs (better, worse) whose longer video is the better one; equal ones count half."""
  ahead = np.sign(duration[pairs[:, 0]] - duration[pairs[:, 1]])
  return float(0.5 + 0.5 * ahead.mean())


def describe(rows: Mapping[str, Any]) -> list[str]:
  """Returns which duration was taken for better, and how far training pairs bear it out, as lines below a table."""
  lines = []
  for name, row in rows.items():
    if found := list(row.get("better_is", {}).values()):
      which = " or ".join(sorted({one["video"] for one in found}))
      low, high = (f"{100 * bound(one['training_pairs'] for one in found):.1f}" for bound in (min, max))
      lines.append(f"{name}: the {which} video is taken for the better one, which it is in "
                   f"{low if low == high else f'{low} to {high}'} % of the training pairs")
  return lines


def rank(dataset: SkillDataset, fold: Fold, streams: Sequence[str]) -> np.ndarray:
  """Returns `[V]` scores by a linear ranking of mean features, learnt from the training pairs of a fold."""
  features = np.concatenate([mean_features(dataset, name) for name in streams], axis=1)
  train = features[fold.train_videos]
  scale = train.std(axis=0)
  features = (features - train.mean(axis=0)) / np.where(scale > 1e-9, scale, 1.0)
  return features @ rank_svm(features, dataset.pairs[fold.train_pairs])


def rank_svm(features: np.ndarray, pairs: np.ndarray) -> np.ndarray:
  """Returns the direction in which the better video of a pair lies ahead: a linear ranking with squared hinge losses.

  Args:
    features: `[V, D]`, standardized.
    pairs: `[P, 2]` (better, worse). The cost is chosen by five-fold cross-validation over their videos: a fold learns
      from the pairs without its videos, and is tested on the others.

  Returns:
    `[D]`.

  Reference: Joachims, Optimizing Search Engines using Clickthrough Data, KDD 2002, with the loss of Chapelle and
    Keerthi, Efficient Algorithms for Ranking with SVMs, Information Retrieval 2010.
  """
  from scipy import optimize

  def fit(pairs: np.ndarray, cost: float) -> np.ndarray:
    ahead = features[pairs[:, 0]] - features[pairs[:, 1]]                                 # [P, D]

    def objective(direction: np.ndarray) -> tuple[float, np.ndarray]:
      short = np.maximum(1 - ahead @ direction, 0)
      gradient = direction - cost / len(pairs) * 2 * (short @ ahead)
      return 0.5 * direction @ direction + cost / len(pairs) * (short @ short), gradient
    return optimize.minimize(objective, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x

  videos = np.unique(pairs)
  dealt = np.random.default_rng(0).permutation(len(videos)) % min(5, len(videos))
  correct = np.zeros(len(RANKING_COSTS))
  for part in range(dealt.max() + 1):
    held = np.isin(pairs, videos[dealt == part]).any(axis=1)
    if held.all():
      continue
    for i, cost in enumerate(RANKING_COSTS):
      direction = fit(pairs[~held], cost)
      correct[i] += (features[pairs[held, 0]] @ direction > features[pairs[held, 1]] @ direction).sum()
  return fit(pairs, RANKING_COSTS[int(np.argmax(correct))])


def mean_features(dataset: SkillDataset, stream: str) -> np.ndarray:
  """Returns `[V, D]` means over the real rows of each video, of maps also over their places."""
  rows, lengths = dataset.streams[stream], dataset.lengths[stream]
  pooled = (row[:length].mean(axis=0, dtype=np.float64) for row, length in zip(rows, lengths))
  return np.stack([x.reshape(-1, x.shape[-1]).mean(axis=0) for x in pooled])


def max_features(dataset: SkillDataset, stream: str) -> np.ndarray:
  """Returns `[V, D]` maxima over the real rows of each video."""
  rows, lengths = dataset.streams[stream], dataset.lengths[stream]
  return np.stack([row[:length].max(axis=0).astype(np.float64).ravel() for row, length in zip(rows, lengths)])


def ridge(features: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
  """Predicts by ridge regression on standardized features, the penalty chosen by leave-one-out error in training.

  Args:
    features: `[n, D]`; labels: `[n]`; asked: `[V, D]`.

  Returns:
    `[V]` predictions.
  """
  mean, scale = features.mean(axis=0), features.std(axis=0)
  scale = np.where(scale > 1e-9, scale, 1.0)
  u, s, vt = np.linalg.svd((features - mean) / scale, full_matrices=False)
  centered, least, best = labels - labels.mean(), np.inf, np.zeros(features.shape[1])
  for penalty in RIDGE_PENALTIES:
    shrink = s ** 2 / (s ** 2 + penalty)
    leverage = (u ** 2 @ shrink) + 1 / len(labels)
    error = np.mean(((centered - u @ (shrink * (u.T @ centered))) / np.maximum(1 - leverage, 1e-9)) ** 2)
    if error < least:
      least, best = error, vt.T @ (s / (s ** 2 + penalty) * (u.T @ centered))
  return (asked - mean) / scale @ best + labels.mean()


def check_svr() -> None:
  """Raises a `ValueError` where scikit-learn is not installed."""
  if importlib.util.find_spec("sklearn") is None:
    raise ValueError("config.evaluate.svr needs scikit-learn: pip install 'jaxskill[baselines]', or set "
                     "config.evaluate.svr=False.")


def linear_svr(features: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
  """Predicts by linear support vector regression on standardized features and labels, the cost cross-validated.

  Args:
    features: `[n, D]`; labels: `[n]`; asked: `[V, D]`.

  Returns:
    `[V]` predictions.
  """
  from sklearn import model_selection, svm
  mean, scale, spread = features.mean(axis=0), features.std(axis=0), labels.std() or 1.0

  def standard(x: np.ndarray) -> np.ndarray:
    return (x - mean) / np.where(scale > 1e-9, scale, 1.0)
  search = model_selection.GridSearchCV(svm.SVR(kernel="linear"), {"C": SVR_COSTS}, cv=min(5, len(labels)),
                                        scoring="neg_mean_squared_error")
  search.fit(standard(features), (labels - labels.mean()) / spread)
  return search.predict(standard(asked)) * spread + labels.mean()
