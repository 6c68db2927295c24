"""BEST and EPIC-Skills: the published numbers on the published split files, and what happens to a damaged download.

The split files may not be copied into the project. Tests of them look below `JAXSKILL_SHARED`; the others make up a
task of their own. Features are tiny and made up everywhere.
"""

import json
import subprocess
import sys
import unicodedata

import numpy as np
import pytest

from jaxskill import data as jaxskill_data
from jaxskill.data.published import labels_pairs, official, official_files
from tests import cores
from tests.places import REPO, SHARED

ANNOTATIONS = SHARED / "data" / "annotations"
published = pytest.mark.skipif(not (ANNOTATIONS / "BEST" / "splits").is_dir(),
                               reason=f"the published split files are not below {ANNOTATIONS} (set JAXSKILL_SHARED)")
BEST_PAIRS = dict(apply_eyeliner=(2115, 235), braid_hair=(2179, 234), origami=(1793, 212), scrambled_eggs=(1134, 154),
                  tie_tie=(2176, 233))
EPIC_PAIRS = dict(chopstick_using=(536, 534, 40), dough_rolling=(181, 179, 33), drawing=(247, 247, 40),
                  surgery=(1659, 1659, 103))   # lines, distinct pairs, videos


def save_features(path, value=1.0, shape=(3, 4)):
  path.parent.mkdir(parents=True, exist_ok=True)
  np.savez(path, np.full(shape, value, np.float32))


def published_root(tmp_path, name, task):
  """A download: the published splits, and one made-up feature file for each video that they name."""
  (tmp_path / "splits").symlink_to(ANNOTATIONS / name / "splits")
  words = {w for file in (tmp_path / "splits" / task).glob("*.txt") for w in file.read_text().split()}
  for number, video in enumerate(sorted(words)):
    save_features(tmp_path / "features" / f"{video}_rgb.npz", number)
  return tmp_path


@pytest.fixture
def root(tmp_path):
  """A made-up BEST task: a0..a5 train, b0..b3 test, in order of skill; a0 is 5 long, the others 3."""
  folder = tmp_path / "splits" / "tie_tie"
  folder.mkdir(parents=True)
  for side, letter, count in (("train", "a", 6), ("test", "b", 4)):
    videos = [f"{letter}{i}" for i in range(count)]
    (folder / f"{side}_vid_list.txt").write_text("\n".join(videos) + "\n")
    (folder / f"{side}.txt").write_text("".join(f"{x} {y} \r\n" for i, x in enumerate(videos) for y in videos[i + 1:]))
    for i, video in enumerate(videos):
      save_features(tmp_path / "features" / f"{video}_rgb.npz", i + 0.5, (5 if video == "a0" else 3, 4))
  return tmp_path


def load(root, **options):
  return official.load_official("best", root, "tie_tie", **options)


def prepared_files(root):
  return sorted(path.name for path in (root / "prepared" / "best" / "tie_tie").rglob("*") if path.is_file())


@published
@pytest.mark.parametrize("task", BEST_PAIRS)
def test_published_best(tmp_path, task):
  data = official.load_official("best", published_root(tmp_path, "BEST", task), task)
  fold, = data.folds
  assert (len(fold.train_pairs), len(fold.test_pairs)) == BEST_PAIRS[task]
  assert (len(fold.train_videos), len(fold.test_videos)) == (75, 25)
  assert not np.intersect1d(fold.train_videos, fold.test_videos).size
  facts = jaxskill_data.audit(data)
  only, = facts["folds"]
  assert only["test_pairs_with_one_training_video"] == only["test_pairs_of_two_training_videos"] == 0
  assert only["cycles_of_three_in_training"] == (1 if task == "tie_tie" else 0)
  assert facts["repeated_pairs"] == 0 and not data.missing and not len(data.similar)      # 40 % of the pairs were shown


