"""Stream encoders and the score head against loops over videos and instances in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill.modules.gcn_context import ScoreHead, StreamEncoder, distances, graph, product, propagate
from tests.gradients import assert_trees_close, differences
from tests.programs import products

pytestmark = pytest.mark.usefixtures("quick_compile")
LENGTHS = (6, 1, 4, 3)      # of four videos
SIZES = dict(hidden=4, channels=3, attention_hidden=5, num_filters=2, filter_hidden=4)
VARIANTS = {
    "paper": {},
    "official": dict(adjacency="time"),
    "scale": dict(scale=0.25),
    "plain": dict(context="none"),
    "lstm": dict(context="lstm"),
    "bilstm": dict(context="bilstm", channels=4),
    "average": dict(pooling="average"),
    "max": dict(pooling="max", adjacency="time"),
    "filters": dict(context="none", pooling="filters"),
}


def single(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def mask_of(lengths, count):
  return np.arange(count) < np.array(lengths)[:, None]


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def softmax(x):
  return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def naive_adjacency(adjacency, embedded, scale):
  """`[T, T]` D^-1/2 A D^-1/2, entry by entry."""
  count = len(embedded)
  matrix = np.zeros((count, count))
  for i in range(count):
    for j in range(count):
      gap = np.sqrt(((embedded[i] - embedded[j]) ** 2).sum()) / scale
      matrix[i, j] = np.exp(-gap) + (i == j) if adjacency == "feature" else np.exp(-abs(i - j))
  degree = matrix.sum(axis=1)
  return np.array([[matrix[i, j] / np.sqrt(degree[i] * degree[j]) for j in range(count)] for i in range(count)])


def naive_lstm(cell, way, rows):
  state, states = np.zeros(len(cell["state"][way])), []
  memory = np.zeros_like(state)
  for x in rows:
    gates = x @ cell["input"][way] + state @ cell["state"][way] + cell["bias"][way]
    gate = dict(zip("ifog", np.split(gates, 4)))
    memory = sigmoid(gate["f"]) * memory + sigmoid(gate["i"]) * np.tanh(gate["g"])
    state = sigmoid(gate["o"]) * np.tanh(memory)
    states.append(state)
  return np.array(states)


def naive_encoder(encoder, params, features, lengths):
  """`[V, C']` features, `[V, T]` weights: one video and one layer at a time."""
  pooled, every = [], np.zeros(features.shape[:2])
  for v, length in enumerate(lengths):
    rows = features[v, :length]
    layer = lambda name, x: x @ params[name]["kernel"].T + params[name]["bias"]
    x = embedded = np.maximum(layer("embed_2", np.maximum(layer("embed_1", rows), 0)), 0)
    if encoder.context == "gcn":
      matrix = naive_adjacency(encoder.adjacency, embedded, encoder.scale)
      for name in ("graph_1", "graph_2"):
        x = np.maximum(matrix @ (x @ params[name]["kernel"].T) + params[name]["bias"], 0)
      x = np.concatenate([embedded, x], axis=1)
    elif encoder.context != "none":
      x = naive_lstm(params["lstm"], 0, embedded)
      if encoder.context == "bilstm":
        x = np.concatenate([x, naive_lstm(params["lstm"], 1, embedded[::-1])[::-1]], axis=1)
    if encoder.pooling == "attention":
      weights = softmax(layer("attend_2", np.maximum(layer("attend_1", x), 0))[:, 0])
    elif encoder.pooling == "filters":
      p, weights = params["attend"]["filters"], np.zeros(length)
      for k in range(encoder.num_filters):
        hidden = np.maximum(rows @ p["kernel"][k].T + p["bias"][k], 0)
        weights = weights + softmax(hidden @ p["readout"][k] + p["readout_bias"][k]) / encoder.num_filters
    elif encoder.pooling == "max":
      weights = np.bincount(x.argmax(axis=0), minlength=length) / x.shape[1]
    else:
      weights = np.full(length, 1 / length)
    pooled.append(x.max(axis=0) if encoder.pooling == "max" else weights @ x)
    every[v, :length] = weights
  return np.array(pooled), every


def draw(encoder, seed=0, count=6, width=7, videos=len(LENGTHS)):
  """Random float64 parameters and features."""
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, count, width)), np.ones((1, count), bool))
  params = jax.tree.map(lambda x: rng.normal(size=x.shape) * (0.7 if x.ndim == 2 else 0.3), shapes["params"])
  return params, rng.normal(size=(videos, count, width))


def answer(encoder, params, features, mask, cotangent):
  """Gradient of <feature, cotangent> + <weights, place>, feature, weights."""
  gradients, (pooled, weights) = compiled(encoder)(*jax.tree.map(np.float32, (params, features)), mask,
                                                   np.float32(cotangent))
  return gradients, pooled, weights


@functools.cache
def compiled(encoder):
  def weighted(params, features, mask, cotangent):
    pooled, weights = encoder.apply({"params": params}, features, mask)
    return jnp.vdot(pooled, cotangent) + (weights * jnp.arange(weights.shape[1])).sum(), (pooled, weights)
  return jax.jit(jax.grad(weighted, has_aux=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_feature_and_its_gradient(variant):
  encoder = StreamEncoder(**SIZES | VARIANTS[variant])
  params, features = draw(encoder)
  pooled, weights = naive_encoder(encoder, params, features, LENGTHS)
  cotangent = np.random.default_rng(1).normal(size=pooled.shape)

  def naive(params):
    pooled, weights = naive_encoder(encoder, params, features, LENGTHS)
    return np.vdot(pooled, cotangent) + (weights * np.arange(6)).sum()

  gradients, ours, our_weights = answer(encoder, params, features, mask_of(LENGTHS, 6), cotangent)
  assert ours.dtype == our_weights.dtype == jnp.float32
  np.testing.assert_allclose(ours, pooled, atol=1e-5)
  np.testing.assert_allclose(our_weights, weights, atol=1e-6)
  np.testing.assert_allclose(np.asarray(our_weights).sum(axis=1), 1, atol=1e-6)
  expected = differences(naive, params)
  assert_trees_close(gradients, expected, atol=5e-5)
  moved = {path[0].key for path, g in jax.tree_util.tree_leaves_with_path(expected) if np.abs(g).max() > 1e-6}
  assert moved == set(params)                              # every layer had a gradient to compare


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_nothing(variant):
  encoder = StreamEncoder(**SIZES | VARIANTS[variant])
  params, features = draw(encoder, seed=2)
  garbage = np.random.default_rng(3).normal(size=(4, 9, 7)) * 100
  padded = np.where(mask_of(LENGTHS, 9)[..., None], np.pad(features, ((0, 0), (0, 3), (0, 0))), garbage)
  width = naive_encoder(encoder, params, features, LENGTHS)[0].shape[1]
  cotangent = np.random.default_rng(4).normal(size=(4, width))
  gradients, pooled, weights = answer(encoder, params, features, mask_of(LENGTHS, 6), cotangent)
  more_gradients, more_pooled, more_weights = answer(encoder, params, padded, mask_of(LENGTHS, 9), cotangent)
  np.testing.assert_allclose(more_pooled, pooled, atol=1e-6)
  np.testing.assert_allclose(more_weights[:, :6], weights, atol=1e-6)
  assert not np.asarray(more_weights)[~mask_of(LENGTHS, 9)].any()
  assert_trees_close(more_gradients, gradients, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_instance(variant):
  encoder = StreamEncoder(**SIZES | VARIANTS[variant])
  params, features = draw(encoder, seed=5, count=1)
  pooled, _ = naive_encoder(encoder, params, features, [1] * 4)
  gradients, ours, weights = answer(encoder, params, features, np.ones((4, 1), bool), np.ones(pooled.shape))
  np.testing.assert_allclose(ours, pooled, atol=1e-5)
  np.testing.assert_allclose(weights, 1)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("adjacency", ["feature", "time"])
def test_graph(adjacency, offset):
  """The normalised matrix of each video; a large common part of the features does not hide their distances."""
  embedded = np.random.default_rng(6).normal(size=(4, 6, 3)) + offset
  embedded[0, 3] = embedded[0, 1]                                                         # equal features
  mask = mask_of(LENGTHS, 6)
  flat = jnp.asarray(embedded.transpose(2, 0, 1).reshape(3, -1), jnp.float32)
  embedded = np.asarray(flat, np.float64).reshape(3, 4, 6).transpose(1, 2, 0)
  for scale, options in ((1.0, {}), (2.0, dict(scale=2.0))):       # K is set to 1 in the paper, below Eq. 1
    matrix, factor = graph(adjacency, mask, flat, **options)
    whole = np.asarray(matrix if factor is None else factor[:, :, None] * matrix * factor[:, None])
    x = np.random.default_rng(7).normal(size=(5, 24))
    spread = np.asarray(propagate(matrix, factor, single(x))).reshape(5, 4, 6)
    for v, length in enumerate(LENGTHS):
      expected = naive_adjacency(adjacency, embedded[v, :length], scale)
      np.testing.assert_allclose(whole[v, :length, :length], expected, atol=1e-5)
      assert not whole[v, length:].any() and not whole[v, :, length:].any()
      np.testing.assert_allclose(spread[:, v, :length], x.reshape(5, 4, 6)[:, v, :length] @ expected, atol=2e-5)


@pytest.mark.parametrize("context,shape", [("lstm", (1, 256, 4 * 256)), ("bilstm", (2, 128, 4 * 128))])
def test_units_of_recurrent_networks(context, shape):
  """256 units of an LSTM, 128 of a Bi-LSTM in each direction (Sec. 5.4 of the paper)."""
  encoder = StreamEncoder(context=context)
  params = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 2, 8)), np.ones((1, 2), bool))["params"]
  assert params["lstm"]["state"].shape == shape
  assert params["lstm"]["input"].shape == (shape[0], 256, shape[2])
  assert params["attend_1"]["kernel"].shape == (128, 256)


def test_equal_features():
  """Distances are exactly 0 there, and their gradient is 0 instead of nan."""
  rows = single(np.random.default_rng(8).normal(size=(1, 5, 16)))
  rows = rows.at[0, 3].set(rows[0, 1])
  distance = np.asarray(distances(rows))[0]
  assert distance[1, 3] == distance[3, 1] == 0 and not distance.diagonal().any()
  assert (distance[~np.eye(5, dtype=bool)] > 0).sum() == 18
  gradient = jax.jit(jax.grad(lambda x: distances(x)[0, 1, 3] + distances(x).trace(axis1=1, axis2=2).sum()))(rows)
  assert not np.asarray(gradient).any()
  encoder = StreamEncoder(**SIZES)
  params, features = draw(encoder, seed=9)
  same = np.broadcast_to(features[:, :1], features.shape)
  for equal in (same, np.zeros_like(features)):
    gradients, pooled, weights = answer(encoder, params, equal, mask_of(LENGTHS, 6), np.ones((4, 6)))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((gradients, pooled)))
    np.testing.assert_allclose(np.asarray(weights)[0], 1 / 6, atol=1e-6)


def test_gradient_of_distances():
  rows = np.random.default_rng(10).normal(size=(2, 4, 3))
  cotangent = np.random.default_rng(11).normal(size=(2, 4, 4))
  def naive(rows):
    return (cotangent * np.sqrt(((rows[:, :, None] - rows[:, None]) ** 2).sum(axis=-1))).sum()
  gradient = jax.grad(lambda x: (distances(x) * single(cotangent)).sum())(single(rows))
  np.testing.assert_allclose(gradient, differences(naive, rows), atol=1e-5)


@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-6), ("bfloat16", 0.02)])
@pytest.mark.parametrize("from_rows", [False, True])
def test_product(from_rows, dtype, tolerance):
  """The written-out derivative against autodiff of the plain product; every dot reads `dtype` and gives float32."""
  rng = np.random.default_rng(12)
  kernel, x, cotangent = single([rng.normal(size=shape) for shape in ((5, 30), (30, 40), (5, 40))])
  x = x.T if from_rows else x
  plain, plain_backward = jax.vjp(lambda k, x: k @ (x.T if from_rows else x), kernel, x)
  ours, backward = jax.vjp(lambda k, x: product(k, x, from_rows, jnp.dtype(dtype)), kernel, x)
  assert ours.dtype == jnp.float32
  np.testing.assert_allclose(ours, plain, atol=tolerance * np.abs(plain).max())
  for actual, expected, data in zip(backward(cotangent), plain_backward(cotangent), (False, from_rows)):
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, 0 * expected if data else expected, atol=tolerance * np.abs(expected).max())
  assert products(backward, cotangent) == [(dtype, dtype)] * (1 if from_rows else 2)


@pytest.mark.parametrize("variant", ["paper", "official", "filters"])
def test_bfloat16(variant):
  encoder = lambda dtype: StreamEncoder(**SIZES | VARIANTS[variant] | dict(dtype=jnp.dtype(dtype)))
  params, features = draw(encoder("float32"), seed=13)
  width = naive_encoder(encoder("float32"), params, features, LENGTHS)[0].shape[1]
  whole, half = (answer(encoder(dtype), params, features, mask_of(LENGTHS, 6), np.ones((4, width)))
                 for dtype in ("float32", "bfloat16"))
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(half))
  np.testing.assert_allclose(half[1], whole[1], atol=0.05 * np.abs(whole[1]).max())
  np.testing.assert_allclose(half[2], whole[2], atol=0.05)
  assert not np.array_equal(half[1], whole[1])


def test_score_head():
  rng = np.random.default_rng(14)
  head = ScoreHead(hidden=64)
  features = rng.normal(size=(3, 10))
  shapes = jax.eval_shape(head.init, jax.random.key(0), jnp.zeros((1, 10)))["params"]
  params = jax.tree.map(lambda x: rng.normal(size=x.shape) / 4, shapes)

  def naive(keep):
    hidden = np.maximum(features @ params["fc_1"]["kernel"].T + params["fc_1"]["bias"], 0) * keep
    return sigmoid(hidden @ params["fc_2"]["kernel"][0] + params["fc_2"]["bias"][0])

  apply = lambda features, keys: head.apply({"params": single(params)}, single(features), keys)
  np.testing.assert_allclose(apply(features, None), naive(1.0), atol=1e-6)
  keys = jax.random.split(jax.random.key(1), 3)
  keep = np.stack([np.asarray(jax.random.bernoulli(key, 0.5, (64,))) for key in keys])
  assert 0 < keep.mean() < 1 and not np.array_equal(keep[0], keep[1])
  np.testing.assert_allclose(apply(features, keys), naive(2.0 * keep), atol=1e-6)
  np.testing.assert_allclose(apply(features[2:], keys[2:]), naive(2.0 * keep)[2:], atol=1e-6)   # a video's own draw


def test_initial_weights():
  """Xavier-uniform kernels, zero biases; the embedding halves the width."""
  encoder = StreamEncoder()
  params = jax.jit(encoder.init)(jax.random.key(0), jnp.zeros((1, 2, 300)), np.ones((1, 2), bool))["params"]
  shapes = dict(embed_1=(150, 300), embed_2=(256, 150), graph_1=(256, 256), graph_2=(256, 256), attend_1=(128, 512),
                attend_2=(1, 128))
  assert {name: layer["kernel"].shape for name, layer in params.items()} == shapes
  for name, layer in params.items():
    bound, kernel = np.sqrt(6 / sum(shapes[name])), np.asarray(layer["kernel"])
    assert 0.9 * bound < np.abs(kernel).max() <= bound and not np.asarray(layer["bias"]).any()
    assert abs(kernel.std() / (bound / np.sqrt(3)) - 1) < 0.15


@pytest.mark.parametrize("option,message", [
    (dict(context="gru"), "context='gru' is unknown; use one of gcn, none, lstm, bilstm"),
    (dict(pooling="sum"), "pooling='sum' is unknown; use one of attention, average, max, filters"),
    (dict(adjacency="cosine"), "adjacency='cosine' is unknown; use one of feature, time")])
def test_unknown_options(option, message):
  with pytest.raises(ValueError, match=message):
    StreamEncoder(**option).init(jax.random.key(0), jnp.zeros((1, 2, 4)), np.ones((1, 2), bool))
