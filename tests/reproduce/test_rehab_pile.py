"""All sets of Rehab-Pile by one command, on made-up files of its form."""

import csv

import numpy as np
import pytest

from jaxskill import train
from jaxskill.reproduce import rehab_pile
from tests import rehab_pile as made

USDL = "--config", "configs/usdl.py:rehab_pile"                # compiles quickly


def run(folder, *options):
  rehab_pile.main([str(folder / "data"), "--out", str(folder / "out"), "--tiny", *options])


def test_all_sets_by_one_command(tmp_path, capsys, monkeypatch, quick_training):
  del quick_training
  made.write_archive(tmp_path / "data")
  (tmp_path / "data/classification/KINECAL_clf_bn_GGFV/info.json").unlink()
  with pytest.raises(SystemExit) as status:
    run(tmp_path, *USDL)
  said = capsys.readouterr().out
  assert status.value.code == 1 and "KINECAL_clf_bn_GGFV could not be used: " in said.splitlines()[-1]
  assert "info.json: is missing" in said and "are not there: SPHERE_clf_bn_WUS" in said
  with (tmp_path / "out/folds.csv").open(newline="") as file:
    lines = list(csv.DictReader(file))
  assert {line["set"] for line in lines} == {"KIMORE_reg_Sq", "KERAAL_clf_mc_CTK"}
  assert {line["fold"] for line in lines} == {"fold0", "fold1", "fold2"}

  def of(name, who, metric):
    return [float(line["value"]) for line in lines
            if line["value"] and (line["set"], line["who"], line["metric"]) == (name, who, metric)]
  assert np.mean(of("KIMORE_reg_Sq", rehab_pile.RIDGE, "MAE")) < 0.5 * np.mean(of("KIMORE_reg_Sq", rehab_pile.MEAN, "MAE"))
  assert np.mean(of("KERAAL_clf_mc_CTK", rehab_pile.RIDGE, "accuracy")) > 0.6
  assert of("KERAAL_clf_mc_CTK", rehab_pile.MOST, "balanced accuracy") == pytest.approx([1 / 3] * 3)
  assert len(of("KIMORE_reg_Sq", "usdl", "RMSE")) == len(of("KERAAL_clf_mc_CTK", "usdl", "balanced accuracy")) == 3
  table = (tmp_path / "out/table.md").read_text()
  assert table.count("\n| KERAAL_clf_mc_CTK | 18 | 3 | 3 |") == 3 and "| KIMORE_reg_Sq | 18 | 3 | usdl |" in table

  monkeypatch.setattr(train, "run", lambda *_: pytest.fail("trained again"))         # finished ones are read
  run(tmp_path, *USDL, "--set", "KIMORE_reg_Sq", "--set", "KERAAL_clf_mc_CTK")
  assert (tmp_path / "out/table.md").read_text() == table


def test_of_two_classes_the_last_is_learnt(tmp_path):
  config, dataset = rehab_pile.of_set(rehab_pile.configure("configs/skilldiff.py:rehab_pile", 2, []),
                                      made.write_archive(tmp_path), "KINECAL_clf_bn_GGFV")
  assert config.data.criteria == ("class 1",) and config.model.score_ranges.to_dict() == {"class 1": (0.0, 1.0)}
  assert config.data.points == ((0, 1), (2, 3), (4, 5)) and config.seeds == (0, 1)
  folds = [dict(fold=fold.name, seed=seed, criterion="class 1", scores={
      dataset.videos[v]: dataset.criteria["class 1"][v] + 0.4 * seed - 0.3 for v in fold.test_videos})
           for fold in dataset.folds for seed in (0, 1)]
  found = rehab_pile.measure(dict(replicas=folds, rows={}, config=dict(name="skilldiff")), dataset, "GGFV")
  assert found.rows["skilldiff"] == {"accuracy": [1.0] * 3, "balanced accuracy": [1.0] * 3, "AUC": [1.0] * 3}
  assert found.rows[rehab_pile.MOST]["AUC"] == [0.5] * 3 and rehab_pile.RIDGE not in found.rows


def test_mistakes_end_with_status_2(tmp_path, capsys):
  made.write_archive(tmp_path / "data")
  for options, why in ((["--set", "Squat"], "no set 'Squat' here"), (["--seeds", "0"], "is no number of seeds"),
                       (["--config", "configs/pros_cons.py:rehab_pile"], "predicts scores"),
                       (["--config", "configs/core.py:features"], "reads rehab_pile")):
    with pytest.raises(SystemExit) as status:
      run(tmp_path, *options)
    assert status.value.code == 2 and why in capsys.readouterr().err


def test_metrics_are_what_they_say():
  found = rehab_pile.measure_scores(np.array([1., 2, 3]), dict(score=np.array([1., 4, 3])))
  assert found == dict(MAE=2 / 3, RMSE=pytest.approx((4 / 3) ** 0.5), Spearman=0.5)
  labels, names = np.array([0, 0, 0, 1]), ["class a", "class b"]
  found = rehab_pile.measure_classes(labels, names, {"class b": np.array([.1, .2, .6, .55])})
  assert found == {"accuracy": 0.75, "balanced accuracy": pytest.approx(5 / 6), "AUC": pytest.approx(2 / 3)}
  found = rehab_pile.measure_classes(np.array([0, 0]), names, {"class b": np.array([.1, .7])})
  assert found["balanced accuracy"] == 0.5 and np.isnan(found["AUC"])                     # of one class no order
  said = {"class a": np.array([.5, .1]), "class b": np.array([.2, .3]), "class c": np.array([.4, .6])}
  found = rehab_pile.measure_classes(np.array([0, 1]), [*said], said)
  assert found["accuracy"] == found["balanced accuracy"] == 0.5
  assert rehab_pile.shown([1.0, None, 3.0]) == "2.000 ± 1.414 (2 of 3 folds)" and rehab_pile.shown([None]) == "-"
