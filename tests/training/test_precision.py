"""The operands of every product of a training step have one type, those of the gradient too; float32 is not rounded,
and JAX's 64-bit types change nothing.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import cli, train
from jaxskill.benchmark import contenders, systems
from jaxskill.modules.convolution import convolve
from jaxskill.modules.layers import contract
from jaxskill.training.parallel import Parallel
from tests.assess.own_videos import QUICK, SYSTEMS, trained
from tests.conftest import small_config
from tests.places import CONFIGS
from tests.programs import products, rounded

pytestmark = pytest.mark.usefixtures("quick_compile")


def assert_equal_types(function, *arguments):
  found = products(function, *arguments)
  assert ("bfloat16", "bfloat16") in found
  assert all(left == right for left, right in found), found


def step_of(config, dataset):
  if "implementation" in config.model:
    config.model.implementation = "plain"
  trainer = train.Trainer(config, dataset, Parallel(1))
  step = trainer.step.run, trainer.state, trainer.loader.videos, trainer.tables, np.int32(1)
  assert not rounded(*step)
  if config.train.dtype == "bfloat16":
    assert_equal_types(*step)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["pros_cons", "spatial_attention", "core", "action_net"])
def test_steps_of_the_benchmark(nothing_drawn, method, dtype):
  config, official = cli.read_config(str(CONFIGS / f"{method}.py"), [])
  shape = systems.find(method).shapes["tiny"]
  step_of(contenders.configure(config, dtype, shape, official), contenders.data_of(config, shape))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_step_of_skilldiff(load_config, make_dataset, nothing_drawn, dtype):
  data = make_dataset(videos=12, segments=6, score_range=(-4.0, 4.0))
  step_of(load_config("skilldiff", "features", {"train.dtype": dtype, "train.batch_size": 4, "train.epochs": 1}), data)


@pytest.mark.parametrize("spec,left,right", [("abd,nd->abn", (2, 5, 7), (3, 7)), ("nkd,ndb->nkb", (2, 3, 7), (2, 7, 4)),
                                             ("thp,hfp->thf", (5, 2, 7), (2, 3, 7))])
def test_contractions(spec, left, right):
  rng = np.random.default_rng(0)
  left, right, weights = (rng.normal(size=size).astype(np.float32) for size in (left, right, np.einsum(
      spec, np.zeros(left), np.zeros(right)).shape))
  slopes = lambda dtype: jax.grad(lambda l, r: (contract(spec, l, r, dtype) * weights).sum(), argnums=(0, 1))
  assert_equal_types(slopes(jnp.bfloat16), left, right)
  inputs, output = spec.split("->")
  first, second = inputs.split(",")
  for dtype, tolerance in ((jnp.float32, 1e-6), (jnp.bfloat16, 0.02)):
    by_left, by_right = slopes(dtype)(left, right)
    assert by_left.dtype == by_right.dtype == jnp.float32
    exact = np.einsum(f"{output},{second}->{first}", weights, right), np.einsum(f"{output},{first}->{second}", weights, left)
    for found, expected in zip((by_left, by_right), exact):
      np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("implementation", ["lax", "dots"])
def test_convolutions(implementation):
  rng = np.random.default_rng(0)
  x, kernel = (rng.normal(size=size).astype(np.float32) for size in ((1, 4, 7, 6, 5), (3, 3, 3, 5, 4)))
  def slopes(dtype):
    value = lambda x, kernel: jnp.sin(convolve(x, kernel, (1, 2, 2), "SAME", dtype=dtype, implementation=implementation))
    return jax.grad(lambda x, kernel: value(x, kernel).mean(), argnums=(0, 1))
  assert_equal_types(slopes(jnp.bfloat16), x, kernel)
  for found, expected in zip(jax.jit(slopes(jnp.bfloat16))(x, kernel), jax.jit(slopes(jnp.float32))(x, kernel)):
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize("system", [
    pytest.param(system, marks=[pytest.mark.slow] * (system not in ("core", "pros_cons"))) for system in SYSTEMS])
def test_64_bit_types_change_nothing(system, quick_training, tmp_path, blank_pictures):
  run = trained(system)
  video = run.save(0, tmp_path)
  answer = lambda out: run.assess(video, out=tmp_path / out)[0]
  with jax.enable_x64(True):
    config = small_config(system, "simulated", QUICK | SYSTEMS[system])
    train.run(config, tmp_path / "run", run.dataset)
    wide = answer("wide")
  results = json.loads((tmp_path / "run" / "results.json").read_text())
  assert results["params_sha256"] == run.results["params_sha256"]
  for name in ("rows", "replicas"):
    np.testing.assert_equal(results[name], run.results[name])
  np.testing.assert_equal(wide, answer("plain"))


def test_64_bit_types_change_nothing_that_streams(quick_training, tmp_path):
  changes = QUICK | {"data.device_budget": 0.0}
  digests = []
  for wide in (False, True):
    with jax.enable_x64(wide):
      config = small_config("usdl", "simulated", changes)
      digests.append(train.run(config, tmp_path / str(wide))["params_sha256"])
  assert digests[0] == digests[1]
