"""Training from config to results in this process: data sets of every kind, and everything that must be refused."""

import errno
import json
import os
import signal
import threading

import jax
import numpy as np
import pytest

from jaxskill import data, train
from jaxskill.data.simulation import like_published
from jaxskill.evaluate import metrics
from jaxskill.training import finished_run, replicas
from jaxskill.training.checkpoints import Checkpoints
from jaxskill.training.parallel import Parallel
from tests.known_programs import Known
from tests.places import SHARED

KNOWN = Known()
PAIRS = "whos_better"              # compiles quickly


@pytest.fixture(autouse=True)
def one_device(monkeypatch, quick_compile):
  """And one set of compiled functions for all runs of a config: a run that is started again traces nothing anew."""
  del quick_compile
  monkeypatch.setattr(train, "Parallel", lambda _: Parallel(1))
  KNOWN.patch(monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def forget():
  yield
  KNOWN.made.clear()


@pytest.fixture
def small(load_config):
  """small(options, {field: value}, system) -> a config that trains in a second and draws nothing."""
  def small(options="simulated", changes=None, system="pros_cons"):
    return load_config(system, options, {"plots": False, "train.eval_steps": 8, "train.checkpoint_steps": 8}
                       | (changes or {}))
  return small


def lines(path):
  return [json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) for line in
          path.read_text().splitlines()]


def write_folder(folder, scores, table, *, width=5, seed=0):
  """Features that are each video's score plus noise, and `table` = (file name, lines)."""
  rng = np.random.default_rng(seed)
  folder.mkdir(parents=True, exist_ok=True)
  for video, score in scores.items():
    np.save(folder / f"{video}.npy", rng.standard_normal((rng.integers(3, 7), width)).astype(np.float32) + score)
  name, rows = table
  (folder / name).write_text("\n".join(rows) + "\n")
  return folder


def write_splits(root, files):
  for name, rows in files.items():
    path = root / "splits" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
  return root


def ordered(videos):
  return [f"{better} {worse}" for i, better in enumerate(videos) for worse in videos[i + 1:]]


def tree(folder):
  return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_same_parameters_other_seed_others(small, tmp_path):
  first, again, other = (train.run(small(changes={"seeds": (seed,)}), tmp_path / str(i))["params_sha256"]
                         for i, seed in enumerate((3, 3, 4)))
  assert first == again != other


def test_workdir_of_another_config_is_refused_and_left_alone(small, tmp_path):
  workdir = tmp_path / "run"
  train.run(small(), workdir)
  before = tree(workdir)
  with pytest.raises(ValueError) as caught:
    train.run(small(changes={"train.learning_rate": 0.5, "seeds": (7,)}), workdir)
  message = str(caught.value)
  assert f"{workdir} holds a run of another config" in message and "Use another --workdir" in message
  assert "config.train.learning_rate is 0.01 there and 0.5 here" in message
  assert "config.seeds is [0] there and [7] here" in message and "batch_size" not in message and "\n" not in message
  assert tree(workdir) == before


def test_stopped_run_resumes_although_lines_were_cut_or_lost(small, tmp_path, monkeypatch):
  config = small(changes={"train.epochs": 6})
  whole = train.run(config, tmp_path / "whole")

  class StopAtOnce(train.StopSignal):
    def __enter__(self):
      super().__enter__().number = signal.SIGTERM
      return self

  workdir = tmp_path / "run"
  with monkeypatch.context() as patch:
    patch.setattr(train, "StopSignal", StopAtOnce)
    for _ in range(2):
      with pytest.raises(train.Stopped) as stopped:
        train.run(config, workdir)
      assert stopped.value.code == 143
  with (workdir / "metrics.jsonl").open("a") as file:
    file.write('{"step": 12, "loss": [1.0]}\n{"step": 16, "lo')     # written after the checkpoint; cut short by a kill
  (workdir / "evaluations.jsonl").write_text("")
  resumed = train.run(config, workdir)
  steps = [entry["step"] for entry in lines(workdir / "metrics.jsonl")]
  assert steps == [2] + [e["step"] for e in lines(tmp_path / "whole" / "metrics.jsonl")]      # stopped within a line
  assert resumed["params_sha256"] == whole["params_sha256"]
  assert whole["cost"]["steps"] == [0, whole["steps"]] and resumed["cost"]["steps"] == [4, whole["steps"]]
  assert resumed["cost"]["parameters"] == whole["cost"]["parameters"] > 0
  assert sum(whole["cost"]["seconds"].values()) == pytest.approx(whole["seconds"])
  assert min(whole["cost"]["seconds"].values()) > 0 < whole["cost"]["step"]["flops"]
  (workdir / "evaluations.jsonl").unlink()
  assert train.run(config, workdir)["rows"]["pros_cons"]["accuracy"]["last"] == whole["rows"]["pros_cons"]["accuracy"]["last"]


