"""Pairs from scores and splits: exact counts, and that no video is on both sides."""

import itertools

import numpy as np
import pytest

from jaxskill.data import splits
from jaxskill.data.dataset import Fold


def scored(num_videos=24, seed=0):
  rng = np.random.default_rng(seed)
  score = rng.integers(0, 10, num_videos).astype(float)
  subject = np.array([f"s{i % 5}" for i in range(num_videos)])
  return score, subject


def check_sides(fold, pairs):
  sides = (fold.train_videos, fold.test_videos, fold.validation_videos)
  for one, other in itertools.combinations(sides, 2):
    assert not np.intersect1d(one, other).size
  for videos, rows in zip(sides, (fold.train_pairs, fold.test_pairs, fold.validation_pairs)):
    expected = [i for i, pair in enumerate(pairs) if set(pair.tolist()) <= set(videos.tolist())]
    assert rows.tolist() == expected


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("grouped", [False, True])
def test_pairs_from_scores_against_loops(margin, grouped):
  score, subject = scored()
  expected, tied = set(), []
  for a, b in itertools.combinations(range(len(score)), 2):
    if grouped and subject[a] != subject[b]:
      continue
    if abs(score[a] - score[b]) > margin:
      expected.add((a, b) if score[a] > score[b] else (b, a))
    else:
      tied.append([a, b])
  pairs, left_out = splits.pairs_from_scores(score, margin, subject if grouped else None)
  assert pairs.dtype == np.int32 and len(pairs) == len(expected)
  assert set(map(tuple, pairs.tolist())) == expected and left_out.tolist() == tied


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_difference_of_the_margin_is_a_tie(dtype):
  pairs, tied = splits.pairs_from_scores(np.array([0.4, 0.3, 0.1], dtype), 0.1)   # 0.4 - 0.3 rounds to above 0.1
  assert pairs.tolist() == [[0, 2], [1, 2]] and tied.tolist() == [[0, 1]]


def test_pairs_from_scores_corners():
  assert splits.pairs_from_scores([3], 0)[0].shape == (0, 2)
  for score in ([3, 3, 3], [0.0, 0.0, 0.0]):
    pairs, tied = splits.pairs_from_scores(score, 0)
    assert not len(pairs) and len(tied) == 3
  with pytest.raises(ValueError, match="tie_margin=-1 must be 0 or more"):
    splits.pairs_from_scores([1, 2], -1)


def test_leave_one_out():
  score, subject = scored()
  pairs, _ = splits.pairs_from_scores(score, 0)
  folds = splits.leave_one_out(subject, pairs)
  assert [fold.name for fold in folds] == ["s0", "s1", "s2", "s3", "s4"]
  for fold in folds:
    check_sides(fold, pairs)
    assert set(subject[fold.test_videos]) == {fold.name}
    assert len(fold.train_videos) + len(fold.test_videos) == len(score)
  with pytest.raises(ValueError, match="needs two groups or more, found \\['a'\\]"):
    splits.leave_one_out(["a", "a"], pairs)


@pytest.mark.parametrize("grouped", [False, True])
def test_random_split(grouped):
  score, subject = scored()
  pairs, _ = splits.pairs_from_scores(score, 0)
  groups = subject if grouped else None
  fold = splits.random_split(len(score), pairs, 3, 0.25, groups)
  check_sides(fold, pairs)
  again = splits.random_split(len(score), pairs, 3, 0.25, groups)
  other = splits.random_split(len(score), pairs, 4, 0.25)
  np.testing.assert_array_equal(fold.test_videos, again.test_videos)
  assert fold.test_videos.tolist() != other.test_videos.tolist()
  if grouped:
    assert not set(subject[fold.train_videos]) & set(subject[fold.test_videos])
  else:
    assert len(fold.test_videos) == 6 and len(fold.train_videos) == 18


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_random_split_share(share):
  with pytest.raises(ValueError, match="config.data.test_share=.* must lie between 0 and 1"):
    splits.random_split(4, np.zeros((0, 2), np.int32), 0, share)


def test_random_split_of_one_video():
  with pytest.raises(ValueError, match="cannot split 1 video; at least two"):
    splits.random_split(1, np.zeros((0, 2), np.int32), 0, 0.5)


def test_folds_given_by_videos():
  score, _ = scored(9)
  pairs, _ = splits.pairs_from_scores(score, 0)
  values = ["train"] * 4 + ["val"] + ["validation"] + ["test"] * 3
  fold, = splits.folds_given(values, pairs)
  check_sides(fold, pairs)
  assert fold.train_videos.tolist() == [0, 1, 2, 3] and fold.validation_videos.tolist() == [4, 5]
  folds = splits.folds_given(["1", "1", "1", "2", "2", "2", "3", "3", "3"], pairs, "fold")
  assert [fold.test_videos.tolist() for fold in folds] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
  for fold in folds:
    check_sides(fold, pairs)


