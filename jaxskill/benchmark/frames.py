"""Time and memory of a training step that trains a video network too, from frames on disk to the next parameters.

  python -m jaxskill.benchmark.frames --config FILE:frames [--dtype float32 bfloat16] [--steps N] [--batch N]
      [--config.FIELD=VALUE ...]

Each dtype has a process of its own, whose peak memory is reported. Frames and weights are random; the time does not
depend on either.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pathlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from jax.typing import DTypeLike
from ml_collections import ConfigDict

from jaxskill import cli


def read(file: str, overrides: Sequence[str], dtype: DTypeLike, batch: int) -> ConfigDict:
  """Returns the config of a step on random frames.

  Args:
    file: path of a config file with its options, as `--config` takes it.
    overrides: --config.FIELD=VALUE, each.
    dtype: "float32" or "bfloat16", of the operands of matrix products.
    batch: pairs or videos of a step.

  Raises:
    ValueError: if the config cannot be read, or trains on features.
  """
  config, _ = cli.read_config(file, overrides)
  if "frames" not in config.data or not config.data.frames.count:
    raise ValueError(f"--config={file} trains on features; give one that trains on frames, e.g. "
                     "configs/core.py:frames.")
  config.update_from_flattened_dict({
      "model.weights": "random:0", "train.dtype": dtype, "train.batch_size": batch, "train.steps_per_call": 1,
      "data.device_budget": 0.0, "data.validation_share": 0.0})
  return config


def measure(config: ConfigDict, batch: int, steps: int, results: multiprocessing.queues.Queue[dict[str, Any]]) -> None:
  """Trains `steps` steps after the first, and puts what they took into a queue; runs in a process of its own.

  Args:
    config: see `read`.
    batch: pairs or videos of a step.
    steps: after the first, which compiles.
    results: the queue; gets {"first_s": seconds, "step_s": seconds of each step, "videos": that a step encodes,
      "device", "peak_gb": of the process}.
  """
  import jax
  import numpy as np

  from jaxskill import train
  from jaxskill.data.dataset import Fold, SkillDataset, VideoFiles
  from jaxskill.host import peak_bytes
  from jaxskill.training.parallel import Parallel
  cli.keep_memory()
  cli.use_compilation_cache()
  with tempfile.TemporaryDirectory() as folder:
    files, count = [], 2 * batch + 2
    for number in range(count):
      files.append(pathlib.Path(folder) / f"{number}.npy")
      shape = (config.data.frames.count, *reversed(config.data.frames.size), 3)
      np.save(files[-1], np.random.default_rng(number).integers(0, 256, shape, np.uint8))
    frames: Any = VideoFiles(files)
    none = np.zeros(0, np.int32)
    dataset = SkillDataset(
        name="random frames", source=__name__, videos=tuple(map(str, range(count))), streams=dict(frames=frames),
        lengths=dict(frames=np.full(count, frames.shape[1], np.int32)), pairs=np.zeros((0, 2), np.int32),
        simulated=True, score=np.arange(count, dtype=np.float32), features_checked=True,
        folds=(Fold("random", np.arange(count - 2), np.arange(count - 2, count), none, none),))
    trainer, times = train.Trainer(config, dataset, Parallel(1)), []
    for _ in range(steps + 1):
      start = time.perf_counter()
      trainer.advance()
      jax.block_until_ready(trainer.state)
      times.append(time.perf_counter() - start)
  results.put(dict(first_s=times[0], step_s=times[1:], videos=trainer.num_unique,
                   device=jax.devices()[0].device_kind,
                   peak_gb=peak_bytes() / 1e9))


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process."""
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark.frames", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  cli.add_config(parser, "a config that trains on frames")
  parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
  parser.add_argument("--steps", type=int, default=1, help="after the first, which compiles")
  parser.add_argument("--batch", type=int, default=1, help="pairs or videos of a step")
  options, overrides = cli.parse(parser, argv)
  with cli.command():
    compare(options, overrides)


def compare(options: argparse.Namespace, overrides: Sequence) -> None:
  """Prints the time and memory of a step in each precision.

  Args:
    options: of the command line.
    overrides: --config.FIELD=VALUE, each.

  Raises:
    ValueError: if the config cannot be used, or a process ends without an answer.
  """
  context = multiprocessing.get_context("spawn")
  for dtype in options.dtype:
    results = context.SimpleQueue()
    config = read(options.config, overrides, dtype, options.batch)
    process = context.Process(target=measure, args=(config, options.batch, options.steps, results))
    process.start()
    process.join()
    if process.exitcode:
      raise ValueError(f"the step in {dtype} ended with exit code {process.exitcode}, see above.")
    found = results.get()
    steps = ", ".join(f"{seconds:.2f}" for seconds in found["step_s"])
    print(f"{dtype}: batch of {options.batch}, {found['videos']} videos: first step {found['first_s']:.1f} s with "
          f"compiling, then {steps or '-'} s; peak memory of the process {found['peak_gb']:.2f} GB; {found['device']}",
          flush=True)


if __name__ == "__main__":
  cli.listen()
  main()
