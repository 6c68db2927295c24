"""Rank-aware temporal attention: which of two performances is better, and which moments say so.

Two attention modules look for what betrays high and low skill; beside them a uniform branch weights all segments alike.
Each branch has its own ranking layer. Margin losses order the pairs within every branch, make attention better than
uniform weighting (disparity), and make the high-skill moments of the better video outrank the low-skill moments of the
worse one (rank-aware).

V videos, T segments, D feature channels, K filters of a module, S scores of a branch (1, or K where filters are not
merged).

Reference: Doughty, Mayol-Cuevas, Damen, The Pros and Cons: Rank-Aware Temporal Attention for Skill Determination in
Long Videos, CVPR 2019. "Eq." below are its equations; what the published code does otherwise are the options of
`config.model` and `config.loss` set by `variant="official"`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxskill import published_checkpoints
from jaxskill.methods import PAIRS, Assessment, Meaning, Method, Phase, Tree
from jaxskill.methods.common import hinge, in_order, operand_type
from jaxskill.modules.attention_filters import AttentionFilters, RankingLayers

NO_FILTERS = ("uniform", "last")
MODULES = ("high", "low", "both", "attention")     # "both" and "attention" stand alone: one module for all of skill
BOTH = Meaning("moments that speak for or against skill", finds=("relevant_high", "relevant_low"))
MEANINGS = {"high attention": Meaning("moments that speak for skill", 1, finds=("relevant_high",)),
            "low attention": Meaning("moments that speak against skill", -1, finds=("relevant_low",)),
            "both attention": BOTH, "attention attention": BOTH}


def diversity(attention: jax.Array, norm: str) -> jax.Array:
  """Returns how much the filters of one module look at the same segments: [] || A A^T - I || of one video (Eq. 19).

  Args:
    attention: `[K, T]` weights A (Eq. 18).
    norm: "squared" Frobenius (Eq. 19), or "frobenius" (the published code).
  """
  square = jnp.sum((attention @ attention.T - jnp.eye(len(attention))) ** 2)
  if norm == "squared":
    return square
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)   # finite gradient at 0


@dataclasses.dataclass(frozen=True, eq=False)
class RankAware:
  """The networks of a config, what they say of videos, and the losses of pairs.

  Attributes:
    model, loss: groups of the config.
    stream: whose rows are the segments.
    branches: all that score: attention modules, "uniform" and "last".
    modules: those of them that attend.
    filters: attention of the modules.
    ranking: one layer a branch.
  """

  model: ConfigDict
  loss: ConfigDict
  stream: str
  branches: tuple[str, ...]
  modules: tuple[str, ...]
  filters: AttentionFilters
  ranking: RankingLayers

  def init(self, key: jax.Array, videos: Tree, constants: Tree) -> Tree:
    """Returns the first parameters: {"ranking"}, and "filters" where there are modules."""
    del constants
    features = videos[self.stream].astype(jnp.float32)
    filters_key, ranking_key = jax.random.split(key)
    params = dict(ranking=self.ranking.init(ranking_key, features)["params"])
    if self.modules:
      mask = real_rows(features, videos["lengths"][self.stream])
      params["filters"] = self.filters.init(filters_key, features, mask)["params"]
    return params

  def encode(self, variables: Tree, videos: Tree, key: jax.Array, train: bool) -> Tree:
    """Returns {"scores": {branch: `[V, S]`}, "attention": {module: `[V, K, T]`}, "diversity": {module: `[V]`}}.

    (Eq. 3, 8, 9, 17 and 19; diversity belongs to a video, which is in many pairs.)
    """
    features, lengths = videos[self.stream], videos["lengths"][self.stream]
    mask = real_rows(features, lengths)
    params, statistics = variables["params"], variables["constants"].get("features", {}).get(self.stream, {})
    noise = None
    if train and self.model.noise_std:
      features, noise = self.with_noise(features, key, videos["position"], statistics)
    values: Any = self.ranking.apply({"params": params["ranking"]}, features, noise, **statistics)
    attention: Any = {}
    if self.modules:
      attention = self.filters.apply({"params": params["filters"]}, features, mask, noise, **statistics)
    scores = {}
    for branch, (value, bias) in values.items():
      score = jnp.einsum("vst,vt->vs", self.weights(branch, attention, mask, lengths), value) + bias      # [V, S]
      scores[branch] = 2 * jnp.tanh(score) if self.model.score == "tanh" else score
    alike = {module: jax.vmap(diversity, (0, None))(weights, self.loss.diversity_norm)
             for module, weights in attention.items()}
    return dict(scores=scores, attention=attention, diversity=alike)

  def with_noise(self, features: jax.Array, key: jax.Array, position: jax.Array,
                 statistics: Tree) -> tuple[jax.Array, jax.Array | None]:
    """Returns features `[V, T, D]`, and the noise that the layers add to those of every video, `[T, D]` or None.

    One draw for all videos is left to the layers, which add its products; a draw a video changes the features.
    """
    if self.model.noise == "shared":
      return features, self.model.noise_std * jax.random.normal(key, features.shape[1:])
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, position)
    draw = self.model.noise_std * jax.vmap(lambda k: jax.random.normal(k, features.shape[1:]))(keys)
    scale = statistics.get("scale", 1.0)  # from standardized to raw features, which are what is rewritten here
    return (features + draw * scale).astype(features.dtype), None

  def weights(self, branch: str, attention: Tree, mask: jax.Array, lengths: jax.Array) -> jax.Array:
    """Returns `[V, S, T]` how much each segment counts in the scores of a branch, given `[V, T]` the real ones."""
    if branch in self.modules:
      of_filters = attention[branch]
      return of_filters if self.model.filter_scores == "each" else of_filters.sum(axis=1, keepdims=True)    # Eq. 17
    if branch == "uniform":
      return (mask / mask.sum(axis=1, keepdims=True))[:, None]
    return jax.nn.one_hot(lengths - 1, mask.shape[1])[:, None]                              # the last real segment

  def ranking_loss(self, variables: Tree, pair: tuple[Tree, Tree], labels: Tree) -> tuple[jax.Array, Tree]:
    """Returns the margin ranking losses of all branches (Eq. 10 to 12)."""
    del variables, labels
    better, worse = (video["scores"] for video in pair)
    terms = {f"rank_{branch}": hinge(self.loss.margin_rank, better[branch].mean() - worse[branch].mean())
             for branch in self.branches}
    return functools.reduce(jnp.add, terms.values()), terms | self.accuracy(pair)

  def attention_loss(self, variables: Tree, pair: tuple[Tree, Tree], labels: Tree) -> tuple[jax.Array, Tree]:
    """Returns the disparity (Eq. 13), rank-aware (Eq. 14) and diversity (Eq. 19) losses, weighted."""
    del labels
    weights, terms = variables["constants"]["loss_weights"], {}
    better, worse = (video["scores"] for video in pair)
    compared = "uniform" in self.branches
    uniform_gap = (better["uniform"] - worse["uniform"])[0] if compared else 0.0
    for module in self.modules:
      if compared:
        gap = jnp.min(better[module] - worse[module])
        terms[f"disparity_{module}"] = weights["disparity"] * hinge(self.loss.margin_disparity, gap - uniform_gap)
      terms[f"diversity_{module}"] = weights["diversity"] * sum(video["diversity"][module] for video in pair)
      if self.model.normalize == "sigmoid":
        terms[f"sparsity_{module}"] = weights["sparsity"] * sum(video["attention"][module].sum() for video in pair)
    if compared and {"high", "low"} <= set(self.modules):
      gap = jnp.min(better["high"] - worse["low"])
      terms["rank_aware"] = weights["rank_aware"] * hinge(self.loss.margin_rank_aware, gap - uniform_gap)
    return jnp.asarray(sum(terms.values()), jnp.float32), terms | self.accuracy(pair)

  def joint_loss(self, variables: Tree, pair: tuple[Tree, Tree], labels: Tree) -> tuple[jax.Array, Tree]:
    """Returns all losses (Eq. 20), for one step that moves all parameters."""
    first, terms = self.ranking_loss(variables, pair, labels)
    second, more = self.attention_loss(variables, pair, labels)
    return first + second, terms | more

  def score(self, video: Tree) -> jax.Array:
    """Returns the [] rank score: the sum over attention modules (Eq. 16), over all branches where none attends."""
    return sum(video["scores"][branch].mean() for branch in self.modules or self.branches)

  def accuracy(self, pair: tuple[Tree, Tree]) -> Tree:
    """Returns {"accuracy": []}: whether a pair (better, worse) is in order, a half for equal scores."""
    return dict(accuracy=in_order(*map(self.score, pair)))

  def assess(self, variables: Tree, encoding: Tree, references: Tree | None) -> Assessment:
    """Returns the rank score, those of the branches, and the attention of each module's filters over time."""
    del variables, references
    parts = {branch: encoding["scores"][branch].mean() for branch in self.branches}
    attention = {f"{module} attention": encoding["attention"][module] for module in self.modules}
    return Assessment(score=self.score(encoding), parts=parts, attention=attention)


