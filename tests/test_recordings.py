"""Recorded movements of one's own for every system: trained on a folder of files, then a new file of the format."""

import importlib
import json

import numpy as np
import pytest

from jaxskill import assess, main, train
from tests import recordings
from tests.places import REPO

pytestmark = pytest.mark.usefixtures("quick_answers", "blank_pictures")

QUICK = {"plots": False, "data.split": "folds", "data.test_share": 0.5, "data.validation_share": 0.0,
         "data.segment_seconds": 1 / recordings.HERTZ, "train.epochs": 2, "train.steps_per_call": 2}
NARROW = dict(
    core={"model.num_leaves": 4, "model.hidden": 8},
    skilldiff={"model.hidden": 8, "model.width": 6, "model.directions": 4, "model.head_hidden": 4, "model.segments": 3,
               "model.alignment": "linear", "data.score_range": (0.0, 10.0)},
    action_net={"data.score_range": (0.0, 10.0), "model.hidden": 8, "model.channels": 8, "model.attention_hidden": 4,
                "model.head_hidden": 4},
    usdl={"model.hidden": 8})
FORMAT = dict(core="trc", skilldiff="openpose", action_net="npz", usdl="txt")


def hide(file, name):
  """Calls a point of a csv file by a name that nobody knows."""
  file.write_text(file.read_text().replace(name, "cheek"))


def assess_new_and_known(tmp_path, kind, results, *more):
  """(answers, faults) about a new recording, one of the run, which says of it what the run does, and `more` files."""
  new = recordings.write(tmp_path / "new", "somebody", kind, .5, seed=99)
  if kind == "csv":
    hide(new, "left_index")
  known = next(path for path in (tmp_path / "own").iterdir() if path.stem == "v3")
  first, expected = next((one["fold"], one["scores"]["v3"]) for one in results["replicas"] if "v3" in one["scores"])
  found, failed = assess.run(tmp_path / "run", features=[tmp_path / "new", known, *more], out=tmp_path / "out",
                             say=lambda line: None, fold=first)
  assert np.isfinite(found["somebody"]["score"])
  np.testing.assert_allclose(found["v3"]["score"], expected, rtol=1e-5, atol=1e-6)
  rate = 30 if kind == "txt" else recordings.HERTZ
  for line in found["somebody"]["attention"].values():
    assert line["end"][-1] == pytest.approx(100 / rate, abs=0.11)                     # half a new row, of five a second
  return found, failed


@pytest.mark.parametrize("system", FORMAT)
def test_every_system_learns_from_recordings_and_assesses_a_new_one(tmp_path, system):
  """Pros & Cons from csv files by the command line, below."""
  kind = FORMAT[system]
  recordings.write_folder(tmp_path / "own", kind, 12)
  config = importlib.import_module(f"configs.{system}").get_config("kinematics")
  config.data.dir = str(tmp_path / "own")
  config.update_from_flattened_dict(QUICK | NARROW[system])
  results = train.run(config.lock(), tmp_path / "run")
  assert results["data"] == "own" and len(results["replicas"]) == 2
  assert not assess_new_and_known(tmp_path, kind, results)[1]


def test_the_command_line_takes_the_preset(tmp_path, monkeypatch):
  """A folder of csv files beside scores.csv; skill is bending, trembling and speed, so that most pairs are told.

  Where a new recording has the left hand in place of the right one, it has as many columns, but other ones.
  """
  recordings.write_folder(tmp_path / "own", "csv")
  for file in (tmp_path / "own").glob("v*.csv"):
    hide(file, "left_index")
  monkeypatch.chdir(REPO)
  main.main(["--config", "configs/pros_cons.py:kinematics", f"--config.data.dir={tmp_path / 'own'}",
             "--config.train.epochs=40", "--config.model.hidden=8", "--config.data.split=subject", "--config.plots=False",
             f"--workdir={tmp_path / 'run'}"])
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  assert results["rows"]["pros_cons"]["accuracy"]["last"]["mean"] > .75, results["rows"]["pros_cons"]
  other = recordings.write(tmp_path, "other", "csv", .5)
  hide(other, "right_index")
  _, failed = assess_new_and_known(tmp_path, "csv", results, other)
  assert failed.keys() == {"other"}
  assert failed["other"].startswith("stream 'kinematics' has other columns than the run was trained on (left_wrist angle")


def test_spatial_attention_says_why_not():
  with pytest.raises(ValueError, match="kinematics are columns without places; use configs/pros_cons.py:kinematics"):
    importlib.import_module("configs.spatial_attention").get_config("kinematics")


def test_kinematics_alone_are_own_features():
  for system in (*FORMAT, "pros_cons", "lstm", "ms_lstm", "whos_better"):
    get_config = importlib.import_module(f"configs.{system}").get_config
    assert get_config("kinematics").to_dict() == get_config("features,kinematics").to_dict()
