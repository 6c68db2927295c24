"""A user's own folder: what is read, how it is split, and every bad input by its message."""

import importlib
import itertools
import json
import types
import unicodedata

import ml_collections
import numpy as np
import pytest

from jaxskill import data as jaxskill_data
from jaxskill.data.user.features import load_features
from jaxskill.data.video import frames

VIDEOS = tuple(f"v{i}" for i in range(8))
SCORES = [8, 7, 6, 5, 4, 3, 2, 1]
SUBJECTS = ["ann", "ann", "ann", "ann", "bob", "bob", "bob", "bob"]


def save_videos(folder, videos=VIDEOS, dtype=np.float32):
  rng = np.random.default_rng(0)
  arrays = {}
  for i, video in enumerate(videos):
    arrays[video] = rng.normal(size=(2 + i % 3, 4)).astype(dtype)
    (folder / video).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{video}.npy", arrays[video])
  return arrays


def write(folder, name, header, rows):
  (folder / name).write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")


def write_scores(folder, header="video,score", *columns, videos=VIDEOS, score=SCORES):
  write(folder, "scores.csv", header, zip(videos, score, *columns))


def write_pairs(folder, rows=None, header="better,worse"):
  write(folder, "pairs.csv", header, rows if rows is not None else itertools.combinations(VIDEOS, 2))


@pytest.fixture
def folder(tmp_path):
  save_videos(tmp_path)
  return tmp_path


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_reads_and_pads(tmp_path, dtype):
  arrays = save_videos(tmp_path, ("a/b", "a/c", "d", "e"), dtype)
  np.save(tmp_path / "unlabelled.npy", np.ones(3))   # no label names it, so nobody reads it
  write_scores(tmp_path, "video,score,difficulty,category", [1, 2, 3, 4], "xxyy", videos=("a/b", "a/c", "d", "e"),
               score=[4, 3, 2, 1])
  data = load_features(tmp_path, split="random", test_share=0.5, seconds_per_segment=0.5)
  assert data.videos == ("a/b", "a/c", "d", "e") and data.name == tmp_path.name and not data.missing
  rgb = data.streams["rgb"]
  assert rgb.shape == (4, 4, 4) and rgb.dtype == np.float32
  for row, length, array in zip(rgb, data.lengths["rgb"], arrays.values()):
    np.testing.assert_array_equal(row[:length], array.astype(np.float32))
    assert length == len(array) and not row[length:].any()
  assert data.row_seconds["rgb"].tolist() == [0.5] * 4
  assert data.score.tolist() == [4, 3, 2, 1] and data.difficulty.tolist() == [1, 2, 3, 4]
  assert data.category.tolist() == ["x", "x", "y", "y"] and data.subject is None
  assert data.pairs.tolist() == [list(pair) for pair in itertools.combinations(range(4), 2)]
  fold, = data.folds
  assert fold.name == "random" and len(fold.test_videos) == 2


def test_several_streams(tmp_path):
  for i, video in enumerate(VIDEOS):
    np.savez(tmp_path / f"{video}.npz", rgb=np.ones((2 + i, 3)), static=np.ones((1 + i % 2, 5)),
             maps=np.ones((1, 2, 2, 3)), frames=np.zeros((2, 4, 4, 3), np.uint8))
  write_pairs(tmp_path)
  data = load_features(tmp_path)
  assert {name: stream.shape for name, stream in data.streams.items()} == dict(
      rgb=(8, 9, 3), static=(8, 2, 5), maps=(8, 1, 2, 2, 3), frames=(8, 2, 4, 4, 3))
  assert data.lengths["static"].tolist() == [1, 2] * 4 and data.streams["frames"].dtype == np.uint8
  assert data.score is None


def test_one_unnamed_array_of_an_npz_is_rgb(tmp_path):
  for video in VIDEOS:
    np.savez(tmp_path / f"{video}.npz", np.ones((2, 3)))
  write_pairs(tmp_path)
  assert set(load_features(tmp_path).streams) == {"rgb"}


