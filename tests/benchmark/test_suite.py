"""The suite of all benchmarks: its command, its plan, and that no entry harms the others. Nothing here is timed."""

import itertools
import json
import os
import subprocess
import sys
import time
import types

import pytest

from jaxskill import measured
from jaxskill.benchmark.suite import command, measures, report, roof
from jaxskill.benchmark.suite import entries as suite_entries
from jaxskill.benchmark.suite.watched import Process, Stopped
from jaxskill.methods import names
from jaxskill.modules import onnx_networks
from tests.benchmark import entries
from tests.conftest import QUICK_FLAGS
from tests.processes import has_glibc, running

MACHINE = dict(platform="cpu", device="a cpu", device_count=1, cpus=4, no_kernels="no kernel for a cpu", layouts={},
               products=dict(float32=1e11, bfloat16=4e10), bandwidth=1e10, devices=["cpu: cpu"], git_revision="abc")
GPU = MACHINE | dict(platform="gpu", device_count=2, no_kernels="", products=dict(float32=5e13, bfloat16=7e14))


def empty_results(**fields):
  return dict(kind=report.KIND, format=report.FORMAT, machine=MACHINE, shape="tiny", minutes=1.0, lines=[], not_run=[],
              load_average=[0.0, 0.0]) | fields


def test_the_command_measures_writes_and_compares(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("XLA_FLAGS", QUICK_FLAGS)            # of the process that measures
  options = ["--suite", "--shape", "tiny", "--minutes", "20", "--only", "other type: core|DTW 2 x 5$|pallas"]
  command.main([*options, "--out", str(tmp_path / "new")])
  results = json.loads((tmp_path / "new" / "suite.json").read_text())
  step, alignment = results["lines"]
  name = f"core {step['dtype']}"                          # whichever is the slower type of so small products
  assert [step["name"], alignment["name"]] == [name, "soft-DTW 2 x 5, scan"] and results["format"] == 1
  assert results["machine"]["device"] == measured.kind(measures.jax.devices()[0])
  assert step["compile_s"] > 0 and step["program_bytes"] > 0 and step["flops"] == 230912
  assert step["peak_bytes"] > step["program_bytes"]
  assert step["bytes"] >= 131672                          # parameters and Adam's moments, twice
  for line in results["lines"]:
    assert 0 < line["min_s"] <= line["median_s"] <= line["max_s"] and 2 <= len(line["rounds"]) <= measures.ROUNDS
    assert line["shares"]["products"] == pytest.approx(line["flops"] / line["products"] / line["median_s"])
    assert line["limit"] == roof.limit(line["shares"])
  assert results["not_run"] == [dict(name="soft-DTW, pallas", group="soft-DTW", why=results["machine"]["no_kernels"])]
  page = (tmp_path / "new" / "suite.md").read_text()
  assert f"| {name} | " in page and "* soft-DTW, pallas: implementation='pallas' has no kernel" in page
  assert (tmp_path / "new" / "suite.png").read_bytes().startswith(b"\x89PNG") and page in capsys.readouterr().out

  slower = dict(median_s=3 * step["median_s"], min_s=1.1 * step["max_s"], max_s=4 * step["max_s"])
  old = results | dict(lines=[step | slower, alignment])
  found = report.compare(tmp_path / "old.json", old, results)
  assert found["same"] and found["lines"][name]["ratio"] == 3 and not found["lines"][name]["within"]
  assert found["lines"]["soft-DTW 2 x 5, scan"]["within"]
  assert "| 3.00 |  |" in report.markdown(results | dict(against=found))


def test_an_entry_that_is_slow_fails_or_dies_leaves_the_others(tmp_path):
  said, entry = [], lambda name, function, *arguments, **fields: suite_entries.Entry(
      name, "a group", function, arguments, **dict(seconds=30.0, rounds_s=0.0) | fields)
  suite = command.Suite(tmp_path, empty_results(minutes=0.5), time.monotonic() + 1000, said.append)
  planned = [entry("first", entries.quick, 1.0), entry("fails", entries.fails), entry("ends", entries.ends),
             entry("alone", entries.quick, 0.5, fresh=True, beside="first"), entry("slow", entries.slow, seconds=0.1),
             entry("no kernel", entries.slow, refusal="it has none"), entry("long", entries.slow, seconds=1e5),
             entry("last", entries.quick, 2.0)]
  suite._slower += [1.0] * 20
  begun = time.monotonic()
  suite.run(planned)
  assert time.monotonic() - begun < 600                   # and not the quarter of an hour that the slow one takes
  results = json.loads((tmp_path / "suite.json").read_text())
  assert [line["name"] for line in results["lines"]] == ["first", "alone", "last"]
  why = {entry["name"]: entry["why"] for entry in results["not_run"]}
  assert list(why) == ["fails", "ends", "slow", "no kernel", "long"]
  assert why["fails"] == "ValueError: no such thing" and "status 3" in why["ends"] and why["slow"] == "stopped after 3 s"
  assert why["no kernel"] == "it has none" and why["long"].startswith("no time left: about 100000 s needed, ")
  page = (tmp_path / "suite.md").read_text()
  assert "2.00 x first" in page and "* slow: stopped after 3 s" in page


def test_a_run_that_is_cut_off_leaves_what_it_has(tmp_path):
  suite = command.Suite(tmp_path, empty_results(), time.monotonic() + 1000, lambda _: None)
  suite.ask = lambda limit, function, *arguments: function(*arguments)

  def cut_off(line):
    raise KeyboardInterrupt
  with pytest.raises(KeyboardInterrupt):
    suite.run([suite_entries.Entry("first", "a", entries.quick, (1.0,)), suite_entries.Entry("cut", "a", cut_off)])
  results = json.loads((tmp_path / "suite.json").read_text())
  assert [line["name"] for line in results["lines"]] == ["first"] and (tmp_path / "suite.md").exists()


def test_nothing_is_begun_when_the_time_is_over(tmp_path):
  suite = command.Suite(tmp_path, empty_results(), time.monotonic() + 20, lambda _: None)
  suite._slower = [2.0]                                   # a slow machine
  suite.ask = lambda *_: pytest.fail("was begun")
  suite.run([suite_entries.Entry("first", "a", entries.quick, (1.0,), seconds=10.0, rounds_s=2.0)])
  assert "about 22 s needed" in suite.results["not_run"][0]["why"]


@pytest.mark.skipif(not has_glibc(), reason="the C library is another")
@pytest.mark.parametrize("keeps", [True, False])
def test_an_entry_says_whether_its_process_keeps_freed_memory(keeps, tmp_path, monkeypatch):
  for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
    monkeypatch.delenv(name)
  monkeypatch.setenv("NUMPY_MADVISE_HUGEPAGE", "0")
  suite = command.Suite(tmp_path, empty_results(), time.monotonic() + 1000, lambda _: None)
  suite.run([suite_entries.Entry("pages", "a", entries.pages, fresh=True, keeps=keeps)])
  (line,) = suite.results["lines"]
  assert line["pages"] < 100 if keeps else line["pages"] > 10_000


def test_processes_share_what_comes_again(tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "of the user"))
  suite = command.Suite(tmp_path, empty_results(), time.monotonic() + 1000, lambda _: None, str(tmp_path / "cache"))
  suite.run([suite_entries.Entry("shared", "a", entries.cache),
             suite_entries.Entry("alone", "a", entries.cache, fresh=True)])
  assert {(line["cache"], line["fusions"]) for line in suite.results["lines"]} == {(str(tmp_path / "cache"), "none")}


