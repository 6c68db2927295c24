"""Published data sets with scores: from a download, complete or not, to a data set; features are made up and tiny."""

import pickle
import subprocess
import sys
import types

import numpy as np
import pytest

from jaxskill import data as jaxskill_data
from jaxskill.data.published import official, prepared
from jaxskill.data.published.labels_jigsaws import SURGERY
from jaxskill.data.published.labels_scores import AQA7_CLASSES, SCORED, read_scores
from tests.places import REPO, SHARED

ANNOTATIONS = SHARED / "data" / "annotations"
published = pytest.mark.skipif(not (ANNOTATIONS / "MTL-AQA").is_dir(),
                               reason=f"the published labels are not below {ANNOTATIONS} (set JAXSKILL_SHARED)")
FOLDERS = dict(mtl_aqa="MTL-AQA", unlv_dive="MTL-AQA/Ready_2_Use/UNLV_Dive_split_4", aqa7="AQA-7", jigsaws="JIGSAWS",
               finediving="converted", rhythmic_gymnastics="RhythmicGymnastics",
               **dict.fromkeys(("fis_v", "mit_skating"), "Fis-V_and_MIT-Skate"))


def save(path, value=1.0, shape=(3, 4)):
  path.parent.mkdir(parents=True, exist_ok=True)
  np.save(path, np.full(shape, value, np.float32))


def download(root, name):
  """The published labels of a data set, and made-up features for each of its videos, numbered in their order."""
  for path in (ANNOTATIONS / FOLDERS[name]).iterdir():
    (root / path.name).symlink_to(path)
  labels = read_scores(name, root)
  for folder in SCORED[name].features:
    for number, video in enumerate(labels.videos):
      save(root / folder / f"{video}.npy", number, (2 + number % 2, 3))
  return labels


@published
@pytest.mark.parametrize("name", FOLDERS)
def test_published(tmp_path, name):
  labels = download(tmp_path, name)
  data = official.load_official(name, tmp_path)
  assert data.videos == labels.videos and data.name == name and data.missing == labels.unscored
  assert data.pairs.shape == (0, 2)
  streams = ["rgb", "static"] if "static_feat" in SCORED[name].features else ["rgb"]
  assert sorted(data.streams) == streams
  for stream in streams:
    assert data.streams[stream].shape == (len(labels.videos), 3, 3)
    assert data.streams[stream][:, 0, 0].tolist() == list(range(len(labels.videos)))
    assert data.lengths[stream][:4].tolist() == [2, 3, 2, 3]
  np.testing.assert_allclose(data.score, labels.score)
  np.testing.assert_allclose(data.score_range, labels.score_range, rtol=1e-6)
  assert sorted(data.criteria) == sorted(labels.criteria)
  facts = jaxskill_data.audit(data)
  text = jaxskill_data.describe_audit(facts)
  assert f"{len(labels.videos)} videos, scores, no pairs" in text
  if name == "unlv_dive":
    assert "missing videos: 1 (01_064)" in text and "299 training / 0 validation / 70 test videos" in text
  if name == "mtl_aqa":
    assert data.competition.tolist() == labels.competition.tolist()
    assert "test videos that training knows: 353 by competition" in text
    assert facts["folds"][0]["test_videos_of_rare_difficulty"] == 14
    assert "1059 training / 0 validation / 353 test videos" in text and "14 by difficulty" in text


@published
@pytest.mark.parametrize("name,tasks", [("aqa7", AQA7_CLASSES), ("jigsaws", SURGERY)])
def test_tasks_share_one_prepared_form(tmp_path, name, tasks):
  download(tmp_path, name)
  whole = official.load_official(name, tmp_path, "all")
  before = {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").rglob("*")}
  seen = []
  for task in tasks:
    data = official.load_official(name, tmp_path, task)
    seen += data.videos
    rows = [whole.videos.index(video) for video in data.videos]
    np.testing.assert_array_equal(data.streams["rgb"], whole.streams["rgb"][rows])
    np.testing.assert_array_equal(data.score, whole.score[rows])
    assert set(data.category) == {task} and data.name == f"{name}/{task}"
    for fold in data.folds:
      of_whole, = [f for f in whole.folds if f.name in (task, f"{task}/{fold.name}")]
      assert [data.videos[i] for i in fold.test_videos] == [whole.videos[i] for i in of_whole.test_videos]
      assert [data.videos[i] for i in fold.train_videos] == [whole.videos[i] for i in of_whole.train_videos]
  assert sorted(seen) == sorted(whole.videos)
  assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "prepared").rglob("*")}


