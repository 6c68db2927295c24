"""Spatial attention guided by what was seen so far: which performance is better, and where in the frame that shows.

A video is cut into segments and shows one frame of each: a random one in training, the last in testing. The network
reads the feature maps of these frames in turn; a margin loss orders the scores of the two videos of a pair.

V videos, N stored frames, T segments, h x w places, C channels.

Reference: Li, Huang, Cai, Sato, Manipulation-skill Assessment from Videos with Spatial Attention Network, ICCVW 2019.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxskill.data.dataset import Fold, SkillDataset
from jaxskill.evaluate.truth import PLACES
from jaxskill.methods import PAIRS, Assessment, Meaning, Method, Phase, Tree, standardized
from jaxskill.methods.common import hinge, in_order, operand_type
from jaxskill.modules.gru_attention import (
  ATTENTIONS,
  FUSION_SIZE,
  GUIDES,
  IMPLEMENTATIONS,
  PADDINGS,
  SpatialAttention,
  places_seen,
)
from jaxskill.modules.layers import take


def frame_rows(lengths: jax.Array, segments: int, keys: jax.Array | None = None) -> jax.Array:
  """Returns which frame each segment shows: its last, or with `keys` `[V]` a random one.

  Args:
    lengths: `[V]` stored frames, at least `segments`.

  Returns:
    `[V, T]` rows.
  """
  edges = lengths[:, None] * jnp.arange(segments + 1) // segments                         # [V, T + 1]
  if keys is None:
    return edges[:, 1:] - 1

  def draw(key: jax.Array, first: jax.Array, end: jax.Array) -> jax.Array:
    return jax.random.randint(key, first.shape, first, end)
  return jax.vmap(draw)(keys, edges[:, :-1], edges[:, 1:])


def build(config: ConfigDict) -> Method:
  """Returns the method of `config.model` and `config.loss`.

  Raises:
    ValueError: for options that cannot be.
  """
  model, stream, dtype = config.model, config.data.stream, operand_type(config)
  _check(config)
  network = SpatialAttention(
      model.filters, model.channels, model.padding, model.attention, tuple(model.guides), model.attention_gru,
      model.attention_hidden, model.attention_width, model.hidden, dtype, model.implementation,
      model.update_bias)

  def prepare(dataset: SkillDataset, fold: Fold, criterion: str) -> Tree:
    del fold, criterion
    check_data(config, dataset)
    return {}

  def init(key: jax.Array, videos: Tree, constants: Tree) -> Tree:
    del constants
    return network.init(key, view(videos, {}, None)[0])["params"]

  def view(videos: Tree, statistics: Tree | None, keys: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns `[V, T, h, w, C]` maps of the frames that are shown, `[V, T]` their rows."""
    maps, rows = videos[stream], frame_rows(videos["lengths"][stream], model.segments, keys)
    if maps.shape[1] > model.segments:
      maps = jax.vmap(take)(maps, rows)
    return (standardized(maps, statistics) if statistics else maps), rows

  def encode(variables: Tree, videos: Tree, key: jax.Array, train: bool) -> Tree:
    of_videos = jax.vmap(jax.random.fold_in, (None, 0))(key, videos["position"]) if train else None
    maps, rows = view(videos, variables["constants"].get("features", {}).get(stream), of_videos)
    score, attention = network.apply({"params": variables["params"]}, maps)
    return dict(score=score, attention=attention, rows=rows)

  def ranking_loss(variables: Tree, pair: tuple[Tree, Tree], labels: Tree) -> tuple[jax.Array, Tree]:
    """Returns the margin ranking loss of a pair (Eq. 11)."""
    del variables, labels
    better, worse = (video["score"] for video in pair)
    return hinge(loss.margin, better - worse), dict(accuracy=in_order(better, worse))

  def assess(variables: Tree, encoding: Any, references: Any) -> Assessment:
    """Returns the rank score, and the attention over the places of each frame shown, beside that of equal weights.

    These are not even: without padding, fewer fused places look at the border of a map than at its middle.
    """
    del variables, references
    attention = encoding["attention"]
    weights = dict(attention=attention, uniform=jnp.full_like(attention, 1 / attention[0].size))
    maps = {name: places_seen(values, FUSION_SIZE, model.padding) for name, values in weights.items()}
    return Assessment(score=encoding["score"], maps=maps, rows=dict.fromkeys(maps, encoding["rows"]))

  loss = config.loss
  return Method(init=init, encode=encode, phases=(Phase(ranking_loss, trains="."),), assess=assess, items=PAIRS,
                streams=(stream,), standardizes=True, prepare=prepare,
                check=lambda dataset, others: check_data(config, dataset),
                meanings=dict(attention=Meaning("where in the picture the model looked", finds=PLACES),
                              uniform=Meaning("equal weights", finds=PLACES, shown=False)))


def check_data(config: ConfigDict, dataset: SkillDataset) -> None:
  """Checks what the config asks of a data set, before anything is compiled.

  Raises:
    ValueError: if the maps are missing, are none, have another width than `config.model.width`, are smaller than the
      first convolution, or a video has fewer frames than segments.
  """
  model, name, source = config.model, config.data.stream, dataset.source
  if name not in dataset.streams:
    raise ValueError(f"{source}: there is no stream {name!r}, only {', '.join(dataset.streams)}; give <video>.npz with "
                     "the maps `rgb` and `flow` [frames, h, w, channels], or set config.data.stream to the maps' name.")
  shape = dataset.streams[name].shape
  if len(shape) != 5:
    raise ValueError(f"{source}: stream {name!r} holds {list(shape[2:])} a row; spatial attention reads maps "
                     "[frames, h, w, channels]: keep the places of the last layer, do not average over them.")
  if model.width not in (0, shape[4]) and not dataset.simulated:
    raise ValueError(f"{source}: the maps {name!r} have {shape[4]} channels, not config.model.width={model.width}; "
                     "extract appearance and motion as published, or set config.model.width=0 to take them as they "
                     "are.")
  if min(shape[2:4]) < FUSION_SIZE:
    raise ValueError(f"{source}: the maps {name!r} have {shape[2]} x {shape[3]} places; expected at least "
                     f"{FUSION_SIZE} x {FUSION_SIZE}; extract them from larger frames or an earlier layer.")
  short = np.flatnonzero(dataset.lengths[name] < model.segments)
  if short.size:
    video = short[0]
    raise ValueError(f"{source}: video {dataset.videos[video]!r} has maps of {dataset.lengths[name][video]} frames, "
                     f"fewer than config.model.segments={model.segments} ({short.size} such videos); extract more "
                     "frames, or use fewer segments.")


def _check(config: ConfigDict) -> None:
  model = config.model
  if config.loss.margin < 0 or model.width < 0:
    raise ValueError(f"config.loss.margin={config.loss.margin} and config.model.width={model.width} must not be "
                     "negative.")
  for name, allowed in dict(padding=PADDINGS, attention=ATTENTIONS, implementation=IMPLEMENTATIONS).items():
    if model[name] not in allowed:
      raise ValueError(f"config.model.{name}={model[name]!r} is unknown; use one of {', '.join(allowed)}.")
  guides = tuple(model.guides)
  if not guides or set(guides) - set(GUIDES) or len(set(guides)) != len(guides):
    raise ValueError(f"config.model.guides={guides} must be some of {', '.join(GUIDES)}, at least one, each once.")
  for name in ("segments", "filters", "channels", "attention_hidden", "attention_width", "hidden"):
    if model[name] < 1:
      raise ValueError(f"config.model.{name}={model[name]} must be at least 1.")
