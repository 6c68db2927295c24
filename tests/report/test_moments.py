"""Which moments of a video an answer names."""


import numpy as np
import pytest

from jaxskill.report import explain
from tests.assess.own_videos import trained

pytestmark = pytest.mark.usefixtures("quick_training")


def test_moments_are_where_attention_is(tmp_path):
  run = trained("pros_cons")
  test = run.dataset.folds[0].test_videos[0]
  rows = run.dataset.streams["rgb"][test, : run.dataset.lengths["rgb"][test]]
  path = run.save(test, tmp_path, rgb=100 * rows)                             # which no model looks at evenly
  (result,), _ = (list(found.values()) if i == 0 else found for i, found in enumerate(run.assess(path, out=tmp_path)))
  line = result["attention"]["high attention"]
  values = np.array(line["values"])
  assert values.sum() == pytest.approx(1, abs=1e-4)
  found = [one for one in result["moments"] if one["what"] == "high attention"]
  assert found[0]["share"] == max(one["share"] for one in found)
  for one in found:
    inside = (np.array(line["start"]) >= one["start"] - 1e-6) & (np.array(line["end"]) <= one["end"] + 1e-6)
    assert one["share"] == pytest.approx(values[inside].sum(), abs=1e-4) and (values[inside] > values.mean()).all()


@pytest.mark.parametrize("shares,found", [
    ([1, 1, 1, 1], []), ([1.05, 1.3, 0.95, 0.7], []), ([0.8, 1.6, 1.1, 0.5], [(1, 3, 1.5, 0.675)]),
    ([1.2, 0.5, 0.2, 2.1], [(3, 4, 3.5, 0.525)]), ([1], [])])
def test_a_moment_stands_out_or_is_not_named(shares, found):
  """Half as much again as an even share, at its peak; what is a little above one is no moment that decides."""
  named = explain.bright(np.array(shares) / 4, np.arange(len(shares)), np.arange(1, len(shares) + 1))
  assert [tuple(one[key] for key in ("start", "end", "peak", "share")) for one in named] == [pytest.approx(f) for f in found]


def test_where_no_moment_stands_out_the_answer_says_so():
  result = dict(attention={"high attention": {}, "low attention": {}},
                meanings={"high attention": dict(words="moments for", side=1)})
  one = dict(words="moments for", at="0:01.0-0:02.0", share=0.4)
  assert explain.moment_lines(result, [one]) == ["moments for: 0:01.0-0:02.0 (40 % of the attention)",
                                                  "low attention: none stands out"]
