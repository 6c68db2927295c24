"""ACTION-NET: the score of a long video, from how its segments move and how the performer stands in its frames.

Each stream (dynamic: video segments; static: frames) has a context-aware encoder of its own; both features together
give a score between 0 and 1, learned from scores divided by their range. In training each video shows a random window
of every stream, in testing the middle one.

V videos, T instances of a stream, W of its window.

Reference: Zeng et al., Hybrid Dynamic-static Context-aware Attention Network for Action Assessment in Long Videos, ACM
MM 2020. "Eq." below are its equations; what the published code does otherwise are the options of `config.model` set by
`variant="official"`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxskill import published_checkpoints
from jaxskill.data.dataset import Fold, SkillDataset
from jaxskill.methods import VIDEOS, Assessment, Meaning, Method, Phase, Tree
from jaxskill.methods.common import check_rows, check_scores, operand_type, score_range
from jaxskill.modules.gcn_context import ADJACENCIES, CONTEXTS, POOLINGS, ScoreHead, StreamEncoder

SEEN = dict(rgb="how the person moves", static="the person's postures, in single pictures")     # by stream, for legends
FINDS = dict(rgb=("critical",), static=("posture_error",))     # by stream, truths of simulated performances


def window_starts(lengths: jax.Array, size: int, keys: jax.Array | None = None, last: bool = True) -> jax.Array:
  """Returns `[V]` the first rows of the windows: the middle, or with `keys` `[V]` a random place.

  Args:
    lengths: `[V]` real rows; videos shorter than `size` start at 0.
    size: W.
    keys: one a video.
    last: False: never the last possible place, where there are several (the published code).
  """
  slack = jnp.maximum(lengths - size, 0)
  if keys is None:
    return slack // 2
  places = slack + 1 if last else jnp.maximum(slack, 1)
  return jax.vmap(lambda key, count: jax.random.randint(key, (), 0, count))(keys, places)


@dataclasses.dataclass(frozen=True, eq=False)
class TwoStreams:
  """The networks of a config, what they say of videos, and the loss of a video.

  Attributes:
    config: whole; `model` is a group of it.
    streams: by name, in the order in which the head reads them.
    encoder: context-aware attention of one stream; each stream has parameters of its own.
    head: the score, from the features of all streams.
  """

  config: ConfigDict
  streams: tuple[str, ...]
  encoder: StreamEncoder
  head: ScoreHead

  @property
  def model(self) -> ConfigDict:
    """Returns `config.model`."""
    return self.config.model

  def prepare(self, dataset: SkillDataset, fold: Fold, criterion: str) -> dict[str, np.ndarray]:
    """Returns {"score_range": `[2]` the lowest and the highest possible score}.

    Raises:
      ValueError: if there are no scores, or their range is not known.
    """
    del fold
    return dict(score_range=np.array(score_range(self.config, dataset, criterion), np.float32))

  def targets(self, dataset: SkillDataset, criterion: str) -> np.ndarray:
    """Returns `[V]` float32 scores, after `check_data`."""
    check_data(self.config, dataset, criterion)
    return np.asarray(dataset.labels(criterion), np.float32)

  def init(self, key: jax.Array, videos: Tree, constants: Tree) -> Tree:
    """Returns the first parameters: {"streams": {stream: of the encoder}, "head"}."""
    del constants
    keys, params, pooled = jax.random.split(key, len(self.streams) + 1), {}, []
    for name, stream_key in zip(self.streams, keys):
      rows, mask, _ = self.view(videos, name, None)
      (feature, _), variables = self.encoder.init_with_output(stream_key, rows, mask)
      params[name] = variables["params"]
      pooled.append(feature)
    return dict(streams=params, head=self.head.init(keys[-1], jnp.concatenate(pooled, axis=1))["params"])

  def view(self, videos: Tree, name: str, keys: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns `[V, W, D]` the window of a stream, `[V, W]` its mask, `[V]` its first rows in the stream.

    Args:
      videos: as `Method.encode` takes them.
      name: of the stream.
      keys: `[V]`, of the places of the windows; None takes the middle.
    """
    features, lengths = videos[name], videos["lengths"][name]
    size = self.model.windows.get(name, 0) or features.shape[1]
    if self.model.padding == "zeros":
      features = jnp.pad(features, ((0, 0), (0, max(size - features.shape[1], 0)), (0, 0)))
    size = min(size, features.shape[1])
    starts = window_starts(lengths, size, keys, self.model.last_start)
    if size < features.shape[1]:
      features = jax.vmap(lambda x, start: jax.lax.dynamic_slice_in_dim(x, start, size))(features, starts)
    mask = starts[:, None] + jnp.arange(size) < lengths[:, None]
    if self.model.padding == "zeros":                      # the published code attends over what it pads with
      features, mask = jnp.where(mask[..., None], features, 0), jnp.ones_like(mask)
    return features, mask, starts

  def encode(self, variables: Tree, videos: Tree, key: jax.Array, train: bool) -> Tree:
    """Returns {"score": `[V]` shares of the range (Eq. 6), "attention": {stream: `[V, T]`}}; 0 outside the window."""
    params = variables["params"]
    of_videos: Any = jax.vmap(jax.random.fold_in, (None, 0))(key, videos["position"]) if train else None

    def draw(number: int) -> jax.Array | None:
      return jax.vmap(jax.random.fold_in, (0, None))(of_videos, number) if train else None
    pooled, attention = [], {}
    for number, name in enumerate(self.streams):
      rows, mask, starts = self.view(videos, name, draw(number))
      encoded: Any = self.encoder.apply({"params": params["streams"][name]}, rows, mask)
      feature, weights = encoded
      pooled.append(feature)
      attention[name] = over_stream(weights, starts, videos[name].shape[1])
    score = self.head.apply({"params": params["head"]}, jnp.concatenate(pooled, axis=1), draw(len(self.streams)))
    return dict(score=score, attention=attention)

  def squared_error(self, variables: Tree, encodings: Sequence[Tree], labels: Tree) -> tuple[jax.Array, Tree]:
    """Returns the loss of one video, scores as shares of their range; ours, for the paper names no loss."""
    (encoding,), (label,) = encodings, labels["score"]
    low, high = variables["constants"]["score_range"]
    error = encoding["score"] - (label - low) / (high - low)
    return error ** 2, dict(error=jnp.abs(error) * (high - low))

  def assess(self, variables: Tree, encoding: Tree, references: Tree | None) -> Assessment:
    """Returns the score in the unit of the labels, and the attention of each stream over its own rows."""
    del references
    low, high = variables["constants"]["score_range"]
    return Assessment(score=low + encoding["score"] * (high - low),
                      attention={f"{name} attention": encoding["attention"][name][None] for name in self.streams})