@pytest.mark.parametrize("heard", ["limits", "core"])
def test_a_signal_leaves_no_folder_and_says_nothing_else(heard, tmp_path):
  """What is compiled is kept in a folder of the suite's own, which goes with it, whatever its process is doing."""
  folders = tmp_path / "temporary"
  folders.mkdir()
  command_line = [sys.executable, "-m", "jaxskill.benchmark", "--suite", "--shape", "tiny", "--only", "steps: core",
                  "--out", str(tmp_path / "out")]
  with running(command_line, stderr=subprocess.PIPE, text=True,
               env=os.environ | dict(TMPDIR=str(folders), XLA_FLAGS=QUICK_FLAGS)) as process:
    while heard not in (line := process.stderr.readline()):
      assert line
    time.sleep(1)                                           # its process has begun
    process.terminate()
    _, said = process.communicate(timeout=60)
  assert process.returncode == 143 and said.endswith("\njaxskill: stopped by SIGTERM\n"), said
  assert said.count("jaxskill:") == 1 and "its process ended" not in said and not [*folders.iterdir()], said


def test_a_step_that_is_slow_takes_few_rounds(monkeypatch):
  seconds, clock = itertools.count(), itertools.count(0, 4)                         # each look is four seconds later
  monkeypatch.setattr(measures, "time", types.SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: 0))
  assert measures.rounds({"": lambda: next(seconds)}, known=[9.0])[0] == {"": [9.0, 0, 1]}
  monkeypatch.setattr(measures, "MOST_S", 0.0)
  assert measures.rounds({"": lambda: next(seconds)}, known=[9.0])[0] == {"": [9.0, 2]}
  assert measures.rounds({"": lambda: next(seconds)})[0] == {"": [3, 4]}           # never a single one
  monkeypatch.setattr(measures, "MOST_S", 1e9)
  assert measures.rounds({"": lambda: next(seconds)}, known=[9.0])[0] == {"": [9.0, 5, 6, 7, 8]}


