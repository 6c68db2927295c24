"""The table, its numbers, and what a run says about itself."""

import dataclasses
import json
import re
import types

import jax
import numpy as np
import pytest

from jaxskill import files, methods
from jaxskill.evaluate import metrics as evaluate
from jaxskill.evaluate import protocol
from jaxskill.report import plots, results, tables
from jaxskill.training.parallel import Parallel


def replica(fold, seed, last, best, *, validation=None, truth=None, ties=0):
  return dict(row="", fold=fold, seed=seed, last=dict(accuracy=last), best_on_test=dict(accuracy=best),
              validation_selected=validation and dict(accuracy=validation), test_ties=ties, branches=dict(high=last),
              against_truth=truth or {})


def summarize(replicas, metric="accuracy", videos=12, pairs=5):
  """One row, of folds that test other videos each, all of one task; what they predicted is not known."""
  folds = list(dict.fromkeys(r["fold"] for r in replicas))
  sides = [protocol.Side(r["fold"], r["seed"], 0, folds.index(r["fold"]) * videos + np.arange(videos), pairs,
                         labels=np.arange(videos)) for r in replicas]
  result = results.summarize(metric, replicas, sides)
  protocol.show({"": result})
  return result


def cells(text):
  """{row: cell} of a table of one row that is printed downwards."""
  return {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in text.splitlines()[2:-1] if "  " in line}


def test_table_of_one_row():
  replicas = [replica("a", s, last, 1.0, ties=2, truth=dict(spearman_score=r, ap_high=p, chance_high=0.25))
              for s, last, r, p in ((0, 0.5, 0.1, 0.2), (1, 0.75, 0.7, 0.4))]
  text = tables.table({"model": summarize(replicas)}, True)
  assert "SIMULATED" in text.splitlines()[0] and "over folds" not in text
  assert text.splitlines()[-1].startswith("* chosen")
  table = cells(text)
  assert table["last step"] == f"62.5 ± {100 * np.std([0.5, 0.75], ddof=1):.1f}"
  assert table["best on test*"] == "100.0 ± 0.0" and table["validation-selected"] == "-" and table["ties"] == "4"
  fisher = np.tanh(np.mean(np.arctanh([0.1, 0.7])))
  assert table["spearman_score"] == f"{fisher:.3f} ± {np.std([0.1, 0.7], ddof=1):.3f}" and f"{fisher:.3f}" != "0.400"
  assert table["ap_high"] == "0.300 ± 0.141" and table["chance_high"] == "0.250 ± 0.000"


def test_table_of_folds_has_both_spreads_and_no_simulated():
  values = {("a", 0): 0.2, ("a", 1): 0.4, ("b", 0): 0.6, ("b", 1): 0.6}
  replicas = [replica(*place, value, value) for place, value in values.items()]
  text = tables.table({"model": summarize(replicas)}, False)
  assert "SIMULATED" not in text and "over folds" in text
  over_seeds, over_folds = np.std([0.4, 0.5], ddof=1), np.std([0.3, 0.6], ddof=1)
  assert cells(text)["last step"] == f"45.0 ± {100 * over_seeds:.1f} (folds {100 * over_folds:.1f})"


def test_one_number_has_no_spread():
  text = tables.table({"model": summarize([replica("a", 0, 0.5, 0.5)])}, False)
  assert "one seed" in text and "±" not in text and cells(text)["last step"] == "50.0"


def test_what_one_fold_lacks_is_a_dash_in_the_table_and_what_is_no_number_is_called_undefined():
  replicas = [replica("a", 0, 0.5, 0.5), replica("b", 0, 0.5, 0.5, truth=dict(ap_low=0.5, spearman_skill=float("nan")))]
  summary = summarize(replicas)
  table = cells(tables.table({"model": summary}, False))
  assert table["ap_low"] == "-" and table["spearman_skill"] == "-"
  assert json.loads(files.to_json(summary))["against_truth"]["spearman_skill"] is None
  both = [replica(fold, 0, 0.5, 0.5, truth=dict(spearman_skill=value, ap_low=value)) for fold, value in
          (("a", 0.5), ("b", float("nan")))]
  summary = summarize(both)
  table = cells(tables.table({"model": summary}, False))
  assert table["ap_low"] == table["spearman_skill"] == "undefined"
  assert summary["against_truth"]["spearman_skill"]["undefined"] == "all values are equal in fold b"


