"""How far a figure would move with other test videos: intervals by the bootstrap, of one row and of two compared.

A resample draws as many test videos as there are, with replacement; where it is known who is seen in them, it draws
subjects, each with all its videos, since videos of one person are no independent evidence. It is kept as how often each
video was drawn, so that a figure of a thousand resamples is a few operations on one array. Two rows are compared on the
same resamples, which takes out what both find hard or easy. Models are not drawn: the spread over seeds is another.

B resamples, n videos, P pairs. A *statistic* is a function of `[B, n]` times that each video was drawn, which returns
`[B]` figures, nan where one is undefined.

Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993: Ch. 13 (percentile interval), Sec. 8.3 (what is
drawn must be independent).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxskill.evaluate import metrics

RESAMPLES = 1000
LEVEL = 0.95

Statistic = Callable[[np.ndarray], np.ndarray]


class Interval(NamedTuple):
  """A figure and where it lies in the middle `level` of resamples.

  Attributes:
    value: of the test videos themselves; nan where it is undefined.
    low, high: the ends; nan where fewer than half of the resamples define the figure.
    undefined: number of resamples that do not define it, which are left out.
  """

  value: float
  low: float
  high: float
  undefined: int


def resample(count: int, subjects: np.ndarray | None = None, *, resamples: int = RESAMPLES,
             seed: int = 0) -> np.ndarray:
  """Draws test videos, or subjects with all their videos.

  Args:
    count: number of videos, n.
    subjects: `[n]` who is seen in each, or None where that is not known.
    resamples: B.
    seed: of the draws; the same for rows that are compared.

  Returns:
    `[B, n]` int, how often each video was drawn.

  Raises:
    ValueError: if there are not two videos, or subjects, to draw from.
  """
  names, place = np.unique(np.arange(count) if subjects is None else subjects, return_inverse=True)
  if len(names) < 2:
    raise ValueError(f"there is {len(names)} {'video' if subjects is None else 'subject'} to draw from; an interval "
                     "needs two at least.")
  drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
  return drawn[:, place]


def interval(statistic: Statistic, drawn: np.ndarray, level: float = LEVEL) -> Interval:
  """Returns a figure with its percentile interval.

  With few videos or subjects it is too narrow: of ten, a 95 % interval of a mean holds the truth in about nine cases of
  ten.

  Args:
    statistic: of a row; of a difference, see `difference`.
    drawn: `[B, n]` of `resample`.
    level: share of the resamples between the ends.
  """
  return of_figures(float(statistic(np.ones((1, drawn.shape[1])))[0]), statistic(drawn), level)


def of_figures(value: float, figures: np.ndarray, level: float = LEVEL) -> Interval:
  """Returns the interval of a figure from its `[B]` resamples, see `interval`."""
  known = figures[np.isfinite(figures)]
  low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if 2 * len(known) >= len(figures) else [np.nan] * 2
  return Interval(value, float(low), float(high), int(len(figures) - len(known)))


def difference(first: Statistic, second: Statistic) -> Statistic:
  """Returns the paired difference of two rows on the same resamples, first minus second."""
  return lambda drawn: first(drawn) - second(drawn)


def mean(statistics: Sequence[Statistic], fisher: bool = False) -> Statistic:
  """Returns the mean over folds and seeds of one row, plain or by Fisher's z (nan where a correlation is 1 or -1)."""

  def of(drawn: np.ndarray) -> np.ndarray:
    figures = np.stack([statistic(drawn) for statistic in statistics])
    if not fisher:
      return figures.mean(axis=0)
    z = np.arctanh(np.where(metrics.is_at_limit(figures), np.nan, figures))
    return np.tanh(z.mean(axis=0))
  return of


def average(values: np.ndarray, videos: np.ndarray | slice = slice(None)) -> Statistic:
  """Returns the mean of a number of each video, e.g. its absolute error.

  Args:
    values: `[k]` of the videos.
    videos: `[k]` their places among the n that are drawn; all by default. Likewise below.
  """

  def of(drawn: np.ndarray) -> np.ndarray:
    times = drawn[:, videos].astype(float)
    return _ratio(times @ np.asarray(values, float), times.sum(axis=1))
  return of


