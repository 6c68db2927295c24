"""How far several raters agree: the ceiling that stands above the simple baselines of a table.

V videos, R raters, N comparisons.

Reference: Shrout and Fleiss, Intraclass Correlations: Uses in Assessing Rater Reliability, Psychological Bulletin 1979.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxskill.evaluate import metrics

ROW = "ceiling: one rater against the others"


def intraclass(ratings: np.ndarray) -> tuple[float, float]:
  """Returns (ICC(2,1), ICC(2,k)): agreement of one rater, and of the mean of k; all are samples of many.

  Args:
    ratings: `[V, R]` without gaps; at least two videos and two raters.

  Returns:
    Two numbers, nan where nothing varies.
  """
  videos, count = ratings.shape
  of_videos = count * ratings.mean(axis=1).var(ddof=1)
  of_raters = videos * ratings.mean(axis=0).var(ddof=1)
  rest = ratings - ratings.mean(axis=1, keepdims=True) - ratings.mean(axis=0) + ratings.mean()
  error = (rest ** 2).sum() / ((videos - 1) * (count - 1))
  between, bias = of_videos - error, (of_raters - error) / videos

  def divide(by: float) -> float:
    return float(between / by) if by > 0 else float("nan")
  return divide(of_videos + (count - 1) * error + count * bias), divide(of_videos + bias)


def agreement(ratings: Mapping[str, np.ndarray], scored: bool) -> dict[str, Any]:
  """Returns what raters of one data set agree in.

  Args:
    ratings: `SkillDataset.ratings`.
    scored: whether scores are learnt, or pairs.

  Returns:
    Of scores {"raters", "videos" that all have rated, "icc_2_1", "icc_2_k", "spearman", "pearson", "mae": of one rater
    against the mean of the others}; of pairs {"raters", "pairs" that several have compared, "agreement" of two raters,
    "kappa", "accuracy" of one against the majority of the others}. Empty where fewer than two have judged the same.
  """
  if scored and "scores" in ratings:
    return _of_scores(np.asarray(ratings["scores"], np.float64))
  if not scored and "votes" in ratings:
    return _of_votes(np.asarray(ratings["votes"]))
  return {}


def _of_scores(ratings: np.ndarray) -> dict[str, float]:
  complete = ratings[np.isfinite(ratings).all(axis=1)]
  against = []
  for rater in range(ratings.shape[1]):
    others = np.delete(ratings, rater, axis=1)
    known = np.isfinite(ratings[:, rater]) & np.isfinite(others).any(axis=1)
    if known.any():
      one, rest = ratings[known, rater], np.nanmean(others[known], axis=1)
      against.append((metrics.spearman(one, rest), metrics.pearson(one, rest), np.abs(one - rest).mean()))
  if not against:
    return {}
  single, mean = intraclass(complete) if min(complete.shape) > 1 else (float("nan"), float("nan"))
  spearman, pearson, mae = (float(np.mean(values)) for values in zip(*against))
  return dict(raters=ratings.shape[1], videos=len(complete), icc_2_1=single, icc_2_k=mean, spearman=spearman,
              pearson=pearson, mae=mae)


def _of_votes(votes: np.ndarray) -> dict[str, float]:
  """`[N, 3]` (better, worse, rater). Chance is one half: a pair may be written in either order, so kappa is 2 p - 1."""
  by_pair = {}
  for better, worse, _ in votes.tolist():
    by_pair.setdefault((min(better, worse), max(better, worse)), []).append(better < worse)
  several = [of_pair for of_pair in by_pair.values() if len(of_pair) > 1]
  if not several:
    return {}
  same = [a == b for of_pair in several for a, b in itertools.combinations(of_pair, 2)]
  right = []
  for of_pair in several:
    for vote in of_pair:
      others = of_pair.count(vote) - 1 - of_pair.count(not vote)  # who agrees less who does not
      right.append(0.5 * (1 + np.sign(others)))
  share = float(np.mean(same))
  return dict(raters=len(np.unique(votes[:, 2])), pairs=len(several), agreement=share, kappa=2 * share - 1,
              accuracy=float(np.mean(right)))


def ceiling(found: Mapping[str, Any], scored: bool) -> dict[str, Any]:
  """Returns the row of a table: one rater against the others. Empty where nothing is known.

  Args:
    found: of `agreement`.
  """
  if not found:
    return {}

  def number(name: str) -> dict[str, Any]:
    return dict(mean=found[name] if np.isfinite(found[name]) else None, std_seeds=None, std_folds=None,
                count=found["raters"])
  absent = dict(validation_selected=None, best_on_test=None)
  if not scored:
    return {ROW: dict(accuracy=dict(last=number("accuracy")) | absent, pooled=None, branches={}, against_truth={})}
  return {ROW: dict(spearman=dict(last=number("spearman")) | absent, against_truth={},
                    metrics=dict(pearson=number("pearson"), rl2=None, mae=number("mae")))}


def describe(found: Mapping[str, Any]) -> list[str]:
  """Returns the agreement as a line below the table."""
  if "kappa" in found:
    return [f"{found['raters']} raters: two of them agree on {100 * found['agreement']:.1f} % of {found['pairs']} "
            f"pairs that several compared, kappa {found['kappa']:.2f}; the labels are what most say"]

  def show(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "undefined"
  return [f"{found['raters']} raters, {found['videos']} videos that all have rated: ICC(2,1) {show(found['icc_2_1'])} "
          f"of one rater, ICC(2,k) {show(found['icc_2_k'])} of their mean"]
