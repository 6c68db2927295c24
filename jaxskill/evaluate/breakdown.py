"""Error and bias of parts of the test videos: of each subject, and of each group that the labels name.

A mean over all videos hides a model that scores one person, or one group of people, too low.
"""

from __future__ import annotations

import numpy as np

from jaxskill.data import SkillDataset
from jaxskill.data.dataset import Fold


def of_labels(predicted: np.ndarray, true: np.ndarray, names: np.ndarray) -> dict[str, dict]:
  """Returns the errors of learnt scores by the name that each video has.

  Args:
    predicted, true: `[n]` scores, in the unit of the labels.
    names: `[n]` e.g. subjects.

  Returns:
    {name: {"videos": how many, "error": mean absolute error, "bias": mean of predicted minus true}}.
  """
  gap = np.asarray(predicted, np.float64) - np.asarray(true, np.float64)
  parts = {str(name): gap[names == name] for name in np.unique(names)}
  return {name: dict(videos=len(part), error=float(np.abs(part).mean()), bias=float(part.mean()))
          for name, part in parts.items()}


def of_pairs(scores: np.ndarray, pairs: np.ndarray, names: np.ndarray) -> dict[str, dict]:
  """Returns the errors in the order of pairs by the name that each video has; a tie is half an error.

  Args:
    scores: `[V]` rank scores.
    pairs: `[P, 2]` (better, worse).
    names: `[V]` e.g. subjects.

  Returns:
    {name: {"pairs": with a video of that name, "error": share of them out of order, "bias": how much more often its
    videos win against those of others than the labels say, as a share of these pairs (-1 to 1), None without such}}.
  """
  better, worse = np.asarray(scores)[pairs.T]
  wrong = (better < worse) + 0.5 * (better == worse)
  sides = np.asarray(names)[pairs]                                                          # [P, 2]
  result = {}
  for name in np.unique(sides):
    better_is, worse_is = (sides == name).T
    involved, against = better_is | worse_is, better_is != worse_is
    gain = np.where(worse_is, wrong, -wrong)[against]     # the worse one wins what is wrong, the better one loses it
    result[str(name)] = dict(pairs=int(involved.sum()), error=float(wrong[involved].mean()),
                             bias=float(gain.mean()) if gain.size else None)
  return result


def of_fold(dataset: SkillDataset, fold: Fold, scores: np.ndarray, criterion: str | None) -> dict[str, dict]:
  """Returns the breakdown of one model's test side.

  Args:
    scores: `[V]` of all videos.
    criterion: what is learnt of scores; None where pairs are.

  Returns:
    {"by_subject", "by_group": of `of_labels` or of `of_pairs`}, each only where the data set knows it.
  """
  result = {}
  for what in ("subject", "group"):
    names = getattr(dataset, what)
    if names is None or not len(fold.test_pairs if criterion is None else fold.test_videos):
      continue
    if criterion is None:
      result[f"by_{what}"] = of_pairs(scores, dataset.pairs[fold.test_pairs], names)
    else:
      test = fold.test_videos
      result[f"by_{what}"] = of_labels(scores[test], dataset.labels(criterion)[test], names[test])
  return result
