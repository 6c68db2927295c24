"""Whether soft-DTW runs as a kernel: what the suite saw decides, once a run, and never against what is named."""

import types

import ml_collections
import numpy as np
import pytest

from jaxskill import measured
from jaxskill.modules.soft_dtw import wavefront
from jaxskill.training import kernels, run_folder

GPU = types.SimpleNamespace(platform="gpu", device_kind="a GPU")
CPU = types.SimpleNamespace(platform="cpu", device_kind="cpu")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
  monkeypatch.setattr(measured, "place", lambda: tmp_path)


def decided(workdir, named="auto", device=GPU):
  config = ml_collections.ConfigDict(dict(model=dict(soft_dtw=named)))
  made, said = kernels.decide(config, workdir, device)
  assert config.model.soft_dtw == named
  return made.model.soft_dtw, said


def test_what_the_suite_saw_decides_and_is_said(tmp_path):
  form, said = decided(tmp_path)
  assert form == "scan" and "has not been found faster here by jaxskill.benchmark --suite" in said
  assert decided(tmp_path, device=CPU) == ("scan", "")
  measured.keep(measured.SOFT_DTW, measured.kind(GPU), 3.0)
  assert decided(tmp_path) == ("kernel", "soft-DTW: kernel (the kernel was faster here; config.model.soft_dtw names one)")
  assert decided(tmp_path, "scan") == ("scan", "") and decided(tmp_path, device=CPU)[0] == "scan"
  other = types.SimpleNamespace(platform="gpu", device_kind="another")
  measured.keep(measured.SOFT_DTW, measured.kind(other), 1.1)
  assert decided(tmp_path, device=other)[0] == "scan" and decided(tmp_path)[0] == "kernel"
  (tmp_path / measured.SOFT_DTW).write_text("{")
  assert decided(tmp_path)[0] == "scan"
  assert kernels.decide(ml_collections.ConfigDict(dict(model={})), tmp_path, GPU)[1] == ""


def test_a_run_keeps_the_form_it_began_with(tmp_path):
  workdir, older = tmp_path / "run", tmp_path / "older"
  measured.keep(measured.SOFT_DTW, measured.kind(GPU), 3.0)
  form, _ = decided(workdir)
  run_folder.claim(workdir, ml_collections.ConfigDict(dict(model=dict(soft_dtw=form))))
  run_folder.claim(older, ml_collections.ConfigDict(dict(model=dict(hidden=2))))      # of a version without a choice
  assert decided(older)[0] == "scan"
  (tmp_path / measured.SOFT_DTW).unlink()
  assert decided(workdir) == ("kernel", "soft-DTW: kernel, as this run began")
  later = dict(soft_dtw=decided(older)[0], free_ends="none", hidden=2)
  run_folder.claim(older, ml_collections.ConfigDict(dict(model=later)))
  with pytest.raises(ValueError, match='soft_dtw is not set there and "kernel" here|soft_dtw is "scan" there'):
    run_folder.claim(older, ml_collections.ConfigDict(dict(model=later | dict(soft_dtw="kernel"))))


@pytest.mark.parametrize("device,rows,dtype,expected", [
    (("gpu", "9.0"), 5, np.float32, "gpu"), (("tpu", ""), 5, np.float32, "tpu"), (("gpu", "8.0"), 5, np.float32, "scan"),
    (("cpu", ""), 5, np.float32, "scan"), (("gpu", "9.0"), 4097, np.float32, "scan"),
    (("gpu", "9.0"), 5, np.float64, "scan")])
def test_the_kernel_runs_where_there_is_one(monkeypatch, device, rows, dtype, expected):
  monkeypatch.setattr(wavefront, "_device", lambda: device)
  monkeypatch.setattr(wavefront, "faster_form", lambda _: "kernel")
  for name in ("kernel", "auto"):
    assert wavefront.choose(name, np.zeros((rows, 1), dtype)) == expected
  monkeypatch.setattr(wavefront, "faster_form", lambda _: "scan")
  assert wavefront.choose("auto", np.zeros((rows, 1), dtype)) == "scan"
