"""The real command line where scores are learnt: configs/core.py and its table, from labels to results.

A start costs seconds, so a run serves several tests, and the others run in this process; pairs, signals and damage are
in test_main.py.
"""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxskill import ablations, train
from jaxskill.data.simulation import like_published
from jaxskill.data.simulation import simulated as simulated_data
from jaxskill.evaluate import metrics
from tests import commands
from tests.places import REPO, SHARED

SMALL = ["--config.model.hidden=8", "--config.model.num_leaves=8", "--config.train.batch_size=16",
         "--config.train.steps_per_call=5"]
SIMULATED = [*SMALL, "--config.data.simulated.num_videos=60", "--config.data.simulated.num_segments=10",
             "--config.data.simulated.width=8", "--config.seeds=(0,1)"]
TRAINED = ["--config.train.epochs=60", "--config.train.learning_rate=3e-3", "--config.train.eval_steps=30"]
BASELINES = ["baseline: mean score", "baseline: difficulty only", "baseline: duration only",
             "baseline: ridge on mean features"]
TRUTHS = ("spearman_", "ap_", "chance_", "alignment_", "linear_", "kendall_")
METRICS = {"Pearson": ("pearson", 1), "R-l2 x 100": ("rl2", 100), "mean abs. error": ("mae", 1)}


def results(workdir):
  return json.loads((workdir / "results.json").read_text())


def table_of(out):
  """The last printed table, {row: {column: cell}}."""
  body = out[out.rindex("Spearman's correlation"):].splitlines()[1:]
  rows = [re.split(r"\s{2,}", line) for line in body[: next(i for i, line in enumerate(body) if line[:1] == "*")]]
  return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]}


def assert_every_printed_number_is_saved(table, rows):
  """Cells are means and spreads of `rows`, those of the results."""
  def text(summary, factor):
    if summary is None or summary["mean"] is None:
      return "-" if summary is None else "undefined"
    show = lambda x: f"{factor * x:.3f}"
    return (show(summary["mean"]) + (f" ± {show(summary['std_seeds'])}" if summary["std_seeds"] is not None else "")
            + (f" (folds {show(summary['std_folds'])})" if summary["std_folds"] is not None else "")
            + " !" * summary["marked"])
  assert list(table) == list(rows)
  for name, cells in table.items():
    row = rows[name]
    titles = {"last step": "last", "validation-selected": "validation_selected", "best on test*": "best_on_test"}
    expected = {title: text(row["spearman"][key], 1) for title, key in titles.items()}
    if "± over draws" in cells:
      expected["± over draws"] = f"{row['std_draws']:.3f}" if "std_draws" in row else "-"
    expected |= {title: text(row["metrics"][key], factor) for title, (key, factor) in METRICS.items()}
    expected |= {title: text(row["against_truth"].get(title), 1) for title in row["against_truth"].keys() | {
        title for title in cells if title.startswith(TRUTHS)}}
    assert cells == expected, name


def assert_images(workdir, *names):
  assert {path.name for path in workdir.glob("*.png")} == set(names)
  for name in names:
    pixels = np.asarray(Image.open(workdir / name).convert("L"))
    assert min(pixels.shape) > 300 and 0.005 < (pixels < 200).mean() < 0.5, f"{name} is blank"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory, without_torch):
  """The default path, in a process of its own: (workdir, stdout)."""
  workdir = tmp_path_factory.mktemp("simulated") / "run"
  command = [sys.executable, "-m", "jaxskill.main", "--config", "configs/core.py", *SIMULATED, *TRAINED, "--workdir",
             str(workdir)]
  done = subprocess.run(command, cwd=REPO, env=commands.environment(without_torch, tmp_path_factory.mktemp("home")),
                        text=True, capture_output=True, timeout=300, check=False)
  code, out, err = done.returncode, done.stdout, done.stderr
  assert code == 0, err
  assert not [line for line in err.splitlines() if "Warning" in line and "jaxskill" in line]
  return workdir, out