def test_a_process_that_is_stopped_is_gone():
  process = Process()
  with pytest.raises(Stopped, match="stopped after 0 s"):
    process.ask(0.01, entries.slow, {})
  assert not process._process.is_alive()


@pytest.mark.parametrize("shape", ["paper", "tiny"])
@pytest.mark.parametrize("machine", [MACHINE, GPU, MACHINE | dict(cpus=1)], ids=["cpu", "gpu", "one core"])
def test_plan(machine, shape):
  """All systems, most important first; the faster type of the machine first."""
  planned = suite_entries.plan(machine, shape)
  assert all(entry.fresh and entry.keeps for entry in planned if entry.function is measures.step and not entry.refusal)
  timed = [repr(entry.arguments) for entry in planned if entry.function is measures.step and not entry.refusal]
  assert len(set(timed)) == len(timed)                    # or the second would be compiled by the cache
  groups = [entry.group for entry in planned]
  assert sorted(groups, key=suite_entries.GROUPS.index) == groups and set(groups) == set(suite_entries.GROUPS)
  first = [entry.name for entry in planned if entry.group == "training steps"]
  fast = "bfloat16" if machine is GPU else "float32"
  assert {f"{name} {fast}" for name in ("pros_cons", "core", "action_net", "skilldiff", "spatial_attention")} == set(first)
  assert {name.split()[0] for name in first} <= set(names())
  lines = {f"{entry.name.partition(',')[0]}, {form}" for entry in planned if entry.function is measures.alignment and not entry.refusal
           for form in entry.arguments[2]} | {entry.name for entry in planned}
  assert {entry.beside for entry in planned} - {""} <= lines              # what is compared with is measured
  kernels = [entry for entry in planned if entry.name == "soft-DTW, pallas"]
  assert bool(kernels) != any("pallas" in line for line in lines - {"soft-DTW, pallas"})
  counts = {entry.devices for entry in planned if entry.group == "devices"}
  assert counts == ({1} if machine["cpus"] == 1 else {2} if machine is GPU else {2, 4})
  if machine["cpus"] == 1:
    assert [entry.refusal for entry in planned if entry.group == "devices"] == ["there is one device"]
  if shape == "paper":
    assert 100 < sum(entry.seconds + entry.rounds_s for entry in planned) < 3600
    assert any(entry.name.endswith("(sixteen)") for entry in planned)


