"""CoRe: a score from comparisons with exemplars whose scores are known.

A pair (input, exemplar) becomes a row: both features and the exemplar's score (Eq. 4). A group-aware regression tree
turns it into a score difference; the score is the exemplar's plus the difference (Eq. 3), averaged over M exemplars
(Eq. 8, 9). Beside it stand the rows of Table 3: a perceptron in place of the tree, and both without exemplars.

The features are given, or those of a network on frames that is trained with the rest (`frames`).

V videos, T snippets, D channels, L leaves, M exemplars. Scores are in the unit of the labels throughout; where the
difficulty is known, they are divided by it, so that what is learnt is the execution.

Reference: Yu, Rao, Zhao, Lu, Zhou, Group-aware Contrastive Regression for Action Quality Assessment, ICCV 2021. "Eq."
below are its equations; what the published code does otherwise are the options set by `variant="official"`.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxskill.data import exemplars
from jaxskill.methods import EXEMPLARS, VIDEOS, Assessment, Distribution, Meaning, Method, Phase, frames, standardized
from jaxskill.modules import regression_tree
from jaxskill.modules.layers import dot, torch_uniform
from jaxskill.modules.regression_tree import RegressionTree

LEAVES = ("how probable each range of scores is: lower scores on the left, higher ones on the right",
          "how probable it is that the score lies so far from that of the exemplars: below it on the left, above it on "
          "the right")         # of a tree that regresses scores, and of one that compares


class Perceptron(nn.Module):
  """Regression by a multi-layer perceptron of the same widths as the tree's path: `[B, D]` rows -> `[B]`."""

  hidden: int = 256
  depth: int = 3
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, rows):
    for layer in range(self.depth):
      out = 1 if layer == self.depth - 1 else self.hidden
      start = torch_uniform(rows.shape[-1])
      kernel = self.param(f"kernel_{layer}", start, (out, rows.shape[-1]))
      bias = self.param(f"bias_{layer}", start, (out,))
      rows = dot(rows, kernel, self.dtype) + bias
      rows = nn.relu(rows) if layer < self.depth - 1 else rows
    return rows[..., 0]


def targets(dataset, criterion, with_difficulty):
  """`[V]` float32 scores to be learnt: with difficulty, the final score divided by it; other criteria as they are.

  What is divided are the decimals of the labels, so that equal quotients are equal numbers.

  Raises:
    ValueError: if the data set has no scores; with difficulty, if it is unknown or not positive.
  """
  score = dataset.labels(criterion)
  if score is None:
    raise ValueError(f"{dataset.source}: there are no scores to learn from; add them (scores.csv), or use a method "
                     "that learns from pairs, e.g. configs/pros_cons.py.")
  if not (with_difficulty and criterion == "score"):
    return np.asarray(score, np.float32)
  return _by_difficulty(dataset, score).astype(np.float32)


def _by_difficulty(dataset, values):
  difficulty = dataset.difficulty
  if difficulty is None:
    raise ValueError(f"{dataset.source}: config.model.with_difficulty needs the difficulty of every video, but the "
                     "labels have none; add it, or set config.model.with_difficulty=False.")
  bad = np.flatnonzero(~(difficulty > 0))
  if bad.size:
    raise ValueError(f"{dataset.source}: video {dataset.videos[bad[0]]!r} has difficulty {difficulty[bad[0]]:g}; it "
                     "must be positive to divide by, or set config.model.with_difficulty=False.")
  return _decimal(values) / _decimal(difficulty)


def _decimal(values):
  """Float64 of the shortest decimals of float32 numbers: 16.8, not 16.79999924, as the labels were written."""
  return np.asarray(values, np.float32).astype(str).astype(np.float64)


