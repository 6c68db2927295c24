"""Thirty recorded performances: JIGSAWS for every system, from ratings and kinematics to answers about a trial."""

import importlib
import shutil

import numpy as np
import pytest

from jaxskill import assess, main, train
from jaxskill.data import load
from jaxskill.data.published import labels_jigsaws
from tests import jigsaws
from tests.places import REPO

pytestmark = pytest.mark.usefixtures("quick_answers", "blank_pictures")

QUICK = {"plots": False, "data.task": "suturing", "data.split": "loso", "train.epochs": 2, "train.steps_per_call": 2}
NARROW = dict(
    core={"model.num_leaves": 4, "model.hidden": 8}, pros_cons={"model.hidden": 4},
    skilldiff={"model.hidden": 8, "model.width": 6, "model.directions": 4, "model.head_hidden": 4, "model.segments": 3},
    action_net={"model.hidden": 8, "model.channels": 8, "model.attention_hidden": 4, "model.head_hidden": 4},
    spatial_attention={"model.segments": 3, "model.filters": 4, "model.channels": 4, "model.attention_hidden": 4,
                       "model.hidden": 4, "model.attention_width": 4})
READS = [("core", "statistics"), ("pros_cons", "statistics"), ("core", "kinematics")]    # both streams, pairs and scores
READS += [pytest.param(*reads, marks=pytest.mark.slow) for reads in (         # quick on kinematics in test_recordings.py
    ("pros_cons", "kinematics"), ("action_net", "kinematics"), ("skilldiff", "kinematics"),
    ("skilldiff", "statistics"), ("action_net", "statistics"))]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """A made-up download: 16 trials of some seconds, two of each surgeon."""
  folder = tmp_path_factory.mktemp("jigsaws")
  jigsaws.write(folder, trials=2, seconds=4.0)
  return folder


def make_config(system, options, root, changes=None):
  config = importlib.import_module(f"configs.{system}").get_config(options)
  config.data.dir = str(root)
  config.update_from_flattened_dict(QUICK | NARROW[system] | (changes or {}))
  return config.lock()


@pytest.mark.parametrize("system,stream", READS)
def test_every_system_learns_from_kinematics_and_assesses_them(root, tmp_path, system, stream):
  """A trial gets the same score from its recorded rows, and their text, as in the results: all become features alike."""
  config = make_config(system, f"jigsaws,{stream}", root)
  results = train.run(config, tmp_path / "run")
  assert results["data"] == "jigsaws/suturing" and len(results["replicas"]) == 2
  if system != "pros_cons":
    assert any(name.startswith("baseline: ridge") for name in results["rows"])
    assert ("baseline: ridge on statistics of motion" in results["rows"]) == (stream == "kinematics")
  trial = "Suturing_C001"
  text = root / "Suturing/kinematics/AllGestures" / f"{trial}.txt"
  recorded = labels_jigsaws.read_kinematics(text)
  np.save(tmp_path / f"{trial}.npy", recorded)
  shutil.copy(text, tmp_path / "text.txt")
  (tmp_path / "markers.csv").write_text("time,hand_x,hand_y,hand_z\n0,0,0,0\n0.1,0,0,1\n0.2,0,1,1\n")
  given = dict(features=[tmp_path / f"{trial}.npy", tmp_path / "text.txt", tmp_path / "markers.csv"],
               category="suturing", fold="trial_001")
  found, failed = assess.run(tmp_path / "run", out=tmp_path / "out", **given, say=lambda line: None)
  assert failed.keys() == {"markers"} and failed["markers"].startswith(
      "this run was trained on the recorded movements of jigsaws as published, which are text files (.txt), ")
  assert found["text"]["score"] == found[trial]["score"]
  expected, = (replica["scores"][trial] for replica in results["replicas"] if trial in replica["scores"])
  np.testing.assert_allclose(found[trial]["score"], expected, rtol=1e-5, atol=1e-6)
  for line in (found[trial]["attention"] | found[trial]["curves"]).values():
    assert line["end"][-1] == pytest.approx(len(recorded) / 30, abs=0.11)                  # half a new row
  assert any("which the run was trained on" in warning for warning in found[trial]["warnings"])     # by other folds