def pearson(predicted: np.ndarray, true: np.ndarray, videos: np.ndarray | slice = slice(None)) -> Statistic:
  """Returns the linear correlation of `[k]` predictions and labels; see `average` for the arguments."""
  first, second = np.asarray(predicted, float), np.asarray(true, float)
  return lambda drawn: _correlation(first, second, drawn[:, videos])


def spearman(predicted: np.ndarray, true: np.ndarray, videos: np.ndarray | slice = slice(None)) -> Statistic:
  """Returns Spearman's correlation of `[k]` predictions and labels, average ranks for ties; arguments as `average`.

  Copies of a video in one resample are ties, as they are of any other kind.
  """
  if not (np.isfinite(predicted).all() and np.isfinite(true).all()):
    return lambda drawn: np.full(len(drawn), np.nan)

  def of(drawn: np.ndarray) -> np.ndarray:
    times = drawn[:, videos]
    return _correlation(_ranks(predicted, times), _ranks(true, times), times)
  return of


def pair_accuracy(scores: np.ndarray, pairs: np.ndarray, subjects: np.ndarray | None = None,
                  ties: str = "half") -> Statistic:
  """Returns the share of pairs in order, where videos and not pairs are drawn: pairs that share a video are dependent.

  A pair counts once for every choice of a drawn copy of each of its sides: the product of the times that both were
  drawn. Where subjects are drawn, a pair within one subject counts as often as that subject was: its two videos come
  together, and a copy of a person is not compared with the other copy.

  Args:
    scores: `[n]` of all videos.
    pairs: `[P, 2]` (better, worse).
    subjects: `[n]`, as they were given to `resample`.
    ties: as `metrics.pairwise_accuracy`.
  """
  from scipy import sparse  # takes 0.2 s to import
  pairs = np.asarray(pairs).reshape(-1, 2)
  better, worse = np.asarray(scores)[pairs.T]
  right = (better > worse) + (0.5 if ties == "half" else 0.0) * (better == worse)
  within = np.zeros(len(pairs), bool) if subjects is None else np.equal(*np.asarray(subjects)[pairs.T])
  count = len(scores)

  def of(drawn: np.ndarray) -> np.ndarray:
    times, sums = drawn.astype(float), []
    for values in (right, np.ones(len(pairs))):
      table = sparse.coo_array((values[~within], tuple(pairs[~within].T)), shape=(count, count)).tocsr()
      alone = np.bincount(pairs[within, 0], values[within], minlength=count)
      sums.append((times * (table @ times.T).T).sum(axis=1) + times @ alone)
    return _ratio(*sums)
  return of


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """`[B]` sums over counts; nan where nothing was drawn."""
  return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
  """`[B, k]` average ranks of `[k]` values among copies of them, `[B, k]` times each."""
  _, group = np.unique(values, return_inverse=True)
  order = np.argsort(group, kind="stable")
  starts = np.flatnonzero(np.diff(group[order], prepend=-1))
  sizes = np.add.reduceat(times[:, order], starts, axis=1)
  return (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, group]        # copies up to here, less half of the ties


def _correlation(first: np.ndarray, second: np.ndarray, times: np.ndarray) -> np.ndarray:
  """`[B]` linear correlation of `[B, k]` or `[k]` values with `[B, k]` copies of each; nan where one is constant."""
  times, total = times.astype(float), np.maximum(times.sum(axis=1, keepdims=True), 1)
  first, second = (x - (times * x).sum(axis=1, keepdims=True) / total for x in (first, second))
  covariance = (times * first * second).sum(axis=1)
  squares = [(times * x ** 2).sum(axis=1) for x in (first, second)]
  scale = np.sqrt(squares[0] * squares[1])
  varies = np.minimum(*squares) > 1e-12 * total[:, 0]
  return np.divide(covariance, scale, out=np.full(len(scale), np.nan), where=varies)
