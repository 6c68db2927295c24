"""Real movements through the real command line, as own features split by subject."""


import numpy as np
import pytest

from jaxskill.reproduce.ui_prmd import alignment, correctness, kinematics, quality
from tests.conftest import FLAGS
from tests.places import SHARED

_FOLDER = SHARED / "data/ui_prmd"
_FILE, _QUALITY = _FOLDER / "kinect_all_T32_f16.npz", _FOLDER / "vicon_m01_angles_T60_quality.npz"
pytestmark = pytest.mark.skipif(not (_FILE.exists() and _QUALITY.exists()), reason=f"UI-PRMD is not at {_FOLDER}")


def test_one_movement_by_subject(tmp_path, monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", " ".join(FLAGS))           # of the process that trains: a device, and quick steps
  with np.load(_FILE) as archive:
    correctness.write_features(dict(archive), 5, tmp_path / "m05")
  results = correctness.train(tmp_path / "m05", tmp_path / "run", "--config.train.epochs=1",
                              "--config.model.num_filters=1", "--config.model.hidden=16", "--config.plots=False",
                              "--config.seeds=(0,)")
  audit = results["audit"]
  assert (audit["videos"], len(audit["folds"]), results["simulated"]) == (200, 10, False)
  for fold in audit["folds"]:
    assert (fold["train_videos"], fold["test_videos"], fold["train_pairs"], fold["test_pairs"]) == (180, 20, 900, 100)
    assert fold["test_pairs_with_one_training_video"] == fold["test_pairs_of_two_training_videos"] == 0
  assert {r["fold"] for r in results["replicas"]} == {f"s{i:02d}" for i in range(1, 11)}
  assert results["rows"]["pros_cons"]["accuracy"]["last"]["mean"] > 0.75     # chance is .5, one epoch reaches .87


def test_kinematics_of_the_joints(tmp_path):
  """Correct squats bend knees by a right angle or so; regressions on columns tell people apart that they did not see."""
  with np.load(_FILE) as archive:
    archive = dict(archive)
  chosen = (archive["movement"] == 1) & (archive["subject"] <= 4)
  archive = {name: values[chosen] if len(values) == len(chosen) else values for name, values in archive.items()}
  rows, names = kinematics.columns(archive)
  assert rows.shape == (80, 32, len(names)) and np.isfinite(rows).all()
  bent = rows[archive["correct"] == 1][:, :, names.index("left_knee angle")]
  assert 60 < np.median(bent.max(axis=1)) < 150 and np.median(bent.min(axis=1)) < 20
  lean = rows[archive["correct"] == 1][:, :, names.index("trunk_forward angle")]
  assert np.median(lean.max(axis=1)) > -np.median(lean.min(axis=1)) and np.median(lean.max(axis=1)) > 10   # not back
  reads = kinematics.forms(archive)["kinematics, mean and deviation"]
  ordered, told = correctness.by_logistic_regression(archive, reads, 1)
  assert np.mean(ordered) > .8 and np.mean(told) > .7
  vicon = dict(np.load(_QUALITY))
  vicon = {name: values[vicon["subject"] <= 4] for name, values in vicon.items()}
  same = kinematics.same_repetitions(archive, vicon)
  for name in ("subject", "repetition", "correct"):
    np.testing.assert_array_equal(archive[name][same], vicon[name])
  pooled, people = kinematics.by_ridge(reads[same], vicon["quality"].astype(np.float64), vicon["subject"])
  assert len(people) == 4 and pooled > .4


def test_movements_that_are_done_are_not_trained_again(tmp_path, monkeypatch, capsys):
  trained = []

  def train(archive, movement, out):
    trained.append(movement)
    return [.5 + movement / 100, .1, .01]
  monkeypatch.setattr(kinematics, "train", train)
  for movements in ("1 2", "1 2 3"):
    monkeypatch.setattr("sys.argv", ["kinematics", str(_FILE), "--out", str(tmp_path), "--train", "--movements",
                                     *movements.split()])
    kinematics.main()
  assert trained == [1, 2, 3]
  assert "| m03 | 0.530 | 0.100 | 0.010 |\n| mean | 0.520 | 0.100 | 0.010 |" in capsys.readouterr().out


@pytest.mark.slow
def test_squats_against_correct_ones(tmp_path):
  """Held-out people's pairs are in order about as often as by a regression; incorrect ones score lower in the squat."""
  with np.load(_FILE) as archive:
    archive = dict(archive)
  seconds = alignment.write_features(archive, tmp_path / "squats")
  results = alignment.train(tmp_path / "squats", tmp_path / "run", seconds, "--config.plots=False")
  assert (results["audit"]["videos"], len(results["audit"]["folds"])) == (200, 10)
  in_order, right = alignment.held_out(archive, results).mean(axis=0)
  assert in_order > 0.9 and right > 0.6
  alignment.draw(archive, results, tmp_path / "squats.png")
  assert (tmp_path / "squats.png").stat().st_size > 10_000
  for replica in results["replicas"]:
    references = {int(r[1:]) for named in replica["alignment"].values() for r in named}
    assert all(archive["correct"][r] for r in references)
    assert not {f"s{archive['subject'][r]:02d}" for r in references} & {replica["fold"]}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["action_net", "core"])
def test_quality_by_subject(method, tmp_path):
  """Above PCA + ridge, and above the baselines of the table itself, on subjects that were not seen."""
  with np.load(_QUALITY) as archive:
    archive = dict(archive)
  quality.write_features(archive, tmp_path / "squat", quality.ROWS[method])
  results = quality.train(method, tmp_path / "squat", tmp_path / "run", "--config.plots=False")
  assert (results["audit"]["videos"], len(results["audit"]["folds"])) == (180, 10)
  assert [r["fold"] for r in results["replicas"]] == [f"s{i:02d}" for i in range(1, 11)]
  rows = {name: row["spearman"]["last"] for name, row in results["rows"].items()}
  assert rows[method]["mean"] > max(rows["baseline: ridge on mean features"]["mean"], quality.BASELINE)
  assert min(quality.pooled(archive, results)) > quality.BASELINE
