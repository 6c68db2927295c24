"""The probability that one video is better, by the difference of scores: against a search, and at its corners."""

import numpy as np
import pytest

from jaxskill.evaluate import pair_probability

NONE_TIED = np.zeros(40, bool)


def naive_slope(differences, tied, independent):
  """The slope of a fine grid under which the targets are most likely."""
  slopes = np.geomspace(1e-3, 100, 20_001)[:, None]
  target = np.where(tied, 0.5, (independent + 1) / (independent + 2))
  losses = np.logaddexp(0, -slopes * differences), np.logaddexp(0, slopes * differences)     # -log p, -log(1 - p)
  return slopes[(target * losses[0] + (1 - target) * losses[1]).sum(axis=1).argmin(), 0]


@pytest.mark.parametrize("seed", range(4))
def test_the_slope_is_the_most_likely_one(seed):
  rng = np.random.default_rng(seed)
  differences, tied = rng.normal(0.7, 1, 40), rng.random(40) < 0.2
  assert pair_probability.fit(differences, tied, 12) == pytest.approx(naive_slope(differences, tied, 12), rel=2e-3)


def test_pairs_of_known_probability_get_it_back():
  rng, slope = np.random.default_rng(0), 1.7
  gap = rng.normal(size=20_000)
  turned = np.where(rng.random(len(gap)) < 1 / (1 + np.exp(-slope * gap)), gap, -gap)      # better minus worse
  assert pair_probability.fit(turned, np.zeros(len(gap), bool), len(gap)) == pytest.approx(slope, rel=0.05)


def test_corners():
  fit, gaps = pair_probability.fit, np.linspace(0.1, 1, 40)
  assert fit(gaps[:9], NONE_TIED[:9], 9) is None and fit(np.zeros(0), np.zeros(0, bool), 0) is None
  assert 0 < fit(gaps, NONE_TIED, 5) < fit(gaps, NONE_TIED, 40) < np.inf            # all in order; few promise less
  assert fit(-gaps, NONE_TIED, 40) == 0.0                                                  # all in the wrong order
  assert fit(gaps, ~NONE_TIED, 40) == 0.0 and fit(np.zeros(40), NONE_TIED, 40) == 0.0      # nobody better, scores equal
  assert fit(1e-12 * gaps, NONE_TIED, 40) == pytest.approx(1e12 * fit(gaps, NONE_TIED, 40), rel=1e-6)
  for slope, gap in ((2.0, 0.7), (0.0, 3.0), (1e9, 1.0)):
    a, b = pair_probability.probability(slope, np.array([gap, -gap]))
    assert a + b == pytest.approx(1) and a >= 0.5
  assert pair_probability.probability(5.0, 0.0) == 0.5


def test_ties_pull_towards_even():
  gaps, tied = np.linspace(0.1, 1, 40), np.arange(40) % 2 == 0
  assert 0 < pair_probability.fit(gaps, tied, 40) < pair_probability.fit(gaps[~tied], np.zeros(20, bool), 40)
