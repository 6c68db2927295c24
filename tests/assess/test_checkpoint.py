"""Whose models answer: those of the end of training, or of the step that was best on validation videos."""

import json

import numpy as np
import pytest

from jaxskill import assess, compare, data, train
from jaxskill.training import checkpoints, finished_run
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("quick_answers", "blank_pictures")


@pytest.fixture
def trained(tmp_path, monkeypatch):
  """(workdir, config, data) of a small run whose first evaluation is called the best."""

  def make():
    config = small_config("skilldiff", "simulated", {
        "model.segments": 3, "model.width": 6, "model.head_hidden": 4, "train.steps_per_call": 2, "train.eval_steps": 2,
        "train.checkpoint_steps": 2, "train.epochs": 4, "plots": False})
    measured = train.Trainer.measure
    monkeypatch.setattr(train.Trainer, "measure", lambda self: [
        metrics | dict(validation=metrics["validation"] - int(self.state.step)) for metrics in measured(self)])
    dataset = data.load(config.data)
    train.run(config, tmp_path / "run", dataset)
    return tmp_path / "run", dataset
  return make


def ask(workdir, file, out, checkpoint):
  said = assess.run(workdir, features=[file], out=out, category="routine_0", checkpoint=checkpoint, say=lambda line: None)
  (result,), failed = (found.values() for found in said)
  assert not failed
  return result


def test_the_step_that_was_best_on_validation_videos_answers(trained, tmp_path):
  """By its own parameters, references and training scores, and the answer says so."""
  workdir, dataset = trained()
  np.save(tmp_path / "a.npy", dataset.streams["rgb"][0, :9])
  last, best = (ask(workdir, tmp_path / "a.npy", tmp_path / kind, kind) for kind in finished_run.FILES)
  total = json.loads((workdir / "results.json").read_text())["steps"]
  assert (last["checkpoint"], best["checkpoint"]) == (dict(chosen="last", step=total), dict(chosen="validation", step=2))
  assert last["score"] != best["score"]
  runs = {kind: finished_run.load(workdir, kind) for kind in finished_run.FILES}
  stored = checkpoints.read(workdir / "checkpoints", 2)
  params = {name.removeprefix("params/"): leaf for name, leaf in stored.items() if name.startswith("params/")}
  assert runs["validation"].about["params_sha256"] == checkpoints.digest(params) != runs["last"].about["params_sha256"]
  changed = {name for name, last_one in runs["last"].arrays.items()
             if not np.array_equal(last_one, runs["validation"].arrays[name])}
  assert "score" in changed and "bank/score" not in changed
  assert [name for name in changed if name.startswith("bank/encodings/")]
  with pytest.raises(ValueError, match="answers for another video of this name, another run or other models"):
    ask(workdir, tmp_path / "a.npy", tmp_path / "last", "validation")
  np.save(tmp_path / "b.npy", dataset.streams["rgb"][1, :9])
  both = compare.run(workdir, features=[tmp_path / "a.npy", tmp_path / "b.npy"], out=tmp_path / "both",
                     category="routine_0", checkpoint="validation", say=lambda line: None)
  assert both["checkpoint"] == best["checkpoint"]
