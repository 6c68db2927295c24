"""USDL and MUSDL: a score as a distribution over parts of its range, learnt from how sure a label can be.

The features of a video are averaged; a perceptron gives probabilities of the parts of the score's range. Labels become
Gaussians around the score, and the loss is the Kullback-Leibler divergence from them. With several judges each has a
head (MUSDL); the score is the mean of what they most probably say, in the unit of the labels, times the difficulty.
V videos, D channels, J judges (1 for USDL), P parts.

Reference: Tang et al., Uncertainty-aware Score Distribution Learning for Action Quality Assessment, CVPR 2020.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxskill.data.dataset import Fold, SkillDataset
from jaxskill.methods import VIDEOS, Assessment, Distribution, Meaning, Method, Phase, Tree
from jaxskill.methods.common import check_rows, labels_of, operand_type
from jaxskill.modules.layers import mean_of_rows


class Heads(nn.Module):
  """`[V, D]` mean features -> `[V, J, P]` logarithms of probabilities."""

  hidden: int                             # units; the second layer has half as many
  parts: int
  dtype: jax.typing.DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array, judges: int) -> jax.Array:
    logits = []
    for judge in range(judges):
      units = rows
      for layer, width in enumerate((self.hidden, self.hidden // 2, self.parts)):
        dense = nn.Dense(width, dtype=self.dtype, name=f"judge_{judge}_{layer}")
        units = dense(nn.relu(units) if layer else units)
      logits.append(units.astype(jnp.float32))
    return nn.log_softmax(jnp.stack(logits, axis=1))


def judges_of(dataset: SkillDataset, criterion: str) -> np.ndarray:
  """Returns `[V, J]` what each judge said, nan where one did not; raises a `ValueError` where that is not known."""
  said = dataset.ratings.get("scores") if criterion == "score" else None
  if said is None:
    raise ValueError(f"{dataset.source}: what judges said of {criterion!r} is not known; config.model.judges needs "
                     "columns rater.NAME of scores.csv, and config.data.criteria=('score',), which these are about.")
  return said


def known_of(said: np.ndarray, execution: np.ndarray, seen: np.ndarray, source: str) -> Tree:
  """Returns what judges said of the videos `seen`, their ranges and worth; a `ValueError` if all is equal."""
  known = np.isfinite(said) & np.isin(np.arange(len(said)), seen)[:, None]        # nothing of videos that are held out
  low, high = np.where(known, said, np.inf).min(axis=0), np.where(known, said, -np.inf).max(axis=0)
  equal = np.flatnonzero(~(low < high))                         # or nothing was said: inf and -inf
  if equal.size:
    raise ValueError(f"{source}: there is nothing to learn, for no two scores of training videos differ; of several "
                     f"judges leave out the column of judge {equal[0] + 1}, or set config.model.judges=False.")
  judged = known.any(axis=1)
  mean = np.mean(said[judged], axis=1, where=known[judged])
  worth = np.float32((mean @ execution[judged]) / (mean @ mean))
  return dict(judges=np.where(known, said, 0), known=known, low=low, high=high, worth=worth)


def build(config: ConfigDict) -> Method:
  """Returns the method of `config.model`; raises a `ValueError` for options that cannot be."""
  model, stream = config.model, config.data.stream
  if model.parts < 2 or model.hidden < 2 or not model.deviation > 0:
    raise ValueError("config.model: parts and hidden must be 2 or more, deviation positive.")
  heads = Heads(model.hidden, model.parts, operand_type(config))

  def targets(dataset: SkillDataset, criterion: str) -> np.ndarray:
    score, difficulty = labels_of(dataset, criterion), dataset.difficulty
    if model.with_difficulty and (difficulty is None or not (difficulty > 0).all()):
      raise ValueError(f"{dataset.source}: config.model.with_difficulty needs a positive difficulty of every video.")
    return np.asarray(score / difficulty if model.with_difficulty else score, np.float32)

  def prepare(dataset: SkillDataset, fold: Fold, criterion: str) -> Tree:
    execution = targets(dataset, criterion)
    said = judges_of(dataset, criterion) if model.judges else execution[:, None]
    return known_of(said, execution, fold.train_videos, f"{dataset.source}: fold {fold.name!r}")

  def init(key: jax.Array, videos: Tree, constants: Tree) -> Tree:
    return heads.init(key, videos[stream][:, 0], len(constants["low"]))["params"]

  def encode(variables: Tree, videos: Tree, key: jax.Array, train: bool) -> Tree:
    mean = mean_of_rows(videos[stream], videos["lengths"][stream])
    log_p = heads.apply({"params": variables["params"]}, mean, len(variables["constants"]["low"]))
    return dict(log_p=log_p, position=videos["position"])

  def execution_of(constants: Tree, log_p: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[] the mean of what the judges most probably say, in the unit of the labels, and `[J, P]` places of the parts."""
    places = jnp.linspace(constants["low"], constants["high"], model.parts, axis=-1)
    return constants["worth"] * jnp.take_along_axis(places, log_p.argmax(axis=-1)[..., None], axis=-1).mean(), places

  def divergence(variables: Tree, encodings: tuple, labels: Tree) -> tuple[jax.Array, Tree]:
    """Kullback-Leibler from the Gaussian around what each judge said; its deviation is in parts."""
    constants, (encoding,) = variables["constants"], encodings
    execution, places = execution_of(constants, encoding["log_p"])
    said, known = (constants[name][encoding["position"]] for name in ("judges", "known"))         # [J]
    width = model.deviation * (constants["high"] - constants["low"]) / (model.parts - 1)
    log_target = nn.log_softmax(-0.5 * ((places - said[:, None]) / width[:, None]) ** 2)
    each = jnp.sum(jnp.exp(log_target) * (log_target - encoding["log_p"]), axis=-1)
    return jnp.where(known, each, 0.0).sum(), dict(error=jnp.abs(execution - labels["score"][0]))

  def assess(variables: Tree, encoding: Tree, references: Tree) -> Assessment:
    execution, places = execution_of(variables["constants"], encoding["log_p"])
    unit = references["own_difficulty"] if model.with_difficulty else 1.0
    names = [f"judge {judge + 1}" if model.judges else "score" for judge in range(len(places))]
    return Assessment(score=execution * unit, distribution={
        name: Distribution(at * variables["constants"]["worth"] * unit, jnp.exp(p))
        for name, at, p in zip(names, places, encoding["log_p"])})

  return Method(init=init, encode=encode, phases=(Phase(divergence, trains="."),), assess=assess, items=VIDEOS,
                streams=(stream,), prepare=prepare, targets=targets,
                check=lambda dataset, others: check_rows(dataset, stream),
                meanings=dict(distribution=Meaning("how probable each score is")))
