"""Conformal ranges: from how far predictions missed on videos that no model had seen, to a range around a new one.

Nothing is assumed of the models or of the size of their errors, only that the new video is exchangeable with those that
calibrate: drawn like them, in no particular order.

n calibration videos, K folds; alpha is 1 - level.

References: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005 (one fold: split conformal).
Barber, Candes, Ramdas and Tibshirani, Predictive inference with the jackknife+, Annals of Statistics 2021 (several:
CV+, Sec. 3). The MAPIE library does both, but trains scikit-learn estimators by itself; here they are trained already.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

LEVEL = 0.9
_SURE = 0.95          # of the interval of a share


class Share(NamedTuple):
  """How many of some videos, and where the share of all such videos lies.

  Attributes:
    hits: videos of which it is true; videos: of all; share: hits / videos.
    low, high: exact binomial interval of 95 %, for independent videos.
  """

  hits: int
  videos: int
  share: float
  low: float
  high: float


def check_level(level: float | Fraction | str) -> Fraction:
  """Returns a level as the decimal that it is written as, so that no rounding moves a rank.

  Raises:
    ValueError: unless it lies between 0 and 1.
  """
  try:
    exact = Fraction(str(level))
  except (ValueError, ZeroDivisionError):
    exact = Fraction(0)
  if not 0 < exact < 1:
    raise ValueError(f"--level={level}: the share of videos whose score a range is to hold lies between 0 and 1, e.g. "
                     f"{LEVEL}.")
  return exact


def rank(level: float, count: int) -> int:
  """Returns which of `count` errors, the smallest being 1, a range reaches to: ceil(level (n + 1)); above n, none.

  Raises:
    ValueError: unless the level lies between 0 and 1.
  """
  return -int(-check_level(level) * (count + 1) // 1)


def videos_needed(level: float) -> int:
  """Returns the least number of calibration videos for a finite range: ceil(level / alpha), nine for 0.9.

  Raises:
    ValueError: unless the level lies between 0 and 1.
  """
  exact = check_level(level)
  return -int(-exact / (1 - exact) // 1)


def interval(predicted: np.ndarray, errors: np.ndarray, level: float) -> tuple[float, float]:
  """Returns the range of a new video's label, infinite where there are fewer than `videos_needed`.

  Args:
    predicted: `[n]` what the models that did not train on each calibration video say of the new one; all the same for
      one fold.
    errors: `[n]` absolute errors of these models on their calibration video.

  Reference: Barber et al. 2021, Eq. 11; with one fold, split conformal prediction.
  """
  count, place = len(errors), rank(level, len(errors))
  if place > count:
    return -np.inf, np.inf
  low, high = np.sort(predicted - errors), np.sort(predicted + errors)
  return float(low[count - place]), float(high[place - 1])


def guaranteed(level: float, sizes: Sequence[int], *, by_video: bool, parted: bool) -> float:
  """Returns the share of new videos whose label lies in its range at least, whatever the models are.

  One fold has the level itself, where `by_video`. Of several it is the better of two bounds, of miscoverage, each where
  it holds:

  * that of a mean of dependent p-values, at most twice its level: 2 (alpha (n + 1) + K - 1) / (n + K);
  * that of CV+, by counting pairs of videos as in Barber et al. 2021, Theorem 4, here for folds of any sizes: 2 alpha
    and a little more where folds are many and small; 2 alpha itself where each is one video.

  Args:
    sizes: `[K]` calibration videos of each fold.
    by_video: whether the new video is exchangeable with the videos of every fold; False where a fold is a person or
      another whole, and the new one comes from a new whole, or from that of another fold.
    parted: whether the folds part the videos: each calibrates once, and every fold's models train on all other folds.

  Raises:
    ValueError: unless the level lies between 0 and 1.
  """
  alpha, n, folds = float(1 - check_level(level)), sum(sizes), len(sizes)
  if folds == 1 and by_video:
    return float(level)
  bounds = [1.0]
  if by_video:
    bounds.append(2 * (alpha * (n + 1) + folds - 1) / (n + folds))
  if parted:
    # A fold of as many videos as some others is put beside them, with the new video in it. Of all videos, at most so
    # many can lie outside their range, each beaten by few of the other folds; the new one is any of its kind.
    for size, alike in collections.Counter(sizes).items():
      outside = 2 * alpha * (n + size - min(sizes) + 1) + max(sizes) - 2
      bounds.append(outside / ((alike + 1) * size))
  return float(np.clip(1 - min(bounds), 0, level))


def share(hits: int, count: int) -> Share:
  """Returns the share of hits with its binomial interval (Clopper and Pearson, Biometrika 1934)."""
  from scipy import stats  # takes 0.4 s to import
  tail = (1 - _SURE) / 2
  low = stats.beta.ppf(tail, hits, count - hits + 1) if hits else 0.0
  high = stats.beta.ppf(1 - tail, hits + 1, count - hits) if hits < count else 1.0
  return Share(int(hits), int(count), hits / count, float(low), float(high))
