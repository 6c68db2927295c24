"""Labels of several raters: what becomes of them, and which lines are refused."""

import numpy as np
import pytest

from jaxskill.data.user.features import load_features


def folder_of(tmp_path, videos="abcdef"):
  rng = np.random.default_rng(0)
  for video in videos:
    np.save(tmp_path / f"{video}.npy", rng.normal(size=(3, 2)).astype(np.float32))
  return tmp_path


def test_scores_of_several_raters(tmp_path):
  """Their mean is the score; a cell is empty where a rater has not seen a video."""
  lines = ["video,rater.ann,rater.bob", "a,1,3", "b,2,", "c,,5", "d,4,4", "e,5,6", "f,0,1"]
  (folder_of(tmp_path) / "scores.csv").write_text("\n".join(lines))
  data = load_features(tmp_path, make_pairs=False, split="all")
  assert data.score.tolist() == [2, 2, 5, 4, 5.5, 0.5] and not data.criteria
  np.testing.assert_array_equal(data.ratings["scores"], [[1, 3], [2, np.nan], [np.nan, 5], [4, 4], [5, 6], [0, 1]])
  lines[0], lines[1:] = lines[0] + ",score", [f"{line},{i}" for i, line in enumerate(lines[1:])]
  (tmp_path / "scores.csv").write_text("\n".join(lines))
  data = load_features(tmp_path, make_pairs=False, split="all")
  assert data.score.tolist() == list(range(6)) and data.ratings["scores"].shape == (6, 2)      # the column decides


@pytest.mark.parametrize("lines,message", [
    (["video,rater.ann", "a,1", "b,"], r"scores.csv, line 3: nobody has rated video 'b'"),
    (["video,rater.ann", "a,1", "b,good"], r"scores.csv, line 3: rater.ann 'good' of video 'b' is not a finite number"),
    (["video,rater.ann", "a,1", "b,inf"], r"scores.csv, line 3: rater.ann 'inf' of video 'b' is not a finite number"),
    (["video,rater.", "a,1", "b,2"], r"column 'score' is not in the first line"),
    (["video,criterion.style", "a,1", "b,2"], r"column 'score' is not in the first line"),
    (["video,rater.ann,rater.ann", "a,1,1", "b,2,2"], r"column 'rater.ann' appears more than once"),
])
def test_faults_of_scores(tmp_path, lines, message):
  (folder_of(tmp_path, "ab") / "scores.csv").write_text("\n".join(lines))
  with pytest.raises(ValueError, match=message):
    load_features(tmp_path, make_pairs=False, split="all")


def test_pairs_of_several_raters(tmp_path):
  """The majority says the order; who splits evenly is tied; all votes are kept."""
  votes = [("a", "b", "ann"), ("a", "b", "bob"), ("b", "a", "cy"), ("c", "d", "ann"), ("d", "c", "bob"), ("e", "f", "ann"),
           ("f", "c", "ann"), ("f", "c", "bob"), ("a", "c", "ann")]
  (folder_of(tmp_path) / "pairs.csv").write_text("better,worse,rater\n" + "\n".join(map(",".join, votes)))
  data = load_features(tmp_path, split="all")
  named = lambda pairs: [tuple(data.videos[v] for v in pair) for pair in pairs]
  assert named(data.pairs) == [("a", "b"), ("e", "f"), ("f", "c"), ("a", "c")] and data.tied_pairs == 1
  assert [set(pair) for pair in named(data.similar)] == [{"c", "d"}]
  raters = ["ann", "bob", "cy"]
  known = [(better, worse, raters[rater]) for (better, worse), rater in zip(named(data.ratings["votes"][:, :2]),
                                                                            data.ratings["votes"][:, 2])]
  assert known == votes
  (tmp_path / "pairs.csv").write_text("better,worse,rater,split\n" + "\n".join(
      ",".join((*vote, "test" if {"e", "f", "c"} >= set(vote[:2]) else "train")) for vote in votes))
  fold, = load_features(tmp_path).folds
  assert named(load_features(tmp_path).pairs[fold.test_pairs]) == [("e", "f"), ("f", "c")]


def test_similar_pairs(tmp_path):
  """A row of pairs.csv calls two videos similar; also that of one rater, whose voice then counts for neither."""
  named = lambda data, pairs: [tuple(data.videos[v] for v in pair) for pair in pairs]
  table = folder_of(tmp_path) / "pairs.csv"
  table.write_text("better,worse,similar\nb,a,no\nd,c,yes\nc,d,yes\ne,f,no\n")
  data = load_features(tmp_path, split="all")
  assert named(data, data.pairs) == [("b", "a"), ("e", "f")] and named(data, data.similar) == [("c", "d")]
  assert data.tied_pairs == 1 and set(data.videos) == set("abcdef")
  table.write_text("better,worse,rater,similar\nb,a,ann,yes\na,b,bob,no\nd,c,ann,yes\ne,f,ann,no\nf,e,bob,no\ne,f,cy,yes\n")
  data = load_features(tmp_path, split="all")
  assert named(data, data.pairs) == [("a", "b")] and named(data, data.similar) == [("c", "d"), ("e", "f")]
  assert named(data, data.ratings["votes"][:, :2]) == [("a", "b"), ("e", "f"), ("f", "e")]
  table.write_text("better,worse,similar,split\nb,a,no,train\nd,c,yes,train\ne,f,no,test\n")
  fold, = load_features(tmp_path).folds
  assert [len(fold.train_pairs), len(fold.test_pairs)] == [1, 1]


@pytest.mark.parametrize("lines,message", [
    (["better,worse,rater", "a,b,ann", "b,a,ann"], r"pairs.csv, line 3: rater 'ann' has compared 'b' and 'a' in line 2 already"),
    (["better,worse,rater", "a,b,ann", "a,b,ann"], r"pairs.csv, line 3: rater 'ann' has compared 'a' and 'b' in line 2 already"),
    (["better,worse,rater,fold", "a,b,ann,1", "a,b,bob,2"], r"line 3: fold '2' of the pair 'a' and 'b' is '1' in line 2"),
    (["better,worse,rater", "a,b,ann", "a,b,"], r"line 3: the cell 'rater' is empty"),
    (["better,worse", "a,b", "b,a"], r"line 3: contradictory pair: .* or say in a column 'rater' whose each line is"),
    (["better,worse,rater", "a,b,ann", "b,a,bob"], r"no pairs are left of 2 videos \(1 tied"),
    (["better,worse,similar", "a,b,yes"], r"no pairs are left of 2 videos \(1 tied"),
    (["better,worse,similar", "a,b,no", "b,a,="], r"pairs.csv, line 3: similar is '='; expected yes, .* or no"),
    (["better,worse,similar", "a,b,no", "b,a,yes"], r"contradictory pair: 'a' and 'b' are similar"),
    (["better,worse,similar", "a,b,no", "b,a,no"], r"line 3: contradictory pair"),
    (["better,worse,similar", "a,a,yes"], r"line 2: compares video 'a' with itself"),
])
def test_faults_of_pairs(tmp_path, lines, message):
  (folder_of(tmp_path, "ab") / "pairs.csv").write_text("\n".join(lines))
  with pytest.raises(ValueError, match=message):
    load_features(tmp_path, split="all")
