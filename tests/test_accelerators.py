"""Training steps and kernels, compiled by the compilers of a GPU and a TPU that are not here.

Needs the compilers alone: pip install 'jaxskill[cuda]' and libtpu.
"""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxskill import cli, train
from jaxskill.benchmark import contenders, systems
from jaxskill.modules.layers import take
from jaxskill.modules.soft_dtw import soft_alignment, soft_dtw, wavefront
from jaxskill.training import batches
from jaxskill.training.parallel import Parallel
from tests.places import CONFIGS

pytestmark = pytest.mark.compilers
DEVICES = dict(gpu="cuda", tpu="tpu")         # what JAX calls a kind of devices, and the compiler for it

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


ENVIRONMENT = dict(TPU_SKIP_MDS_QUERY="1", TPU_ACCELERATOR_TYPE="v5litepod-4", TPU_WORKER_HOSTNAMES="localhost",
                   ALLOW_MULTIPLE_LIBTPU_LOAD="1")                  # there is no TPU to be asked; by all processes of pytest


@functools.cache
def sharding(kind):
  """One device of a kind, an H100 or a v5e."""
  if kind == "gpu":
    topology = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=H100)
  else:
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
  return NamedSharding(Mesh(np.array(topology.devices[:1]), ("device",)), PartitionSpec())


@pytest.fixture(params=list(DEVICES))
def kind(request, monkeypatch):
  """As if JAX ran on such a device."""
  jax.devices()                                           # starts with its flags
  monkeypatch.delenv("XLA_FLAGS", raising=False)          # libtpu ends the process at one that it does not know
  for name, value in ENVIRONMENT.items():
    monkeypatch.setenv(name, value)
  compilers = dict(gpu=("jax_cuda12_plugin", "jax_cuda13_plugin"), tpu=("libtpu",))[request.param]
  if not any(map(importlib.util.find_spec, compilers)):
    pytest.skip(f"no compiler for a {request.param}: pip install " + dict(gpu="'.[cuda]'", tpu="libtpu")[request.param])
  monkeypatch.setattr(jax, "default_backend", lambda: request.param)
  monkeypatch.setattr(wavefront, "_device", lambda: (request.param, "9.0"))
  return request.param


def compile_for(kind, function, *arguments):
  place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding(kind))
  return jax.jit(function).trace(*jax.tree.map(place, arguments)).lower(lowering_platforms=(DEVICES[kind],)).compile()


# MiB that steps may take while they run, float32 and bfloat16: a third more than they do.
MOST = dict(gpu=dict(pros_cons=(650, 570), spatial_attention=(340, 330), core=(40, 36), action_net=(110, 90),
                     skilldiff=(110, 110)),
            tpu=dict(pros_cons=(240, 240), spatial_attention=(530, 190), core=(90, 6), action_net=(40, 6),
                     skilldiff=(10, 10)))


def compile_step(kind, config, dataset):
  """Compiles many steps of a training, prints and checks the memory."""
  trainer = train.Trainer(config, dataset, Parallel(1))
  memory = compile_for(kind, trainer.step.run, trainer.state, trainer.loader.videos, trainer.tables,
                       np.int32(1)).memory_analysis()
  print(f"{config.method} {config.train.dtype}: arguments {memory.argument_size_in_bytes >> 20} MiB, while it runs "
        f"{memory.temp_size_in_bytes >> 20} MiB")
  assert memory.temp_size_in_bytes >> 20 <= MOST[kind][config.method][config.train.dtype == "bfloat16"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["pros_cons", "spatial_attention", "core", "action_net"])
def test_steps_at_the_papers_sizes(kind, method, dtype):
  config, official = cli.read_config(str(CONFIGS / f"{method}.py"), [])
  shape = systems.find(method).shapes["paper"]
  compile_step(kind, contenders.configure(config, dtype, shape, official), contenders.data_of(config, shape))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_step_of_skilldiff(kind, load_config, make_dataset, dtype):
  data = make_dataset(videos=64, segments=96, width=1024, score_range=(-4.0, 4.0))
  compile_step(kind, load_config("skilldiff", "features", {"train.dtype": dtype}), data)


@pytest.mark.parametrize("shape,dtype", [((400, 1024), "bfloat16"), ((10, 1024), "bfloat16"), ((25, 14, 14, 4096), "float32"),
                                         ((25, 14, 14, 4096), "bfloat16"), ((103, 112, 112, 3), "uint8")])
def test_videos_are_taken_without_a_copy_of_all(kind, shape, dtype):
  videos = jax.eval_shape(batches.as_rows, jax.ShapeDtypeStruct((100, *shape), dtype))
  double = lambda videos, ids: batches.as_maps(jax.tree.map(lambda x: 2 * take(x, ids), videos))
  memory = compile_for(kind, double, videos, jax.ShapeDtypeStruct((3,), jnp.int32)).memory_analysis()
  assert memory.temp_size_in_bytes < 2 ** 20 + 0.1 * memory.argument_size_in_bytes


def test_soft_dtw_reads_diagonal_by_diagonal(kind):
  value = functools.partial(soft_dtw, gamma=0.1, implementation="scan")
  text = compile_for(kind, jax.vmap(jax.value_and_grad(value)), jax.ShapeDtypeStruct((64, 512, 512), jnp.float32)).as_text()
  loops = "".join(line for line in text.splitlines() if " while(" in line)
  assert "f32[1023,64,512]{" in loops and "f32[1023,64,512]{0," not in loops           # side by side in no table


@pytest.mark.parametrize("pairs,n,m", [(3, 5, 7), (64, 512, 512), (2, 4096, 4096)])
def test_soft_dtw_kernels(kind, pairs, n, m):
  call = dict(gpu="mosaic_gpu", tpu="tpu_custom_call")[kind]
  value = functools.partial(soft_dtw, gamma=0.1, implementation="pallas")
  squared = lambda cost: jnp.square(soft_alignment(cost, 0.1, implementation="pallas")).sum()
  for function, launches in ((jax.value_and_grad(value), 2), (jax.grad(squared), 4)):
    if n < 4096 or launches == 2:
      text = compile_for(kind, jax.vmap(function), jax.ShapeDtypeStruct((pairs, n, m), jnp.float32)).as_text()
      assert text.count(f'custom_call_target="{call}') == launches