@published
@pytest.mark.parametrize("task", EPIC_PAIRS)
def test_published_epic_skills(tmp_path, task):
  data = official.load_official("epic_skills", published_root(tmp_path, "EPIC-Skills", task), task)
  lines, distinct, videos = EPIC_PAIRS[task]
  facts = jaxskill_data.audit(data)
  assert data.num_videos == videos and len(data.pairs) == lines and facts["repeated_pairs"] == lines - distinct
  parts = [videos] if data.category is None else np.unique(data.category, return_counts=True)[1]
  assert len(data.similar) == sum(int(size) * (int(size) - 1) // 2 for size in parts) - distinct      # all were compared
  assert [fold.name for fold in data.folds] == ["split1", "split2", "split3", "split4"]
  for number, (fold, counts) in enumerate(zip(data.folds, facts["folds"]), 1):
    for side, rows in (("train", fold.train_pairs), ("test", fold.test_pairs)):
      published_lines = (tmp_path / "splits" / task / f"{side}_split{number}.txt").read_text().splitlines()
      assert [" ".join(data.videos[i] for i in data.pairs[row]) for row in rows] == [x.strip() for x in published_lines]
    assert sorted([*fold.train_pairs, *fold.test_pairs]) == list(range(lines))
    assert not np.intersect1d(fold.train_videos, fold.test_videos).size
    assert 0.85 <= counts["test_pairs_with_one_training_video"] / counts["test_pairs"] <= 0.92
    assert counts["test_pairs_of_two_training_videos"] == 0


@published
def test_published_validation(tmp_path):
  data = official.load_official("epic_skills", published_root(tmp_path, "EPIC-Skills", "drawing"), "drawing",
                                validation_share=0.3)
  for fold in data.folds:
    assert len(fold.train_videos) == 21 and len(fold.validation_videos) == 9
    assert np.isin(data.pairs[fold.train_pairs], fold.train_videos).all()
    assert np.isin(data.pairs[fold.validation_pairs], fold.validation_videos).all()


def test_reads_features_of_any_length(root):
  data = load(root, segment_seconds=0.5)
  assert data.videos == tuple(f"a{i}" for i in range(6)) + tuple(f"b{i}" for i in range(4))
  assert data.streams["rgb"].shape == (10, 5, 4) and data.lengths["rgb"].tolist() == [5] + [3] * 9
  assert data.streams["rgb"][:, 0, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 0.5, 1.5, 2.5, 3.5]
  assert not data.streams["rgb"][1:, 3:].any()
  assert data.features_checked and data.row_seconds["rgb"][0] == 0.5 and data.name == "best/tie_tie"
  assert [len(ids) for ids in data.folds[0][1:5]] == [6, 4, 15, 6]


def test_prepared_once_in_another_process_without_importing_tfds(root):
  load(root)
  before = {path: path.stat().st_mtime_ns for path in (root / "prepared").rglob("*")}
  code = ("import sys; from jaxskill.data.published.official import load_official; "
          f"data = load_official('best', {str(root)!r}, 'tie_tie'); assert data.num_videos == 10; "
          "assert 'tensorflow_datasets' not in sys.modules and 'tensorflow' not in sys.modules; "
          "base = data.streams['rgb']\n"
          "while type(base).__name__ != 'memmap': base = base.base")
  subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=REPO)
  assert before == {path: path.stat().st_mtime_ns for path in (root / "prepared").rglob("*")}


def test_builder_speaks_tfds(root):
  load(root)
  import tensorflow_datasets as tfds

  from jaxskill.data.published.builders import BUILDERS as builders  # slow, and loading does without
  assert issubclass(builders["best"], tfds.core.GeneratorBasedBuilder) and builders["epic_skills"].name == "epic_skills"
  builder = builders["best"](config="tie_tie", data_dir=root / "prepared", file_format="array_record")
  records = list(builder.as_data_source(split="videos"))
  assert records[0]["video"] == b"a0" and records[0]["rgb"].shape == (5, 4)
  assert builder.info.metadata["videos"][:2] == ["a0", "a1"] and len(builder.info.metadata["pairs"]) == 21
  assert "tensorflow" not in sys.modules