def test_simulated_performances(simulated):
  workdir, out = simulated
  saved, table = results(workdir), table_of(out)
  assert list(table) == ["core", *BASELINES] and "SIMULATED" in out
  assert_every_printed_number_is_saved(table, saved["rows"])
  assert_images(workdir, "training.png", "scores.png", "distribution.png")
  fold = saved["audit"]["folds"][0]
  assert saved["steps"] % 30 == 0 and saved["protocol"] | dict(rl2_range="class", draws=5) == saved["protocol"]
  assert saved["tested"] and saved["protocol"]["folds"][0]["test"]["videos"] == fold["test_videos"] == 15
  for replica in saved["replicas"]:
    assert len(replica["scores"]) == len(replica["spread over exemplars"]) == fold["test_videos"]
    for levels in replica["distribution"].values():
      assert [len(p) for p in levels.values()] == [2, 4, 8]
      for p, finer in zip([[1.0], *levels.values()], levels.values()):
        np.testing.assert_allclose(np.reshape(finer, (-1, 2)).sum(axis=1), p, atol=1e-4)
    assert len(replica["draws"]["metrics"]) == 5
    assert replica["draws"]["metrics"][0]["spearman"] == pytest.approx(replica["last"]["spearman"])
    of_draws = [m["mae"] for m in replica["draws"]["metrics"]]
    assert replica["draws"]["std"]["mae"] == pytest.approx(np.std(of_draws, ddof=1))
  for path in re.findall(r"^(?:wrote|     ) (\S+)$", out, re.M):
    assert pathlib.Path(path).exists()


def test_fewer_exemplars_than_asked_for_are_counted(simulated):
  """60 performances in four routines: no routine has ten on the training side but for one."""
  workdir, out = simulated
  few = results(workdir)["rows"]["core"]["test_videos_with_fewer_exemplars"]
  assert few > 0 and f"{few} test video(s) had fewer exemplars than were asked for; all that there are voted" in out


@pytest.mark.slow
def test_run_started_again_prints_the_same_table(here, simulated):
  """One of pairs does so quickly, in test_main.py."""
  workdir, out = simulated
  before = results(workdir)
  code, again, err = here("configs/core.py", *SIMULATED, *TRAINED, "--workdir", workdir)
  assert code == 0, err
  assert f"resumed from step {before['steps']}" in again and table_of(again) == table_of(out)
  for key in ("rows", "replicas", "params_sha256"):
    assert results(workdir)[key] == before[key], key


def test_own_features_and_two_criteria(here, tmp_path):
  """Each criterion is a replica that learns its own score, here a channel of the features of its own."""
  rng = np.random.default_rng(0)
  table = {f"v{i}": rng.uniform(0, 10, 2) for i in range(40)}
  lines = ["video,score,criterion.style,category"]
  for i, (video, (score, style)) in enumerate(table.items()):
    features = rng.normal(size=(rng.integers(3, 7), 6)) * 0.3
    features[:, 0] += score
    features[:, 1] += style
    np.save(tmp_path / f"{video}.npy", features.astype(np.float32))
    lines.append(f"{video},{score},{style},{'ab'[i % 2]}")
  (tmp_path / "scores.csv").write_text("\n".join(lines))
  workdir = tmp_path / "run"
  code, out, err = here("configs/core.py:features", *SMALL, f"--config.data.dir={tmp_path}", "--workdir", workdir,
                        "--config.data.criteria=('score','style')", "--config.train.epochs=80",
                        "--config.train.learning_rate=1e-2")
  assert code == 0, err
  saved, printed = results(workdir), table_of(out)
  baselines = [name for name in BASELINES if name != "baseline: difficulty only"]
  assert list(printed) == ["score", "style", *(f"{name}, {criterion}" for criterion in ("score", "style")
                                               for name in baselines)]
  assert_every_printed_number_is_saved(printed, saved["rows"])
  assert "SIMULATED" not in out and not saved["simulated"]
  for replica, column in zip(saved["replicas"], (0, 1), strict=True):
    true = [table[video][column] for video in replica["scores"]]
    predicted = list(replica["scores"].values())
    assert len(true) == 10 and replica["last"]["spearman"] == pytest.approx(metrics.spearman(predicted, true))
    assert metrics.spearman(predicted, true) > 0.5
    other = [table[video][1 - column] for video in replica["scores"]]
    assert abs(metrics.spearman(predicted, other)) < metrics.spearman(predicted, true)


