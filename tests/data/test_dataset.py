"""The data contract: every fault is refused by name, nothing changes later, and the audit counts right."""

import dataclasses
import itertools

import numpy as np
import pytest

from jaxskill.data.dataset import (Fold, SkillDataset, audit, check_features, check_pairs, count_cycles, describe_audit,
                                   pad_streams)

FOLD = Fold("only", np.array([0, 1]), np.array([2]), np.array([0]), np.array([1]))


def fields(**changes):
  base = dict(
      name="toy", source="toy.csv", videos=("a", "b", "c"), streams=dict(rgb=np.ones((3, 4, 2), np.float32)),
      lengths=dict(rgb=np.array([4, 2, 1], np.int32)), pairs=np.array([[0, 1], [0, 2]], np.int32), folds=(FOLD,))
  return base | changes


def features(value, at):
  array = np.ones((3, 4, 2), np.float32)
  array[at] = value
  return dict(rgb=array)


def lengths(*values):
  return dict(rgb=np.array(values, np.int32))


@pytest.mark.parametrize("changes,message", [
    (dict(videos=()), "toy.csv: no videos"),
    (dict(videos=("a", "b", "a")), "video 'a' appears more than once"),
    (dict(streams={}), "no feature stream"),
    (dict(streams=dict(rgb=np.ones((3, 4), np.float32))), r"'rgb' has shape \(3, 4\); expected \[3 videos"),
    (dict(streams=dict(rgb=np.ones((2, 4, 2), np.float32))), r"has shape \(2, 4, 2\)"),
    (dict(lengths={}), r"'rgb' needs lengths of shape \(3,\)"),
    (dict(lengths=lengths(4, 2)), r"needs lengths of shape \(3,\), got \(2,\)"),
    (dict(lengths=lengths(4, 0, 1)), "video 'b', stream 'rgb': 0 segments, expected 1 to 4"),
    (dict(lengths=lengths(4, 5, 1)), "video 'b', stream 'rgb': 5 segments"),
    (dict(streams=features(np.nan, (1, 1, 0))), "video 'b', stream 'rgb' holds 1 NaN .* the first in segment 1"),
    (dict(streams=features(np.inf, (0, 3, 1))), "video 'a', stream 'rgb' holds 1 NaN or infinite"),
    (dict(streams=dict(rgb=np.ones((3, 4, 2), int))), "expected floating-point features .* found int64"),
    (dict(streams=dict(rgb=np.ones((3, 4, 2), np.uint8))), "found uint8"),
    (dict(streams=dict(rgb=np.ones((3, 4, 0), np.float32))), r"is empty \(shape \(4, 0\)\)"),
    (dict(pairs=np.array([[0, 1, 2]])), r"pairs must be integers of shape \[pairs, 2\]"),
    (dict(pairs=np.array([[0.0, 1.0]])), "pairs must be integers .* float64"),
    (dict(pairs=np.array([[0, 3]])), "pairs name video number 3 but there are 3 videos"),
    (dict(pairs=np.array([[-1, 2]])), "pairs name video number -1"),
    (dict(pairs=np.array([[0, 1], [1, 1]])), "pair 2 compares video 'b' with itself"),
    (dict(pairs=np.array([[0, 1], [1, 0]])), "contradictory pair: 'a' is better than 'b' and also worse"),
    (dict(score=np.ones(2)), r"score must have shape \(3,\), got \(2,\)"),
    (dict(subject=np.array(["x"])), r"subject must have shape \(3,\)"),
    (dict(score=np.array([1, np.nan, 2])), "score of video 'b' is not a finite number"),
    (dict(difficulty=np.array([1, 2, np.inf])), "difficulty of video 'c' is not a finite number"),
    (dict(folds=()), "no folds"),
    (dict(folds=(FOLD._replace(train_videos=np.array([3])),)), "fold 'only': train_videos must be positions 0 to 2"),
    (dict(folds=(FOLD._replace(test_pairs=np.array([2])),)), "fold 'only': test_pairs must be positions 0 to 1"),
    (dict(folds=(FOLD._replace(validation_videos=np.array([-1])),)), "validation_videos must be positions"),
    (dict(folds=(FOLD._replace(train_pairs=np.array([[0]])),)), "train_pairs must be positions"),
])
def test_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    SkillDataset(**fields(**changes))


def test_padding_is_not_read():
  data = SkillDataset(**fields(streams=features(np.nan, (2, 1, 0))))
  assert data.num_videos == 3


def test_checked_features_are_not_read_again():
  SkillDataset(**fields(streams=features(np.nan, (0, 0, 0)), features_checked=True))


def test_frames_and_pairless_data_are_lawful():
  frames = dict(frames=np.zeros((3, 2, 4, 4, 3), np.uint8))
  empty = np.zeros(0, np.int32)
  data = SkillDataset(**fields(streams=frames, lengths=dict(frames=np.array([1, 2, 2])), pairs=np.zeros((0, 2), int),
                               folds=(FOLD._replace(train_pairs=empty, test_pairs=empty),)))
  assert data.streams["frames"].dtype == np.uint8 and audit(data)["pairs"] == 0


def test_immutable():
  data = SkillDataset(**fields(score=np.array([3, 2, 1], np.float32), truth=dict(skill=np.ones(3))))
  with pytest.raises(dataclasses.FrozenInstanceError):
    data.name = "other"
  with pytest.raises(TypeError):
    data.streams["more"] = np.ones(3)
  for array in (data.streams["rgb"], data.lengths["rgb"], data.row_seconds["rgb"], data.pairs, data.score,
                data.truth["skill"], data.folds[0].train_pairs):
    with pytest.raises(ValueError, match="read-only"):
      array[0] = 0


