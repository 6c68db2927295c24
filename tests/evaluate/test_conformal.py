"""Conformal ranges hold what they promise: against definitions written out, exact theory and drawn data."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxskill.evaluate import conformal


def naive_interval(predicted, errors, level):
  """CV+ word for word: the ceil((1 - alpha)(n + 1))-th smallest of above, the floor(alpha (n + 1))-th of below."""
  count = len(errors)
  up, down = math.ceil(round(level * (count + 1), 9)), math.floor(round((1 - level) * (count + 1), 9))
  above, below = sorted(p + e for p, e in zip(predicted, errors)), sorted(p - e for p, e in zip(predicted, errors))
  return below[down - 1] if down >= 1 else -np.inf, above[up - 1] if up <= count else np.inf


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [1, 4, 8, 9, 10, 19, 30])
def test_the_interval_by_its_definition(count, level):
  rng = np.random.default_rng(count)
  predicted, errors = rng.normal(size=count), rng.exponential(size=count)
  assert conformal.interval(predicted, errors, level) == naive_interval(predicted, errors, level)
  ties = np.round(errors)
  assert conformal.interval(np.zeros(count), ties, level) == naive_interval(np.zeros(count), ties, level)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("count", [1, 4, 9, 12, 30])
def test_the_labels_of_a_range_are_those_of_a_large_p_value(count, level):
  """What conformal prediction is: with one fold the range is exactly these labels, with several it holds them."""
  rng = np.random.default_rng(count)
  labels = np.linspace(-8, 8, 4001)
  for predicted in (np.full(count, 0.3), rng.normal(size=count)):
    errors = rng.exponential(size=count)
    low, high = conformal.interval(predicted, errors, level)
    p_value = (1 + (errors[:, None] >= np.abs(labels - predicted[:, None])).sum(axis=0)) / (count + 1)
    inside, kept = (labels >= low) & (labels <= high), p_value > 1 - level + 1e-9
    assert not (kept & ~inside).any()
    assert (kept == inside).all() or np.ptp(predicted) > 0


@pytest.mark.parametrize("level,count", [(0.9, 9), (0.9, 10), (0.9, 25), (0.8, 6), (0.5, 3), (0.95, 19), (0.9, 5)])
def test_coverage_is_that_of_theory(level, count):
  """Of exchangeable data without ties: ceil(level (n + 1)) / (n + 1), exactly; all where the range is infinite."""
  rng, draws = np.random.default_rng(count), 4000
  errors = rng.exponential(size=(draws, count + 1))
  hits = [one[-1] <= conformal.interval(np.zeros(count), one[:-1], level)[1] for one in errors]
  exact = min(math.ceil(round(level * (count + 1), 9)), count + 1) / (count + 1)
  assert abs(np.mean(hits) - exact) <= 4 * math.sqrt(exact * (1 - exact) / draws)
  assert exact >= level


def test_how_many_videos_a_level_needs():
  assert [conformal.videos_needed(level) for level in (0.5, 0.8, 0.9, 0.95, 0.975, 0.99)] == [1, 4, 9, 19, 39, 99]
  for level in (0.1, 0.3, 0.7, 0.85, 0.9, 0.93, 0.95, 0.999):
    needed = conformal.videos_needed(level)
    assert np.isfinite(conformal.interval(np.zeros(needed), np.ones(needed), level)).all()
    if needed > 1:
      assert np.isinf(conformal.interval(np.zeros(needed - 1), np.ones(needed - 1), level)).all()
  assert np.isinf(conformal.interval(np.zeros(0), np.zeros(0), 0.1)).all()


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, 90, float("nan"), float("inf"), "x", None, "1/0"])
def test_a_level_that_is_none(level):
  with pytest.raises(ValueError, match="--level=.*lies between 0 and 1"):
    conformal.check_level(level)


def by_paper(level, n, folds):
  """Barber et al. 2021, Theorem 4."""
  return 2 * level - 1 - min(2 * (1 - 1 / folds) / (n / folds + 1), (1 - folds / n) / (folds + 1))


@pytest.mark.parametrize("size,folds", [(1, 20), (1, 200), (5, 8), (25, 4), (50, 2), (3, 100)])
@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_the_guarantee_of_equal_folds_is_no_worse_than_published(size, folds, level):
  found = conformal.guaranteed(level, [size] * folds, by_video=True, parted=True)
  assert max(0, by_paper(level, size * folds, folds)) <= found <= level
  one_by_one = conformal.guaranteed(level, [1] * 99, by_video=True, parted=True)
  assert one_by_one == pytest.approx(2 * level - 1 + 0.01)
  assert conformal.guaranteed(level, [7], by_video=True, parted=False) == level
  assert conformal.guaranteed(level, [7], by_video=False, parted=False) == 0.0
  assert conformal.guaranteed(level, [9, 9], by_video=False, parted=False) == 0.0


@pytest.mark.parametrize("sizes", [(1,) * 12, (3,) * 6, (2, 2, 2, 3, 3), (1, 1, 1, 5), (4, 4, 4, 3)])
def test_no_tournament_has_more_videos_outside_than_the_guarantee_says(sizes):
  """The errors that two videos have by models without either, at their worst: drawn, ordered, and in circles."""
  level, rng = 0.7, np.random.default_rng(0)
  least = conformal.guaranteed(level, sizes, by_video=False, parted=True)
  size = max(set(sizes), key=lambda one: (sizes.count(one) + 1) * one)
  fold = np.repeat(np.arange(len(sizes) + 1), [*sizes, size])
  total, strange = len(fold), []
  place = np.arange(total)
  circle = ((place[None] - place[:, None]) % total < total / 2).astype(float)
  for errors in (circle, rng.normal(size=(total, 1)) + np.zeros(total), *rng.normal(size=(200, total, total))):
    beats = (errors > errors.T) & (fold[:, None] != fold)
    others = total - np.bincount(fold)[fold]
    outside = beats.sum(axis=1) >= level * (others + 1) - 1e-9
    alike = np.isin(fold, np.flatnonzero(np.bincount(fold) == size))
    strange.append(outside[alike].mean())
  assert max(strange) <= 1 - least + 1e-9 and max(strange) > 0


def test_cross_conformal_coverage_lies_between_its_guarantee_and_one():
  """Folds that each predict by the mean of the others: drawn anew, many times."""
  rng, hits, level, folds, size = np.random.default_rng(1), [], 0.8, 5, 4
  for labels in rng.normal(size=(2000, folds * size + 1)):
    new, parts = labels[-1], labels[:-1].reshape(folds, size)
    means = np.array([np.delete(parts, fold, axis=0).mean() for fold in range(folds)])
    low, high = conformal.interval(np.repeat(means, size), np.abs(parts - means[:, None]).ravel(), level)
    hits.append(low <= new <= high)
  assert conformal.guaranteed(level, [size] * folds, by_video=True, parted=True) <= np.mean(hits)
  assert abs(np.mean(hits) - level) < 0.05


@pytest.mark.parametrize("hits,count", [(0, 1), (1, 1), (0, 12), (12, 12), (37, 40)])
def test_a_share_has_the_exact_binomial_interval(hits, count):
  found, expected = conformal.share(hits, count), stats.binomtest(hits, count).proportion_ci(0.95, "exact")
  assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
  assert (found.hits, found.videos, found.share) == (hits, count, hits / count)
