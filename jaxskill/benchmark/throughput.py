"""Step throughput of a system, against the machine's own limit and against the published way of computing.

What is timed is `train.Trainer.advance`, the path that training takes, on random features in memory, or in a file where
a form says so. Contenders take their rounds in turn (A B A B), so that a machine that slows down does so for all. On a
CPU each has its own process; on an accelerator, which may belong to one process at a time, all of ours share one. A
time per step is the mean over whole cycles (one step of every phase: ranking and attention in Pros & Cons); compilation
is apart.

With --start-up it is another command: a training command to the end of its first step (`--start-up --help`).

With --suite it is another command: all of the benchmarks in a given time (`--suite --help`).

A form says what differs from the config, its words joined by "+":
  unique | siamese, float32 | bfloat16, leaky | joint   as in config.train
  official                                              the published code's variant; the peer computes the same
  R4, D2, B512                                          replicas (seeds) in one program; devices, all if not said;
                                                        items of a batch
  A1, A4                                                with R4: replicas that train at once, the others after them; if
                                                        not said, one on a CPU, all on an accelerator
  F4, C3                                                ACTION-NET: replicas of folds, each with its own videos, and of
                                                        criteria; F4+C3+R5 is the four apparatus of Rhythmic Gymnastics,
                                                        three scores and five seeds
  stream                                                features are handed over cycle by cycle, from memory
  holes                                                 the same out of a file of zeros that takes no room on the disk
  V600                                                  training videos
  plain, inscan                                         spatial attention: the convolution as lax.conv; all of the
                                                        network inside the recurrence
  vote                                                  CoRe: not a step, but 64 videos against 10 exemplars each
  torch[+compile][+dx][+autocast]                       the peer; compile: by torch.compile, whose time is apart; dx:
                                                        with the gradient of the features too
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxskill import cli, files
from jaxskill.benchmark import start
from jaxskill.benchmark.contenders import Worker, configure, is_peer, sized
from jaxskill.benchmark.peers import possible
from jaxskill.benchmark.systems import Shape, System, find

ENVIRONMENT = re.compile("(XLA|JAX|OMP|MKL|KMP|TORCH|LIBTPU|CUDA|NVIDIA|MALLOC)_|LD_PRELOAD|GLIBC_TUNABLES")
NO_TORCH = "the peer needs PyTorch, which is not installed: pip install 'jaxskill[bench]', or leave it out."


def run(config: ConfigDict, official: Callable[..., Any] | None, shape_name: str, *, forms: Sequence[str] = (),
        peer: str = "", num_steps: int = 0, rounds: int = 0, limit: int = 0, full: bool = False,
        start_up: bool = True, say: Callable[[str], None] = print) -> dict[str, Any]:
  """Runs the benchmark; the options are those of the command line.

  Returns:
    All numbers, ready for JSON.

  Raises:
    ValueError: for what is unknown or not there.
  """
  system = find(config.method)
  _check(system, shape_name, peer, num_steps, rounds, limit)
  shape, rounds = system.shapes[shape_name], rounds or (3 if peer else 5)
  chosen = [*(forms or system.forms),
            *possible((form for form in system.peer_forms if peer and (is_peer(form) or not forms)), say)]
  configs = {form: configure(config, form, shape, official) for form in chosen}
  if any(map(is_peer, configs)) and importlib.util.find_spec("torch") is None:
    raise ValueError(NO_TORCH)
  shared, workers = Worker(), {}
  try:
    machine = shared.ask("", "peak", *system.peak(shape))
    devices = () if forms else (2 ** i for i in range(20) if 2 ** i < machine["device_count"])
    configs |= {form: configure(config, form, shape, official) for form in (f"bfloat16+D{n}" for n in devices)}
    known, stopped = _set_up(configs, workers, shared, shape, machine["platform"], num_steps, limit, say)
    samples, peaks = _time(workers, shared, rounds, say)
    _finish(known, workers, full, say)
  finally:
    for worker in {shared, *workers.values()}:
      worker.shutdown()
  layouts = {dtype: {name: float(np.median([p[dtype][name] for p in peaks])) for name in values}
             for dtype, values in peaks[0].items()}
  best = {dtype: max(values.values()) for dtype, values in layouts.items()}
  results = dict(
      method=config.method, shape_name=shape_name, shape=shape._asdict(), rounds=rounds, stopped=stopped, limit_s=limit,
      matmul_flops_per_s=layouts,
      machine=machine | dict(cpus=os.cpu_count(), load_average=os.getloadavg()[0], command=sys.argv),
      environment={k: v for k, v in sorted(os.environ.items()) if ENVIRONMENT.match(k)}, matmul_peak=best,
      forms={form: known[form] | rates(seconds, known[form], sized(shape, form), best, system.items)
             for form, seconds in samples.items()},
      ratios=_ratios(samples))
  if system.start_up and start_up and shape_name == "paper":
    results["start_up"] = start.measure(configure(config, "unique", shape, official), shape, peer, say)
  return results


def _check(system: System, shape_name: str, peer: str, num_steps: int, rounds: int, limit: int) -> None:
  """Raises a `ValueError` for an option that is unknown or out of range."""
  if shape_name not in system.shapes:
    raise ValueError(f"--shape={shape_name} is unknown; use one of {', '.join(system.shapes)}.")
  if peer not in ("", "torch"):
    raise ValueError(f"--peer={peer} is unknown; the only peer is torch.")
  if min(num_steps, rounds, limit) < 0:
    raise ValueError(f"--steps={num_steps}, --rounds={rounds} and --limit={limit} must not be negative.")


def _set_up(configs: Mapping[str, ConfigDict], workers: dict[str, Any], shared: Worker, shape: Shape, platform: str,
            num_steps: int, limit: int, say: Callable[[str], None]) -> tuple[dict[str, Any], list[str]]:
  """Starts a worker for every form, where it may have one of its own, and lets it take its first steps.

  Args:
    configs: {form: its config}.
    workers: {form: `Worker`}, filled here, so that the caller can end them whatever happens.
    shared: the worker of all forms that share a device.
    limit: seconds that a form with a worker of its own may take; 0 for as many as it needs.

  Returns:
    ({form: what it says of itself}, forms that took too long).
  """
  known, stopped = {}, []
  for form, config in configs.items():
    say(f"setting up {form}")
    worker = Worker() if platform == "cpu" or is_peer(form) else shared
    workers[form] = worker
    try:
      known[form] = worker.ask(form, "torch" if is_peer(form) else "jax", config, shape, form, num_steps,
                               limit=0 if worker is shared else limit)
    except concurrent.futures.process.BrokenProcessPool:
      if not limit or worker is shared:
        raise
      say(f"{form} had not taken its first two steps after {limit} s and was stopped")
      stopped.append(form)
      del workers[form]
  return known, stopped


def _time(workers: Mapping[str, Worker], shared: Worker, rounds: int,
          say: Callable[[str], None]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
  """Returns ({form: seconds a step in each round}, what the machine's own limit was in each): forms take turns."""
  samples, peaks = {form: [] for form in workers}, []
  for index in range(rounds):
    for form, worker in workers.items():
      samples[form].append(worker.seconds(form))
      say(f"round {index + 1} of {rounds}: {form} {1e3 * samples[form][-1]:.3g} ms/step")
    peaks.append(shared.ask("", "round"))
  return samples, peaks


def _finish(known: dict[str, Any], workers: Mapping[str, Worker], full: bool, say: Callable[[str], None]) -> None:
  """Adds memory and FLOPs to what is known of each form; with `full`, trains ours to the end."""
  for form, worker in workers.items():
    known[form] |= worker.ask(form, "finish")
    if full and not is_peer(form):
      say(f"training {form} to the end")
      known[form]["full"] = worker.ask(form, "full")


def _ratios(samples: Mapping[str, Any]) -> dict[str, Any]:
  """Returns {form of ours: {peer, or our first form: how many times as fast}}, medians over rounds of what is alike."""
  ours, peers = [form for form in samples if not is_peer(form)], [form for form in samples if is_peer(form)]
  return {form: {other: float(np.median(np.divide(samples[other], samples[form]))) for other in [*peers, *ours[:1]]
                 if other != form and kind(other) == kind(form)} for form in ours}


def kind(form: str) -> set[str]:
  """Returns the words of a form that say what is timed: only times of the same are compared."""
  return {word for word in form.split("+") if word == "vote" or re.fullmatch(r"B\d+", word)}


def remark(form: str, times: Mapping[str, float]) -> str:
  """Returns what is said of a peer beside its ratio: whether it is the faster one of eager and compiled.

  Args:
    form: of the peer, or of ours.
    times: {form: how many times as fast ours is}.
  """
  def plain(other: str) -> list[str]:
    return [word for word in other.split("+") if word != "compile"]
  alike = [other for other in times if is_peer(other) and plain(other) == plain(form)]
  return " (the faster of both)" if len(alike) > 1 and form == min(alike, key=lambda other: times[other]) else ""


def rates(seconds: Sequence[float], known: Mapping[str, Any], shape: Shape, peak: Mapping[str, float],
          items: str = "pairs") -> dict[str, Any]:
  """Returns what follows from the rounds of one contender; rates are those of the median round."""
  step_s, flops = float(np.median(seconds)), known["model_flops"] or np.nan
  sides = known["batch_size"] * (2 if items == "pairs" else 1)
  videos = sides if known["encode"] == "siamese" else min(sides, shape.train_videos)
  return dict(
      ms_per_step=dict(median=1e3 * step_s, min=1e3 * min(seconds), max=1e3 * max(seconds),
                       rounds=[1e3 * s for s in seconds]),
      steps_per_s=1 / step_s, **{f"{items}_per_s": known["batch_size"] * known["replicas"] / step_s},
      encodes_per_s=videos * known["replicas"] / step_s, flops_per_s=flops / step_s,
      peak_share=flops / step_s / (peak[known["dtype"]] * known["devices"]),
      estimated_task_s=known["epochs"] * known["steps_per_epoch"] * step_s if known["epochs"] else None)


def number(value: float | None) -> str:
  """Returns a number as text, with three digits and a unit."""
  if not value or not np.isfinite(value):
    return "-"
  scale, unit = next(((s, u) for s, u in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if value >= s), (1, ""))
  return f"{value / scale:.3g}{unit}"


def duration(seconds: float) -> str:
  """Returns seconds in words: "90.0 s", "2.0 min", "2.0 h"."""
  if seconds < 120:
    return f"{seconds:.1f} s"
  return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def describe(results: Mapping[str, Any]) -> str:
  """Returns the results as text."""
  machine, system = results["machine"], find(results["method"])
  rows = [f"form,replicas,compile s,ms/step (range),CPU ms,steps/s,{system.items}/s,encodes/s,FLOP/step,by XLA,FLOP/s,"
          f"of peak,program B,peak B,{system.epochs} epochs".split(",")]
  for form, result in results["forms"].items():
    median, low, high, _ = result["ms_per_step"].values()
    rows.append([form, str(result["replicas"]), number(result.get("compile_s")),
                 f"{median:.4g} ({low:.4g}..{high:.4g})", number(result.get("cpu_ms")),
                 *(number(result[name]) for name in ("steps_per_s", f"{system.items}_per_s", "encodes_per_s",
                                                     "model_flops", "compiled_flops", "flops_per_s")),
                 f"{result['peak_share']:.1%}",
                 number(result["program_bytes"]), number(result["peak_memory_bytes"]),
                 "-" if result["estimated_task_s"] is None else duration(result["estimated_task_s"])])
  widths = [max(map(len, column)) for column in zip(*rows)]
  peaks = (f"{dtype} {number(results['matmul_peak'][dtype])}FLOP/s ({max(values, key=values.get)})"
           for dtype, values in results["matmul_flops_per_s"].items())
  lines = [
      f"{results['method']}, shape {results['shape_name']}: "
      + ", ".join(f"{k} {v}" for k, v in results["shape"].items()),
      f"{machine['device_count']} device(s), {machine['devices'][0]}; {machine['cpus']} CPU cores, load average "
      f"{machine['load_average']:.1f} at the end; jax {machine['versions']['jax']}",
      "environment: " + (" ".join(f"{k}={v}" for k, v in results["environment"].items()) or "default"),
      f"matmul peak, measured in the same rounds: {', '.join(peaks)}", "",
      *("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows), "",
      f"Features are in memory where a form says nothing else. ms/step: median of {results['rounds']} interleaved "
      "rounds, compilation apart. CPU ms: of all cores, a step.",
      f"FLOP/step: {system.note} program: arguments, results and temporaries; peak: of the "
      + ("process" if machine["platform"] == "cpu" else "device, all our forms so far")
      + f". {system.epochs} epochs: arithmetic, not a run.", ""]
  for form, ratios in results["ratios"].items():
    lines += [f"{form}: " + ", ".join(f"{x:.3g}x as fast as {other}{remark(other, ratios)}"
                                      for other, x in ratios.items())] if ratios else []
  lines += [f"{form}: stopped, its first two steps took more than {results['limit_s']} s, compilation included"
            for form in results["stopped"]]
  lines += [f"{form}: {result['ms_per_step']['median'] / result['replicas']:.4g} ms a step and model, "
            f"{result['replicas']} models in one program"
            for form, result in results["forms"].items() if result["replicas"] > 1]
  lines += [f"{form}, really trained: {result['full']['steps']} steps in {duration(result['full']['seconds'])}, "
            "compilation included" for form, result in results["forms"].items() if "full" in result]
  if "start_up" in results:
    lines += start.describe(results["start_up"])
  return "\n".join(lines)


def answer(measure: Callable[..., Any], describe: Callable[..., Any], path: str) -> None:
  """Measures, prints and writes, as a benchmark's command ends; a mistake of the user's is one line.

  Args:
    measure: called with say(text) -> results.
    describe: results -> text.
    path: of a JSON file for all numbers, or "".

  Raises:
    SystemExit: with status 2, as `cli.command` turns an error of the user's.
  """
  with cli.command():
    if path and not pathlib.Path(path).resolve().parent.is_dir():
      raise ValueError(f"--json={path}: there is no such folder; make it first.")
    try:
      results = measure(lambda text: print(text, file=sys.stderr, flush=True))
    except (AttributeError, concurrent.futures.BrokenExecutor) as error:   # a shape's field; a worker that died
      raise ValueError(str(error)) from error
    print(describe(results))
    if path:
      files.save_json(pathlib.Path(path), results)
      print(f"\nwrote {path}")


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  cli.add_config(parser, "config file")
  add("--shape", default="paper", help="sizes: paper, tiny; of Pros & Cons also small")
  add("--forms", default="", help="comma-separated; default: SYSTEM.forms of jaxskill/benchmark/systems/<method>.py, "
      "and bfloat16 on fewer devices")
  add("--peer", default="", help="torch: also SYSTEM.peer_forms")
  add("--steps", type=int, default=0,
      help="of a round; default SYSTEM.cpu_steps (siamese a cycle, ten replicas or more 2) on a CPU, else 10 calls")
  add("--rounds", type=int, default=0, help="default 5, with --peer 3")
  add("--limit", type=int, default=0, help="seconds that a form on a CPU may take to set up; a slower one is named")
  add("--no-start-up", dest="start_up", action="store_false", help="do not time loading and starting at shape paper")
  add("--full", action="store_true", help="really train all of the paper's epochs with every form of ours")
  add("--json", default="", type=cli.path, help="file for all numbers")
  options, overrides = cli.parse(parser, argv)

  def measure(say: Callable[[str], None]) -> dict[str, Any]:
    forms = [form for form in options.forms.split(",") if form]
    return run(*cli.read_config(options.config, overrides), options.shape, forms=forms, peer=options.peer,
               num_steps=options.steps, rounds=options.rounds, limit=options.limit, full=options.full,
               start_up=options.start_up, say=say)
  answer(measure, describe, options.json)
