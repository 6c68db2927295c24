"""LSTM and Bi-LSTM regression against a naive float64 recurrence, masks, and what its attention sums to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import methods, train
from jaxskill.methods import lstm
from jaxskill.training.parallel import Parallel


def naive_states(cell, way, rows):
  """`[T, H]` states of one direction over real rows, gate by gate, in float64."""
  weight = lambda gate, kind: np.float64(cell[gate][kind][way])
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  memory = state = np.zeros(weight("hi", "bias").shape)
  states = []
  for row in rows:
    i, f, g, o = (row @ weight(f"i{gate}", "kernel") + state @ weight(f"h{gate}", "kernel") + weight(f"h{gate}", "bias")
                  for gate in "ifgo")
    memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
    state = sigmoid(o) * np.tanh(memory)
    states.append(state)
  return np.stack(states)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_scores_and_moves(quick_compile, bidirectional):
  """The layer on the last state of each direction; the moves are what changes of state add to the score."""
  rng, lengths = np.random.default_rng(0), np.array([7, 1, 4])
  rows = rng.normal(size=(3, 7, 3)).astype(np.float32)
  network = lstm.Regressor(4, bidirectional)
  params = jax.tree.map(lambda x: np.asarray(x) + np.float32(0.1), jax.jit(network.init)(jax.random.key(0), rows, lengths)["params"])
  scores, moves = jax.jit(network.apply)({"params": params}, rows, lengths)
  kernel, bias = np.float64(params["score"]["kernel"])[:, 0], float(params["score"]["bias"][0])
  for video, length in enumerate(lengths):
    cell, expected, total = params["lstm"]["cell"], np.zeros(7), bias
    for way in range(1 + bidirectional):
      real = rows[video, :length][:: -1 if way else 1]
      states, weights = naive_states(cell, way, real), kernel[4 * way: 4 * way + 4]
      total += states[-1] @ weights
      expected[:length] += (np.diff(states, axis=0, prepend=0) @ weights)[:: -1 if way else 1]
    np.testing.assert_allclose(scores[video], total, rtol=1e-5)
    np.testing.assert_allclose(moves[video], expected, atol=1e-5)
    np.testing.assert_allclose(moves[video].sum() + bias, scores[video], rtol=1e-5)


def test_shares():
  np.testing.assert_allclose(lstm.shares(jnp.array([-3.0, 1.0, 0.0]), 2), [0.75, 0.25, 0])
  np.testing.assert_allclose(lstm.shares(jnp.zeros(4), 3), [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)


@pytest.mark.parametrize("options", [pytest.param("features", marks=pytest.mark.slow), "features,bidirectional"])
def test_loss_in_deviations_of_the_training_scores(load_config, make_dataset, quick_compile, options):
  """Whose mean a network without weights says; equal scores, and videos of one row, have finite gradients."""
  dataset = make_dataset()
  method = methods.build(load_config("lstm", options))
  fold = dataset.folds[0]
  constants = method.prepare(dataset, fold, "score")
  trained = np.float64(dataset.score[fold.train_videos])
  np.testing.assert_allclose([constants["mean"], constants["deviation"]], [trained.mean(), trained.std()], rtol=1e-5)
  videos = dict(rgb=jnp.asarray(dataset.streams["rgb"][:2]), lengths=dict(rgb=jnp.array([1, 12])),
                position=jnp.arange(2))
  params = jax.jit(method.init)(jax.random.key(0), jax.tree.map(lambda x: x[:1], videos), constants)

  def loss(params):
    variables = dict(params=params, constants=constants)
    encodings = method.encode(variables, videos, jax.random.key(0), True)
    found = jax.vmap(lambda encoding, label: method.phases[0].loss(variables, (encoding,), dict(score=label[None]))[0])
    return found(encodings, jnp.asarray(dataset.score[:2])).sum()
  silent, program = jax.tree.map(np.zeros_like, params), jax.jit(jax.value_and_grad(loss))
  expected = np.sum(((dataset.score[:2] - trained.mean()) / trained.std()) ** 2)
  np.testing.assert_allclose(program(silent)[0], expected, rtol=1e-5)
  for start in (silent, params):
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(program(start)))
  equal = dataclasses.replace(dataset, score=np.full(11, 2.0, np.float32))
  assert method.prepare(equal, fold, "score") == dict(mean=2.0, deviation=1.0)


def test_memory_lasts_longer_with_a_forget_bias(load_config, make_dataset, quick_compile):
  """What the first of twelve rows adds to the memory; nothing else of the first parameters changes."""
  videos = dict(rgb=jnp.asarray(make_dataset().streams["rgb"][:1]), lengths=dict(rgb=jnp.array([12])),
                position=jnp.arange(1))
  usual, lasting = (jax.jit(methods.build(load_config("lstm", "features", {"model.forget_bias": bias})).init)(
      jax.random.key(0), videos, {}) for bias in (0.0, 2.0))
  differ = jax.tree.map(lambda a, b: not np.array_equal(a, b), usual, lasting)
  assert [path[-2].key for path, other in jax.tree_util.tree_leaves_with_path(differ) if other] == ["hf"]
  np.testing.assert_array_equal(lasting["lstm"]["cell"]["hf"]["bias"], 2.0)


@pytest.mark.parametrize("options", ["features,bidirectional", *(       # one direction: `test_whos_better.py`
    pytest.param(one, marks=pytest.mark.slow) for one in ("features", "features,c3d"))])
def test_learns_what_every_row_shows(load_config, make_dataset, quick_compile, options):
  dataset = make_dataset(videos=30, folds=((range(20), range(20, 30)),))
  shown = 0.1 * dataset.streams["rgb"]
  shown[..., :2] += dataset.score[:, None, None]
  dataset = dataclasses.replace(dataset, streams=dict(rgb=shown))
  config = load_config("lstm", options, {"train.epochs": 60})
  trainer = train.Trainer(config, dataset, Parallel(1))
  while int(trainer.state.step) < trainer.total:
    trainer.advance()
  test = dataset.folds[0].test_videos
  assert np.corrcoef(trainer.assess()[0][0][test], dataset.score[test])[0, 1] > 0.9


def test_bad_options(load_config, make_dataset):
  with pytest.raises(ValueError, match="hidden=0 must be at least 1"):
    methods.build(load_config("lstm", "features", {"model.hidden": 0}))
  unscored = make_dataset(score=None)
  with pytest.raises(ValueError, match="there are no scores to learn from"):
    methods.build(load_config("lstm", "features")).targets(unscored, "score")