def test_rows_keep_their_order_and_branches_they_lack_are_dashes():
  uniform = replica("a", 0, 0.5, 0.5) | dict(branches=dict(uniform=0.5))
  text = tables.table({"z": summarize([replica("a", 0, 0.25, 0.5)]), "a": summarize([uniform])}, False)
  header, first, second = map(str.split, text.splitlines()[1:4])
  assert first == ["last", "step", "25.0", "50.0"] and header == ["row", "z", "a"]         # downwards: few rows
  assert "high branch" in text and cells(text)["high branch"].split() == ["25.0", "-"]
  many = tables.table({name: summarize([uniform]) for name in "zxyba"}, False)
  assert [line.split()[0] for line in many.splitlines()[1:7]] == ["row", *"zxyba"]
  assert second[0] == "validation-selected"


def scored(fold, seed, rho, *, best=None, validation=None, draws=None, few=0):
  metrics = lambda rho: dict(step=1, spearman=rho, pearson=rho, rl2=0.01 * (1 - rho), mae=3 * (1 - rho))
  result = dict(row="", fold=fold, seed=seed, last=metrics(rho), best_on_test=best and metrics(best),
                validation_selected=validation and metrics(validation), against_truth={})
  if draws:
    result |= dict(draws=dict(metrics=[metrics(r) for r in draws], std=dict(spearman=float(np.std(draws, ddof=1)))))
  return result | (dict(test_videos_with_fewer_exemplars=few, encodings=dict(ours=9, both_sides_of_comparisons=40)) if draws else {})


def columns_of(text):
  """{row: {column: cell}} of a table of named rows."""
  rows = [re.split(r"\s{2,}", line) for line in text.splitlines()[1:] if "  " in line]
  return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def test_table_of_scores():
  """Correlations by Fisher's z, R-l2 times 100, the spread over draws, baselines without what they have not."""
  models = [scored("a", s, rho, best=0.9, validation=0.5, draws=(0.5, 0.6), few=2) for s, rho in ((0, 0.2), (1, 0.8))]
  baseline = [scored(fold, 0, rho) for fold, rho in (("a", 0.1), ("b", 0.3))]
  flat = [scored("a", 0, float("nan"))]
  rows = {name: summarize(replicas, "spearman") for name, replicas in (
      ("core", models), ("baseline: ridge", baseline), ("baseline: mean score", flat))}
  text = tables.table(rows, False)
  assert text.splitlines()[0] == ("Spearman's correlation on test videos (mean over seeds by Fisher's z), mean ± standard "
                                  "deviation over seeds (and over folds)")
  table = columns_of(text)
  fisher = np.tanh(np.mean(np.arctanh([0.2, 0.8])))
  spread = np.std([0.2, 0.8], ddof=1)
  assert table["core"] == {
      "last step": f"{fisher:.3f} ± {spread:.3f}", "validation-selected": "0.500 ± 0.000",
      "best on test*": "0.900 ± 0.000", "± over draws": f"{np.std([0.5, 0.6], ddof=1):.3f}",
      "Pearson": f"{fisher:.3f} ± {spread:.3f}", "R-l2 x 100": f"0.500 ± {spread:.3f}",
      "mean abs. error": f"1.500 ± {3 * spread:.3f}"}
  fisher = np.tanh(np.mean(np.arctanh([0.1, 0.3])))
  assert table["baseline: ridge"]["last step"] == f"{fisher:.3f} (folds {np.std([0.1, 0.3], ddof=1):.3f})"
  assert [table["baseline: ridge"][n] for n in ("validation-selected", "best on test*", "± over draws")] == ["-"] * 3
  assert table["baseline: mean score"]["last step"] == table["baseline: mean score"]["mean abs. error"] == "undefined"
  assert "\nundefined: predictions are equal (baseline: mean score)\n" in text
  assert "* chosen on the test videos themselves" in text
  assert text.splitlines()[-2] == "2 test video(s) had fewer exemplars than were asked for; all that there are voted"
  assert text.splitlines()[-1].endswith("9 videos, each once; both sides of every comparison of a test video would be 40")


def test_one_seed_has_a_spread_over_draws_alone():
  text = tables.table({"core": summarize([scored("a", 0, 0.5, draws=(0.5, 0.6))], "spearman")}, False)
  assert text.splitlines()[0].endswith("one seed") and "± over draws" in text


def test_table_of_scores_without_draws_or_shortage():
  text = tables.table({"mlp": summarize([scored("a", 0, 0.5)], "spearman")}, True)
  assert "over draws" not in text and "fewer exemplars" not in text and "one seed, SIMULATED" in text
  once = scored("a", 0, 0.5, draws=(0.5, 0.5)) | dict(draws=dict(metrics=[{}], std=dict(spearman=None)))
  assert "over draws" not in tables.table({"core": summarize([once], "spearman")}, True)
  once["draws"]["std"]["spearman"] = float("nan")
  text = tables.table({"core": summarize([once], "spearman")}, True)
  assert "± over draws" in text and "nan" not in text


