"""CoRe: a score from comparisons with exemplars whose scores are known.

A pair (input, exemplar) becomes a row: both features and the exemplar's score (Eq. 4). A group-aware regression tree
turns it into a score difference; the score is the exemplar's plus the difference (Eq. 3, 8), averaged over M exemplars
(Eq. 9). Beside it stand the rows of Table 3: a perceptron in place of the tree, and both without exemplars.

The features are given, or those of a network on frames that is trained with the rest (`frames`).

V videos, T snippets, D channels, L leaves, M exemplars. Scores are in the unit of the labels throughout; where the
difficulty is known, they are divided by it, so that what is learnt is the execution.

Reference: Yu, Rao, Zhao, Lu, Zhou, Group-aware Contrastive Regression for Action Quality Assessment, ICCV 2021. "Eq."
below are its equations; what the published code does otherwise are the options set by `variant="official"`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxskill import published_checkpoints
from jaxskill.data import exemplars
from jaxskill.data.dataset import Fold, SkillDataset
from jaxskill.methods import (
  EXEMPLARS,
  VIDEOS,
  Assessment,
  Distribution,
  Meaning,
  Method,
  Phase,
  Tree,
  frames,
  standardized,
)
from jaxskill.methods.common import check_rows, labels_of, operand_type
from jaxskill.modules import regression_tree
from jaxskill.modules.layers import mean_of_rows
from jaxskill.modules.regression_tree import Perceptron, RegressionTree

LEAVES = ("how probable each range of scores is: lower scores on the left, higher ones on the right",
          "how probable it is that the score lies so far from that of the exemplars: below it on the left, above it on "
          "the right")         # of a tree that regresses scores, and of one that compares
Said = tuple[list[jax.Array], jax.Array] | jax.Array     # levels and regressions of a tree, or what a perceptron says


def targets(dataset: SkillDataset, criterion: str, with_difficulty: bool) -> np.ndarray:
  """Returns `[V]` float32 scores to be learnt: with difficulty, the final score divided by it; others as they are.

  What is divided are the decimals of the labels, so that equal quotients are equal numbers.

  Raises:
    ValueError: if the data set has no scores; with difficulty, if it is unknown or not positive.
  """
  score = labels_of(dataset, criterion)
  if not with_difficulty:
    return np.asarray(score, np.float32)
  execution = _by_difficulty(dataset, score)       # whatever the criterion: a run without any difficulty is a mistake
  return np.asarray(execution if criterion == "score" else score, np.float32)


def _by_difficulty(dataset: SkillDataset, values: np.ndarray) -> np.ndarray:
  difficulty = dataset.difficulty
  if difficulty is None:
    raise ValueError(f"{dataset.source}: config.model.with_difficulty needs the difficulty of every video, but the "
                     "labels have none; add it, or set config.model.with_difficulty=False.")
  bad = np.flatnonzero(~(difficulty > 0))
  if bad.size:
    raise ValueError(f"{dataset.source}: video {dataset.videos[bad[0]]!r} has difficulty {difficulty[bad[0]]:g}; it "
                     "must be positive to divide by, or set config.model.with_difficulty=False.")
  return _decimal(values) / _decimal(difficulty)


def _decimal(values: np.ndarray) -> np.ndarray:
  """Float64 of the shortest decimals of float32 numbers: 16.8, not 16.79999924, as the labels were written."""
  return np.asarray(values, np.float32).astype(str).astype(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
  """The networks of a config, what they say of a video beside others, and the loss of a batch.

  Attributes:
    model: group of the config.
    stream: whose rows are snippets, or frames where there is a backbone.
    head: of the rows of Eq. 4; without exemplars of the features alone.
    backbone: the network on frames; None where features are given.
  """

  model: ConfigDict
  stream: str
  head: RegressionTree | Perceptron
  backbone: frames.Backbone | None

  @property
  def tree(self) -> bool:
    """Returns whether the head is a tree."""
    return isinstance(self.head, RegressionTree)

  @property
  def outside(self) -> str:
    """Returns what a target in no group counts as, see `regression_tree.group_of`; a score is never in none."""
    return self.model.outside if self.model.contrastive else "nearest"

  def check(self, dataset: SkillDataset, others: Mapping[str, np.ndarray] | None = None) -> None:
    """Raises a `ValueError` for videos that cannot be read: rows of features, or frames for the network on frames."""
    if self.backbone:
      self.backbone.check(dataset, others)
    else:
      check_rows(dataset, self.stream)

  def targets(self, dataset: SkillDataset, criterion: str) -> np.ndarray:
    """Returns `[V]` scores to be learnt, see `targets`.

    Raises:
      ValueError: if there are no scores, or no difficulty where it is asked for.
    """
    return targets(dataset, criterion, self.model.with_difficulty)

  def prepare(self, dataset: SkillDataset, fold: Fold, criterion: str) -> Tree:
    """Returns {"labels": constants}; of a video network its weights too: what training begins with, and statistics.

    The constants are the lowest score, the range of the scores, whether they were divided by the difficulty, and with a
    tree the borders of its groups.

    Raises:
      ValueError: for videos, labels or weights that cannot be used.
    """
    self.check(dataset)
    score = self.targets(dataset, criterion)
    low, span = span_of(dataset, fold, criterion, score, self.model.with_difficulty)
    constants = dict(low=low, span=span, by_difficulty=self.model.with_difficulty and criterion == "score")
    if self.tree:
      group = exemplars.groups(dataset, self.model.exemplars.same) if self.model.contrastive else None
      constants["bounds"] = borders(self.model, score[fold.train_videos], span,
                                    None if group is None else group[fold.train_videos])
    if not self.backbone:
      return dict(labels=constants)
    weights = self.backbone.prepare()
    return {"labels": constants, "initial": weights["params"], frames.NAME: weights["batch_stats"]}

  def init(self, key: jax.Array, videos: Tree, constants: Tree) -> Tree:
    """Returns the first parameters: {"head"}, and those of the network on frames."""
    width = frames.WIDTH if self.backbone else videos[self.stream].shape[-1]
    rows = jnp.zeros((1, 2 * width + 1 if self.model.contrastive else width))
    params = dict(head=self.head.init(key, rows)["params"])
    return params | ({frames.NAME: constants["initial"]} if self.backbone else {})

  def encode(self, variables: Tree, videos: Tree, key: jax.Array, train: bool) -> jax.Array:
    """Returns `[V, D]` features of the snippets, averaged."""
    if self.backbone:
      network = dict(params=variables["params"][frames.NAME], batch_stats=variables["constants"][frames.NAME])
      return self.backbone.encode(network, videos, key, train)
    mean = mean_of_rows(videos[self.stream], videos["lengths"][self.stream])
    statistics = variables["constants"].get("features")        # of the mean, which is D numbers: not of T rows
    return standardized(mean, statistics[self.stream]) if statistics else mean

  def answer(self, variables: Tree, features: jax.Array, others: jax.Array | None = None,
             scores: jax.Array | None = None) -> Said:
    """Returns what the head says of `[n, D]` inputs; against exemplars `[n, D]` of known scores `[n]`, if there are."""
    rows = features
    if self.model.contrastive:
      assert others is not None and scores is not None
      constants = variables["constants"]["labels"]
      known = (scores - constants["low"]) / constants["span"]
      rows = jnp.concatenate([others, features, known[:, None]], axis=1)                  # Eq. 4
    said: Any = self.head.apply({"params": variables["params"]["head"]}, rows)
    return said

  def difference(self, variables: Tree, said: Said) -> jax.Array:
    """Returns `[n]` differences (without exemplars, scores) that answers mean, in the unit of the labels (Eq. 7)."""
    constants = variables["constants"]["labels"]
    if isinstance(said, tuple):
      levels, regression = said
      return regression_tree.decode(levels[-1], regression, constants["bounds"], self.model.empty_leaf)
    return said * constants["span"] + (0.0 if self.model.contrastive else constants["low"])

  def head_loss(self, variables: Tree, said: Said, target: jax.Array, weight: jax.Array) -> Tree:
    """Returns {term: `[n]`} of `[n]` targets in the unit of the labels: classification and regression (Eq. 6).

    Args:
      said: what `answer` gave; weight: `[n]` of the regressions of a tree.
    """
    constants = variables["constants"]["labels"]
    if not isinstance(said, tuple):
      shift = 0.0 if self.model.contrastive else constants["low"]
      return dict(regression=(said - (target - shift) / constants["span"]) ** 2)
    levels, regression = said
    group = regression_tree.group_of(target, constants["bounds"], self.outside)           # [n, L]
    log_p = levels[-1]
    if self.model.classification == "binary":
      cross = -jnp.sum(group * log_p + (1 - group) * regression_tree.log_one_minus_exp(log_p), axis=1)
    else:                                                                 # a difference in no group counts as the first
      cross = -jnp.take_along_axis(log_p, jnp.argmax(group, axis=1)[:, None], axis=1)[:, 0]
    error = group * (regression - regression_tree.within_group(target, constants["bounds"])) ** 2
    return dict(classification=cross, regression=weight * jnp.sum(error, axis=1))

  def loss(self, variables: Tree, encodings: Sequence[jax.Array], labels: Tree) -> tuple[jax.Array, Tree]:
    """Returns `[B]` losses of all items, for the tree wants one long batch; a pair counts in both directions."""
    score = labels["score"].T                                                             # [k, B]
    count = score.shape[1]
    if self.model.contrastive:
      features = jnp.stack(encodings)                                                     # [2, B, D]
      said = self.answer(variables, _flat(features), _flat(features[::-1]), _flat(score[::-1]))
      target = _flat(score - score[::-1])
    else:
      said, target = self.answer(variables, encodings[0]), score[0]
    weight = labels.get("regression_weight", jnp.ones_like(score.T)).T.ravel()
    terms = self.head_loss(variables, said, target, weight)
    terms = {name: x.reshape(-1, count).sum(axis=0) for name, x in terms.items()}         # [B]
    error = jnp.abs(self.difference(variables, said) - target).reshape(-1, count).mean(axis=0)
    return functools.reduce(jnp.add, terms.values()), terms | dict(error=error)

  def relate(self, variables: Tree, labels: Tree, mask: jax.Array) -> Tree:
    """Returns {"regression_weight": `[B, k]`} where errors are averaged over the rows of a leaf, as published."""
    if not (self.tree and self.model.regression == "leaf_mean"):
      return {}
    score = labels["score"]                                                               # [B, k]
    target = score - score[:, ::-1] if self.model.contrastive else score
    bounds = variables["constants"]["labels"]["bounds"]
    group = regression_tree.group_of(target, bounds, self.outside)                        # [B, k, L]
    group = group * mask[:, None, None]
    return dict(regression_weight=jnp.sum(group / jnp.maximum(group.sum(axis=0), 1.0), axis=-1) * mask.sum())

  def assess(self, variables: Tree, encoding: jax.Array, references: Tree | None) -> Assessment:
    """Returns the score, by vote of the exemplars, its spread over them, and the probabilities of the tree's levels.

    Those are what Fig. 8 shows.
    """
    references = references or {}
    if self.model.contrastive:
      inputs = jnp.broadcast_to(encoding, references["encodings"].shape)
      said = self.answer(variables, inputs, references["encodings"], references["score"])
      votes, mask = self.difference(variables, said) + references["score"], references["mask"]    # Eq. 8
    else:
      said = self.answer(variables, encoding[None])
      votes, mask = self.difference(variables, said), jnp.ones(1, bool)

    def mean(values: jax.Array) -> jax.Array:                               # Eq. 9
      return jnp.sum(jnp.where(mask, values, 0.0)) / mask.sum()
    labels = variables["constants"]["labels"]
    unit = jnp.where(labels["by_difficulty"], references["own_difficulty"], 1.0) if self.model.with_difficulty else 1.0
    score, parts = mean(votes), {}
    if self.model.contrastive:
      parts["spread over exemplars"] = unit * jnp.sqrt(mean((votes - score) ** 2))
    levels = said[0] if isinstance(said, tuple) else []
    distribution = {}
    for number, log_p in enumerate(levels, start=1):
      middles = _places(labels["bounds"], log_p.shape[-1])
      distribution[f"level {number}"] = Distribution(middles, jnp.exp(log_p).T @ mask.astype(jnp.float32) / mask.sum())
    return Assessment(score=score * unit, parts=parts, distribution=distribution)


def span_of(dataset: SkillDataset, fold: Fold, criterion: str, score: np.ndarray,
            with_difficulty: bool) -> tuple[Any, Any]:
  """Returns (lowest score, range of the scores) of the training videos, float32: as possible, if known, else as given.

  Args:
    score: `[V]`, see `targets`.

  Raises:
    ValueError: if all training scores are equal.
  """
  train = fold.train_videos
  if dataset.score_range is not None and criterion == "score":
    limits = np.asarray(dataset.score_range, np.float64)
    limits = _by_difficulty(dataset, limits.T).T if with_difficulty else limits
    low, high = limits[train, 0].min(), limits[train, 1].max()
  else:
    low, high = score[train].min(), score[train].max()
  span = np.float32(np.round(high - low, 4))
  if np.ptp(score[train]) == 0 or not span > 0:
    raise ValueError(f"{dataset.source}: fold {fold.name!r}: all training scores are equal ({score[train][0]:g}); "
                     "there is nothing to learn.")
  return np.float32(low), span


def borders(model: ConfigDict, score: np.ndarray, span: float, group: np.ndarray | None) -> np.ndarray:
  """Returns `[L, 2]` float32 borders of the groups of a tree (Eq. 5).

  Args:
    score: `[n]` of the training videos; span: their range.
    group: `[n]` the differences are those of two videos of one; None cuts the scores themselves into groups.
  """
  if group is None:
    return regression_tree.group_borders(score, model.num_leaves)
  symmetric = model.groups == "mirrored"
  return regression_tree.group_borders(exemplars.differences(score, group), model.num_leaves, symmetric=symmetric,
                                       limits=(0, span) if symmetric else None)


def _flat(values: jax.Array) -> jax.Array:
  """Returns `[2 B, ...]` values of both directions, given `[2, B, ...]`."""
  return values.reshape(-1, *values.shape[2:])


def _places(bounds: jax.Array, count: int) -> jax.Array:
  """Returns `[count]` middles of what the nodes of a level of the tree stand for, given `[L, 2]` borders of leaves."""
  return bounds.reshape(count, -1, 2).mean(axis=(1, 2))                                   # of [n, leaves of each, 2]


def comparison(config: ConfigDict) -> Comparison:
  """Returns the networks of `config.model`.

  Raises:
    ValueError: for options that cannot be.
  """
  model, dtype = config.model, operand_type(config)
  _check(model)
  backbone = frames.Backbone(config) if model.backbone == "i3d" else None
  head = (RegressionTree(model.num_leaves, model.hidden, model.leaf_activation, dtype) if model.head == "tree"
          else Perceptron(model.hidden, dtype=dtype))
  return Comparison(model, config.data.stream, head, backbone)


def build(config: ConfigDict) -> Method:
  """Returns the method of `config.model`; a `ValueError` for options that cannot be."""
  system, contrastive = comparison(config), config.model.contrastive
  return Method(init=system.init, encode=system.encode, phases=(Phase(system.loss, trains=".", batched=True),),
                assess=system.assess, items=EXEMPLARS if contrastive else VIDEOS, streams=(system.stream,),
                standardizes=True, prepare=system.prepare, targets=system.targets, relate=system.relate,
                check=system.check, note=system.backbone.note if system.backbone else "",
                meanings=dict(distribution=Meaning(LEAVES[contrastive])),
                published=published_checkpoints.core(frames=system.backbone is not None))


def _check(model: ConfigDict) -> None:
  options = dict(backbone=("features", "i3d"), head=("tree", "mlp"), groups=("equal_count", "mirrored"),
                 classification=("binary", "leaf"), regression=("sum", "leaf_mean"), outside=("nearest", "first"),
                 empty_leaf=("border", "offset"))
  for name, allowed in options.items():
    if model[name] not in allowed:
      raise ValueError(f"config.model.{name}={model[name]!r} is unknown; use one of {', '.join(allowed)}.")
  if model.head == "tree":
    try:
      regression_tree.check(model.num_leaves, model.leaf_activation)
    except ValueError as error:
      raise ValueError(f"config.model: {error}") from None
  if model.hidden < 1 or model.exemplars.count < 1:
    raise ValueError(f"config.model: hidden={model.hidden} and exemplars.count={model.exemplars.count} must be at "
                     "least 1.")