def test_folds_given_by_pairs():
  pairs = np.array([[0, 1], [1, 2], [2, 3], [4, 5]], np.int32)
  fold, = splits.folds_given(["train", "train", "test", "val"], pairs, of="pairs")
  assert [rows.tolist() for rows in (fold.train_pairs, fold.test_pairs, fold.validation_pairs)] == [[0, 1], [2], [3]]
  assert fold.train_videos.tolist() == [0, 1, 2] and fold.test_videos.tolist() == [3]   # 2 is read by training
  assert fold.validation_videos.tolist() == [4, 5]
  further = splits.fold_of_pairs("f", pairs, [0, 1], [2], train_videos=[3, 4], test_videos=[4, 5])
  assert further.train_videos.tolist() == [0, 1, 2, 3, 4] and further.test_videos.tolist() == [5]
  folds = splits.folds_given(["a", "b", "a", "b"], pairs, "fold", "pairs")
  assert [fold.test_pairs.tolist() for fold in folds] == [[0, 2], [1, 3]]
  assert [fold.train_pairs.tolist() for fold in folds] == [[1, 3], [0, 2]]


@pytest.mark.parametrize("arguments,message", [
    ((["train", "dev"],), "unknown split value 'dev'"),
    ((["train", "test"], "part"), "unknown column 'part'"),
    ((["train", "test"], "split", "frames"), "of='frames' must be"),
])
def test_folds_given_errors(arguments, message):
  values, *rest = arguments
  with pytest.raises(ValueError, match=message):
    splits.folds_given(values, np.array([[0, 1]], np.int32), *rest)


@pytest.mark.parametrize("grouped", [False, True])
def test_with_validation(grouped):
  score, _ = scored(40)
  subject = np.array([f"s{i % 8}" for i in range(40)])
  pairs, _ = splits.pairs_from_scores(score, 0)
  before = splits.leave_one_out(subject, pairs)
  after = splits.with_validation(before, pairs, 0.25, 1, subject if grouped else None)
  for old, new in zip(before, after):
    check_sides(new, pairs)
    np.testing.assert_array_equal(new.test_pairs, old.test_pairs)
    np.testing.assert_array_equal(np.union1d(new.train_videos, new.validation_videos), old.train_videos)
    assert len(new.validation_videos) == (10 if grouped else round(0.25 * 35))   # 2 of 7 subjects, or videos
    assert len(new.train_pairs) + len(new.validation_pairs) < len(old.train_pairs)   # those that cross
    if grouped:
      assert not set(subject[new.train_videos]) & set(subject[new.validation_videos])
  again = splits.with_validation(before, pairs, 0.25, 1, subject if grouped else None)
  assert all((a.validation_videos == b.validation_videos).all() for a, b in zip(after, again))
  assert splits.with_validation(before, pairs, 0, 1) == before


def test_with_validation_of_a_fold_by_pairs_keeps_its_training_pairs_only():
  pairs = np.array(list(itertools.combinations(range(8), 2)), np.int32)
  fold = splits.fold_of_pairs("f", pairs, np.arange(0, len(pairs), 2), np.arange(1, len(pairs), 2))
  new, = splits.with_validation([fold], pairs, 0.5, 0)
  assert set(new.train_pairs) | set(new.validation_pairs) < set(fold.train_pairs)
  assert np.isin(pairs[new.train_pairs], new.train_videos).all()
  assert np.isin(pairs[new.validation_pairs], new.validation_videos).all()


def test_with_validation_errors():
  pairs = np.array([[0, 1], [2, 3]], np.int32)
  fold = splits.fold_of_videos("f", pairs, [0, 1], [2, 3])
  with pytest.raises(ValueError, match="leaves 0 training and 0 validation pairs"):
    splits.with_validation([fold], pairs, 0.5, 0)
  with pytest.raises(ValueError, match="config.data.validation_share=1 must lie between"):
    splits.with_validation([fold], pairs, 1, 0)
  with pytest.raises(ValueError, match="cannot split 1 group"):
    splits.with_validation([fold], pairs, 0.5, 0, np.array(["a"] * 4))
  given = splits.fold_of_videos("f", pairs, [0, 1], [], [2, 3])
  with pytest.raises(ValueError, match="has validation data already"):
    splits.with_validation([given], pairs, 0.5, 0)


