"""Recorded movements of one's own for every system: trained on a folder of files, then a new file of the format."""

import importlib
import json

import numpy as np
import pytest

from jaxskill import assess, main, train
from tests import recordings
from tests.places import REPO

pytestmark = pytest.mark.usefixtures("quick_training")

QUICK = {"plots": False, "data.split": "folds", "data.test_share": 0.5, "data.validation_share": 0.0,
         "data.segment_seconds": 1 / recordings.HERTZ, "train.epochs": 2, "train.steps_per_call": 2}
NARROW = dict(
    core={"model.num_leaves": 4, "model.hidden": 8}, pros_cons={"model.hidden": 4},
    skilldiff={"model.hidden": 8, "model.width": 6, "model.directions": 4, "model.head_hidden": 4, "model.segments": 3,
               "model.exemplars.count": 2, "data.score_range": (0.0, 10.0)},
    action_net={"data.score_range": (0.0, 10.0), "model.hidden": 8, "model.channels": 8, "model.attention_hidden": 4,
                "model.head_hidden": 4},
    usdl={"model.hidden": 8})
FORMAT = dict(pros_cons="csv", core="trc", skilldiff="openpose", action_net="npz", usdl="txt")


@pytest.mark.parametrize("system", FORMAT)
def test_every_system_learns_from_recordings_and_assesses_a_new_one(tmp_path, system):
  kind = FORMAT[system]
  recordings.write_folder(tmp_path / "own", kind, 12)
  config = importlib.import_module(f"configs.{system}").get_config("kinematics")
  config.data.dir = str(tmp_path / "own")
  config.update_from_flattened_dict(QUICK | NARROW[system])
  results = train.run(config.lock(), tmp_path / "run")
  assert results["data"] == "own" and len(results["replicas"]) == 2
  recordings.write(tmp_path / "new", "somebody", kind, .5, seed=99)
  known = next(path for path in (tmp_path / "own").iterdir() if path.stem == "v3")
  first = results["replicas"][0]["fold"]
  given = dict(features=[tmp_path / "new", known], out=tmp_path / "out", say=lambda line: None, fold=first)
  found, failed = assess.run(tmp_path / "run", **given)
  assert not failed and np.isfinite(found["somebody"]["score"])
  expected, = (one["scores"]["v3"] for one in results["replicas"] if "v3" in one["scores"])
  if "v3" in results["replicas"][0]["scores"]:
    np.testing.assert_allclose(found["v3"]["score"], expected, rtol=1e-5, atol=1e-6)
  rate = 30 if kind == "txt" else recordings.HERTZ
  for line in found["somebody"]["attention"].values():
    assert line["end"][-1] == pytest.approx(100 / rate, abs=0.11)                     # half a new row, of five a second


def test_a_new_recording_must_have_the_columns_of_training(tmp_path):
  """The left hand in place of the right one: as many columns, other ones."""
  recordings.write_folder(tmp_path / "own", "csv", 8)
  for file in (tmp_path / "own").glob("v*.csv"):
    file.write_text(file.read_text().replace("left_index", "cheek"))
  config = importlib.import_module("configs.pros_cons").get_config("kinematics")
  config.data.dir = str(tmp_path / "own")
  config.update_from_flattened_dict(QUICK | NARROW["pros_cons"] | {"train.epochs": 1})
  train.run(config.lock(), tmp_path / "run")
  new = recordings.write(tmp_path, "new", "csv", .5)
  new.write_text(new.read_text().replace("right_index", "cheek"))
  _, failed = assess.run(tmp_path / "run", features=[new], out=tmp_path / "out", say=lambda line: None)
  assert failed["new"].startswith("stream 'kinematics' has other columns than the run was trained on (left_wrist angle")


def test_the_command_line_takes_the_preset(tmp_path, monkeypatch):
  """A folder of csv files beside scores.csv; skill is bending, trembling and speed, so that most pairs are told."""
  recordings.write_folder(tmp_path / "own", "csv")
  monkeypatch.chdir(REPO)
  main.main(["--config", "configs/pros_cons.py:kinematics", f"--config.data.dir={tmp_path / 'own'}",
             "--config.train.epochs=5", "--config.model.hidden=8", "--config.data.split=subject", "--config.plots=False",
             f"--workdir={tmp_path / 'run'}"])
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  assert results["rows"]["pros_cons"]["accuracy"]["last"]["mean"] > .75, results["rows"]["pros_cons"]


def test_spatial_attention_says_why_not():
  with pytest.raises(ValueError, match="kinematics are columns without places; use configs/pros_cons.py:kinematics"):
    importlib.import_module("configs.spatial_attention").get_config("kinematics")


def test_kinematics_alone_are_own_features():
  for system in (*FORMAT, "lstm", "ms_lstm", "whos_better"):
    get_config = importlib.import_module(f"configs.{system}").get_config
    assert get_config("kinematics").to_dict() == get_config("features,kinematics").to_dict()