def test_lost_evaluations_change_no_selected_result(small, tmp_path):
  """The history of evaluations is part of the checkpoint; the file is a copy of it."""
  config = small(changes={"train.epochs": 24, "seeds": (0, 1)}, system=PAIRS)
  whole = train.run(config, tmp_path / "run")
  path = tmp_path / "run" / "evaluations.jsonl"
  content = path.read_text()
  best = whole["replicas"][0]["validation_selected"]["step"]
  kept = [line for line in content.splitlines(keepends=True) if f'"step": {best},' not in line]
  assert len(kept) > 1 and best < whole["steps"]
  for damaged in ("".join(kept), content.replace("0.", "1."), content[:100], None):
    path.unlink() if damaged is None else path.write_text(damaged)
    if damaged is None:
      (tmp_path / "run" / "metrics.jsonl").unlink()
    again = train.run(config, tmp_path / "run")
    assert again["rows"] == whole["rows"] and again["replicas"] == whole["replicas"]
    assert path.read_text() == content


def test_a_second_run_is_refused_at_once_and_touches_nothing(small, tmp_path, monkeypatch):
  config, workdir = small(), tmp_path / "run"
  train.run(config, workdir)
  with train.run_folder.hold(workdir):
    before = tree(workdir)
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("read the data for nothing"))
    with pytest.raises(ValueError, match=r"another training run is at work there \(host .*, pid \d+, since .*\); wait until"):
      train.run(config, workdir)
    assert tree(workdir) == before


def test_full_disk_names_the_folder_and_what_to_do(small, tmp_path, monkeypatch):
  write = train.Log.metrics

  def full(log, step, *rest):
    if step > 4:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    write(log, step, *rest)
  workdir, config = tmp_path / "run", small()
  with monkeypatch.context() as patch:
    patch.setattr(train.Log, "metrics", full)
    with pytest.raises(OSError, match=r"run failed \(\[Errno 28\] No space left on device\): free some space .* same command"):
      train.run(config, workdir)
  assert train.run(config, workdir)["params_sha256"] == train.run(config, tmp_path / "whole")["params_sha256"]


class Slow(train.CallLength):
  """As if every step took two seconds: calls of one cycle."""

  def took(self, steps, seconds):
    super().took(steps, 2.0 * steps)


def test_results_do_not_depend_on_the_speed(small, tmp_path, monkeypatch):
  config = small(changes={"train.epochs": 6, "train.steps_per_call": 6, "train.eval_steps": 5, "train.checkpoint_steps": 7})
  fast, lengths = train.run(config, tmp_path / "fast"), []
  take = train.Trainer.take
  monkeypatch.setattr(train, "CallLength", Slow)
  monkeypatch.setattr(train.Trainer, "take", lambda self, count, *rest: lengths.append(count) or take(self, count, *rest))
  slow = train.run(config, tmp_path / "slow")
  assert set(lengths) == {2} and sum(lengths) == slow["steps"] == fast["steps"]
  for key in ("params_sha256", "rows", "replicas"):
    assert slow[key] == fast[key], key
  for name in ("metrics.jsonl", "evaluations.jsonl"):
    one, other = ([{k: v for k, v in e.items() if k != "steps_per_second"} for e in lines(tmp_path / folder / name)]
                  for folder in ("fast", "slow"))
    assert one == other
  assert [p.name for p in sorted((tmp_path / "slow" / "checkpoints").iterdir())] == [
      p.name for p in sorted((tmp_path / "fast" / "checkpoints").iterdir())]


def test_logs_are_json_and_a_step_not_taken_has_no_number(small, tmp_path):
  """Of 5 steps, the last call takes one, of the first phase alone."""
  folder = write_folder(tmp_path / "f", {c: float(i) for i, c in enumerate("abcdef")}, ("pairs.csv", [
      "better,worse,split", "b,a,train", "c,a,train", "c,b,train", "e,d,test", "f,e,test"]))
  config = small("features", {"data.dir": str(folder), "data.validation_share": 0.0, "train.epochs": 5})
  saved = train.run(config, tmp_path / "run")
  assert saved["steps"] == 5
  first, last = lines(tmp_path / "run" / "metrics.jsonl")
  assert (first["step"], last["step"]) == (4, 5)
  assert first["diversity_high"][0] > 0 and last["diversity_high"] == [None]      # not 0: nobody measured it
  assert last["rank_high"][0] is not None and np.isfinite(last["loss"]).all()
  assert [e["replicas"][0]["validation"] for e in lines(tmp_path / "run" / "evaluations.jsonl")] == [None]
  assert saved["replicas"][0]["validation_selected"] is None


