"""All models of a table, folds x seeds of every task: trained together, and one run after the other.

  python -m jaxskill.benchmark.table --config configs/pros_cons.py [--shape small] [--seeds 5] [--epochs 1]
      [--config.FIELD=VALUE ...]

Features are random, SIMULATED, of the sizes of a published data set's tasks; videos are put on the device once a
program. Three ways take the same steps of the same models: one program for all, a program for each task, and a program
for each model, as so many runs would. Programs are compiled for each anew, but those of other seeds are read from a
cache, as runs after the first read them. Left out, for all alike: starting Python, evaluations, checkpoints.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from ml_collections import ConfigDict

from jaxskill import cli, files, train
from jaxskill.benchmark.contenders import configure, copy
from jaxskill.benchmark.systems import Task, find
from jaxskill.benchmark.throughput import answer
from jaxskill.data import Fold, SkillDataset
from jaxskill.host import peak_bytes
from jaxskill.methods.common import operand_type
from jaxskill.training.parallel import Parallel
from jaxskill.training.stopping import CallLength

COMPARED = 1000      # numbers of each parameter of each model, of which is said how far ways end apart


def dataset_of(tasks: Mapping[str, Task], streams: Mapping[str, tuple[int, ...]], seed: int = 0) -> SkillDataset:
  """Draws random features of the videos of all tasks; pairs and scores follow a hidden order of the videos.

  Args:
    tasks: {name: sizes}; their folds follow one another.
    streams: {name: (rows, channels)}.
  """
  rng = np.random.default_rng(seed)
  first = np.cumsum([0, *(task.videos for task in tasks.values())])
  count = int(first[-1])
  order = rng.permutation(count)                                          # from the best to the worst
  pairs, folds, count_of_pairs = [], [], 0
  for (name, task), start in zip(tasks.items(), first):
    ranked = order[(order >= start) & (order < start + task.videos)]
    every = np.array(list(itertools.combinations(ranked, 2)), np.int32)
    rows = np.arange(count_of_pairs, count_of_pairs + len(every))
    for number in range(task.folds):
      sides = np.split(rng.permutation(ranked), [task.train_videos])
      within = [rng.permutation(rows[np.isin(every, side).all(axis=1)]).astype(np.int32) for side in sides]
      training, test = (np.sort(side).astype(np.int32) for side in sides)
      folds.append(Fold(f"{name}{number}", training, test, within[0][: task.pairs], within[1]))
    pairs.append(every)
    count_of_pairs += len(every)
  features = {name: rng.standard_normal((count, *size), np.float32) for name, size in streams.items()}
  return SkillDataset(
      name="random features", source=__name__, videos=tuple(f"random{i}" for i in range(count)), streams=features,
      lengths={name: np.full(count, size[0], np.int32) for name, size in streams.items()}, pairs=np.concatenate(pairs),
      simulated=True, features_checked=True, folds=tuple(folds), score_range=(0, 100),
      score=(100 * (1 - np.argsort(order) / count)).astype(np.float32))


def ways(tasks: Mapping[str, Task], seeds: Sequence[int]) -> dict[str, list[tuple[list[int], list[int]]]]:
  """Returns {how the models of a table are trained: [(folds, seeds) of each program]}."""
  ends = np.cumsum([task.folds for task in tasks.values()])
  of_tasks = [list(range(end - task.folds, end)) for end, task in zip(ends.tolist(), tasks.values())]
  every = list(range(int(ends[-1])))
  return {"one program": [(every, list(seeds))],
          "a program a task": [(folds, list(seeds)) for folds in of_tasks],
          "a program a model": [([fold], [seed]) for fold in every for seed in seeds]}


def train_all(config_json: str, tasks: Mapping[str, Task], shape_name: str,
              programs: Sequence[tuple[list[int], list[int]]]) -> dict[str, Any]:
  """Trains the models of a table program by program, in a process of its own.

  Args:
    config_json: of all of them.
    tasks, shape_name: of the data.
    programs: (folds, seeds) of each.

  Returns:
    {"compile_s", "steps_s", "processor_s", "peak_bytes" of the process, "models": {(fold, seed): some of its
    parameters}}.
  """
  config = ml_collections.ConfigDict(json.loads(config_json))
  system = find(config.method)
  dataset = dataset_of(tasks, system.streams(system.shapes[shape_name], config))
  spent, models = np.zeros(3), {}
  for folds, seeds in programs:
    config = copy(config)
    config.folds, config.seeds = folds, seeds
    seconds, trainer = train_one(config, dataset)
    spent += seconds
    leaves = [np.asarray(leaf).reshape(len(leaf), -1)[:, :COMPARED] for leaf in jax.tree.leaves(trainer.state.params)]
    models |= dict(zip(((r.fold, r.seed) for r in trainer.replicas), np.concatenate(leaves, axis=1)))
  return dict(zip(("compile_s", "steps_s", "processor_s"), spent.tolist()), peak_bytes=peak_bytes(), models=models)


def train_one(config: ConfigDict, dataset: SkillDataset) -> tuple[np.ndarray, train.Trainer]:
  """Trains one program to its end, in calls as a training makes them.

  Returns:
    (seconds `[3]`: until it is compiled, of the steps, of the processors in these; the trainer).
  """
  begun = time.perf_counter()
  trainer = train.Trainer(config, dataset, Parallel())
  step: Any = trainer.first_call()                                        # (compiled function, its arguments)
  step[0].lower(*step[1]).compile()
  jax.block_until_ready((trainer.state, trainer.loader.videos))
  ready, processor = time.perf_counter(), time.process_time()
  length = CallLength(len(trainer.method.phases))
  while left := trainer.total - int(trainer.state.step):
    start, count = time.perf_counter(), length.steps(min(left, trainer.per_call))
    trainer.take(count)
    length.took(count, time.perf_counter() - start)
  return np.array([ready - begun, time.perf_counter() - ready, time.process_time() - processor]), trainer


def begin(folder: str) -> None:
  """Sets a process up: what it compiles is kept in a folder."""
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def run(config: ConfigDict, table: str, shape_name: str, seeds: int, epochs: int,
        say: Callable[[str], None] = print) -> dict[str, Any]:
  """Trains the models of a table in each of the ways; the options are those of the command line.

  Returns:
    All numbers, ready for JSON.

  Raises:
    ValueError: for what is unknown or not there.
  """
  system = find(config.method)
  table = table or next(iter(system.tables), "")
  if table not in system.tables:
    raise ValueError(f"--table={table}: config.method={config.method!r} has " +
                     (f"only {', '.join(system.tables)}." if system.tables else "no table; give another config."))
  if shape_name not in system.shapes:
    raise ValueError(f"--shape={shape_name} is unknown; use one of {', '.join(system.shapes)}.")
  if min(seeds, epochs) < 1:
    raise ValueError(f"--seeds={seeds} and --epochs={epochs} must be at least 1.")
  tasks, shape = system.tables[table], system.shapes[shape_name]
  config = configure(config, operand_type(config).name, shape, None)
  config.train.epochs, found, ends = epochs, {}, {}
  for way, programs in ways(tasks, range(seeds)).items():
    say(f"training {len(programs)} program(s): {way}")
    with (tempfile.TemporaryDirectory() as folder, concurrent.futures.ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), begin, (folder,)) as process):
      found[way] = process.submit(train_all, config.to_json(), tasks, shape_name, programs).result()
    models = found[way].pop("models")
    found[way] |= dict(programs=len(programs), apart=max(
        float(np.abs(ends.setdefault(name, model) - model).max()) for name, model in models.items()))
  steps = seeds * sum(task.folds * epochs * -(-task.pairs // shape.batch_size) for task in tasks.values())
  return dict(method=config.method, table=table, shape_name=shape_name, shape=shape._asdict(), seeds=seeds,
              epochs=epochs, dtype=config.train.dtype, models=len(ends), model_steps=steps, ways=found,
              machine=files.provenance(Parallel()))


def describe(results: Mapping[str, Any]) -> str:
  """Returns the results as text."""
  steps, alone = results["model_steps"], results["ways"]["a program a model"]
  total = lambda way: way["compile_s"] + way["steps_s"]
  rows = [("way,programs,all s,compile s,steps s,processor s,ms/step and model,of a program a model: all,steps,"
           "processor,peak GB").split(",")]
  for name, way in results["ways"].items():
    rows.append([name, str(way["programs"]), *(f"{seconds:.1f}" for seconds in (
        total(way), way["compile_s"], way["steps_s"], way["processor_s"])), f"{1e3 * way['steps_s'] / steps:.4g}",
        f"{total(way) / total(alone):.2f}", *(f"{way[part] / alone[part]:.2f}" for part in ("steps_s", "processor_s")),
        f"{way['peak_bytes'] / 1e9:.2f}"])
  widths = [max(map(len, column)) for column in zip(*rows)]
  machine = results["machine"]
  return "\n".join([
      f"{results['method']}, {results['table']}, sizes {results['shape_name']}, SIMULATED: {results['models']} models, "
      f"{steps} steps in all, {results['epochs']} epoch(s), {results['dtype']}; {machine['devices'][0]}, jax "
      f"{machine['versions']['jax']}",
      *("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows),
      "compile s: all before the first step. Largest difference of a parameter from one program: "
      f"{max(way['apart'] for way in results['ways'].values()):.2g}."])


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark.table", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  cli.add_config(parser, "config file")
  add("--table", default="", help="data set; default: the first of SYSTEM.tables of "
      "jaxskill/benchmark/systems/<method>.py")
  add("--shape", default="paper", help="other sizes, as of jaxskill.benchmark")
  add("--seeds", type=int, default=5, help="models of each fold")
  add("--epochs", type=int, default=1, help="that they are trained for")
  add("--json", default="", type=cli.path, help="file for all numbers")
  options, overrides = cli.parse(parser, argv)

  def measure(say: Callable[[str], None]) -> dict[str, Any]:
    config, _ = cli.read_config(options.config, overrides)
    return run(config, options.table, options.shape, options.seeds, options.epochs, say)
  answer(measure, describe, options.json)


if __name__ == "__main__":
  cli.listen()
  main()
