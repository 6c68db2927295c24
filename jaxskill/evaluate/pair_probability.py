"""How probable it is that one video is better than another, by the difference of their scores.

A logistic curve of one number, its slope: by symmetry, equal scores mean 1/2, and A over B is 1 - B over A. It is
fitted to pairs of videos that no model had seen. Isotonic regression would need hundreds of pairs, and promise 0 and 1.

P pairs.

References: Bradley and Terry, Rank analysis of incomplete block designs, Biometrika 1952. Platt, Probabilistic outputs
for support vector machines, 1999: targets a little within 0 and 1, so that few pairs, all in order, promise little.
"""

from __future__ import annotations

import numpy as np

LEAST_PAIRS = 10


def fit(differences: np.ndarray, tied: np.ndarray, independent: int) -> float | None:
  """Returns the slope of the curve, 0 or more; None of fewer than `LEAST_PAIRS` pairs.

  Args:
    differences: `[P]` score of the better video minus that of the worse.
    tied: `[P]` whether the labels of the two are equal, so that neither is better: half a win for each.
    independent: number of pairs that the pairs are worth, which share videos.
  """
  differences = np.asarray(differences, np.float64)
  if len(differences) < LEAST_PAIRS:
    return None
  from scipy import optimize, special  # takes 0.4 s to import
  target = np.where(tied, 0.5, (independent + 1) / (independent + 2))

  def pull(slope: float) -> float:                      # derivative of the log-likelihood, which falls
    return float((differences * (target - special.expit(slope * differences))).sum())
  if pull(0.0) <= 0:
    return 0.0
  high = 1 / np.abs(differences).max()
  while pull(high) > 0:
    high *= 2
  return float(optimize.brentq(pull, 0.0, high))


def probability(slope: float, differences: np.ndarray | float) -> np.ndarray:
  """Returns the probability that the first of two videos is better, given by how much its score is higher."""
  from scipy import special
  return special.expit(slope * np.asarray(differences, np.float64))
