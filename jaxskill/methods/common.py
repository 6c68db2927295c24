"""What methods share: losses of ordered pairs, the possible range of a score, and regression in the unit of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxskill.data.dataset import Fold, SkillDataset


def operand_type(config: ConfigDict) -> np.dtype:
  """Returns the type of the operands of matrix products: `config.train.dtype`, float32 as long as that is "auto".

  What "auto" becomes on a machine is decided once a run, before anything is built: `training.operands`.
  """
  return jnp.dtype("float32" if config.train.dtype == "auto" else config.train.dtype)


def score_range(config: ConfigDict, dataset: SkillDataset, criterion: str,
                videos: np.ndarray | slice = slice(None)) -> tuple[float, float]:
  """Returns (lowest, highest) possible score by a criterion: `config.model.score_ranges`, else that of the data set.

  Args:
    videos: those that the range is asked for; all of them by default.

  Raises:
    ValueError: if there are no scores, if neither knows their range, or it is empty.
  """
  dataset.labels(criterion)            # raises an error where there are none
  found = config.model.score_ranges.get(criterion)
  if found is None and dataset.score_range is not None:
    known = np.asarray(dataset.score_range)
    found = known[videos, 0].min(), known[videos, 1].max()
  if found is None:
    raise ValueError(f"{dataset.source}: the possible range of the scores is not known, which a score between 0 and 1 "
                     "is stretched to; set config.data.score_range, e.g. --config.data.score_range='(0.0, 25.0)'.")
  if len(found) != 2 or not found[0] < found[1]:
    raise ValueError(f"{dataset.source}: the range {tuple(found)} of {criterion!r} must be (lowest, highest) possible "
                     "score.")
  return tuple(found)


def check_scores(config: ConfigDict, dataset: SkillDataset, criterion: str) -> None:
  """Raises a `ValueError` if there are no scores by a criterion, or one lies outside its possible range."""
  low, high = score_range(config, dataset, criterion)
  score = dataset.labels(criterion)
  rounding = 1e-6 * max(abs(low), abs(high))
  wrong = np.flatnonzero(~((score >= low - rounding) & (score <= high + rounding)))
  if wrong.size:
    video = wrong[0]
    raise ValueError(f"{dataset.source}: video {dataset.videos[video]!r} has {criterion} {score[video]:g}, outside "
                     f"{low:g} to {high:g} ({wrong.size} such videos); correct it, or the range "
                     "(config.data.score_range, config.model.score_ranges).")


def check_rows(dataset: SkillDataset, stream: str, option: str = "config.data.stream") -> None:
  """Raises a `ValueError` if a stream, named by an option, is not there, or is not rows of features `[V, T, D]`."""
  if stream not in dataset.streams:
    raise ValueError(f"{dataset.source}: there is no stream {stream!r}, only {', '.join(dataset.streams)}; set "
                     f"{option} to what is there.")
  shape = dataset.streams[stream].shape
  if len(shape) != 3:
    raise ValueError(f"{dataset.source}: stream {stream!r} holds {list(shape[2:])} a row; this method reads features "
                     "[rows, channels]: average over the other axes when you extract them.")


def hinge(margin: float, difference: jax.Array) -> jax.Array:
  """Returns max(0, margin - difference): the loss of a difference that should exceed a margin."""
  return jax.nn.relu(margin - difference)


def in_order(better: jax.Array, worse: jax.Array) -> jax.Array:
  """Returns 1 where the better video has the higher score, a half for equal ones: an accuracy to be averaged."""
  return (better > worse) + 0.5 * (better == worse)


def labels_of(dataset: SkillDataset, criterion: str) -> np.ndarray:
  """Returns `[V]` float32 scores by a criterion, in its unit; raises a `ValueError` where there are none."""
  return np.asarray(dataset.labels(criterion), np.float32)


def training_scores(dataset: SkillDataset, fold: Fold, criterion: str) -> dict[str, Any]:
  """Returns {"mean", "deviation"} of the training scores, which a network's output is stretched by.

  So a network starts at the mean, in any unit, and needs no range of scores. Equal scores have a deviation of 1.

  Raises:
    ValueError: if there are no scores by the criterion.
  """
  scores = labels_of(dataset, criterion)[fold.train_videos].astype(np.float64)
  return dict(mean=np.float32(scores.mean()), deviation=np.float32(scores.std() or 1.0))


def squared_error(variables: Mapping[str, Any], encodings: Sequence[Mapping[str, jax.Array]],
                  labels: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the squared error of the score of one video, in standard deviations of the training scores.

  Args:
    variables: with the constants of `training_scores`.
    encodings: of the video alone; labels: {"score": `[1]`}, in the unit of the labels.
  """
  (encoding,), (label,) = encodings, labels["score"]
  error = encoding["score"] - label
  return (error / variables["constants"]["deviation"]) ** 2, dict(error=jnp.abs(error))
