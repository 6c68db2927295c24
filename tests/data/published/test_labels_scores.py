"""The published score labels: their counts, the copies they were converted to, and what is refused.

The label files may not be copied into the project. Tests of them look below `JAXSKILL_SHARED`.
"""

import collections
import csv
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from jaxskill.data.published import safe_pickle
from jaxskill.data.published.labels_jigsaws import RATINGS, SURGERY
from jaxskill.data.published.labels_scores import (
  APPARATUS,
  AQA7_CLASSES,
  AQA7_RANGES,
  read_scores,
  select_task,
)
from tests.places import SHARED

ANNOTATIONS = SHARED / "data" / "annotations"
published = pytest.mark.skipif(not (ANNOTATIONS / "MTL-AQA").is_dir(),
                               reason=f"the published labels are not below {ANNOTATIONS} (set JAXSKILL_SHARED)")
FOLDERS = dict(mtl_aqa="MTL-AQA", unlv_dive="MTL-AQA/Ready_2_Use/UNLV_Dive_split_4", aqa7="AQA-7", jigsaws="JIGSAWS",
               finediving="converted", rhythmic_gymnastics="RhythmicGymnastics",
               **dict.fromkeys(("fis_v", "mit_skating"), "Fis-V_and_MIT-Skate"))


def read(name, **options):
  return read_scores(name, ANNOTATIONS / FOLDERS[name], **options)


def rows_of(file):
  with open(ANNOTATIONS / "converted" / file, newline="", encoding="utf-8") as lines:
    return list(csv.DictReader(lines))


def by_video(labels, field):
  return dict(zip(labels.videos, getattr(labels, field).tolist()))


def check_against(labels, rows, video, score):
  """Scores and the one fold of labels against the rows of a converted copy."""
  assert by_video(labels, "score") == {video(row): score(row) for row in rows}
  fold, = labels.folds
  for side, ids in (("train", fold.train_videos), ("test", fold.test_videos)):
    assert {labels.videos[i] for i in ids} == {video(row) for row in rows if row["split"] == side}


@published
def test_mtl_aqa():
  labels = read("mtl_aqa")
  rows = rows_of("mtl_aqa.csv")
  video = lambda row: f"{int(row['event']):02d}_{int(row['sample']):03d}"
  assert labels.videos[0] == "01_001" and len(labels.videos) == 1412
  check_against(labels, rows, video, lambda row: float(row["final_score"]))
  assert by_video(labels, "difficulty") == {video(row): float(row["difficulty"]) for row in rows}
  assert by_video(labels, "category") == {video(row): row["dive_number"] for row in rows}
  assert [len(ids) for ids in labels.folds[0][1:3]] == [1059, 353] and labels.subject is None
  assert (labels.score / labels.difficulty).max() == pytest.approx(29)
  np.testing.assert_array_equal(labels.score_range, np.stack([0 * labels.score, 30 * labels.difficulty], 1))
  assert by_video(labels, "competition") == {video(row): f"{int(row['event']):02d}" for row in rows}
  assert len(set(labels.competition)) == 15


@published
def test_leaving_out_a_competition():
  labels = read("mtl_aqa", split="competition")
  assert [fold.name for fold in labels.folds] == [f"competition_{name}" for name in sorted(set(labels.competition))]
  assert sorted(i for fold in labels.folds for i in fold.test_videos) == list(range(1412))     # a partition
  for fold in labels.folds:
    assert set(labels.competition[fold.test_videos]) == {fold.name[-2:]}
    assert fold.name[-2:] not in labels.competition[fold.train_videos]
    assert len(fold.train_videos) + len(fold.test_videos) == 1412


@published
def test_unlv_dive_as_it_comes_with_mtl_aqa():
  """One of the 370 dives in the lists has no annotation there."""
  labels, rows = read("unlv_dive"), rows_of("mtl_aqa.csv")
  scores = {f"{int(row['event']):02d}_{int(row['sample']):03d}": float(row["final_score"]) for row in rows}
  assert len(labels.videos) == 369 and labels.unscored == ("01_064",)
  assert [len(ids) for ids in labels.folds[0][1:3]] == [299, 70]
  assert by_video(labels, "score") == {video: scores[video] for video in labels.videos}
  assert set(labels.competition) == {"01", "02", "03"} and labels.category is None


