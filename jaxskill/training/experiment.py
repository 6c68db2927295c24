"""What is trained and how it is judged: made and checked before any device is touched, and never changed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxskill import methods
from jaxskill.data import SkillDataset
from jaxskill.data.dataset import Fold
from jaxskill.evaluate import metrics
from jaxskill.training import batches
from jaxskill.training.replicas import Replica, plan


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
  """A config with its data, checked.

  Attributes:
    config: of the run.
    dataset: with a note in its name where the weights that training begins with ask for one.
    method: that the config makes.
    replicas: R models that train together.
    prepared: what the method has to know of the training side of each replica, see `Method.prepare`.
    groups: `[V]` which videos may be compared; None where answers compare none.
    labels: {"score": `[V, criteria]` to be learnt, "difficulty": `[V]`}, as far as data and method have them.
  """

  config: Any
  dataset: SkillDataset
  method: methods.Method
  replicas: tuple[Replica, ...]
  prepared: tuple[Mapping[str, Any], ...]
  groups: np.ndarray | None
  labels: Mapping[str, np.ndarray]

  @property
  def metric(self) -> str:
    """Returns what models are compared and chosen by: "accuracy" of pairs or "spearman" of scores."""
    return self.method.items.metric

  def fold(self, index: int) -> Fold:
    """Returns the fold of a replica."""
    return self.dataset.folds[self.replicas[index].fold]

  def trained_videos(self) -> dict[int, np.ndarray]:
    """Returns {fold: numbers of the videos that its replicas train on}: one without an exemplar is in no item."""
    return {r.fold: np.unique(self.method.items.of_fold(self.config, self.dataset, self.dataset.folds[r.fold],
                                                        r.criterion, r.seed)[0]) for r in self.replicas}

  def standings(self) -> np.ndarray:
    """Returns `[V, R]` what the best exemplars of each replica are chosen by, see `Items.standing`."""
    return np.stack([self.method.items.standing(self.dataset, self.dataset.folds[r.fold], r.criterion)
                     for r in self.replicas], axis=1)

  def target(self) -> np.ndarray:
    """Returns `[V, R]` what "score" is to each replica; where none is learnt, what exemplars are chosen by."""
    if "score" not in self.labels:
      return self.standings()
    criteria = [r.criterion for r in self.replicas]
    columns = list(dict.fromkeys(criteria))
    return self.labels["score"][:, [columns.index(criterion) for criterion in criteria]]

  @functools.lru_cache(maxsize=None)  # pylint: disable=method-cache-max-size-none   as many as there are draws
  def exemplars(self, draw: int = 0) -> tuple[np.ndarray, ...]:
    """Returns (`[V, R, M]` numbers of the videos that each one is compared with, `[V, R, M]` mask) of one draw."""
    of_replicas = [self.method.items.chosen(self.config, self.dataset, self.dataset.folds[r.fold], r.criterion, r.seed,
                                            draw, self.groups) for r in self.replicas]
    return tuple(np.stack(x, axis=1) for x in zip(*of_replicas))

  def measured(self, index: int, scores: np.ndarray, parts: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns `metrics.measure` or `metrics.measure_scores` of `[V]` scores of one replica.

    Raises:
      ValueError: for an unknown `config.evaluate.ties` or `rl2_range`.
    """
    fold, options = self.fold(index), self.config.evaluate
    if self.metric == "accuracy":
      return metrics.measure(self.dataset, fold, scores, parts, options.ties)
    return metrics.measure_scores(fold, self.dataset.labels(self.replicas[index].criterion), scores, options.rl2_range)

  def constants(self) -> dict[str, Any]:
    """Returns what training does not move, leading axis R: what was prepared, feature statistics, loss weights."""
    constants = jax.tree.map(lambda *x: np.stack(x), *self.prepared)
    if self.config.data.standardize:
      training = {r.fold: self.dataset.folds[r.fold].train_videos for r in self.replicas}
      by_fold = {fold: batches.channel_statistics(self.dataset, videos, self.method.streams)
                 for fold, videos in training.items()}
      constants["features"] = jax.tree.map(lambda *x: np.stack(x), *(by_fold[r.fold] for r in self.replicas))
    constants["loss_weights"] = {
        name: np.array([r.weights.get(name, value) for r in self.replicas], np.float32)
        for name, value in self.config.loss.weights.items()}
    return constants


def make(config: ConfigDict, dataset: SkillDataset) -> Experiment:
  """Returns the `Experiment` of a config on its data.

  Raises:
    ValueError: for a config, or data, that cannot be used, with the remedy.
  """
  method = methods.build(config)
  if method.note:
    dataset = dataclasses.replace(dataset, name=f"{method.note}: {dataset.name}")
  for fold in dataset.folds:
    method.items.check(config, dataset, fold)
  replicas = tuple(plan(config, dataset))
  prepared = tuple(method.prepare(dataset, dataset.folds[r.fold], r.criterion) for r in replicas)
  return Experiment(config, dataset, method, replicas, prepared, method.items.groups(config, dataset),
                    _labels(config, dataset, method))


def _labels(config: ConfigDict, dataset: SkillDataset, method: methods.Method) -> dict[str, np.ndarray]:
  labels = {}
  if not method.items.ranks:
    criteria = config.data.get("criteria", ("score",))
    labels["score"] = np.stack([method.targets(dataset, name) for name in criteria], axis=1)
  if dataset.difficulty is not None:
    labels["difficulty"] = np.asarray(dataset.difficulty, np.float32)
  return labels
