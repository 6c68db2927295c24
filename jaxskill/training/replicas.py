"""The replicas of a config, which train as one program, and the tables of what each of them learns from."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxskill.data import exemplars
from jaxskill.training import step


class Replica(NamedTuple):
  """One of the models that train together; `weights` override `config.loss.weights`."""

  row: str
  fold: int
  seed: int
  weights: dict
  criterion: str = "score"


def plan(config, dataset):
  """Replicas of a config: rows of loss weights x criteria x folds x seeds."""
  rows, criteria = config.get("weight_rows", (("", {}),)), config.data.get("criteria", ("score",))
  named = lambda row, criterion: " ".join(filter(None, (row, criterion if len(criteria) > 1 else "")))
  return [Replica(named(row, criterion), fold, int(seed), dict(weights), criterion) for row, weights in rows
          for criterion in criteria for fold in range(len(dataset.folds)) for seed in config.seeds]


def make_tables(config, dataset, replicas, local, learns_from="pairs", group=None, panels=None):
  """The training items of every replica in the numbering `local` gives their videos, its steps and its key.

  Args:
    group: `[V]` of `exemplars.groups`, where the method has exemplars.
    panels: (`[V, R, M]` references of every video, `[V, R, M]` mask), where it learns from references.
  """
  folds, groups = [dataset.folds[r.fold] for r in replicas], None
  if learns_from == "pairs":
    items = [dataset.pairs[fold.train_pairs] for fold in folds]
    if config.train.get("pair_order") == "random":
      items = [_shuffled(pairs, r.seed) for pairs, r in zip(items, replicas)]
  elif learns_from == "videos":
    items = [fold.train_videos[:, None] for fold in folds]
  elif learns_from == "references":
    items = [exemplars.with_references(fold.train_videos, *(x[:, r] for x in panels)) for r, fold in enumerate(folds)]
  else:
    found = [exemplars.training_items(group, fold.train_videos) for fold in folds]
    items, groups = [videos[:, None] for videos, _ in found], _padded([runs for _, runs in found])
  count = np.array([len(own) for own in items], np.int32)
  per_epoch = -(-count // config.train.batch_size)
  keys = jax.vmap(jax.random.key)(jnp.array([r.seed for r in replicas], jnp.uint32))
  criteria = list(dict.fromkeys(r.criterion for r in replicas))
  criterion = None if learns_from == "pairs" else np.array([criteria.index(r.criterion) for r in replicas], np.int32)
  share = config.train.get("epochs_share", {})
  epochs = np.array([max(1, round(config.train.epochs * share.get(fold.name, 1.0))) for fold in folds])
  last = (per_epoch * epochs).astype(np.int32)
  return step.Tables(_padded([local(own) for own in items]), count, last, keys, groups, criterion)


def _shuffled(pairs, seed):
  """`[P, 2]` pairs, half of them turned round at random: labels that have nothing to do with skill."""
  turned = np.random.default_rng(seed).random(len(pairs)) < 0.5
  return np.where(turned[:, None], pairs[:, ::-1], pairs)


def _padded(tables):
  """`[n_r, k]` int32 tables -> `[R, max n, k]`, zeros behind."""
  result = np.zeros((len(tables), max(map(len, tables)), tables[0].shape[1]), np.int32)
  for row, own in zip(result, tables):
    row[: len(own)] = own
  return result