def test_split_auto_takes_the_column_then_the_subject_then_chance(folder):
  write_scores(folder, "video,score,subject,split", SUBJECTS, ["train", "train", "val", "val"] + ["test"] * 4)
  data = load_features(folder)
  fold, = data.folds
  assert fold.name == "given" and fold.validation_videos.tolist() == [2, 3] and len(fold.test_pairs) == 6
  assert [fold.name for fold in load_features(folder, split="subject").folds] == ["ann", "bob"]
  assert load_features(folder, split="random", test_share=0.5).folds[0].name == "random"
  write_scores(folder, "video,score,subject", SUBJECTS)
  assert [fold.test_videos.tolist() for fold in load_features(folder).folds] == [[0, 1, 2, 3], [4, 5, 6, 7]]
  write_scores(folder, "video,score,subject", ["ann"] * 8)
  assert [fold.name for fold in load_features(folder).folds] == ["part1", "part2", "part3", "part4"]     # few: all are tested
  write_scores(folder, "video,score,fold", [1, 1, 2, 2, 3, 3, 4, 4])
  assert [fold.test_videos.tolist() for fold in load_features(folder).folds] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_pairs_with_a_split_belong_to_it(folder):
  write_pairs(folder, [("v0", "v1", "train"), ("v1", "v2", "train"), ("v2", "v3", "test"), ("v4", "v5", "val")],
              "better,worse,split")
  data = load_features(folder)
  fold, = data.folds
  assert data.pairs.tolist() == [[0, 1], [1, 2], [2, 3], [4, 5]]
  assert fold.train_pairs.tolist() == [0, 1] and fold.test_pairs.tolist() == [2] and fold.test_videos.tolist() == [3]
  assert fold.validation_videos.tolist() == [4, 5]
  assert jaxskill_data.audit(data)["folds"][0]["test_pairs_with_one_training_video"] == 1


def test_pairs_and_scores_together(folder):
  write_scores(folder, "video,score,subject", SUBJECTS)
  write_pairs(folder, [("v7", "v6"), ("v3", "v0")])   # not what the scores say
  data = load_features(folder)
  assert data.pairs.tolist() == [[7, 6], [3, 0]] and data.score.tolist() == SCORES
  assert [fold.name for fold in data.folds] == ["ann", "bob"]


def test_margin_and_groups(folder):
  write_scores(folder, "video,score,subject", SUBJECTS)
  assert len(load_features(folder).pairs) == 28
  data = load_features(folder, tie_margin=2, pairs_within="subject")
  assert data.pairs.tolist() == [[0, 3], [4, 7]] and data.tied_pairs == len(data.similar) == 10


@pytest.mark.parametrize("split", ["subject", "random"])
def test_validation(tmp_path, split):
  videos = [f"v{i}" for i in range(24)]
  save_videos(tmp_path, videos)
  subject = np.array([f"s{i % 6}" for i in range(24)])
  write_scores(tmp_path, "video,score,subject", subject, videos=videos, score=range(24))
  for fold in load_features(tmp_path, split=split, validation_share=0.4).folds:
    assert len(fold.validation_pairs) and not np.intersect1d(fold.train_videos, fold.validation_videos).size
    if split == "subject":
      sides = [set(subject[ids]) for ids in (fold.train_videos, fold.test_videos, fold.validation_videos)]
      assert sum(map(len, sides)) == len(set.union(*sides)) == 6


def test_missing_videos(folder):
  (folder / "v1.npy").unlink()
  (folder / "v6.npy").unlink()
  write_scores(folder)
  with pytest.raises(ValueError, match="2 of 8 videos are in the pairs or scores but not on disk: 'v1', 'v6' .*"
                                       "allow_missing=True"):
    load_features(folder)
  data = load_features(folder, allow_missing=True, test_share=0.4)
  assert data.missing == ("v1", "v6") and data.num_videos == 6
  assert len(data.pairs) == 15 and data.dropped_pairs == 13
  (folder / "scores.csv").unlink()
  write_pairs(folder, [("v0", "v1", "train"), ("v0", "v2", "train"), ("v3", "v4", "test"), ("v6", "v1", "test")],
              "better,worse,split")
  data = load_features(folder, allow_missing=True)
  assert data.dropped_pairs == 2 and data.videos == ("v0", "v2", "v3", "v4") and data.pairs.tolist() == [[0, 1], [2, 3]]
  assert data.folds[0].train_pairs.tolist() == [0] and data.folds[0].test_pairs.tolist() == [1]


def _fill(folder, **files):
  """Files of a bad folder: text for csv, an array or bytes for features."""
  for name, content in files.items():
    stem, _, ext = name.rpartition("_")
    path = folder / f"{stem}.{ext}"
    if isinstance(content, np.ndarray):
      (np.savez if ext == "npz" else np.save)(path, content)
    else:
      path.write_bytes(content.encode() if isinstance(content, str) else content)


ONES = np.ones((2, 4), np.float32)
NAN = np.where(np.arange(8).reshape(2, 4) == 5, np.nan, 1)


