"""How sure answers are, from training to the two commands: of scores and of ranks, with and without what calibrates."""

import json
import re
import types

import numpy as np
import pytest

from jaxskill import compare, data, main, train
from jaxskill.assess import __main__ as assess
from jaxskill.assess import run as ask
from jaxskill.evaluate import conformal, held_out
from jaxskill.report import certainty
from jaxskill.training import finished_run
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("quick_answers", "blank_pictures")


PLAIN = {"plots": False, "train.epochs": 1, "model.with_difficulty": False}


def trained(workdir, config, *options, videos=80):
  """Trains a tiny run by the command, with a validation side; returns its results."""
  main.main(["--config", f"{config}:tiny", "--workdir", str(workdir), "--config.plots=False", "--config.train.epochs=1",
             f"--config.data.simulated.num_videos={videos}", f"--config.data.simulated.num_subjects={videos}",
             "--config.seeds=(0, 1)", *options])
  return json.loads((workdir / "results.json").read_text())


def features(folder, run, count=2):
  """Files of random features as the run reads them; returns their paths."""
  folder.mkdir()
  (stream, about), = finished_run.load(run).about["streams"].items()
  rng, paths = np.random.default_rng(0), [folder / f"{name}.npz" for name in "ab"[:count]]
  for path in paths:
    np.savez(path, **{stream: rng.normal(size=about["shape"]).astype(np.float32)})
  return list(map(str, paths))


def answers(workdir, out, files, *options):
  with pytest.raises(SystemExit) as ended:
    assess.main(["--workdir", str(workdir), "--out", str(out), "--features", *files, *options])
  assert not ended.value.code
  return [json.loads(path.read_text()) for path in sorted(out.glob("*/assessment.json"))]


def compared(workdir, out, files):
  with pytest.raises(SystemExit) as ended:
    compare.main(["--workdir", str(workdir), "--out", str(out), "--features", *files])
  assert not ended.value.code
  return json.loads(next(out.glob("*/comparison.json")).read_text())


def test_scores_have_a_range_and_pairs_of_them_a_probability(tmp_path, capsys):
  run = tmp_path / "run"
  results = trained(run, "configs/usdl.py", "--config.model.with_difficulty=False")
  found, = results["certainty"].values()
  share = found["coverage"]
  assert found["videos"] == share["calibration_videos"] >= 9 and share["videos"] >= 10
  printed = " ".join(capsys.readouterr().out.split())
  assert f"of {share['videos']} test videos {share['hits']} are" in printed and "95 % interval" in printed
  replicas, fold = results["replicas"], finished_run.load(run).held_out
  videos = fold.side[0] == 3
  assert videos.sum() == share["videos"] == len(replicas[0]["scores"])
  said = np.mean([list(replica["scores"].values()) for replica in replicas], axis=0)
  np.testing.assert_allclose(np.sort(fold.score.mean(axis=0)[videos]), np.sort(said), rtol=1e-5)
  files = features(tmp_path / "new", run)
  for level, there in ((0.9, True), (0.8, True), (0.99, False)):
    for one in answers(run, tmp_path / str(level), files, "--level", str(level)):
      assert one["level"] == level and (one["range"] is not None) == there
      if there:
        errors = np.abs(fold.score.mean(axis=0) - fold.label[0])[fold.side[0] == 2]
        width = np.sort(errors)[conformal.rank(level, len(errors)) - 1]
        assert one["range"] == pytest.approx([one["score"] - width, one["score"] + width], rel=1e-4)
        assert "does NOT hold" in one["guarantee"] and f"at least {100 * level:.0f} % of new" in one["guarantee"]
      else:
        assert "needs 99 calibration videos" in one["guarantee"] and "--level up to" in one["guarantee"]
  result = compared(run, tmp_path / "pair", files)
  assert 0.5 <= result["probability"] <= 1 and "test pairs" in result["probability_means"]
  scores = np.array([[model["score"] for model in one["models"]] for one in result["videos"]])
  ahead = (scores[0] - scores[1]).mean() / fold.scale.mean()
  assert result["probability"] == pytest.approx(1 / (1 + np.exp(-found["slope"] * ahead)), rel=1e-5)
  assert "probable that it is" in capsys.readouterr().out


def test_ranks_have_a_probability_alone(tmp_path):
  run = tmp_path / "run"
  found, = trained(run, "configs/whos_better.py")["certainty"].values()
  assert found["coverage"] is None and found["at_least"] is None and found["pairs"] >= 10
  assert 0 <= found["test_pairs"]["right"] <= 1 and found["test_pairs"]["test_pairs"] > 10
  files = features(tmp_path / "new", run)
  one, _ = answers(run, tmp_path / "out", files)
  assert one["range"] is None and one["guarantee"] == "no range: a rank score has no unit"
  assert 0.5 <= compared(run, tmp_path / "pair", files)["probability"] <= 1


def test_folds_in_turn_give_a_range_and_one_fold_alone_none(tmp_path, make_dataset):
  sides = [(np.delete(np.arange(24), test), test) for test in np.arange(24).reshape(4, 6)]
  config = small_config("usdl", "simulated", PLAIN)
  found, = train.run(config, tmp_path / "run", make_dataset(videos=24, folds=sides))["certainty"].values()
  assert found["calibrated_on"] == "out of fold" and found["videos"] == found["coverage"]["videos"] == 24
  files = features(tmp_path / "new", tmp_path / "run", 1)
  one, = answers(tmp_path / "run", tmp_path / "out", files)
  assert one["range"][0] < one["score"] < one["range"][1] and "by proof at least" in one["guarantee"]
  alone, = answers(tmp_path / "run", tmp_path / "alone", files, "--fold", "fold1")
  assert alone["range"] is None and "leave --fold out" in alone["guarantee"]


