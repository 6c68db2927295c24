"""The replicas of a config, which train as one program, and the tables of what each of them learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxskill.data.dataset import SkillDataset
from jaxskill.methods import Items
from jaxskill.training import draws


class Replica(NamedTuple):
  """One of the models that train together; `weights` override `config.loss.weights`."""

  row: str
  fold: int
  seed: int
  weights: dict
  criterion: str = "score"


def plan(config: ConfigDict, dataset: SkillDataset) -> list[Replica]:
  """Returns the replicas of a config: rows of loss weights x criteria x folds x seeds.

  Raises:
    ValueError: if `config.folds` does not number folds of the data.
  """
  rows, criteria = config.get("weight_rows", (("", {}),)), config.data.get("criteria", ("score",))
  named = lambda row, criterion: " ".join(filter(None, (row, criterion if len(criteria) > 1 else "")))
  return [Replica(named(row, criterion), fold, int(seed), dict(weights), criterion) for row, weights in rows
          for criterion in criteria for fold in _folds(config, dataset) for seed in config.seeds]


def _folds(config: ConfigDict, dataset: SkillDataset) -> Sequence[int]:
  """The numbers of the folds that are trained."""
  every, chosen = range(len(dataset.folds)), config.get("folds", ())
  if not isinstance(chosen, (tuple, list)) or not all(n in every for n in chosen) or len(set(chosen)) < len(chosen):
    known = ", ".join(f"{number} ({fold.name})" for number, fold in enumerate(dataset.folds))
    raise ValueError(f"config.folds={chosen!r}: give numbers of folds, each once, e.g. --config.folds='(0,)'; there "
                     f"are {known}.")
  return sorted(chosen) or every


def at_once(count: int, platform: str, asked: int = 0) -> int:
  """Returns how many of `count` models train at once; the next ones begin a call when these have taken its steps.

  One fills a CPU, and leaves it more of its cache; on an accelerator all do, since one is too small to fill it.

  Args:
    platform: of the devices.
    asked: so many, whatever the platform; 0 leaves the choice.

  Raises:
    ValueError: unless `asked` divides the number of models.
  """
  if asked and count % asked:
    raise ValueError(f"{asked} models at once do not divide {count}; use a divisor, e.g. {math.gcd(asked, count)}.")
  return asked or (1 if platform == "cpu" else count)


def most_videos(items: Items, table: np.ndarray, size: int, batch_size: int, every: int) -> tuple[int, int]:
  """Returns the most videos that `size` replicas name in a step, and the most that they learn from.

  Args:
    items: of the method.
    table: `[R, P, k]` videos of the training items, see `draws.Tables`.
    every: videos on the device; where replicas learn from nearly all of them, from all: a copy is not worth its memory.
  """
  parts = np.split(table, len(table) // size)
  learnt = max(len(np.unique(part)) for part in parts)
  return max(items.most_named(part, batch_size) for part in parts), every if learnt > 0.9 * every else learnt


def make_tables(config: ConfigDict, dataset: SkillDataset, replicas: Sequence[Replica],
                local: Callable[[np.ndarray], np.ndarray], items: Items) -> draws.Tables:
  """Returns the `draws.Tables` of the replicas: training items as `local` numbers their videos, steps and keys.

  Args:
    items: of the method, see `methods.items`.
  """
  folds = [dataset.folds[r.fold] for r in replicas]
  trained, runs = zip(*(items.of_fold(config, dataset, fold, r.criterion, r.seed) for r, fold in zip(replicas, folds)))
  count = np.array([len(videos) for videos in trained], np.int32)
  per_epoch = -(-count // config.train.batch_size)
  keys = jax.vmap(jax.random.key)(np.array([r.seed for r in replicas], np.uint32))
  criteria = list(dict.fromkeys(r.criterion for r in replicas))
  criterion = None if items.ranks else np.array([criteria.index(r.criterion) for r in replicas], np.int32)
  share = config.train.get("epochs_share", {})
  epochs = np.array([max(1, round(config.train.epochs * share.get(fold.name, 1.0))) for fold in folds])
  last = (per_epoch * epochs).astype(np.int32)
  groups = None if runs[0] is None else _padded(runs)
  return draws.Tables(_padded([local(videos) for videos in trained]), count, last, keys, groups, criterion)


def _padded(tables: Sequence[np.ndarray]) -> np.ndarray:
  """Returns `[n_r, k]` int32 tables -> `[R, max n, k]`, zeros behind."""
  result = np.zeros((len(tables), max(map(len, tables)), tables[0].shape[1]), np.int32)
  for row, table in zip(result, tables):
    row[: len(table)] = table
  return result