@pytest.mark.parametrize("bad,message", [
    (dict(v3_npy=NAN), r"v3.npy: video 'v3', stream 'rgb' holds 1 NaN or infinite numbers, the first in segment 1"),
    (dict(v3_npy=ONES.astype(np.float64) * 1e300), "v3.npy: video 'v3', stream 'rgb' holds 8 NaN or infinite"),
    (dict(v3_npy=np.ones(4)), r"v3.npy: video 'v3', .* has 1 axes \(shape \(4,\)\); expected \[segments, channels\]"),
    (dict(v3_npy=np.ones((1, 2, 4))), r"v3.npy: video 'v3', .* has 3 axes"),
    (dict(v3_npy=np.ones((2, 4), int)), "v3.npy: video 'v3', stream 'rgb': expected floating-point .* found int64 .*convert them with array.astype.np.float32."),
    (dict(v3_npy=np.ones((2, 5))), r"v3.npy: stream 'rgb' is float32 \[2, 5\] but .*v0.npy has float32 \[2, 4\]"),
    (dict(v3_npy=np.ones((0, 4))), r"v3.npy: video 'v3', stream 'rgb' is empty \(shape \(0, 4\)\)"),
    (dict(v3_npy=b""), "v3.npy: cannot be read .*EOF: reading magic string.*damaged"),
    (dict(v3_npy=b"not numpy"), "v3.npy: cannot be read .*is not a NumPy file"),
    (dict(v3_npy=np.array([{}, {}], object)), "v3.npy: it holds Python objects, which are refused"),
    (dict(v3_npy=np.ones((2, 4), bool)), "found bool .*convert them with array.astype.np.float32., and save them again"),
    (dict(v3_npy=np.array(["a", "b"])), "v3.npy: video 'v3': holds text, no features"),
    (dict(v3_npy=np.array(1.0)), "v3.npy: video 'v3': holds a single number, no features"),
    (dict(v3_npy=b"version https://git-lfs.github.com/spec/v1\n"), "v3.npy: is a pointer of Git LFS, .* fetch it with"),
    (dict(scores_csv=b"version https://git-lfs.github.com/spec/v1\n"), "scores.csv: is a pointer of Git LFS"),
    (dict(scores_csv="video;score\nv0;1,5\nv1;2\n"), "scores.csv: its cells are separated by semicolons .*expected commas, and"),
    (dict(scores_csv='"video"\t"score"\nv0\t1\n'), "scores.csv: its cells are separated by tabulators"),
    (dict(scores_csv="video|score|subject\nv0|1|a\n"), "scores.csv: its cells are separated by vertical bars"),
    (dict(pairs_csv="better;worse\nv0;v1\n"), "pairs.csv: its cells are separated by semicolons"),
    (dict(scores_csv='video,score\nv0,"1,5"\n'), "line 2: score '1,5' of video 'v0' is not a finite .*decimals with a point"),
    (dict(scores_csv="video,score\nv0,1e39\n"), "line 2: score '1e39' of video 'v0' is not a finite number below 3.4e38"),
    (dict(scores_csv="video,score\nv0,1\n../../x,2\n"), "scores.csv, line 3: the video name '../../x' leads out of the folder"),
    (dict(scores_csv="video,score\nv0,1\n/etc/x,2\n"), "scores.csv, line 3: the video name '/etc/x' leads out"),
    (dict(pairs_csv="better,worse\nv0,a/../../v1\n"), "pairs.csv, line 2: the video name 'a/../../v1' leads out"),
    (dict(scores_csv="video,score\nv0,1\n./v0,2\n"), "line 3: video 'v0' has a score in line 2 already"),
    (dict(pairs_csv="better,worse\nv0,.//v0\n"), "line 2: compares video 'v0' with itself"),
    (dict(scores_csv="video,score\n" + "v" * 300 + ",1\n"), "line 2: the video name 'vvv.* is longer than files can be called"),
    (dict(v3_npz=ONES), "video 'v3' has both a .npy and a .npz file .v3.npy, v3.npz.; remove one"),
    (dict(scores_csv="video,mark\nv0,1\n"), "scores.csv: column 'score' is not in the first line .video,mark."),
    (dict(scores_csv=""), "scores.csv: column 'video' is not in the first line"),
    (dict(scores_csv="video,score\n"), "scores.csv: no lines below the first"),
    (dict(scores_csv="video,score,score\nv0,1,2\n"), "column 'score' appears more than once"),
    (dict(scores_csv="video,score,split,fold\nv0,1,test,1\n"), "has both a split and a fold column"),
    (dict(scores_csv="video,score\nv0,1\nv1\n"), "scores.csv, line 3: 1 cells but the first line has 2"),
    (dict(scores_csv="video,score\nv0,1\nv1,\n"), "scores.csv, line 3: the cell 'score' is empty"),
    (dict(scores_csv="video,score\nv0,high\n"), "scores.csv, line 2: score 'high' of video 'v0' is not a finite"),
    (dict(scores_csv="video,score\nv0,nan\n"), "scores.csv, line 2: score 'nan' of video 'v0' is not a finite number"),
    (dict(scores_csv="video,score,difficulty\nv0,1,?\n"), "line 2: difficulty '\\?' of video 'v0'"),
    (dict(scores_csv="video,score\nv0,1\nv1,1\n\nv0,2\n"), "line 5: video 'v0' has a score in line 2 already"),
    (dict(scores_csv="video,score,split\nv0,1,train\nv1,2,dev\n"), "line 3: unknown split value 'dev'; expected train"),
    (dict(scores_csv=b"video,score\n\xff,1\n"), "scores.csv: is not a csv file in UTF-8"),
    (dict(scores_csv="video,score\nv0,1\nv1,1\n"), "no pairs are left of 2 videos .1 tied, 0 of missing videos"),
    (dict(scores_csv="video,score\nw0,1\nw1,2\n"), "none of the 2 videos of the labels has a feature file; .*w0.npy"),
    (dict(scores_csv="video,score,split\nv0,1,train\nv1,2,train\nv2,3,test\n"), "fold 'given' has no test pairs"),
    (dict(scores_csv="video,score,split\nv0,1,train\nv1,2,test\nv2,3,test\n"), "fold 'given' has no training pairs"),
    (dict(scores_csv="video,score,subject\nv0,1,a\nv1,2,a\nv2,3,b\n"), "fold 'a' has no training pairs"),
    (dict(scores_csv="video,score,fold\nv0,1,a\nv1,2,a\nv2,3,a\n"), "needs two groups or more"),
    (dict(pairs_csv="better\nv0\n"), "pairs.csv: column 'worse' is not in the first line"),
    (dict(pairs_csv="better,worse\nv0,v1\nv2,v2\n"), "pairs.csv, line 3: compares video 'v2' with itself"),
    (dict(pairs_csv="better,worse\nv0,v1\nv1,v0\n"),
     "pairs.csv, line 3: contradictory pair: 'v1' is better than 'v0' here and worse in line 2"),
    (dict(pairs_csv="better,worse\nv0,v1\nv0,w9\n", scores_csv="video,score\nv0,1\nv1,2\n"),
     "pairs.csv, line 3: video 'w9' is not in scores.csv"),
    (dict(pairs_csv="better,worse\nv0,v1\nv2,w9\n"), "1 of 4 videos are in the pairs or scores but not on disk: 'w9'"),
    (dict(pairs_csv="better,worse,split\nv0,v1,tset\n"), "pairs.csv, line 2: unknown split value 'tset'"),
])
def test_bad_input(folder, bad, message):
  if "pairs_csv" not in bad:
    write_scores(folder)
  _fill(folder, **bad)
  with pytest.raises(ValueError, match=message):
    load_features(folder)