def test_runs_that_kept_nothing_say_so_in_a_line(tmp_path, make_dataset):
  config = small_config("usdl", "simulated", PLAIN)
  train.run(config, tmp_path / "run", make_dataset(videos=24, folds=((range(14), range(14, 24)),)))
  files = features(tmp_path / "new", tmp_path / "run", 1)
  one, = answers(tmp_path / "run", tmp_path / "out", files)
  assert one["range"] is None and "config.data.validation_share" in one["guarantee"] and "\n" not in one["guarantee"]
  assert one["checkpoint"]["chosen"] == "last"                      # and no other step was chosen
  with pytest.raises(ValueError, match="none of its checkpoints was chosen on validation videos.*leave --checkpoint out"):
    ask(tmp_path / "run", features=files, out=tmp_path / "best", checkpoint="validation", say=lambda line: None)
  path = tmp_path / "run" / finished_run.FILE
  with np.load(path) as file:
    kept = {name: values for name, values in file.items() if not name.startswith("held_out/")}
  np.savez(path, **kept)
  assert finished_run.load(tmp_path / "run").held_out is None
  old, = answers(tmp_path / "run", tmp_path / "old", files)
  assert old["range"] is None and "an older version" in old["guarantee"] and old["score"] == one["score"]
  np.savez(path, **kept, **{"held_out/met": np.zeros((1, 3))})
  with pytest.raises(ValueError, match="is not what training wrote"):
    finished_run.load(tmp_path / "run")


def test_the_option_that_is_advised_keeps_videos_apart():
  """Of simulated data too, and as a share of the training videos."""
  fold = lambda share: data.load(small_config("usdl", "simulated", {"data.validation_share": share}).data).folds[0]
  option = re.search(r"config\.([a-z_.]+)", held_out.KEEP_APART)[1]
  assert option == "data.validation_share" and len(fold(0.0).validation_videos) == 0
  for share in (0.2, 0.4):
    kept, trained = len(fold(share).validation_videos), len(fold(share).train_videos)
    assert kept == round(share * (kept + trained))
  found = dict(level=0.9, calibrated_on="validation videos", videos=4, pairs=3)
  for words in (certainty.why_no_range(found, False), certainty.why_no_probability(found)):
    assert f"a larger config.{option} keeps more apart" in words


def test_the_better_one_by_score_is_the_more_probable_one_whatever_the_units_of_models():
  rng, side = np.random.default_rng(0), np.full((2, 40), held_out.VALIDATION)
  label, scale = rng.normal(size=40), np.array([10.0, 1.0])
  held = held_out.HeldOut(
      score=label * scale[:, None] + rng.normal(size=(2, 40)), label=np.stack([label, label]), side=side,
      fold=np.zeros(2, int), scale=scale, subject=np.full(40, -1), met=side < 0, pairs=np.zeros((0, 2), int))
  run = types.SimpleNamespace(held_out=held)
  scores = np.array([[2.0, 0.0], [1.0, 0.9]])                 # ahead by 1 in a wide unit, behind by 0.9 in a narrow one
  first, second = (certainty.of_pair(run, one, np.arange(2), 0.9, [])["probability"] for one in (scores, scores[::-1]))
  assert first > 0.5 and second == pytest.approx(1 - first)


def test_words_of_what_is_missing():
  found = dict(level=0.975, calibrated_on="validation videos", why_not="", videos=4, pairs=3, folds=1, people=2, new_people=None,
               at_least=None, slope=None, coverage=None, test_pairs=None)
  said = certainty.describe({"a": found, "b": found}, False)
  assert said[0].startswith("range of a, 97.5 %: no range of 97.5 %: it needs 39 calibration videos, there are 4;")
  assert len(said) == 2 and "--level up to 0.8 " in said[0]
  rank, = certainty.describe({"a": found}, True)
  assert "needs 10 pairs of calibration videos, there are 3" in rank
  promised = certainty.promise(found | dict(level=0.5, at_least=0.5))
  assert promised.startswith("at least 50 % of new videos") and "4 validation videos of 2 subject(s)" in promised
  assert "not tested" in promised
  found |= dict(level=0.9, at_least=0.9)
  of_these = certainty.promise(found | dict(new_people=False))
  assert of_these.startswith("at least 90 % of new videos of these people are in their range; nothing is proven for other")
  several = certainty.promise(found | dict(folds=3, at_least=0.7, new_people=False))
  assert "by proof at least 70 %; nothing is proven for other people" in several
  for at_least, words in ((0.7951, "79 %"), (0.57, "57 %"), (0.7999, "79 %"), (1 - 2 * 0.1, "80 %")):
    assert f"by proof at least {words}" in certainty.promise(found | dict(folds=3, at_least=at_least))
  unproven = certainty.promise(found | dict(folds=3, at_least=0.0, new_people=False))
  assert unproven.startswith("meant to hold 90 % of new videos, of which nothing is proven; calibrated on")
