"""python -m jaxskill.benchmark.frames [--size paper|tiny] [--dtype float32 bfloat16] [--steps N] [--batch N]

Seconds of a training step of CoRe on frames, through I3D and the tree, from frames on disk to the next parameters, and
the memory of the process, which every dtype has to itself. Random frames and weights; the time does not depend on
either.
"""

from __future__ import annotations

import argparse
import multiprocessing
import pathlib
import resource
import tempfile
import time

from jaxskill import cli

SIZES = dict(paper=dict(), tiny={"data.frames.count": 26, "data.frames.size": (44, 36), "model.i3d.crop": 32,
                                 "model.i3d.starts": (0, 10)})


def measure(size, dtype, steps, batch, results):
  """Puts {"first_s", "step_s": one a step, "clips", "device", "peak_gb"} into a queue; runs in a process of its own."""
  import jax
  import numpy as np

  from jaxskill import train
  from jaxskill.data.dataset import Fold, SkillDataset, VideoFiles
  from jaxskill.training.parallel import Parallel
  cli.use_compilation_cache()
  config, _ = cli.read_config("configs/core.py:frames")
  config.update_from_flattened_dict(SIZES[size] | {
      "model.weights": "random:0", "train.dtype": dtype, "train.batch_size": batch, "train.steps_per_call": 1,
      "data.device_budget": 0.0, "data.validation_share": 0.0})
  with tempfile.TemporaryDirectory() as folder:
    files, count = [], 2 * batch + 2
    for number in range(count):
      files.append(pathlib.Path(folder) / f"{number}.npy")
      shape = (config.data.frames.count, *reversed(config.data.frames.size), 3)
      np.save(files[-1], np.random.default_rng(number).integers(0, 256, shape, np.uint8))
    frames, none = VideoFiles(files), np.zeros(0, np.int32)
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
  clips = trainer.num_unique * len(config.model.i3d.starts)
  results.put(dict(first_s=times[0], step_s=times[1:], clips=clips, device=jax.devices()[0].device_kind,
                 peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9))


def main(argv=None):
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark.frames", description=__doc__, allow_abbrev=False,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--size", choices=SIZES, default="paper", help="103 frames 455 x 256, crops of 224; or tiny")
  parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
  parser.add_argument("--steps", type=int, default=1, help="after the first, which compiles")
  parser.add_argument("--batch", type=int, default=1, help="pairs of a step")
  options = parser.parse_args(argv)
  with cli.command():
    compare(options)


def compare(options):
  """Prints the time and memory of a step in each precision."""
  context = multiprocessing.get_context("spawn")
  for dtype in options.dtype:
    results = context.SimpleQueue()
    process = context.Process(target=measure, args=(options.size, dtype, options.steps, options.batch, results))
    process.start()
    process.join()
    if process.exitcode:
      raise ValueError(f"the step in {dtype} ended with exit code {process.exitcode}, see above.")
    found = results.get()
    steps = ", ".join(f"{seconds:.2f}" for seconds in found["step_s"])
    print(f"{dtype}: {options.batch} pair(s), {found['clips']} clips: first step {found['first_s']:.1f} s with "
          f"compiling, then {steps or '-'} s; peak memory of the process {found['peak_gb']:.2f} GB; {found['device']}",
          flush=True)


if __name__ == "__main__":
  cli.listen()
  main()