@published
@pytest.mark.parametrize("form", ["MUSDL_info/augmented_final_annotations_dict.pkl",
                                  "Ready_2_Use/MTL-AQA_split_0_data/final_annotations_dict.pkl"])
def test_other_forms_of_mtl_aqa(tmp_path, form):
  (tmp_path / "info").mkdir()
  for file in (form, "CoRe_info/train_split_0.pkl", "CoRe_info/test_split_0.pkl"):
    shutil.copy(ANNOTATIONS / "MTL-AQA" / file, tmp_path / "info")
  labels, core = read_scores("mtl_aqa", tmp_path), read("mtl_aqa")
  assert labels.category is None and by_video(labels, "score") == by_video(core, "score")
  assert labels.files[0].name == Path(form).name and len(labels.folds[0].test_videos) == 353


@published
def test_aqa7():
  labels = read("aqa7")
  rows = rows_of("aqa7_split4.csv")
  video = lambda row: f"{row['class']}/{int(row['sample']):03d}"
  assert by_video(labels, "score") == {video(row): float(row["score_x100"]) / 100 for row in rows}
  assert tuple(fold.name for fold in labels.folds) == AQA7_CLASSES
  assert sum(len(fold.train_videos) for fold in labels.folds) == 803
  assert sum(len(fold.test_videos) for fold in labels.folds) == 303
  for number, fold in enumerate(labels.folds, 1):
    for side, ids in (("train", fold.train_videos), ("test", fold.test_videos)):
      expected = {video(row) for row in rows if row["split"] == side and int(row["class_id"]) == number}
      assert {labels.videos[i] for i in ids} == expected
    one, chosen = select_task("aqa7", labels, fold.name)
    assert one.folds == (fold,) and set(labels.category[chosen]) == {fold.name}
    np.testing.assert_array_equal(labels.score_range[chosen], np.tile(AQA7_RANGES[number - 1], (chosen.sum(), 1)))
    assert np.ptp(np.flatnonzero(chosen)) == chosen.sum() - 1   # side by side


@published
@pytest.mark.parametrize("split,names", [
    ("auto", dict.fromkeys(SURGERY, [f"fold{k}" for k in (1, 2, 3, 4)])),
    ("louo", dict.fromkeys(SURGERY, [f"surgeon_{letter}" for letter in "BCDEFGHI"])),
    ("loso", dict.fromkeys(SURGERY, [f"trial_00{k}" for k in (1, 2, 3, 4, 5)]))])
def test_jigsaws(split, names):
  labels = read("jigsaws", split=split)
  converted = json.loads((ANNOTATIONS / "converted" / "jigsaws_musdl_folds.json").read_text())
  ratings = np.stack([labels.criteria[name] for name in RATINGS], 1)
  assert dict(zip(labels.videos, ratings.tolist())) == converted["parts"] and len(labels.videos) == 103
  np.testing.assert_array_equal(labels.score, ratings.sum(1))
  assert labels.score_range[0].tolist() == [6, 30]
  assert by_video(labels, "subject") == {video: video[-4] for video in labels.videos}
  for task in SURGERY:
    one, chosen = select_task("jigsaws", labels, task)
    members = set(np.flatnonzero(chosen))
    present = [name for name in names[task] if split != "louo" or
               any(labels.subject[i] == name[-1] for i in members)]   # not every surgeon did every task
    assert [fold.name for fold in one.folds] == present and len(present) >= 4
    assert sorted(i for fold in one.folds for i in fold.test_videos) == sorted(members)   # a partition
    for number, fold in enumerate(one.folds):
      assert set(fold.train_videos) | set(fold.test_videos) == members
      tested = {labels.videos[i] for i in fold.test_videos}
      if split == "auto":
        key = next(key for key in converted["folds"] if key.lower() == task)
        assert tested == set(converted["folds"][key][number])
      else:
        unit = (lambda video: video[-4]) if split == "louo" else (lambda video: video[-3:])
        assert len({unit(video) for video in tested}) == 1
        assert not {unit(video) for video in tested} & {unit(labels.videos[i]) for i in fold.train_videos}


