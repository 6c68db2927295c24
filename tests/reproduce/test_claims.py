"""Verdicts on claims, from numbers over seeds that are made up."""

import numpy as np
import pytest
from scipy import stats

from jaxskill.reproduce import claims
from jaxskill.reproduce.entries import Claim

CLAIM = Claim("core", "Table 1", "more is more", "configs/x.py", ("a", "last.accuracy"), ("b", "last.accuracy"))


def results(**rows):
  """{row: results.json} whose models have these accuracies, one a seed."""
  return {row: dict(replicas=[dict(row=row, criterion="score", seed=seed, fold=fold, last=dict(accuracy=value))
                              for seed, values in enumerate(accuracies) for fold, value in enumerate(values)])
          for row, accuracies in rows.items()}


@pytest.mark.parametrize("b, says", (([.50, .51, .52], "holds"), ([.91, .92, .92], "does not hold"),
                                     ([.5, .9, .7], "within the spread")))
def test_verdict_is_that_of_a_paired_t_test(b, says):
  a = [.70, .72, .71]
  verdict = claims.judge(CLAIM, results(a=[[x] for x in a], b=[[x] for x in b]))
  assert verdict.says == says
  interval = stats.ttest_rel(a, b).confidence_interval(0.95)
  np.testing.assert_allclose(verdict.interval, interval, rtol=1e-9)
  assert (verdict.more, verdict.less) == pytest.approx((np.mean(a), np.mean(b)))


def test_seeds_are_means_over_folds():
  verdict = claims.judge(CLAIM, results(a=[[.6, .8], [.7, .9]], b=[[.5, .5], [.5, .7]]))
  assert verdict.difference == pytest.approx(np.mean([.7 - .5, .8 - .6]))


def test_lower_is_better_where_the_claim_says_so():
  of = results(a=[[.1], [.12], [.11]], b=[[.5], [.5], [.52]])
  assert claims.judge(CLAIM, of).says == "does not hold"
  assert claims.judge(CLAIM._replace(lower=True), of).says == "holds"


def test_a_number_is_compared_with():
  assert claims.judge(CLAIM._replace(less=0.5), results(a=[[.7], [.72]])).less == 0.5
  assert CLAIM._replace(less=0.5).rows == ("a",)


def test_one_seed_is_no_measurement_and_few_are_no_claim():
  assert claims.judge(CLAIM, results(a=[[.7]], b=[[.5]])).says == "not measured"
  assert "not measured" in claims.line(claims.judge(CLAIM, results(a=[], b=[])))
  line = claims.line(claims.judge(CLAIM, results(a=[[.7], [.71]], b=[[.5], [.5]])))
  assert "2 seeds, fewer than 5: no claim" in line
  assert "more is more (Table 1)" in line
