"""Replicas that learnt nothing because their scores fell together: a mean over seeds hides them, so they are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxskill.evaluate import metrics

SPREAD = 0.01      # of the largest score, or of the spread of the labels: what is narrower says nothing of a video
TIES = 0.5         # share of pairs
LEARNT = 2 / 3     # accuracy on training pairs that scores of a narrow spread may still reach by their order


def of_ranks(scores: np.ndarray, pairs: np.ndarray) -> str:
  """Returns why rank scores say nothing; "" if they do.

  Rank scores have no unit, and a mean far from zero is lawful. Nearly equal ones are therefore held against the pairs
  that were trained on: a ranking loss at its margin leaves them unordered.

  Args:
    scores: `[V]` of all videos.
    pairs: `[P, 2]` training pairs (better, worse).
  """
  scores = np.asarray(scores, np.float64)
  named = scores[np.unique(pairs)]
  accuracy, ties = metrics.pairwise_accuracy(scores, pairs)
  if ties >= TIES * len(pairs):
    return "all scores equal" if np.ptp(named) == 0 else f"{ties / len(pairs):.0%} of the training pairs tied"
  if named.std() < SPREAD * np.abs(named).max() and accuracy < LEARNT:
    return f"scores all but equal, {accuracy:.0%} of the training pairs in order"
  return ""


def of_labels(scores: np.ndarray, labels: np.ndarray) -> str:
  """Returns why predicted scores say nothing; "" if they do.

  Args:
    scores, labels: `[V]` predicted and true scores, in one unit; NaN where there is none (no exemplar to compare with).
  """
  known = np.isfinite(scores) & np.isfinite(labels)
  if known.sum() < 2:
    return ""
  scores, labels = np.asarray(scores)[known], np.asarray(labels)[known]
  spread, true = (np.asarray(values, np.float64).std() for values in (scores, labels))
  if spread >= SPREAD * true or not true:
    return ""
  return "all scores equal" if np.ptp(scores) == 0 else f"scores vary by {spread / true:.1%} of what the labels do"


def note(replicas: Sequence[Mapping[str, Any]]) -> str:
  """Returns the line under a table that names what collapsed, with a line break before it; "" if nothing did.

  Args:
    replicas: [{"row", "fold", "seed", "criterion", "collapsed": reason or ""}].
  """
  several = {name for name in ("row", "criterion", "fold") if len({replica[name] for replica in replicas}) > 1}
  names = [", ".join([*(f"{name} {replica[name]}" for name in ("row", "criterion", "fold") if name in several),
                      f"seed {replica['seed']}"]) + f" ({replica['collapsed']})"
           for replica in replicas if replica["collapsed"]]
  which = "these" if len(names) > 1 else "this one"
  return f"\ncollapsed: {'; '.join(names)}; the results of {which} are part of the means above" if names else ""
