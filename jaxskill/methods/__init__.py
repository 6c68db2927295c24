"""What a system is to the rest of jaxskill: pure functions made from its config."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

NAMES = ("pros_cons",)


class Phase(NamedTuple):
  """One kind of optimiser step.

  Attributes:
    loss: (variables, (better, worse) encodings of one pair, labels of the pair) -> [] loss, {name: [] metric}.
    trains: regular expression; the parameters whose path ("filters/high/kernel") it finds are moved.
  """

  loss: Callable
  trains: str


class Assessment(NamedTuple):
  """The one answer of every method about one video; reports and plots read nothing else.

  Attributes:
    score: [] higher is better; a rank score has no unit, a regressed score has that of the labels.
    parts: {name: []} the scores it is made of.
    timelines: {name: [T]} curves over the rows of `timeline_stream`.
    maps: {name: [N, h, w]} heat maps over frames.
    alignment: {name: [T, S]} to the segments of a reference video.
  """

  score: jax.Array
  parts: Mapping[str, jax.Array]
  timelines: Mapping[str, jax.Array]
  maps: Mapping[str, jax.Array]
  alignment: Mapping[str, jax.Array]


class Method(NamedTuple):
  """A system. `variables` is {"params": trained, "batch_stats": what training does not move}.

  Attributes:
    init: (key, videos `[1, ...]`, statistics, overrides) -> variables. `statistics` is {stream: {"mean", "scale"}} of
      the training videos, or empty; `overrides` are loss weights of this replica (ablations).
    encode: (variables, videos, key, train) -> encodings with leading axis V: all that one video needs alone.
      `videos` is {stream: `[V, T, ...]`} with "lengths": {stream: `[V]`} and "position": `[V]`, the number of each
      video in the data set (randomness that belongs to a video follows it).
    phases: the kinds of steps, taken in turn.
    assess: (variables, encoding of one video, references) -> Assessment.
    timeline_stream: stream whose rows the timelines follow.
  """

  init: Callable
  encode: Callable
  phases: tuple[Phase, ...]
  assess: Callable
  timeline_stream: str


def build(config) -> Method:
  """The method that `config.method` names.

  Raises:
    ValueError: if there is no such method.
  """
  if config.method not in NAMES:
    raise ValueError(f"config.method={config.method!r} is unknown; use one of {', '.join(NAMES)}.")
  return importlib.import_module(f"jaxskill.methods.{config.method}").build(config)