def test_prepares_silently(root, capfd):
  load(root)
  assert capfd.readouterr().out == ""


def test_prepared_dir(root, tmp_path):
  load(root, prepared_dir=str(tmp_path / "elsewhere"))
  assert (tmp_path / "elsewhere" / "best" / "tie_tie").is_dir() and not (root / "prepared").exists()
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="file/best/tie_tie: cannot be written .*give another config.data.prepared_dir"):
    load(root, prepared_dir=str(tmp_path / "file"))


def test_array_is_made_again_from_the_records(root):
  first = np.array(load(root).streams["rgb"])
  record = next((root / "prepared").rglob("*.array_record*"))
  made = record.stat().st_mtime_ns
  (record.parent / "rgb.npy").unlink()
  (record.parent / ".0123.unfinished").write_bytes(b"half")   # as a start leaves it that was killed here
  np.testing.assert_array_equal(load(root).streams["rgb"], first)
  assert record.stat().st_mtime_ns == made and not list((root / "prepared").rglob(".*.unfinished"))


def test_features_by_task_and_in_sub_folders(tmp_path):
  folder = tmp_path / "splits" / "surgery"
  folder.mkdir(parents=True)
  for k in range(1, 5):
    (folder / f"train_split{k}.txt").write_text("Knot/K_1 Knot/K_2\n")
    (folder / f"test_split{k}.txt").write_text("Knot/K_3 Knot/K_2\n")
  for k in (1, 2, 3):
    save_features(tmp_path / "features" / "surgery" / "Knot" / f"K_{k}_rgb.npz", k)
  save_features(tmp_path / "features" / "Knot" / "K_1_rgb.npz", 9)   # the one of the task goes first
  data = official.load_official("epic_skills", tmp_path, "surgery")
  assert data.videos == ("Knot/K_1", "Knot/K_2", "Knot/K_3") and data.streams["rgb"][:, 0, 0].tolist() == [1, 2, 3]
  assert data.folds[2].test_videos.tolist() == [2] and len(data.pairs) == 2
  assert data.similar.tolist() == [[0, 2]]                           # in no list: annotators did not agree
  (folder / "test_split3.txt").unlink()
  with pytest.raises(ValueError, match="test_split3.txt: is missing; download the splits again"):
    official.load_official("epic_skills", tmp_path, "surgery")


def test_one_operation_of_a_task(tmp_path):
  """Its own pairs in the published folds, and its own features, prepared with those of the whole task."""
  folder = tmp_path / "splits" / "surgery"
  folder.mkdir(parents=True)
  for k in range(1, 5):
    (folder / f"train_split{k}.txt").write_text("Suturing/S_1 Suturing/S_2\nKnot/K_1 Knot/K_2\n")
    (folder / f"test_split{k}.txt").write_text("Knot/K_3 Knot/K_2\nSuturing/S_3 Suturing/S_2\nSuturing/S_4 Suturing/S_1\n")
  for kind, count, value in (("Suturing", 3, 10), ("Knot", 3, 0)):
    for k in range(1, count + 1):
      save_features(tmp_path / "features" / "surgery" / kind / f"{kind[0]}_{k}_rgb.npz", value + k)
  whole = official.load_official("epic_skills", tmp_path, "surgery")
  assert len(whole.videos) == 6 and len(whole.pairs) == 4 and whole.missing == ("Suturing/S_4",)
  for part, expected, pairs, missing in (("Suturing", [11, 12, 13], 2, ("Suturing/S_4",)), ("Knot", [1, 2, 3], 2, ())):
    data = official.load_official("epic_skills", tmp_path, f"surgery/{part}")
    assert sorted(data.streams["rgb"][:, 0, 0].tolist()) == expected and len(data.pairs) == pairs
    assert all(data.videos[v][-1] == str(int(data.streams["rgb"][v, 0, 0]) % 10) for v in range(3))
    assert data.missing == missing and data.dropped_pairs == len(missing) and len(data.folds) == 4
    assert data.name == f"epic_skills/surgery/{part}"
  assert [path.name for path in (tmp_path / "prepared" / "epic_skills").glob("[a-zS]*")] == ["surgery"]
  with pytest.raises(ValueError, match="'surgery' has no part 'Needle', only Knot, Suturing"):
    official.load_official("epic_skills", tmp_path, "surgery/Needle")


