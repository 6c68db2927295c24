"""Two processes on one machine, as two hosts without accelerators: they train as one, and stop, die and go on as one.

A start costs seconds, so one run is interrupted again and again, and the pair that ends it trains another one, too. Every
method is compiled three times, so one stands for all, of pairs, which compiles quickly. The other systems, those with
exemplars too, two that are killed at once, and a process that is silent but not gone, are left to `-m slow`.
"""

import json
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxskill import cli, train
from tests import commands, cores
from tests.places import REPO

FEW = ["--config.plots=False", "--config.train.dtype=float32", "--config.train.eval_steps=100"]
BRIEF = [*FEW, "--config.train.checkpoint_steps=100"]
PAIRS = "whos_better"              # a method of pairs that compiles quickly
LONG = [*FEW, "--config.train.epochs=30", "--config.train.checkpoint_steps=16"]           # 300 steps
ALL = """
import json, os, sys
import pytest
from jaxskill.main import main
from tests.known_programs import Known
Known().patch(pytest.MonkeyPatch())         # a run that is gone on with traces nothing anew
for command in json.loads(sys.argv[1]):
  main([word.replace("{HOST}", os.environ["JAX_PROCESS_ID"]) for word in command])
"""
HEARTBEAT, GRACE, SLACK = 30, 5, 25            # seconds: what we set, what `hosts` waits, what a busy machine may take


@pytest.fixture
def pair(tmp_path, without_torch):
  """pair(arguments of Python, ...) starts both processes of a run; what still runs at the end is killed."""
  kept = commands.environment(without_torch, tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "xla"),
                              JAXSKILL_HEARTBEAT_SECONDS=str(HEARTBEAT))
  started = []

  def pair(*arguments):
    with socket.socket() as free:
      free.bind(("localhost", 0))
      address = f"localhost:{free.getsockname()[1]}"
    for number in "01":
      told = dict(JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=number)
      with cores.every_one():
        started.append(subprocess.Popen([sys.executable, *map(str, arguments)], cwd=REPO, env=kept | told, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    return started[-2:]

  yield pair
  for process in started:
    if process.poll() is None:
      process.kill()
    process.communicate()


def finish(process):
  out, err = process.communicate(timeout=180)
  return process.returncode, out, err


def lines(workdir):
  return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def results(workdir):
  return json.loads((workdir / "results.json").read_text())


def newest(workdir):
  """The newest step that is saved, 0 without."""
  return max((int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit()), default=0)


def reach(step, workdir, processes):
  """Waits until a step after this one is saved."""
  end = time.monotonic() + 120
  while newest(workdir) <= step:
    for process in processes:
      assert process.poll() is None, finish(process)
    assert time.monotonic() < end
    time.sleep(0.005)
  return newest(workdir)


def begin(pair, system, workdir):
  """Starts a training, or goes on with it."""
  return pair("-m", "jaxskill.main", *command(system, workdir))


def interrupt(pair, workdir):
  """Trains by the command line, twice to a sudden end, and sees what is said each time."""
  both = begin(pair, PAIRS, workdir)
  reach(0, workdir, both)
  both[1].send_signal(signal.SIGTERM)
  (code, out, err), (other_code, other_out, other_err) = map(finish, both)
  assert (code, other_code) == (128 + signal.SIGTERM,) * 2, err + other_err
  stopped = int(re.search(r"stopped by a signal at step (\d+)", out)[1])
  assert stopped == newest(workdir) and "on 2 cpu devices of 2 hosts" in out and "hosts" not in other_out

  both = begin(pair, PAIRS, workdir)
  lost = reach(stopped, workdir, both)
  both[1].kill()
  begun = time.monotonic()
  code, out, err = finish(both[0])
  assert time.monotonic() - begun < HEARTBEAT + GRACE + SLACK
  assert code == 2 and "jaxskill: process 0 of 2 cannot go on, most likely because another one has ended" in err, err
  assert f"resumed from step {stopped}" in out
  assert "Traceback" not in err and not (workdir / "results.json").exists()
  return lost


def command(system, workdir):
  changes = LONG if system in (PAIRS, "pros_cons") else BRIEF
  return ["--config", f"configs/{system}.py:tiny", *changes, "--workdir", str(workdir)]


def train_together(pair, folder, systems, *before):
  """Trains systems, one after the other, by one pair of processes; returns what process 0 prints."""
  commands = [*before, *(command(system, folder / "host{HOST}" / system) for system in systems)]
  (code, out, err), (other_code, other_out, other_err) = map(finish, pair("-c", ALL, json.dumps(commands)))
  assert (code, other_code) == (0, 0), err + other_err
  assert "on test" in out and "on test" not in other_out
  assert not (folder / "host1").exists()               # hosts need no common disk: one of them writes
  return out


def check_like_one(folder, systems):
  """Trains the same in this process, on two devices."""
  for system in systems:
    _, config, *overrides = command(system, "")[:-2]
    alone = train.run(cli.read_config(config, [*overrides, "--config.devices=2"])[0], folder / "one" / system)
    together = results(folder / "host0" / system)
    assert (alone["hosts"], together["hosts"]) == (1, 2) and len(alone["devices"]) == len(together["devices"]) == 2
    losses = [[entry["loss"] for entry in lines(folder / run / system)] for run in ("host0", "one")]
    np.testing.assert_allclose(*losses, rtol=1e-4, err_msg=system)
    scores = [list(made["replicas"][0]["scores"].values()) for made in (alone, together)]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5, err_msg=system)


def test_two_processes(pair, tmp_path, quick_compile):
  interrupted, whole = tmp_path / "interrupted", tmp_path / "host0" / PAIRS
  lost = interrupt(pair, interrupted)
  out = train_together(pair, tmp_path, [PAIRS], command(PAIRS, interrupted))
  assert int(re.search(r"resumed from step (\d+)", out)[1]) >= lost
  assert results(interrupted)["params_sha256"] == results(whole)["params_sha256"]
  assert [entry["loss"] for entry in lines(interrupted)] == [entry["loss"] for entry in lines(whole)]
  check_like_one(tmp_path, [PAIRS])


@pytest.mark.slow
def test_two_processes_of_the_other_systems(pair, tmp_path, quick_compile):
  systems = "pros_cons", "core", "spatial_attention", "action_net", "skilldiff"
  train_together(pair, tmp_path, systems)
  check_like_one(tmp_path, systems)


@pytest.mark.slow
def test_both_are_killed_at_once(pair, tmp_path):
  """Also process 0, which leaves the lock of the folder behind; training of two phases in turn."""
  both = begin(pair, "pros_cons", tmp_path)
  saved = reach(0, tmp_path, both)
  for process in both:
    process.kill()
  for process in both:
    finish(process)
  (code, out, err), (other_code, _, other_err) = map(finish, begin(pair, "pros_cons", tmp_path))
  assert (code, other_code) == (0, 0), err + other_err
  assert int(re.search(r"resumed from step (\d+)", out)[1]) >= saved


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system stops no process")
@pytest.mark.parametrize("silent", [0, 1])
def test_silent_process_ends_the_other(pair, tmp_path, silent):
  """As behind a broken network: its connections stay, and only its signs of life are missing."""
  both = begin(pair, PAIRS, tmp_path)
  reach(0, tmp_path, both)
  both[silent].send_signal(signal.SIGSTOP)
  begun = time.monotonic()
  code, _, err = finish(both[1 - silent])
  assert time.monotonic() - begun < HEARTBEAT + GRACE + SLACK
  assert code and re.search("another task died|heartbeat|cannot go on", err), err
