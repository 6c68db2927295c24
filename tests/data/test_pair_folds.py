"""Pairs that are dealt out anew in every fold: the folds of a list, against the published ones and by every fault."""

import zlib

import numpy as np
import pytest

from jaxskill.data import pair_folds
from jaxskill.data.audit import audit
from jaxskill.data.published.labels_pairs import read_pairs
from jaxskill.data.user.features import load_features
from tests.places import SHARED

EPIC = SHARED / "data" / "annotations" / "EPIC-Skills"


def folder_of(tmp_path, rows, header="better,worse,fold"):
  rows = [tuple(row) for row in rows]
  for video in {video for row in rows for video in row[:2]}:
    np.save(tmp_path / f"{video}.npy", np.random.default_rng(zlib.crc32(video.encode())).normal(size=(4, 3)).astype(np.float32))
  (tmp_path / "pairs.csv").write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
  return tmp_path


def named(data, fold, side):
  return sorted((data.videos[b], data.videos[w]) for b, w in data.pairs[getattr(fold, f"{side}_pairs")])


def test_a_pair_may_be_tested_in_several_folds(tmp_path):
  data = load_features(folder_of(tmp_path, ["abx", "bcx", "aby", "cdy"]))
  x, y = data.folds
  assert len(data.pairs) == 3 and (x.name, y.name) == ("x", "y")
  assert named(data, x, "test") == [("a", "b"), ("b", "c")] and named(data, x, "train") == [("c", "d")]
  assert named(data, y, "test") == [("a", "b"), ("c", "d")] and named(data, y, "train") == [("b", "c")]
  facts = audit(data)                                    # b, c are trained on by y and tested there
  assert facts["folds"][1]["test_pairs_with_one_training_video"] == 2 and facts["repeated_pairs"] == 0


def test_split_beside_fold_says_the_side_and_leaves_pairs_out(tmp_path):
  rows = [("a", "b", "x", "train"), ("b", "c", "x", "test"), ("a", "b", "y", "test"), ("c", "d", "y", "train"),
          ("d", "e", "y", "val"), ("b", "d", "x", "train")]
  data = load_features(folder_of(tmp_path, rows, "better,worse,fold,split"))
  x, y = data.folds
  assert named(data, x, "train") == [("a", "b"), ("b", "d")] and named(data, x, "test") == [("b", "c")]
  assert named(data, y, "train") == [("c", "d")] and named(data, y, "test") == [("a", "b")]
  assert named(data, y, "validation") == [("d", "e")] and not len(x.validation_pairs)
  one = load_features(folder_of(tmp_path, rows[:2], "better,worse,fold,split"))
  assert [fold.name for fold in one.folds] == ["x"]


def test_a_pair_labelled_twice_weighs_twice_and_never_trains_where_it_is_tested(tmp_path):
  data = load_features(folder_of(tmp_path, ["abx", "abx", "bcy", "aby", "cdx"]))
  assert len(data.pairs) == 4 and audit(data)["repeated_pairs"] == 1
  x, y = data.folds
  assert named(data, x, "test") == [("a", "b"), ("a", "b"), ("c", "d")]
  assert named(data, y, "test") == [("a", "b"), ("b", "c")] and named(data, y, "train") == [("c", "d")]


@pytest.mark.parametrize("rows,header,fault", [
    (["abx", "bax"], "better,worse,fold", "line 3: contradictory pair"),
    (["abx", "bcx"], "better,worse,fold", "needs two folds or more"),
    ([("a", "b", "x", "train"), ("a", "b", "x", "test"), ("b", "c", "x", "test")], "better,worse,fold,split",
     "line 3: this pair is test of fold 'x' here and train in .*line 2"),
    ([("a", "b", "x", "train"), ("b", "c", "x", "tset")], "better,worse,fold,split", "line 3: unknown split value 'tset'"),
    ([("a", "b", "x", "train"), ("b", "c", "y", "test")], "better,worse,fold,split", "fold 'x' has no test pairs")])
def test_list_that_cannot_be(tmp_path, rows, header, fault):
  with pytest.raises(ValueError, match=fault):
    load_features(folder_of(tmp_path, rows, header))


def test_missing_videos_take_their_pairs_along(tmp_path):
  folder = folder_of(tmp_path, ["abx", "bcx", "aby", "cdy", "bdx"])
  (folder / "a.npy").unlink()
  data = load_features(folder, allow_missing=True)
  assert data.missing == ("a",) and [named(data, fold, "test") for fold in data.folds] == [
      [("b", "c"), ("b", "d")], [("c", "d")]]


@pytest.mark.skipif(not EPIC.is_dir(), reason="no shared/data/annotations/EPIC-Skills beside the checkout")
@pytest.mark.parametrize("task", ["surgery", "drawing", "chopstick_using", "dough_rolling"])
def test_own_list_gives_the_published_folds(tmp_path, task):
  labels = read_pairs("epic_skills", EPIC, task)
  rows = [(labels.videos[b], labels.videos[w], fold.name, side) for fold in labels.folds for side in ("train", "test")
          for b, w in labels.pairs[getattr(fold, f"{side}_pairs")]]
  for chosen in (rows, [row for row in rows if row[3] == "test"]):              # with a split column, and without
    split = [row[3] for row in chosen] if chosen is rows else None
    position = {video: i for i, video in enumerate(labels.videos)}
    fold = [row[2] for row in chosen]
    pairs, places = pair_folds.merge_repeated([[position[video] for video in row[:2]] for row in chosen], fold)
    found = pair_folds.folds_of_rows(pairs, places, fold, split)
    for ours, published in zip(found, labels.folds):
      assert sorted(map(tuple, pairs[ours.test_pairs])) == sorted(map(tuple, labels.pairs[published.test_pairs]))
      train = set(map(tuple, labels.pairs[published.train_pairs])) - (
          set() if split else set(map(tuple, labels.pairs[published.test_pairs])))
      assert set(map(tuple, pairs[ours.train_pairs])) == train