def test_mtl_aqa(here, tmp_path):
  """The published labels and simulated features: counts of the paper's protocol, and one vote of ten at most."""
  labels = SHARED / "data" / "annotations" / "MTL-AQA"
  if not labels.is_dir():
    pytest.skip(f"there are no published labels at {labels}; set JAXSKILL_SHARED to the folder above data/annotations")
  code, _, err = here(None, "--like", labels, "--out", tmp_path / "made", "--width", 6, program=like_published.main)
  assert code == 0, err
  workdir = tmp_path / "run"
  code, out, err = here("configs/core.py:mtl_aqa", *SMALL, f"--config.data.dir={tmp_path / 'made'}",
                        "--config.train.epochs=1", "--config.train.batch_size=256", "--workdir", workdir)
  assert code == 0, err
  saved, table = results(workdir), table_of(out)
  assert (saved["audit"]["videos"], saved["audit"]["missing_videos"]) == (1412, [])
  fold, = saved["audit"]["folds"]
  assert (fold["train_videos"], fold["test_videos"]) == (1059, 353)
  assert saved["rows"]["core"]["test_videos_with_fewer_exemplars"] == 14
  assert saved["rows"]["core"]["encodings"] == dict(ours=1412, both_sides_of_comparisons=6908)
  assert table["baseline: difficulty only"]["last step"] == "0.560"
  assert_every_printed_number_is_saved(table, saved["rows"])
  assert saved["simulated"] and "simulated features for mtl_aqa" in out and "one seed" in out
  assert_images(workdir, "training.png", "scores.png", "distribution.png")


TABLE = """
from jaxskill.cli import beside

ROWS = "regression MLP", "MLP with exemplars"

def get_config():
  config = beside({beside!r}, "core_ablations").get_config()
  config.rows, config.row_order = {{name: config.rows[name] for name in ROWS}}, ROWS
  return config
"""


def test_table_of_the_paper(here, tmp_path):
  """Some rows, in the order of the tables however they are grouped, baselines once and last."""
  workdir, config = tmp_path / "run", tmp_path / "some_rows.py"
  config.write_text(TABLE.format(beside=str(REPO / "configs" / "core.py")))
  code, out, err = here(config, *SIMULATED, "--config.train.epochs=3", "--config.plots=False", "--workdir", workdir)
  assert code == 0, err
  table, saved = table_of(out), json.loads((workdir / "table.json").read_text())
  rows = ["regression MLP", "MLP with exemplars"]
  machines = [f"baseline: linear SVR on {pooled} features" for pooled in ("mean", "max")]
  assert list(table) == [*rows, *BASELINES, *machines]
  assert_every_printed_number_is_saved(table, saved["rows"])
  assert (workdir / "table.txt").read_text().strip() in out
  assert table["regression MLP"]["± over draws"] == "-"
  assert table["MLP with exemplars"]["± over draws"] != "-"
  for folder in ("regression_MLP", "MLP_with_exemplars"):
    assert {r["seed"] for r in results(workdir / folder)["replicas"]} == {0, 1}


SKILLDIFF = ["--config.data.simulated.num_videos=40", "--config.data.simulated.num_segments=10",
             "--config.data.simulated.width=8", "--config.model.hidden=8", "--config.model.width=4",
             "--config.model.directions=4", "--config.model.head_hidden=3", "--config.model.head_outputs=2",
             "--config.model.segments=4", "--config.model.exemplars.count=3", "--config.train.epochs=3",
             "--config.train.batch_size=16", "--config.train.steps_per_call=2", "--config.seeds=(0,1)"]