def test_incomplete_download_then_completed(root, caplog):
  away = root / "features" / "a1_rgb.npz"
  content = away.read_bytes()
  away.unlink()
  data = load(root)
  assert data.missing == ("a1",) and data.dropped_pairs == 5 and data.num_videos == 9 and len(data.pairs) == 16
  assert data.videos[1] == "a2" and data.pairs.max() == 8 and data.streams["rgb"][1, 0, 0] == 2.5
  assert "1 videos of tie_tie have no features on disk, or no score, and are left out, with 5 pairs: a1" in caplog.text
  assert "again" not in caplog.text
  away.write_bytes(content)
  data = load(root)
  assert not data.missing and data.num_videos == 10 and data.streams["rgb"][1, 0, 0] == 1.5
  assert "files of tie_tie were added, changed or put in another order; preparing it again" in caplog.text
  folder, = (root / "prepared" / "best" / "tie_tie").glob("1*")
  assert json.loads((folder / "metadata.json").read_text())["missing"] == []


def test_changed_splits_are_read_again(root):
  load(root)
  file = root / "splits" / "tie_tie" / "train.txt"
  file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
  assert len(load(root).folds[0].train_pairs) == 14


def test_changed_features_are_read_again(root):
  load(root)
  path = root / "features" / "a3_rgb.npz"
  size = path.stat().st_size
  save_features(path, 7, (3, 4))
  assert path.stat().st_size == size and load(root).streams["rgb"][3, 0, 0] == 7


def test_nothing_to_test_is_left(root):
  for k in range(3):
    (root / "features" / f"b{k}_rgb.npz").unlink()
  with pytest.raises(ValueError, match="7 videos of tie_tie on disk leave no fold .*3 videos are missing"):
    load(root)


def _not_an_array(path):
  np.savez(path, features=np.ones((3, 4)))


@pytest.mark.parametrize("damage,message", [
    (lambda path: path.write_bytes(path.read_bytes()[:-30]), "a4_rgb.npz: cannot be read .*the file is damaged"),
    (lambda path: path.write_bytes(b"<html>"), "a4_rgb.npz: is a web page, not the file itself"),
    (_not_an_array, r"a4_rgb.npz: holds \['features'\] but not the array 'arr_0'"),
    (lambda path: save_features(path, np.nan), "a4_rgb.npz: video 'a4', stream 'rgb' holds 12 NaN"),
    (lambda path: save_features(path, 1, (4,)), "a4_rgb.npz: video 'a4', stream 'rgb' has 1 axes"),
    (lambda path: save_features(path, 1, (3, 5)), r"a4_rgb.npz: stream 'rgb' is float32 \[3, 5\] but .*a0_rgb.npz"),
    (lambda path: save_features(path, 1, (0, 4)), "a4_rgb.npz: video 'a4', stream 'rgb' is empty"),
])
def test_damaged_features_leave_nothing_half_written(root, damage, message):
  path = root / "features" / "a4_rgb.npz"
  whole = path.read_bytes()
  damage(path)
  with pytest.raises(ValueError, match=message):
    load(root)
  assert prepared_files(root) == []
  path.write_bytes(whole)
  assert load(root).num_videos == 10


def test_a_killed_start_is_made_good(root):
  code = ("import os; from jaxskill.data import stream_files; from jaxskill.data.published import official; real = stream_files.as_features\n"
          "stream_files.as_features = lambda array, stream, video, file: "
          "os._exit(9) if video == 'b2' else real(array, stream, video, file)\n"
          f"official.load_official('best', {str(root)!r}, 'tie_tie')")
  assert subprocess.run([sys.executable, "-c", code], cwd=REPO).returncode == 9
  folder = root / "prepared" / "best" / "tie_tie"
  leftover, = folder.glob("incomplete.*")
  assert not (folder / "1.0.0").exists()
  assert load(root).num_videos == 10 and not leftover.exists()


