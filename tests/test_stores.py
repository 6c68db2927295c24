"""A run on a store of objects: trained, killed, gone on with, assessed; and what is said of stores."""

import functools
import importlib.util
import json
import pathlib
import time

import numpy as np
import pytest

from jaxskill import assess, files, stores, train
from jaxskill.training import finished_run, leases
from tests import strict

pytestmark = pytest.mark.usefixtures("store")

RUN = "strict://bucket/runs/one"


class Killed(BaseException):
  """What a process does not see."""


def entries(text):
  """Lines of a log without the speed."""
  return [{name: value for name, value in json.loads(line).items() if name != "steps_per_second"}
          for line in text.splitlines()]


def killed(monkeypatch, config, store, step):
  """Trains until a step, and leaves the store as it was when the process was killed there."""
  take, left = train.Trainer.take, {}

  def until(trainer, *rest):
    if int(trainer.state.step) >= step:
      until_there = time.monotonic() + 60
      while "bucket/runs/one/checkpoints/8.zip" not in store and time.monotonic() < until_there:
        time.sleep(0.01)
      left.update(store)
      raise Killed
    return take(trainer, *rest)

  with monkeypatch.context() as patch:
    patch.setattr(train.Trainer, "take", until)
    with pytest.raises(Killed):
      train.run(config, RUN)
  assert "bucket/runs/one/.lock" in left and "bucket/runs/one/.lock" not in store
  store.clear()
  store.update(left)


def test_a_run_on_a_store_that_was_killed_goes_on_as_one_on_a_disk(load_config, quick_answers, monkeypatch, tmp_path,
                                                                   store, caplog):
  monkeypatch.setattr(leases, "BEAT", 0.05)
  monkeypatch.setattr(leases, "AGE", 0.5)
  config = load_config("whos_better", changes={"train.eval_steps": 8, "train.checkpoint_steps": 8, "train.epochs": 6})
  whole = train.run(config, tmp_path / "whole")
  killed(monkeypatch, config, store, 12)
  logged = entries(store["bucket/runs/one/metrics.jsonl"].decode())
  assert logged[-1]["step"] >= 8                       # as far as the checkpoint, whenever it was copied before
  resumed = train.run(config, RUN)
  assert "strict://bucket/runs/one: the lock was left by a process that died" in caplog.text
  assert "not locked" not in caplog.text and "bucket/runs/one/.lock" not in store
  assert resumed["params_sha256"] == whole["params_sha256"] and resumed["replicas"] == whole["replicas"]
  for name in ("metrics.jsonl", "evaluations.jsonl"):
    here = (tmp_path / "whole" / name).read_text()
    assert entries(store[f"bucket/runs/one/{name}"].decode()) == entries(here) != []
  boards = [name for name in store if "/tensorboard/events.out" in name]
  assert boards and all(store[name] for name in boards)
  found = {name.removeprefix("bucket/runs/one/").split("/")[0] for name in store}
  assert found == {path.name for path in (tmp_path / "whole").iterdir()} - {".lock"}
  assert all(name.endswith(".zip") for name in store if "/checkpoints/" in name)
  with train.run_folder.hold(stores.place(RUN)), monkeypatch.context() as patch:
    patch.setattr(train.data, "load", lambda *_: pytest.fail("read the data for nothing"))
    with pytest.raises(ValueError, match=f"^{RUN}: another training run is at work there .*give another --workdir"):
      train.run(config, RUN)
  assess_one(tmp_path, finished_run.load(RUN), finished_run.load(tmp_path / "whole"))


def assess_one(tmp_path, there, here):
  """A video gets the same answer from both runs; the answer of the one on the store needs a folder here."""
  assert there.about == here.about and there.workdir == stores.place(RUN)
  width = next(iter(here.about["streams"].values()))["shape"][-1]
  np.save(tmp_path / "new.npy", np.random.default_rng(0).standard_normal((9, width)).astype(np.float32))
  ask = functools.partial(assess.run, features=[tmp_path / "new.npy"], row_seconds=1.0, say=lambda text: None)
  with pytest.raises(ValueError, match=f"^{RUN}: answers are written to this machine only; name a folder of it with"):
    ask(RUN)
  answers = [ask(run, out=tmp_path / str(i))[0]["new"] for i, run in enumerate((RUN, here.workdir))]
  assert answers[0]["score"] == answers[1]["score"] and answers[0]["run"] == RUN


def test_a_place_that_cannot_be_read_is_named(monkeypatch):
  with pytest.raises(ValueError, match="^ftp://a/b: ftp:// is not known; give a folder of this machine, or of gs"):
    stores.place("ftp://a/b")
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  for scheme, package, extra in (("gs", "gcsfs", "gcs"), ("s3", "s3fs", "s3")):
    with pytest.raises(ValueError, match=rf"^{scheme}://a/b: {scheme}:// is read by {package}, which is not installed: "
                                         rf"pip install 'jaxskill\[{extra}\]'$"):
      stores.place(f"{scheme}://a/b")
  assert stores.place("~/run") == pathlib.Path.home() / "run" and stores.is_local(stores.place("~/run"))
  assert not stores.is_local(stores.place(RUN))


def test_an_object_is_written_whole_or_not_at_all(store, monkeypatch):
  path = stores.place(RUN) / "results.json"
  files.save_json(path, dict(a=1))
  with pytest.raises(KeyError), files.writing(path) as file:
    file.write(b"half")
    raise KeyError
  assert json.loads(path.read_text(encoding="utf-8")) == dict(a=1) and list(store) == ["bucket/runs/one/results.json"]

  def fails(*_):
    raise RuntimeError("HTTP 503\nand a page")
  monkeypatch.setattr(strict.StrictPath, "open", fails)
  with pytest.raises(OSError, match=r"RuntimeError: HTTP 503: 'strict://bucket/runs/one/results.json'"):
    files.write_text(path, "b")
