"""Intervals of the headline of a run's rows of models, and of the differences between them: `evaluate.bootstrap`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxskill.evaluate import bootstrap, metrics, protocol
from jaxskill.training.experiment import Experiment


def of_rows(experiment: Experiment, scores: np.ndarray, sides: Sequence[protocol.Side], names: Sequence[str],
            shown: str | None) -> dict:
  """Returns what results.json says of how far the numbers of the last step would move with other test videos.

  Args:
    experiment: what was trained, see `training.experiment`.
    scores: `[R, V]` of the trained replicas.
    sides: of each replica, `protocol.sides`.
    names: of the row of each replica.
    shown: the mean of correlations that the table shows, of `protocol.show`; None where pairs are learnt.

  Returns:
    {"resampled": "subjects" or "videos"; "units": how many of them are tested; "rows": {row: interval};
    "differences": [{"first", "second": rows, and the interval of first minus second}]}; an interval is the fields of
    `bootstrap.Interval`, in the unit of the headline (accuracy in 0..1, or correlation). Empty where there are not two
    units to draw from.
  """
  dataset = experiment.dataset
  tested = np.unique(np.concatenate([side.videos for side in sides]))
  subjects = dataset.subject if dataset.subject is not None and len(np.unique(dataset.subject[tested])) > 1 else None
  units = len(tested if subjects is None else np.unique(subjects[tested]))
  if units < 2:
    return {}
  drawn = np.zeros((bootstrap.RESAMPLES, dataset.num_videos), np.int32)
  drawn[:, tested] = bootstrap.resample(len(tested), None if subjects is None else subjects[tested])
  statistics = {}
  for name in dict.fromkeys(names):
    indices = [index for index, of in enumerate(names) if of == name]
    of_row = [sides[index] for index in indices]
    statistics[name] = (_of_pairs(experiment, scores, indices, subjects) if shown is None
                        else _of_labels(of_row, shown))
  differences = [dict(first=first, second=second) | bootstrap.interval(
      bootstrap.difference(statistics[first], statistics[second]), drawn)._asdict()
                 for first, second in itertools.combinations(statistics, 2)]
  return dict(resampled="videos" if subjects is None else "subjects", units=units, differences=differences,
              rows={name: bootstrap.interval(of, drawn)._asdict() for name, of in statistics.items()})


def _of_pairs(experiment: Any, scores: np.ndarray, replicas: Sequence[int],
              subjects: np.ndarray | None) -> Callable[..., Any]:
  """The mean accuracy on test pairs of some replicas."""
  dataset, ties, found = experiment.dataset, experiment.config.evaluate.ties, []
  for index in replicas:
    pairs = dataset.pairs[dataset.folds[experiment.replicas[index].fold].test_pairs]
    found.append(bootstrap.pair_accuracy(scores[index], pairs, subjects, ties))
  return bootstrap.mean(found)


def _of_labels(sides: Sequence[protocol.Side], shown: str) -> Callable[..., Any]:
  """The mean of correlations of one row that the table shows, a key of `protocol.MEANS`."""
  if shown == "pooled":
    parts = [(videos, said, labels) for _, videos, said, labels in protocol.pooled(sides, "last")]
  else:
    parts = [(side.videos, np.asarray(side.said["last"], np.float64), side.labels) for side in sides]
  values = [metrics.spearman(said, labels) if np.isfinite(said).all() else np.nan for _, said, labels in parts]
  fisher = protocol.by_fisher(sides, values) if shown == "pooled" else shown == "fisher"
  return bootstrap.mean([bootstrap.spearman(said, labels, videos) for videos, said, labels in parts], fisher)
