"""The audit of a data set counts right: contradictions of pairs, leaks, kinds that training hardly knows."""

import itertools

import numpy as np
import pytest

from jaxskill.data.audit import audit, count_cycles, describe_audit
from jaxskill.data.dataset import Fold, SkillDataset


def dataset(videos, pairs, fold, **labels):
  rgb = np.random.default_rng(0).normal(size=(len(videos), 2, 2)).astype(np.float32)
  return SkillDataset(name="toy", source="toy.csv", videos=videos, streams=dict(rgb=rgb),
                      lengths=dict(rgb=np.full(len(videos), 2, np.int32)), pairs=pairs, folds=(fold,), **labels)


@pytest.mark.parametrize("seed", range(6))
def test_count_cycles_against_brute_force(seed):
  rng = np.random.default_rng(seed)
  count = 8
  pairs = [(a, b) if rng.random() < 0.5 else (b, a) for a, b in itertools.combinations(range(count), 2)
           if rng.random() < (0.3, 0.6, 1.0)[seed % 3]]
  edges = set(pairs)
  triangles = sum((a, b) in edges and (b, c) in edges and (c, a) in edges
                  for a, b, c in itertools.permutations(range(count), 3)) // 3
  reach = np.zeros((count, count), bool)
  reach[tuple(np.array(pairs).T)] = True
  for middle in range(count):
    reach |= reach[:, middle:middle + 1] & reach[middle:middle + 1]
  assert count_cycles(np.array(pairs + pairs[:2]), count) == (triangles, int(np.diag(reach).sum()))


def test_count_cycles_of_nothing():
  assert count_cycles(np.zeros((0, 2), int), 3) == (0, 0)


def test_audit():
  videos = tuple("abcde")
  pairs = np.array([[0, 1], [1, 2], [2, 0], [0, 1], [3, 0], [3, 4], [2, 1 + 2]], np.int32)
  fold = Fold("f", np.array([0, 1, 2]), np.array([3, 4]), np.array([0, 1, 2]), np.array([3, 4, 5]))
  data = dataset(videos, pairs, fold, missing=("x", "y"), dropped_pairs=4, tied_pairs=7, simulated=True)
  facts = audit(data)
  assert facts["videos"] == 5 and facts["pairs"] == 7 and facts["repeated_pairs"] == 1
  assert facts["missing_videos"] == ["x", "y"] and facts["dropped_pairs"] == 4 and facts["tied_pairs_left_out"] == 7
  assert facts["cycles_of_three"] == 1 and facts["videos_on_cycles"] == 4   # 0 1 2 0, and 0 1 2 3 0
  only, = facts["folds"]
  assert only["test_pairs_with_one_training_video"] == 1 and only["test_pairs_of_two_training_videos"] == 1
  assert only["cycles_of_three_in_training"] == 1 and only["test_pairs"] == 3 and only["train_videos"] == 3
  text = describe_audit(facts)
  for words in ("5 videos, 7 pairs, 1 fold(s); SIMULATED", "missing videos: 2 (x, y), leaving out 4 pairs",
                "1 test pairs hold one training video, 1 hold two (67 %)", "tied pairs left out: 7"):
    assert words in text


def test_audit_of_scores_without_pairs():
  count = 24
  category = np.array(["often"] * 11 + ["rare"] * 9 + ["often", "rare", "rare", "never"])
  difficulty = np.array([1.0] * 10 + [2.0] * 10 + [1.0, 2.0, 2.0, 3.0])
  empty = np.zeros(0, np.int32)
  fold = Fold("f", np.arange(20), np.arange(20, 24), empty, empty)
  data = dataset(tuple(map(str, range(count))), np.zeros((0, 2), np.int32), fold, score=np.ones(count), category=category,
                 difficulty=difficulty, missing=("x",))
  facts = audit(data)
  only, = facts["folds"]
  assert facts["categories"] == 3 and facts["difficulties"] == 3 and facts["scored"]
  assert only["test_videos_of_rare_category"] == 3 and only["test_videos_of_rare_difficulty"] == 1
  text = describe_audit(facts)
  assert "24 videos, scores, no pairs, 3 categories, 3 difficulties, 1 fold(s)" in text
  assert "20 training / 0 validation / 4 test videos; " in text
  assert "fewer than 10 training videos of their kind: 3 by category, 1 by difficulty" in text
  assert "missing videos: 1 (x)" in text and "cycles" not in text and "leak" not in text
