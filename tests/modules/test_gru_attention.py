"""Spatial attention against PyTorch's GRU (golden file), its equations in float64, and the other form of itself."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill.modules.gru_attention import SpatialAttention, convolve, gru_gates, gru_step, places_seen
from tests.gradients import difference

SMALL = dict(filters=5, channels=4, attention_hidden=3, attention_width=2, hidden=6)
VARIANTS = {
    "paper": {},
    "same": dict(padding="same"),
    "frame": dict(guides=("frame",)),
    "skill": dict(guides=("skill",)),
    "no gru": dict(attention_gru=False),
    "skill, no gru": dict(guides=("skill",), attention_gru=False),
    "cbam": dict(attention="cbam"),
    "cbam, same": dict(attention="cbam", padding="same"),
}


# PyTorch's GRU


OURS = dict(input="weight_ih_l0", state="weight_hh_l0", input_bias="bias_ih_l0", state_bias="bias_hh_l0")


def gru(weights, inputs, state):
  """`[T, V, D]` inputs -> `[T, V, H]` states."""

  def step(state, gates):
    state = gru_step(weights, gates, state)
    return state, state
  return jax.lax.scan(step, state, gru_gates(weights, inputs))[1]


@pytest.mark.golden("gru*")
def test_golden_gru(golden, golden_weights, golden_name):
  data = golden(golden_name)
  cases = sorted({key.split("/")[0] for key in data if key.endswith("/x")})
  assert cases
  for case in cases:
    arrays = {key.removeprefix(f"{case}/"): value for key, value in data.items() if key.startswith(f"{case}/")}
    if f"w/{OURS['input']}" in arrays:
      weights = {part: arrays[f"w/{name}"] for part, name in OURS.items()}
    else:
      made = golden_weights(arrays | dict(salt=data["salt"], params=data["params"]))
      weights = {part: made[name] for part, name in OURS.items()}
    out, pull = jax.vjp(gru, jax.tree.map(jnp.asarray, weights), arrays["x"], arrays["h0"][0])
    np.testing.assert_allclose(out, arrays["out"], rtol=0, atol=5e-6)
    np.testing.assert_allclose(out[-1], arrays["h_last"][0], rtol=0, atol=5e-6)
    np.testing.assert_allclose(gru(weights, arrays["x"], jnp.zeros_like(arrays["h0"][0])), arrays["out_zero_h0"], rtol=0, atol=5e-6)
    gradients, of_x, of_start = pull(jnp.asarray(arrays["cot"]))
    np.testing.assert_allclose(of_x, arrays["grad/x"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(of_start, arrays["grad/h0"][0], rtol=0, atol=1e-5)
    for part, name in OURS.items():
      gradient = np.asarray(gradients[part], np.float64)
      if f"grad/{name}" in arrays:
        np.testing.assert_allclose(gradient, arrays[f"grad/{name}"], rtol=0, atol=1e-5, err_msg=name)
      else:
        total, absolute = arrays[f"gradsum/{name}_f64"]
        np.testing.assert_allclose([gradient.sum(), np.abs(gradient).sum()], [total, absolute], rtol=0,
                                   atol=1e-5 * absolute, err_msg=name)


# The equations in float64, one video, one frame, one place at a time


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def naive_convolve(kernel, image, padding):
  """`[k, k, S, C]`, `[h, w, C]` -> `[h', w', S]`."""
  size, kernel = len(kernel), kernel.transpose(2, 0, 1, 3)
  if padding == "same":
    image = np.pad(image, [((size - 1) // 2, size // 2)] * 2 + [(0, 0)])
  height, width = image.shape[0] - size + 1, image.shape[1] - size + 1
  return np.array([[[(filter_ * image[y:y + size, x:x + size]).sum() for filter_ in kernel] for x in range(width)]
                   for y in range(height)])


def naive_gru(p, x, h):
  size = len(h)
  i, s = p["input"] @ x + p["input_bias"], p["state"] @ h + p["state_bias"]
  reset, update = sigmoid(i[:size] + s[:size]), sigmoid(i[size:2 * size] + s[size:2 * size])
  return (1 - update) * np.tanh(i[2 * size:] + reset * s[2 * size:]) + update * h


def naive_network(options, p, video):
  """Score and attention `[T, h', w']` of one video `[T, h, w, C]`."""
  padding, guides = options.get("padding", "valid"), options.get("guides", ("frame", "skill"))
  attention = np.zeros(SMALL["attention_hidden"])
  skill = np.zeros(SMALL["hidden"])
  maps = []
  for frame in video:
    x = np.maximum(naive_convolve(p["fuse_1_kernel"], frame, padding) + p["fuse_1_bias"], 0)
    x = x @ p["fuse_2_kernel"].T + p["fuse_2_bias"]                                       # Eq. 1, [h', w', D]
    if options.get("attention") == "cbam":
      mlp = lambda v: p["excite_kernel"] @ np.maximum(p["squeeze_kernel"] @ v + p["squeeze_bias"], 0) + p["excite_bias"]
      x = x * sigmoid(mlp(x.mean(axis=(0, 1))) + mlp(x.max(axis=(0, 1))))
      glance = np.stack([x.mean(axis=2), x.max(axis=2)], axis=2)
      weights = sigmoid(naive_convolve(p["spatial_kernel"], glance, "same")[..., 0] + p["spatial_bias"])
      seen = (x * weights[..., None]).mean(axis=(0, 1))
      weights = weights / weights.sum()
    else:
      glance = x.mean(axis=(0, 1)) + x.max(axis=(0, 1))                                   # Eq. 2
      guide = np.concatenate([dict(frame=glance, skill=skill)[name] for name in guides])  # Eq. 3
      if options.get("attention_gru", True):
        attention = naive_gru(p["attention_gru"], guide, attention)                       # Eq. 4
        guide = attention
      logits = np.array([[p["readout"] @ np.tanh(p["query"] @ guide + p["key_kernel"] @ place + p["key_bias"])
                          for place in row] for row in x])                                # Eq. 5
      weights = np.exp(logits) / np.exp(logits).sum()                                     # Eq. 6
      seen = sum(w * place for ws, row in zip(weights, x) for w, place in zip(ws, row))   # Eq. 7
    skill = naive_gru(p["skill_gru"], seen, skill)                                        # Eq. 8
    maps.append(weights)
  return p["score"] @ skill, np.array(maps)                                               # Eq. 9


def random_network(options, shape=(2, 3, 4, 3, 5), seed=0, spread=0.8):
  """Network, float64 parameters and maps."""
  network, rng = SpatialAttention(**SMALL | options), np.random.default_rng(seed)
  shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(shape))["params"]
  return network, jax.tree.map(lambda x: spread * rng.normal(size=x.shape), shapes), rng.normal(size=shape)


def single(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


@pytest.mark.parametrize("variant", [pytest.param(name, marks=[pytest.mark.slow] * (name not in (
    "paper", "cbam, same", "frame", "skill, no gru"))) for name in VARIANTS])          # each value of each choice
def test_equations(quick_compile, variant):
  """Scores and attention, and the gradient of both against central differences of the equations."""
  options = VARIANTS[variant]
  network, params, maps = random_network(options)
  mix = np.random.default_rng(1)

  def run(params):
    score, weights = network.apply({"params": params}, jnp.float32(maps))
    return (score @ of_score + jnp.sum(weights * of_weights)), (score, weights)

  naive = lambda: [naive_network(options, params, video) for video in maps]
  expected = naive()
  of_score = mix.normal(size=len(maps))
  of_weights = mix.normal(size=(len(maps), *expected[0][1].shape))
  gradients, (score, weights) = jax.tree.map(np.asarray, jax.jit(jax.grad(run, has_aux=True))(single(params)))
  np.testing.assert_allclose(score, [s for s, _ in expected], atol=1e-5)
  np.testing.assert_allclose(weights, [w for _, w in expected], atol=1e-5)
  np.testing.assert_allclose(weights.sum(axis=(2, 3)), 1, atol=1e-5)
  total = lambda: sum(s * a + (w * b).sum() for (s, w), a, b in zip(naive(), of_score, of_weights))
  for array, (path, gradient) in zip(jax.tree.leaves(params), jax.tree_util.tree_leaves_with_path(gradients), strict=True):
    for i in itertools.islice(np.ndindex(array.shape), 0, None, max(1, array.size // 5)):
      slope = difference(total, array, i, 1e-6)
      np.testing.assert_allclose(gradient[i], slope, atol=2e-4, rtol=1e-3, err_msg=f"{path} {i}")


@pytest.mark.parametrize("variant", ["paper", pytest.param("same", marks=pytest.mark.slow), "cbam"])
def test_videos_are_independent(quick_compile, variant):
  """A batch equals the vmap over its videos, one frame is enough, and later frames change no earlier attention."""
  network, params, maps = random_network(VARIANTS[variant])
  params, maps = single(params), jnp.float32(maps)
  run = jax.jit(lambda maps: network.apply({"params": params}, maps))
  score, weights = run(maps)
  each = jax.jit(jax.vmap(lambda video: jax.tree.map(lambda x: x[0], network.apply({"params": params}, video[None]))))
  for ours, theirs in zip(each(maps), (score, weights)):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
  for count in (1, 2):
    np.testing.assert_allclose(run(maps[:, :count])[1], weights[:, :count], atol=1e-6)
  assert np.abs(run(maps[:, :1])[0] - score).max() > 1e-3


# Forms of the convolution


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_forms_of_the_convolution_are_equal(padding, size):
  """The stacked product, `lax.conv` and sums in float64: value and gradient; the maps are data."""
  rng = np.random.default_rng(0)
  kernel, maps = rng.normal(size=(size, size, 6, 5)), rng.normal(size=(3, 4, 5, 5))
  expected = np.stack([naive_convolve(kernel, image, padding) for image in maps]).transpose(3, 0, 1, 2)
  cotangent = rng.normal(size=expected.shape)
  numerical = np.zeros_like(kernel)
  for i in np.ndindex(kernel.shape):
    unit = np.zeros_like(kernel)
    unit[i] = 1
    moved = np.stack([naive_convolve(unit, image, padding) for image in maps]).transpose(3, 0, 1, 2)
    numerical[i] = (moved * cotangent).sum()              # it is linear: this is the gradient
  for form in ("stacked", "plain"):
    @jax.jit
    def run(kernel, maps, cotangent):
      value, pull = jax.vjp(lambda k, x, f=form: convolve(k, x, padding=padding, implementation=f), kernel, maps)
      return value, pull(cotangent)
    value, (of_kernel, of_maps) = jax.tree.map(np.asarray, run(*map(np.float32, (kernel, maps, cotangent))))
    np.testing.assert_allclose(value, expected, atol=1e-4, err_msg=form)
    np.testing.assert_allclose(of_kernel, numerical, atol=1e-4, err_msg=form)
    assert not of_maps.any()


@pytest.mark.parametrize("form", ["stacked", "plain"])
def test_bfloat16_is_of_operands_only(form):
  """Float32 results, as exact as operands of eight bits allow, in value and gradient."""
  rng = np.random.default_rng(0)
  kernel, maps = jnp.float32(rng.normal(size=(2, 2, 6, 64))), jnp.float32(rng.normal(size=(3, 4, 5, 64)))
  run = lambda kernel, dtype: convolve(kernel, maps.astype(dtype), dtype=dtype, implementation=form)
  exact, pull = jax.vjp(lambda k: run(k, jnp.float32), kernel)
  value, pull_half = jax.vjp(lambda k: run(k, jnp.bfloat16), kernel)
  (of_exact,), (of_half,) = pull(exact), pull_half(exact)
  assert value.dtype == of_half.dtype == jnp.float32
  rounded = lambda x: np.asarray(x).astype(jnp.bfloat16).astype(np.float64)
  products = np.stack([naive_convolve(rounded(kernel), image, "valid") for image in rounded(maps)])
  np.testing.assert_allclose(value, products.transpose(3, 0, 1, 2), rtol=1e-4, atol=1e-4)     # sums are float32
  np.testing.assert_allclose(of_half, of_exact, atol=0.02 * np.abs(of_exact).max())
  assert not np.allclose(of_half, of_exact, rtol=1e-6)


def test_form_by_platform(monkeypatch):
  kernel, maps = jnp.ones((2, 2, 2, 3)), jnp.ones((1, 3, 3, 3))
  text = lambda: str(jax.make_jaxpr(lambda k: convolve(k, maps))(kernel))
  assert "conv_general_dilated" not in text()
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert "conv_general_dilated" in text()


def test_one_scan_without_convolutions(monkeypatch):
  """The recurrence is one scan, and what it is given are the results of all products with maps."""
  network, params, maps = random_network({})
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  jaxpr = jax.make_jaxpr(lambda p: network.apply({"params": p}, jnp.float32(maps)))(single(params)).jaxpr
  scans = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
  assert len(scans) == 1 and "conv" not in str(scans[0].params["jaxpr"])
  outside = str([equation for equation in jaxpr.eqns if equation.primitive.name != "scan"])
  assert "conv" in outside


# Corners


@functools.cache
def total_of(variant):
  """Compiled (params, maps) -> (a sum, attention), gradients."""
  network = SpatialAttention(**SMALL | VARIANTS[variant])

  def total(params, maps):
    score, weights = network.apply({"params": params}, maps)
    return score.sum() + jnp.sum(weights ** 2), weights
  return jax.jit(jax.value_and_grad(total, has_aux=True))


@pytest.mark.parametrize("variant,corner", [
    *itertools.product(["paper", "same", "no gru", "cbam"], ["zeros", "equal", "huge"]),
    ("paper", "one place"), ("cbam", "one place"), ("same", "one frame"), ("no gru", "one frame"),
    *(pytest.param(*one, marks=pytest.mark.slow) for one in [
        ("same", "one place"), ("no gru", "one place"), ("paper", "one frame"), ("cbam", "one frame")])])
def test_finite_at_the_corners(quick_compile, variant, corner):
  shape = dict([("one place", (2, 3, 2, 2, 5)), ("one frame", (2, 1, 4, 3, 5))]).get(corner, (2, 3, 4, 3, 5))
  _, params, maps = random_network(VARIANTS[variant], shape)
  maps = dict(zeros=0 * maps, equal=0 * maps + 1.5, huge=1e4 * maps).get(corner, maps)
  (value, weights), gradients = jax.tree.map(np.asarray, total_of(variant)(single(params), np.float32(maps)))
  assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
  np.testing.assert_allclose(weights.sum(axis=(2, 3)), 1, atol=1e-5)
  if corner == "one place" and variant == "paper":
    np.testing.assert_allclose(weights, 1, atol=1e-6)
  if corner == "equal" and variant in ("paper", "no gru"):
    np.testing.assert_allclose(weights, 1 / weights[0, 0].size, atol=1e-6)


@pytest.mark.parametrize("size,padding", [(1, "valid"), (2, "valid"), (2, "same"), (3, "same"), (3, "valid")])
def test_places_seen(size, padding):
  """Mass stays, nothing falls outside the frame, and a place gives equally to all it looked at."""
  height, width = (5, 4) if padding == "same" else (6 - size, 5 - size)
  weights = np.random.default_rng(0).dirichlet(np.ones(height * width), 2).reshape(2, height, width)
  expected = np.zeros((2, 5, 4))
  before = (size - 1) // 2 if padding == "same" else 0
  for t, y, x in np.ndindex(weights.shape):
    looked = [(a, b) for a in range(y - before, y - before + size) for b in range(x - before, x - before + size)
              if 0 <= a < 5 and 0 <= b < 4]
    for a, b in looked:
      expected[t, a, b] += weights[t, y, x] / len(looked)
  seen = jax.jit(functools.partial(places_seen, size=size, padding=padding))(np.float32(weights))
  np.testing.assert_allclose(seen, expected, atol=1e-6)
  np.testing.assert_allclose(seen.sum(axis=(1, 2)), 1, atol=1e-6)


@pytest.mark.parametrize("options,message", [
    (dict(padding="full"), "padding='full' is unknown; use one of valid, same"),
    (dict(attention="self"), "attention='self' is unknown; use one of gru, cbam"),
    (dict(guides=()), r"guides=\(\) must be some of frame, skill, at least one"),
    (dict(guides=("past",)), r"guides=\('past',\) must be some of frame, skill"),
    (dict(implementation="fast"), "implementation='fast' is unknown; use one of auto, plain, stacked"),
])
def test_unknown_options(options, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(SpatialAttention(**SMALL | options).init, jax.random.key(0), jnp.zeros((1, 2, 3, 3, 2)))


def test_a_long_memory_at_the_start_lets_the_first_frame_count(quick_compile):
  """With the usual start of a GRU, next to nothing of the first of 25 frames is left in the score."""
  maps = np.random.default_rng(0).normal(size=(1, 25, 4, 4, 3)).astype(np.float32)
  changed = {row: np.array(maps) for row in (0, 24)}
  for row, copy in changed.items():
    copy[:, row] += 1
  counts, params, score = {}, {}, None                # one score: the bias counts at the start alone
  for update_bias in (0.0, 2.0):
    network = SpatialAttention(filters=8, channels=8, attention_hidden=8, attention_width=8, hidden=16,
                               update_bias=update_bias)
    params[update_bias] = variables = jax.tree.map(np.asarray, jax.jit(network.init)(jax.random.key(0), maps[:, :1]))
    score = score or jax.jit(lambda variables, maps, network=network: network.apply(variables, maps)[0][0])
    scores = {row: score(variables, copy) for row, copy in changed.items()}
    before = score(variables, maps)
    counts[update_bias] = float(abs(scores[0] - before) / abs(scores[24] - before))
  assert counts[0.0] < 1e-4 and counts[2.0] > 1e-2, counts
  usual, long = params[0.0]["params"], params[2.0]["params"]
  raised = np.repeat([0.0, 2.0, 0.0], 16)                                                 # gates r, z, n
  np.testing.assert_allclose(long["skill_gru"]["input_bias"] - usual["skill_gru"]["input_bias"], raised, atol=1e-6)
  long["skill_gru"]["input_bias"] = usual["skill_gru"]["input_bias"]
  chex.assert_trees_all_equal(usual, long)