def test_step_is_compiled_once_and_traced_while_the_first_state_is_drawn(small, tmp_path, caplog, monkeypatch):
  make_step, threads = train.make_step, []

  def make(*arguments, **sizes):
    step = make_step(*arguments, **sizes)

    def init(*drawn):
      threads.append(threading.current_thread().name)
      return step.init(*drawn)
    return step._replace(init=init)
  KNOWN.made.clear()
  monkeypatch.setattr(train, "make_step", make)
  with jax.log_compiles():
    train.run(small(system=PAIRS), tmp_path / "run")
  compiled = [r.message for r in caplog.records if "Finished XLA compilation of jit(run)" in r.message]
  lowered = [r.threadName for r in caplog.records if "MLIR module conversion jit(run)" in r.message]
  assert len(compiled) == 1 and lowered == ["MainThread"]            # for shapes, and not anew for the state that comes
  assert sorted(name == "MainThread" for name in threads) == [False, True]               # of its shapes, and of itself


def test_not_finite_loss_names_the_step_and_keeps_the_checkpoint(small, tmp_path):
  config = small(changes={"train.learning_rate": 1e38, "seeds": (5,)}, system=PAIRS)
  with pytest.raises(FloatingPointError, match=r"not finite at step [2-8] \(fold simulated, seed 5\); lower "):
    train.run(config, tmp_path / "run")
  trainer = train.Trainer(config, data.load(config.data), Parallel(1))
  with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
    assert trainer.restore(checkpoints) == 0
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trainer.state.params))


def test_scores_by_subject(small, tmp_path):
  scores = {f"v{i}": float(s) for i, s in enumerate(np.random.default_rng(0).uniform(0, 4, 12))}
  rows = ["video,score,subject"] + [f"{v},{s},person{i % 3}" for i, (v, s) in enumerate(scores.items())]
  folder = write_folder(tmp_path / "mine", scores, ("scores.csv", rows))
  saved = train.run(small("features", {"data.dir": str(folder), "data.validation_share": 0.0, "train.epochs": 180,
                                       "train.steps_per_call": 32, "train.eval_steps": 64}, PAIRS), tmp_path / "run")
  assert [r["fold"] for r in saved["replicas"]] == ["person0", "person1", "person2"]
  assert all(len(r["scores"]) == 4 for r in saved["replicas"])
  accuracy = saved["rows"][PAIRS]["accuracy"]["last"]
  assert accuracy["count"] == 3 and accuracy["mean"] > 0.8
  truth = saved["rows"][PAIRS]["against_truth"]
  assert truth["spearman_score"]["mean"] > 0.7 and truth["kendall_score"]["mean"] > 0.5
  assert not saved["simulated"] and saved["data"] == "mine"


def test_epic_skills_folds_and_seeds_are_one_program(small, tmp_path, coarse_pictures):
  """That each of them trains as if it were alone is in `methods/test_common.py`."""
  videos = [f"v{i}" for i in range(8)]
  pairs = ordered(videos)                                                # every fold tests other pairs of all videos
  labels = write_splits(tmp_path / "labels", {
      f"drawing/{side}_split{k}.txt": [p for i, p in enumerate(pairs) if (i % 4 == k - 1) == (side == "test")]
      for k in (1, 2, 3, 4) for side in ("train", "test")})
  like_published.write_like(labels, tmp_path / "epic", num_segments=8, width=6, difficulty=0.0)
  config = small("epic_skills", {"data.dir": str(tmp_path / "epic"), "data.task": "drawing", "seeds": (0, 1),
                                 "train.epochs": 4, "plots": True})
  saved = train.run(config, tmp_path / "run")
  assert [(r["fold"], r["seed"]) for r in saved["replicas"]] == [(f"split{k}", s) for k in (1, 2, 3, 4) for s in (0, 1)]
  assert not (tmp_path / "run" / "split1").exists()                       # one run, one set of checkpoints
  assert {len(e["loss"]) for e in lines(tmp_path / "run" / "metrics.jsonl")} == {8}
  accuracy = saved["rows"]["pros_cons"]["accuracy"]["last"]
  assert accuracy["count"] == 8 and accuracy["mean"] == pytest.approx(
      np.mean([r["last"]["accuracy"] for r in saved["replicas"]]))
  assert all(f["test_pairs_of_two_training_videos"] == f["test_pairs"] for f in saved["audit"]["folds"])
  assert (tmp_path / "run" / "attention.png").exists()                    # although no video is in the test side alone


