"""Rehab-Pile, on made-up files of its form: folds to the video, no order among classes, damage named with its file."""

import json
import os

import numpy as np
import pytest

from jaxskill import cli, data
from jaxskill.data.published import rehab_pile, safe_pickle
from tests import rehab_pile as made
from tests.places import CONFIGS


def load(root, task, **options):
  return rehab_pile.load_rehab_pile(root, task, **options)


@pytest.mark.parametrize("objects", [False, True])
def test_scores_and_folds_are_those_of_the_files(tmp_path, objects):
  labels = np.linspace(1, 9, 12)
  x, sides = made.write_set(tmp_path, "KIMORE_reg_Sq", labels, objects=objects)
  dataset = load(tmp_path, "KIMORE_reg_Sq", segment_seconds=0.1)
  assert dataset.streams["pose"].shape == (12, made.FRAMES, made.JOINTS * made.NUMBERS) and dataset.num_videos == 12
  assert [fold.name for fold in dataset.folds] == ["fold0", "fold1", "fold2"]
  for fold, of_files in zip(dataset.folds, sides):
    assert not set(fold.train_videos) & set(fold.test_videos)
    for videos, numbers in zip((fold.train_videos, fold.test_videos), of_files):
      np.testing.assert_allclose(np.sort(dataset.score[videos]), np.sort(labels[numbers]), rtol=1e-6)
  first = sides[0][0]                                                   # videos are named in the order of fold 0
  np.testing.assert_array_equal(dataset.streams["pose"][: len(first)], x[first].transpose(0, 2, 1).astype(np.float32))
  assert dataset.score_range[0].tolist() == [0, 10] and dataset.row_seconds["pose"][0] == np.float32(0.1)
  pairs = load(tmp_path, "KIMORE_reg_Sq", make_pairs=True)
  assert len(pairs.pairs) == 66 and (pairs.score[pairs.pairs[:, 0]] > pairs.score[pairs.pairs[:, 1]]).all()
  everything, = load(tmp_path, "KIMORE_reg_Sq", split="all").folds
  assert (len(everything.train_videos), len(everything.test_videos)) == (12, 0)


def test_classes_are_criteria_until_somebody_says_which_is_better(tmp_path):
  root = made.write_archive(tmp_path)
  dataset = load(root, "KERAAL_clf_mc_CTK")
  assert dataset.score is None and list(dataset.criteria) == ["class C", "class E1", "class E2"]
  np.testing.assert_array_equal(sum(dataset.criteria.values()), 1)
  with pytest.raises(ValueError, match="there is no score to learn from, only class C, class E1, class E2; set"):
    dataset.labels()
  with pytest.raises(ValueError, match="does not say which of its classes is the better one, so there are no pairs"):
    load(root, "KERAAL_clf_mc_CTK", make_pairs=True)
  told = load(root, "KERAAL_clf_mc_CTK:C", make_pairs=True)
  np.testing.assert_array_equal(told.score, told.criteria["class C"])
  assert len(told.pairs) == 6 * 12
  with pytest.raises(ValueError, match="'D' is none of its classes C, E1, E2"):
    load(root, "KERAAL_clf_mc_CTK:D")
  assert list(load(root, "KINECAL_clf_bn_GGFV").criteria) == ["class 0", "class 1"]


def test_a_movement_on_both_sides_stays_on_both_and_is_told(tmp_path):
  made.write_set(tmp_path, "KIMORE_reg_Sq", np.linspace(1, 9, 12))
  folder = tmp_path / "regression/KIMORE_reg_Sq/fold1"
  for letter in "xy":
    train, test = (np.load(folder / f"{letter}_{side}_fold1.npy") for side in ("train", "test"))
    np.save(folder / f"{letter}_test_fold1.npy", np.concatenate([test, train[:1]]))
  dataset = load(tmp_path, "KIMORE_reg_Sq")
  assert dataset.num_videos == 13 and [len(fold.test_videos) for fold in dataset.folds] == [4, 5, 4]
  leaks = [fold["test_videos_with_features_of_training"] for fold in data.audit(dataset)["folds"]]
  assert leaks == [0, 1, 0]


