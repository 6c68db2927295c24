"""What the compiler for a TPU v5e says of a training step, where there is no TPU: its estimate, beside two bounds.

  python -m jaxskill.benchmark.compilers [--systems NAME ...] [--shape NAME] [--dtype bfloat16 float32] [--json FILE]

Needs the compiler alone (pip install libtpu). It writes into a compiled program how many cycles it takes each operation
for. Their sum over a cycle of training (one step of every phase) stands beside

  products   of the matrix products, by hand, at the chip's peak; in float32 it multiplies six times
  traffic    of parameters and optimizer, read and written once, and of the features of the videos, read once

An estimate is no measurement. It leaves out what has none (kernels, transfers that run beside the rest), and it counts
as traffic what may rest in the chip's own memory of 128 MB from step to step.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import os
import re
import unittest.mock
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from jaxskill import cli, train
from jaxskill.benchmark import contenders, systems
from jaxskill.training.parallel import Parallel

FLOPS, BYTES = 4 * 128 ** 2 * 2, 819e9 / 1.5e9      # of a cycle of a v5e: four units of 128 x 128; 1.5 GHz
PASSES = dict(bfloat16=1, float32=6)                # of a product in bfloat16
PLUGINS = dict(gpu=("jax_cuda12_plugin", "jax_cuda13_plugin"), tpu=("libtpu",))
INSTALL = dict(gpu="pip install 'jaxskill[cuda]'", tpu="pip install libtpu")

# There is no TPU to be asked, and several processes may load the compiler at once.
ENVIRONMENT = dict(TPU_SKIP_MDS_QUERY="1", TPU_ACCELERATOR_TYPE="v5litepod-4", TPU_WORKER_HOSTNAMES="localhost",
                   ALLOW_MULTIPLE_LIBTPU_LOAD="1")

# As much of an H100 as the compiler asks for.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  runtime_version: "12.8.0"
  compile_time_toolkit_version: "12.8.0"
  driver_version: "13.0.0"
  name: "NVIDIA H100 80GB HBM3"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@contextlib.contextmanager
def as_if(kind: str) -> Iterator[None]:
  """Lets code that asks JAX for its platform hear "gpu" or "tpu", and compilers for one load.

  Raises:
    ValueError: if there is no compiler for it.
  """
  if not any(map(importlib.util.find_spec, PLUGINS[kind])):
    raise ValueError(f"there is no compiler for a {kind.upper()} here: {INSTALL[kind]}.")
  jax.devices()                                     # starts with the flags of its own
  with (unittest.mock.patch.dict(os.environ, ENVIRONMENT),
        unittest.mock.patch.object(jax, "default_backend", lambda: kind)):
    os.environ.pop("XLA_FLAGS", None)               # libtpu ends the process at one that it does not know
    yield


@functools.cache
def sharding(kind: str) -> NamedSharding:
  """Returns one device of a kind, an H100 or a v5e."""
  if kind == "gpu":
    topology = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=H100)
  else:
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
  return NamedSharding(Mesh(np.array(topology.devices[:1]), ("device",)), PartitionSpec())


def compile_for(kind: str, function: Callable[..., Any], *arguments: Any) -> jax.stages.Compiled:
  """Returns the program of a function for a device that is not here; within `as_if`."""
  def place(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding(kind))
  traced = jax.jit(function).trace(*jax.tree.map(place, arguments))
  return traced.lower(lowering_platforms=(dict(gpu="cuda", tpu="tpu")[kind],)).compile()


def compile_step(kind: str, trainer: train.Trainer) -> jax.stages.Compiled:
  """Returns the program of many steps on resident videos; see `compile_for`."""
  return compile_for(kind, trainer.step.run, trainer.state, trainer.loader.videos, trainer.tables, np.int32(1))


def estimated_cycles(text: str) -> tuple[float, float]:
  """Returns the cycles of one turn of the loop of training, and of all else, which happens once a call.

  Args:
    text: of a program that was compiled for a TPU. The turns of the loop of training are an argument of the program;
      those of others are a constant in their condition.
  """
  found = re.findall(r"^(?:ENTRY )?%([\w.\-]+) \(.*?\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
  computations, entry = dict(found), re.search(r"^ENTRY %([\w.\-]+)", text, re.MULTILINE)

  def total(name: str) -> np.ndarray:               # [2]
    result = np.zeros(2)
    for line in computations[name].splitlines():
      if loop := re.search(r" while\(.*condition=%([\w.\-]+), body=%([\w.\-]+)", line):
        turns = re.search(r" constant\((\d+)\)", computations[loop[1]])
        within = total(loop[2]).sum()
        result += (0, int(turns[1]) * within) if turns else (within, 0)
      elif " conditional(" in line:
        branches = re.search(r"branch_computations=\{([^}]*)\}|(true_computation=.*)", line)
        result += max((total(branch) for branch in re.findall(r"%([\w.\-]+)", branches[0] if branches else "")),
                      key=np.sum)
      elif called := re.search(r" call\(.*to_apply=%([\w.\-]+)", line):
        result += total(called[1])
      elif alone := re.search(r'"estimated_cycles":"(\d+)"', line):
        result += (0, int(alone[1]))
    return result
  assert entry is not None
  inside, outside = total(entry[1])
  return float(inside), float(outside)


def bounds(trainer: train.Trainer, shape: systems.Shape) -> tuple[float, float]:
  """Returns the least cycles of a cycle of training: of its products, and of its traffic."""
  config, videos = trainer.config, trainer.loader.videos
  assert videos is not None
  flops = systems.find(config.method).flops(config, shape) * len(trainer.method.phases)
  state = sum(x.nbytes for x in jax.tree.leaves((trainer.state.params, trainer.state.opt_state)))
  features = sum(x.nbytes for name in trainer.method.streams for x in jax.tree.leaves(videos[name]))
  seen = features * trainer.num_unique / len(trainer.loader.train)
  return flops * PASSES[config.train.dtype] / FLOPS, (2 * state + seen) / BYTES


def measure(trainer: train.Trainer, shape: systems.Shape, program: jax.stages.Compiled) -> dict[str, Any]:
  """Returns what the compiler for a TPU says of a training, beside its bounds.

  Returns:
    {"cycles" and "bound" of a cycle of training, "ratio" of both; "products" and "traffic" of the bound; "once": cycles
    that are taken once a call; "steps" of a cycle; "bytes" that a program takes while it runs}.
  """
  cycles, once = estimated_cycles(program.as_text() or "")
  products, traffic = bounds(trainer, shape)
  bound, memory = max(products, traffic), program.memory_analysis()
  return dict(cycles=cycles, bound=bound, ratio=cycles / bound, products=products, traffic=traffic, once=once,
              steps=len(trainer.method.phases), bytes=memory.temp_size_in_bytes if memory else None)


def trainer_of(name: str, overrides: Sequence[str], shape_name: str,
               dtype: str) -> tuple[train.Trainer, systems.Shape]:
  """Returns the training of a system on random features, and the sizes of it.

  Raises:
    ValueError: for a system or a shape that is unknown.
  """
  config: ConfigDict
  config, official = cli.read_config(name, overrides)
  shapes = systems.find(config.method).shapes
  if shape_name not in shapes:
    raise ValueError(f"--shape={shape_name} is unknown to {name}; use one of {', '.join(shapes)}.")
  config = contenders.configure(config, dtype, shapes[shape_name], official)
  return train.Trainer(config, contenders.data_of(config, shapes[shape_name]), Parallel(1)), shapes[shape_name]


def describe(found: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns the table of {what was compiled: `measure`}."""
  lines = ["| thousand cycles of a TPU v5e, estimated | all phases | bound | ratio | products | traffic "
           "| once a call | MiB |", "|---|---|---|---|---|---|---|---|"]
  for name, row in found.items():
    parts = " | ".join(f"{row[part] / 1e3:.0f}" for part in ("products", "traffic", "once"))
    lines.append(f"| {name} | {row['cycles'] / 1e3:.0f} | {row['bound'] / 1e3:.0f} | {row['ratio']:.2f} | {parts} | "
                 f"{(row['bytes'] or 0) / 2 ** 20:.0f} |")
  return "\n".join(lines)


