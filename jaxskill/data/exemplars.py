"""Which videos may be compared: exemplars of the same category and difficulty, and who votes on a test video.

V videos, P training videos of a fold, M exemplars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ml_collections import ConfigDict

from jaxskill.data.dataset import Fold, SkillDataset

FIELDS = ("category", "difficulty")
CHOICES = ("random", "best")


def groups(dataset: SkillDataset, same: Sequence[str]) -> np.ndarray:
  """Returns `[V]` int32: videos of one group agree in all of `same` that the data set knows ("category", "difficulty").

  Raises:
    ValueError: for another name in `same`.
  """
  result = np.zeros(dataset.num_videos, np.int64)
  for name in same:
    if name not in FIELDS:
      raise ValueError(f"config.model.exemplars.same: {name!r} is unknown; use some of {', '.join(FIELDS)}.")
    values = getattr(dataset, name)
    if values is not None:
      _, ids = np.unique(values, return_inverse=True)
      _, result = np.unique(result * (ids.max() + 1) + ids, return_inverse=True)
  return result.astype(np.int32)


def differences(score: np.ndarray, group: np.ndarray) -> np.ndarray:
  """Returns `[n]` differences of the scores of every video and every other of its group, both ways.

  Args:
    score, group: `[V]`, e.g. of the training videos.
  """
  of_group = (score[group == name] for name in np.unique(group))
  return np.concatenate([np.subtract.outer(scores, scores)[~np.eye(len(scores), dtype=bool)] for scores in of_group])


def training_items(group: np.ndarray, train_videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the training videos that have an exemplar, group by group.

  Args:
    group: `[V]`, see `groups`.
    train_videos: `[n]` of a fold.

  Returns:
    (`[P]` videos, `[P, 2]` first item and size of each one's group); videos that are alone in their group are left out.
  """
  order = train_videos[np.argsort(group[train_videos], kind="stable")]
  _, first, inverse, size = np.unique(group[order], return_index=True, return_inverse=True, return_counts=True)
  order, inverse = order[size[inverse] > 1], inverse[size[inverse] > 1]
  if not order.size:
    return order, np.zeros((0, 2), np.int32)
  _, first, inverse, size = np.unique(inverse, return_index=True, return_inverse=True, return_counts=True)
  return order, np.stack([first[inverse], size[inverse]], axis=1).astype(np.int32)


def check(dataset: SkillDataset, fold: Fold, group: np.ndarray, same: Sequence[str]) -> None:
  """Raises a `ValueError` if a fold has nothing to compare a test or validation video with, or nothing to train on."""
  if not len(training_items(group, fold.train_videos)[0]):
    raise ValueError(f"{dataset.source}: fold {fold.name!r}: no training video has an exemplar that agrees in "
                     f"{' and '.join(same)}; set config.model.exemplars.same to fewer of them (a video is never its "
                     "own exemplar).")
  asked = np.concatenate([fold.test_videos, fold.validation_videos])
  lonely = asked[~np.isin(group[asked], group[fold.train_videos])]
  if lonely.size:
    what = ", ".join(f"{name} {getattr(dataset, name)[lonely[0]]}" for name in same
                     if getattr(dataset, name) is not None)
    raise ValueError(f"{dataset.source}: fold {fold.name!r}: there is no exemplar of {what or 'any kind'} among the "
                     f"training videos for video {dataset.videos[lonely[0]]!r} ({lonely.size} such videos); set "
                     "config.model.exemplars.same to fewer fields, or leave such videos out.")


def draw(group: np.ndarray, train_videos: np.ndarray, count: int,
         seed: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
  """Returns exemplars for every video of the data set: of its group, from the training side, never itself.

  Args:
    group: `[V]`, see `groups`; train_videos: `[n]` of a fold.
    count: M; where a group has fewer, all of them vote.
    seed: words of the draw.

  Returns:
    (`[V, M]` int32 videos, `[V, M]` bool False where there are fewer).
  """
  return _others(group, train_videos, count, np.random.default_rng(seed).permutation)


def best(group: np.ndarray, train_videos: np.ndarray, count: int, score: np.ndarray,
         seed: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
  """Returns the M of the highest `score` `[V]`, higher is better; the seed decides among equals. Else as `draw`."""
  shuffled = np.random.default_rng(seed).permutation(train_videos)
  return _others(group, shuffled, count, lambda videos: videos[np.argsort(-score[videos], kind="stable")])


def choose(options: ConfigDict, group: np.ndarray, train_videos: np.ndarray, score: np.ndarray,
           seed: int | Sequence[int], spare: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Returns `draw` or `best`, as `config.model.exemplars` says; `spare` more than its count.

  Raises:
    ValueError: if it says something else.
  """
  how = options.get("choose", "random")
  if how not in CHOICES:
    raise ValueError(f"config.model.exemplars.choose={how!r} is unknown; use one of {', '.join(CHOICES)}.")
  if how == "best":
    return best(group, train_videos, options.count + spare, score, seed)
  return draw(group, train_videos, options.count + spare, seed)


def of_new_videos(options: ConfigDict, group: np.ndarray, train_videos: np.ndarray, score: np.ndarray,
                  seed: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
  """Returns who would be chosen for a video that is not in the data set, for each group.

  It is one more than asked for, so that a training video that comes again can do without itself.

  Args:
    options, group, train_videos, score, seed: see `choose`.

  Returns:
    (`[G, M + 1]` videos, mask) of the groups 0 to G - 1.

  Raises:
    ValueError: for an unknown way to choose.
  """
  names = np.arange(group.max() + 1)
  chosen, mask = choose(options, np.concatenate([group, names]), train_videos, score, seed, spare=1)
  return chosen[-len(names):], mask[-len(names):]


def _others(group: np.ndarray, train_videos: np.ndarray, count: int,
            order: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  chosen, mask = np.zeros((len(group), count), np.int32), np.zeros((len(group), count), bool)
  members = {name: train_videos[group[train_videos] == name] for name in np.unique(group)}
  for video, name in enumerate(group):
    others = order(members[name])
    others = others[others != video][:count]
    chosen[video, : len(others)], mask[video, : len(others)] = others, True
  return chosen, mask


def share_won(pairs: np.ndarray, count: int) -> np.ndarray:
  """Returns `[V]` the share of pairs (better, worse) that each of V = `count` videos won, a half for one in none.

  A win and a loss are added to those of every video, so that one pair won says less than nine of ten.

  Args:
    pairs: `[P, 2]` videos.
  """
  won, lost = (np.bincount(pairs[:, side], minlength=count) for side in (0, 1))
  return ((won + 1) / (won + lost + 2)).astype(np.float32)


def beside(videos: np.ndarray, chosen: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Returns `[..., M]` int32 the references of videos `[...]`, a video itself in the places that are left.

  Args:
    chosen, mask: `[V, M]`, what `choose` returned.
  """
  return np.where(mask[videos], chosen[videos], videos[..., None]).astype(np.int32)


def with_references(train_videos: np.ndarray, chosen: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Returns `[P, 1 + M]` int32: each training video that has references, and these; itself in the places that are left.

  Args:
    train_videos: `[n]` of a fold.
    chosen, mask: `[V, M]`, what `choose` returned.
  """
  queries = train_videos[mask[train_videos].any(axis=1)]
  return np.concatenate([queries[:, None], beside(queries, chosen, mask)], axis=1).astype(np.int32)
