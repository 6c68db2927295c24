"""Rank-aware temporal attention: which of two performances is better, and which moments say so.

Two attention modules look for what betrays high and low skill; beside them a uniform branch weights all segments alike.
Each branch has its own ranking layer. Margin losses order the pairs within every branch, make attention better than
uniform weighting (disparity), and make the high-skill moments of the better video outrank the low-skill moments of the
worse one (rank-aware).

V videos, T segments, D feature channels, K filters of a module, S scores of a branch (1, or K where filters are not
merged).

Reference: Doughty, Mayol-Cuevas, Damen, The Pros and Cons: Rank-Aware Temporal Attention for Skill Determination in
Long Videos, CVPR 2019. "Eq." below are its equations; What the published code does otherwise are the options of
`config.model` and `config.loss` set by `variant="official"`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxskill.methods import PAIRS, Assessment, Meaning, Method, Phase
from jaxskill.methods.common import hinge, in_order
from jaxskill.modules.attention_filters import AttentionFilters, RankingLayers

NO_FILTERS = ("uniform", "last")
MODULES = ("high", "low", "both", "attention")     # "both" and "attention" stand alone: one module for all of skill
BOTH = Meaning("moments that speak for or against skill", finds=("relevant_high", "relevant_low"))
MEANINGS = {"high attention": Meaning("moments that speak for skill", 1, finds=("relevant_high",)),
            "low attention": Meaning("moments that speak against skill", -1, finds=("relevant_low",)),
            "both attention": BOTH, "attention attention": BOTH}


def diversity(attention, norm):
  """How much the filters of one module look at the same segments (Eq. 18): || A A^T - I || of `[K, T]` weights.

  Args:
    attention: `[K, T]` attention weights of one video.
    norm: "squared" Frobenius (Eq. 19), or "frobenius" (the published code).
  """
  square = jnp.sum((attention @ attention.T - jnp.eye(len(attention))) ** 2)
  if norm == "squared":
    return square
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)   # finite gradient at 0


def build(config) -> Method:
  """The method of `config.model`, `config.loss` and `config.train.alternation`."""
  model, loss = config.model, config.loss
  modules = tuple(name for name in model.branches if name not in NO_FILTERS)
  branches = tuple(model.branches)
  dtype = jnp.dtype(config.train.dtype)
  _check(config, modules)
  filters = AttentionFilters(modules, model.num_filters, model.hidden, model.normalize, dtype, model.implementation)
  ranking = RankingLayers(branches, dtype)
  scored = modules or branches            # Eq. 16: the test score leaves the uniform branch out where there is attention
  stream = config.data.stream

  def init(key, videos, constants):
    del constants
    features = videos[stream].astype(jnp.float32)
    mask = _mask(features, videos["lengths"][stream])
    filters_key, ranking_key = jax.random.split(key)
    params = dict(ranking=ranking.init(ranking_key, features)["params"])
    if modules:
      params["filters"] = filters.init(filters_key, features, mask)["params"]
    return params

  def encode(variables, videos, key, train):
    features, lengths = videos[stream], videos["lengths"][stream]
    mask = _mask(features, lengths)
    noise, statistics = None, variables["constants"].get("features", {}).get(stream, {})
    if train and model.noise_std:
      if model.noise == "shared":
        noise = model.noise_std * jax.random.normal(key, features.shape[1:])
      else:                               # in the unit of the raw features, as they are what is rewritten here
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, videos["position"])
        draw = model.noise_std * jax.vmap(lambda k: jax.random.normal(k, features.shape[1:]))(keys)
        features = (features + draw * statistics.get("scale", 1.0)).astype(features.dtype)
    params = variables["params"]
    values = ranking.apply({"params": params["ranking"]}, features, noise, **statistics)
    attention = (filters.apply({"params": params["filters"]}, features, mask, noise, **statistics) if modules else {})
    scores = {}
    for branch, (value, bias) in values.items():
      if branch in modules:
        weights = attention[branch] if model.filter_scores == "each" else attention[branch].sum(axis=1, keepdims=True)
      elif branch == "uniform":
        weights = (mask / mask.sum(axis=1, keepdims=True))[:, None]
      else:                                                                               # the last real segment
        weights = jax.nn.one_hot(lengths - 1, features.shape[1])[:, None]
      score = jnp.einsum("vst,vt->vs", weights, value) + bias                             # [V, S] (Eq. 3, 8, 9, 17)
      scores[branch] = 2 * jnp.tanh(score) if model.score == "tanh" else score
    return dict(scores=scores, attention=attention)

  def ranking_loss(variables, pair, labels):
    """Margin ranking in every branch (Eq. 10-12)."""
    del variables, labels
    better, worse = pair
    terms = {f"rank_{b}": hinge(loss.margin_rank, better["scores"][b].mean() - worse["scores"][b].mean())
             for b in branches}
    return sum(terms.values()), terms | _accuracy(pair)

  def attention_loss(variables, pair, labels):
    """Disparity (Eq. 13), rank-aware (Eq. 14) and diversity (Eq. 19) losses."""
    del labels
    better, worse = pair
    weights, terms = variables["constants"]["loss_weights"], {}
    uniform_gap = (better["scores"]["uniform"] - worse["scores"]["uniform"])[0] if "uniform" in branches else 0.0
    for module in modules:
      if "uniform" in branches:
        gap = jnp.min(better["scores"][module] - worse["scores"][module])
        terms[f"disparity_{module}"] = weights["disparity"] * hinge(loss.margin_disparity, gap - uniform_gap)
      terms[f"diversity_{module}"] = weights["diversity"] * sum(
          diversity(video["attention"][module], loss.diversity_norm) for video in pair)
      if model.normalize == "sigmoid":
        terms[f"sparsity_{module}"] = weights["sparsity"] * sum(video["attention"][module].sum() for video in pair)
    if "high" in modules and "low" in modules and "uniform" in branches:
      gap = jnp.min(better["scores"]["high"] - worse["scores"]["low"])
      terms["rank_aware"] = weights["rank_aware"] * hinge(loss.margin_rank_aware, gap - uniform_gap)
    return jnp.asarray(sum(terms.values()), jnp.float32), terms | _accuracy(pair)

  def joint_loss(variables, pair, labels):
    """All of Eq. 15 in one step."""
    first, terms = ranking_loss(variables, pair, labels)
    second, more = attention_loss(variables, pair, labels)
    return first + second, terms | more

  def score(video):
    return sum(video["scores"][branch].mean() for branch in scored)                      # Eq. 16

  def _accuracy(pair):
    return dict(accuracy=in_order(*map(score, pair)))

  def assess(variables, encoding, references):
    """Scores by branch, and the attention of each module's filters over time."""
    del variables, references
    return Assessment(score=score(encoding), parts={branch: encoding["scores"][branch].mean() for branch in branches},
                      attention={f"{module} attention": encoding["attention"][module] for module in modules})

  if config.train.alternation == "joint" or not modules:
    phases = (Phase(joint_loss if modules else ranking_loss, trains="."),)
  else:
    phases = (Phase(ranking_loss, trains="^ranking/"), Phase(attention_loss, trains="^filters/"))
  return Method(init=init, encode=encode, phases=phases, assess=assess, items=PAIRS, streams=(stream,),
                standardizes=True, meanings=MEANINGS)