def build(config: ConfigDict) -> Method:
  """Returns the method of `config.model`, `config.loss` and `config.train.alternation`.

  Raises:
    ValueError: for options that cannot be.
  """
  model, dtype, stream = config.model, operand_type(config), config.data.stream
  branches = tuple(model.branches)
  modules = tuple(name for name in branches if name not in NO_FILTERS)
  _check(config, modules)
  filters = AttentionFilters(modules, model.num_filters, model.hidden, model.normalize, dtype, model.implementation)
  system = RankAware(model, config.loss, stream, branches, modules, filters, RankingLayers(branches, dtype))
  phases: tuple[Phase, ...]
  if not modules:
    phases = (Phase(system.ranking_loss, trains="."),)
  elif config.train.alternation == "joint":
    phases = (Phase(system.joint_loss, trains="."),)
  else:
    phases = Phase(system.ranking_loss, trains="^ranking/"), Phase(system.attention_loss, trains="^filters/")
  return Method(init=system.init, encode=system.encode, phases=phases, assess=system.assess, items=PAIRS,
                streams=(stream,), standardizes=True, meanings=MEANINGS,
                published=published_checkpoints.pros_cons())


def real_rows(features: jax.Array, lengths: jax.Array) -> jax.Array:
  """Returns `[V, T]` which rows of `[V, T, D]` features are real, given `[V]` their numbers."""
  return jnp.arange(features.shape[1]) < lengths[:, None]


