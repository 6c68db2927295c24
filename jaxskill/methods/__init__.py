"""What a system is to the rest of jaxskill: pure functions made from its config."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxskill.evaluate import truth
from jaxskill.methods import fields
from jaxskill.methods.items import (
  EXEMPLARS,
  PAIRS,
  PAIRS_AND_SIMILAR,
  RANKED_REFERENCES,
  REFERENCES,
  VIDEOS,
  Items,
)
from jaxskill.published_checkpoints import Published

__all__ = ["EXEMPLARS", "PAIRS", "PAIRS_AND_SIMILAR", "RANKED_REFERENCES", "REFERENCES", "VIDEOS", "Assessment",
           "Distribution", "Items", "Meaning", "Method", "Phase", "build"]

Tree = dict[str, Any]         # nested dicts of arrays: variables, constants, videos by stream, encodings, labels


class Phase(NamedTuple):
  """One kind of optimizer step.

  Attributes:
    loss: (variables, encodings of the videos of one item, their labels) -> [] loss, {name: [] metric}. An item is a
      pair (better, worse), a video, or a video and its exemplar; labels are {"score", "difficulty": one number a
      video}, as far as they are known, and what `Method.relate` says of the item.
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


class Distribution(NamedTuple):
  """Probabilities `[n]` of values at places `[n]`, in the unit of the labels."""

  places: jax.Array
  probabilities: jax.Array


class Assessment(NamedTuple):
  """The one answer of every method about one video; reports, plots and pages read nothing else.

  Every kind is empty unless given.

  Attributes:
    score: [] higher is better; a rank score has no unit, a regressed score has that of the labels.
    parts: {name: []} the scores it is made of.
    attention: {name: `[K, T]`} weights over the rows of `Method.stream_of(name)`, of K filters, each of which sums to
      1; what is shown is their mean.
    curves: {name: `[T]`} other curves over the rows of `Method.stream_of(name)`.
    segments: {"number": `[T]` the segment that each row of the first stream is in, "score": `[K]`, "importance": `[K]`
      which sum to 1}.
    maps: {name: `[N, h, w]`} heat maps over frames, each of which sums to 1.
    rows: {name: `[N]`} of the heat maps: rows of `Method.stream_of(name)` that they lie over.
    alignment: `[M, T, S]` of the first stream's rows to those of each reference, each row summing to 1; of many videos
      (`training.answers`) `[M, T]`, the place in the reference that each row leads to. None without references.
    distribution: {title: `Distribution`} of what a score was chosen from, e.g. the leaves of a tree.
  """

  score: Any                              # arrays of JAX, of NumPy once they are on the host
  parts: Mapping[str, Any] = {}
  attention: Mapping[str, Any] = {}
  curves: Mapping[str, Any] = {}
  segments: Mapping[str, Any] = {}
  maps: Mapping[str, Any] = {}
  rows: Mapping[str, Any] = {}
  alignment: Any = None
  distribution: Mapping[str, Distribution] = {}


class Meaning(NamedTuple):
  """What attention, a curve, heat maps or a distribution say to a reader who does not know the system.

  Attributes:
    words: as a legend has them.
    side: 1 where a high value speaks for skill, -1 where it speaks against, 0 where it is neither.
    finds: truths of simulated performances (`SkillDataset.truth`) that it should find, which it is held against.
    shown: False for what is held against the truth alone, e.g. equal weights.
  """

  words: str
  side: int = 0
  finds: tuple[str, ...] = ()
  shown: bool = True