def over_stream(weights: jax.Array, starts: jax.Array, rows: int) -> jax.Array:
  """Returns `[V, T]` weights of the T rows of a stream, given `[V, W]` of windows that start at `[V]`; else 0."""
  place = jnp.arange(rows) - starts[:, None]                                              # [V, T] in the window
  seen = jnp.take_along_axis(weights, jnp.clip(place, 0, weights.shape[1] - 1), axis=1)
  return jnp.where((place >= 0) & (place < weights.shape[1]), seen, 0.0)


def build(config: ConfigDict) -> Method:
  """Returns the method of `config.model`.

  Raises:
    ValueError: for options that cannot be.
  """
  _check(config)
  model, streams, dtype = config.model, tuple(config.model.streams), operand_type(config)
  encoder = StreamEncoder(model.hidden, model.channels, model.context, model.adjacency, model.scale, model.pooling,
                          model.attention_hidden, model.num_filters, model.filter_hidden, dtype)
  system = TwoStreams(config, streams, encoder, ScoreHead(model.head_hidden, model.dropout, dtype))
  meanings = {f"{name} attention": Meaning(f"moments that count most in {SEEN.get(name, name)}",
                                           finds=FINDS.get(name, ())) for name in streams}
  published = published_checkpoints.action_net() if system.streams == ("rgb", "static") else None        # in that order
  return Method(init=system.init, encode=system.encode, phases=(Phase(system.squared_error, trains="."),),
                assess=system.assess, items=VIDEOS, streams=streams,
                stream={f"{name} attention": name for name in streams}, prepare=system.prepare, targets=system.targets,
                check=lambda dataset, others: check_features(config, dataset), meanings=meanings,
                published=published)


def check_data(config: ConfigDict, dataset: SkillDataset, criterion: str = "score") -> None:
  """Raises a `ValueError` unless a data set is what the config asks for, see `check_features` and `check_scores`."""
  check_features(config, dataset)
  check_scores(config, dataset, criterion)


def check_features(config: ConfigDict, dataset: SkillDataset) -> None:
  """Checks what the config asks of the features.

  Raises:
    ValueError: if a stream is missing or has another width than `config.model.widths`, or a video has too few rows for
      a window.
  """
  model, source = config.model, dataset.source
  for name in model.streams:
    check_rows(dataset, name, "config.model.streams")
    width, channels = model.widths.get(name, 0), dataset.streams[name].shape[2]
    if width and channels != width:
      raise ValueError(f"{source}: stream {name!r} has {channels} channels, not config.model.widths.{name}={width}; "
                       f"extract the features as published, or set config.model.widths.{name}=0 to take them as they "
                       "are.")
    short = np.flatnonzero(dataset.lengths[name] < model.windows.get(name, 0))
    if short.size and name not in model.may_be_short:
      video = short[0]
      raise ValueError(f"{source}: video {dataset.videos[video]!r} has {dataset.lengths[name][video]} rows of stream "
                       f"{name!r}, fewer than config.model.windows.{name}={model.windows[name]} ({short.size} such "
                       f"videos); use a smaller window, or add {name!r} to config.model.may_be_short.")


def _check(config: ConfigDict) -> None:
  for name, allowed in dict(context=CONTEXTS, adjacency=ADJACENCIES, pooling=POOLINGS,
                            padding=("mask", "zeros")).items():
    if config.model[name] not in allowed:
      raise ValueError(f"config.model.{name}={config.model[name]!r} is unknown; use one of {', '.join(allowed)}.")
  streams = tuple(config.model.streams)
  if not streams or len(set(streams)) != len(streams):
    raise ValueError(f"config.model.streams={streams} must name each stream once, at least one.")
  for name in ("channels", "attention_hidden", "head_hidden", "num_filters", "filter_hidden"):
    if config.model[name] < 1:
      raise ValueError(f"config.model.{name}={config.model[name]} must be at least 1.")
  if config.model.context == "bilstm" and config.model.channels % 2:
    raise ValueError(f"config.model.channels={config.model.channels} must be even with the context 'bilstm', which has "
                     "half of them in each direction.")
  if not config.model.scale > 0:
    raise ValueError(f"config.model.scale={config.model.scale} must be positive.")
  if not 0 <= config.model.dropout < 1:
    raise ValueError(f"config.model.dropout={config.model.dropout} must be at least 0 and below 1.")
