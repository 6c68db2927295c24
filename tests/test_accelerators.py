"""Training steps and kernels, compiled by the compilers of a GPU and a TPU that are not here.

Needs the compilers alone: pip install 'jaxskill[cuda]' and libtpu.
"""

import contextlib
import functools

import jax
import jax.numpy as jnp
import pytest

from jaxskill.benchmark import compilers, systems
from jaxskill.benchmark.compilers import compile_for
from jaxskill.modules.layers import take
from jaxskill.modules.soft_dtw import soft_alignment, soft_dtw, wavefront
from jaxskill.training import batches

pytestmark = pytest.mark.compilers
@pytest.fixture(params=list(compilers.PLUGINS))
def kind(request, monkeypatch):
  """As if JAX ran on such a device."""
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(compilers.as_if(request.param))
    except ValueError as problem:
      pytest.skip(str(problem))
    monkeypatch.setattr(wavefront, "_device", lambda: (request.param, "9.0"))
    yield request.param


# MiB that steps may take while they run, float32 and bfloat16: a third more than they do.
MOST = dict(gpu=dict(pros_cons=(650, 570), spatial_attention=(340, 330), core=(40, 36), action_net=(110, 90),
                     skilldiff=(110, 110)),
            tpu=dict(pros_cons=(240, 240), spatial_attention=(530, 190), core=(90, 6), action_net=(40, 6),
                     skilldiff=(10, 10)))


# Times the larger bound that a step may take on a v5e with operands of bfloat16, a little more than the compiler
# estimates; of SkillDiff, whose soft-DTW is a scan without a kernel, nothing is held.
RATIOS = dict(pros_cons=1.55, core=2.5, spatial_attention=3.4, action_net=5.7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", systems.names())
def test_steps_at_the_papers_sizes(kind, method, dtype):
  """What many steps of a training take: memory, and on a TPU time, as far as the compiler can tell."""
  trainer, shape = compilers.trainer_of(method, (), "paper", dtype)
  program, narrow = compilers.compile_step(kind, trainer), dtype == "bfloat16"
  memory = program.memory_analysis()
  print(f"{method} {dtype}: arguments {memory.argument_size_in_bytes >> 20} MiB, while it runs "
        f"{memory.temp_size_in_bytes >> 20} MiB")
  assert memory.temp_size_in_bytes >> 20 <= MOST[kind][method][narrow]
  if kind == "tpu" and narrow:
    found = compilers.measure(trainer, shape, program)
    print(compilers.describe({method: found}))
    assert found["ratio"] <= RATIOS.get(method, float("inf"))


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