def test_check_folds():
  empty, row = np.zeros(0, np.int32), np.zeros(1, np.int32)
  splits.check_folds([Fold("a", row, row, row, row)])
  with pytest.raises(ValueError, match="^fold 'a' has no test pairs"):
    splits.check_folds([Fold("a", row, row, row, empty)])
  with pytest.raises(ValueError, match="^fold 'b' has no training pairs"):
    splits.check_folds([Fold("b", row, row, empty, row)])


def test_scores_without_pairs():
  """Sides of videos alone: drawn, left out one at a time, validated and checked."""
  pairs = np.zeros((0, 2), np.int32)
  fold = splits.random_split(20, pairs, 0, 0.25)
  assert len(fold.train_videos) == 15 and len(fold.test_videos) == 5 and not len(fold.train_pairs)
  carved, = splits.with_validation((fold,), pairs, 0.2, 0)
  assert len(carved.train_videos) == 12 and len(carved.validation_videos) == 3
  check_sides(carved, pairs)
  folds = splits.leave_one_out(np.array(["a", "b", "b"]), pairs)
  assert [f.test_videos.tolist() for f in folds] == [[0], [1, 2]]
  splits.check_folds((fold, carved, *folds), of="videos")
  with pytest.raises(ValueError, match="^fold 'random' has no training pairs"):
    splits.check_folds((fold,))
  with pytest.raises(ValueError, match="^fold 'random' has no test videos; use another split"):
    splits.check_folds((fold._replace(test_videos=fold.test_videos[:0]),), of="videos")
  with pytest.raises(ValueError, match="of='video' must be"):
    splits.check_folds((fold,), of="video")


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("share,count", [(0.25, 4), (0.2, 5), (0.5, 2), (0.9, 2)])
def test_random_folds_test_every_video_once(share, count, grouped):
  score, subject = scored()
  pairs, _ = splits.pairs_from_scores(score, 0)
  folds = splits.random_folds(len(score), pairs, 3, share, subject if grouped else None)
  assert len(folds) == count and np.sort(np.concatenate([fold.test_videos for fold in folds])).tolist() == list(range(24))
  for fold in folds:
    check_sides(fold, pairs)
    assert len(fold.train_videos) + len(fold.test_videos) == 24
    assert not grouped or not set(subject[fold.train_videos]) & set(subject[fold.test_videos])
  with pytest.raises(ValueError, match="1 video cannot be dealt out"):
    splits.random_folds(1, np.zeros((0, 2), np.int32), 0, share)
  with pytest.raises(ValueError, match="config.data.test_share=1.0 must lie"):
    splits.random_folds(9, pairs, 0, 1.0)


def test_everything_trains_and_nothing_tests():
  score, _ = scored()
  pairs, _ = splits.pairs_from_scores(score, 0)
  fold, = splits.everything(len(score), pairs)
  assert fold.name == "all" and fold.train_videos.tolist() == list(range(24)) and len(fold.train_pairs) == len(pairs)
  assert not len(fold.test_videos) and not len(fold.test_pairs)
  splits.check_folds((fold,), tests=False)
  with pytest.raises(ValueError, match="has no test pairs of its 0 video"):
    splits.check_folds((fold,))


def test_folds_where_nobody_asked_for_any():
  none = np.zeros((0, 2), np.int32)
  names = lambda *arguments: [fold.name for fold in splits.folds_unasked(*arguments)]
  assert names(39, none, 0, 0.25) == ["part1", "part2", "part3", "part4"] and names(40, none, 0, 0.25) == ["random"]
  assert names(6, none, 0, 0.25, np.array(list("aabbcc"))) == ["a", "b", "c"]
  assert names(6, none, 0, 0.25, np.array(list("aaaaaa"))) == ["part1", "part2", "part3", "part4"]
  many = np.array([f"s{i:02d}" for i in range(60)])
  assert names(60, none, 0, 0.25, many) == ["part1", "part2", "part3", "part4"]              # and not 60 models
  pairs, _ = splits.pairs_from_scores(np.arange(16.0), 0)
  assert names(16, pairs, 0, 0.25, many[:16]) == ["part1", "part2", "part3", "part4"]        # one video has no pair
  assert names(5, splits.pairs_from_scores(np.arange(5.0), 0)[0], 0, 0.25) == ["random"]


def test_nothing_is_taken_out_of_given_folds_unasked():
  none = np.zeros((0, 2), np.int32)
  folds = lambda count: (splits.random_split(count, none, 0, 0.25),)
  share = splits.default_validation_share
  assert share(folds(400), False) == 0 and share(folds(30), True) == 0 and share(folds(400), True) == 0.2
  assert share(folds(66), True) == 0.2 and share(folds(64), True) == 0                        # 50 and 48 train
