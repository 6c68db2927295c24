"""Intervals of the cells of a table and of differences between its rows, on the same resampled test videos."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxskill.data import SkillDataset
from jaxskill.data.dataset import Fold
from jaxskill.evaluate import bootstrap
from jaxskill.reproduce.entries import Column


class Figures:
  """The figures of every row of one column, of the test videos themselves and of their resamples.

  Attributes:
    of_row: {row: (figure, `[B]` figures of the resamples)}.
  """

  def __init__(self, of_row: Mapping[str, tuple[float, np.ndarray]]) -> None:
    self.of_row = dict(of_row)

  def interval(self, row: str) -> tuple[float, float] | None:
    """Returns the 95 % interval of a row's figure; None where it is not known."""
    return _ends(*self.of_row[row]) if row in self.of_row else None

  def difference(self, first: str, second: str) -> dict | None:
    """Returns {"mean", "interval"} of the first row minus the second; None where one has no figures."""
    if not {first, second} <= self.of_row.keys():
      return None
    (value, figures), (other, others) = self.of_row[first], self.of_row[second]
    interval = _ends(value - other, figures - others)
    return interval and dict(mean=value - other, interval=interval)


def of_column(dataset: SkillDataset, configs: Mapping[str, Any], column: Column, models: Mapping[str, Sequence[dict]],
              how: str) -> Figures:
  """Returns the figures of a column on resamples of its test videos, or of subjects where these are known.

  Args:
    dataset: of the column.
    configs: {row: of the job that trained it}, which say how it is measured.
    models: {row: what results.json holds of each model: {"fold", "scores": {test video: score}, ...}}; rows whose
      models have no scores are left out.
    how: the mean over folds, "mean" or "fisher"; over seeds likewise.
  """
  number = {name: i for i, name in enumerate(dataset.videos)}
  scored = {row: found for row, found in models.items() if found and all(model.get("scores") for model in found)}
  tested = sorted({number[video] for found in scored.values() for model in found for video in model["scores"]})
  subjects = None if dataset.subject is None else np.asarray(dataset.subject)[tested]
  if subjects is not None and len(np.unique(subjects)) < 2:
    subjects = None
  if len(tested) < 2:
    return Figures({})
  # Columns of the same videos, or subjects, have the same resamples; of others they are independent.
  units = sorted({dataset.videos[video] for video in tested} if subjects is None else set(map(str, subjects)))
  drawn = bootstrap.resample(len(tested), subjects, seed=zlib.crc32("\n".join(units).encode()))
  place = {video: i for i, video in enumerate(tested)}
  folds = {fold.name: fold for fold in dataset.folds}
  result = {}
  for row, found in scored.items():
    statistics = [_statistic(dataset, configs[row], column, folds[model["fold"]], model, number, place, subjects)
                  for model in found]
    of_all = bootstrap.mean(statistics, fisher=how == "fisher" and column.metric in ("spearman", "pearson"))
    result[row] = float(of_all(np.ones((1, len(tested))))[0]), of_all(drawn)
  return Figures(result)


def of_mean(columns: Sequence[Figures], how: str) -> Figures:
  """Returns the figures of the mean over columns, plain or by Fisher's z, of the rows that all columns have."""
  rows = set.intersection(*(set(column.of_row) for column in columns))
  there, back = (np.arctanh, np.tanh) if how == "fisher" else (np.asarray, np.asarray)

  def mean(figures: Any) -> Any:
    with np.errstate(divide="ignore"):                   # of a correlation of 1, whose mean is not finite: no interval
      return back(np.mean([there(figure) for figure in figures], axis=0))
  return Figures({row: (float(mean([column.of_row[row][0] for column in columns])),
                        mean([column.of_row[row][1] for column in columns])) for row in rows})


def _ends(value: float, figures: np.ndarray) -> tuple[float, float] | None:
  found = bootstrap.of_figures(value, figures)
  return (found.low, found.high) if np.isfinite([found.value, found.low, found.high]).all() else None


def _statistic(dataset: SkillDataset, config: ConfigDict, column: Column, fold: Fold, model: Mapping[str, Any],
               number: Mapping[str, int], place: Mapping[int, int], subjects: np.ndarray | None) -> Callable[..., Any]:
  """The statistic of one model's test side, see `bootstrap`."""
  said = {number[video]: np.nan if score is None else score for video, score in model["scores"].items()}
  if column.metric == "accuracy":
    scores = np.zeros(len(place))
    for video, score in said.items():
      scores[place[video]] = score
    pairs = [(place[better], place[worse]) for better, worse in dataset.pairs[fold.test_pairs]]
    return bootstrap.pair_accuracy(scores, np.array(pairs), subjects, config.evaluate.ties)
  videos = np.array([video for video in fold.test_videos if video in said])
  predicted = np.array([said[video] for video in videos])
  labels = np.asarray(dataset.labels(column.criterion or "score"), np.float64)
  places = np.array([place[video] for video in videos])
  if column.metric in ("spearman", "pearson"):
    return getattr(bootstrap, column.metric)(predicted, labels[videos], places)
  errors = np.abs(predicted - labels[videos])
  if column.metric == "mae":
    return bootstrap.average(errors, places)
  of_class = np.concatenate([fold.train_videos, fold.validation_videos, fold.test_videos])
  span = np.ptp(labels[of_class if config.evaluate.rl2_range == "class" else fold.test_videos])
  return bootstrap.average((errors / span) ** 2, places)
