"""Who's Better, Who's Best: the segments that are drawn, and the ranking loss against a float64 reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import methods, train
from jaxskill.data import SkillDataset, splits
from jaxskill.data.dataset import pad_streams
from jaxskill.data.simulation import simulated
from jaxskill.methods import whos_better
from jaxskill.training.parallel import Parallel

TWO = {"model.streams": ("rgb", "flow"), "model.hidden": 3, "model.test_segments": 4}


def videos_of(streams, lengths):
  return {name: jnp.asarray(rows) for name, rows in streams.items()} | dict(
      lengths={name: jnp.asarray(lengths) for name in streams}, position=jnp.arange(len(lengths)))


def rank(params, row):
  """The score of one row in float64."""
  embed, last = (np.float64(params["embed"][name]) for name in ("kernel", "bias")), np.float64(params["rank"]["kernel"])
  kernel, bias = embed
  return (np.maximum(row @ kernel + bias, 0) @ last)[0]


def encodings_of(encodings, video, scale=1.0):
  """Those of one video, its scores scaled."""
  encoding = jax.tree.map(lambda x: x[video], encodings)
  return encoding | dict(scores={name: scale * score for name, score in encoding["scores"].items()})


@pytest.mark.parametrize("length", [1, 2, 3, 7, 12])
def test_rows_lie_in_their_parts(length):
  """Each part gives rows of its own third, real ones only, and every row of it can be drawn."""
  places = np.random.default_rng(0).uniform(0, 1, (1, 3, 4000)).astype(np.float32)
  places[0, :, 0], places[0, :, 1] = 0, np.nextafter(np.float32(1), np.float32(0))
  rows = np.asarray(whos_better.drawn_rows(jnp.array([length]), jnp.asarray(places)))[0]
  for part, found in enumerate(rows):
    low, high = length * part / 3, length * (part + 1) / 3
    expected = set(range(int(np.floor(low)), min(int(np.ceil(high)), length)))
    assert set(found.tolist()) - expected <= {int(high)} and expected <= set(found.tolist())
    assert found.min() >= 0 and found.max() < length
  numbers = np.asarray(whos_better.part_of_rows(jnp.array([length]), 12, 3))[0]
  assert numbers[:length].tolist() == [int(3 * (row + 0.5) / length) for row in range(length)] and numbers.max() <= 2


def test_loss_and_score(load_config, quick_compile):
  """Sums over streams and parts of what is missing to the margin, and of what similar videos are apart beyond it; the
  score is the sum of the streams' means.
  """
  method = methods.build(load_config("whos_better", "features", TWO))
  rng, lengths = np.random.default_rng(0), np.array([9, 1, 6])
  streams = {name: rng.normal(size=(3, 9, 5)).astype(np.float32) for name in TWO["model.streams"]}
  videos = videos_of(streams, lengths)
  params = jax.jit(method.init)(jax.random.key(0), jax.tree.map(lambda x: x[:1], videos), {})
  variables, key = dict(params=params, constants=dict(loss_weights=dict(similar=0.5))), jax.random.key(1)
  encode = jax.jit(method.encode, static_argnums=3)
  encodings = jax.tree.map(np.asarray, encode(variables, videos, key, True))
  pair, losses = tuple(jax.tree.map(lambda x, v=v: x[v], encodings) for v in (0, 1)), jax.jit(method.phases[0].loss)
  loss, said = losses(variables, pair, {})
  expected = 0.0
  for number, name in enumerate(streams):
    keys = [jax.random.fold_in(jax.random.fold_in(key, number), v) for v in (0, 1)]
    places = np.float64([jax.random.uniform(each, (3, 1))[:, 0] for each in keys])          # [2, 3]
    for part in range(3):
      rows = ((part + places[:, part]) / 3 * lengths[:2]).astype(int)
      better, worse = (rank(params[name], streams[name][v, rows[v]]) for v in (0, 1))
      expected += max(0.0, 1.0 - (better - worse))
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  np.testing.assert_allclose(said["rank_rgb"] + said["rank_flow"], loss, rtol=1e-6)
  alike = encodings_of(encodings, 0, 7.0), encodings_of(encodings, 2)
  far, far_said = losses(variables, (*pair, *alike), {})
  apart = {name: np.abs(7 * np.float64(scores[0]) - scores[2]) for name, scores in encodings["scores"].items()}
  similar = sum(0.5 * np.maximum(values - 1.0, 0).sum() for values in apart.values())
  np.testing.assert_allclose(far - loss, similar, rtol=1e-4)
  assert similar > 0 and far_said["similar_rgb"] + far_said["similar_flow"] == pytest.approx(similar, rel=1e-4)
  tested = encode(variables, videos, key, False)
  answer = jax.jit(method.assess)(variables, jax.tree.map(lambda x: x[2], tested), None)
  means = {name: np.mean([rank(params[name], streams[name][2, int((part + (n + 0.5) / 4) / 3 * 6)])
                          for part in range(3) for n in range(4)]) for name in streams}
  np.testing.assert_allclose(answer.score, sum(means.values()), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose([answer.parts[name] for name in streams], list(means.values()), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(answer.segments["score"].mean(), answer.score, rtol=1e-4)


def test_gradients_are_finite_at_the_corners(load_config, quick_compile):
  """Of videos of one row, and of equal ones, whose scores do not differ."""
  method = methods.build(load_config("whos_better", "features"))
  videos = videos_of(dict(rgb=np.ones((2, 4, 3), np.float32)), np.array([1, 1]))
  params = jax.jit(method.init)(jax.random.key(0), jax.tree.map(lambda x: x[:1], videos), {})

  def loss(params):
    variables = dict(params=params, constants=dict(loss_weights=dict(similar=1.0)))
    encodings = method.encode(variables, videos, jax.random.key(1), True)
    pair = tuple(jax.tree.map(lambda x, v=v: x[v], encodings) for v in (0, 1))
    return method.phases[0].loss(variables, pair + pair, {})[0]
  value, gradients = jax.jit(jax.value_and_grad(loss))(params)
  assert value == 3.0 and all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


@pytest.mark.slow                       # as the simulated one below
def test_learns_what_every_segment_shows(load_config, make_dataset, quick_compile):
  dataset = make_dataset(videos=30, folds=((range(20), range(20, 30)),))
  shown = 0.1 * dataset.streams["rgb"]
  shown[..., :2] += dataset.score[:, None, None]
  dataset = dataclasses.replace(dataset, streams=dict(rgb=shown))
  config = load_config("whos_better", "features", {"train.epochs": 20})
  trainer = train.Trainer(config, dataset, Parallel(1))
  while int(trainer.state.step) < trainer.total:
    trainer.advance()
  scores = trainer.assess()[0][0]
  better, worse = dataset.pairs[dataset.folds[0].test_pairs].T
  assert (scores[better] > scores[worse]).mean() > 0.9


@pytest.mark.parametrize("changes, message", [
    ({"model.streams": ()}, "must name each stream once"), ({"model.parts": 0}, "parts=0 must be at least 1"),
    ({"model.hidden": -1}, "hidden=-1"), ({"loss.margin": 0.0}, "margin=0.0 must be positive")])
def test_bad_options(load_config, changes, message):
  with pytest.raises(ValueError, match=message):
    methods.build(load_config("whos_better", "features", changes))


def test_bad_streams(load_config, make_dataset):
  method, dataset = methods.build(load_config("whos_better", "features", TWO)), make_dataset()
  with pytest.raises(ValueError, match="no stream 'flow', only rgb; set config.model.streams"):
    method.check(dataset, None)
  maps = np.zeros((11, 12, 2, 2, 3), np.float32)
  broken = dataclasses.replace(
      dataset, streams=dict(rgb=maps, flow=maps), lengths=dict.fromkeys(("rgb", "flow"), dataset.lengths["rgb"]),
      row_times={}, row_seconds={})
  with pytest.raises(ValueError, match="average over the other axes when you extract them"):
    method.check(broken, None)


@pytest.mark.parametrize("name", ["whos_better", "lstm"])
def test_learns_simulated_skill_where_every_segment_shows_it(load_config, quick_compile, name):
  """Rows at which technique or a mistake is seen, of performances without nuisance: what baselines miss is not a bug.

  Of the simulated defaults these two learn nearly nothing: configs/README.md says why.
  """
  del quick_compile
  made = simulated.simulate(160, 60, 16, difficulty=0.0, num_subjects=160)
  shown = made.truth["relevant_high"] | made.truth["relevant_low"]
  videos = np.flatnonzero(shown.sum(axis=1) >= 3)                          # of middling skill some show nothing
  rows, lengths = pad_streams(videos, [made.streams["rgb"][video][shown[video]] for video in videos])
  train_side, test_side = np.split(np.arange(len(videos)), [3 * len(videos) // 4])
  pairs = splits.pairs_from_scores(made.score[videos], 5.0)[0][::3]
  dataset = SkillDataset(
      name="shown", source="shown", videos=tuple(made.videos[video] for video in videos), streams=dict(rgb=rows),
      lengths=dict(rgb=lengths), pairs=pairs, score=made.score[videos],
      folds=(splits.fold_of_videos("one", pairs, train_side, test_side),))
  config = load_config(name, "simulated", {"seeds": (0,), "train.epochs": 8 if name == "whos_better" else 30,
                                           "train.steps_per_call": 50})
  trainer = train.Trainer(config, dataset, Parallel(1))
  while int(trainer.state.step) < trainer.total:
    trainer.advance()
  scores, (better, worse) = trainer.assess()[0][0], pairs[dataset.folds[0].test_pairs].T
  assert (scores[better] > scores[worse]).mean() > 0.9
