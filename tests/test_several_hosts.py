"""Two processes on one machine, as two hosts without accelerators: they train as one, and stop, die and go on as one.

A start costs seconds, so one run is interrupted again and again, and the pair that ends it trains all systems, too.
"""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxskill import cli, train
from jaxskill.training.parallel import Parallel
from tests.conftest import QUICK_FLAGS
from tests.places import REPO

SYSTEMS = ("spatial_attention", "core", "action_net", "skilldiff", "pros_cons")
FEW = ["--config.plots=False", "--config.train.eval_steps=100"]
BRIEF = [*FEW, "--config.train.checkpoint_steps=100"]
LONG = [*FEW, "--config.train.epochs=15", "--config.train.checkpoint_steps=16"]           # 150 steps
ALL = """
import json, os, sys
from jaxskill.main import main
for command in json.loads(sys.argv[1]):
  main([word.replace("{HOST}", os.environ["JAX_PROCESS_ID"]) for word in command])
"""
HEARTBEAT, GRACE, SLACK = 30, 5, 25            # seconds: what we set, what `hosts` waits, what a busy machine may take
OTHERS = "JAX_", "XLA_", "SLURM_", "TPU_", "OMPI_", "MEGASCALE_", "KUBERNETES_", "JOB_COMPLETION_"


@pytest.fixture
def pair(tmp_path, without_torch):
  """pair(arguments of Python, ...) starts both processes of a run; what still runs at the end is killed."""
  kept = {k: v for k, v in os.environ.items() if not k.startswith(OTHERS)} | dict(
      JAX_PLATFORMS="cpu", XLA_FLAGS=QUICK_FLAGS, PYTHONPATH=without_torch, HOME=str(tmp_path),
      JAX_COMPILATION_CACHE_DIR=str(tmp_path / "xla"), JAXSKILL_HEARTBEAT_SECONDS=str(HEARTBEAT))
  started = []

  def pair(*arguments):
    with socket.socket() as free:
      free.bind(("localhost", 0))
      address = f"localhost:{free.getsockname()[1]}"
    for number in "01":
      told = dict(JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES="2", JAX_PROCESS_ID=number)
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


def interrupt(pair, workdir):
  """Trains by the command line, three times to a sudden end, and sees what is said each time."""
  begin = lambda: pair("-m", "jaxskill.main", *command("pros_cons", workdir))
  both = begin()
  reach(0, workdir, both)
  both[1].send_signal(signal.SIGTERM)
  (code, out, err), (other_code, other_out, other_err) = map(finish, both)
  assert (code, other_code) == (128 + signal.SIGTERM,) * 2, err + other_err
  stopped = int(re.search(r"stopped by a signal at step (\d+)", out)[1])
  assert stopped == newest(workdir) and "2 cpu device(s)" in out and "device(s)" not in other_out

  both = begin()
  killed = reach(stopped, workdir, both)
  for process in both:
    process.kill()
  assert f"resumed from step {stopped}" in finish(both[0])[1]
  finish(both[1])

  both = begin()
  lost = reach(killed, workdir, both)
  both[1].kill()
  begun = time.monotonic()
  code, out, err = finish(both[0])
  assert time.monotonic() - begun < HEARTBEAT + GRACE + SLACK
  assert code == 2 and "jaxskill: process 0 of 2 cannot go on, most likely because another one has ended" in err, err
  assert "Traceback" not in err and not (workdir / "results.json").exists()
  return lost


def command(system, workdir):
  changes = LONG if system == "pros_cons" else BRIEF
  return ["--config", f"configs/{system}.py:tiny", *changes, "--workdir", str(workdir)]


def test_two_processes(pair, tmp_path, monkeypatch, quick_compile):
  interrupted = tmp_path / "interrupted"
  lost = interrupt(pair, interrupted)
  commands = [command("pros_cons", interrupted)]
  commands += [command(system, tmp_path / "host{HOST}" / system) for system in SYSTEMS]
  (code, out, err), (other_code, other_out, other_err) = map(finish, pair("-c", ALL, json.dumps(commands)))
  assert (code, other_code) == (0, 0), err + other_err
  assert "Pairwise accuracy" in out and "Pairwise accuracy" not in other_out
  assert not (tmp_path / "host1").exists()               # hosts need no common disk: one of them writes
  assert int(re.search(r"resumed from step (\d+)", out)[1]) >= lost
  whole = tmp_path / "host0" / "pros_cons"
  assert results(interrupted)["params_sha256"] == results(whole)["params_sha256"]
  assert [entry["loss"] for entry in lines(interrupted)] == [entry["loss"] for entry in lines(whole)]

  monkeypatch.setattr(train, "Parallel", functools.partial(Parallel, 2))
  for system in SYSTEMS:
    _, config, *overrides = command(system, "")[:-2]
    alone = train.run(cli.read_config(config, overrides)[0], tmp_path / "one" / system)
    together = results(tmp_path / "host0" / system)
    assert (alone["hosts"], together["hosts"]) == (1, 2) and len(alone["devices"]) == len(together["devices"]) == 2
    losses = [[entry["loss"] for entry in lines(tmp_path / run / system)] for run in ("host0", "one")]
    np.testing.assert_allclose(*losses, rtol=1e-4, err_msg=system)
    scores = [list(made["replicas"][0]["scores"].values()) for made in (alone, together)]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5, err_msg=system)