def test_json_is_strict_and_written_whole(tmp_path):
  path = tmp_path / "results.json"
  files.save_json(path, dict(a=np.nan, b=np.float32(0.5), c=(np.int32(3), np.inf), d=dict(e=np.bool_(True))))
  assert json.loads(path.read_text()) == dict(a=None, b=0.5, c=[3, None], d=dict(e=True))
  with pytest.raises(TypeError):
    files.save_json(path, dict(a=object()))
  assert json.loads(path.read_text())["b"] == 0.5 and [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_provenance_does_not_take_a_strangers_repository_for_ours(monkeypatch, tmp_path):
  made = files.provenance(Parallel(2))
  assert made["devices"] == [f"{d.platform}: {d.device_kind}" for d in jax.devices()[:2]]
  assert made["versions"]["jax"] == jax.__version__
  package = tmp_path / "environment" / "site-packages" / "jaxskill"
  package.mkdir(parents=True)
  files.subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
  monkeypatch.setattr(files, "__file__", str(package / "files.py"))
  asked = []
  monkeypatch.setattr(files.subprocess, "run", lambda *a, **k: asked.append(a))
  assert files.provenance(Parallel(1))["git_revision"] == "" and not asked


def test_curves_leave_out_what_was_not_measured(tmp_path):
  entries = [dict(step=4, steps_per_second=1.0, accuracy=[0.5, 0.6], loss=[2.0, 4.0], disparity=[1.0, None]),
             dict(step=5, steps_per_second=1.0, accuracy=[0.5, None], loss=[1.0, None], disparity=[None, None])]
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries))
  history = [dict(step=5, replicas=[dict(test=0.5, validation=float("nan"))] * 2)]
  trainer = types.SimpleNamespace(metric="accuracy", method=types.SimpleNamespace(items=methods.PAIRS),
                                  dataset=types.SimpleNamespace(simulated=True))
  left, right = plots._curves(tmp_path, history, trainer).axes             # pylint: disable=protected-access
  drawn = {line.get_label(): np.ma.asarray(line.get_ydata()) for line in left.lines}
  np.testing.assert_allclose(drawn["loss"], [3.0, 1.0])
  assert drawn["disparity"][0] == 1.0 and drawn["disparity"].mask[1]
  assert [line.get_label() for line in right.lines] == ["training pairs, as drawn", "test pairs"]


def test_tested_videos_hold_those_that_training_saw():
  pairs = np.array([(0, 1), (2, 3), (0, 4)])
  fold = types.SimpleNamespace(test_videos=np.array([5]), test_pairs=np.array([2]))
  assert evaluate.tested_videos(types.SimpleNamespace(pairs=pairs), fold).tolist() == [0, 4, 5]


def test_attention_of_each_stream_is_drawn_in_its_own_seconds(make_dataset, monkeypatch):
  data = make_dataset()
  data = dataclasses.replace(
      data, streams=dict(rgb=data.streams["rgb"], static=np.zeros((11, 20, 3), np.float32)),
      lengths=dict(rgb=np.full(11, 12, np.int32), static=np.full(11, 20, np.int32)),
      row_seconds=dict(rgb=np.full(11, 3.0), static=np.full(11, 1.5)), truth=dict(posture_error=np.ones((11, 20), bool)))
  of = {"rgb attention": "rgb", "static attention": "static"}
  rng = np.random.default_rng(0)
  assessments = methods.Assessment(score=data.score[None], attention={
      "rgb attention": rng.uniform(size=(1, 11, 2, 12)), "static attention": rng.uniform(size=(1, 11, 1, 20))})
  trainer = types.SimpleNamespace(dataset=data, replicas=[types.SimpleNamespace(fold=0)],
                                  metric="spearman", method=types.SimpleNamespace(stream_of=of.get, meanings={}))
  figure = plots._attention(trainer, assessments)
  assert len(figure.axes) == 4
  for axis, (stream, end, shaded) in zip(figure.axes, [("rgb", 33.0, 0), ("static", 28.5, 1)] * 2):
    curve = axis.lines[0]
    assert curve.get_label() == f"{stream} attention" and curve.get_xdata()[-1] == end
    assert len(axis.collections) == shaded
  plots.plt.close(figure)