def run(chosen: Sequence[str], overrides: Sequence[str], shape: str, dtypes: Sequence[str],
        say: Callable[[str], None]) -> dict[str, Any]:
  """Returns {"system, shape, dtype": `measure`} of all that were chosen.

  Raises:
    ValueError: see `as_if` and `trainer_of`.
  """
  found = {}
  for name in chosen or systems.names():
    for dtype in dtypes:
      say(f"compiling {name} in {dtype}")
      with as_if("tpu"):
        trainer, sizes = trainer_of(name, overrides, shape, dtype)
        found[f"{name}, {shape}, {dtype}"] = measure(trainer, sizes, compile_step("tpu", trainer))
  return found


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the command with `argv`, by default that of the process."""
  from jaxskill.benchmark.throughput import answer
  parser = argparse.ArgumentParser(prog="python -m jaxskill.benchmark.compilers", description=__doc__,
                                   allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--systems", nargs="+", default=(), choices=systems.names(), help="default: all")
  parser.add_argument("--shape", default="paper", help="sizes: paper, tiny; some systems have more")
  parser.add_argument("--dtype", nargs="+", choices=tuple(PASSES), default=["bfloat16"], help="of operands")
  parser.add_argument("--json", default="", type=cli.path, help="file for all numbers")
  options, overrides = cli.parse(parser, argv)
  answer(lambda say: run(options.systems, overrides, options.shape, options.dtype, say), describe, options.json)


if __name__ == "__main__":
  cli.listen()
  main()
