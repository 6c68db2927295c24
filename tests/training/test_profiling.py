"""A profile of some steps: what it holds, that it changes no bit, and what a run says that has no such steps."""

import warnings

import jax
import ml_collections
import pytest

from jaxskill import data, train
from jaxskill.training import profiling
from jaxskill.training.parallel import Parallel


@pytest.fixture(autouse=True)
def one_device(monkeypatch, quick_compile):
  del quick_compile
  monkeypatch.setattr(train, "Parallel", lambda _: Parallel(1))


def small(load_config, **changes):
  """Of two phases, of few operations."""
  return load_config(changes={"plots": False, "train.epochs": 4, "model.branches": ("high", "uniform"), "model.num_filters": 1,
                              "model.noise_std": 0.0} | changes)


def test_profiled_steps_are_in_the_trace_and_change_no_bit(load_config, tmp_path, capsys, monkeypatch):
  """Three steps from the fourth on: cycles have two, so the trace has steps 3 to 6."""
  whole = train.run(small(load_config), tmp_path / "whole")
  workdir, leave, held = tmp_path / "profiled", train.Profile.__exit__, []

  def leave_while_held(profile, *error):
    with pytest.raises(ValueError, match="another training run is at work there"):
      train.run_folder.refuse_second(workdir)
    held.append(leave(profile, *error))
  with monkeypatch.context() as patch:
    patch.setattr(train.Profile, "__exit__", leave_while_held)
    profiled = train.run(small(load_config, **{"profile.start": 3, "profile.steps": 3}), workdir)
  assert held                                            # nobody else may train there while it writes
  assert profiled["params_sha256"] == whole["params_sha256"] and profiled["steps"] == whole["steps"] == 12
  out = capsys.readouterr().out
  assert f"steps 3 to 6 are traced into {workdir / 'profile'}" in out and f"      {workdir / 'profile'}\n" in out
  trace, = (workdir / "profile").rglob("*.xplane.pb")
  assert trace.parent.parent == workdir / "profile" / "plugins" / "profile"            # where xprof looks for it
  assert first_steps(trace) in ([3], [3, 5])             # one call, or two on a machine that is slow for a moment
  assert (workdir / "profile" / "memory.prof").read_bytes()[:2] == b"\x1f\x8b"         # gzip, as pprof reads it
  assert not (tmp_path / "whole" / "profile").exists()
  again = train.run(small(load_config, **{"profile.steps": 2}), tmp_path / "whole")    # of the same run, finished
  assert again["cost"] == whole["cost"] and again["cost"]["steps"] == [0, 12] and again["seconds"] != whole["seconds"]
  assert "steps 1 to 2, to be traced, have been taken before" in capsys.readouterr().out


def first_steps(trace):
  """The numbers that the calls in a trace are annotated with."""
  profile = jax.profiler.ProfileData.from_file(str(trace))         # lives as long as what is read of it
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")                    # of Python 3.13, about JAX's types; as an error it ends the process
    return [dict(event.stats)["step_num"] for plane in profile.planes for line in plane.lines for event in line.events
            if event.name == profiling.NAME]


def test_streamed_steps_are_profiled(load_config, tmp_path):
  config = small(load_config, **{"data.device_budget": 0.0})
  trainer = train.Trainer(config, data.load(config.data), Parallel(1))
  options = ml_collections.ConfigDict(dict(start=0, steps=4))
  with profiling.Profile(options, tmp_path, cycle=2, total=12, main=True) as profile:
    for step in (0, 4):
      with profile.call(step, step + 4) as running:
        trainer.take(4, running)
  trace, = (tmp_path / "profile").rglob("*.xplane.pb")
  assert first_steps(trace) == [1] and (tmp_path / "profile" / "memory.prof").stat().st_size > 100


def test_a_run_without_such_steps_is_refused_and_leaves_the_folder_free(load_config, tmp_path):
  with pytest.raises(ValueError, match=r"config\.profile\.start=500: the run has \d+ steps; give fewer, or trace none"):
    train.run(small(load_config, **{"profile.start": 500, "profile.steps": 1}), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_trace_ends_with_its_run(tmp_path):
  """As if a signal had come within the traced steps; another process writes nothing, and cuts its calls alike."""
  options = ml_collections.ConfigDict(dict(start=2, steps=6))
  for main in (False, True):
    with profiling.Profile(options, tmp_path, cycle=2, total=20, main=main) as profile:
      assert [profile.cut(*call) for call in ((0, 4), (2, 12), (8, 12))] == [2, 8, 12]
      with profile.call(2, 4) as running:
        running()
  assert list((tmp_path / "profile").rglob("*.xplane.pb")) and (tmp_path / "profile" / "memory.prof").stat().st_size
  assert profiling.Profile(options, tmp_path, cycle=2, total=20, main=False).describe(0).startswith("steps 3 to 8 are")
