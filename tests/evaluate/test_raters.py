"""Agreement of raters against published numbers and against counting."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from jaxskill.evaluate import raters
from jaxskill.report import tables


def test_intraclass_correlations_as_published():
  """Table 2 of Shrout and Fleiss (1979): six targets, four judges; ICC(2,1) = .29, ICC(2,4) = .62."""
  ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
  single, mean = raters.intraclass(ratings)
  assert round(single, 2) == 0.29 and round(mean, 2) == 0.62
  assert all(math.isnan(value) for value in raters.intraclass(np.ones((4, 3))))
  assert raters.intraclass(np.tile(np.arange(5.0)[:, None], 3)) == pytest.approx((1, 1))


def test_one_rater_against_the_mean_of_the_others():
  rng = np.random.default_rng(0)
  ratings = rng.normal(size=(20, 1)) + 0.5 * rng.normal(size=(20, 3))
  ratings[3, 0] = ratings[7, 1] = ratings[7, 2] = np.nan
  found = raters.agreement(dict(scores=ratings), True)
  complete = [i for i in range(20) if i not in (3, 7)]
  by_rater = []
  for rater in range(3):
    one, others = [], []
    for row in ratings:
      rest = [row[k] for k in range(3) if k != rater and np.isfinite(row[k])]
      if np.isfinite(row[rater]) and rest:
        one.append(row[rater])
        others.append(sum(rest) / len(rest))
    by_rater.append(stats.spearmanr(one, others).statistic)
  assert found["spearman"] == pytest.approx(np.mean(by_rater)) and (found["raters"], found["videos"]) == (3, 18)
  assert (found["icc_2_1"], found["icc_2_k"]) == pytest.approx(raters.intraclass(ratings[complete]))
  assert raters.agreement(dict(scores=ratings[:, :1]), True) == {} == raters.agreement({}, True)
  assert raters.agreement(dict(scores=ratings), False) == {}


def test_votes_on_pairs():
  """Two raters of one pair agree or not; kappa takes one half for chance, for a pair has no first and second."""
  rng = np.random.default_rng(1)
  votes = [(a, b, rater) if rng.uniform() < 0.8 else (b, a, rater)
           for a, b in itertools.combinations(range(6), 2) for rater in range(rng.integers(1, 5))]
  found = raters.agreement(dict(votes=np.array(votes)), False)
  same, right = [], []
  for pair in itertools.combinations(range(6), 2):
    cast = [vote[:2] for vote in votes if set(vote[:2]) == set(pair)]
    same += [one == other for one, other in itertools.combinations(cast, 2)]
    for i, vote in enumerate(cast):
      others = [other == vote for j, other in enumerate(cast) if j != i]
      if others:
        right.append(1.0 if np.mean(others) > 0.5 else 0.5 if np.mean(others) == 0.5 else 0.0)
  assert found["agreement"] == pytest.approx(np.mean(same)) and found["kappa"] == pytest.approx(2 * np.mean(same) - 1)
  assert found["accuracy"] == pytest.approx(np.mean(right)) and found["raters"] == len({v[2] for v in votes})
  assert raters.agreement(dict(votes=np.array([(0, 1, 0), (1, 2, 1)])), False) == {}           # nobody judged the same


def test_ceiling_stands_above_the_baselines_and_its_words_below_the_table():
  summary = dict(spearman=dict(last=None, validation_selected=None, best_on_test=None), against_truth={},
                 metrics=dict(pearson=None, rl2=None, mae=None))
  found = raters.agreement(dict(scores=np.array([[1, 2.0], [2, 2], [4, 3], [5, 7]])), True)
  rows = {"core": summary} | raters.ceiling(found, True) | {"baseline: x": summary}
  facts = dict(folds=[dict(name="f", **{side: dict(videos=30, pairs=0, subjects=None) for side in ("train", "validation", "test")})],
               test_videos=30, too_few_to_claim=False, smallest_fold=30, small_folds=False, raters=found)
  lines = tables.table(rows, False, facts).splitlines()
  assert [line.split("  ")[0] for line in lines[2:5]] == [
      "core", "ceiling: one rater against the others", "baseline: x"]
  assert lines[-1].startswith("2 raters, 4 videos that all have rated: ICC(2,1) 0.8")
  pairs = raters.agreement(dict(votes=np.array([(0, 1, 0), (0, 1, 1), (2, 1, 0), (1, 2, 1)])), False)
  row = raters.ceiling(pairs, False)
  text = tables.table(row, False, facts | dict(raters=pairs))
  assert "2 raters: two of them agree on 50.0 % of 2 pairs that several compared, kappa 0.00" in text