@pytest.fixture
def surgery(tmp_path):
  """A made-up JIGSAWS: suturing by three surgeons with two trials each, and one knot tied by each."""
  trials = [f"Suturing_{s}00{k}" for s in "BCD" for k in (1, 2)] + [f"Knot_Tying_{s}001" for s in "BCD"]
  (tmp_path / "label.pkl").write_bytes(pickle.dumps({v: [1 + i % 5] * 6 for i, v in enumerate(trials)}))
  folds = {"Suturing": [trials[:3], trials[3:6]], "Knot_Tying": [trials[6:8], trials[8:]],
           "Needle_Passing": []}
  (tmp_path / "splits.pkl").write_bytes(pickle.dumps(folds))
  for number, video in enumerate(trials):
    save(tmp_path / "features" / f"{video}.npy", number, (2 + number % 3, 4))
  return tmp_path


def load(root, task="suturing", **options):
  return official.load_official("jigsaws", root, task, **options)


def is_mapped(array):
  while array is not None and not isinstance(array, np.memmap):
    array = array.base
  return array is not None


def test_second_load_is_mapped_and_equal_without_importing_tfds(surgery):
  first = load(surgery)
  before = {path: path.stat().st_mtime_ns for path in (surgery / "prepared").rglob("*")}
  second = load(surgery)
  assert is_mapped(second.streams["rgb"])
  assert second.streams["rgb"].shape == (6, 4, 4) and second.streams["rgb"][:, 0, 0].tolist() == list(range(6))
  np.testing.assert_array_equal(first.streams["rgb"], second.streams["rgb"])
  np.testing.assert_array_equal(first.lengths["rgb"], second.lengths["rgb"])
  assert first.videos == second.videos and second.score.tolist() == [6, 12, 18, 24, 30, 6]
  assert second.criteria["time_and_motion"].tolist() == [1, 2, 3, 4, 5, 1]
  code = (f"import sys; from jaxskill.data.published.official import load_official; load_official('jigsaws', {str(surgery)!r}, "
          "'suturing'); assert not {'tensorflow_datasets', 'tensorflow'} & set(sys.modules)")
  subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=REPO)
  assert before == {path: path.stat().st_mtime_ns for path in (surgery / "prepared").rglob("*")}


def test_builders_speak_tfds(surgery):
  load(surgery)
  import tensorflow_datasets as tfds
  builders = prepared.builders()
  assert set(builders) == set(official.NAMES) < set(jaxskill_data.NAMES)
  for name, builder in builders.items():
    assert issubclass(builder, tfds.core.GeneratorBasedBuilder) and builder.name == name
  builder = builders["jigsaws"](data_dir=surgery / "prepared", file_format="array_record")
  records = list(builder.as_data_source(split="videos"))
  assert builder.info.metadata["labels"]["score"][3:5] == [6, 12] and builder.info.metadata["streams"] == ["rgb"]
  assert len(records) == 9 and records[0]["rgb"].shape == (2, 4) and records[0]["static"].tolist() == [[0]]