def test_row_seconds_default_to_one():
  assert SkillDataset(**fields()).row_seconds["rgb"].tolist() == [1, 1, 1]
  assert SkillDataset(**fields(row_seconds=dict(rgb=np.full(3, 0.5)))).row_seconds["rgb"].dtype == np.float32


def test_check_functions_name_their_source():
  with pytest.raises(ValueError, match=r"there.npy: video 'v', stream 'rgb': expected floating-point .* shape \(3,\)"):
    check_features(np.ones(3, np.float32), "rgb", "v", "there.npy")
  with pytest.raises(ValueError, match="there.npy: video 'v', stream 'rgb' is empty"):
    check_features(np.ones((0, 2), np.float32), "rgb", "v", "there.npy")
  check_pairs(np.zeros((0, 2), np.int32), ("a",), "there.csv")


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
  rgb = np.random.default_rng(0).normal(size=(5, 2, 2)).astype(np.float32)
  data = SkillDataset(**fields(videos=videos, streams=dict(rgb=rgb), lengths=lengths(*[2] * 5), pairs=pairs, folds=(fold,), missing=("x", "y"),
                               dropped_pairs=4, tied_pairs=7, simulated=True))
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


def test_pad_streams():
  arrays = [np.full((n, 2), n, np.float32) for n in (3, 1, 2)]
  stacked, lengths = pad_streams(("a", "b", "c"), arrays)
  assert stacked.shape == (3, 3, 2) and lengths.tolist() == [3, 1, 2]
  for row, array in zip(stacked, arrays):
    np.testing.assert_array_equal(row[:len(array)], array)
    assert not row[len(array):].any()


def scored_fields(**changes):
  """Three videos with scores and no pairs."""
  empty = np.zeros(0, np.int32)
  base = dict(pairs=np.zeros((0, 2), np.int32), folds=(FOLD._replace(train_pairs=empty, test_pairs=empty),),
              score=np.array([3, 2, 1], np.float32), score_range=(0, 5),
              criteria=dict(execution=np.array([1.0, 2.0, 3.0])))
  return fields(**(base | changes))


def test_criteria_and_ranges():
  data = SkillDataset(**scored_fields())
  assert data.score_range.tolist() == [[0, 5]] * 3 and data.score_range.dtype == np.float32
  assert data.criteria["execution"].tolist() == [1, 2, 3] and data.criteria["execution"].dtype == np.float32
  for array in (data.score_range, data.criteria["execution"]):
    with pytest.raises(ValueError, match="read-only"):
      array[0] = 0
  own = SkillDataset(**scored_fields(score_range=np.array([[0, 3], [1, 4], [0.5, 1]])))
  assert own.score_range.tolist() == [[0, 3], [1, 4], [0.5, 1]]
  plain = SkillDataset(**fields())
  assert plain.score_range is None and not plain.criteria


def test_a_product_rounded_in_float32_is_inside_its_range():
  highest = 30 * np.array([3.37, 3.39, 2.81])
  score = highest.astype(np.float32)
  ranges = np.stack([np.zeros(3), highest], 1)
  assert (score > ranges[:, 1]).any()
  SkillDataset(**scored_fields(score=score, score_range=ranges))


@pytest.mark.parametrize("changes,message", [
    (dict(score_range=(0, 2.5)), "toy.csv: video 'a' has the score 3, outside the possible 0 to 2.5"),
    (dict(score_range=np.array([[0, 5], [0, 5], [1.5, 5]])), "video 'c' has the score 1, outside the possible 1.5"),
    (dict(score_range=(5, 0)), r"score_range of video 'a' is \(5, 0\); expected two finite"),
    (dict(score_range=(0, np.inf)), "expected two finite numbers"),
    (dict(score_range=np.zeros((2, 2))), r"score_range must be \(lowest, highest\) or of shape \(3, 2\), got \(2, 2\)"),
    (dict(score=None), "score_range is given, but no scores"),
    (dict(criteria=dict(flow=np.ones(2))), r"criterion 'flow' must have shape \(3,\)"),
    (dict(criteria=dict(flow=np.array([1, np.nan, 1]))), "criterion 'flow' of video 'b' is not a finite number"),
])
def test_refused_scores(changes, message):
  with pytest.raises(ValueError, match=message):
    SkillDataset(**scored_fields(**changes))


def test_audit_of_scores_without_pairs():
  count = 24
  category = np.array(["often"] * 11 + ["rare"] * 9 + ["often", "rare", "rare", "never"])
  difficulty = np.array([1.0] * 10 + [2.0] * 10 + [1.0, 2.0, 2.0, 3.0])
  empty = np.zeros(0, np.int32)
  fold = Fold("f", np.arange(20), np.arange(20, 24), empty, empty)
  rgb = np.random.default_rng(0).normal(size=(count, 2, 2)).astype(np.float32)
  data = SkillDataset(**scored_fields(
      videos=tuple(map(str, range(count))), streams=dict(rgb=rgb),
      lengths=lengths(*[2] * count), score=np.ones(count), criteria={}, category=category, difficulty=difficulty,
      folds=(fold,), missing=("x",)))
  facts = audit(data)
  only, = facts["folds"]
  assert facts["categories"] == 3 and facts["difficulties"] == 3 and facts["scored"]
  assert only["test_videos_of_rare_category"] == 3 and only["test_videos_of_rare_difficulty"] == 1
  text = describe_audit(facts)
  assert "24 videos, scores, no pairs, 3 categories, 3 difficulties, 1 fold(s)" in text
  assert "20 training / 0 validation / 4 test videos; " in text
  assert "fewer than 10 training videos of their kind: 3 by category, 1 by difficulty" in text
  assert "missing videos: 1 (x)" in text and "cycles" not in text and "leak" not in text