def build(config) -> Method:
  """The method of `config.model`."""
  model, dtype, stream = config.model, jnp.dtype(config.train.dtype), config.data.stream
  _check(model)
  backbone = frames.Backbone(config) if model.backbone == "i3d" else None
  tree, contrastive = model.head == "tree", model.contrastive
  outside = model.outside if contrastive else "nearest"        # a score is never in no group
  head = (RegressionTree(model.num_leaves, model.hidden, model.leaf_activation, dtype) if tree
          else Perceptron(model.hidden, dtype=dtype))

  check = backbone.check if backbone else lambda dataset, others=None: None

  def prepare(dataset, fold, criterion):
    """Lowest score and range of the scores; with a tree the borders of its groups; with a video network its weights."""
    check(dataset)
    score = targets(dataset, criterion, model.with_difficulty)
    train = fold.train_videos
    if dataset.score_range is not None and criterion == "score":
      limits = dataset.score_range.astype(np.float64)
      limits = _by_difficulty(dataset, limits.T).T if model.with_difficulty else limits
      low, high = limits[train, 0].min(), limits[train, 1].max()
    else:
      low, high = score[train].min(), score[train].max()
    span = np.float32(np.round(high - low, 4))
    if np.ptp(score[train]) == 0 or not span > 0:
      raise ValueError(f"{dataset.source}: fold {fold.name!r}: all training scores are equal ({score[train][0]:g}); "
                       "there is nothing to learn.")
    constants = dict(low=np.float32(low), span=span, by_difficulty=model.with_difficulty and criterion == "score")
    if tree and contrastive:
      group = exemplars.groups(dataset, model.exemplars.same)[train]
      both = [np.subtract.outer(s, s)[~np.eye(len(s), dtype=bool)] for name in np.unique(group)
              for s in [score[train][group == name]]]
      symmetric = model.groups == "mirrored"
      constants["bounds"] = regression_tree.group_borders(np.concatenate(both), model.num_leaves, symmetric=symmetric,
                                                          limits=(0, span) if symmetric else None)
    elif tree:                                                          # groups of scores
      constants["bounds"] = regression_tree.group_borders(score[train], model.num_leaves)
    if not backbone:
      return dict(labels=constants)
    weights = backbone.prepare()
    return {"labels": constants, "initial": weights["params"], frames.NAME: weights["batch_stats"]}

  def init(key, videos, constants):
    width = frames.WIDTH if backbone else videos[stream].shape[-1]
    rows = jnp.zeros((1, 2 * width + 1 if contrastive else width))
    return dict(head=head.init(key, rows)["params"]) | ({frames.NAME: constants["initial"]} if backbone else {})

  def encode(variables, videos, key, train):
    """Features of the snippets, averaged: `[V, D]`."""
    if backbone:
      network = dict(params=variables["params"][frames.NAME], batch_stats=variables["constants"][frames.NAME])
      return backbone.encode(network, videos, key, train)
    features, lengths = videos[stream].astype(jnp.float32), videos["lengths"][stream]
    mask = (jnp.arange(features.shape[1]) < lengths[:, None])[..., None]
    mean = jnp.sum(features * mask, axis=1) / lengths[:, None]
    statistics = variables["constants"].get("features")        # of the mean, which is D numbers: not of T rows
    return standardized(mean, statistics[stream]) if statistics else mean

  def answer(variables, features, others=None, scores=None):
    """What the head says of `[n, D]` inputs; against exemplars `[n, D]` of known scores `[n]`, where there are some."""
    rows = features
    if contrastive:
      constants = variables["constants"]["labels"]
      known = (scores - constants["low"]) / constants["span"]
      rows = jnp.concatenate([others, features, known[:, None]], axis=1)                  # Eq. 4
    return head.apply({"params": variables["params"]["head"]}, rows)

  def difference(variables, said):
    """The difference (or, without exemplars, the score) that an answer of the head means, in the unit of the labels."""
    constants = variables["constants"]["labels"]
    if tree:
      levels, regression = said
      return regression_tree.decode(levels[-1], regression, constants["bounds"], model.empty_leaf)
    return said * constants["span"] + (0.0 if contrastive else constants["low"])

  def head_loss(variables, said, target, weight):
    """Of `[n]` targets, in the unit of the labels: {term: `[n]`}: classification and regression (Eq. 6)."""
    constants = variables["constants"]["labels"]
    if not tree:
      shift = 0.0 if contrastive else constants["low"]
      return dict(regression=(said - (target - shift) / constants["span"]) ** 2)
    levels, regression = said
    group = regression_tree.group_of(target, constants["bounds"], outside)          # [n, L]
    log_p = levels[-1]
    if model.classification == "binary":
      cross = -jnp.sum(group * log_p + (1 - group) * regression_tree.log_one_minus_exp(log_p), axis=1)
    else:                                                                 # a difference in no group counts as the first
      cross = -jnp.take_along_axis(log_p, jnp.argmax(group, axis=1)[:, None], axis=1)[:, 0]
    error = group * (regression - regression_tree.within_group(target, constants["bounds"])) ** 2
    return dict(classification=cross, regression=weight * jnp.sum(error, axis=1))

  def loss(variables, encodings, labels):
    """Of B items at once, for the tree wants one long batch of rows; a pair counts in both directions."""
    score = labels["score"].T                                                             # [k, B]
    count = score.shape[1]
    if contrastive:
      features = jnp.stack(encodings)                                                     # [2, B, D]
      flat = lambda x: x.reshape(2 * count, *x.shape[2:])
      said = answer(variables, flat(features), flat(features[::-1]), flat(score[::-1]))
      target = flat(score - score[::-1])
    else:
      said, target = answer(variables, encodings[0]), score[0]
    weight = labels.get("regression_weight", jnp.ones_like(score.T)).T.ravel()
    terms = head_loss(variables, said, target, weight)
    terms = {name: x.reshape(-1, count).sum(axis=0) for name, x in terms.items()}         # [B]
    error = jnp.abs(difference(variables, said) - target).reshape(-1, count).mean(axis=0)
    return sum(terms.values()), terms | dict(error=error)

  def relate(variables, labels, mask):
    """As published, squared errors are averaged over the rows of a leaf: each weighs the batch over their number."""
    if not (tree and model.regression == "leaf_mean"):
      return {}
    score = labels["score"]                                                               # [B, k]
    target = score - score[:, ::-1] if contrastive else score
    group = regression_tree.group_of(target, variables["constants"]["labels"]["bounds"], outside)    # [B, k, L]
    group = group * mask[:, None, None]
    return dict(regression_weight=jnp.sum(group / jnp.maximum(group.sum(axis=0), 1.0), axis=-1) * mask.sum())

  def assess(variables, encoding, references):
    """The score, by vote of the exemplars, its spread over them, and the probabilities of the tree's levels (Fig. 8)."""
    if contrastive:
      inputs = jnp.broadcast_to(encoding, references["encodings"].shape)
      said = answer(variables, inputs, references["encodings"], references["score"])
      votes, mask = difference(variables, said) + references["score"], references["mask"]         # Eq. 3
    else:
      said = answer(variables, encoding[None])
      votes, mask = difference(variables, said), jnp.ones(1, bool)
    mean = lambda x: jnp.sum(jnp.where(mask, x, 0.0)) / mask.sum()                         # Eq. 8
    by_difficulty = variables["constants"]["labels"]["by_difficulty"]
    unit = jnp.where(by_difficulty, references["own_difficulty"], 1.0) if model.with_difficulty else 1.0
    score, parts = mean(votes), {}
    if contrastive:
      parts["spread over exemplars"] = unit * jnp.sqrt(mean((votes - score) ** 2))
    return Assessment(score=score * unit, parts=parts, distribution={
        f"level {i + 1}": Distribution(places(variables, p.shape[-1]), jnp.exp(p).T @ mask / mask.sum())
        for i, p in enumerate(said[0] if tree else [])})

  def places(variables, count):
    """`[count]` middles of what the nodes of a level of the tree stand for, in the unit of the labels."""
    bounds = variables["constants"]["labels"]["bounds"].reshape(count, -1, 2)                   # [n, leaves of each, 2]
    return bounds.mean(axis=(1, 2))

  return Method(init=init, encode=encode, phases=(Phase(loss, trains=".", batched=True),), assess=assess,
                items=EXEMPLARS if contrastive else VIDEOS, streams=(stream,), standardizes=True, prepare=prepare,
                targets=lambda dataset, criterion: targets(dataset, criterion, model.with_difficulty), relate=relate,
                check=check, note=backbone.note if backbone else "",
                meanings=dict(distribution=Meaning(LEAVES[contrastive])))


def _check(model):
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