def test_incomplete_download(surgery, caplog):
  for video in ("Suturing_B001", "Suturing_D002", "Knot_Tying_B001"):
    (surgery / "features" / f"{video}.npy").unlink()
  data = load(surgery)
  assert data.missing == ("Suturing_B001", "Suturing_D002") and data.num_videos == 4   # of this task
  assert data.streams["rgb"][:, 0, 0].tolist() == [1, 2, 3, 4] and data.score.tolist() == [12, 18, 24, 30]
  assert "2 videos of suturing have no features on disk, or no score, and are left out: Suturing_B001, Suturing_D002" in caplog.text
  assert [data.videos[i] for i in data.folds[0].test_videos] == ["Suturing_B002", "Suturing_C001"]
  assert "missing videos: 2 (Suturing_B001, Suturing_D002)" in jaxskill_data.describe_audit(jaxskill_data.audit(data))
  assert load(surgery, "knot_tying").streams["rgb"][:, 0, 0].tolist() == [7, 8]
  save(surgery / "features" / "Suturing_B001.npy", 0, (2, 4))
  assert load(surgery).num_videos == 5 and "added, changed or put in another order; preparing it again" in caplog.text


def test_nothing_is_left(surgery):
  for video in ("Knot_Tying_B001", "Knot_Tying_C001"):
    (surgery / "features" / f"{video}.npy").unlink()
  with pytest.raises(ValueError, match="1 videos of knot_tying on disk leave no fold with training and test videos"):
    load(surgery, "knot_tying")
  (surgery / "features" / "Knot_Tying_D001.npy").unlink()
  with pytest.raises(ValueError, match="none of the 3 videos of knot_tying is on disk; expected .*Knot_Tying_B001.npy"):
    load(surgery, "knot_tying")
  with pytest.raises(ValueError, match="none of the 0 videos of needle_passing"):
    load(surgery, "needle_passing")


def test_features_without_labels_are_reported(surgery, caplog):
  for number in range(7):
    save(surgery / "features" / f"extra_{number}.npy")
  assert load(surgery).num_videos == 6
  assert caplog.text.count("7 feature files have no label in jigsaws and are left out: "
                           "features/extra_0, features/extra_1, features/extra_2, ") == 1


def test_folders_of_tasks_go_first(surgery, caplog):
  save(surgery / "features" / "suturing" / "Suturing_C001.npy", 50, (2, 4))
  assert load(surgery).streams["rgb"][2, 0, 0] == 50 and "1 feature files have no label" in caplog.text


def test_splits(surgery):
  assert [fold.name for fold in load(surgery).folds] == ["fold1", "fold2"]
  data = load(surgery, split="louo")
  assert [fold.name for fold in data.folds] == ["surgeon_B", "surgeon_C", "surgeon_D"]
  assert [set(data.subject[fold.test_videos]) for fold in data.folds] == [{"B"}, {"C"}, {"D"}]
  assert [fold.name for fold in load(surgery, split="loso").folds] == ["trial_001", "trial_002"]
  assert [fold.name for fold in load(surgery, "all", split="louo").folds][:4] == [
      "knot_tying/surgeon_B", "knot_tying/surgeon_C", "knot_tying/surgeon_D", "suturing/surgeon_B"]
  with pytest.raises(ValueError, match="split='given' is unknown to jigsaws; use one of auto, louo, loso"):
    load(surgery, split="given")


def test_validation_and_pairs_by_config(surgery):
  config = types.SimpleNamespace(name="jigsaws", dir=str(surgery), task="suturing", split="louo", validation_share=0.5,
                                 seed=0)
  data = jaxskill_data.load(config)
  assert [[len(ids) for ids in fold[1:]] for fold in data.folds] == [[2, 2, 0, 0, 2, 0]] * 3
  config.make_pairs, config.tie_margin = True, 6.0
  data = jaxskill_data.load(config)
  better, worse = data.score[data.pairs.T]
  assert (better > worse + 6).all() and data.tied_pairs + len(data.pairs) == 15
  with pytest.raises(ValueError, match=r"6 videos make no pair \(15 tied\); lower config.data.tie_margin"):
    load(surgery, make_pairs=True, tie_margin=30)
  with pytest.raises(ValueError, match="pairs_within='weather' needs to be"):
    load(surgery, make_pairs=True, pairs_within="weather")