def test_skilldiff(here, tmp_path):
  """Segments in seconds, the alignment to each reference, measures against the truth."""
  workdir = tmp_path / "run"
  code, out, err = here("configs/skilldiff.py", *SKILLDIFF, "--workdir", workdir)
  assert code == 0, err
  saved, table = results(workdir), table_of(out)
  assert list(table) == ["skilldiff", *(name for name in BASELINES if name != "baseline: difficulty only")]
  assert {"ap_faulty", "chance_faulty", "alignment_error_s", "linear_error_s", "kendall_alignment", "kendall_linear",
          "spearman_skill"} <= table["skilldiff"].keys() and "SIMULATED" in out
  assert_every_printed_number_is_saved(table, saved["rows"])
  assert_images(workdir, "training.png", "scores.png", "alignment.png")
  made = simulated_data.simulate(**saved["config"]["data"]["simulated"])
  number = {video: i for i, video in enumerate(made.videos)}
  train_videos = set(made.folds[0].train_videos)
  for replica in saved["replicas"]:
    count = saved["audit"]["folds"][0]["test_videos"]
    assert len(replica["scores"]) == len(replica["segments"]) == len(replica["alignment"]) == count
    for video, score in replica["scores"].items():
      segments, seconds = replica["segments"][video], float(made.row_seconds["rgb"][number[video]])
      assert segments[0]["start"] == 0 and segments[-1]["end"] == pytest.approx(10 * seconds) and len(segments) == 4
      assert all(a["end"] == b["start"] for a, b in zip(segments, segments[1:]))
      assert sum(s["importance"] for s in segments) == pytest.approx(1, abs=1e-4) and 0 <= score <= 100
      for reference, places in replica["alignment"][video].items():
        r = number[reference]
        assert r in train_videos and made.category[r] == made.category[number[video]]
        assert len(places) == 10 and places[0] < places[-1]
        assert 0 < min(places) and max(places) < 10 * made.row_seconds["rgb"][r]
        assert places == [round(place, 3) for place in places]


@pytest.mark.slow
def test_skilldiff_started_again_prints_the_same_table(here, tmp_path):
  workdir = tmp_path / "run"
  code, out, err = here("configs/skilldiff.py", *SKILLDIFF, "--workdir", workdir)
  assert code == 0, err
  saved = results(workdir)
  code, again, err = here("configs/skilldiff.py", *SKILLDIFF, "--workdir", workdir)
  assert code == 0, err
  assert f"resumed from step {saved['steps']}" in again and table_of(again) == table_of(out)
  assert results(workdir)["replicas"] == saved["replicas"]


def test_skilldiff_table(load_config):
  """Table 2; rows that differ in loss weights alone are one program."""
  made = ablations.groups(load_config("skilldiff_ablations"))
  assert [[row for row, _ in group.weight_rows] for group in made] == [
      ["direct regression"], ["DTW alignment"], ["single head"], ["multi-head"],
      ["SkillDiff", "no contrastive term", "no ranking loss"], ["random references"], ["linear time"], ["aligned as drawn"]]
  assert [(group.model.differences, group.model.alignment, group.model.heads, group.model.segments, group.model.directions > 0,
           group.model.exemplars.choose) for group in made] == [
      ("none", "linear", 4, 1, True, "best"), ("rows", "soft", 4, 1, True, "best"), ("heads", "soft", 1, 1, True, "best"),
      ("heads", "soft", 4, 1, True, "best"), ("heads", "soft", 4, 8, True, "best"), ("heads", "soft", 4, 8, True, "random"),
      ("heads", "linear", 4, 8, True, "best"), ("heads", "soft", 4, 8, False, "best")]
  assert made[0].weight_rows == (("direct regression", {"alignment": 0.0}),)
  assert [weights for _, weights in made[4].weight_rows] == [{}, {"contrastive": 0.0}, {"ranking": 0.0}]
  for group in made:
    train.check(group)


@pytest.mark.slow
def test_loss_weights_of_skilldiff_are_those_of_the_row(load_config, quick_training, tmp_path):
  config = load_config("skilldiff_ablations", changes={
      "data.simulated.num_videos": 30, "train.epochs": 1, "seeds": (0,), "plots": False, "model.exemplars.count": 2,
      "model.width": 4, "model.directions": 4, "model.head_hidden": 2, "model.head_outputs": 2})
  group = ablations.groups(config)[4]
  rows = train.run(group, tmp_path / "run")["rows"]
  assert list(rows)[:3] == ["SkillDiff", "no contrastive term", "no ranking loss"]
  line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
  assert line["contrastive"][1] == 0 and min(line["contrastive"][::2]) > 0
  assert line["ranking"][2] == 0 and min(line["ranking"][:2]) > 0


