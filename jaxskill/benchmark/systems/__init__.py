"""What `jaxskill.benchmark` asks of a system: `<method>.py` of this folder answers with its SYSTEM."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxskill.data import Fold, SkillDataset


class Shape(Protocol):
  """Sizes of a benchmark; each system has some of its own beside these."""

  @property
  def batch_size(self) -> int:
    """Returns the items of a step."""

  @property
  def train_videos(self) -> int:
    """Returns the training videos of a fold."""

  @property
  def test_videos(self) -> int:
    """Returns the test videos of a fold."""

  def _asdict(self) -> dict[str, Any]:
    ...

  def _replace(self, *, train_videos: int = ...) -> Any:
    ...


class Task(NamedTuple):
  """Sizes of one task of a table: its folds train on as many videos each, and on as many pairs of these."""

  videos: int
  train_videos: int
  pairs: int
  folds: int


class System(NamedTuple):
  """A system to the benchmark.

  Attributes:
    shapes: {name: sizes}, which set the fields of `config.model` that they have a field of the same name for.
    streams: (shape, config) -> {stream: (rows, channels)} of a random video.
    flops: (config, shape, form) -> floating-point operations of one step by hand; None where that is not known.
    note: what they are, and how XLA's count differs.
    peak: shape -> (m, k, n) of the matrix products that the machine's limit is measured with.
    forms, peer_forms: what is timed by default, and what is added with the peer.
    peer: module of the peer's `TorchContender`.
    cpu_steps: of a round on a CPU, rounded up to whole cycles.
    epochs: of the paper.
    items: of a batch, "pairs" or "videos".
    settings: {"group.field": value} of the config, as the random data need it.
    words: {word of a form: {"group.field": value}}.
    others: {word: what is timed in place of a step}: made of a trainer, with `size` and `round(repeats)` -> seconds.
    start_up: whether loading and starting are timed too.
    tables: {name of a data set: {task: its sizes}}, whose models `jaxskill.benchmark.table` trains together.
  """

  shapes: Mapping[str, Shape]
  streams: Callable
  flops: Callable
  note: str
  peak: Callable
  forms: tuple[str, ...]
  peer_forms: tuple[str, ...]
  peer: str
  cpu_steps: int
  epochs: int
  items: str = "pairs"
  settings: Mapping[str, Any] = {}
  words: Mapping[str, Mapping[str, Any]] = {}
  others: Mapping[str, Callable] = {}
  start_up: bool = False
  tables: Mapping[str, Mapping[str, Task]] = {}


def names() -> list[str]:
  """Returns the methods that have a benchmark."""
  return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(method: str) -> System:
  """Returns the system that `config.method` names.

  Raises:
    ValueError: if it has no benchmark.
  """
  module = f"jaxskill.benchmark.systems.{method}"
  if importlib.util.find_spec(module) is None:
    raise ValueError(f"config.method={method!r} has no benchmark; give the config of another system.")
  return importlib.import_module(module).SYSTEM


def amount(form: str, letter: str) -> int:
  """Returns the number that a form gives after a letter, "R4": 4; 1 where it gives none."""
  found = re.search(rf"\b{letter}(\d+)", form)
  return int(found[1]) if found else 1


def random_dataset(shape: Shape, streams: Mapping[str, tuple[int, ...]], *, folds: int = 1,
                   criteria: Sequence[str] | tuple = (), seed: int = 0, folder: str = "") -> SkillDataset:
  """Draws random features as a data set; random pairs and scores follow a hidden order of the videos.

  Args:
    streams: {name: (rows, channels)}.
    folds: how many there are; each has its own videos.
    criteria: names of further scores, which are those of the videos in reverse.
    folder: where features are kept as files of holes, zeros that take no room on the disk, and mapped; "" for random
      ones in memory.
  """
  rng = np.random.default_rng(seed)
  count = folds * (shape.train_videos + shape.test_videos)

  def stream(name: str, size: tuple[int, ...]) -> np.ndarray:
    if not folder:
      return rng.standard_normal((count, *size), np.float32)
    np.lib.format.open_memmap(f"{folder}/{name}.npy", "w+", np.float32, (count, *size))
    return np.load(f"{folder}/{name}.npy", mmap_mode="r")
  features = {name: stream(name, size) for name, size in streams.items()}
  order = rng.permutation(count)

  def pairs(ids: np.ndarray) -> np.ndarray:
    ids, limit = order[np.isin(order, ids)], getattr(shape, "pairs", 0)
    ends = np.cumsum(np.arange(len(ids))[::-1])             # of the pairs that a video begins, among all
    chosen = rng.permutation(rng.choice(ends[-1], min(limit, ends[-1]), replace=False))
    better = np.searchsorted(ends, chosen, side="right")
    worse = len(ids) - (ends[better] - chosen)
    return np.stack([ids[better], ids[worse]], axis=1).astype(np.int32)
  sides = [np.split(ids, [shape.train_videos]) for ids in np.split(np.arange(count), folds)]
  every = [pairs(ids) for side in sides for ids in side]
  rows = np.split(np.arange(sum(map(len, every))), np.cumsum([len(part) for part in every])[:-1])
  score = (100 * np.argsort(order) / count).astype(np.float32)
  return SkillDataset(
      name="random features", source="jaxskill.benchmark", videos=tuple(f"random{i}" for i in range(count)),
      streams=features, lengths={name: np.full(count, size[0], np.int32) for name, size in streams.items()},
      pairs=np.concatenate(every), simulated=True, features_checked=True, score=score, score_range=(0, 100),
      criteria={name: 100 - score for name in criteria},
      folds=tuple(Fold(f"random{i}" if folds > 1 else "random", *side, *rows[2 * i: 2 * i + 2])
                  for i, side in enumerate(sides)))