def test_streams_under_their_names(surgery):
  for number, file in enumerate(sorted((surgery / "features").glob("*.npy"))):
    np.savez(file.with_suffix(".npz"), rgb=np.ones((2, 4)), maps=np.full((1, 2, 2, 3), number + 1.0))
    file.unlink()
  data = load(surgery, "all")
  assert sorted(data.streams) == ["maps", "rgb"] and data.streams["maps"].shape == (9, 1, 2, 2, 3)
  assert all(map(is_mapped, data.streams.values()))
  (surgery / "prepared" / "jigsaws" / "all" / "1.0.0" / "maps.npy").unlink()
  np.testing.assert_array_equal(load(surgery, "all").streams["maps"], data.streams["maps"])


@pytest.mark.parametrize("arrays,message", [
    (dict(rgb=np.ones((2, 4)), flow=np.ones((2, 4))), r"holds the arrays \['flow', 'rgb'\]; expected one array"),
    (dict(rgb=np.ones((2, 4)), static=np.ones((2, 4))), r"holds the streams \['rgb', 'static'\] but .*holds \['rgb'\]"),
    (dict(rgb=np.ones((2, 5))), r"stream 'rgb' is float32 \[2, 5\] but .*B001.npy has float32"),
    (dict(static=np.ones((2, 4))), r"holds the streams \['static'\] but"),
    (dict(rgb=np.ones((2, 4, 4))), "has 3 axes"), (dict(rgb=np.full((2, 4), np.nan)), "holds 8 NaN")])
def test_bad_features(surgery, arrays, message):
  (surgery / "features" / "Suturing_C001.npy").unlink()
  np.savez(surgery / "features" / "Suturing_C001.npz", **arrays)
  with pytest.raises(ValueError, match=f"Suturing_C001.npz: .*{message}"):
    load(surgery)


def test_two_files_of_one_video(surgery):
  np.savez(surgery / "features" / "Suturing_C001.npz", rgb=np.ones((2, 4)))
  with pytest.raises(ValueError, match="'Suturing_C001' has two files, .*C001.npy and Suturing_C001.npz; remove one"):
    load(surgery)


def skaters(root, folders=("dynamic_feat", "static_feat")):
  for side, ids in (("train", (1, 2, 3)), ("test", (4, 5))):
    (root / f"{side}_dataset.txt").write_text("".join(f"{i} {10 + i} {20 - i} 1\n" for i in ids))
  for folder in folders:
    for i in (1, 2, 3, 4, 5):
      save(root / folder / f"{i}.npy", i, (3, 4 + len(folder)))
  return root


def test_two_streams_and_three_scores(tmp_path):
  skaters(tmp_path)
  data = official.load_official("fis_v", tmp_path, "pcs")
  assert data.score.tolist() == [19, 18, 17, 16, 15] and data.score_range[0].tolist() == [0, 40]
  assert data.streams["rgb"].shape == (5, 3, 16) and data.streams["static"].shape == (5, 3, 15)
  tes = official.load_official("fis_v", tmp_path, "tes")
  assert tes.score.tolist() == data.criteria["tes"].tolist() == [11, 12, 13, 14, 15]
  assert official.load_official("fis_v", tmp_path).score.tolist() == [29] * 5
  timed = official.load_official("fis_v", tmp_path, segment_seconds=1.5, stream_seconds=dict(rgb=3.2))
  assert timed.row_seconds["rgb"][0] == np.float32(3.2) and timed.row_seconds["static"][0] == 1.5
  with pytest.raises(ValueError, match="stream_seconds.rgb=0 must be positive"):
    official.load_official("fis_v", tmp_path, stream_seconds=dict(rgb=0))
  assert [path.name for path in (tmp_path / "prepared" / "fis_v").iterdir() if path.name[0] != "."] == ["all"]
  (tmp_path / "static_feat" / "3.npy").unlink()   # a video needs both
  assert official.load_official("fis_v", tmp_path, "tes").missing == ("3",)


def test_one_stream_of_two(tmp_path):
  data = official.load_official("fis_v", skaters(tmp_path, ("dynamic_feat",)), "tes")
  assert list(data.streams) == ["rgb"] and data.num_videos == 5
  (tmp_path / "dynamic_feat").rename(tmp_path / "elsewhere")
  with pytest.raises(ValueError, match="none of the 5 videos of tes is on disk; expected .*dynamic_feat/1.npy and "):
    official.load_official("fis_v", tmp_path, "tes")