@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_spatial_attention_on_maps_of_trials(tmp_path, trained):
  """The data, and with `-m slow` a run; on one's own maps one is quick in test_main.py."""
  names = jigsaws.write(tmp_path, trials=2, seconds=1.0)
  (tmp_path / "features").mkdir()
  for number, name in enumerate(names):
    maps = np.random.default_rng(number).normal(size=(6, 3, 3, 4)).astype(np.float32)
    np.savez(tmp_path / "features" / f"{name}.npz", rgb=maps, flow=maps)
  shutil.rmtree(tmp_path / "Suturing" / "kinematics")
  config = make_config("spatial_attention", "jigsaws", tmp_path)
  data = load(config.data)
  assert data.streams["maps"].shape == (len(names), 6, 3, 3, 8)
  assert len(data.pairs) and len(data.folds) == 2 and data.videos == tuple(names)
  if not trained:
    return
  results = train.run(config, tmp_path / "run")
  assert set(results["rows"]) == {"spatial_attention", "baseline: RankSVM on mean features"}


def test_pairs_are_made_of_ratings_within_a_task(tmp_path):
  jigsaws.write(tmp_path, trials=3, seconds=1.0, tasks=("Suturing", "Knot_Tying"))
  for system in ("pros_cons", "spatial_attention"):
    data = load(make_config(system, "jigsaws", tmp_path, {"data.task": ""}).data)
    better, worse = data.pairs.T
    assert len(data.pairs) and (data.category[better] == data.category[worse]).all()
    assert (data.score[better] > data.score[worse]).all()
    assert len(data.folds) == 6 and all(len(fold.test_pairs) for fold in data.folds)


def test_a_video_at_another_rate_is_refused(root, tmp_path):
  train.run(make_config("core", "jigsaws,statistics", root), tmp_path / "run")
  recorded = labels_jigsaws.read_kinematics(root / "Suturing/kinematics/AllGestures/Suturing_B001.txt")
  np.save(tmp_path / "slow.npy", recorded[::3])
  ask = lambda **more: assess.run(tmp_path / "run", out=tmp_path / "out", category="suturing",
                                  features=[tmp_path / "slow.npy"], **more, say=lambda line: None)
  _, failed = ask(row_seconds=0.1)
  assert failed["slow"].startswith("its rows of 'kinematics' are 0.1 s apart, those of the training videos 0.03333 to 0.0333")
  assert "--row-seconds" in failed["slow"]


@pytest.mark.parametrize("system,options,fault", [
    ("core", "mtl_aqa,kinematics", "mtl_aqa has no kinematics"), ("pros_cons", "best,statistics", "not best"),
    ("action_net", "fis_v,movement", "variant 'movement' is unknown"), ("skilldiff", "jigsaws,frames", "'frames' is unknown"),
    ("spatial_attention", "jigsaw", "use simulated, features, epic_skills or jigsaws")])
def test_option_that_cannot_be(system, options, fault):
  with pytest.raises(ValueError, match=fault):
    importlib.import_module(f"configs.{system}").get_config(options)


def test_command_line_refuses_what_does_not_fit_into_memory(root, tmp_path, nothing_drawn, monkeypatch, capsys):
  """Every row with every row of trials of 4 s, for a batch that is far too large: terabytes, refused before a step."""
  monkeypatch.chdir(REPO)
  with pytest.raises(SystemExit) as caught:
    main.main(["--config", "configs/skilldiff.py:jigsaws", f"--config.data.dir={root}", "--config.data.task=suturing",
               "--config.data.stream=kinematics", "--config.train.batch_size=500000", "--config.data.split=loso",
               f"--workdir={tmp_path / 'run'}"])
  said = capsys.readouterr().err
  assert caught.value.code == 2 and not (tmp_path / "run").exists(), said
  fault = said[said.rindex("jaxskill: "):]
  assert "one step of training needs about" in fault and len(fault.strip().splitlines()) == 1
  assert "config.data.rows_per_second" in fault and "config.train.batch_size" in fault and "float32[" in fault
