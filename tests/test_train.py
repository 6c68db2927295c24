"""Training from config to results in this process: data sets of every kind, and everything that must be refused."""

import functools
import json
import os
import pathlib

import jax
import numpy as np
import pytest

from jaxskill import data, train
from jaxskill.checkpoints import Checkpoints
from jaxskill.data import simulated
from jaxskill.parallel import Parallel

SHARED = pathlib.Path(os.environ.get("JAXSKILL_SHARED") or pathlib.Path(__file__).resolve().parents[2] / "shared")


@pytest.fixture(autouse=True)
def one_device(monkeypatch, quick_compile):
  del quick_compile
  monkeypatch.setattr(train, "Parallel", functools.partial(Parallel, 1))


@pytest.fixture
def small(load_config):
  """small(options, {field: value}) -> a config that trains in a second and draws nothing."""
  def small(options="simulated", changes=None):
    return load_config(options=options, changes={"plots": False, "train.eval_steps": 8, "train.checkpoint_steps": 8}
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
  assert '-    "learning_rate": 0.01' in message and '+    "learning_rate": 0.5' in message
  assert "-    0" in message and "+    7" in message and "batch_size" not in message
  assert tree(workdir) == before


def test_stopped_run_resumes_although_lines_were_cut_or_lost(small, tmp_path, monkeypatch):
  config = small(changes={"train.epochs": 6})
  whole = train.run(config, tmp_path / "whole")

  class StopAtOnce(train.StopSignal):
    def __enter__(self):
      super().__enter__().asked = True
      return self

  workdir = tmp_path / "run"
  with monkeypatch.context() as patch:
    patch.setattr(train, "StopSignal", StopAtOnce)
    assert train.run(config, workdir) is None
    assert train.run(config, workdir) is None
  with (workdir / "metrics.jsonl").open("a") as file:
    file.write('{"step": 12, "loss": [1.0]}\n{"step": 16, "lo')     # written after the checkpoint; cut short by a kill
  (workdir / "evaluations.jsonl").write_text("")
  resumed = train.run(config, workdir)
  steps = [entry["step"] for entry in lines(workdir / "metrics.jsonl")]
  assert steps == sorted(set(steps)) and steps == [e["step"] for e in lines(tmp_path / "whole" / "metrics.jsonl")]
  assert resumed["params_sha256"] == whole["params_sha256"]
  (workdir / "evaluations.jsonl").unlink()
  assert train.run(config, workdir)["rows"][""]["accuracy"]["last"] == whole["rows"][""]["accuracy"]["last"]


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


def test_step_is_compiled_once(small, tmp_path, caplog):
  with jax.log_compiles():
    train.run(small(), tmp_path / "run")
  compiled = [r.message for r in caplog.records if "Finished XLA compilation of jit(run)" in r.message]
  assert len(compiled) == 1


def test_not_finite_loss_names_the_step_and_keeps_the_checkpoint(small, tmp_path):
  config = small(changes={"train.learning_rate": 1e38, "seeds": (5,)})
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
  saved = train.run(small("features", {"data.dir": str(folder), "data.validation_share": 0.0, "train.epochs": 60,
                                       "train.steps_per_call": 32, "train.eval_steps": 64}), tmp_path / "run")
  assert [r["fold"] for r in saved["replicas"]] == ["person0", "person1", "person2"]
  assert all(len(r["scores"]) == 4 for r in saved["replicas"])
  accuracy = saved["rows"][""]["accuracy"]["last"]
  assert accuracy["count"] == 3 and accuracy["mean"] > 0.8
  truth = saved["rows"][""]["against_truth"]
  assert truth["spearman_score"]["mean"] > 0.7 and truth["kendall_score"]["mean"] > 0.5
  assert not saved["simulated"] and saved["data"] == "mine"


def test_epic_skills_folds_and_seeds_are_one_program(small, tmp_path):
  videos = [f"v{i}" for i in range(8)]
  pairs = ordered(videos)                                                # every fold tests other pairs of all videos
  labels = write_splits(tmp_path / "labels", {
      f"drawing/{side}_split{k}.txt": [p for i, p in enumerate(pairs) if (i % 4 == k - 1) == (side == "test")]
      for k in (1, 2, 3, 4) for side in ("train", "test")})
  simulated.write_like(labels, tmp_path / "epic", num_segments=8, width=6, difficulty=0.0)
  config = small("epic_skills", {"data.dir": str(tmp_path / "epic"), "data.task": "drawing", "seeds": (0, 1),
                                 "train.epochs": 4, "plots": True})
  saved = train.run(config, tmp_path / "run")
  assert [(r["fold"], r["seed"]) for r in saved["replicas"]] == [(f"split{k}", s) for k in (1, 2, 3, 4) for s in (0, 1)]
  assert not (tmp_path / "run" / "split1").exists()                       # one run, one set of checkpoints
  assert {len(e["loss"]) for e in lines(tmp_path / "run" / "metrics.jsonl")} == {8}
  accuracy = saved["rows"][""]["accuracy"]["last"]
  assert accuracy["count"] == 8 and accuracy["mean"] == pytest.approx(
      np.mean([r["last"]["accuracy"] for r in saved["replicas"]]))
  assert all(f["test_pairs_of_two_training_videos"] == f["test_pairs"] for f in saved["audit"]["folds"])
  assert (tmp_path / "run" / "attention.png").exists()                    # although no video is in the test side alone
  one = train.run(small("epic_skills", {"data.dir": str(tmp_path / "epic"), "data.task": "drawing", "seeds": (1,),
                                        "train.epochs": 4}), tmp_path / "one")
  np.testing.assert_allclose(list(one["replicas"][2]["scores"].values()), list(saved["replicas"][5]["scores"].values()),
                             rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name,task", [("BEST", "tie_tie"), ("EPIC-Skills", "surgery")])
def test_published_splits(small, tmp_path, name, task):
  labels = SHARED / "data" / "annotations" / name
  if not labels.is_dir():
    pytest.skip(f"there are no published splits at {labels}; set JAXSKILL_SHARED to the folder above data/annotations")
  simulated.write_like(labels, tmp_path / "made", tasks=[task], num_segments=6, width=6)
  options = dict(BEST="best", **{"EPIC-Skills": "epic_skills"})[name]
  saved = train.run(small(options, {"data.dir": str(tmp_path / "made"), "data.task": task, "train.epochs": 1,
                                    "train.batch_size": 256, "plots": True}), tmp_path / "run")
  assert saved["audit"]["missing_videos"] == [] and saved["audit"]["pairs"] > 500
  assert len(saved["replicas"]) == (1 if name == "BEST" else 4)
  assert (tmp_path / "run" / "attention.png").exists()


# What is wrong with a folder of features a, b, c, d -> the message.
PAIRS = "better,worse,split\nb,a,train\nd,c,test\n"
FOLDERS = {
    "nan": (dict(c=np.full((3, 5), np.nan, np.float32)), PAIRS, r"c\.npy: video 'c'.* 15 NaN or infinite .* segment 0"),
    "infinite": (dict(c=np.array([[0.0] * 5, [np.inf] * 5])), PAIRS, r"video 'c'.* 5 NaN or infinite .* in segment 1"),
    "rank": (dict(c=np.zeros((3, 2, 5), np.float32)), PAIRS, r"video 'c'.* 3 axes .*expected \[segments, channels\]"),
    "width": (dict(c=np.zeros((3, 4), np.float32)), PAIRS, r"c\.npy: .*\[3, 4\] but .*\.npy has float32 \[\d, 5\]"),
    "whole numbers": (dict(c=np.zeros((3, 5), int)), PAIRS, r"video 'c'.* floating-point features"),
    "empty video": (dict(c=np.zeros((0, 5), np.float32)), PAIRS, r"video 'c'.* is empty"),
    "not on disk": (dict(c=None), PAIRS, r"1 of 4 videos are in the pairs or scores but not on disk: 'c'"),
    "with itself": ({}, PAIRS + "a,a,train\n", r"pairs\.csv, line 4: compares video 'a' with itself"),
    "contradictory": ({}, PAIRS + "a,b,train\n",
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
    "clip_norm": ({"train.clip_norm": -1.0}, r"config\.train\.clip_norm=-1\.0 must be at least 0"),
    "no clip_norm": ({"train.clip_norm": float("nan")}, r"config\.train\.clip_norm=nan must be at least 0"),
    "keep": ({"train.keep_checkpoints": 0}, r"config\.train\.keep_checkpoints=0 must be"),
    "ties": ({"evaluate.ties": "right"}, r"config\.evaluate\.ties='right' is unknown; use one of half, wrong"),
    "encode": ({"train.encode": "twice"}, r"config\.train\.encode='twice' is unknown; use one of unique, batch, siamese"),
    "dtype": ({"train.dtype": "float16"}, r"config\.train\.dtype='float16' is unknown"),
    "rates": ({"train.rates": (("(", 0.1),)}, r"config\.train\.rates: '\(' is not a regular expression"),
    "method": ({"method": "core2"}, r"config\.method='core2' is unknown; use one of pros_cons"),
    "normalize": ({"model.normalize": "hardmax"}, r"config\.model\.normalize='hardmax' is unknown"),
    "seeds": ({"seeds": ()}, r"config\.seeds is empty"),
    "batch": ({"train.batch_size": 0}, r"config\.train\.batch_size=0 does not split over 1 devices"),
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