def test_scores_outside_the_range_of_a_task(tmp_path):
  skaters(tmp_path)
  (tmp_path / "test_dataset.txt").write_text("4 46 20 0\n5 10 20 0\n")
  with pytest.raises(ValueError, match="video '4' has the score 46, outside the possible 0 to 45"):
    official.load_official("fis_v", tmp_path, "tes")
  assert official.load_official("fis_v", tmp_path, "pcs").num_videos == 5


@pytest.fixture
def recorded(tmp_path):
  """A made-up JIGSAWS as its authors publish it: ratings and kinematics of one task, no folds, no features."""
  trials = [f"Suturing_{s}00{k}" for s in "BCD" for k in (1, 2)]
  folder = tmp_path / "Suturing" / "kinematics" / "AllGestures"
  folder.mkdir(parents=True)
  (tmp_path / "Suturing" / "meta_file_Suturing.txt").write_text(
      "\n".join(f"{trial}\t\tN\t{6 * (1 + i % 5)}" + f"\t{1 + i % 5}" * 6 for i, trial in enumerate(trials)))
  for number, trial in enumerate([*trials, "Suturing_H002"]):          # the last one was not rated
    np.savetxt(folder / f"{trial}.txt", np.full((5 + number, 76), number + 0.25), "%.6f", delimiter="    ")
  return tmp_path, folder


def test_kinematics(recorded, caplog):
  data = load(recorded[0])
  assert data.streams["kinematics"].shape == (6, 10, 76) and list(data.streams) == ["kinematics"]
  assert data.streams["kinematics"][:, 4, 75].tolist() == [number + 0.25 for number in range(6)]
  assert data.lengths["kinematics"].tolist() == [5, 6, 7, 8, 9, 10]
  np.testing.assert_allclose(data.row_seconds["kinematics"], 1 / 30, rtol=1e-6)
  assert [fold.name for fold in data.folds] == ["surgeon_B", "surgeon_C", "surgeon_D"]
  assert "1 feature files have no label in jigsaws and are left out: Suturing/kinematics/AllGestures/Suturing_H002" \
      in caplog.text
  assert [fold.name for fold in load(recorded[0], split="loso").folds] == ["trial_001", "trial_002"]
  facts = jaxskill_data.audit(load(recorded[0], split="loso"))
  assert "test videos that training knows: 3 by subject" in jaxskill_data.describe_audit(facts)


def test_kinematics_beside_features(recorded):
  root, folder = recorded
  for file in folder.glob("*.txt"):
    save(root / "features" / f"{file.stem}.npy", 2.0, (3, 4))
  data = load(root, segment_seconds=2.0)
  assert sorted(data.streams) == ["kinematics", "rgb"] and data.row_seconds["rgb"][0] == 2
  (folder / "Suturing_B001.txt").unlink()                              # a video needs all streams
  assert load(root).missing == ("Suturing_B001",)


@pytest.mark.parametrize("rows,message", [
    ("1 2 3", "holds 1 rows of 3 columns; expected 76 columns"),
    ("one two", "is no table of numbers"),
    (" ".join(["nan"] * 76), "NaN or infinite"),
])
def test_damaged_kinematics(recorded, rows, message):
  root, folder = recorded
  (folder / "Suturing_C002.txt").write_text(rows)
  with pytest.raises(ValueError, match=f"Suturing_C002.txt.*{message}"):
    load(root)


def test_split_all_of_a_published_data_set(surgery):
  """Every trial trains and none is tested, whatever folds are published, and also where no fold could be tested."""
  for task in ("suturing", ""):
    whole = load(surgery, task)
    data = load(surgery, task, split="all")
    fold, = data.folds
    assert fold.name == "all" and fold.train_videos.tolist() == list(range(whole.num_videos)) and not len(fold.test_videos)
    assert data.videos == whole.videos
  paired, = load(surgery, "suturing", split="all", make_pairs=True).folds
  assert len(paired.train_pairs) > 0 and not len(paired.test_pairs)
