"""MS-LSTM: its cell, its scales and its loss against naive float64 references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import methods
from jaxskill.methods import ms_lstm

SMALL = {"model.channels": 3, "model.attention_hidden": 3, "model.distributions": 2, "model.joined": 3,
         "model.scales": ((2, 1), (8, 4))}


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def naive_skips(params, rows):
  """(`[N, H]` states, `[N]` which rows were taken in) of an LSTM that skips, as Skip RNN writes it (Eq. 2 to 6)."""
  cell = jax.tree.map(np.float64, params["lstm"])
  kernel, bias = np.float64(params["update"]["kernel"]), float(params["update"]["bias"][0])
  memory = state = np.zeros(len(kernel))
  due, states, taken = 1.0, [], []
  for row in rows:
    update = float(np.round(due))
    if update:
      i, f, g, o = (row @ cell[f"i{gate}"]["kernel"] + state @ cell[f"h{gate}"]["kernel"] + cell[f"h{gate}"]["bias"]
                    for gate in "ifgo")
      memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
      state = sigmoid(o) * np.tanh(memory)
      increment = sigmoid(memory @ kernel + bias)[0]
      due = increment
    else:
      due += min(increment, 1 - due)
    states.append(state)
    taken.append(update)
  return np.stack(states), np.array(taken)


def test_skips(quick_compile):
  """With a small increment most rows are skipped: the state stays, and the next is due sooner."""
  rows = np.random.default_rng(0).normal(size=(1, 20, 3)).astype(np.float32)
  network = ms_lstm.nn.RNN(ms_lstm.SkipLSTMCell(4))
  params = jax.jit(network.init)(jax.random.key(0), rows)["params"]

  def last(params):
    states = network.apply({"params": params}, rows)
    return states[0, -1].sum(), states
  program = jax.jit(jax.grad(last, has_aux=True))
  for bias, share in ((1.0, (1.0, 1.0)), (-1.0, (0.3, 0.6)), (-3.0, (0.05, 0.2))):
    params["cell"]["update"]["bias"] = np.full(1, bias, np.float32)
    expected, taken = naive_skips(params["cell"], rows[0])
    slopes, states = program(params)
    np.testing.assert_allclose(states[0], expected, atol=1e-5)
    assert share[0] <= taken.mean() <= share[1]
    assert np.abs(slopes["cell"]["update"]["kernel"]).max() > 0           # rounding lets the gradient through
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))


def test_a_scale(quick_compile):
  """Windows that lie in the real rows; a shorter video is one window, filled with zeros."""
  drawn, scale = np.random.default_rng(0).normal(size=(15, 3)).astype(np.float32), ms_lstm.Scale(8, 4, 4)
  params, apply = jax.jit(scale.init)(jax.random.key(0), drawn[None], np.array([15]))["params"], jax.jit(scale.apply)
  kernel, bias = (np.float64(params["windows"][name]) for name in ("kernel", "bias"))
  for length in (1, 5, 8, 11, 12, 15):
    rows = np.where(np.arange(15)[:, None] < length, drawn, 0)
    windows = [rows[start: start + 8] for start in range(0, max(length - 8, 0) + 1, 4)]
    filtered = [np.maximum(window.reshape(-1) @ kernel + bias, 0) for window in windows]
    expected = naive_skips(params["skip_lstm"], filtered)[0][-1]
    for shown in {15, length} if length in (5, 12) else {15}:          # however far it is padded
      found = apply({"params": params}, rows[None, :shown], np.array([length]))
      np.testing.assert_allclose(found[0], expected, atol=1e-5, err_msg=str(length))


def drawn(method, videos, constants):
  """Parameters of normal numbers."""
  shapes = jax.eval_shape(method.init, jax.random.key(0), jax.tree.map(lambda x: x[:1], videos), constants)
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: np.float32(rng.normal(scale=0.5, size=x.shape)), shapes)


def test_attention_and_loss(load_config, make_dataset, quick_compile):
  """Attention is a distribution over real rows; the penalty is the published one, in the unit of the labels."""
  dataset = make_dataset(score=np.linspace(0, 30, 11).astype(np.float32))
  method = methods.build(load_config("ms_lstm", "features", SMALL))
  constants = method.prepare(dataset, dataset.folds[0], "score") | dict(loss_weights=dict(penalty=2.0))
  videos = dict(rgb=jnp.asarray(dataset.streams["rgb"]), lengths=dict(rgb=jnp.asarray(dataset.lengths["rgb"])),
                position=jnp.arange(11))
  variables = dict(params=drawn(method, videos, constants), constants=constants)
  encodings = jax.jit(method.encode, static_argnums=3)(variables, videos, jax.random.key(0), True)
  np.testing.assert_allclose(encodings["attention"].sum(axis=2), 1, rtol=1e-5)
  padding = np.arange(12) >= dataset.lengths["rgb"][:, None]
  assert not np.asarray(encodings["attention"]).transpose(0, 2, 1)[padding].any()
  encoding = jax.tree.map(lambda x: x[3], encodings)
  loss, said = method.phases[0].loss(variables, (encoding,), dict(score=jnp.array([7.0])))
  matrix = np.float64(encoding["attention"])
  published = (float(encoding["score"]) - 7) ** 2 + 2 * np.linalg.norm(matrix @ matrix.T - np.eye(2)) ** 2
  np.testing.assert_allclose(loss * constants["deviation"] ** 2, published, rtol=1e-4)
  np.testing.assert_allclose(said["error"], abs(float(encoding["score"]) - 7), rtol=1e-5)


def test_gradients_are_finite_at_the_corners(load_config, quick_compile):
  """Of a video of one row, of rows of zeros, and where all training scores are equal."""
  method = methods.build(load_config("ms_lstm", "features", SMALL | {"model.scales": ((2, 1),)}))
  videos = dict(rgb=jnp.zeros((2, 3, 4)).at[0, 0].set(1.0), lengths=dict(rgb=jnp.array([1, 3])), position=jnp.arange(2))
  constants = dict(mean=1.0, deviation=1.0, loss_weights=dict(penalty=1.0))
  params = drawn(method, videos, constants)

  def loss(params):
    variables = dict(params=params, constants=constants)
    encodings = method.encode(variables, videos, jax.random.key(0), True)
    each = jax.vmap(lambda encoding: method.phases[0].loss(variables, (encoding,), dict(score=jnp.ones(1)))[0])
    return each(encodings).sum()
  value, gradients = jax.jit(jax.value_and_grad(loss))(params)
  assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


@pytest.mark.parametrize("changes, message", [
    ({"model.joined": 0}, "joined=0 must be at least 1"),
    ({"model.scales": ((2, 0),)}, "must be .window, stride. in rows"),
    ({"model.scales": ((2, 1), (2, 2))}, "each window once")])
def test_bad_options(load_config, changes, message):
  with pytest.raises(ValueError, match=message):
    methods.build(load_config("ms_lstm", "features", changes))