PUBLISHED = dict(BEST=("best", "tie_tie", 1), **{"EPIC-Skills": ("epic_skills", "surgery", 4)})      # options, task, folds


def like_those_published(small, tmp_path, name, changes):
  """The config of features that are made up for the videos of a task."""
  labels, (options, task, _) = SHARED / "data" / "annotations" / name, PUBLISHED[name]
  if not labels.is_dir():
    pytest.skip(f"there are no published splits at {labels}; set JAXSKILL_SHARED to the folder above data/annotations")
  like_published.write_like(labels, tmp_path / "made", tasks=[task], num_segments=6, width=6)
  return small(options, {"data.dir": str(tmp_path / "made"), "data.task": task} | changes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_splits(small, tmp_path, name):
  config = like_those_published(small, tmp_path, name, {})
  dataset = data.load(config.data)
  facts = data.audit(dataset)
  assert facts["missing_videos"] == [] and facts["pairs"] > 500
  assert len(replicas.plan(config, dataset)) == PUBLISHED[name][2]


# The form of EPIC-Skills trains above; labels of BEST, and made-up ones in its form, train quickly in
# reproduce/test_reproduce.py.
@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_run_on_published_splits(small, tmp_path, coarse_pictures, name):
  config = like_those_published(small, tmp_path, name, {"train.epochs": 1, "train.batch_size": 256, "plots": True})
  saved = train.run(config, tmp_path / "run")
  assert saved["audit"]["missing_videos"] == [] and len(saved["replicas"]) == PUBLISHED[name][2]
  assert (tmp_path / "run" / "attention.png").exists()


# What is wrong with a folder of features a, b, c, d -> the message.
TABLE = "better,worse,split\nb,a,train\nd,c,test\n"
FOLDERS = {
    "nan": (dict(c=np.full((3, 5), np.nan, np.float32)), TABLE, r"c\.npy: video 'c'.* 15 NaN or infinite .* segment 0"),
    "infinite": (dict(c=np.array([[0.0] * 5, [np.inf] * 5])), TABLE, r"video 'c'.* 5 NaN or infinite .* in segment 1"),
    "rank": (dict(c=np.zeros((3, 2, 5), np.float32)), TABLE, r"video 'c'.* 3 axes .*expected \[segments, channels\]"),
    "width": (dict(c=np.zeros((3, 4), np.float32)), TABLE, r"c\.npy: .*\[3, 4\] but .*\.npy has float32 \[\d, 5\]"),
    "whole numbers": (dict(c=np.zeros((3, 5), int)), TABLE, r"video 'c'.* floating-point features"),
    "empty video": (dict(c=np.zeros((0, 5), np.float32)), TABLE, r"video 'c'.* is empty"),
    "not on disk": (dict(c=None), TABLE, r"1 of 4 videos are in the pairs or scores but not on disk: 'c'"),
    "with itself": ({}, TABLE + "a,a,train\n", r"pairs\.csv, line 4: compares video 'a' with itself"),
    "contradictory": ({}, TABLE + "a,b,train\n",
                      r"line 4: contradictory pair: 'a' is better than 'b' here and worse in line 2"),
    "no test pairs": ({}, "better,worse,split\nb,a,train\nd,c,train\n", r"fold 'given' has no test pairs"),
    "no training pairs": ({}, "better,worse,split\nb,a,test\n", r"fold 'given' has no training pairs"),
    "unknown side": ({}, "better,worse,split\nb,a,tset\n", r"line 2: unknown split value 'tset'"),
    "no table": ({}, None, r"neither pairs.csv .* nor scores.csv"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_bad_folder_is_refused_before_a_workdir_is_made(small, tmp_path, name):
  arrays, pairs, message = FOLDERS[name]
  folder = write_folder(tmp_path / "f", dict(a=0.0, b=1.0, c=2.0, d=3.0), ("pairs.csv", [pairs or ""]))
  for video, array in arrays.items():
    (folder / f"{video}.npy").unlink()
    if array is not None:
      np.save(folder / f"{video}.npy", array)
  if pairs is None:
    (folder / "pairs.csv").unlink()
  with pytest.raises(ValueError, match=message):
    train.run(small("features", {"data.dir": str(folder), "data.validation_share": 0.0}), tmp_path / "deep" / "run")
  assert not (tmp_path / "deep").exists()


CHANGES = {
    "epochs": ({"train.epochs": 0}, r"config\.train\.epochs=0 must be at least 1"),
    "eval_steps": ({"train.eval_steps": 0}, r"config\.train\.eval_steps=0 must be at least 1"),
    "checkpoint_steps": ({"train.checkpoint_steps": 0}, r"config\.train\.checkpoint_steps=0 must be"),
    "clip_norm": ({"train.clip_norm": -1.0}, r"config\.train\.clip_norm=-1\.0 must be 0 or more"),
    "no clip_norm": ({"train.clip_norm": float("nan")}, r"config\.train\.clip_norm=nan is not a finite number"),
    "keep": ({"train.keep_checkpoints": 0}, r"config\.train\.keep_checkpoints=0 must be"),
    "ties": ({"evaluate.ties": "right"}, r"config\.evaluate\.ties='right' is unknown; use one of half, wrong"),
    "encode": ({"train.encode": "twice"}, r"config\.train\.encode='twice' is unknown; use one of unique, batch, siamese"),
    "dtype": ({"train.dtype": "float16"}, r"config\.train\.dtype='float16' is unknown"),
    "rates": ({"train.rates": (("(", 0.1),)}, r"config\.train\.rates: '\(' is not a regular expression"),
    "method": ({"method": "core2"}, r"config\.method='core2' is unknown; use one of action_net, core"),
    "normalize": ({"model.normalize": "hardmax"}, r"config\.model\.normalize='hardmax' is unknown"),
    "seeds": ({"seeds": ()}, r"config\.seeds=\(\): give at least one seed"),
    "batch": ({"train.batch_size": 0}, r"config\.train\.batch_size=0 must be at least 1"),
    "stream": ({"data.stream": "maps"}, r"there is no stream 'maps', only rgb; set config\.data\.stream"),
    "data set": ({"data.name": "epic"}, r"config\.data\.name='epic' is unknown; use one of simulated, features"),
    "no folder": ({"data.name": "features"}, r"set config\.data\.dir to its folder"),
    "folder": ({"data.name": "best", "data.dir": "nowhere"}, r"nowhere: no such folder"),
    "simulated": ({"data.simulated.num_videos": 3}, r"fold 'simulated' has no test pairs; check the split"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_bad_config_is_refused_before_a_workdir_is_made(small, tmp_path, name):
  changes, message = CHANGES[name]
  with pytest.raises(ValueError, match=message):
    train.run(small(changes=changes), tmp_path / "deep" / "run")
  assert not (tmp_path / "deep").exists()


def test_unknown_task_names_those_there(small, tmp_path):
  root = write_splits(tmp_path / "best", {"origami/train.txt": ["a b"], "tie_tie/train.txt": ["c d"]})
  with pytest.raises(ValueError, match=r"task 'orgami' is not in .*; found: origami, tie_tie\. Set config\.data\.task"):
    train.run(small("best", {"data.dir": str(root), "data.task": "orgami"}), tmp_path / "run")
  assert not (tmp_path / "run").exists() and not (root / "prepared").exists()


def test_workdir_below_a_file_is_refused(small, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match=r"--workdir=.*file/run cannot be written .*; choose a folder that you"):
    train.run(small(), tmp_path / "file" / "run")


@pytest.mark.parametrize("system,kind", [
    ("pros_cons", "pairs"), pytest.param("core", "videos", marks=pytest.mark.slow)])
def test_a_run_without_a_test_side_only_assesses(load_config, quick_training, coarse_pictures, tmp_path, capsys, system, kind):
  """It says so in its results and to whoever asks it later, and shows no number that a test would give."""
  del quick_training
  config = load_config(system, changes={"data.split": "all", "train.epochs": 1, "seeds": (0,)})
  saved = train.run(config, tmp_path / "run")
  out = capsys.readouterr().out
  assert "\nnot tested: config.data.split=all trains on every video" in out and "on test" not in out
  assert saved["tested"] is False and saved["rows"] == {}
  fold, = saved["audit"]["folds"]
  assert fold[f"train_{kind}"] == saved["audit"][kind] and fold["test_videos"] == fold["validation_videos"] == 0
  assert saved["replicas"][0]["scores"] == {} and saved["replicas"][0]["last"]["step"] == saved["steps"]
  assert finished_run.load(tmp_path / "run").about["tested"] is False
  shown = {path.name for path in (tmp_path / "run").glob("*.png")}      # of training videos, which their titles say
  assert "training.png" in shown and "scores.png" not in shown
  json.loads((tmp_path / "run" / "results.json").read_text())
  before = saved["params_sha256"]
  assert train.run(config, tmp_path / "run")["params_sha256"] == before              # started again


def test_baselines_have_what_models_have(load_config, quick_training, tmp_path, capsys):
  """A video that is alone in its group is in no comparison, so that no baseline learns from it either."""
  del quick_training
  folder = write_folder(tmp_path / "f", {c: float(i) for i, c in enumerate("abcdefgh")}, ("scores.csv", [
      "video,score,category,subject,fold", *(f"{c},{i * i % 7},{'xy'[c == 'h']},{'st'[i % 2]},{1 + (i > 3)}"
                                             for i, c in enumerate("abcdefgh"))]))
  config = load_config("core", "features", {"data.dir": str(folder), "train.epochs": 1, "model.num_leaves": 2,
                                            "data.make_pairs": False, "plots": False})
  with pytest.raises(ValueError, match="no exemplar of category y"):      # 'h' is tested in its fold
    train.run(config, tmp_path / "run")
  lines_of = (folder / "scores.csv").read_text().replace("fold", "split").replace(",1\n", ",test\n").replace(",2\n", ",train\n")
  (folder / "scores.csv").write_text(lines_of)
  saved = train.run(config, tmp_path / "run")
  fold, = saved["protocol"]["folds"]
  assert fold["train"] == dict(videos=3, pairs=0, subjects=2) and saved["audit"]["folds"][0]["train_videos"] == 4
  assert fold["test"] == dict(videos=4, pairs=0, subjects=2) and fold["validation"]["videos"] == 0
  assert "models and baselines train on 3 videos of 2 subject(s); validation none; test 4 videos" in capsys.readouterr().out
  mean = np.mean([4 * 4 % 7, 5 * 5 % 7, 6 * 6 % 7])
  errors = [abs(i * i % 7 - mean) for i in range(4)]
  assert saved["rows"]["baseline: mean score"]["metrics"]["mae"]["mean"] == pytest.approx(np.mean(errors))
  assert saved["protocol"]["too_few_to_claim"] and saved["rows"]["core"]["spearman"]["last"]["marked"]


def test_pooled_numbers_of_a_run_are_those_of_its_scores(load_config, quick_training, tmp_path):
  """Last and validation-selected steps, from what the models said at those steps."""
  del quick_training
  scores = {f"v{i:02d}": float(s) for i, s in enumerate(np.random.default_rng(0).uniform(0, 4, 15))}
  folder = write_folder(tmp_path / "f", scores, ("scores.csv", ["video,score,subject", *(
      f"{v},{s},p{i % 5}" for i, (v, s) in enumerate(scores.items()))]))
  config = load_config("core", "features", {"data.dir": str(folder), "train.epochs": 6, "model.num_leaves": 2, "plots": False,
                                            "data.validation_share": 0.3, "train.steps_per_call": 2, "train.eval_steps": 2,
                                            "seeds": (0, 1)})
  saved = train.run(config, tmp_path / "run")
  number = saved["rows"]["core"]["spearman"]
  of_seed = lambda seed: {v: s for r in saved["replicas"] if r["seed"] == seed for v, s in r["scores"].items()}
  by_seed = [metrics.spearman(list(of_seed(seed).values()), [scores[v] for v in of_seed(seed)]) for seed in (0, 1)]
  assert number["last"]["pooled"]["mean"] == pytest.approx(metrics.fisher_mean(by_seed)) and number["last"]["shown"] == "pooled"
  assert number["last"]["over_folds"]["count"] == 10 and number["last"]["fisher"] is None
  history = {entry["step"]: entry["replicas"] for entry in lines(tmp_path / "run" / "evaluations.jsonl")}
  chosen = []
  for seed in (0, 1):
    said, true = [], []
    for i, r in enumerate(saved["replicas"]):
      if r["seed"] == seed:
        said += history[r["validation_selected"]["step"]][i]["scores"]
        true += [scores[v] for v in r["scores"]]
    chosen.append(metrics.spearman(said, true))
  assert number["validation_selected"]["pooled"]["mean"] == pytest.approx(metrics.fisher_mean(chosen))
