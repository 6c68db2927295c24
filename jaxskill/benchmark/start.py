"""Start-up and loading: seconds to the end of the first step, cold and warm; a part of `jaxskill.benchmark`."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_collections
from ml_collections import ConfigDict

from jaxskill import ablations, cli, data, files, train  # noqa: F401   `main` imports them all
from jaxskill.benchmark.systems import Shape, find, random_dataset
from jaxskill.data.published import labels_pairs, official
from jaxskill.methods.common import operand_type
from jaxskill.training import batches
from jaxskill.training.parallel import Parallel


def start() -> None:
  """Starts, in a fresh process, as `train.run` does, and takes one cycle; writes into a file where the time went."""
  config, spawned, workdir = ml_collections.ConfigDict(json.loads(sys.argv[1])), float(sys.argv[2]), sys.argv[3]
  marks = {"imports": time.monotonic() - spawned}

  def mark(name: str) -> None:
    marks.update({name: time.monotonic() - spawned - sum(marks.values())})
  cli.use_compilation_cache()
  parallel = Parallel()
  mark("devices")
  dataset = data.load(config.data)
  data.audit(dataset)
  mark("data set")
  trainer = train.Trainer(config, dataset, parallel)
  jax.block_until_ready((trainer.state, trainer.loader.videos))
  mark("features on the device, initial state")
  trainer.advance()
  jax.block_until_ready(trainer.state)
  mark("first steps")
  answer = dict(marks=dict(marks), first_step_s=sum(marks.values()), videos=dataset.num_videos)
  begun = time.monotonic()
  trainer.advance()
  jax.block_until_ready(trainer.state)
  answer["cycle_s"] = time.monotonic() - begun      # the first without its compilation
  folder = pathlib.Path(workdir)
  with train.Checkpoints(folder / "checkpoints") as checkpoints, train.Log(folder, 0, True):
    checkpoints.save(0, trainer.state)
    mark("logs")
  begun = time.monotonic()
  placed = batches.VideoLoader(dataset, dataset.folds, parallel, streams=(config.data.stream,),
                               dtype=operand_type(config), budget=config.data.device_budget)
  jax.block_until_ready([videos for _, videos in placed.all_videos(dataset.num_videos)])
  files.save_json(folder / "start.json", answer | dict(
      logs_s=marks["logs"], map_s=marks["data set"], place_s=time.monotonic() - begun))


def measure(config: ConfigDict, shape: Shape, peer: str, say: Callable[[str], None], rounds: int = 3) -> dict[str, Any]:
  """Times loading and starting on simulated features in the official layout, in a temporary folder.

  Returns:
    prepare_s (once in a data set's life), with the peer npz_batch_s (see there), and starts: {dtype of the config,
    bfloat16: {cold, warm}}, warm the median of `rounds`; all in seconds.

  Raises:
    ValueError: if a fresh process fails to start, with what it says.
  """
  from jaxskill.benchmark.contenders import copy  # not what a fresh process should import
  with tempfile.TemporaryDirectory(prefix="jaxskill_benchmark_") as place:
    folder, config = pathlib.Path(place), copy(config)
    (rows, width), = find(config.method).streams(shape, config).values()
    files, begun = official_layout(folder, shape, rows, width), time.perf_counter()
    official.load_official("best", str(folder / "best"), "origami")
    result: dict[str, Any] = dict(prepare_s=time.perf_counter() - begun, starts={})
    if peer:
      result["npz_batch_s"] = importlib.import_module(find(config.method).peer).npz_batch(files, shape)
    config.data.update(dir=str(folder / "best"), name="best", task="origami")
    config.train.steps_per_call = 1           # rounded up to a cycle
    for dtype in dict.fromkeys([operand_type(config).name, "bfloat16"]):
      config.train.dtype, starts = dtype, []
      for index in range(rounds + 1):
        say(f"{dtype}: start {index}, " + ("warm" if index else "cold"))
        workdir = folder / f"{dtype}{index}"
        workdir.mkdir()
        command = [sys.executable, "-c", "from jaxskill.benchmark.start import start; start()", config.to_json()]
        done = subprocess.run([*command, repr(time.monotonic()), str(workdir)], check=False,
                              env=os.environ | dict(JAX_COMPILATION_CACHE_DIR=str(folder / f"cache_{dtype}")))
        if done.returncode:
          raise ValueError(f"a fresh process failed to start (code {done.returncode}); see above.")
        starts.append(json.loads((workdir / "start.json").read_text()))
      cold, *warm = starts
      result["starts"][dtype] = dict(cold=cold, warm=sorted(warm, key=lambda s: s["first_step_s"])[rounds // 2])
    return result


def official_layout(folder: pathlib.Path, shape: Shape, rows: int, width: int) -> list[pathlib.Path]:
  """Writes simulated features of one task in the layout of BEST, `[rows, width]` a video; returns the npz files."""
  from jaxskill.data.simulation import like_published
  data = random_dataset(shape, dict(rgb=(1, 1)))
  splits = folder / "labels" / "splits" / "origami"
  splits.mkdir(parents=True)
  fold = data.folds[0]
  for file, pairs in zip(labels_pairs.FOLD_FILES["best"]["official"], (fold.train_pairs, fold.test_pairs)):
    (splits / file).write_text("".join(f"{data.videos[a]} {data.videos[b]}\n" for a, b in data.pairs[pairs]))
  for file, ids in zip(labels_pairs.VIDEO_LISTS["best"], (fold.train_videos, fold.test_videos)):
    (splits / file).write_text("".join(f"{data.videos[i]}\n" for i in ids))
  like_published.write_like(folder / "labels", folder / "best", num_segments=rows, width=width)
  return sorted((folder / "best" / "features").rglob("*.npz"))


def describe(measured: Mapping[str, Any]) -> list[str]:
  """Returns lines of text on what `measure` returned."""
  lines = ["", f"start-up on simulated features in the page cache, prepared once in {measured['prepare_s']:.1f} s"]
  for dtype, name in itertools.product(measured["starts"], ("cold", "warm")):
    one = measured["starts"][dtype][name]
    parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in one["marks"].items())
    lines += [f"  {dtype}, {name}: {one['first_step_s']:.2f} s to the end of the first step of every phase ({parts}), "
              f"of which the steps themselves take {one['cycle_s']:.2f};",
              f"    training opens checkpoints and logs before it: {one['logs_s']:.2f}; {one['videos']} prepared "
              f"videos mapped and checked in {1e3 * one['map_s']:.0f} ms, put on the device "
              f"in {1e3 * one['place_s']:.0f} ms"]
  if "npz_batch_s" in measured:
    lines += ["  reading two npz files a pair, as the published loader does: "
              f"{1e3 * measured['npz_batch_s']:.0f} ms a batch, on top of the peer's step (one process)"]
  return lines