def _check(config: ConfigDict, modules: Sequence[str]) -> None:
  options: dict[tuple[str, str], tuple[str, ...]] = {
      ("model", "filter_scores"): ("merged", "each"), ("model", "score"): ("linear", "tanh"),
      ("model", "noise"): ("shared", "per_video"), ("model", "normalize"): ("softmax", "sigmoid"),
      ("loss", "diversity_norm"): ("squared", "frobenius"), ("train", "alternation"): ("alternate", "leaky", "joint")}
  for (group, name), allowed in options.items():
    if config[group][name] not in allowed:
      raise ValueError(f"config.{group}.{name}={config[group][name]!r} is unknown; use one of {', '.join(allowed)}.")
  unknown = [name for name in config.model.branches if name not in MODULES + NO_FILTERS]
  if unknown:
    raise ValueError(f"config.model.branches: {unknown[0]!r} is unknown; use some of "
                     f"{', '.join(MODULES + NO_FILTERS)}.")
  if not config.model.branches or len(set(config.model.branches)) != len(config.model.branches):
    raise ValueError(f"config.model.branches={tuple(config.model.branches)} must name each branch once, at least one.")
  if modules and (config.model.num_filters < 1 or config.model.hidden < 1):
    raise ValueError(f"config.model: num_filters={config.model.num_filters} and hidden={config.model.hidden} must be "
                     "at least 1.")
  if modules and config.train.alternation != "joint" and "uniform" not in config.model.branches:
    raise ValueError("config.train.alternation: without a uniform branch attention learns from the ranking losses "
                     "alone; use config.train.alternation='joint'.")