HEADER = "video,score,split\n"
FAULTS = {
    "lonely": ("video,score,category,split\na,1,x,train\nb,2,x,train\nc,3,y,test\n", {},
               r"there is no exemplar of category y among the training videos for video 'c' \(1 such videos\)"),
    "equal": (HEADER + "a,2,train\nb,2,train\nc,3,test\n", {}, r"all training scores are equal \(2\)"),
    "no difficulty": (HEADER + "a,1,train\nb,2,train\nc,3,test\n", {"model.with_difficulty": True},
                      r"config\.model\.with_difficulty needs the difficulty of every video"),
    "zero difficulty": ("video,score,difficulty,split\na,1,2,train\nb,2,0,train\nc,3,2,test\n",
                        {"model.with_difficulty": True, "model.exemplars.same": ()},
                        "video 'b' has difficulty 0; it must be positive to divide by"),
    "no scores": (None, {}, r"there are no scores to learn from; add them \(scores.csv\), or use a method that learns"),
    "no features": (HEADER + "a,1,train\nb,2,train\nz,3,test\n", {},
                    "1 of 3 videos are in the pairs or scores but not on disk: 'z'"),
    "not a number": (HEADER + "a,1,train\nb,good,train\nc,3,test\n", {},
                     r"scores\.csv, line 3: score 'good' of video 'b' is not a finite number"),
    "no test side": (HEADER + "a,1,train\nb,2,train\nc,3,train\n", {}, "fold 'given' has no test videos"),
    "range of R-l2": (HEADER + "a,1,train\nb,2,train\nc,3,test\n", {"evaluate.rl2_range": "all"},
                      r"config\.evaluate\.rl2_range='all' is unknown; use one of class, test"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_bad_labels_are_refused_before_a_workdir_is_made(load_config, tmp_path, name):
  table, changes, message = FAULTS[name]
  folder = tmp_path / "features"
  folder.mkdir()
  for video in "abc":
    np.save(folder / f"{video}.npy", np.full((3, 4), ord(video), np.float32))
  (folder / ("pairs.csv" if table is None else "scores.csv")).write_text(
      table or "better,worse,split\nb,a,train\nc,b,test\n")
  config = load_config("core", "features", {"data.dir": str(folder), "data.validation_share": 0.0} | changes)
  with pytest.raises(ValueError, match=message):
    train.run(config, tmp_path / "deep" / "run")
  assert not (tmp_path / "deep").exists()


def test_bad_labels_are_one_message(here, tmp_path):
  for video in "abc":
    np.save(tmp_path / f"{video}.npy", np.ones((3, 4), np.float32))
  (tmp_path / "scores.csv").write_text(HEADER + "a,2,train\nb,2,train\nc,3,test\n")
  code, _, err = here("configs/core.py:features", f"--config.data.dir={tmp_path}", "--config.data.validation_share=0",
                      "--workdir", tmp_path / "run")
  assert code == 2 and not (tmp_path / "run").exists()
  assert err.startswith(f"\njaxskill: {tmp_path}: fold 'given': all training scores are equal (2)")
  assert len(err.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name,options,rows", [
    ("AQA-7", "aqa7", ["skilldiff"]), ("Fis-V_and_MIT-Skate", "fis_v", ["tes", "pcs"])])
def test_skilldiff_on_published_labels(load_config, quick_training, tmp_path, name, options, rows):
  """Six classes are six folds with ranges and references of their own; two criteria have their own best videos.

  The two criteria are trained in reproduce/test_reproduce.py, too, and folds with references of their own in
  test_recordings.py.
  """
  labels = SHARED / "data" / "annotations" / name
  if not labels.is_dir():
    pytest.skip(f"there are no published labels at {labels}; set JAXSKILL_SHARED to the folder above data/annotations")
  of_two = dict(name="fis_v") if options == "fis_v" else {}
  like_published.write_like(labels, tmp_path / "made", num_segments=4, width=6, **of_two)
  config = load_config("skilldiff", options, {
      "data.dir": str(tmp_path / "made"), "train.epochs": 1, "train.batch_size": 64, "plots": False, "model.width": 4,
      "model.exemplars.count": 2, "model.directions": 4, "model.head_hidden": 2, "model.head_outputs": 2})
  saved = train.run(config, tmp_path / "run")
  assert saved["audit"]["missing_videos"] == [] and saved["simulated"] and list(saved["rows"])[: len(rows)] == rows
  for row in rows:
    assert saved["rows"][row]["metrics"]["mae"]["count"] == len(saved["audit"]["folds"])
    assert saved["rows"][row]["test_videos_with_fewer_exemplars"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name,options,task,folds", [
    ("BEST", "best", "tie_tie", 1), ("EPIC-Skills", "epic_skills", "drawing", 4)])
