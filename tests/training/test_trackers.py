"""Trackers: files that drop what a run logs again, services by stand-ins for wandb and trackio, and what is refused."""

import importlib.machinery
import os
import sys
import types

import ml_collections
import numpy as np
import pytest

from jaxskill.training import trackers
from jaxskill.training.runlog import Log


class Service(types.ModuleType):
  """As much of wandb and of trackio as is used, with their names of arguments; keeps what it is told, run by run."""

  def __init__(self, name):
    super().__init__(name)
    self.__spec__ = importlib.machinery.ModuleSpec(name, None)
    self.started, self.logged, self.saved, self.finished = [], {}, [], 0

  def init(self, *, project, name, resume, config, id=None, dir=None):
    assert project == "jaxskill" and resume == "allow" and config["seeds"] == (0,)
    assert (id is not None) == (dir is not None) == (self.__name__ == "wandb")
    self.started.append(id or name)
    lines = self.logged.setdefault(self.started[-1], [])
    return types.SimpleNamespace(log=lambda values, step: lines.append((step, values)), finish=self.finish,
                                 save=lambda path, base_path, policy: self.save(os.path.relpath(path, base_path)))

  def save(self, path):
    self.saved.append(os.path.basename(path))

  def finish(self):
    self.finished += 1


@pytest.fixture(params=["wandb", "trackio"])
def service(request, monkeypatch):
  made = Service(request.param)
  monkeypatch.setitem(sys.modules, request.param, made)
  return made


def config_of(*names):
  return ml_collections.ConfigDict(dict(seeds=(0,), trackers=names))


def loss(value):
  return dict(loss=np.array([value, value + 2, np.nan]), accuracy=np.full(3, np.nan))


def test_a_service_gets_what_a_checkpoint_holds_and_goes_on_in_the_same_run(service, tmp_path):
  config = config_of(service.__name__)
  with Log(tmp_path, 0, True, [], config, fresh=True) as log:
    log.metrics(2, loss(1.0), 9.0)
    log.evaluation(2, [dict(test=0.5, validation=np.nan)] * 3)
    log.secured()
    log.metrics(4, loss(2.0), 9.0)                       # and is killed before the next checkpoint
  with Log(tmp_path, 2, True, log.history, config) as log:
    log.metrics(4, loss(2.0), 8.0)
    (tmp_path / "results.json").write_text("{}")
    log.files([tmp_path / "results.json", tmp_path / "missing.png"])
  assert len(service.started) == 2 and len(set(service.started)) == 1 and service.finished == 2
  assert service.logged[service.started[0]] == [
      (2, {"train/steps_per_second": 9.0, "train/loss": 2.0}), (2, {"evaluation/test": 0.5}),
      (4, {"train/steps_per_second": 8.0, "train/loss": 3.0})]
  assert service.saved == ["results.json"] and not list(tmp_path.glob("*metrics*"))
  with Log(tmp_path, 0, True, [], config, fresh=True):     # every checkpoint is gone
    pass
  assert len(set(service.started)) == 2


def test_other_processes_start_no_tracker(service, tmp_path):
  with Log(tmp_path, 0, False, [], config_of(service.__name__, "jsonl"), fresh=True) as log:
    log.metrics(2, loss(1.0), 9.0)
  assert not service.started and not list(tmp_path.iterdir())


def test_a_service_that_does_not_start_is_named(service, tmp_path, monkeypatch):
  def refuse(**_):
    raise RuntimeError("api_key not configured (no-tty)\ncall login")
  monkeypatch.setattr(service, "init", refuse)
  with pytest.raises(ValueError, match=rf"{service.__name__} does not start \(api_key not configured \(no-tty\)\); log in"):
    trackers.make(tmp_path, tmp_path, config_of(service.__name__), 0, True)


def test_trackers_are_refused_before_anything_is_done(monkeypatch):
  monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
  for names, message in ((("wandb",), r"wandb is not installed: pip install 'jaxskill\[wandb\]', or leave it out"),
                         (["tensorbord"], "'tensorbord' is unknown; use some of jsonl, tensorboard, wandb, trackio"),
                         ("jsonl", "give names in a tuple")):
    with pytest.raises(ValueError, match=message) as refused:
      trackers.check(names)
    assert "\n" not in str(refused.value)
  trackers.check(())
  trackers.check(trackers.DEFAULT)


def test_events_are_dropped_from_the_step_that_a_run_goes_on_at(tmp_path):
  from tensorboardX.proto import event_pb2
  for step in (0, 4):
    with Log(tmp_path, step, True, [], config_of("tensorboard")) as log:
      log.metrics(step + 2, loss(1.0), 9.0)
      log.metrics(step + 4, loss(float(step)), 9.0)
    with Log(tmp_path, step + 4, True, [], config_of("tensorboard")):                # finished: adds nothing
      pass
  files = sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns)
  events = [event_pb2.Event.FromString(record) for record in records(files[-1])]
  assert [e.step for e in events if e.session_log.status == event_pb2.SessionLog.START][-1:] == [5]
  found = {(e.step, v.tag): v.simple_value for e in events for v in e.summary.value}
  assert found[8, "train/loss"] == 5.0 and found[6, "train/steps_per_second"] == 9.0
  assert not [tag for _, tag in found if "accuracy" in tag] and not (tmp_path / "metrics.jsonl").exists()


def records(path):
  """The records of a file of events: their length in 8 bytes, 4 of checks, the record, 4 of checks."""
  content = path.read_bytes()
  while content:
    length = int.from_bytes(content[:8], "little")
    yield content[12:12 + length]
    content = content[16 + length:]


def test_pytorch_stays_outside(tmp_path, monkeypatch):
  """tensorboardX imports it where it is installed."""
  (tmp_path / "torch.py").write_text("Tensor = None\n")
  for name in [name for name in sys.modules if name.split(".")[0] in ("torch", "tensorboardX")]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.syspath_prepend(tmp_path)
  with Log(tmp_path, 0, True, [], config_of("tensorboard")) as log:
    log.metrics(2, loss(1.0), 9.0)
  assert "tensorboardX" in sys.modules and "torch" not in sys.modules
  import torch
  assert torch.__file__ == str(tmp_path / "torch.py")      # can be imported as before
  del sys.modules["torch"]