def test_prepared_data_in_another_order_are_made_again(root, caplog):
  """A version that numbers videos otherwise must not read the arrays of another version under its own names."""
  before = np.array(load(root).streams["rgb"])
  folder = root / "prepared" / "best" / "tie_tie" / "1.0.0"
  metadata = json.loads((folder / "metadata.json").read_text())
  (folder / "metadata.json").write_text(json.dumps(metadata | dict(videos=metadata["videos"][::-1])))
  for name in ("rgb", "rgb_lengths"):
    np.save(folder / f"{name}.npy", np.load(folder / f"{name}.npy")[::-1])
  np.testing.assert_array_equal(load(root).streams["rgb"], before)
  assert "put in another order" in caplog.text


def test_metadata_cut_short_are_made_again(root):
  load(root)
  (root / "prepared" / "best" / "tie_tie" / "1.0.0" / "metadata.json").write_text("")
  assert load(root).num_videos == 10


def test_starts_at_once_do_not_disturb_each_other(root):
  code = ("import time; from jaxskill.data import stream_files; from jaxskill.data.published import official; real = stream_files.as_features\n"
          "stream_files.as_features = lambda *of: time.sleep(0.05) or real(*of)   # so that they overlap\n"
          f"official.load_official('best', {str(root)!r}, 'tie_tie')")
  with cores.every_one():
    starts = [subprocess.Popen([sys.executable, "-c", code], cwd=REPO) for _ in range(3)]
  assert [start.wait(120) for start in starts] == [0, 0, 0]


def test_other_tasks_below_splits(root):
  (root / "splits" / "my_task").symlink_to(root / "splits" / "tie_tie")
  assert official.load_official("best", root, "my_task").num_videos == 10


@pytest.mark.parametrize("file,text,message", [
    ("train.txt", "a0 a1\na2\n", "train.txt, line 2: expected 2 video id.s. but found 'a2'"),
    ("train.txt", "a0 a1\n\na2 a2\n", "train.txt, line 3: compares video 'a2' with itself"),
    ("train.txt", "a0 a1\na1 a0\n", "contradictory pair: 'a0' is better than 'a1' and also worse"),
    ("test.txt", "", "test.txt: is empty"),
    ("test_vid_list.txt", "b0 b1\n", "test_vid_list.txt, line 1: expected 1 video"),
])
def test_bad_splits(root, file, text, message):
  (root / "splits" / "tie_tie" / file).write_text(text)
  with pytest.raises(ValueError, match=message):
    load(root)


def test_bad_roots_and_options(root, tmp_path):
  with pytest.raises(ValueError, match="task 'knitting' is not in .*found: tie_tie. Set config.data.task"):
    official.load_official("best", root, "knitting")
  with pytest.raises(ValueError, match="task '' is not in .*found: tie_tie"):
    official.load_official("best", root, "")
  with pytest.raises(ValueError, match="nowhere: no such folder; set config.data.dir"):
    official.load_official("best", root / "nowhere", "tie_tie")
  with pytest.raises(ValueError, match="found: none"):
    official.load_official("best", root / "features", "tie_tie")
  with pytest.raises(ValueError, match="name='worst' is unknown; use one of best, epic_skills"):
    official.load_official("worst", root, "tie_tie")
  with pytest.raises(ValueError, match="segment_seconds=0 must be positive"):
    load(root, segment_seconds=0)
  for file in (root / "features").iterdir():
    file.unlink()
  with pytest.raises(ValueError, match="none of the 10 videos of tie_tie is on disk; .*<video>_rgb.npz, e.g. a0"):
    load(root)


def test_load_by_config(root):
  import types
  config = types.SimpleNamespace(name="best", dir=str(root), task="tie_tie", prepared_dir="", validation_share=0.5,
                                 seed=0, segment_seconds=2.0, split="auto", simulated=None)
  data = jaxskill_data.load(config)
  assert data.row_seconds["rgb"][0] == 2 and len(data.folds[0].validation_videos) == 3