def test_bad_npz(tmp_path):
  def start():
    for video in VIDEOS:
      np.savez(tmp_path / f"{video}.npz", rgb=ONES, static=ONES)
  write_pairs(tmp_path)
  start()
  whole = (tmp_path / "v3.npz").read_bytes()
  swapped = bytearray(whole)
  swapped[140] ^= 0xFF   # inside the first array: the checksum of the archive notices
  for damaged in (whole[:-40], whole[:100], b"not an npz", bytes(swapped), b""):
    (tmp_path / "v3.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match="v3.npz: cannot be read .*the file is damaged"):
      load_features(tmp_path)
  np.savez(tmp_path / "v3.npz", rgb=np.array([None, 1], object), static=ONES)
  with pytest.raises(ValueError, match="v3.npz: .*Python objects, which are refused"):
    load_features(tmp_path)
  np.savez(tmp_path / "v3.npz")
  with pytest.raises(ValueError, match="v3.npz: holds no array"):
    load_features(tmp_path)
  np.savez(tmp_path / "v3.npz", rgb=ONES, flow=ONES)
  with pytest.raises(ValueError, match=r"v3.npz: holds the streams \['flow', 'rgb'\] but .*v0.npz holds"):
    load_features(tmp_path)


@pytest.mark.parametrize("extra,message", [
    (dict(fps=np.float32(25)), "`fps` is a single number, no stream .*; save the file without it, with rgb, static alone. How long"),
    (dict(subject=np.array("ann")), "`subject` is text, no stream"),
    (dict(names=np.array(["a", "b"])), "`names` is text, no stream"),
])
def test_what_is_no_stream_beside_features(tmp_path, extra, message):
  for video in VIDEOS:
    np.savez(tmp_path / f"{video}.npz", rgb=ONES, static=ONES, **extra)
  write_pairs(tmp_path)
  with pytest.raises(ValueError, match=f"v0.npz: video 'v0': {message}"):
    load_features(tmp_path)


def test_maps_without_axes(tmp_path):
  np.savez(tmp_path / "v0.npz", maps=np.float32(1), times=np.arange(3.0))
  write_pairs(tmp_path, [("v0", "v1")])
  np.save(tmp_path / "v1.npy", ONES)
  with pytest.raises(ValueError, match="v0.npz: video 'v0': `maps` is a single number, no stream"):
    load_features(tmp_path)


def test_names_of_the_disk_are_spelt_otherwise(tmp_path):
  """A table that composes its letters, features of a disk that does not; the note of the extraction too."""
  decomposed = unicodedata.normalize("NFD", "né/é")
  save_videos(tmp_path, (decomposed, "v1", "v2", "v3"))
  write_scores(tmp_path, videos=("./né/é", "v1", "v2", "v3"), score=[4, 3, 2, 1])
  note = dict(recipe={}, videos={decomposed: dict(row_seconds=0.25)})
  (tmp_path / "extraction.json").write_text(json.dumps(note), encoding="utf-8")
  data = load_features(tmp_path, test_share=0.5)
  assert data.videos == ("né/é", "v1", "v2", "v3") and data.row_seconds["rgb"].tolist() == [0.25, 1, 1, 1]
  save_videos(tmp_path, ("né/é",))
  with pytest.raises(ValueError, match="video 'né/é' has two files, spelt alike"):
    load_features(tmp_path, test_share=0.5)


def test_no_name_makes_frames_outside_the_folder(tmp_path):
  """The decoded array of a video goes where its name says."""
  folder = tmp_path / "deep" / "own"
  folder.mkdir(parents=True)
  for name in ("v0", "../../outside"):
    (folder / f"{name}.mp4").write_bytes(b"a film")
  there = sorted(tmp_path.rglob("*"))
  for name in ("../../outside", str(tmp_path / "outside"), "a/../../../outside"):
    write_scores(folder, videos=("v0", name), score=[1, 2])
    with pytest.raises(ValueError, match=f"scores.csv, line 3: the video name '{name}' leads out of the folder"):
      load_features(folder, sampling=frames.Sampling(), make_pairs=False)
  assert sorted(tmp_path.rglob("*")) == sorted([*there, folder / "scores.csv"])


def test_features_behind_links_are_read(folder, tmp_path_factory):
  """A link inside the folder may lead where its owner likes; a name may not."""
  elsewhere = tmp_path_factory.mktemp("elsewhere")
  (folder / "v3.npy").rename(elsewhere / "x.npy")
  (folder / "v3.npy").symlink_to(elsewhere / "x.npy")
  write_scores(folder)
  assert load_features(folder).num_videos == 8


@pytest.mark.parametrize("note,message", [
    ({"recipe": {}, "videos": {"v0": {"row_seconds": value}}}, "row_seconds of video 'v0' is ")
    for value in (float("nan"), float("inf"), 0, -1, "x", None, [1], True, dict(rgb=0), 10 ** 400, 1e300)] + [
    (note, "") for note in
    ([], None, 5, {"recipe": [], "videos": {}}, {"recipe": {}, "videos": {"v0": "x"}}, {"recipe": {}, "videos": {"v0": None}},
     {"recipe": [["random_weights", True]], "videos": {}}, {"recipe": {}}, {"recipe": {}, "videos": {"v0": {"warnings": 5}}})])
def test_notes_of_an_extraction_that_cannot_be(folder, note, message):
  write_scores(folder)
  (folder / "extraction.json").write_text(json.dumps(note))
  with pytest.raises(ValueError, match=f"extraction.json: is not what jaxskill.extract wrote .{message}.*extract the features"):
    load_features(folder)
  (folder / "extraction.json").write_text("[" * 100000)
  with pytest.raises(ValueError, match="extraction.json: is not what jaxskill.extract wrote"):
    load_features(folder)


def test_performances_under_two_names_are_leaks(tmp_path):
  """Every performance twice: no test video has an id of a training video, and all are leaks."""
  save_videos(tmp_path, VIDEOS)
  for video in VIDEOS:
    (tmp_path / f"w{video}.npy").write_bytes((tmp_path / f"{video}.npy").read_bytes())
  videos = [*VIDEOS, *(f"w{video}" for video in VIDEOS)]
  write_scores(tmp_path, "video,score,split", ["train"] * 8 + ["test"] * 8, videos=videos, score=SCORES * 2)
  for make_pairs in (True, False):
    facts = jaxskill_data.audit(load_features(tmp_path, make_pairs=make_pairs))
    assert facts["equal_features"] == [[video, f"w{video}"] for video in VIDEOS]
    fold, = facts["folds"]
    assert fold["test_videos_with_features_of_training"] == 8
    assert fold["test_pairs_of_two_training_videos"] == fold["test_pairs"] == (28 if make_pairs else 0)
    text = jaxskill_data.describe_audit(facts)
    assert "8 by features equal to theirs: LEAKS" in text and "16 videos in 8 group(s) (v0 = wv0, " in text
  assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize("options,message", [
    (dict(split="half"), "split='half' is unknown; use one of auto, given, subject, random"),
    (dict(split="given"), "split='given' needs a split or a fold column"),
    (dict(split="subject"), "split='subject' needs a subject column"),
    (dict(pairs_within="club"), "pairs_within='club' is unknown"),
    (dict(pairs_within="category"), "pairs_within='category' needs a column 'category' in scores.csv"),
    (dict(tie_margin=-1), "tie_margin=-1 must be 0 or more"),
    (dict(tie_margin=9), "no pairs are left of 8 videos .28 tied.*lower config.data.tie_margin"),
    (dict(test_share=1), "test_share=1 must lie between 0 and 1"),
    (dict(test_share=0.1), "fold 'random' has no test pairs"),
    (dict(validation_share=0.05), "validation_share=0.05 leaves 10 training and 0 validation pairs"),
    (dict(seconds_per_segment=0), "segment_seconds=0 must be positive"),
    (dict(seconds_per_segment=float("nan")), "segment_seconds=nan must be positive"),
    (dict(seconds_per_segment=float("inf")), "segment_seconds=inf must be positive and finite"),
    (dict(max_bytes=100), "v0.npy: .*beyond the 100 bytes that config.data.max_bytes leaves it"),
])
def test_bad_options(folder, options, message):
  np.save(folder / "v0.npy", np.ones((30, 4), np.float32))
  write_scores(folder)
  with pytest.raises(ValueError, match=message):
    load_features(folder, **options)


def test_bad_folder(folder):
  with pytest.raises(ValueError, match="nowhere: no such folder; set config.data.dir"):
    load_features(folder / "nowhere")
  with pytest.raises(ValueError, match="neither pairs.csv .* nor scores.csv"):
    load_features(folder)


def test_load_by_config(folder):
  write_scores(folder)
  config = ml_collections.ConfigDict(dict(
      name="features", dir=str(folder), task="", prepared_dir="", split="random", tie_margin=1.0, pairs_within="",
      validation_share=0.0, test_share=0.5, seed=1, allow_missing=False, segment_seconds=2.0))
  data = jaxskill_data.load(config)
  assert data.tied_pairs == 7 and data.row_seconds["rgb"][0] == 2 and len(data.folds[0].test_videos) == 4
  config.stream_seconds = dict(rgb=0.5)
  assert jaxskill_data.load(config).row_seconds["rgb"].tolist() == [0.5] * len(data.videos)
  few = types.SimpleNamespace(name="features", dir=str(folder))   # what is absent has the loader's default
  assert len(jaxskill_data.load(few).folds[0].test_videos) == 2


def test_load_errors():
  with pytest.raises(ValueError, match="name='imagenet' is unknown; use one of simulated, features, frames, best"):
    jaxskill_data.load(types.SimpleNamespace(name="imagenet"))
  for name in ("features", "best", "epic_skills"):
    with pytest.raises(ValueError, match="set config.data.dir to its folder .*--config.data.dir"):
      jaxskill_data.load(types.SimpleNamespace(name=name, dir=""))


def test_load_simulated_passes_its_arguments(monkeypatch):
  from jaxskill.data.simulation import simulated
  monkeypatch.setattr(simulated, "simulate", lambda **arguments: arguments)
  config = ml_collections.ConfigDict(dict(name="simulated", simulated=dict(num_videos=3)))
  assert jaxskill_data.load(config) == dict(num_videos=3)


def test_scores_without_pairs(folder):
  write_scores(folder, "video,score,criterion.flow,criterion.line", range(8), [0.5] * 8)
  data = load_features(folder, make_pairs=False, score_range=(0, 10), validation_share=0.5)
  assert data.pairs.shape == (0, 2) and not data.tied_pairs and not data.dropped_pairs
  assert [len(ids) for ids in data.folds[0][1:]] == [3, 2, 0, 0, 3, 0]
  assert data.score_range.tolist() == [[0, 10]] * 8 and list(data.criteria) == ["flow", "line"]
  assert data.criteria["flow"].tolist() == list(range(8)) and data.criteria["line"].dtype == np.float32
  with pytest.raises(ValueError, match="video 'v0' has the score 8, outside the possible 0 to 7.5"):
    load_features(folder, make_pairs=False, score_range=(0, 7.5))
  write_pairs(folder)   # listed pairs are no pairs made from scores
  assert len(load_features(folder, make_pairs=False).pairs) == 28


def test_criteria_of_missing_videos_are_left_out(folder):
  (folder / "v1.npy").unlink()
  write_scores(folder, "video,score,criterion.flow", range(8))
  data = load_features(folder, allow_missing=True)
  assert data.criteria["flow"].tolist() == [0, 2, 3, 4, 5, 6, 7]


def test_bad_criteria(folder):
  write_scores(folder, "video,score,criterion.flow", [1, 2, "good", 4, 5, 6, 7, 8])
  with pytest.raises(ValueError, match="scores.csv, line 4: criterion.flow .good. of video .v2. is not a finite"):
    load_features(folder)


def test_pairs_and_range_by_config(folder):
  write_scores(folder)
  config = types.SimpleNamespace(name="features", dir=str(folder), make_pairs=False, score_range=(0.0, 9.0))
  data = jaxskill_data.load(config)
  assert not len(data.pairs) and data.score_range[0].tolist() == [0, 9]


def save_maps(folder, **changes):
  """Maps of every video, 3 frames or more; `changes` are those of the second video, None removes an array."""
  rng = np.random.default_rng(0)
  for i, video in enumerate(VIDEOS):
    count = 3 + i % 2
    arrays = dict(rgb=rng.normal(size=(count, 2, 3, 4)), flow=rng.normal(size=(count, 2, 3, 5)),
                  times=np.cumsum(rng.uniform(0.5, 2, count)), frames=rng.integers(0, 255, (count, 8, 9, 3), np.uint8))
    if i == 1:
      arrays = {name: array for name, array in (arrays | changes).items() if array is not None}
    np.savez(folder / f"{video}.npz", **arrays)
  write_pairs(folder)


def test_maps_of_appearance_and_motion(tmp_path):
  """Side by side, with the times of their frames, which the frames to be drawn on share."""
  save_maps(tmp_path)
  data = load_features(tmp_path)
  assert set(data.streams) == {"maps", "frames"} and data.streams["maps"].shape == (8, 4, 2, 3, 9)
  for v, video in enumerate(VIDEOS):
    arrays = np.load(tmp_path / f"{video}.npz")
    for stream in ("maps", "frames"):
      np.testing.assert_array_equal(data.seconds(stream, v), arrays["times"].astype(np.float32))
    count = len(arrays["rgb"])
    np.testing.assert_array_equal(data.streams["maps"][v, :count, ..., :4], arrays["rgb"].astype(np.float32))
    np.testing.assert_array_equal(data.streams["maps"][v, :count, ..., 4:], arrays["flow"].astype(np.float32))
    np.testing.assert_allclose(data.row_seconds["maps"][v], np.diff(arrays["times"]).mean(), rtol=1e-5)


def test_maps_of_one_kind_without_times(tmp_path):
  save_maps(tmp_path)
  for video in VIDEOS:
    np.savez(tmp_path / f"{video}.npz", maps=np.load(tmp_path / f"{video}.npz")["rgb"])
  data = load_features(tmp_path, seconds_per_segment=2.0)
  assert data.streams["maps"].shape == (8, 4, 2, 3, 4) and data.row_times == {}
  assert data.seconds("maps", 1).tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("changes,message", [
    (dict(flow=None), r"v1.npz: video 'v1' has maps `rgb` \[4, 2, 3, 4\] but no maps `flow`; save both, or, where there is one"),
    (dict(rgb=None), "v1.npz: video 'v1' has maps `flow` .* but no maps `rgb`; save both"),
    (dict(flow=np.ones((4, 3, 3, 5))), r"`rgb` \[4, 2, 3, 4\] and `flow` \[4, 3, 3, 5\]; both need the same frames and pla"),
    (dict(flow=np.ones((3, 2, 3, 5))), r"`flow` \[3, 2, 3, 5\]; both need the same frames and places: extract them at the"),
    (dict(rgb=np.ones((4, 3, 3, 4)), flow=np.ones((4, 3, 3, 5))), r"stream 'maps' is float32 \[4, 3, 3, 9\] but .*v0.npz has "
                                                                  r"float32 \[3, 2, 3, 9\]; all but the number of segments"),
    (dict(flow=np.ones((4, 2, 3, 6))), r"stream 'maps' is float32 \[4, 2, 3, 10\] but .*all but the number of segments must"),
    (dict(times=np.arange(3.0)), r"video 'v1' has 4 frames but times of shape \(3,\); give one number of seconds for each"),
    (dict(times=np.array([0, 2, 1, 3.0])), "video 'v1': the times of its frames must be finite and increase; sort the fra"),
    (dict(times=np.array([0, 1, np.nan, 3])), "times of its frames must be finite and increase"),
    (dict(times=None), r"v1.npz: holds the streams \['frames', 'maps'\] but .*every video needs the same streams"),
])
def test_maps_that_cannot_be_used(tmp_path, changes, message):
  save_maps(tmp_path, **changes)
  with pytest.raises(ValueError, match=message):
    load_features(tmp_path)


@pytest.mark.parametrize("column,values", [("fold", list("abcdefgh") * 8), ("split", (["train"] * 7 + ["test"]) * 8)])
def test_given_folds_stay_whole_unless_asked(tmp_path, column, values):
  """64 videos of eight surgeons: no surgeon leaves the training side because of a default."""
  videos = [f"v{i:02d}" for i in range(64)]
  save_videos(tmp_path, videos)
  subject = list("abcdefgh") * 8
  write_scores(tmp_path, f"video,score,subject,{column}", subject, values, videos=videos, score=range(64))
  for config in ("core", "pros_cons", "action_net", "skilldiff", "spatial_attention"):
    options = importlib.import_module(f"configs.{config}").get_config("features").data
    with options.unlocked():
      options.dir = str(tmp_path)
    data = jaxskill_data.load(options)
    for fold in data.folds:
      assert not len(fold.validation_videos) and len(fold.train_videos) == 56, config
      assert len(np.unique(data.subject[fold.train_videos])) == 7
  asked = load_features(tmp_path, make_pairs=False, validation_share=0.3).folds
  assert all(len(np.unique(data.subject[fold.validation_videos])) == 2 for fold in asked)     # a number is obeyed
  write_scores(tmp_path, "video,score,subject", subject, videos=videos, score=range(64))
  folds = load_features(tmp_path, make_pairs=False).folds
  assert len(folds) == 8 and not any(len(fold.validation_videos) for fold in folds)              # nor whole subjects
  write_scores(tmp_path, videos=videos, score=range(64))
  drawn, = load_features(tmp_path, make_pairs=False, test_share=0.2).folds
  assert len(drawn.validation_videos) == 10 and len(drawn.test_videos) == 13                     # drawn by us, and large enough


def test_split_all_and_folds(tmp_path):
  save_videos(tmp_path, VIDEOS)
  write_scores(tmp_path, "video,score,split", ["train"] * 4 + ["test"] * 4)
  fold, = load_features(tmp_path, split="all").folds
  assert fold.name == "all" and len(fold.train_videos) == 8 and not len(fold.test_videos)
  assert len(load_features(tmp_path, split="folds").folds) == 4
  held, = load_features(tmp_path, split="all", validation_share=0.5).folds
  assert len(held.validation_videos) == 4
  with pytest.raises(ValueError, match="unknown; use one of auto, given, subject, random, folds, all"):
    load_features(tmp_path, split="everything")


def test_the_share_is_named_where_it_is_the_cause(tmp_path):
  save_videos(tmp_path, VIDEOS)
  write_scores(tmp_path, "video,score")
  with pytest.raises(ValueError, match=r"fold 'random' has no test pairs of its 1 video.*config.data.test_share=0.1 of 8 "
                                       r"videos decides how many are held out: choose another, or config.data.split=folds"):
    load_features(tmp_path, split="random", test_share=0.1)


def test_groups_are_kept_and_divide_nothing(folder):
  write_scores(folder, "video,score,group", ["left", "right"] * 4)
  data = load_features(folder)
  assert data.group.tolist() == ["left", "right"] * 4 and data.subject is None and len(data.pairs) == 28
  write_scores(folder, "video,score,group", ["left", ""] * 4)
  with pytest.raises(ValueError, match="line 3: the cell 'group' is empty"):
    load_features(folder)
