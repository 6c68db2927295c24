"""What needs no network: predictions that every table of scores should show beside the models.

V videos, n training videos, D channels.
"""

from __future__ import annotations

import importlib.util

import numpy as np

RIDGE_PENALTIES = 10.0 ** np.arange(-2, 7)
SVR_COSTS = 10.0 ** np.arange(-4, 1)      # libsvm takes minutes above


def predict(dataset, fold, labels, targets, streams, svr=False):
  """Predictions for all videos, fitted on the training videos of a fold.

  Args:
    labels: `[V]` scores.
    targets: `[V]` what the models learn instead, the labels themselves or by difficulty; so does the ridge regression.
    streams: name or names of the features that a regression reads, side by side.
    svr: whether to fit linear support vector regressions too, which needs scikit-learn.

  Returns:
    {"mean score", "difficulty only", "duration only", "ridge on mean features", "linear SVR on mean features", "linear SVR
    on max features": `[V]`}, as far as these are known; a line through difficulty or duration, by least squares.
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
  unit = 1.0 if np.array_equal(targets, labels) else dataset.difficulty
  side_by_side = lambda pool: np.concatenate([pool(dataset, name) for name in streams], axis=1)
  features = side_by_side(mean_features)
  result["ridge on mean features"] = ridge(features[train], targets[train], features) * unit
  for name, pool in (("mean", mean_features), ("max", max_features)) if svr else ():
    features = side_by_side(pool)
    result[f"linear SVR on {name} features"] = linear_svr(features[train], targets[train], features) * unit
  return result


def mean_features(dataset, stream):
  """`[V, D]` means over the real rows of each video."""
  rows, lengths = dataset.streams[stream], dataset.lengths[stream]
  return np.stack([row[:length].mean(axis=0, dtype=np.float64).ravel() for row, length in zip(rows, lengths)])


def max_features(dataset, stream):
  """`[V, D]` maxima over the real rows of each video."""
  rows, lengths = dataset.streams[stream], dataset.lengths[stream]
  return np.stack([row[:length].max(axis=0).astype(np.float64).ravel() for row, length in zip(rows, lengths)])


def ridge(features, labels, asked):
  """Ridge regression on standardised features; the penalty is chosen by leave-one-out error on the training videos.

  Args:
    features: `[n, D]`; labels: `[n]`; asked: `[V, D]`.

  Returns:
    `[V]` predictions.
  """
  mean, scale = features.mean(axis=0), features.std(axis=0)
  scale = np.where(scale > 1e-9, scale, 1.0)
  u, s, vt = np.linalg.svd((features - mean) / scale, full_matrices=False)
  centred, best = labels - labels.mean(), None
  for penalty in RIDGE_PENALTIES:
    shrink = s ** 2 / (s ** 2 + penalty)
    leverage = (u ** 2 @ shrink) + 1 / len(labels)
    error = np.mean(((centred - u @ (shrink * (u.T @ centred))) / np.maximum(1 - leverage, 1e-9)) ** 2)
    if best is None or error < best[0]:
      best = error, vt.T @ (s / (s ** 2 + penalty) * (u.T @ centred))
  return (asked - mean) / scale @ best[1] + labels.mean()


def check_svr():
  """Raises a `ValueError` where scikit-learn is not installed."""
  if importlib.util.find_spec("sklearn") is None:
    raise ValueError("config.evaluate.svr needs scikit-learn: pip install 'jaxskill[baselines]', or set "
                     "config.evaluate.svr=False.")


def linear_svr(features, labels, asked):
  """Linear support vector regression on standardised features and labels; the cost is chosen by five-fold cross-validation.

  Args:
    features: `[n, D]`; labels: `[n]`; asked: `[V, D]`.

  Returns:
    `[V]` predictions.
  """
  from sklearn import model_selection, svm
  mean, scale, spread = features.mean(axis=0), features.std(axis=0), labels.std() or 1.0
  standard = lambda x: (x - mean) / np.where(scale > 1e-9, scale, 1.0)
  search = model_selection.GridSearchCV(svm.SVR(kernel="linear"), {"C": SVR_COSTS}, cv=min(5, len(labels)),
                                        scoring="neg_mean_squared_error")
  search.fit(standard(features), (labels - labels.mean()) / spread)
  return search.predict(standard(asked)) * spread + labels.mean()
