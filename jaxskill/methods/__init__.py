"""What a system is to the rest of jaxskill: pure functions made from its config."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

ITEMS = dict(pairs="pairs", videos="videos", exemplars="videos, each with an exemplar",
             references="videos, each with its references")      # in words
COMPARING = ("exemplars", "references")     # methods that learn from these read `config.model.exemplars`
NAMES = ("pros_cons", "core", "action_net", "skilldiff", "spatial_attention")


class Phase(NamedTuple):
  """One kind of optimiser step.

  Attributes:
    loss: (variables, encodings of the videos of one item, their labels) -> [] loss, {name: [] metric}. An item is a
      pair (better, worse), a video, or a video and its exemplar; labels are {"score", "difficulty": one number a video},
      as far as they are known, and what `Method.relate` says of the item.
    trains: regular expression; the parameters whose path ("filters/high/kernel") it finds are moved.
    batched: True where `loss` is written for a batch of items, because its fast form needs all of them: encodings and
      labels then have a leading axis B, and it returns `[B]` losses, {name: `[B]`}.
    gathers: True where a batched `loss` needs what the other devices found for their items: its fourth argument is then
      a function, `[B / devices, ...]` -> `[B, ...]`.
  """

  loss: Callable
  trains: str
  batched: bool = False
  gathers: bool = False


class Assessment(NamedTuple):
  """The one answer of every method about one video; reports and plots read nothing else.

  Attributes:
    score: [] higher is better; a rank score has no unit, a regressed score has that of the labels.
    parts: {name: []} the scores it is made of.
    timelines: {name: [T]} curves over the rows of `Method.stream_of(name)`.
    maps: {name: [N, h, w]} heat maps over frames, each of which sums to 1.
    alignment: {name: [T, S]} to the rows of a reference video, each row summing to 1; of many videos (`panel`) {name:
      [T]}, the place in the reference that each row leads to.
    probabilities: {name: [n]} of what a score was chosen from, e.g. the leaves of a tree.
    rows: {name: [N]} of the heat maps: rows of `Method.stream_of(name)` that they lie over.
  """

  score: jax.Array
  parts: Mapping[str, jax.Array]
  timelines: Mapping[str, jax.Array]
  maps: Mapping[str, jax.Array]
  alignment: Mapping[str, jax.Array]
  probabilities: Mapping[str, jax.Array]
  rows: Mapping[str, jax.Array] = {}


class Meaning(NamedTuple):
  """What a curve, heat maps or probabilities say to a reader who does not know the system.

  Attributes:
    words: as a legend has them.
    side: 1 where a high value speaks for skill, -1 where it speaks against, 0 where it is neither.
  """

  words: str
  side: int = 0


class Method(NamedTuple):
  """A system. `variables` is {"params": trained, "batch_stats": what training does not move}.

  Attributes:
    init: (key, videos `[1, ...]`, statistics, overrides) -> variables. `statistics` of the training videos is {stream:
      {"mean", "scale"}} where features are to be standardised, and what `prepare` found; `overrides` are loss weights
      of this replica (ablations).
    encode: (variables, videos, key, train) -> encodings with leading axis V: all that one video needs alone.
      `videos` is {stream: `[V, T, ...]`} with "lengths": {stream: `[V]`} and "position": `[V]`, the number of each
      video in the data set (randomness that belongs to a video follows it).
    phases: the kinds of steps, taken in turn.
    assess: (variables, encoding of one video, references) -> Assessment. References are None, or {"encodings", "score",
      "difficulty", "mask"} of M exemplars, leading axis M, and the video's "own_difficulty".
    timeline_stream: stream whose rows the timelines follow; {timeline: stream} where they follow several.
    streams: those that `encode` reads.
    learns_from: what an item of a batch is: "pairs" (better, worse), "videos" (one each), "exemplars" (a video, and
      one of its group drawn anew in every epoch), or "references" (a video and the M that its answer compares it with;
      where there are fewer, the video itself stands in their places).
    prepare: (dataset, fold, criterion) -> {name: array}: what has to be known of the training labels beforehand.
    targets: (dataset, criterion) -> `[V]` float32, what "score" is to the loss; not called where pairs are learnt from.
    check: (dataset, others) -> None: raises a `ValueError` for features that cannot be read, or compared with videos of
      {stream: `[M]` rows} (None without such); labels are not looked at.
    relate: (variables, labels `[B, k]` of a whole batch, mask `[B]`) -> {name: `[B, ...]`}: what the items of a batch
      are to one another, where a loss is not a sum over items.
    note: what the name of the data must say in every result, of the weights that training begins with.
    meanings: {name of a timeline, of heat maps, or "probabilities": what it says in plain words}.
  """

  init: Callable
  encode: Callable
  phases: tuple[Phase, ...]
  assess: Callable
  timeline_stream: str | Mapping[str, str]
  streams: tuple[str, ...]
  learns_from: str = "pairs"
  prepare: Callable = lambda dataset, fold, criterion: {}
  targets: Callable = lambda dataset, criterion: dataset.labels(criterion)
  relate: Callable = lambda variables, labels, mask: {}
  check: Callable = lambda dataset, others: None
  note: str = ""
  meanings: Mapping[str, Meaning] = {}

  def stream_of(self, timeline):
    """The stream whose rows a timeline, or heat maps, follow."""
    return self.timeline_stream if isinstance(self.timeline_stream, str) else self.timeline_stream[timeline]


def build(config) -> Method:
  """The method that `config.method` names.

  Raises:
    ValueError: if there is no such method.
  """
  if config.method not in NAMES:
    raise ValueError(f"config.method={config.method!r} is unknown; use one of {', '.join(NAMES)}.")
  return importlib.import_module(f"jaxskill.methods.{config.method}").build(config)
