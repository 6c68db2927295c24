"""Both forms of the filters against loops over videos, filters and segments in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill.modules import attention_filters, layers
from jaxskill.modules.attention_filters import AttentionFilters, RankingLayers, filter_logits, fold_inputs
from jaxskill.modules.layers import take
from tests.gradients import assert_trees_close, differences

pytestmark = pytest.mark.usefixtures("quick_compile")
FORMS = ("plain", "chunked")
LENGTHS = (6, 1, 4, 3, 6)      # of five videos


def draw(seed, **shapes):
  rng = np.random.default_rng(seed)
  return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def single(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def mask_of(lengths, segments):
  return np.arange(segments) < np.array(lengths)[:, None]


def naive_attention(params, features, lengths, normalize, noise=0.0, mean=0.0, scale=1.0):
  """{module: [V, K, T]}: one linear layer, one ReLU, one linear layer and one normalisation at a time."""
  result = {}
  for module, p in params.items():
    result[module] = np.zeros((len(features), len(p["kernel"]), features.shape[1]))
    for v, length in enumerate(lengths):
      segments = ((features[v] - mean) / scale + noise)[:length]
      for k in range(len(p["kernel"])):
        logits = np.array([p["readout"][k] @ np.maximum(p["kernel"][k] @ x + p["bias"][k], 0) + p["readout_bias"][k]
                           for x in segments])
        result[module][v, k, :length] = (np.exp(logits) / np.exp(logits).sum() if normalize == "softmax"
                                         else 1 / (1 + np.exp(-logits)) / length)
  return result


def random_params(seed, modules=("high", "low"), filters=2, hidden=3, width=4):
  shapes = dict(kernel=(filters, hidden, width), bias=(filters, hidden), readout=(filters, hidden),
                readout_bias=(filters,))
  return {module: draw(seed + i, **shapes) for i, module in enumerate(modules)}


# 700 segments: chunks of two videos of six, of one of seven (a prime), of all where they are few
@pytest.mark.parametrize("implementation", FORMS)
@pytest.mark.parametrize("videos,segments", [(1, 1), (5, 3), (6, 700), (7, 700), (2, 2001)])
def test_filter_logits(implementation, videos, segments):
  x = draw(0, kernel=(3, 4, 5), bias=(3, 4), readout=(3, 4), features=(videos, segments, 5), noise=(segments, 5),
           dlogits=(videos, 3, segments))
  seen = x["features"] + x["noise"]
  z = np.einsum("fhd,vtd->vtfh", x["kernel"], seen) + x["bias"]
  dz = np.einsum("vft,fh->vtfh", x["dlogits"], x["readout"]) * (z > 0)
  expected = dict(kernel=np.einsum("vtfh,vtd->fhd", dz, seen), bias=dz.sum(axis=(0, 1)),
                  readout=np.einsum("vft,vtfh->fh", x["dlogits"], np.maximum(z, 0)))
  y = single(x)
  moved = {name: y[name] for name in expected}
  data = dict(features=y["features"], noise=y["noise"])
  @jax.jit
  def solve(moved, data, dlogits):
    logits, backward = jax.vjp(lambda p: filter_logits(**p, **data, implementation=implementation), moved)
    return logits, backward(dlogits)[0]
  logits, gradients = solve(moved, data, y["dlogits"])
  assert logits.dtype == jnp.float32
  np.testing.assert_allclose(logits, np.einsum("vtfh,fh->vft", np.maximum(z, 0), x["readout"]), atol=2e-5)
  for name, value in expected.items():
    np.testing.assert_allclose(gradients[name], value, atol=1e-5 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize("implementation", FORMS)
@pytest.mark.parametrize("normalize", ["softmax", "sigmoid"])
@pytest.mark.parametrize("inputs", ["raw", "noise", "standardized"])
def test_attention_and_its_gradient(implementation, normalize, inputs):
  x = draw(1, features=(5, 6, 4), noise=(6, 4), mean=(4,), cotangent=(2, 5, 2, 6))
  params, options = random_params(2), {}
  if inputs != "raw":
    options = dict(noise=x["noise"])
  if inputs == "standardized":
    options |= dict(mean=x["mean"], scale=np.array([0.5, 2.0, 1.0, 3.0]))
  filters = AttentionFilters(("high", "low"), 2, 3, normalize, implementation=implementation)
  mask = mask_of(LENGTHS, 6)

  def weighted(params):
    attention = filters.apply({"params": params}, single(x["features"]), mask, **single(options))
    return sum(jnp.vdot(attention[m], c) for m, c in zip(("high", "low"), single(x["cotangent"]))), attention

  def naive(params):
    attention = naive_attention(params, x["features"], LENGTHS, normalize, **options)
    return sum(np.vdot(attention[m], c) for m, c in zip(("high", "low"), x["cotangent"])), attention

  gradients, attention = jax.jit(jax.grad(weighted, has_aux=True))(single(params))
  assert_trees_close(attention, naive(params)[1], atol=2e-6)
  assert_trees_close(gradients, differences(lambda p: naive(p)[0], params), atol=1e-5)


@pytest.mark.parametrize("implementation", FORMS)
@pytest.mark.parametrize("normalize", ["softmax", "sigmoid"])
def test_padding_changes_nothing(implementation, normalize):
  x = draw(3, features=(5, 6, 4), garbage=(5, 9, 4), noise=(9, 4), cotangent=(2, 5, 2, 6))
  filters = AttentionFilters(("high", "low"), 2, 3, normalize, implementation=implementation)
  mask = mask_of(LENGTHS, 6)
  padded = np.where(mask_of(LENGTHS, 9)[..., None], np.pad(x["features"], ((0, 0), (0, 3), (0, 0))), 100 * x["garbage"])
  cotangent = single(x["cotangent"] * mask[None, :, None])

  def answer(features, mask, noise):
    def weighted(params):
      attention = filters.apply({"params": params}, single(features), mask, single(noise))
      return sum(jnp.vdot(attention[m][..., :6], c) for m, c in zip(("high", "low"), cotangent)), attention
    return jax.jit(jax.grad(weighted, has_aux=True))(single(random_params(4)))

  gradients, attention = answer(x["features"], mask, x["noise"][:6])
  padded_gradients, padded_attention = answer(padded, mask_of(LENGTHS, 9), x["noise"])
  assert_trees_close(jax.tree.map(lambda a: a[..., :6], padded_attention), attention, atol=1e-7)
  for weights in padded_attention.values():
    assert not np.asarray(weights).transpose(0, 2, 1)[~mask_of(LENGTHS, 9)].any()
  assert_trees_close(padded_gradients, gradients, atol=1e-6)


@pytest.mark.parametrize("implementation", FORMS)
def test_softmax_sums_to_one_on_real_segments(implementation):
  features = 50 * draw(5, features=(5, 6, 4))["features"]         # logits of hundreds
  attention = jax.jit(AttentionFilters(("high", "low"), 2, 3, implementation=implementation).apply)(
      {"params": single(random_params(6))}, single(features), mask_of(LENGTHS, 6))
  for weights in attention.values():
    assert weights.shape == (5, 2, 6) and (np.asarray(weights) >= 0).all()
    np.testing.assert_allclose(np.asarray(weights).sum(axis=-1), 1, atol=1e-6)
    assert (np.asarray(weights)[1] == [1, 0, 0, 0, 0, 0]).all()   # the video of one segment


@pytest.mark.parametrize("implementation", FORMS)
@pytest.mark.parametrize("normalize", ["softmax", "sigmoid"])
def test_one_segment(implementation, normalize):
  features = draw(7, features=(3, 1, 4))["features"]
  filters = AttentionFilters(("high",), 2, 3, normalize, implementation=implementation)
  params = single(random_params(8, modules=("high",)))
  apply = lambda p: filters.apply({"params": p}, single(features), np.ones((3, 1), bool))["high"]
  gradients, weights = jax.jit(jax.grad(lambda p: ((apply(p) ** 2).sum(), apply(p)), has_aux=True))(params)
  if normalize == "softmax":
    assert (np.asarray(weights) == 1).all()
  for leaf in jax.tree.leaves(gradients):
    assert np.isfinite(leaf).all() and (np.asarray(leaf) == 0).all() == (normalize == "softmax")


@pytest.mark.parametrize("noise,statistics", [(False, False), (True, False), (False, True), (True, True)])
def test_fold_inputs(noise, statistics):
  x = draw(9, kernel=(3, 4), bias=(3,), noise=(6, 4), mean=(4,), features=(6, 4))
  scale = np.array([0.1, 1.0, 5.0, 2.0])
  options = dict(noise=x["noise"]) if noise else {}
  options |= dict(mean=x["mean"], scale=scale) if statistics else {}
  plain = (x["features"] - x["mean"]) / scale if statistics else x["features"]
  plain = plain + x["noise"] if noise else plain
  kernel, offset = fold_inputs(**single(dict(kernel=x["kernel"], bias=x["bias"]) | options))
  assert offset.shape == (3, 6 if noise else 1)
  np.testing.assert_allclose(kernel @ x["features"].T + offset, x["kernel"] @ plain.T + x["bias"][:, None], atol=2e-5)


@pytest.mark.parametrize("implementation", FORMS)
def test_bfloat16(implementation):
  features = draw(10, features=(5, 6, 40))["features"]
  params = single(random_params(11, hidden=8, width=40))
  params = jax.tree.map(lambda x: x / 5, params)

  def answer(dtype):
    filters = AttentionFilters(("high", "low"), 2, 8, dtype=dtype, implementation=implementation)
    def loss(p):
      attention = filters.apply({"params": p}, jnp.asarray(features, dtype), mask_of(LENGTHS, 6))
      return sum((a ** 2).sum() for a in attention.values()), attention
    return jax.jit(jax.grad(loss, has_aux=True))(params)

  whole, half = answer(jnp.float32), answer(jnp.bfloat16)
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(half))
  scale = lambda tree: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(tree))
  assert_trees_close(half[1], whole[1], atol=0.02 * scale(whole[1]))
  assert_trees_close(half[0], whole[0], atol=0.02 * scale(whole[0]))
  assert not np.array_equal(half[1]["high"], whole[1]["high"])


@pytest.mark.parametrize("implementation", FORMS)
def test_phases_share_the_product(implementation, monkeypatch):
  """Noise differs between the phases of a cycle, the product with the features does not: XLA computes it once."""
  monkeypatch.setattr(attention_filters, "_CHUNK_ROWS", 32)
  x = single(draw(13, kernel=(2, 8, 64), bias=(2, 8), readout=(2, 8), features=(6, 16, 64), noise=(16, 64)))

  def phases(x, other):
    frozen = filter_logits(**x | dict(noise=other), implementation=implementation)
    trained = lambda kernel: filter_logits(**x | dict(kernel=kernel), implementation=implementation).sum()
    return frozen, jax.grad(trained)(x["kernel"])
  jax.config.update("jax_disable_most_optimizations", False)      # `quick_compile` leaves out what is tested here
  program = jax.jit(phases).lower(x, x["noise"] + 1).compile().as_text()
  sizes = [np.prod([int(n) for n in shape.split(",")]) for shape in re.findall(r"= f32\[([\d,]+)\]\S* dot\(", program)]
  assert sizes.count(2 * 8 * 6 * 16) == 1, sizes           # [F*H, V*T]


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
def test_taking_items(backend, dtype, monkeypatch):
  monkeypatch.setattr(layers.jax, "default_backend", lambda: backend)
  monkeypatch.setattr(layers, "_LARGE", 4 * 7 * 2)
  for width in (1, 7, 64):
    x = jnp.asarray(np.random.default_rng(0).uniform(0, 255, (5, 3, width))).astype(dtype)
    ids = jnp.array([3, 0, 3])
    taken = jax.jit(lambda x, ids: take(x, ids))(x, ids)
    assert taken.dtype == x.dtype
    np.testing.assert_array_equal(taken, x[np.array(ids)])


def test_forms_by_name(monkeypatch):
  x = single(draw(12, kernel=(1, 2, 3), bias=(1, 2), readout=(1, 2), features=(2, 4, 3)))
  program = lambda name: str(jax.make_jaxpr(lambda: filter_logits(**x, implementation=name))())
  assert program("chunked") != program("plain")
  assert program("auto") == program("chunked")
  monkeypatch.setattr(layers.jax, "default_backend", lambda: "tpu")
  assert program("auto") == program("plain")
  with pytest.raises(ValueError, match="implementation='pallas' is unknown; use 'auto' or one of .'chunked', 'plain'"):
    filter_logits(**x, implementation="pallas")
  with pytest.raises(AssertionError):
    filter_logits(**x | dict(bias=x["bias"][..., :1]))


@pytest.mark.parametrize("implementation", FORMS)
def test_features_are_data(implementation):
  x = single(draw(13, kernel=(1, 2, 3), bias=(1, 2), readout=(1, 2), features=(2, 4, 3)))
  total = lambda features: filter_logits(**x | dict(features=features), implementation=implementation).sum()
  assert not np.asarray(jax.jit(jax.grad(total))(x["features"])).any()


def test_unknown_normalization():
  filters = AttentionFilters(("high",), 2, 3, "max")
  with pytest.raises(ValueError, match="normalize='max' is unknown; use 'softmax' or 'sigmoid'"):
    filters.apply({"params": single(random_params(15, modules=("high",)))}, jnp.zeros((1, 2, 4)), np.ones((1, 2), bool))


def test_initial_weights():
  """Uniform in +-1/sqrt(fan in), every filter its own."""
  filters = AttentionFilters(("high", "low"), 3, 64)
  params = jax.jit(filters.init)(jax.random.key(0), jnp.zeros((1, 2, 100)), np.ones((1, 2), bool))
  for module in params["params"].values():
    for name, bound in dict(kernel=0.1, bias=0.1, readout=0.125, readout_bias=0.125).items():
      value = np.asarray(module[name])
      assert 0 < np.abs(value).max() <= bound and len(np.unique(value, axis=0)) == 3
    assert module["kernel"].shape == (3, 64, 100)
    assert abs(np.asarray(module["kernel"]).std() - 0.1 / 3 ** 0.5) < 1e-3
  assert not np.array_equal(params["params"]["high"]["kernel"], params["params"]["low"]["kernel"])


def test_ranking_layers_commute_with_pooling():
  x = draw(14, features=(5, 6, 4), noise=(6, 4), mean=(4,), high_kernel=(4,), low_kernel=(4,), high_bias=(),
           low_bias=())
  scale = np.array([0.5, 2.0, 1.0, 3.0])
  params = single({name: value for name, value in x.items() if name.endswith(("_kernel", "_bias"))})
  values = RankingLayers(("high", "low")).apply({"params": params}, single(x["features"]), single(x["noise"]),
                                                single(x["mean"]), single(scale))
  weights = np.random.default_rng(0).dirichlet(np.ones(6), 5)
  pooled = np.einsum("vt,vtd->vd", weights, (x["features"] - x["mean"]) / scale + x["noise"])
  for branch in ("high", "low"):
    value, bias = values[branch]
    np.testing.assert_allclose((weights * value).sum(axis=1) + bias,
                               pooled @ x[f"{branch}_kernel"] + x[f"{branch}_bias"], atol=1e-5)
