"""What a method learns from: pairs, videos, videos with an exemplar each, or videos or pairs with their references.

An `Items` value knows all that follows from it: the training items of a fold, what models are compared by, who is
compared with whom, and what a fold must hold. No caller asks which of them it is.

P training items, V videos, M exemplars or references of a video.
"""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from jaxskill.data import exemplars
from jaxskill.data.dataset import Fold, SkillDataset


class Items:
  """Videos one by one, each with its score.

  Attributes:
    words: what an item is, in words.
    side: what a fold must have on either side, "pairs" or "videos".
    metric: what models are compared and chosen by, "accuracy" of pairs or "spearman" of scores.
    compares: whether answers compare a video with others, as `config.model.exemplars` says.
    aligns: whether each comparison aligns rows, so that few fit into memory at once.
    how: how an answer compares one video with another, in words; of those that compare.
  """

  words, side, metric = "videos", "videos", "spearman"
  compares, aligns, how = False, False, ""

  @property
  def ranks(self) -> bool:
    """Returns whether a score only ranks: it has no unit, and labels are not read."""
    return self.metric == "accuracy"

  def groups(self, config: ConfigDict, dataset: SkillDataset) -> np.ndarray | None:
    """Returns `[V]` which videos may be compared, see `exemplars.groups`; None where answers compare none.

    Raises:
      ValueError: for a name in `config.model.exemplars.same` that is none.
    """
    return exemplars.groups(dataset, config.model.exemplars.same) if self.compares else None

  def check(self, config: ConfigDict, dataset: SkillDataset, fold: Fold) -> None:
    """Raises a `ValueError` if a fold has nothing to train on, to test on, or to compare with."""
    for side in ("train",) if config.data.get("split") == "all" else ("train", "test"):
      if not len(getattr(fold, f"{side}_{self.side}")):
        raise ValueError(f"{dataset.source}: fold {fold.name!r} has no {side} {self.side}; check the split column, the "
                         "tie margin and config.data.test_share, so that both sides have videos of different skill.")
    if self.compares:
      same = config.model.exemplars.same
      exemplars.check(dataset, fold, exemplars.groups(dataset, same), same)

  def standing(self, dataset: SkillDataset, fold: Fold, criterion: str) -> np.ndarray:
    """Returns `[V]` what the best videos of a fold are chosen by, higher is better: their scores."""
    del fold
    return dataset.labels(criterion)

  def chosen(self, config: ConfigDict, dataset: SkillDataset, fold: Fold, criterion: str, seed: int, draw: int = 0,
             groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns (`[V, M]` numbers of the videos that each one is compared with, `[V, M]` mask) of one draw.

    Args:
      criterion: the score that the best are chosen by; seed: of the replica.
      groups: of `groups`, where they are at hand.

    Raises:
      ValueError: for an option of `config.model.exemplars` that is none.
    """
    groups = exemplars.groups(dataset, config.model.exemplars.same) if groups is None else groups
    # Not by the number of the fold: alone, a fold has another one.
    words = seed, 0, draw
    standing = self.standing(dataset, fold, criterion)
    return exemplars.choose(config.model.exemplars, groups, fold.train_videos, standing, words)

  def of_fold(self, config: ConfigDict, dataset: SkillDataset, fold: Fold, criterion: str,
              seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns (`[P, k]` videos of the training items, `[P, 2]` runs of items that are one another's exemplars).

    The runs are None where items have no exemplars.
    """
    del config, dataset, criterion, seed
    return fold.train_videos[:, None], None

  def most_named(self, items: np.ndarray, batch_size: int) -> int:
    """Returns how many videos the batches of all replicas name in one step at most.

    Args:
      items: `[R, P, k]` of all replicas.
    """
    return len(items) * batch_size

  def lead(self, said: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns `[R]` by how much the first of two videos is ahead, each compared with the other.

    Args:
      said: `[2, R]` scores that answers give each against the other; scores: `[2, R]` of each against its exemplars.
    """
    del scores
    return said[0] - said[1]


class _Pairs(Items):
  """Pairs (better, worse)."""

  words, side, metric = "pairs", "pairs", "accuracy"

  def of_fold(self, config: ConfigDict, dataset: SkillDataset, fold: Fold, criterion: str,
              seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    del criterion
    pairs = dataset.pairs[fold.train_pairs]
    if config.train.get("pair_order") != "random":
      return pairs, None
    turned = np.random.default_rng(seed).random(len(pairs)) < 0.5     # labels that have nothing to do with skill
    return np.where(turned[:, None], pairs[:, ::-1], pairs), None

  def most_named(self, items: np.ndarray, batch_size: int) -> int:
    return 2 * len(items) * batch_size


class _PairsAndSimilar(_Pairs):
  """Pairs (better, worse), each beside a pair of training videos that are alike, where such pairs are known.

  The similar pairs follow one another in an order of the seed's, again and again.
  """

  words = "pairs, each beside a similar one"

  def of_fold(self, config: ConfigDict, dataset: SkillDataset, fold: Fold, criterion: str,
              seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    pairs, runs = super().of_fold(config, dataset, fold, criterion, seed)
    if not len(dataset.similar):
      return pairs, runs
    known = dataset.similar[np.isin(dataset.similar, fold.train_videos).all(axis=1)]
    if not len(known):                                     # in this fold: a video is like itself
      return np.concatenate([pairs, pairs[:, :1], pairs[:, :1]], axis=1), runs
    order = np.resize(np.random.default_rng(seed).permutation(len(known)), len(pairs))
    return np.concatenate([pairs, known[order]], axis=1), runs

  def most_named(self, items: np.ndarray, batch_size: int) -> int:
    return items.shape[-1] * len(items) * batch_size


class _Exemplars(Items):
  """Videos, each with an exemplar of its group that is drawn anew in every epoch."""

  words, compares = "videos, each with an exemplar", True
  how = "each with the other as its exemplar of the score above, mean of both ways"

  def of_fold(self, config: ConfigDict, dataset: SkillDataset, fold: Fold, criterion: str,
              seed: int) -> tuple[np.ndarray, np.ndarray]:
    del criterion, seed
    group = exemplars.groups(dataset, config.model.exemplars.same)
    videos, runs = exemplars.training_items(group, fold.train_videos)
    return videos[:, None], runs

  def most_named(self, items: np.ndarray, batch_size: int) -> int:
    return 2 * len(items) * batch_size

  def lead(self, said: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return ((said[0] - scores[1]) - (said[1] - scores[0])) / 2


class _References(Items):
  """Videos, each with the references that its answer compares it with; itself where there are fewer than M."""

  words, compares, aligns = "videos, each with its references", True, True
  how = "each with the other as its reference"

  def of_fold(self, config: ConfigDict, dataset: SkillDataset, fold: Fold, criterion: str,
              seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    return exemplars.with_references(fold.train_videos, *self.chosen(config, dataset, fold, criterion, seed)), None

  def most_named(self, items: np.ndarray, batch_size: int) -> int:
    return len(items) * batch_size + len(np.unique(items[..., 1:]))


class _RankedReferences(_References):
  """Pairs (better, worse), and the references of either video: who is best, the training pairs say."""

  words, side, metric = "pairs, each video with its references", "pairs", "accuracy"

  def standing(self, dataset: SkillDataset, fold: Fold, criterion: str) -> np.ndarray:
    """Returns `[V]` the share of its training pairs that a video won."""
    del criterion
    return exemplars.share_won(dataset.pairs[fold.train_pairs], dataset.num_videos)

  def of_fold(self, config: ConfigDict, dataset: SkillDataset, fold: Fold, criterion: str,
              seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    chosen, mask = self.chosen(config, dataset, fold, criterion, seed)
    pairs = dataset.pairs[fold.train_pairs]
    pairs = pairs[mask[pairs].any(axis=2).all(axis=1)]         # a video without a reference is in no item
    compared = exemplars.beside(pairs, chosen, mask)           # [P, 2, M]
    return np.concatenate([pairs, compared.reshape(len(pairs), -1)], axis=1), None

  def most_named(self, items: np.ndarray, batch_size: int) -> int:
    return 2 * len(items) * batch_size + len(np.unique(items[..., 2:]))


PAIRS, VIDEOS, EXEMPLARS, REFERENCES = _Pairs(), Items(), _Exemplars(), _References()
PAIRS_AND_SIMILAR, RANKED_REFERENCES = _PairsAndSimilar(), _RankedReferences()
