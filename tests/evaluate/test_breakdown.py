"""Error and bias of subjects and groups, by hand."""

import numpy as np
import pytest

from jaxskill.evaluate import breakdown


def test_labels_by_hand():
  found = breakdown.of_labels([1, 4, 2], [2, 2, 2], np.array(["a", "a", "b"]))
  assert found == {"a": dict(videos=2, error=1.5, bias=0.5), "b": dict(videos=1, error=0.0, bias=0.0)}


def test_pairs_by_hand():
  """a beats b wrongly, b and c tie, and within a group one pair is wrong, which favors neither group."""
  names, scores = np.array(["a", "a", "b", "c"]), np.array([3.0, 1.0, 2.0, 2.0])
  pairs = np.array([(2, 0), (2, 3), (1, 0)])                     # b over a, b over c, a over a
  found = breakdown.of_pairs(scores, pairs, names)
  assert found == {"a": dict(pairs=2, error=1.0, bias=1.0), "b": dict(pairs=2, error=0.75, bias=-0.75),
                   "c": dict(pairs=1, error=0.5, bias=0.5)}
  assert breakdown.of_pairs(scores, pairs[2:], names)["a"]["bias"] is None


@pytest.mark.parametrize("criterion", ["score", None])
def test_only_the_test_side_counts_and_only_what_is_known(make_dataset, criterion):
  group = np.array([*"ab" * 5, "a"])
  dataset = make_dataset(group=group)
  fold, scores = dataset.folds[0], np.array(dataset.score)
  scores[fold.train_videos] += 100
  found = breakdown.of_fold(dataset, fold, scores, criterion)
  assert found.keys() == {"by_group"} and found["by_group"].keys() == {"a", "b"}
  assert all(part["error"] == 0 and not part["bias"] for part in found["by_group"].values())
  empty = fold._replace(test_videos=fold.test_videos[:0], test_pairs=fold.test_pairs[:0])
  assert breakdown.of_fold(dataset, empty, scores, criterion) == {}
