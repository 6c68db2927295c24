"""The real command line, end to end: what a user types, what is printed and what is left on disk.

A start costs seconds, so runs are shared between tests, and a command whose process is not the point runs in this one;
what needs no command line is in test_train.py.
"""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from jaxskill import main
from jaxskill.data.simulation import like_published
from tests import commands
from tests.places import REPO, SHARED

CONFIG = "configs/pros_cons.py"
SMALL = ["--config.model.hidden=8", "--config.train.batch_size=16", "--config.train.steps_per_call=4"]
SIMULATED = [*SMALL, "--config.data.simulated.num_videos=16", "--config.data.simulated.num_segments=10",
             "--config.data.simulated.width=8", "--config.train.eval_steps=20", "--config.train.checkpoint_steps=40"]
LONG = [*SIMULATED, "--config.train.epochs=120"]            # 360 steps: long enough to be killed in the middle
STEPS = 360


@pytest.fixture(scope="module")
def environment(tmp_path_factory, without_torch):
  return commands.environment(without_torch, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def start(environment):
  """Starts `jaxskill.main` and returns the process; what still runs at the end is killed."""
  started = []

  def start(config, *arguments, module="jaxskill.main", **more):
    command = [sys.executable, "-m", module, *(["--config", config] if config else []), *map(str, arguments)]
    process = subprocess.Popen(command, cwd=REPO, env=environment | more, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    started.append(process)
    return process

  yield start
  for process in started:
    if process.poll() is None:
      process.kill()
      process.wait()


@pytest.fixture(scope="module")
def run(start):
  """Runs `jaxskill.main` to its end; returns (exit code, stdout, stderr)."""
  def run(*arguments, **more):
    process = start(*arguments, **more)
    return finish(process)
  return run


def finish(process):
  out, err = process.communicate(timeout=180)
  return process.returncode, out, err


def results(workdir):
  return json.loads((workdir / "results.json").read_text())


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def steps_of(path):
  return [entry["step"] for entry in lines(path)]


def table_of(out):
  """The printed table, {row: cells}."""
  body = re.search(r"^Pairwise accuracy.*?\n(.*?)^\* chosen", out, re.M | re.S)[1]
  return {re.split(r"\s{2,}", line)[0]: re.split(r"\s{2,}", line.strip())[1:] for line in body.splitlines()[1:]}


def text_of(summary, factor=1, digits=3):
  """A printed number; one of few test videos is marked, and has no spread."""
  spread = f" ± {factor * summary['std_seeds']:.{digits}f}" if summary["std_seeds"] is not None else ""
  return f"{factor * summary['mean']:.{digits}f}" + spread + " !" * summary["marked"]


def wait_for(condition, process, seconds=120):
  end = time.monotonic() + seconds
  while not condition():
    if process.poll() is not None:
      raise AssertionError(f"ended too early: {process.communicate()}")
    assert time.monotonic() < end
    time.sleep(0.005)


def write_folder(folder, scores, *, width=8, rows=(6, 9), seed=0):
  """A folder of one's own features: `{video: score}`, better videos have larger numbers."""
  rng = np.random.default_rng(seed)
  folder.mkdir(exist_ok=True)
  for video, score in scores.items():
    features = rng.standard_normal((rng.integers(*rows), width)).astype(np.float32)
    np.save(folder / f"{video}.npy", features + np.float32(score))
  return folder


def pair_rows(scores, split):
  names = sorted(scores, key=scores.get, reverse=True)
  return [f"{better},{worse},{split}" for i, better in enumerate(names) for worse in names[i + 1:]]


@pytest.fixture(scope="module")
def whole(run, environment, tmp_path_factory):
  """The default path on simulated data, uninterrupted: (workdir, stdout, stderr).

  It would end where anything imports TensorFlow Datasets, which is slow and needed to prepare published data alone.
  """
  folder = tmp_path_factory.mktemp("whole")
  workdir = folder / "new" / "run"
  (folder / "tensorflow_datasets.py").write_text("raise SystemExit('this command imports tensorflow_datasets')\n")
  code, out, err = run(CONFIG, *LONG, "--workdir", workdir, PYTHONWARNINGS="default",
                       PYTHONPATH=os.pathsep.join([str(folder), environment["PYTHONPATH"]]))
  assert code == 0, err
  return workdir, out, err


def test_default_run_prints_every_row_and_every_printed_number_is_in_the_results(whole):
  workdir, out, _ = whole
  assert "SIMULATED" in out
  table, saved = table_of(out), results(workdir)
  assert list(table) == ["last step", "validation-selected", "best on test*", "high branch", "low branch",
                         "uniform branch", "ties", "spearman_score", "kendall_score", "spearman_skill", "ap_high",
                         "chance_high", "ap_low", "chance_low"]
  row = saved["rows"]["pros_cons"]
  percent, plain = lambda s: text_of(s, 100, 1), text_of
  assert list(saved["rows"]) == ["pros_cons", "baseline: duration only"]
  expected = [percent(row["accuracy"][name]) for name in ("last", "validation_selected", "best_on_test")]
  expected += [percent(row["branches"][name]) for name in ("high", "low", "uniform")] + [str(row["test_ties"])]
  expected += [plain(row["against_truth"][name]) for name in list(table)[7:]]
  assert [cells[0] for cells in table.values()] == expected
  folds = re.search(r"fold simulated: (\d+) training / (\d+) validation / (\d+) test", out)
  fold = saved["audit"]["folds"][0]
  assert list(map(int, folds.groups())) == [fold["train_pairs"], fold["validation_pairs"], fold["test_pairs"]]
  assert f"{STEPS} steps of 16 pairs" in out and saved["steps"] == STEPS


def test_default_run_says_how_it_came_about(whole):
  workdir, out, _ = whole
  saved = results(workdir)
  assert saved["simulated"] and saved["config"]["train"]["epochs"] == 120
  assert saved["config"] == json.loads((workdir / "config.json").read_text())
  assert {"jax", "jaxlib", "flax", "optax", "numpy", "python", "jaxskill"} <= set(saved["versions"])
  assert saved["devices"] == ["cpu: cpu"] and saved["hosts"] == 1
  assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|", saved["git_revision"])
  assert bool(saved["git_revision"]) == (REPO / ".git").exists()
  assert re.fullmatch("[0-9a-f]{64}", saved["params_sha256"])
  audit = saved["audit"]
  assert audit["videos"] == 16 and audit["missing_videos"] == [] and audit["pairs"] > 50
  scores = saved["replicas"][0]["scores"]
  assert len(scores) == audit["folds"][0]["test_videos"] and np.isfinite(list(scores.values())).all()
  for path in re.findall(r"^(?:wrote|     ) (\S+)$", out, re.M):
    assert pathlib.Path(path).exists()
  assert str(workdir / "results.json") in out and str(workdir / "attention.png") in out


def test_default_run_leaves_curves_plots_and_events(whole):
  workdir, _, _ = whole
  assert steps_of(workdir / "metrics.jsonl") == list(range(4, STEPS + 1, 4))
  assert steps_of(workdir / "evaluations.jsonl") == list(range(20, STEPS + 1, 20))
  assert all(np.isfinite(entry["loss"]).all() for entry in lines(workdir / "metrics.jsonl"))
  assert {p.name for p in workdir.glob("*.png")} == {"training.png", "attention.png"}
  for path in workdir.glob("*.png"):
    with Image.open(path) as image:
      image.verify()
    pixels = np.asarray(Image.open(path).convert("L"))
    assert min(pixels.shape) > 300 and 0.005 < (pixels < 200).mean() < 0.5, f"{path.name} is blank"
  assert sum(p.stat().st_size for p in (workdir / "tensorboard").glob("events.out.tfevents.*")) > 1000
  assert not list(workdir.glob("*.tmp"))


def test_default_run_is_quiet(whole):
  _, _, err = whole
  assert "Unable to initialize backend" not in err
  assert not [line for line in err.splitlines() if "Warning" in line and "jaxskill" in line]


def test_finished_run_started_again_prints_the_same_table_and_does_not_train(here, whole):
  workdir, out, _ = whole
  before, log = results(workdir), (workdir / "metrics.jsonl").read_bytes()
  code, again, err = here(CONFIG, *LONG, "--workdir", workdir)
  assert code == 0, err
  assert f"resumed from step {STEPS}" in again
  assert table_of(again) == table_of(out)
  after = results(workdir)
  assert (workdir / "metrics.jsonl").read_bytes() == log
  assert steps_of(workdir / "evaluations.jsonl") == list(range(20, STEPS + 1, 20))
  for key in ("params_sha256", "rows", "replicas", "audit", "config"):
    assert after[key] == before[key], key


def test_killed_and_damaged_run_ends_in_the_same_parameters(start, run, whole, tmp_path):
  """SIGKILL at a random moment, then a damaged checkpoint: nothing of it shows in the end.

  Nor of SIGTERM: `test_train.py`, and of two hosts `test_several_hosts.py`; what is said of it is below, with a table.
  """
  workdir = tmp_path / "run"
  command = (CONFIG, *LONG, "--config.plots=False", "--workdir", workdir)
  log, checkpoints = workdir / "metrics.jsonl", workdir / "checkpoints"
  numbered = lambda: sorted(int(p.name) for p in checkpoints.glob("*") if p.name.isdigit())

  process = start(*command)
  wait_for(lambda: len([step for step in numbered() if step]) > 1, process)
  time.sleep(random.uniform(0, 0.1))
  process.kill()
  process.wait()

  previous, newest = numbered()[-2:]
  assert 0 < previous < newest < STEPS
  files = sorted((p for p in (checkpoints / str(newest)).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
  files[-1].write_bytes(files[-1].read_bytes()[: files[-1].stat().st_size // 2])
  code, out, err = run(*command)
  assert code == 0, err
  assert f"resumed from step {previous}" in out
  assert str(checkpoints / str(newest)) in err and "damaged" in err
  assert (checkpoints / "damaged" / str(newest)).is_dir()
  assert steps_of(log) == list(range(4, STEPS + 1, 4))
  assert steps_of(workdir / "evaluations.jsonl") == list(range(20, STEPS + 1, 20))
  assert results(workdir)["params_sha256"] == results(whole[0])["params_sha256"]
  assert results(workdir)["rows"] == results(whole[0])["rows"]
  assert table_of(out) == table_of(whole[1])


def test_ctrl_c_before_the_loop_leaves_no_traceback(start, tmp_path):
  process = start(CONFIG, *LONG, "--workdir", tmp_path / "run")
  wait_for(lambda: (tmp_path / "run" / "config.json").exists(), process)        # or in it, on a fast machine
  process.send_signal(signal.SIGINT)
  code, _, err = finish(process)
  assert code in (128 + signal.SIGINT, -signal.SIGINT) and "Traceback" not in err, err


def test_own_folder_of_features_and_pairs(here, tmp_path):
  rng = np.random.default_rng(1)
  train = {f"train_{i}": s for i, s in enumerate(rng.uniform(0, 3, 8))}
  test = {f"sub/test_{i}": s for i, s in enumerate(rng.uniform(0, 3, 5))}
  folder = tmp_path / "features"
  (folder / "sub").mkdir(parents=True)
  write_folder(folder, train | test)
  rows = ["better,worse,split", *pair_rows(train, "train"), *pair_rows(test, "test")]
  (folder / "pairs.csv").write_text("\n".join(rows))
  workdir = tmp_path / "run"
  code, out, err = here(f"{CONFIG}:features", *SMALL, f"--config.data.dir={folder}", "--config.train.epochs=40",
                        "--config.data.validation_share=0", "--config.plots=False", "--workdir", workdir)
  assert code == 0, err
  assert "SIMULATED" not in out and not results(workdir)["simulated"]
  table = table_of(out)
  assert table["validation-selected"] == ["-", "-"]
  assert "\n! 5 test videos are too few for a claim" in out and "models and baselines train on 28 pairs of 8 videos" in out
  assert float(table["last step"][0].split()[0]) >= 80       # the features are the scores, plus noise
  assert results(workdir)["audit"]["folds"][0]["test_pairs"] == 10
  saved = results(workdir)["replicas"][0]["scores"]
  names = sorted(test, key=test.get, reverse=True)
  right = [saved[better] > saved[worse] for i, better in enumerate(names) for worse in names[i + 1:]]
  assert np.mean(right) == pytest.approx(results(workdir)["rows"]["pros_cons"]["accuracy"]["last"]["mean"])


def test_best_layout_made_by_the_simulator(here, tmp_path):
  splits = tmp_path / "annotations" / "splits" / "tie_tie"
  splits.mkdir(parents=True)
  sides = dict(train=[f"a/{i}" for i in range(8)], test=[f"b/{i}" for i in range(5)])
  for side, videos in sides.items():
    (splits / f"{side}.txt").write_text("".join(f"{v} {w}\n" for i, v in enumerate(videos) for w in videos[i + 1:]))
    (splits / f"{side}_vid_list.txt").write_text("".join(f"{v}\n" for v in videos))
  made = tmp_path / "best"
  code, _, err = here(None, "--like", tmp_path / "annotations", "--out", made, "--segments", 8, "--width", 8,
                      program=like_published.main)
  assert code == 0, err
  (made / "features" / "b" / "4_rgb.npz").unlink()             # an incomplete download
  workdir = tmp_path / "run"
  code, out, err = here(f"{CONFIG}:best,official", *SMALL, f"--config.data.dir={made}", "--config.data.task=tie_tie",
                        "--config.train.epochs=2", "--config.plots=False", "--workdir", workdir)
  assert code == 0, err
  saved = results(workdir)
  assert saved["audit"]["missing_videos"] == ["b/4"] and "missing videos: 1 (b/4)" in out
  assert saved["simulated"] and saved["data"] == "simulated features for best/tie_tie" and "SIMULATED" in out
  assert saved["config"]["variant"] == "official" and saved["protocol"]["ties"] == "wrong"
  assert saved["audit"]["folds"][0]["test_pairs"] == 6 and len(saved["replicas"][0]["scores"]) == 4


NARROW = ["--config.model.channels=8", "--config.model.hidden=8", "--config.model.attention_hidden=8",
          "--config.model.head_hidden=8", "--config.train.steps_per_call=8", "--config.train.eval_steps=16"]


def test_action_net_on_simulated_performances(here, tmp_path):
  workdir = tmp_path / "run"
  code, out, err = here("configs/action_net.py", *NARROW, "--config.data.simulated.num_videos=24",
                        "--config.data.simulated.num_segments=10", "--config.data.simulated.width=8",
                        "--config.data.simulated.static_rows=9", "--config.data.simulated.static_width=6",
                        "--config.model.windows.rgb=8", "--config.model.windows.static=0", "--config.train.epochs=30",
                        "--config.seeds=(0, 1)", "--config.data.criteria=('execution', 'total')", "--workdir", workdir)
  assert code == 0, err
  assert "4 models (" in out and " parameters, 30 steps of 32 videos" in out and "SIMULATED" in out
  saved = results(workdir)
  for row in ("execution", "total", "baseline: ridge on mean features, total", "baseline: duration only, execution"):
    assert row in saved["rows"] and f"\n{row} " in out
  for title in ("last step", "ap_key_moment", "chance_key_moment", "ap_posture_error", "chance_posture_error"):
    assert title in out
  assert [(r["criterion"], r["seed"]) for r in saved["replicas"]] == [
      ("execution", 0), ("execution", 1), ("total", 0), ("total", 1)]
  for replica in saved["replicas"]:
    assert all(0 <= score <= 100 for score in replica["scores"].values()) and len(replica["scores"]) == 6
    assert 0 <= replica["against_truth"]["ap_posture_error"] <= 1
  assert {p.name for p in workdir.glob("*.png")} == {"training.png", "attention.png", "scores.png"}
  assert steps_of(workdir / "metrics.jsonl") == [8, 16, 24, 30]


RG = SHARED / "data/annotations/RhythmicGymnastics"


@pytest.mark.skipif(not RG.exists(), reason=f"the labels of Rhythmic Gymnastics are not at {RG}")
def test_rhythmic_gymnastics_with_its_labels_and_simulated_features(here, tmp_path):
  made, workdir = tmp_path / "rg", tmp_path / "run"
  code, _, err = here(None, "--like", RG, "--out", made, "--task", "ball", "--segments", 12, "--width", 8,
                      "--static-rows", 10, "--static-width", 6, program=like_published.main)
  assert code == 0, err
  command = ["configs/action_net.py:rhythmic_gymnastics,official", *NARROW, f"--config.data.dir={made}",
             "--config.data.task=ball",
             "--config.model.windows.rgb=10", "--config.train.epochs=4", "--config.plots=False", "--workdir", workdir]
  code, out, err = here(*command)
  assert code == 2 and not workdir.exists() and out.count("\n") < 10
  assert f"{made}: stream 'rgb' has 8 channels, not config.model.widths.rgb=1024; extract the features as pub" in err
  command += ["--config.model.widths.rgb=0", "--config.model.widths.static=0"]
  code, out, err = here(*command)
  assert code == 0, err
  saved = results(workdir)
  assert saved["simulated"] and saved["data"] == "simulated features for rhythmic_gymnastics/ball"
  assert [(f["train_videos"], f["test_videos"]) for f in saved["audit"]["folds"]] == [(200, 50)]
  assert [r["criterion"] for r in saved["replicas"]] == ["difficulty", "execution", "total"] and saved["steps"] == 4 * 7
  assert saved["config"]["model"]["padding"] == "zeros"           # 80 frames are shown of the 10 that there are
  for replica in saved["replicas"]:
    assert len(replica["scores"]) == 50 and all(0 <= score <= 25 for score in replica["scores"].values())
    assert np.isfinite(replica["last"]["mae"])


def test_spatial_attention_on_own_maps(here, tmp_path):
  """A folder of maps of two tasks learnt together, whose frames are at hand to draw on."""
  rng, folder, workdir = np.random.default_rng(0), tmp_path / "maps", tmp_path / "run"
  folder.mkdir()
  lines = ["video,score,category,split"]
  for i in range(16):
    count = 5 + i % 3
    np.savez(folder / f"v{i}.npz", rgb=rng.normal(size=(count, 4, 4, 3)), flow=rng.normal(size=(count, 4, 4, 3)),
             times=0.5 * np.arange(count), frames=rng.integers(0, 255, (count, 20, 30, 3), np.uint8))
    lines.append(f"v{i},{i // 2},{'cut' if i % 2 else 'sew'},{'test' if i % 8 > 4 else 'train'}")
  (folder / "scores.csv").write_text("\n".join(lines))
  command = ["configs/spatial_attention.py:features", f"--config.data.dir={folder}", "--config.model.filters=4",
             "--config.data.pairs_within=category", "--config.data.validation_share=0", "--config.model.channels=4",
             "--config.model.hidden=4", "--config.model.attention_hidden=4", "--config.train.epochs=2",
             "--config.train.steps_per_call=2", "--workdir", workdir]
  code, out, err = here(*command)
  assert code == 2 and not workdir.exists()
  assert f"{folder}: video 'v0' has maps of 5 frames, fewer than config.model.segments=25 (16 such videos)" in err
  code, out, err = here(*command, "--config.model.segments=4", "--config.data.device_budget=0")
  assert code == 0, err
  assert "features streamed" in out and "baseline: RankSVM on mean features" in out
  assert re.search("^row +spatial_attention ", out, re.M)
  saved = results(workdir)
  assert saved["audit"]["categories"] == 2 and saved["audit"]["pairs"] == 2 * 28
  assert list(saved["rows"]) == ["spatial_attention", "baseline: duration only", "baseline: RankSVM on mean features"]
  assert saved["replicas"][0]["against_truth"].keys() == {"spearman_score", "kendall_score"}
  with np.load(workdir / "maps.npz") as maps:
    assert maps["attention"].shape == (1, 6, 4, 4, 4) and maps["videos"].tolist() == [f"v{i}" for i in range(16) if i % 8 > 4]
    np.testing.assert_allclose(maps["attention"].sum(axis=(3, 4)), 1, atol=1e-4)
    for video, seconds in zip(maps["videos"], maps["attention_seconds"]):
      count = 5 + int(video[1:]) % 3
      np.testing.assert_allclose(seconds, 0.5 * (count * np.arange(1, 5) // 4 - 1))
  assert {p.name for p in workdir.glob("*.png")} == {"training.png", "maps.png"}
  with Image.open(workdir / "maps.png") as image:
    assert image.width > 500 and len(image.convert("RGB").getcolors(1 << 24)) > 100


def test_not_finite_loss_stops_with_the_step_and_leaves_the_last_checkpoint(here, tmp_path):
  workdir = tmp_path / "run"
  code, out, err = here("configs/whos_better.py", *SIMULATED, "--config.seeds=(0,)", "--config.train.learning_rate=1e38",
                        "--workdir", workdir)
  assert code == 2, err
  message = re.search(r"jaxskill: the loss is not finite at step (\d+) \(fold simulated, seed 0\)", err)
  assert message and 1 < int(message[1]) <= 8
  assert "Traceback" not in err and not (workdir / "results.json").exists()
  assert (workdir / "checkpoints" / "0").is_dir()               # test_train.py reads it


FLAGS = {
    "unknown field": ([CONFIG, "--config.train.nonsense=1"], "config.train has no field 'nonsense', only alternation,"),
    "unknown group": ([CONFIG, "--config.trian.epochs=1"], "config has no field 'trian', only data"),
    "field of a value": ([CONFIG, "--config.seeds.x=1"], "config.seeds has no field 'x'"),
    "not a number": ([CONFIG, "--config.train.epochs=abc"], "--config.train.epochs=abc: invalid literal for int()"),
    "unknown data set": ([f"{CONFIG}:nonsense"], "data set 'nonsense' is unknown; use simulated, features, best"),
    "unknown variant": ([f"{CONFIG}:best,offcial"], "variant 'offcial' is unknown; use kinematics, statistics, tiny, paper or"),
    "no config": ([None], "the following arguments are required: --config"),
    "no such config": (["configs/nothing.py"], "--config=configs/nothing.py: No such file"),
    "unknown flag": ([CONFIG, "--wokdir=x"], "unknown option '--wokdir=x'"),
    "stray word": ([CONFIG, "train"], "unknown word 'train'"),
}


def test_faults_of_the_command_line(start, tmp_path):
  workdir = tmp_path / "run"
  processes = {name: start(*arguments, "--workdir", workdir) for name, (arguments, _) in FLAGS.items()}
  for name, process in processes.items():
    code, out, err = finish(process)
    assert code == 2, name
    assert FLAGS[name][1] in out + err, name
    assert "Traceback" not in out + err, name
    assert len(err.splitlines()) < 10, name
  assert not workdir.exists()


def test_bad_features_are_one_message_and_no_workdir(here, tmp_path):
  folder = write_folder(tmp_path / "features", {"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0})
  (folder / "c.npy").unlink()
  (folder / "c.npz").write_bytes(b"PK\x03\x04 cut short")
  (folder / "pairs.csv").write_text("better,worse,split\nb,a,train\nd,c,test\n")
  workdir = tmp_path / "deep" / "run"
  code, out, err = here(f"{CONFIG}:features", f"--config.data.dir={folder}", "--workdir", workdir)
  assert code == 2 and not workdir.parent.exists()
  assert err.startswith(f"\njaxskill: {folder / 'c.npz'}: cannot be read") and len(err.strip().splitlines()) == 1
  assert out == ""


def test_batch_that_does_not_split_over_the_devices(capsys, monkeypatch, tmp_path):
  """The eight of the tests."""
  workdir = tmp_path / "run"
  code, _, err = commands.run_here(main.main, capsys, monkeypatch, "--config", CONFIG, *SIMULATED,
                                   "--config.train.batch_size=12", "--workdir", workdir)
  assert code == 2 and not workdir.exists()
  if "8 devices" in err:                                        # not where they run on an accelerator
    assert err == ("\njaxskill: config.train.batch_size=12 does not split over 8 devices; use a multiple of 8, "
                   "e.g. 16.\n")


@pytest.mark.slow
def test_one_device_of_eight_has_the_bits_of_one_alone(run, environment, whole, tmp_path):
  eight = environment["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
  code, out, err = run(CONFIG, *LONG, "--config.devices=1", "--workdir", tmp_path, XLA_FLAGS=eight)
  assert code == 0 and "on 1 cpu device," in out, err
  assert results(tmp_path)["params_sha256"] == results(whole[0])["params_sha256"]


@pytest.mark.slow
def test_a_run_of_two_devices_that_was_killed_goes_on_on_two(start, run, tmp_path):
  whole, killed = tmp_path / "whole", tmp_path / "killed"
  brief = [CONFIG, *SIMULATED, "--config.plots=False", "--config.train.epochs=40", "--config.train.eval_steps=400"]
  process = start(*brief, "--config.devices=2", "--workdir", killed)
  wait_for(lambda: sum(path.name.isdigit() for path in killed.glob("checkpoints/*")) > 1, process)
  process.kill()
  finish(process)
  code, out, err = run(*brief, "--workdir", killed)
  assert code == 0 and "resumed from step" in out and "on 2 cpu devices" in out, err
  assert run(*brief, "--config.devices=2", "--workdir", whole)[0] == 0
  first, second = results(whole), results(killed)
  assert first["params_sha256"] == second["params_sha256"] and second["config"]["devices"] == 2


TABLE = '''
import importlib.util

def get_config():
  spec = importlib.util.spec_from_file_location("base", {base!r})
  base = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(base)
  config = base.get_config()
  config.name, config.plots, config.seeds = "tiny_table", False, (0, 1)
  config.data.simulated.update(num_videos=16, num_segments=10, width=8)
  config.model.hidden = 8
  config.train.update(batch_size=16, epochs=60, steps_per_call=4, eval_steps=20, checkpoint_steps=40)
  rows = {{"zero": {{"loss": {{"weights": {{"similar": 0.0}}}}}}, "halves": {{"model": {{"parts": 2}}}}, "a whole row": {{}}}}
  config.rows, config.row_order = rows, tuple(rows)
  return config
'''


def test_interrupted_table_goes_on(start, here, tmp_path):
  """Of a method that compiles quickly, which is not the point."""
  config, workdir = tmp_path / "table.py", tmp_path / "run"
  config.write_text(TABLE.format(base=str(REPO / "configs/whos_better.py")))
  process = start(config, "--workdir", workdir)
  log = workdir / "zero" / "metrics.jsonl"
  wait_for(lambda: log.exists() and log.stat().st_size, process)
  process.send_signal(signal.SIGTERM)
  code, out, err = finish(process)
  assert code == 128 + signal.SIGTERM and "Traceback" not in err, err
  stopped = re.search(r"stopped by a signal at step (\d+) of \d+; the same command goes on", out)
  assert stopped and int(stopped[1]) == steps_of(log)[-1] and (workdir / "zero" / "checkpoints" / stopped[1]).is_dir()
  assert not (workdir / "table.json").exists() and not (workdir / "halves").exists()
  code, out, err = here(config, "--workdir", workdir)
  assert code == 0, err
  assert f"resumed from step {stopped[1]}" in out and "== zero, a whole row" in out
  last = out[out.rindex("Pairwise accuracy"):]
  names = [line.split("  ")[0] for line in last.splitlines()[2:6]]      # in the order given, whichever program they ran in
  assert names == ["zero", "halves", "a whole row", "baseline: duration only"]
  saved = json.loads((workdir / "table.json").read_text())
  assert saved["simulated"] and list(saved["rows"]) == names
  assert (workdir / "table.txt").read_text().strip() in out
  for line, name in zip(last.splitlines()[2:6], names):
    summary = saved["rows"][name]["accuracy"]["last"]
    assert summary["count"] == (1 if name.startswith("baseline") else 2)
    assert re.split(r"\s{2,}", line)[1] == text_of(summary, 100, 1)
  merged, alone = (results(workdir / folder) for folder in ("zero", "halves"))
  assert [list(one["rows"])[:-1] for one in (merged, alone)] == [["zero", "a whole row"], ["halves"]]
  assert {r["seed"] for r in merged["replicas"]} == {0, 1} and len(merged["replicas"]) == 4