def _mask(features, lengths):
  return jnp.arange(features.shape[1]) < lengths[:, None]                                # [V, T]


def _check(config, modules):
  options = dict(filter_scores=("merged", "each"), score=("linear", "tanh"), noise=("shared", "per_video"),
                 normalize=("softmax", "sigmoid"))
  for name, allowed in options.items():
    if config.model[name] not in allowed:
      raise ValueError(f"config.model.{name}={config.model[name]!r} is unknown; use one of {', '.join(allowed)}.")
  for group, name, allowed in ((config.loss, "diversity_norm", ("squared", "frobenius")),
                               (config.train, "alternation", ("alternate", "leaky", "joint"))):
    if group[name] not in allowed:
      raise ValueError(f"config {name}={group[name]!r} is unknown; use one of {', '.join(allowed)}.")
  unknown = [name for name in config.model.branches if name not in MODULES + NO_FILTERS]
  if unknown:
    raise ValueError(f"config.model.branches: {unknown[0]!r} is unknown; use some of {', '.join(MODULES + NO_FILTERS)}.")
  if not config.model.branches or len(set(config.model.branches)) != len(config.model.branches):
    raise ValueError(f"config.model.branches={tuple(config.model.branches)} must name each branch once, at least one.")
  if modules and (config.model.num_filters < 1 or config.model.hidden < 1):
    raise ValueError(f"config.model: num_filters={config.model.num_filters} and hidden={config.model.hidden} must be "
                     "at least 1.")
  if modules and config.train.alternation != "joint" and "uniform" not in config.model.branches:
    raise ValueError("config.train.alternation: without a uniform branch attention learns from the ranking losses "
                     "alone; use config.train.alternation='joint'.")
