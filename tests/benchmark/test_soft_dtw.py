"""The benchmark of soft-DTW, on tiny shapes and through its command line."""

import importlib.util
import json

import numpy as np
import pytest

from jaxskill.benchmark import soft_dtw as benchmark


@pytest.mark.parametrize("shapes, more", [([(2, 5)], []), pytest.param([(2, 5), (4, 3)], ["naive"], marks=pytest.mark.slow)])
def test_command_line_measures_and_checks_all_contenders(tmp_path, capsys, monkeypatch, shapes, more):
  """Each has a process of its own."""
  real = importlib.util.find_spec
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ott" else real(name))
  path = tmp_path / "results.json"
  benchmark.main(["--contenders", ",".join([*more, "jaxskill,ott,jaxskill+D2,naive+D2"]), "--width", "4",
                  "--shapes", ",".join(f"{pairs}x{segments}" for pairs, segments in shapes), "--rounds", "2", "--json", str(path)])
  results = json.loads(path.read_text())
  assert [(case["pairs"], case["segments"]) for case in results["results"]] == shapes
  for case in results["results"]:
    assert set(case["contenders"]) == {*more, "jaxskill", "naive+D2", "jaxskill+D2"}
    for row in case["contenders"].values():
      assert len(row["rounds"]) == 2 and 0 < row["min_s"] <= row["median_s"] <= row["max_s"] < 60
      assert row["value_error"] < 1e-5 and row["gradient_error"] < 1e-4      # all compute the same
    assert case["contenders"]["jaxskill"]["times"] == case["contenders"]["jaxskill+D2"]["times"] == 1
    assert case["contenders"]["naive+D2"]["beside"] == "jaxskill+D2"
  output = capsys.readouterr()
  assert "2 x 5             jaxskill" in output.out and "left out: ott (ott not installed)" in output.out
  assert "left out: ott needs ott: pip install 'jaxskill[bench]'" in output.err
  results["machine"]["platform"] = "gpu"
  results["results"][0]["contenders"]["ott"] = results["results"][0]["contenders"]["naive+D2"] | dict(
      times=2.5, beside="jaxskill")
  text = benchmark.describe(results)
  assert "2 x 5: jaxskill 2.50 x as fast as ott" in text and "model of the kernel on an H200" in text


@pytest.mark.parametrize("arguments,message", [
    (["--contenders", "jaxskill,keras"], "keras unknown; use jaxskill, checkpointed, pallas, scan, naive, ott"),
    (["--contenders", "naive"], "no jaxskill to compare with"),
    (["--contenders", "jaxskill,pysdtw+D2"], "pysdtw+D2 unknown"),
    (["--contenders", "jaxskill,ott+two"], "ott+two unknown"),
    (["--contenders", "jaxskill+D3,jaxskill", "--shapes", "2x3"], "jaxskill+D3 can not share the 2 pairs"),
    (["--contenders", "jaxskill+D99,jaxskill", "--shapes", "99x3"], "needs 99 devices, JAX sees 8"),
    (["--shapes", "8x32,64"], "must be PAIRSxSEGMENTS"),
    (["--rounds", "0"], "must be 1 or more"),
    (["--width", "-1"], "--width not negative"),
    (["--json", "/no/such/folder/file.json"], "there is no such folder"),
])
def test_bad_options_are_named(arguments, message, capsys):
  with pytest.raises(SystemExit) as stopped:
    benchmark.main(arguments)
  assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_sizes_of_the_tiled_kernels(capsys, monkeypatch):
  asked = []
  monkeypatch.setattr(benchmark, "run", lambda *given: asked.append(given) or dict(results=[]))
  monkeypatch.setattr(benchmark, "describe", lambda results: "")
  for arguments in (["--shapes", "tiled"], ["--shapes", "tiled", "--width", "1"], []):
    benchmark.main(arguments)
  assert [(list(shapes), width) for _, shapes, width, *_ in asked] == [
      (list(benchmark.TILED), 64), (list(benchmark.TILED), 1), (list(benchmark.SHAPES), 512)]
  assert {(16, 128), (32, 2048)} <= set(benchmark.TILED) and len(benchmark.TILED) == 8


def test_model_is_traffic_for_many_pairs_and_latency_for_long_series():
  many, long = benchmark.model((132, 512)), benchmark.model((1, 4096))
  assert many["traffic_s"] > 0 and long["latency_s"] > long["traffic_s"]
  assert np.isclose(many["latency_s"], 2 * 1023 * 0.16e-6)
  assert benchmark.model((133, 512))["latency_s"] == 2 * many["latency_s"]
