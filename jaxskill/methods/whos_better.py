"""Who's Better, Who's Best: which of two performances is better, from single segments of three equal parts of a video.

In training one segment of each part is drawn, as temporal segment networks do, and the same network ranks both videos
of a pair: in every part the segment of the better video must be ahead of that of the worse one by a margin, and
segments of two videos that show equal skill (`SkillDataset.similar`) must lie within that margin. Streams have networks
of their own, which know nothing of each other; their scores are summed. The test score is a mean over evenly spaced
segments.

The paper trains whole video networks; here they are given features, and a small ranking network of each stream is
trained. The paper sums each loss over its own pairs; here every ordered pair comes with one similar pair, so that both
losses weigh as `config.loss.weights` says, however many pairs of either kind there are.

V videos, T rows of a stream, D channels, S streams, P parts, N segments of each part (1 in training).

References: Doughty, Damen, Mayol-Cuevas, Who's Better? Who's Best? Pairwise Deep Ranking for Skill Determination, CVPR
2018 (its losses of ordered and of similar pairs; the numbers of its equations were not at hand); Wang et al., Temporal
Segment Networks, ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from jaxskill.data.dataset import SkillDataset
from jaxskill.methods import PAIRS_AND_SIMILAR, Assessment, Method, Phase, Tree
from jaxskill.methods.common import check_rows, hinge, in_order, operand_type


class Ranker(nn.Module):
  """`[..., D]` rows of a stream -> `[...]` rank scores, float32."""

  hidden: int                             # units of a layer before the ranking layer; 0 is none
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, rows: jax.Array) -> jax.Array:
    units = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="embed")(rows)) if self.hidden else rows
    score = nn.Dense(1, use_bias=False, dtype=self.dtype, name="rank")(units)     # a bias cancels in every difference
    return score[..., 0].astype(jnp.float32)


def drawn_rows(lengths: jax.Array, places: jax.Array) -> jax.Array:
  """Returns the rows of the segments that are taken of each part.

  Args:
    lengths: `[V]` real rows.
    places: `[V, P, N]` in [0, 1), where in its part each segment lies.

  Returns:
    `[V, P, N]` int32, real rows; parts share a row where a video has no row for each.
  """
  parts = places.shape[1]
  along = (jnp.arange(parts)[:, None] + places) / parts
  rows = jnp.floor(along * lengths[:, None, None]).astype(jnp.int32)
  return jnp.minimum(rows, lengths[:, None, None] - 1)


def part_of_rows(lengths: jax.Array, rows: int, parts: int) -> jax.Array:
  """Returns `[V, T]` the part that the middle of each row lies in; those of padding are the last.

  Args:
    lengths: `[V]` real rows; rows: T; parts: how many there are.
  """
  middle = (jnp.arange(rows) + 0.5) / lengths[:, None]
  return jnp.minimum(jnp.floor(middle * parts).astype(jnp.int32), parts - 1)


def loss_terms(item: Sequence[Tree], streams: Sequence[str], margin: float,
               weight: float | jax.Array) -> dict[str, jax.Array]:
  """Returns the losses of an item {name: []}: of the ordered pair, and of the similar pair where it comes with one.

  Args:
    item: encodings of (better, worse), or of (better, worse, first, second), the last two of equal skill.
    streams: names; margin: of both losses; weight: of the loss of the similar pair.
  """
  terms = {}
  for name in streams:
    better, worse, *similar = (video["scores"][name] for video in item)
    terms[f"rank_{name}"] = hinge(margin, better - worse).sum()
    if similar:
      first, second = similar
      terms[f"similar_{name}"] = weight * jax.nn.relu(jnp.abs(first - second) - margin).sum()
  return terms


def build(config: ConfigDict) -> Method:
  """Returns the method of `config.model` and `config.loss`; raises a `ValueError` for options that cannot be."""
  model, streams, dtype = config.model, tuple(config.model.streams), operand_type(config)
  _check(config)
  ranker = Ranker(model.hidden, dtype)

  def init(key: jax.Array, videos: Tree, constants: Tree) -> Tree:
    del constants
    keys = jax.random.split(key, len(streams))
    return {name: ranker.init(of_stream, videos[name])["params"] for name, of_stream in zip(streams, keys)}

  def places(videos: Tree, name: str, key: jax.Array | None) -> jax.Array:
    """`[V, P, N]` where the segments of a stream lie: drawn in training, else evenly spaced."""
    if key is None:
      return jnp.broadcast_to((jnp.arange(model.test_segments) + 0.5) / model.test_segments,
                              (len(videos["position"]), model.parts, model.test_segments))
    of_stream = jax.random.fold_in(key, streams.index(name))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(of_stream, videos["position"])
    return jax.vmap(lambda key: jax.random.uniform(key, (model.parts, 1)))(keys)

  def encode(variables: Tree, videos: Tree, key: jax.Array, train: bool) -> Tree:
    scores = {}
    for name in streams:
      rows = drawn_rows(videos["lengths"][name], places(videos, name, key if train else None))
      taken = jax.vmap(lambda video, chosen: video[chosen])(videos[name], rows)               # [V, P, N, D]
      scores[name] = ranker.apply({"params": variables["params"][name]}, taken)
    return dict(scores=scores, part=part_of_rows(videos["lengths"][streams[0]], videos[streams[0]].shape[1],
                                                 model.parts))

  def total(encoding: Any) -> jax.Array:
    """[] what the test score is: the sum over the streams of the mean of all segments."""
    return sum(encoding["scores"][name].mean() for name in streams)

  def loss(variables: Tree, item: tuple, labels: Tree) -> tuple[Any, Tree]:
    """In every part of every stream the better video's segment is ahead, and those of a similar pair are near."""
    del labels
    terms = loss_terms(item, streams, config.loss.margin, variables["constants"]["loss_weights"]["similar"])
    return sum(terms.values()), terms | dict(accuracy=in_order(*map(total, item[:2])))

  def assess(variables: Tree, encoding: Any, references: Any) -> Assessment:
    """The rank score, of each stream where there are several, and of each part of the video."""
    del variables, references
    parts = sum(encoding["scores"][name].mean(axis=-1) for name in streams)
    return Assessment(
        score=total(encoding), segments=dict(number=encoding["part"], score=parts,
                                             importance=jnp.full(model.parts, 1 / model.parts)),
        parts={name: encoding["scores"][name].mean() for name in streams} if len(streams) > 1 else {})

  def check(dataset: SkillDataset, others: Any) -> None:
    del others
    for name in streams:
      check_rows(dataset, name, "config.model.streams")

  return Method(init=init, encode=encode, phases=(Phase(loss, trains="."),), assess=assess,
                items=PAIRS_AND_SIMILAR, streams=streams, check=check)


def _check(config: ConfigDict) -> None:
  streams = tuple(config.model.streams)
  if not streams or len(set(streams)) != len(streams):
    raise ValueError(f"config.model.streams={streams} must name each stream once, at least one.")
  for name, least in dict(parts=1, test_segments=1, hidden=0).items():
    if config.model[name] < least:
      raise ValueError(f"config.model.{name}={config.model[name]} must be at least {least}.")
  if not config.loss.margin > 0:
    raise ValueError(f"config.loss.margin={config.loss.margin} must be positive.")