FOLD = "regression/KIMORE_reg_Sq/fold1"
DAMAGE = {
    "info.json: is missing": lambda of: of.parent.joinpath("info.json").unlink(),
    "info.json: is no JSON": lambda of: of.parent.joinpath("info.json").write_text("{,"),
    "info.json: holds a list": lambda of: of.parent.joinpath("info.json").write_text("[]"),
    "info.json: n_joints is None": lambda of: made.write_info(of.parent, n_joints=None),
    "info.json: dim or n_dim is 0": lambda of: made.write_info(of.parent, dim=0),
    "info.json: max_score_value is 'ten'": lambda of: made.write_info(of.parent, max_score_value="ten"),
    "y_test_fold1.npy: is missing": lambda of: (of / "y_test_fold1.npy").unlink(),
    "x_train_fold0.npy: holds float64 of shape (8, 6, 12)": lambda of: made.write_info(of.parent, length_TS=13),
    "x_test_fold1.npy: movement 2 (1 in all) holds NaN": lambda of: changed(of / "x_test_fold1.npy", 2, np.nan),
    "x_test_fold1.npy: movement 3 (1 in all)": lambda of: changed(of / "x_test_fold1.npy", 3, 1e300),
    "y_train_fold1.npy: holds float64 labels, or NaN": lambda of: changed(of / "y_train_fold1.npy", 0, np.nan),
    "y_train_fold1.npy: holds <U1 labels": lambda of: np.save(of / "y_train_fold1.npy", np.array(list("abcdefgh"))),
    "y_train_fold1.npy: holds labels of shape (7,)": lambda of: np.save(of / "y_train_fold1.npy", np.ones(7)),
    "x_train_fold1.npy: cannot be read": lambda of: (of / "x_train_fold1.npy").write_bytes(b"nothing"),
    "holds fold0, fold2; expected fold0 to fold1": lambda of: os.rename(of, of.with_name("old")),
    "as DeepRehabPileForExperiments.json says": lambda of: listed(of.parents[2], 4),
    "DeepRehabPileForExperiments.json: expected lists": lambda of: listed(of.parents[2], "three"),
}


def changed(file, number, value):
  array = np.load(file)
  array[number] = value
  np.save(file, array)


def listed(root, folds):
  (root / rehab_pile.LIST).write_text(json.dumps(dict(regression=[["KIMORE_reg_Sq", folds]])))


@pytest.mark.parametrize("message", DAMAGE)
def test_damaged_files_are_named_in_one_line(tmp_path, message):
  made.write_set(tmp_path, "KIMORE_reg_Sq", np.linspace(1, 9, 12))
  DAMAGE[message](tmp_path / FOLD)
  with pytest.raises(ValueError) as error:
    load(tmp_path, "KIMORE_reg_Sq")
  assert message in str(error.value) and str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_options_that_cannot_be_are_refused(tmp_path):
  with pytest.raises(ValueError, match="no set of Rehab-Pile here"):
    load(tmp_path, "KIMORE_reg_Sq")
  root = made.write_archive(tmp_path)
  with pytest.raises(ValueError, match="'Squat' is none of the 3 sets here; use one of KERAAL_clf_mc_CTK, KIMORE_reg_Sq"):
    load(root, "Squat")
  with pytest.raises(ValueError, match="its labels are scores, and have no class '1'"):
    load(root, "KIMORE_reg_Sq:1")
  for option in (dict(split="louo"), dict(pairs_within="subject")):
    with pytest.raises(ValueError, match="folds of Rehab-Pile are fixed and its subjects unknown"):
      load(root, "KIMORE_reg_Sq", **option)


@pytest.mark.parametrize("content, wanted", [
    ([np.ones((2, 3)), np.zeros((2, 3))], (2, 2, 3)), (["C", "E1"], (2,)), ([1, 2.5], (2,)), ([np.float32(1), 2], (2,))])
def test_arrays_of_objects_are_read_as_what_they_are(tmp_path, content, wanted):
  made.save(tmp_path / "a.npy", content, objects=True)
  array = safe_pickle.load_objects(tmp_path / "a.npy")
  assert array.shape == wanted and not array.dtype.hasobject
  np.testing.assert_array_equal(array, np.array(content))
  np.save(tmp_path / "b.npy", np.ones(3))
  assert safe_pickle.load_objects(tmp_path / "b.npy") is None


@pytest.mark.parametrize("content, why", [
    ([np.ones(2), np.ones(3)], "arrays of several shapes"), (["C", 1], "strings and numbers"), ([None, 1], "NoneType"),
    ([10 ** 30], "beyond 64 bits"), (["x" * 101], "more than 100 letters"), ([os.getcwd], "os.getcwd|posix.getcwd"),
    ([[1], [2]], "objects that are list")])
def test_other_objects_are_refused(tmp_path, content, why):
  made.save(tmp_path / "a.npy", content, objects=True)
  with pytest.raises(ValueError, match=f"a.npy: wants .*({why}).*, which is refused"):
    safe_pickle.load_objects(tmp_path / "a.npy")


def test_one_array_many_times_takes_no_memory_for_nothing(tmp_path):
  made.save(tmp_path / "a.npy", [np.zeros(10 ** 5)] * 1000, objects=True)        # 0.8 MB that would be 800
  with pytest.raises(ValueError, match="the same content again and again"):
    safe_pickle.load_objects(tmp_path / "a.npy")


def test_configs_read_it(tmp_path):
  root = made.write_archive(tmp_path)
  for name, options, stream, task in (("core", "statistics", "statistics", "KIMORE_reg_Sq"),
                                      ("pros_cons", "paper", "pose", "KINECAL_clf_bn_GGFV:1")):
    config, _ = cli.read_config(f"{CONFIGS / name}.py:rehab_pile,{options}",
                                [f"--config.data.dir={root}", f"--config.data.task={task}"])
    dataset = data.load(config.data)
    assert config.data.stream == stream and stream in dataset.streams and bool(len(dataset.pairs)) == (name == "pros_cons")