class Method(NamedTuple):
  """A system, made with keywords. `variables` is {"params": trained, "constants": what training does not move}.

  Attributes:
    init: (key, videos `[1, ...]`, constants) -> params.
    encode: (variables, videos, key, train) -> encodings with leading axis V: all that one video needs alone.
      `videos` is {stream: `[V, T, ...]`} with "lengths": {stream: `[V]`} and "position": `[V]`, the number of each
      video in the data set (randomness that belongs to a video follows it).
    phases: the kinds of steps, taken in turn.
    assess: (variables, encoding of one video, references) -> Assessment. References are None, or {"encodings", "score",
      "difficulty", "mask"} of M exemplars, leading axis M, and the video's "own_difficulty".
    items: what it learns from: `PAIRS`, `PAIRS_AND_SIMILAR`, `VIDEOS`, `EXEMPLARS`, `REFERENCES` or
      `RANKED_REFERENCES`, see `methods.items`.
    streams: those that `encode` reads.
    stream: stream whose rows attention, curves and heat maps follow, the first of `streams` by default; {name: stream}
      where they follow several.
    standardizes: whether `encode` itself standardizes features, by `constants["features"]`, {stream: {"mean", "scale"}}
      where there is one; else its videos already are.
    prepare: (dataset, fold, criterion) -> {name: array}: constants that the labels of the training side decide; what is
      named "initial" is given to `init` and not kept. The loop adds "features" and "loss_weights" (those of the config,
      or of the replica of an ablation).
    targets: (dataset, criterion) -> `[V]` float32, what "score" is to the loss; not called where pairs are learnt from.
    check: (dataset, others) -> None: raises a `ValueError` for features that cannot be read, or compared with videos of
      {stream: `[M]` rows} (None without such); labels are not looked at.
    relate: (variables, labels `[B, k]` of a whole batch, mask `[B]`) -> {name: `[B, ...]`}: what the items of a batch
      are to one another, where a loss is not a sum over items.
    scans: whether a step is for the most part a loop over rows, an alignment or a recurrence: XLA runs it on one core
      of a CPU, so that training uses a CPU device a core.
    note: what the name of the data must say in every result, of the weights that training begins with.
    meanings: {name of attention, of a curve or of heat maps, or "distribution": what it says in plain words}.
    published: how its published code names and saves its networks; None where there is no such code.
  """

  init: Callable
  encode: Callable
  phases: tuple[Phase, ...]
  assess: Callable
  items: Items
  streams: tuple[str, ...]
  stream: Mapping[str, str] = {}
  standardizes: bool = False
  prepare: Callable = lambda dataset, fold, criterion: {}
  targets: Callable = lambda dataset, criterion: dataset.labels(criterion)
  relate: Callable = lambda variables, labels, mask: {}
  check: Callable = lambda dataset, others: None
  scans: bool = False
  note: str = ""
  meanings: Mapping[str, Meaning] = {}
  published: Published | None = None

  def stream_of(self, name: str) -> str:
    """Returns the stream whose rows attention, a curve or heat maps follow."""
    return self.stream.get(name, self.streams[0])

  def encodings(self, variables: Mapping[str, Any], videos: Mapping[str, Any], key: jax.Array,
                train: bool) -> dict[str, Any] | jax.Array:
    """Returns `encode` of videos, standardized first where the method leaves that to others."""
    features = {} if self.standardizes else variables["constants"].get("features", {})
    seen = {name: standardized(videos[name], statistics) for name, statistics in features.items()}
    return self.encode(variables, {**videos, **seen}, key, train)


def standardized(rows: jax.Array, statistics: Mapping[str, jax.Array]) -> jax.Array:
  """Returns rows `[..., D]` by the statistics {"mean", "scale"} `[D]` of training rows, in the rows' type of floats."""
  dtype = rows.dtype if jnp.issubdtype(rows.dtype, jnp.floating) else jnp.float32
  return ((rows - statistics["mean"]) / statistics["scale"]).astype(dtype)


def names() -> tuple[str, ...]:
  """Returns the methods that there are: the files of this folder with a function `build(config)`."""
  found = (module.name for module in pkgutil.iter_modules(__path__))
  return tuple(sorted(name for name in found if hasattr(importlib.import_module(f"{__name__}.{name}"), "build")))


def build(config: ConfigDict) -> Method:
  """Returns the method that `config.method` names: the file of that name in this folder.

  Raises:
    ValueError: if there is no such method, the config lacks a field, or the method means to find what is not known.
  """
  name = config.get("method")
  known = isinstance(name, str) and name.isidentifier() and importlib.util.find_spec(f"{__name__}.{name}")
  module = importlib.import_module(f"{__name__}.{name}") if known else None
  if module is None or not hasattr(module, "build"):
    raise ValueError(f"config.method={name!r} is unknown; use one of {', '.join(names())}.")
  fields.check(config)
  method = module.build(config)
  _check_finds(name, method.meanings)
  return method


def _check_finds(name: str, meanings: Mapping[str, Meaning]) -> None:
  for what, meaning in meanings.items():
    for found in meaning.finds:
      if found not in truth.MOMENTS and found not in truth.PLACES:
        raise ValueError(f"methods/{name}.py: {what!r} finds {found!r}, which no simulated performance tells; use some "
                         f"of {', '.join((*truth.MOMENTS, *truth.PLACES))} (evaluate/truth.py).")