@published
def test_finediving():
  labels, rows = read("finediving"), rows_of("finediving.csv")
  video = lambda row: f"{row['event']}/{row['sample']}"
  check_against(labels, rows, video, lambda row: float(row["score"]))
  assert [len(ids) for ids in labels.folds[0][1:3]] == [2251, 749]
  assert by_video(labels, "category") == {video(row): row["action_type"] for row in rows}
  assert by_video(labels, "difficulty") == {video(row): float(row["difficulty"]) for row in rows}


@published
def test_rhythmic_gymnastics():
  labels = read("rhythmic_gymnastics")
  assert tuple(fold.name for fold in labels.folds) == APPARATUS and len(labels.videos) == 1000
  assert [[len(ids) for ids in fold[1:3]] for fold in labels.folds] == [[200, 50]] * 4
  assert collections.Counter(labels.category.tolist()) == dict.fromkeys(APPARATUS, 250)
  assert labels.difficulty is None   # a judgement, not an input
  penalty = {words[0]: float(words[4]) for side in ("train", "test") for words in
             map(str.split, (ANNOTATIONS / "RhythmicGymnastics" / f"{side}.txt").read_text().splitlines()[1:])}
  parts = labels.criteria
  total = parts["difficulty"] + parts["execution"] - np.array([penalty[video] for video in labels.videos])
  np.testing.assert_allclose(labels.score, total, atol=0.0101)
  np.testing.assert_array_equal(labels.score, parts["total"])
  assert labels.score_range[0].tolist() == [0, 25] and parts["execution"].max() <= 10


@published
def test_fis_v():
  labels = read("fis_v")
  fold, = labels.folds
  assert (len(fold.train_videos), len(fold.test_videos)) == (400, 100)
  with open(ANNOTATIONS / "Fis-V_and_MIT-Skate" / "fs_dataset.csv", newline="", encoding="latin1") as file:
    rows = {row["number"]: row for row in csv.DictReader(file)}
  for name, values in labels.criteria.items():
    assert np.mean([abs(x - float(rows[video][name])) < 0.011 for video, x in zip(labels.videos, values)]) > 0.95
  for task in ("tes", "pcs", "total"):
    one, chosen = select_task("fis_v", labels, task)
    np.testing.assert_array_equal(one.score, labels.criteria[task])
    assert chosen.all() and one.score_range[0, 1] == dict(tes=45, pcs=40, total=85)[task]


@published
def test_mit_skating():
  labels = read("mit_skating")
  assert [[len(ids) for ids in fold[1:3]] for fold in labels.folds] == [[100, 50]] * 5
  assert len({tuple(fold.test_videos) for fold in labels.folds}) == 5
  again, other = read("mit_skating"), read("mit_skating", seed=1)
  assert [fold.test_videos.tolist() for fold in again.folds] == [fold.test_videos.tolist() for fold in labels.folds]
  assert other.folds[0].test_videos.tolist() != labels.folds[0].test_videos.tolist()
  total, parts = labels.criteria["total"], labels.criteria["tes"] + labels.criteria["pcs"]
  assert np.mean(abs(total - parts) < 0.011) > 0.7 and (total <= parts + 1.01).all()   # the rest has deductions


