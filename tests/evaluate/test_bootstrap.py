"""Intervals by the bootstrap against a loop over copies of videos, and how often they hold the truth."""

import numpy as np
import pytest

from jaxskill.evaluate import bootstrap, metrics

RNG = np.random.default_rng(0)
COUNT = 30
TRUE = RNG.integers(0, 12, COUNT).astype(float)                   # with ties
PREDICTED = np.round(TRUE + 3 * RNG.normal(size=COUNT))
SUBJECTS = np.array([f"s{i % 7}" for i in range(COUNT)])
PAIRS = np.array([(i, j) for i in range(COUNT) for j in range(COUNT) if TRUE[i] > TRUE[j]])


def copies(times):
  """The drawn videos one by one, copies beside each other."""
  return np.repeat(np.arange(COUNT), times)


@pytest.mark.parametrize("subjects", [None, SUBJECTS])
@pytest.mark.parametrize("statistic, slow", [
    (bootstrap.average(np.abs(PREDICTED - TRUE)), lambda ids: np.abs(PREDICTED - TRUE)[ids].mean()),
    (bootstrap.spearman(PREDICTED, TRUE), lambda ids: metrics.spearman(PREDICTED[ids], TRUE[ids])),
    (bootstrap.pearson(PREDICTED, TRUE), lambda ids: metrics.pearson(PREDICTED[ids], TRUE[ids]))])
def test_figures_are_those_of_the_copies(statistic, slow, subjects):
  drawn = bootstrap.resample(COUNT, subjects, resamples=20, seed=1)
  expected = [slow(copies(times)) for times in drawn]
  np.testing.assert_allclose(statistic(drawn), expected, rtol=1e-9)
  assert len(set(expected)) > len(expected) / 2


@pytest.mark.parametrize("subjects", [None, SUBJECTS])
@pytest.mark.parametrize("ties", ["half", "wrong"])
def test_pairs_are_those_of_the_drawn_videos(subjects, ties):
  """By hand: every copy of a subject with every other; without subjects each video is its own."""
  units = np.arange(COUNT) if subjects is None else subjects
  drawn = bootstrap.resample(COUNT, subjects, resamples=8, seed=2)
  found = bootstrap.pair_accuracy(PREDICTED, PAIRS, subjects, ties)(drawn)
  for times, accuracy in zip(drawn, found):
    taken = []
    for better, worse in PAIRS:
      for a in range(times[better]):
        taken += [(better, worse) for b in range(times[worse]) if units[better] != units[worse] or a == b]
    assert accuracy == pytest.approx(metrics.pairwise_accuracy(PREDICTED, taken, ties)[0], rel=1e-12)


def test_subjects_come_with_all_their_videos():
  drawn = bootstrap.resample(COUNT, SUBJECTS, resamples=200, seed=0)
  for name in set(SUBJECTS):
    assert (np.ptp(drawn[:, SUBJECTS == name], axis=1) == 0).all()
  firsts = [np.flatnonzero(SUBJECTS == name)[0] for name in set(SUBJECTS)]
  assert (drawn[:, firsts].sum(axis=1) == len(firsts)).all()
  assert (bootstrap.resample(COUNT).sum(axis=1) == COUNT).all()
  np.testing.assert_array_equal(bootstrap.resample(9, seed=3), bootstrap.resample(9, seed=3))
  assert (bootstrap.resample(9, seed=3) != bootstrap.resample(9, seed=4)).any()


def coverage(subjects, noise, runs=200, clusters=40, each=1):
  """Share of samples whose interval holds the true mean, 0."""
  held = 0
  for run in range(runs):
    rng = np.random.default_rng(run)
    values = np.repeat(rng.normal(size=clusters), each) + noise * rng.normal(size=clusters * each)
    names = np.repeat(np.arange(clusters), each)
    drawn = bootstrap.resample(len(values), names if subjects else None, resamples=400, seed=run)
    found = bootstrap.interval(bootstrap.average(values), drawn)
    held += found.low <= 0 <= found.high
  return held / runs


def test_intervals_hold_the_truth_as_often_as_they_say():
  assert 0.90 <= coverage(False, 1.0) <= 0.98
  assert 0.90 <= coverage(True, 0.3, each=4) <= 0.98
  assert coverage(False, 0.3, each=4) < 0.8             # who takes videos of one person for independent is too sure


def test_a_difference_is_paired():
  """What both rows find hard cancels: the interval is that of the gaps, far narrower than that of either row."""
  rng = np.random.default_rng(3)
  hard = rng.exponential(size=200)
  first, second = (bootstrap.average(hard + shift + 0.01 * rng.normal(size=200)) for shift in (0.1, 0.0))
  drawn = bootstrap.resample(200)
  gap, alone = bootstrap.interval(bootstrap.difference(first, second), drawn), bootstrap.interval(first, drawn)
  assert gap.value == pytest.approx(0.1, abs=0.005) and 0.09 < gap.low < gap.high < 0.11
  assert alone.high - alone.low > 20 * (gap.high - gap.low)


def test_means_over_folds_and_seeds():
  places = np.arange(0, COUNT, 2), np.arange(1, COUNT, 2)
  of_folds = [bootstrap.spearman(PREDICTED[ids], TRUE[ids], ids) for ids in places]
  drawn = bootstrap.resample(COUNT, resamples=5)
  single = np.array([of(drawn) for of in of_folds])
  np.testing.assert_allclose(bootstrap.mean(of_folds)(drawn), single.mean(axis=0))
  np.testing.assert_allclose(bootstrap.mean(of_folds, fisher=True)(drawn),
                             [metrics.fisher_mean(pair) for pair in single.T])
  flawless = bootstrap.spearman(TRUE, TRUE)
  assert np.isnan(bootstrap.mean([flawless], fisher=True)(drawn)).all()
  np.testing.assert_allclose(bootstrap.mean([flawless])(drawn), 1)


def test_what_is_undefined_is_nan_and_counted():
  drawn = bootstrap.resample(3, resamples=400)
  found = bootstrap.interval(bootstrap.pair_accuracy(np.arange(3), np.array([(1, 0)])), drawn)
  lost = (drawn[:, 0] * drawn[:, 1] == 0).sum()
  assert found.value == 1.0 and np.isnan(found.low) and np.isnan(found.high) and found.undefined == lost > 200
  equal = bootstrap.interval(bootstrap.spearman(np.ones(COUNT), TRUE), bootstrap.resample(COUNT))
  assert np.isnan(equal.value) and np.isnan(equal.low) and equal.undefined == bootstrap.RESAMPLES
  with pytest.raises(ValueError, match="1 subject"):
    bootstrap.resample(5, np.array(["a"] * 5))


def test_a_thousand_videos_are_resampled_at_once():
  """No loop over resamples or pairs in Python: one would take minutes."""
  rng = np.random.default_rng(0)
  true = rng.normal(size=1000)
  predicted = true + rng.normal(size=1000)
  pairs = np.argwhere(true[:, None] > true)
  pairs = pairs[rng.permutation(len(pairs))[:100_000]]
  drawn = bootstrap.resample(1000)
  for statistic in (bootstrap.spearman(predicted, true), bootstrap.pair_accuracy(predicted, pairs)):
    found = bootstrap.interval(statistic, drawn)
    assert found.low < found.value < found.high < found.low + 0.15