def save_maps(path, number, count=3, **more):
  path.parent.mkdir(parents=True, exist_ok=True)
  np.savez(path, rgb=np.full((count, 2, 3, 4), number, np.float32), flow=np.full((count, 2, 3, 2), -number, np.float32), **more)


@published
@pytest.mark.parametrize("task,parts", [("surgery", 3), ("drawing", 2), ("dough_rolling", 1)])
def test_maps_of_epic_skills(tmp_path, task, parts):
  """Tasks that are learnt together have pairs within each of them only; maps lie in a folder of their own."""
  (tmp_path / "splits").symlink_to(ANNOTATIONS / "EPIC-Skills" / "splits")
  words = sorted({w for file in (tmp_path / "splits" / task).glob("*.txt") for w in file.read_text().split()})
  for number, video in enumerate(words):
    save_maps(tmp_path / "maps" / f"{video}.npz", number, 3 + number % 2, times=1.5 * np.arange(3 + number % 2))
  data = official.load_official("epic_skills", tmp_path, task)
  assert list(data.streams) == ["maps"] and data.streams["maps"].shape == (EPIC_PAIRS[task][2], 4, 2, 3, 6)
  assert len(data.folds) == 4 and len(data.pairs) == EPIC_PAIRS[task][0]
  for v, video in enumerate(data.videos):
    number, count = words.index(video), data.lengths["maps"][v]
    assert count == 3 + number % 2 and data.streams["maps"][v, 0, 0, 0].tolist() == [number] * 4 + [-number] * 2
    np.testing.assert_array_equal(data.seconds("maps", v), 1.5 * np.arange(count))
  assert data.row_seconds["maps"].tolist() == [1.5] * len(words)
  facts = jaxskill_data.audit(data)
  if parts == 1:
    assert data.category is None
  else:
    better, worse = data.category[data.pairs].T
    assert (better == worse).all() and facts["categories"] == parts


def test_features_and_maps_side_by_side(root):
  """With both folders, a video needs both files; the arrays are mapped from disk, and made again when files are added."""
  assert set(load(root).streams) == {"rgb"}
  for i, video in enumerate([f"a{i}" for i in range(6)] + [f"b{i}" for i in range(3)]):
    save_maps(root / "maps" / f"{video}.npz", i)
  data = load(root)
  assert set(data.streams) == {"rgb", "maps"} and data.missing == ("b3",) and data.row_times == {}
  save_maps(root / "maps" / "b3.npz", 9)
  assert load(root).missing == ()
  np.savez(root / "maps" / "b3.npz", rgb=np.ones((3, 2, 3, 4)))
  with pytest.raises(ValueError, match=r"b3.npz: video 'b3' has maps `rgb` \[3, 2, 3, 4\] but no maps `flow`; save both"):
    load(root)


@pytest.mark.parametrize("file,line", [("train.txt", "a1 ../../x"), ("test.txt", "/etc/x a1"), ("train_vid_list.txt", "a/../../x")])
def test_names_that_lead_out_of_the_folder(root, file, line):
  path = root / "splits" / "tie_tie" / file
  count = len(path.read_text().splitlines())
  path.write_text(path.read_text().rstrip() + f"\n{line}\n")
  with pytest.raises(ValueError, match=f"{file}, line {count + 1}: the video name '.*x' leads out of the folder"):
    labels_pairs.read_pairs("best", root, "tie_tie")


def test_features_with_decomposed_letters(root):
  """Lists that compose their letters, features of a disk that does not."""
  for path in (root / "splits" / "tie_tie").iterdir():
    path.write_text(path.read_text().replace("a1", "né"), encoding="utf-8")
  (root / "features" / "a1_rgb.npz").rename(root / "features" / unicodedata.normalize("NFD", "né_rgb.npz"))
  found = official_files.read_task("best", root, "tie_tie")
  assert "né" in found.labels.videos and not found.missing