class Evil:
  def __reduce__(self):
    return os.system, ("touch evil",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_a_command_is_refused(tmp_path, monkeypatch, protocol):
  monkeypatch.chdir(tmp_path)
  file = tmp_path / "train_split_0.pkl"
  file.write_bytes(pickle.dumps([(1, 2), Evil()], protocol))
  with pytest.raises(ValueError, match=r"train_split_0.pkl: wants (posix|nt).system, which is refused"):
    safe_pickle.load(file)
  assert not (tmp_path / "evil").exists()
  pickle.loads(file.read_bytes())   # what would have happened
  assert (tmp_path / "evil").exists()


@pytest.mark.parametrize("wanted", [eval, getattr, np.load, np.memmap, pickle.loads])
def test_other_names_are_refused(tmp_path, wanted):
  (tmp_path / "a.pkl").write_bytes(pickle.dumps(wanted))
  with pytest.raises(ValueError, match=rf"a.pkl: wants .*{wanted.__name__}, which is refused"):
    safe_pickle.load(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", [3, 5])
def test_plain_content_is_read(tmp_path, protocol):
  content = {(1, 2): dict(a=np.arange(3.0), b=[np.float32(2), "x", None, {1}, frozenset({2})])}
  (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
  found = safe_pickle.load(tmp_path / "a.pkl")
  np.testing.assert_array_equal(found[1, 2]["a"], np.arange(3.0))
  assert found[1, 2]["b"] == content[1, 2]["b"]
  (tmp_path / "a.pkl").write_bytes(pickle.dumps(content)[:-20])
  with pytest.raises(ValueError, match="a.pkl: is no readable pickle"):
    safe_pickle.load(tmp_path / "a.pkl")


def dives(tmp_path, changes=(), train=((1, 1), (1, 2)), test=((1, 3),)):
  """A small MTL-AQA; `changes`: fields of dive (1, 2), None to leave one out."""
  table = {(1, k): dict(final_score=10.0 * k, difficulty=2.0, dive_number="101B") for k in (1, 2, 3)}
  table[1, 2] = {key: value for key, value in (table[1, 2] | dict(changes)).items() if value is not None}
  for name, content in (("augmented_final_annotations_dict", table), ("train_split_0", list(train)),
                        ("test_split_0", list(test))):
    (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(content))
  return tmp_path


@pytest.mark.parametrize("changes,sides,message", [
    (dict(difficulty=0.0), {}, "difficulty 0 of video '01_002' must be positive"),
    (dict(difficulty=None), {}, "dict.pkl: difficulty None of video '01_002' is not a finite number"),
    (dict(final_score=float("nan")), {}, "final score nan of video '01_002' is not a finite"),
    (dict(difficulty=10 ** 400), {}, "dict.pkl: difficulty 1000.* of video '01_002' is not a finite number"),
    (dict(difficulty=np.zeros(1)), {}, "dict.pkl: difficulty .* of video '01_002' is not a finite number"),
    (dict(final_score=[1]), {}, "dict.pkl: final score .1. of video '01_002' is not a finite number"),
    (dict(final_score=60.1), {}, "dict.pkl: video '01_002' has the score 60.1, outside the possible 0 to 60"),
    ({}, dict(train=[(1, 1), (2, 7)]), "fold 'official': video '02_007' has no score in augmented_final"),
    ({}, dict(test=[(1, 1), (1, 3)]), "fold 'official': video '01_001' trains and tests"),
    ({}, dict(test=["1_3"]), r"test_split_0.pkl: '1_3' is not an \(event, sample\)"),
])
def test_bad_dives(tmp_path, changes, sides, message):
  with pytest.raises(ValueError, match=message):
    read_scores("mtl_aqa", dives(tmp_path, changes, **sides))


def test_missing_label_files(tmp_path):
  with pytest.raises(ValueError, match=r"no final_annotations_dict_with_dive_number.pkl or .* here \(looked"):
    read_scores("mtl_aqa", tmp_path)
  with pytest.raises(ValueError, match="no finediving.csv here"):
    read_scores("finediving", tmp_path)
  with pytest.raises(ValueError, match="split='louo' is unknown to mtl_aqa; use one of auto"):
    read_scores("mtl_aqa", dives(tmp_path), split="louo")
  with pytest.raises(ValueError, match="task 'knitting' is none of aqa7; set config.data.task to diving, .* all"):
    select_task("aqa7", read_scores("mtl_aqa", tmp_path), "knitting")


def save_lists(folder, train, test, key="consolidated_{}_list"):
  for side, rows in (("train", train), ("test", test)):
    scipy.io.savemat(folder / f"consolidated_{side}_list.mat", {key.format(side): rows})


@pytest.mark.parametrize("train,message", [
    (np.array([[7, 1, 5000.0]]), "class 7, sample 1 is none of AQA-7; expected classes 1 to 6"),
    (np.array([[1, 1.5, 5000.0]]), "class 1, sample 1.5 is none of AQA-7"),
    (np.array([[1, 1]]), r"numbers of shape \(1, 2\); expected \[videos, 3\]"),
    (np.array([[1, 1, np.nan]]), "expected finite numbers"),
    (np.array([[1, 1, 50.0]]), "video 'diving/001' has the score 0.5, outside the possible 21.6 to 102.6"),
    (np.array([[1, 2, 5000.0]]), "video 'diving/002' is labelled more than once"),
])
def test_bad_lists(tmp_path, train, message):
  save_lists(tmp_path, train, np.array([[1, 2, 5000.0]]))
  with pytest.raises(ValueError, match=message):
    read_scores("aqa7", tmp_path)


def test_lists_without_the_key_or_damaged(tmp_path):
  save_lists(tmp_path, np.ones((1, 3)), np.ones((1, 3)), "something")
  with pytest.raises(ValueError, match="train_list.mat: holds something but not 'consolidated_train_list'"):
    read_scores("aqa7", tmp_path)
  (tmp_path / "consolidated_train_list.mat").write_bytes(b"no mat file")
  with pytest.raises(ValueError, match="consolidated_train_list.mat: is no readable .mat file"):
    read_scores("aqa7", tmp_path)


@pytest.mark.parametrize("parts,message", [
    ([1, 2, 3, 4, 5], "trial 'Suturing_B001' has the ratings .* expected six of 1 to 5"),
    ([1, 2, 3, 4, 5, 6], "expected six of 1 to 5"), ("abcdef", "expected six of 1 to 5")])
def test_bad_ratings(tmp_path, parts, message):
  (tmp_path / "label.pkl").write_bytes(pickle.dumps({"Suturing_B001": parts}))
  (tmp_path / "splits.pkl").write_bytes(pickle.dumps({}))
  with pytest.raises(ValueError, match=message):
    read_scores("jigsaws", tmp_path)


def test_text_lists(tmp_path):
  (tmp_path / "test.txt").write_text("Ball_2\t9\t8\t17\t0\t90\n")
  train = tmp_path / "train.txt"
  train.write_text("Video_Name\tDifficulty_Score    Execution_Score Total_Score\tPenalty\tVideo_length\n"
                   "Ball_1\t9\t8\t17\t0\t90\n\nHoop_1 9 8 17 0 90\n")
  labels = read_scores("rhythmic_gymnastics", tmp_path)
  assert labels.videos == ("Ball_1", "Ball_2", "Hoop_1")
  for line, message in (("Ball_3 9 8 17 0", "train.txt, line 1: expected 6 words"),
                        ("Rope_1 9 8 17 0 90", "line 1: 'Rope_1' is no ball, clubs, hoop, ribbon"),
                        ("Ball_3 9 8 1x 0 90", "line 1: total '1x' of video 'Ball_3' is not a finite number"),
                        ("Ball_3 9 8 25.5 0 90", "video 'Ball_3' has the score 25.5, outside the possible 0 to 25")):
    train.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
      read_scores("rhythmic_gymnastics", tmp_path)


@pytest.fixture
def unlv(tmp_path):
  """A made-up UNLV-Dive of five dives."""
  (tmp_path / "split_300_70").mkdir()

  def write(**changed):
    for file, key, values in (("diving_overall_scores", "overall_scores", [[60.0], [70], [80], [90], [54]]),
                              ("diving_difficulty_level", "difficulty_level", [[2.0], [3.5], [3.2], [3.6], [2]]),
                              ("split_300_70/training_idx", "training_idx", [[5, 1, 2]]),
                              ("split_300_70/testing_idx", "testing_idx", [[4, 3]])):
      scipy.io.savemat(tmp_path / f"{file}.mat", {key: np.array(changed.get(key, values))})
    return tmp_path
  return write


def test_unlv_dive(unlv):
  labels = read_scores("unlv_dive", unlv())
  assert by_video(labels, "score") == {"001": 60, "002": 70, "003": 80, "004": 90, "005": 54}
  assert labels.difficulty.tolist() == [2, 3.5, 3.2, 3.6, 2] and labels.score_range[1].tolist() == [0, 105]
  fold, = labels.folds
  assert fold.train_videos.tolist() == [0, 1, 4] and fold.test_videos.tolist() == [2, 3]


@pytest.mark.parametrize("changed,message", [
    (dict(testing_idx=[[4, 6]]), "testing_idx.mat: 6 is the number of no dive; expected 1 to 5"),
    (dict(testing_idx=[[4, 5]]), "fold 'official': video '005' trains and tests"),
    (dict(difficulty_level=[[2.0], [0], [3], [3], [2]]), "difficulty 0 of video '002' must be positive"),
    (dict(difficulty_level=[[2.0], [3]]), "holds 2 difficulties for the 5 scores"),
    (dict(overall_scores=[[60.0], [np.nan], [80], [90], [54]]), "expected finite numbers"),
    (dict(overall_scores=[[61.0], [70], [80], [90], [54]]), "'001' has the score 61, outside the possible 0 to 60"),
])
def test_unlv_dive_that_is_damaged(unlv, changed, message):
  with pytest.raises(ValueError, match=message):
    read_scores("unlv_dive", unlv(**changed))


def write_meta(root, lines, task="Suturing"):
  (root / task).mkdir(exist_ok=True)
  (root / task / f"meta_file_{task}.txt").write_text("\n".join(lines) + "\n")
  return root


@published
@pytest.mark.parametrize("split", ["louo", "loso"])
def test_meta_files_of_jigsaws_say_the_same_as_its_pickle(tmp_path, split):
  """The meta files that JIGSAWS comes with, written from the published ratings."""
  expected = read("jigsaws", split=split)
  for task in SURGERY:
    rows = [i for i, category in enumerate(expected.category) if category == task]
    write_meta(tmp_path, [f"{expected.videos[i]}\t\tN\t{expected.score[i]:.0f}\t\t" + "\t".join(
        f"{expected.criteria[name][i]:.0f}" for name in RATINGS) for i in rows], task.title())
  labels = read_scores("jigsaws", tmp_path, split)
  for field in ("score", "subject", "category"):
    assert by_video(labels, field) == by_video(expected, field)
  assert {name: values.tolist() for name, values in labels.criteria.items()} == {
      name: values.tolist() for name, values in expected.criteria.items()}
  for fold, wanted in zip(labels.folds, expected.folds, strict=True):
    assert fold.name == wanted.name and all(np.array_equal(*ids) for ids in zip(fold[1:], wanted[1:]))
  assert [file.name for file in labels.files] == [f"meta_file_{task.title()}.txt" for task in SURGERY]


def test_one_task_of_jigsaws_without_the_usual_folds(tmp_path):
  trials = [f"Suturing_{surgeon}00{k}" for surgeon in "BC" for k in (1, 2)]
  labels = read_scores("jigsaws", write_meta(tmp_path, [f"{trial}\tE 18 3 3 3 3 3 3" for trial in trials]))
  assert [fold.name for fold in labels.folds] == ["suturing/surgeon_B", "suturing/surgeon_C"]


@pytest.mark.parametrize("line,message", [
    ("Suturing_B001 N 19 3 3 3 3 3 3", "line 1: .*B001' is rated 19 in total, but its parts add up to 18"),
    ("Suturing_B001 N 18 3 3 3 3 3", "line 1: expected 9 words"),
    ("Suturing_B001 N 18 6 3 3 3 2 1", "expected six of 1 to 5"),
    ("Suturing_B001 N 18 x 3 3 3 3 3", "line 1.*rating.*'x'"),
    ("Cooking_B001 N 18 3 3 3 3 3 3", "line 1: 'Cooking_B001' is no trial of"),
])
def test_meta_files_of_jigsaws_that_are_damaged(tmp_path, line, message):
  with pytest.raises(ValueError, match=message):
    read_scores("jigsaws", write_meta(tmp_path, [line]))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.mark.parametrize("splits,message", [
    ({"Suturing": float("nan")}, "splits.pkl: 'Suturing' holds no lists of trials, one a fold"),
    ({"Suturing": [float("nan")]}, "splits.pkl: 'Suturing' holds no lists of trials"),
    ({"Suturing": [[float("nan")]]}, "splits.pkl: 'Suturing' holds no lists of trials"),
    ({"Suturing": [[["Suturing_B001"]]]}, "splits.pkl: 'Suturing' holds no lists of trials"),
    ({"Suturing": "Suturing_B001"}, "splits.pkl: 'Suturing' holds no lists of trials"),
    ({"Suturing": np.array(1)}, "splits.pkl: 'Suturing' holds no lists of trials"),
    ({"Suturing": [["Suturing_Z999"]]}, "video 'Suturing_Z999' has no score in label.pkl"),
    ([], "splits.pkl: holds no dict"),
])
def test_folds_of_jigsaws_that_are_none(tmp_path, splits, message):
  (tmp_path / "label.pkl").write_bytes(pickle.dumps({f"Suturing_B00{i}": [1, 2, 3, 4, 5, 3] for i in range(1, 4)}))
  (tmp_path / "splits.pkl").write_bytes(pickle.dumps(splits))
  with pytest.raises(ValueError, match=message):
    read_scores("jigsaws", tmp_path)


@pytest.mark.parametrize("parts", [[1, 2, [3], 4, 5, 3], [[1], [1, 2]], "123453", None, 5, {"a": 1}, [1, 2, 3, 4, 5, 10 ** 400],
                                   [1, 2, 3, 4, 5, "3"], [1, 2, 3, 4, 5, float("nan")], np.ones((6, 1))])
def test_ratings_of_jigsaws_that_are_none(tmp_path, parts):
  (tmp_path / "label.pkl").write_bytes(pickle.dumps({"Suturing_B001": parts}))
  with pytest.raises(ValueError, match="label.pkl: trial 'Suturing_B001' has the ratings .*expected six of 1 to 5"):
    read_scores("jigsaws", tmp_path)


@pytest.mark.parametrize("name,file,line", [
    ("fis_v", "train_dataset.txt", "../../x 30.1 28.2 0"), ("fis_v", "test_dataset.txt", "/etc/x 30.1 28.2 0"),
    ("rhythmic_gymnastics", "train.txt", "Ball_/../../../x 8.1 7.2 15.3 0 1000"),
    ("mit_skating", "annotations.txt", "a/../../x 100 50 50 1 2"),
    ("finediving", "finediving.csv", "..,7,train,107B,50,3.0"), ("finediving", "finediving.csv", "1,../../x,train,107B,50,3.0"),
])
def test_names_that_lead_out_of_the_folder(tmp_path, name, file, line):
  for other in ("train_dataset.txt", "test_dataset.txt", "train.txt", "test.txt"):
    (tmp_path / other).write_text("Ball_001 8.1 7.2 15.3 0 1000\n" if len(other) < 11 else "1 30.1 28.2 0\n")
  header = "event,sample,split,action_type,score,difficulty\n" if name == "finediving" else ""
  (tmp_path / file).write_text(header + line + "\n")
  with pytest.raises(ValueError, match=f"{file}, line {2 if header else 1}: the video name '.*x?' leads out of the folder"):
    read_scores(name, tmp_path)


@pytest.mark.parametrize("name,files", [
    ("mtl_aqa", ("final_annotations_dict.pkl", "train_split_0.pkl", "test_split_0.pkl")),
    ("aqa7", ("consolidated_train_list.mat", "consolidated_test_list.mat")), ("fis_v", ("train_dataset.txt", "test_dataset.txt")),
    ("finediving", ("finediving.csv",)), ("mit_skating", ("annotations.txt",)), ("jigsaws", ("label.pkl",))])
def test_pointers_of_git_lfs_are_named(tmp_path, name, files):
  for file in files:
    (tmp_path / file).write_bytes(LFS)
  with pytest.raises(ValueError, match=f"{files[0]}: is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`"):
    read_scores(name, tmp_path)


def test_a_matlab_file_that_unpacks_to_much_is_refused_unread(tmp_path):
  scipy.io.savemat(tmp_path / "consolidated_train_list.mat", {"consolidated_train_list": np.zeros((4 * 10 ** 6, 3))},
                   do_compression=True)
  assert (tmp_path / "consolidated_train_list.mat").stat().st_size < 10 ** 6
  scipy.io.savemat(tmp_path / "consolidated_test_list.mat", {"consolidated_test_list": np.zeros((1, 3))})
  with pytest.raises(ValueError, match="train_list.mat: is no readable .mat file .*announces 12000000 numbers, of at most"):
    read_scores("aqa7", tmp_path)