def test_skilldiff_on_published_pairs(load_config, quick_training, tmp_path, name, options, task, folds):
  """By the ranking loss and the alignment alone, with references of the sub-task of either video.

  A run on pairs is quick in methods/test_skilldiff.py, of labels of BEST in reproduce/test_reproduce.py.
  """
  labels = SHARED / "data" / "annotations" / name
  if not labels.is_dir():
    pytest.skip(f"there are no published labels at {labels}; set JAXSKILL_SHARED to the folder above data/annotations")
  like_published.write_like(labels, tmp_path / "made", num_segments=4, width=6)
  config = load_config("skilldiff", options, {
      "data.dir": str(tmp_path / "made"), "data.task": task, "train.epochs": 1, "train.batch_size": 64, "plots": False,
      "model.width": 4, "model.exemplars.count": 2, "model.directions": 4, "model.head_hidden": 2, "model.head_outputs": 2})
  saved = train.run(config, tmp_path / "run")
  assert len(saved["replicas"]) == folds and saved["simulated"] and saved["rows"]["skilldiff"]["accuracy"]["last"]["mean"] > 0
  for replica in saved["replicas"]:
    assert {r.rpartition("/")[0] == video.rpartition("/")[0] for video, references in replica["alignment"].items() for r in references} == {True}


@pytest.mark.slow
@pytest.mark.parametrize("name,options,task,folds", [("AQA-7", "aqa7,official", "gym_vault", 1),
                                                     ("JIGSAWS", "jigsaws", "suturing", 4)])
def test_published_labels(load_config, quick_training, tmp_path, name, options, task, folds):
  """Those of MTL-AQA are quick above, of JIGSAWS in reproduce/test_reproduce.py."""
  labels = SHARED / "data" / "annotations" / name
  if not labels.is_dir():
    pytest.skip(f"there are no published labels at {labels}; set JAXSKILL_SHARED to the folder above data/annotations")
  like_published.write_like(labels, tmp_path / "made", num_segments=4, width=6)
  config = load_config("core", options, {
      "data.dir": str(tmp_path / "made"), "data.task": task, "train.epochs": 1, "train.batch_size": 8, "plots": False,
      "model.num_leaves": 4, "evaluate.draws": 2})
  saved = train.run(config, tmp_path / "run")
  assert saved["audit"]["missing_videos"] == [] and len(saved["replicas"]) == folds and saved["simulated"]
  # All lengths are equal.
  assert list(saved["rows"]) == ["core", "baseline: mean score", "baseline: ridge on mean features"]
  assert saved["rows"]["core"]["test_videos_with_fewer_exemplars"] == 0
  assert saved["rows"]["core"]["metrics"]["mae"]["count"] == folds


@pytest.mark.slow
def test_kinematics_of_one_surgical_task(load_config, quick_training, tmp_path):
  """JIGSAWS as its authors publish it, made up: ratings and kinematics, no features and no folds.

  Of another task and surgeons quickly in test_small_data.py.
  """
  folder, rng = tmp_path / "jigsaws" / "Knot_Tying", np.random.default_rng(0)
  (folder / "kinematics" / "AllGestures").mkdir(parents=True)
  lines = []
  for surgeon in "BCD":
    for number, rating in enumerate((1, 3, 5), 1):
      trial = f"Knot_Tying_{surgeon}00{number}"
      lines.append(f"{trial}\t\tN\t{6 * rating}" + f"\t{rating}" * 6)
      rows = rng.normal(rating, 1, (20 + number, 76))
      np.savetxt(folder / "kinematics" / "AllGestures" / f"{trial}.txt", rows, "%.6f", delimiter="    ")
  (folder / "meta_file_Knot_Tying.txt").write_text("\n".join(lines))
  config = load_config("core", "jigsaws", {
      "data.dir": str(folder.parent), "data.task": "knot_tying", "data.stream": "kinematics", "data.split": "loso",
      "data.standardize": True, "train.epochs": 1, "train.batch_size": 8, "plots": False, "model.num_leaves": 4})
  saved = train.run(config, tmp_path / "run")
  assert [fold["name"] for fold in saved["audit"]["folds"]] == ["trial_001", "trial_002", "trial_003"]
  assert [fold["test_videos_of_training_subjects"] for fold in saved["audit"]["folds"]] == [3, 3, 3]
  assert len(saved["replicas"]) == 3 and saved["rows"]["core"]["metrics"]["mae"]["count"] == 3
