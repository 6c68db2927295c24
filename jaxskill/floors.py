"""What needs no network: predictions that every table of scores should show beside the models.

V videos, n training videos, D channels.
"""

from __future__ import annotations

import numpy as np

RIDGE_PENALTIES = 10.0 ** np.arange(-2, 7)


def predict(dataset, fold, labels, targets, stream):
  """Predictions for all videos, fitted on the training videos of a fold.

  Args:
    labels: `[V]` scores.
    targets: `[V]` what the models learn instead, the labels themselves or by difficulty; so does the ridge regression.
    stream: of features, for the ridge regression.

  Returns:
    {"mean score", "difficulty only", "duration only", "ridge on mean features": `[V]`}, as far as these are known; a line
    through difficulty or duration, by least squares.
  """
  train, labels, targets = fold.train_videos, np.asarray(labels, np.float64), np.asarray(targets, np.float64)
  result = {"mean score": np.full(len(labels), labels[train].mean())}
  duration = dataset.lengths[stream] * dataset.row_seconds[stream]
  for name, values in (("difficulty only", dataset.difficulty), ("duration only", duration)):
    if values is not None and np.ptp(values[train]) > 0:
      slope, offset = np.polyfit(values[train].astype(np.float64), labels[train], 1)
      result[name] = offset + slope * values
  features = mean_features(dataset, stream)
  unit = 1.0 if np.array_equal(targets, labels) else dataset.difficulty
  return result | {"ridge on mean features": ridge(features[train], targets[train], features) * unit}


def mean_features(dataset, stream):
  """`[V, D]` means over the real rows of each video."""
  rows, lengths = dataset.streams[stream], dataset.lengths[stream]
  return np.stack([row[:length].mean(axis=0, dtype=np.float64).ravel() for row, length in zip(rows, lengths)])


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
