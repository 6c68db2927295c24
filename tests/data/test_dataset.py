"""The data contract: every fault is refused by name, nothing changes later, and the audit counts right."""

import dataclasses

import numpy as np
import pytest

from jaxskill.data.dataset import Fold, SkillDataset, pad_streams
from jaxskill.data.dataset_checks import check_features, check_pairs

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
    (dict(similar=np.array([[0, 3]])), "pairs name video number 3 but there are 3 videos"),
    (dict(similar=np.array([[2, 2]])), "pair 1 compares video 'c' with itself"),
    (dict(pairs=np.array([[0, 1]]), similar=np.array([[1, 2], [1, 0]])),
     "contradictory pair: 'b' and 'a' are similar, and one is better than the other"),
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


def test_a_similar_pair_is_found_among_many_ordered_ones():
  """In the other order; of more videos than 32 bits can number the pairs of."""
  count = 50_000
  first = np.arange(count - 20, dtype=np.int32)
  pairs = np.concatenate([np.stack([first + step, first], axis=1) for step in range(1, 5)])
  videos = dict(videos=tuple(map(str, range(count))), streams=dict(rgb=np.ones((count, 1, 1), np.float32)),
                lengths=dict(rgb=np.ones(count, np.int32)), pairs=pairs, features_checked=True)
  apart = np.stack([first[:-1], first[:-1] + 21], axis=1)
  assert len(SkillDataset(**fields(**videos, similar=apart)).pairs) == len(pairs) > 0.19e6
  with pytest.raises(ValueError, match="contradictory pair: '49970' and '49974' are similar"):
    SkillDataset(**fields(**videos, similar=np.concatenate([apart, np.int32([[49_970, 49_974], [1, 0]])])))


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
  assert data.streams["frames"].dtype == np.uint8 and data.pairs.shape == (0, 2)


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
  ranged = SkillDataset(**scored_fields(score_range=np.array([[0, 3], [1, 4], [0.5, 1]])))
  assert ranged.score_range.tolist() == [[0, 3], [1, 4], [0.5, 1]]
  plain = SkillDataset(**fields())
  assert plain.score_range is None and not plain.criteria


def test_labels_by_criterion():
  data = SkillDataset(**scored_fields())
  assert data.labels() is data.score and data.labels("execution").tolist() == [1, 2, 3]
  with pytest.raises(ValueError, match="toy.csv: there is no criterion 'flow', only score, execution; set config.data"):
    data.labels("flow")
  with pytest.raises(ValueError, match="toy.csv: there are no scores to learn from; add them .scores.csv., or use"):
    SkillDataset(**fields()).labels()


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
