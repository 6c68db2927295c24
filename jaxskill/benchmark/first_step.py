"""Seconds from a training command to the end of its first step, cold and warm: a part of `jaxskill.benchmark`.

  python -m jaxskill.benchmark --start-up [--config configs/pros_cons.py] [--config.FIELD=VALUE ...] [--rounds 5]

What runs is `python -m jaxskill.main` as users call it, in processes of their own, until its first call of the compiled
step has ended (a cycle: one step of every phase). A cold start has an empty compilation cache, the warm one after it
that cache; rounds take turns (cold, warm, cold, warm). CPU seconds are those of all threads: on a machine that is busy
with other work they say more than the clock.

Imports nothing slow at the top: the process that is timed begins here.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxskill import cli

KINDS = ("cold", "warm")
_EVENTS = dict(tracing="jaxpr_trace_duration", lowering="jaxpr_to_mlir_module_duration",
               compiling="backend_compile_duration")      # as JAX calls them; reading the cache is compiling to it


def watch() -> None:
  """Runs the command of sys.argv; at the end of its first step writes what it took into a file, and ends the process.

  sys.argv: the file, `time.monotonic()` as the process was started, arguments of `jaxskill.main`.
  """
  file, started, *arguments = sys.argv[1:]
  cli.listen(thread=False)
  from jaxskill import main
  use_cache = cli.use_compilation_cache

  def use_cache_and_watch() -> None:       # the last that `main` calls before it imports what trains
    use_cache()
    import jax

    from jaxskill import ablations, train  # noqa: F401   `main` imports both
    imports, modules = time.monotonic() - float(started), sorted(sys.modules)
    spans = {part: [] for part in _EVENTS}
    programs = []

    def compiled(event: str, start_time: float, end_time: float, **_: Any) -> None:
      if event.endswith(_EVENTS["compiling"]):
        programs.append(event)
      for part, name in _EVENTS.items():       # of the thread that trains: waiting for others is the rest
        if event.endswith(name) and threading.current_thread() is threading.main_thread():
          spans[part].append(end_time - start_time)
    jax.monitoring.register_event_time_span_listener(compiled)
    take = train.Trainer.take

    def take_and_end(trainer: Any, *arguments: Any) -> None:
      take(trainer, *arguments)
      jax.block_until_ready(trainer.state)
      wall, cpu = time.monotonic() - float(started), time.process_time()
      parts = dict(imports=imports, data=trainer.clock.seconds["data"])
      parts |= {part: sum(found) for part, found in spans.items()}
      parts |= {"first step": trainer.clock.seconds["training"]}
      pathlib.Path(file).write_text(json.dumps(dict(
          wall=wall, cpu=cpu, programs=len(programs), parts=parts | dict(rest=wall - sum(parts.values())),
          imported=modules, loaded=sorted(sys.modules))), encoding="utf-8")
      os._exit(0)                          # without the checkpoint that is being written
    setattr(train.Trainer, "take", take_and_end)
  setattr(cli, "use_compilation_cache", use_cache_and_watch)
  main.main(arguments, main.begin)


def start(arguments: Sequence[str], cache: pathlib.Path) -> dict[str, Any]:
  """Starts `jaxskill.main` in a process of its own, up to the end of its first step.

  Args:
    arguments: of the command, without --workdir.
    cache: folder of the compilation cache.

  Returns:
    Seconds "wall" and "cpu", {what those of the main thread went to: seconds} as "parts", number of "programs" that
    were compiled or read; names of the modules that were "imported" before anything was done and "loaded" at the end.

  Raises:
    ValueError: if it fails, after it has said why.
  """
  with tempfile.TemporaryDirectory(prefix="jaxskill_start_") as place:
    report = pathlib.Path(place) / "report.json"
    command = [sys.executable, "-c", "from jaxskill.benchmark.first_step import watch; watch()", str(report),
               repr(time.monotonic()), *arguments, "--workdir", str(pathlib.Path(place) / "run")]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          env=os.environ | dict(JAX_COMPILATION_CACHE_DIR=str(cache)))
    if done.returncode or not report.exists():
      said = done.stderr.strip().splitlines()
      raise ValueError(f"the command did not take its first step (status {done.returncode}): "
                       f"{said[-1] if said else 'it said nothing'}")
    return json.loads(report.read_text(encoding="utf-8"))


def measure(arguments: Sequence[str], rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
  """Returns {"cold", "warm": {"wall", "cpu": seconds of each round, "parts", "programs" of the median round}}."""
  starts = {kind: [] for kind in KINDS}
  with tempfile.TemporaryDirectory(prefix="jaxskill_cache_") as caches:
    for index in range(rounds):
      for kind in KINDS:
        starts[kind].append(start(arguments, pathlib.Path(caches) / str(index)))
        say(f"round {index + 1} of {rounds}, {kind}: {starts[kind][-1]['wall']:.2f} s")
  result = {}
  for kind, found in starts.items():
    middle = sorted(found, key=lambda one: one["wall"])[(rounds - 1) // 2]
    result[kind] = {name: [one[name] for one in found] for name in ("wall", "cpu")} | {
        name: middle[name] for name in ("parts", "programs")}
  return dict(arguments=list(arguments), starts=result, cpus=os.cpu_count(), load_average=os.getloadavg()[0])


def describe(measured: Mapping[str, Any]) -> str:
  """Returns in words what `measure` returned."""
  rounds = len(measured["starts"]["cold"]["wall"])
  lines = [f"python -m jaxskill.main {' '.join(measured['arguments'])}: to the end of the first step, median of "
           f"{rounds} rounds (range)",
           f"{measured['cpus']} CPU cores, load average {measured['load_average']:.1f} at the end"]
  for kind, found in measured["starts"].items():
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in found["parts"].items())
    lines += [f"  {kind}: {_spread(found['wall'])} s, of the CPU {_spread(found['cpu'])} s",
              f"    {parts}; {found['programs']} programs"]
  return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
  return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process; raises SystemExit with one line after a mistake."""
  from jaxskill.benchmark import systems
  from jaxskill.benchmark.throughput import answer
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--start-up", action="store_true", help="this command")
  parser.add_argument("--config", default="", metavar="FILE[:OPTIONS]", help="config file; default: of the first "
                      "system of jaxskill/benchmark/systems whose starts are timed")
  parser.add_argument("--rounds", type=int, default=5, help="cold and warm starts, each")
  parser.add_argument("--json", default="", type=cli.path, help="file for all numbers")
  options, overrides = cli.parse(parser, argv)

  def measured(say: Callable[[str], None]) -> dict[str, Any]:
    file = options.config or next(filter(lambda name: systems.find(name).start_up, systems.names()))
    cli.read_config(file, overrides)       # a mistake is said at once
    if options.rounds < 1:
      raise ValueError(f"--rounds={options.rounds} must be at least 1.")
    return measure(["--config", file, *overrides], options.rounds, say)
  answer(measured, describe, options.json)
