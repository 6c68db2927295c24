"""Real movements through the real command line, as own features split by subject."""

import importlib.util
import os
import pathlib

import numpy as np
import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_FILE = pathlib.Path(os.environ.get("JAXSKILL_SHARED", _ROOT.parent / "shared")) / "data/ui_prmd/kinect_all_T32_f16.npz"
pytestmark = pytest.mark.skipif(not _FILE.exists(), reason=f"the UI-PRMD file is not at {_FILE}")


@pytest.fixture(scope="module")
def ui_prmd():
  spec = importlib.util.spec_from_file_location("ui_prmd", pathlib.Path(__file__).with_name("ui_prmd.py"))
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_one_movement_by_subject(ui_prmd, tmp_path):
  with np.load(_FILE) as archive:
    ui_prmd.write_features(dict(archive), 5, tmp_path / "m05")
  results = ui_prmd.train(tmp_path / "m05", tmp_path / "run", "--config.train.epochs=6", "--config.model.num_filters=1",
                          "--config.model.hidden=16", "--config.plots=False")
  audit = results["audit"]
  assert (audit["videos"], len(audit["folds"]), results["simulated"]) == (200, 10, False)
  for fold in audit["folds"]:
    assert (fold["train_videos"], fold["test_videos"], fold["train_pairs"], fold["test_pairs"]) == (180, 20, 900, 100)
    assert fold["test_pairs_with_one_training_video"] == fold["test_pairs_of_two_training_videos"] == 0
  assert {r["fold"] for r in results["replicas"]} == {f"s{i:02d}" for i in range(1, 11)}
  assert results["rows"][""]["accuracy"]["last"]["mean"] > 0.75     # chance is .5; 30 epochs reach the README's figure
