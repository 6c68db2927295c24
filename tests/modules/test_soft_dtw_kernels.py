"""The kernels against the scan: interpreted and lowered without an accelerator, compiled and run where there is one."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill.modules.soft_dtw import hard_alignment, kernels, passes, soft_alignment, soft_dtw, wavefront
from jaxskill.modules.soft_dtw import steps as soft_dtw_steps
from tests.modules.test_soft_dtw import INSIDE, SPOILED, check_spoiled_pairs

PLATFORMS = ("gpu", "tpu")
CALLS = dict(gpu="custom_call @mosaic_gpu", tpu="custom_call @tpu_custom_call")


@pytest.fixture(params=PLATFORMS)
def platform(request, monkeypatch):
  """As if there were such a device."""
  monkeypatch.setattr(wavefront, "_device", lambda: (request.param, "9.0"))
  return request.param


def interpreted(platform):
  """Kernels that are built in this context are emulated on the CPU. The emulation sees no race within a warpgroup."""
  if platform == "tpu":
    from jax.experimental.pallas import tpu
    return tpu.force_tpu_interpret_mode()
  try:
    from jax.experimental.pallas.mosaic_gpu import force_gpu_interpret_mode
  except ImportError:                 # jax 0.10 has them, but not yet among its public names
    from jax._src.pallas.mosaic_gpu.interpret.params import force_gpu_interpret_mode
  return force_gpu_interpret_mode()


def everything(implementation, gamma=0.1, free_ends=False):
  """[N, M] cost, lengths, band, [N, M] weights -> value, alignment, derivative of the weighted alignment, hard path."""
  def solve(cost, lengths, bandwidth, weights):
    options = dict(lengths=tuple(lengths), implementation=implementation)
    options |= dict(free_ends=True) if free_ends else dict(bandwidth=bandwidth)
    value, alignment = jax.value_and_grad(soft_dtw)(cost, gamma, **options)
    second = jax.grad(lambda c: (weights * soft_alignment(c, gamma, **options)).sum())(cost)
    return value, alignment, second, hard_alignment(cost, **options)
  return solve


def problem(*shape, seed=0):
  """Pairs of different lengths and bands, NaN beyond the lengths."""
  rng = np.random.default_rng(seed)
  n, m = shape[-2:]
  lengths = np.stack([rng.integers(1, n + 1, shape[:-2]), rng.integers(1, m + 1, shape[:-2])], axis=-1)
  lengths[..., 0, :] = n, m
  real = np.arange(n)[:, None] < lengths[..., 0, None, None]
  real = real & (np.arange(m) < lengths[..., 1, None, None])
  cost = np.where(real, rng.uniform(size=shape), np.nan).astype(np.float32)
  return cost, lengths, rng.integers(1, n + m, shape[:-2]), rng.standard_normal(shape).astype(np.float32)


def check(solved, arguments, mapped, **options):
  for found, true in zip(solved, jax.jit(mapped(everything("scan", **options)))(*arguments)):
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, true, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("platform,shape,free_ends", [
    ("gpu", (2, 2, 5, 3), True), ("tpu", (3, 4, 6), False),
    pytest.param("gpu", (3, 4, 6), False, marks=pytest.mark.slow),
    pytest.param("tpu", (2, 2, 5, 3), True, marks=pytest.mark.slow)], indirect=["platform"])
def test_interpreted_kernels_equal_the_scan(platform, shape, free_ends, quick_compile):
  arguments = problem(*shape)
  mapped = lambda function: functools.reduce(lambda f, _: jax.vmap(f), shape[:-2], function)
  with interpreted(platform):
    solved = jax.jit(mapped(everything("pallas", free_ends=free_ends)))(*arguments)
    jax.block_until_ready(solved)
  check(solved, arguments, mapped, free_ends=free_ends)


def test_a_cost_that_is_no_number_spoils_its_pair_alone(platform, quick_compile):
  with interpreted(platform):
    check_spoiled_pairs("pallas", tuple(zip(itertools.cycle(SPOILED), INSIDE)))


def test_more_rows_than_registers_hold_at_once(quick_compile):
  """Rows over several registers, several blocks of diagonals, more pairs than sublanes."""
  cost = np.random.default_rng(0).uniform(size=(9, 131, 130)).astype(np.float32)
  stop = np.full((9, 130), soft_dtw_steps.NEVER)
  stop[:, -1] = 259
  skewed = jax.vmap(lambda c: wavefront.skew(c.T, soft_dtw_steps.FAR))(cost)

  def both(run, stop, skewed):
    start = soft_dtw_steps.forward_start(jnp.zeros((130, 131), jnp.float32))
    carry, steps = run(soft_dtw_steps.forward_step, start, (skewed,), stop)
    carry = passes.at_stop(carry, stop)
    zeros = jnp.zeros(130, jnp.float32)
    return carry, run(soft_dtw_steps.expectation_step, (zeros, zeros), steps, stop, reverse=True)[1]
  with pytest.MonkeyPatch.context() as patch, interpreted("tpu"):
    patch.setattr(kernels, "_BLOCK_BYTES", 100 * 4 * 8 * 256 * 3)
    run = functools.partial(kernels.run, platform="tpu")
    found = jax.jit(jax.vmap(functools.partial(both, run)))(stop.astype(np.int32), skewed)
    jax.block_until_ready(found)
  true = jax.jit(jax.vmap(functools.partial(both, wavefront.scan)))(stop.astype(np.int32), skewed)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, true)


@pytest.mark.filterwarnings("error::DeprecationWarning")          # Pallas' Triton, and what else JAX will drop
@pytest.mark.parametrize("pairs,n,m", [pytest.param(3, 5, 7, marks=pytest.mark.slow), (64, 512, 512), (2, 4096, 4096)])
def test_kernels_lower_without_the_device_to_one_launch_each_way(platform, pairs, n, m):
  cost = jax.ShapeDtypeStruct((pairs, n, m), jnp.float32)
  lower = lambda function: jax.jit(jax.vmap(function)).trace(cost).lower(
      lowering_platforms=(dict(gpu="cuda", tpu="tpu")[platform],)).as_text().count(CALLS[platform])
  value = functools.partial(soft_dtw, gamma=0.1, implementation="pallas")
  assert lower(value) == 1
  if n < 4096:                                          # free ends take a row more
    assert lower(functools.partial(value, free_ends=True)) == 1
  assert lower(jax.value_and_grad(value)) == 2
  if n < 4096:
    squared = lambda cost: jnp.square(soft_alignment(cost, 0.1, implementation="pallas")).sum()
    assert lower(jax.grad(squared)) == 4                # and a launch each way for the derivative of the alignment


def test_what_kernels_do_not_take_is_named(platform):
  with jax.enable_x64(True), pytest.raises(ValueError, match="compute in float32, got float64"):
    soft_dtw(np.ones((2, 3)), 1.0, implementation="pallas")
  with pytest.raises(ValueError, match="hold 4096 rows of the shorter series, got 4097"):
    jax.eval_shape(functools.partial(soft_dtw, gamma=1.0, implementation="pallas"),
                   jax.ShapeDtypeStruct((4097, 4097), jnp.float32))


@pytest.mark.gpu
@pytest.mark.parametrize("free_ends", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 6), (2, 2, 5, 3), (70, 64, 50), (5, 130, 257), (3, 600, 512),
                                   (1, 2100, 4096)])
def test_kernels_on_a_gpu_equal_the_scan(shape, free_ends):
  arguments = problem(*shape)
  mapped = lambda function: functools.reduce(lambda f, _: jax.vmap(f), shape[:-2], function)
  solved = jax.jit(mapped(everything("pallas", free_ends=free_ends)))(*arguments)
  check(solved, arguments, mapped, free_ends=free_ends)


@pytest.mark.gpu
def test_kernels_on_a_gpu_are_exact_where_costs_are_thousands_of_gammas():
  cost = (np.random.default_rng(0).uniform(0.5, 1.5, (4, 256, 256)) * 1e4 / 256).astype(np.float32)
  alignment = jax.vmap(lambda c: soft_alignment(c, 1.0, implementation="pallas"))(cost)
  with jax.enable_x64(True):
    true = jax.vmap(lambda c: soft_alignment(c, 1.0))(cost.astype(np.float64))
  np.testing.assert_allclose(alignment, true, atol=1e-4)
