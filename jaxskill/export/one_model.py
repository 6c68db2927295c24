"""One model of a finished run as a function of the features of one video: what other software is given.

T rows of a stream, M training videos that a video is compared with, K rows of the bank, G groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from jaxskill import __version__, methods
from jaxskill.export import pack
from jaxskill.methods.common import operand_type
from jaxskill.training.answers import PICKS
from jaxskill.training.finished_run import FinishedRun

KINDS = dict(
    score="of the video", parts="the scores that it is made of",
    attention="[filters, rows], weights of which each filter's sum to 1", curves="[rows]",
    segments="number [rows] of the segment that each row is in, score and importance [segments]",
    maps="[pictures, height, width], heat maps of which each sums to 1", rows="[pictures], rows that the maps lie over",
    alignment="[references, rows], the place in each reference that a row leads to, in rows",
    distribution="places, in the unit of the labels, and their probabilities")


def variables_of(trained: FinishedRun, number: int) -> dict[str, Any]:
  """Returns {"params", "constants"} of one model on the host."""
  return jax.tree.map(lambda leaf: np.asarray(leaf)[number], trained.state.variables())


def which(trained: FinishedRun, number: int) -> dict[str, Any]:
  """Returns {"model": number, row, fold, seed and criterion of one model, and what software made it}.

  The fold has a number, as in a pack: folds may be named after people.
  """
  one = trained.about["replicas"][number]
  one = one | dict(fold=pack.fold_numbers(trained)[str(one["fold"])])
  return dict(model=dict(number=number, system=trained.config.method) | one, step=trained.about["step"],
              params_sha256=trained.about["params_sha256"], jaxskill=__version__)


class OneModel:
  """What one model says of one video: `answer` takes and gives named arrays.

  Attributes:
    run, number: of the model.
    longest: {stream: rows of the longest training video}.
  """

  def __init__(self, run: FinishedRun, number: int, dtype: str = "") -> None:
    """Args: dtype: of products, by default the run's own."""
    self.run, self.number = run, number
    config = run.config.copy_and_resolve_references()
    config.train.dtype = dtype or config.train.dtype
    self._dtype, self._method = operand_type(config), methods.build(config)
    self._variables = jax.tree.map(jnp.asarray, variables_of(run, number))
    self.longest = {name: int(about["shape"][0]) for name, about in run.about["streams"].items()}
    self._bank = jax.tree.map(lambda x: jnp.asarray(x[:, number]), run.bank()) if self.compares else {}
    self._mask = jnp.asarray(run.arrays["bank/mask"][:, number]) if self.compares else None

  @property
  def compares(self) -> bool:
    """Returns whether a video is compared with training videos, whose encodings are then part of the function."""
    return self._method.items.compares

  @property
  def frames(self) -> bool:
    """Returns whether the rows are pictures."""
    return bool((self.run.about["extraction"] or {}).get("frames"))

  def lengths(self) -> Iterator[tuple[dict[str, Any], dict[str, int] | None]]:
    """Yields ({stream: rows, symbols or numbers}, {stream: least of them}), from the most general; None where fixed.

    A program may hold for any number of rows; or for more than the longest training video has, where it branches on
    that number: shorter videos are filled up with zeros, which changes no answer; or for that number alone.
    """
    dims = {name: f"t_{re.sub('[^a-z0-9_]', '_', name.lower())}" for name in self.longest}
    for leasts in ({name: 1 for name in dims}, {name: longest + 1 for name, longest in self.longest.items()}):
      scope = jax_export.SymbolicScope([f"{dims[name]} >= {least}" for name, least in leasts.items()])
      yield {name: jax_export.symbolic_shape(dim, scope=scope)[0] for name, dim in dims.items()}, leasts
    yield dict(self.longest), None

  def inputs(self, rows: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns {name: shape and type} of what `answer` takes, of so many rows."""
    number, found = jax.ShapeDtypeStruct((), jnp.int32), {}
    for name, about in self.run.about["streams"].items():
      found[name] = jax.ShapeDtypeStruct((rows[name], *about["shape"][1:]), jnp.uint8 if self.frames else jnp.float32)
      found[f"{name}_rows"] = number
    if len(self.run.about["groups"]) > 1:
      found["group"] = number
    if self.run.config.model.get("with_difficulty"):
      found["difficulty"] = jax.ShapeDtypeStruct((), jnp.float32)
    return found

  def answer(self, given: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Returns {name: array} of what `jaxskill.assess` says of one video: "score", "attention/...", see `KINDS`.

    Args:
      given: {stream: `[T, ...]` features, "<stream>_rows": [] how many of them are real} and, where the run needs them,
        "group" [] (see `describe`) and "difficulty" [].
    """
    lengths = {name: given[f"{name}_rows"][None] for name in self.longest}
    streams = {name: given[name][None] if self.frames else given[name].astype(self._dtype)[None]
               for name in self.longest}
    videos = {**streams, "lengths": lengths, "position": jnp.zeros(1, jnp.int32)}
    encodings = self._method.encodings(self._variables, videos, jax.random.key(0), False)
    said = PICKS[True](self._method.assess(self._variables, jax.tree.map(lambda x: x[0], encodings),
                                           self._references(given)))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _plain(leaf)
            for path, leaf in jax.tree_util.tree_flatten_with_path(said)[0]}

  def _references(self, given: Mapping[str, jax.Array]) -> dict[str, Any] | None:
    """Those that a new video is compared with, see `FinishedRun.references`, and its difficulty."""
    known = dict(own_difficulty=given["difficulty"]) if "difficulty" in given else {}
    if not self.compares:
      return known or None
    assert self._mask is not None
    room = len(self._mask) // len(self.run.about["groups"])         # the last of them stands in for the video itself
    rows = given.get("group", 0) * room + jnp.arange(room - 1)
    return jax.tree.map(lambda x: x[rows], self._bank) | dict(mask=self._mask[rows]) | known

  def describe(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any],
               leasts: Mapping[str, int] | None) -> dict[str, Any]:
    """Returns what goes in and comes out, as JSON can hold it.

    Args:
      inputs, outputs: {name: with a shape and a dtype}; leasts: see `lengths`.
    """
    run, criterion = self.run, self.run.about["replicas"][self.number]["criterion"]
    unit = "rank score, without a unit" if run.method.items.ranks else f"that of the labels ({criterion})"
    meanings = {name: meaning.words for name, meaning in run.method.meanings.items()}
    words = dict(group="number of the group of videos that it is compared with", difficulty="of the video")
    for name, longest in self.longest.items():
      rows = _rows(leasts[name] if leasts else None, longest)
      words[name] = f"features as jaxskill.assess makes them, not standardized; {rows}"
      words[f"{name}_rows"] = "number of real rows; those behind them are filled with zeros"

    def entry(name: str, value: Any, text: str) -> dict[str, Any]:
      shape = [size if isinstance(size, int) else str(size) for size in value.shape]
      return dict(name=name, shape=shape, dtype=str(np.dtype(value.dtype)), words=text)

    def said(name: str) -> str:
      kind, _, rest = name.partition("/")
      meaning = meanings.get(rest) or meanings.get(kind)
      return KINDS[kind] + (f"; {meaning}" if meaning else "")
    return which(run, self.number) | dict(
        inputs=[entry(name, value, words[name]) for name, value in inputs.items()],
        outputs=[entry(name, value, said(name)) for name, value in outputs.items()],
        unit=unit, groups=run.about["groups"], computes_in=str(self._dtype))


def _plain(leaf: jax.Array) -> jax.Array:
  """Returns an answer in a type that all software has."""
  return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.astype(jnp.int32)


def _rows(least: int | None, longest: int) -> str:
  if least is None:
    return f"exactly {longest} rows, shorter videos filled up with zeros"
  return "any number of rows" if least == 1 else f"{least} rows or more, shorter videos filled up with zeros"