@pytest.mark.parametrize("machine,lacks,multiplies,expected", [
    (MACHINE, "", True, {"float32": "", "bfloat16": ""}),
    (MACHINE, "", False, {"float32": "", "bfloat16": "this processor does not multiply bfloat16"}),
    (MACHINE, "openvino is missing", True, {"float32": "openvino is missing", "bfloat16": "openvino is missing"}),
    (GPU, "", True, {})])
def test_a_plan_says_why_openvino_is_not_measured(machine, lacks, multiplies, expected, monkeypatch):
  monkeypatch.setattr(onnx_networks, "missing", lambda engine: lacks)
  monkeypatch.setattr(onnx_networks, "multiplies_bfloat16", lambda engine: multiplies)
  found = {entry.name: entry.refusal for entry in suite_entries.plan(machine, "paper") if "openvino" in entry.name}
  assert found == {f"{case} {dtype} by openvino": why for case in ("i3d", "resnet50-224")
                   for dtype, why in expected.items()}


@pytest.mark.parametrize("shares,expected", [
    (dict(products=0.8, memory=0.6), "products"), (dict(products=0.3, memory=0.9), "memory"),
    (dict(products=0.49, memory=0.2, host=0.1), "latency"), (dict(host=0.7), "host"), ({}, "latency")])
def test_the_nearest_limit_is_named(shares, expected):
  assert roof.limit(shares) == expected


def test_shares_are_of_the_time_of_a_line():
  line = dict(median_s=2.0, flops=1e9, bytes=4e9, host_share=0.1)
  assert roof.shares(line, 1e9, 4e9) == dict(products=0.5, memory=0.5, host=0.1)
  assert roof.shares(dict(median_s=2.0, flops=None), 1e9, 4e9) == {}


def test_the_verdict_on_the_kernel_needs_all_sizes():
  lines = [dict(name=f"{size}, {form}", median_s=seconds) for size, form, seconds in
           [("a", "scan", 6.0), ("a", "pallas", 1.0), ("b", "scan", 3.0), ("b", "pallas", 2.0)]]
  assert command.verdict(lines, ["a", "b"]) == 1.5 and measured.form(1.5) == "kernel"
  assert command.verdict(lines[:3], ["a", "b"]) is None and command.verdict([], []) is None
  assert measured.form(1.1) == measured.form(None) == "scan"


@pytest.mark.parametrize("content,message", [
    ("{", "holds no results of jaxskill.benchmark --suite"), ("[]", "holds no results"), ("{}", "holds no results"),
    (json.dumps(dict(kind=report.KIND, format=2)), "written by a newer jaxskill (format 2; this one reads 1)"),
    (json.dumps(dict(kind=report.KIND)), "written by an older jaxskill (format 0"),
    (None, "cannot be read")])
def test_other_formats_are_refused(tmp_path, capsys, content, message):
  path = tmp_path / "old.json"
  if content:
    path.write_text(content)
  with pytest.raises(SystemExit) as stopped:
    command.main(["--suite", "--against", str(path), "--out", str(tmp_path / "out"), "--minutes", "0.01"])
  error = capsys.readouterr().err
  assert stopped.value.code == 2 and message in error and len(error.strip().splitlines()) == 1
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options,message", [(["--minutes", "0"], "--minutes=0 must be above 0"),
                                             (["--only", "("], "give a regular expression")])
def test_bad_options_are_named(tmp_path, capsys, options, message):
  with pytest.raises(SystemExit) as stopped:
    command.main(["--suite", "--out", str(tmp_path / "out"), *options])
  assert stopped.value.code == 2 and message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.gpu
def test_a_gpu_times_the_kernels(tmp_path):
  results = command.run(tmp_path, only="soft-DTW 2 x 5$", shape="tiny")
  assert [line["name"] for line in results["lines"]] == ["soft-DTW 2 x 5, scan", "soft-DTW 2 x 5, pallas"]
