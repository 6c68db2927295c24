"""The two forms of convolution and pooling are equal, to each other and to sums written out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill.modules.convolution import ConvUnit, convolve, max_pool, one_by_one, same_padding

pytestmark = pytest.mark.usefixtures("quick_compile")
CASES = [((2, 7, 9, 8, 5), (3, 3, 3), (1, 1, 1)), ((1, 9, 11, 10, 3), (7, 7, 7), (2, 2, 2)),
         ((2, 5, 6, 7, 4), (1, 1, 1), (1, 1, 1)), ((1, 6, 8, 8, 2), (3, 5, 3), (2, 2, 2)),
         ((2, 9, 8, 4), (3, 3), (1, 1)), ((2, 9, 8, 4), (1, 1), (2, 2)), ((2, 9, 8, 4), (3, 3), (2, 2)),
         ((2, 8, 5, 3), (2, 2), (1, 1)),
         # large enough for Winograd's products, and for several chunks
         ((1, 5, 21, 20, 3), (3, 3, 3), (1, 1, 1)), ((2, 9, 36, 38, 2), (7, 7, 7), (2, 2, 2)),
         ((4, 30, 19, 3), (3, 3), (1, 1)), ((6, 41, 40, 3), (3, 3), (2, 2)), ((1, 8, 20, 22, 2), (3, 3, 3), (2, 1, 1)),
         ((1, 40, 30, 3), (7, 7), (2, 2))]


def draw(shape, size, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape).astype(np.float32), rng.normal(size=(*size, shape[-1], 6)).astype(np.float32)


def windows(x, size, strides, padding, fill):
  """The windows of every place, float64: `[B, S'..., k..., C]`."""
  x = np.pad(np.float64(x), [(0, 0), *padding, (0, 0)], constant_values=fill)
  counts = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:], size, strides)]
  result = np.empty((len(x), *counts, *size, x.shape[-1]))
  for place in itertools.product(*map(range, counts)):
    result[:, *place] = x[:, *(slice(i * s, i * s + k) for i, s, k in zip(place, strides, size))]
  return result


@pytest.mark.parametrize("shape,size,strides", CASES)
@pytest.mark.parametrize("form", ["lax", "dots", "stacked"])
def test_against_sums_written_out(shape, size, strides, form):
  x, kernel = draw(shape, size)
  seen = windows(x, size, strides, same_padding(shape[1:-1], size, strides), 0)
  expected = np.tensordot(seen, np.float64(kernel), len(size) + 1)
  convolved, pooled = jax.jit(lambda x, kernel: (convolve(x, kernel, strides, "SAME", implementation=form),
                                                 max_pool(x, size, strides, implementation=form)))(x, kernel)
  np.testing.assert_allclose(convolved, expected, atol=2e-4)
  seen = windows(x, size, strides, same_padding(shape[1:-1], size, strides), -np.inf)
  largest = seen.max(axis=tuple(range(len(size) + 1, 2 * len(size) + 1)))
  np.testing.assert_array_equal(pooled, np.float32(largest))


@pytest.mark.parametrize("shape,size,strides", CASES)
def test_gradients_of_the_two_forms_are_equal(shape, size, strides):
  x, kernel = draw(shape, size)
  loss = lambda x, kernel, form: jnp.sum(jnp.sin(convolve(x, kernel, strides, "SAME", implementation=form)))
  both = jax.jit(lambda x, kernel: [jax.grad(loss, (0, 1))(x, kernel, form) for form in ("dots", "lax")])
  for ours, theirs in zip(*both(x, kernel)):
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("form", ["lax", "dots"])
def test_reduced_precision_is_that_of_the_operands(form):
  x, kernel = draw((1, 5, 6, 6, 8), (3, 3, 3))
  round_off = lambda a: np.asarray(jnp.asarray(a).astype(jnp.bfloat16).astype(jnp.float32))
  got = convolve(x, kernel, (1, 1, 1), "SAME", dtype=jnp.bfloat16, implementation=form)
  exact = convolve(round_off(x), round_off(kernel), (1, 1, 1), "SAME", implementation="lax")
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, exact, atol=1e-4)
  assert np.abs(got - convolve(x, kernel, (1, 1, 1), "SAME", implementation="lax")).max() > 1e-3


@pytest.mark.parametrize("shape,size", [((1, 5, 6, 6, 8), (3, 3, 3)), ((2, 8, 14, 12, 4), (3, 3, 3)),
                                        ((3, 6, 6, 8), (3, 3))])
def test_gradients_in_reduced_precision(shape, size):
  """What moves as bits has a gradient, too."""
  x, kernel = draw(shape, size)
  strides = (1,) * len(size)
  loss = lambda **form: lambda x, kernel: jnp.sum(jnp.sin(0.1 * convolve(x, kernel, strides, "SAME", **form)))
  rough = jax.jit(jax.grad(loss(implementation="dots", dtype=jnp.bfloat16), (0, 1)))(x, kernel)
  exact = jax.jit(jax.grad(loss(implementation="lax"), (0, 1)))(x, kernel)
  for ours, theirs in zip(rough, exact):
    assert ours.dtype == jnp.float32 and 1e-4 < jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(theirs) < 0.03


def test_arranged_kernels_serve_all_items():
  """Arranged once and for each item anew is the same, and `init` makes no variable of it."""
  x = draw((3, 24, 24, 3), (3, 3))[0]
  unit = ConvUnit(4, (3, 3), implementation="dots")
  variables = jax.jit(unit.init)(jax.random.key(0), x)
  assert set(variables) == {"params", "batch_stats"}
  result, arranged = unit.apply(variables, x[:1], mutable="arranged")
  assert jax.tree.map(jnp.shape, arranged) == {"arranged": {"kernel": (6, 9, 4)}}         # [6, h C, N], Winograd's
  np.testing.assert_array_equal(unit.apply(variables | arranged, x[:1]), result)
  features = one_by_one(unit, variables, x, lambda y: y.mean(axis=(1, 2)))
  np.testing.assert_allclose(features, unit.apply(variables, x).mean(axis=(1, 2)), atol=1e-5)


def test_unit_normalises_by_frozen_statistics():
  x, _ = draw((2, 4, 5, 3), (3, 3))
  unit = ConvUnit(7, (3, 3), relu=False, eps=1e-3)
  variables = unit.init(jax.random.key(0), x)
  rng = np.random.default_rng(1)
  variables = jax.tree.map(lambda v: jnp.asarray(rng.uniform(0.5, 2, v.shape), jnp.float32), variables)
  params, seen = variables["params"], variables["batch_stats"]
  y = convolve(x, params["kernel"], (1, 1), "SAME", implementation="lax")
  expected = (y - seen["mean"]) / jnp.sqrt(seen["var"] + 1e-3) * params["scale"] + params["bias"]
  np.testing.assert_allclose(unit.apply(variables, x), expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(ConvUnit(7, (3, 3), eps=1e-3).apply(variables, x), np.maximum(expected, 0), rtol=1e-4,
                             atol=1e-4)


def test_unknown_form():
  with pytest.raises(ValueError, match="implementation='fft' is unknown; use one of auto, lax, dots, stacked"):
    convolve(*draw((1, 4, 4, 1), (1, 1)), (1, 1), "SAME", implementation="fft")
