"""ACTION-NET: the score of a long video, from how its segments move and how the performer stands in its frames.

Each stream (dynamic: video segments; static: frames) has a context-aware encoder of its own; both features together
give a score between 0 and 1, learned from scores divided by their range. In training each video shows a random window
of every stream, in testing the middle one.

V videos, T instances of a stream, W of its window.

Reference: Zeng et al., Hybrid Dynamic-static Context-aware Attention Network for Action Assessment in Long Videos, ACM
MM 2020. What the published code does otherwise are the options of `config.model` set by `variant="official"`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxskill.methods import VIDEOS, Assessment, Meaning, Method, Phase
from jaxskill.methods.common import check_scores, score_range
from jaxskill.modules.gcn_context import ADJACENCIES, CONTEXTS, POOLINGS, ScoreHead, StreamEncoder

SEEN = dict(rgb="how the person moves", static="the person's postures, in single pictures")     # by stream, for legends
FINDS = dict(rgb=("critical",), static=("posture_error",))     # by stream, truths of simulated performances


def window_starts(lengths, size, keys=None, last=True):
  """First rows of the windows: the middle, or with `keys` `[V]` a random place.

  Args:
    lengths: `[V]` real rows; videos shorter than `size` start at 0.
    last: False: never the last possible place, where there are several (the published code).
  """
  slack = jnp.maximum(lengths - size, 0)
  if keys is None:
    return slack // 2
  places = slack + 1 if last else jnp.maximum(slack, 1)
  return jax.vmap(lambda key, count: jax.random.randint(key, (), 0, count))(keys, places)


def build(config) -> Method:
  """The method of `config.model`."""
  model, streams, dtype = config.model, tuple(config.model.streams), jnp.dtype(config.train.dtype)
  _check(config)
  encoder = StreamEncoder(model.hidden, model.channels, model.context, model.adjacency, model.scale, model.pooling,
                          model.attention_hidden, model.num_filters, model.filter_hidden, dtype)
  head = ScoreHead(model.head_hidden, model.dropout, dtype)

  def prepare(dataset, fold, criterion):
    """The lowest and the highest possible score."""
    del fold
    return dict(score_range=np.array(score_range(config, dataset, criterion), np.float32))

  def targets(dataset, criterion):
    check_data(config, dataset, criterion)
    return np.asarray(dataset.labels(criterion), np.float32)

  def init(key, videos, constants):
    del constants
    keys, params, pooled = jax.random.split(key, len(streams) + 1), {}, []
    for name, stream_key in zip(streams, keys):
      rows, mask, _ = view(videos, name, None)
      (feature, _), variables = encoder.init_with_output(stream_key, rows, mask)
      params[name] = variables["params"]
      pooled.append(feature)
    return dict(streams=params, head=head.init(keys[-1], jnp.concatenate(pooled, axis=1))["params"])

  def view(videos, name, keys):
    """`[V, W, D]` window of a stream, `[V, W]` its mask, `[V]` its starts."""
    features, lengths = videos[name], videos["lengths"][name]
    size = model.windows.get(name, 0) or features.shape[1]
    if model.padding == "zeros":
      features = jnp.pad(features, ((0, 0), (0, max(size - features.shape[1], 0)), (0, 0)))
    size = min(size, features.shape[1])
    starts = window_starts(lengths, size, keys, model.last_start)
    if size < features.shape[1]:
      features = jax.vmap(lambda x, start: jax.lax.dynamic_slice_in_dim(x, start, size))(features, starts)
    mask = starts[:, None] + jnp.arange(size) < lengths[:, None]
    if model.padding == "zeros":                           # the published code attends over what it pads with
      features, mask = jnp.where(mask[..., None], features, 0), jnp.ones_like(mask)
    return features, mask, starts

  def encode(variables, videos, key, train):
    params = variables["params"]
    own = jax.vmap(jax.random.fold_in, (None, 0))(key, videos["position"]) if train else None
    draw = lambda number: jax.vmap(jax.random.fold_in, (0, None))(own, number) if train else None
    pooled, attention = [], {}
    for number, name in enumerate(streams):
      rows, mask, starts = view(videos, name, draw(number))
      feature, weights = encoder.apply({"params": params["streams"][name]}, rows, mask)
      pooled.append(feature)
      place = jnp.arange(videos[name].shape[1]) - starts[:, None]                         # [V, T] in the window
      seen = jnp.take_along_axis(weights, jnp.clip(place, 0, weights.shape[1] - 1), axis=1)
      attention[name] = jnp.where((place >= 0) & (place < weights.shape[1]), seen, 0.0)
    score = head.apply({"params": params["head"]}, jnp.concatenate(pooled, axis=1), draw(len(streams)))
    return dict(score=score, attention=attention)

  def squared_error(variables, encodings, labels):
    """Of one video, both scores as shares of their range. The paper does not name its loss."""
    (encoding,), (label,) = encodings, labels["score"]
    low, high = variables["constants"]["score_range"]
    error = encoding["score"] - (label - low) / (high - low)
    return error ** 2, dict(error=jnp.abs(error) * (high - low))

  def assess(variables, encoding, references):
    """The score in the unit of the labels, and the attention of each stream over its own rows."""
    del references
    low, high = variables["constants"]["score_range"]
    return Assessment(score=low + encoding["score"] * (high - low),
                      attention={f"{name} attention": encoding["attention"][name][None] for name in streams})

  return Method(init=init, encode=encode, phases=(Phase(squared_error, trains="."),), assess=assess, items=VIDEOS,
                streams=streams, stream={f"{name} attention": name for name in streams}, prepare=prepare,
                targets=targets, check=lambda dataset, others: check_features(config, dataset),
                meanings={f"{name} attention": Meaning(f"moments that count most in {SEEN.get(name, name)}",
                                                       finds=FINDS.get(name, ())) for name in streams})


def check_data(config, dataset, criterion="score"):
  """What the config asks of a data set, before anything is compiled: see `check_features` and `check_scores`."""
  check_features(config, dataset)
  check_scores(config, dataset, criterion)


def check_features(config, dataset):
  """What the config asks of the features.

  Raises:
    ValueError: if a stream is missing or has another width than `config.model.widths`, or a video has too few rows for a
      window.
  """
  model, source = config.model, dataset.source
  for name in model.streams:
    if name not in dataset.streams:
      raise ValueError(f"{source}: there is no stream {name!r}, only {', '.join(dataset.streams)}; set "
                       "config.model.streams to some of them.")
    shape = dataset.streams[name].shape
    if len(shape) != 3:
      raise ValueError(f"{source}: stream {name!r} holds {shape[2:]} a row; ACTION-NET reads features [rows, channels].")
    width = model.widths.get(name, 0)
    if width and shape[2] != width:
      raise ValueError(f"{source}: stream {name!r} has {shape[2]} channels, not config.model.widths.{name}={width}; "
                       f"extract the features as published, or set config.model.widths.{name}=0 to take them as they are.")
    short = np.flatnonzero(dataset.lengths[name] < model.windows.get(name, 0))
    if short.size and name not in model.may_be_short:
      video = short[0]
      raise ValueError(f"{source}: video {dataset.videos[video]!r} has {dataset.lengths[name][video]} rows of stream "
                       f"{name!r}, fewer than config.model.windows.{name}={model.windows[name]} ({short.size} such "
                       f"videos); use a smaller window, or add {name!r} to config.model.may_be_short.")


def _check(config):
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
  if not 0 <= config.model.dropout < 1:
    raise ValueError(f"config.model.dropout={config.model.dropout} must be at least 0 and below 1.")
