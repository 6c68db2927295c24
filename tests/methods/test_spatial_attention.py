"""Spatial attention in the common loop: which frames it sees, its loss, its data, and one result however a step is cut."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import spatial_attention, spatial_attention_ablations
from configs.features import spatial_attention as recipe_of_maps
from jaxskill import ablations, methods, train
from jaxskill.data.simulation import simulated
from jaxskill.evaluate import simple_baselines, truth
from jaxskill.methods.spatial_attention import frame_rows
from jaxskill.report import results
from jaxskill.training import batches, replicas
from jaxskill.training.batches import as_maps
from jaxskill.training.parallel import Parallel
from tests.known_programs import Known

FOLDS = ((range(8), (8, 9, 10)), ((2, 3, 4, 5, 6), (7, 8)))
PAPER = spatial_attention.get_config("epic_skills")
NARROW = {"model.segments": 3, "model.width": 0, "model.filters": 5, "model.channels": 4, "model.attention_hidden": 3,
          "model.attention_width": 2, "model.hidden": 6, "train.batch_size": 8, "train.epochs": 2,
          "train.steps_per_call": 2, "train.learning_rate": 0.1, "train.encode": "unique",
          "data.standardize": True, "plots": False}


@pytest.fixture
def make(load_config):
  """make({field: value}) -> a small config."""
  return lambda changes=None, file="spatial_attention": load_config(file, changes=NARROW | (changes or {}))


@pytest.fixture
def with_maps(make_dataset):
  """with_maps(**fields) -> random videos of 3 to 7 maps of 4 x 3 places and 5 channels, two folds of unequal size."""
  def with_maps(folds=FOLDS, **fields):
    rng = np.random.default_rng(3)
    lengths = rng.integers(3, 8, 11).astype(np.int32)
    lengths[0] = 7
    maps = rng.normal(size=(11, 7, 4, 3, 5)).astype(np.float32)
    maps[np.arange(7) >= lengths[:, None]] = 0
    return make_dataset(folds=folds, **dict(streams=dict(maps=maps), lengths=dict(maps=lengths)) | fields)
  return with_maps


def trained(config, dataset, devices=1):
  trainer, metrics = train.Trainer(config, dataset, Parallel(devices)), []
  while int(trainer.state.step) < trainer.total:
    metrics.append(trainer.advance())
  return trainer, metrics


def assert_close(actual, expected, replica=None, atol=2e-5):
  pick = (lambda x: np.asarray(x)[[replica]]) if replica is not None else np.asarray
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual.params), jax.tree.leaves(expected.params), strict=True):
    np.testing.assert_allclose(pick(a), b, rtol=0, atol=atol, err_msg=jax.tree_util.keystr(path))


# Frames


def test_a_segment_shows_its_last_frame_or_a_random_one():
  lengths = jnp.array([5, 7, 12, 23])
  last = np.asarray(frame_rows(lengths, 5))
  for row, count in zip(last, lengths.tolist()):
    assert row.tolist() == [part[-1] for part in np.array_split(np.arange(count), np.arange(1, 5) * count // 5)]
  seen = [[set() for _ in range(5)] for _ in lengths]
  draw = jax.jit(lambda keys: frame_rows(lengths, 5, keys))
  for seed in range(60):
    rows = draw(jax.random.split(jax.random.key(seed), 4))
    for video, segment in itertools.product(range(4), range(5)):
      seen[video][segment].add(int(rows[video, segment]))
  for video, count in enumerate(lengths.tolist()):
    parts = np.array_split(np.arange(count), np.arange(1, 5) * count // 5)
    assert [sorted(found) for found in seen[video]] == [part.tolist() for part in parts]
  assert frame_rows(jnp.array([1, 4]), 1).tolist() == [[0], [3]]


def test_training_sees_random_frames_that_belong_to_the_video(make, with_maps, quick_compile):
  config, dataset = make(), with_maps()
  trainer = train.Trainer(config, dataset, Parallel(1))
  variables = jax.tree.map(lambda x: x[0], trainer.state.variables())
  encode = jax.jit(trainer.method.encode, static_argnums=3)
  videos, key = trainer.loader.host(np.arange(11)), jax.random.key(5)
  whole = jax.tree.map(np.asarray, encode(variables, videos, key, True))
  order = np.array([4, 0, 9, 4, 7, 1, 2, 10, 3, 5, 6])        # one of them twice, one not at all
  some = encode(variables, trainer.loader.host(order), key, True)
  np.testing.assert_array_equal(some["rows"], whole["rows"][order])
  np.testing.assert_allclose(some["score"], whole["score"][order], atol=1e-6)
  assert (encode(variables, videos, jax.random.key(6), True)["rows"] != whole["rows"]).any()
  test = encode(variables, videos, key, False)
  np.testing.assert_array_equal(test["rows"], frame_rows(dataset.lengths["maps"], 3))
  shown = np.take_along_axis(dataset.streams["maps"], np.asarray(test["rows"])[..., None, None, None], axis=1)
  cut = videos | dict(maps=np.pad(shown, ((0, 0), (0, 4), (0, 0), (0, 0), (0, 0))), lengths=dict(maps=np.full(11, 3, np.int32)))
  np.testing.assert_allclose(encode(variables, cut, key, False)["score"], test["score"], atol=1e-6)


# The loss


def test_margin_ranking(make):
  """Zero from the margin on, growing below it as the gap shrinks."""
  method = methods.build(make({"loss.margin": 0.5}))
  loss = lambda gap: method.phases[0].loss({}, (dict(score=jnp.float32(1 + gap)), dict(score=jnp.float32(1.0))), {})
  for gap, expected, accuracy in ((0.5, 0, 1), (2.0, 0, 1), (0.25, 0.25, 1), (0.0, 0.5, 0.5), (-1.0, 1.5, 0)):
    value, metrics = loss(gap)
    assert value == expected and metrics["accuracy"] == accuracy
  assert jax.grad(lambda gap: loss(gap)[0])(0.25) == -1
  assert [phase.trains for phase in method.phases] == ["."] and method.items is methods.PAIRS


def test_recipe(make, with_maps, quick_compile):
  """SGD with momentum on the gradient plus the decayed weights; the loss is a sum over pairs (Eq. 11, Sec. 3.5)."""
  config = make({"train.batch_size": 64, "train.epochs": 3, "train.steps_per_call": 1, "train.learning_rate": 0.002,
                 "train.weight_decay": 0.01, "train.momentum": 0.9, "train.reduction": PAPER.train.reduction})
  trainer = train.Trainer(config, with_maps(folds=FOLDS[:1]), Parallel(1))
  assert trainer.total == 3                               # all 28 pairs are one batch
  method, videos, fold = trainer.method, as_maps(trainer.loader.videos), trainer.dataset.folds[0]
  pairs = trainer.loader.local(trainer.dataset.pairs[fold.train_pairs])
  variables = jax.tree.map(lambda x: x[0], trainer.state.variables())
  momentum = jax.tree.map(np.zeros_like, variables["params"])

  @jax.jit
  def gradient(params, step):
    def loss(params):
      key = jax.random.fold_in(jax.random.split(jax.random.key(0), 3)[2], step)
      score = method.encode(variables | dict(params=params), videos, key, True)["score"]
      return jnp.maximum(0.5 - (score[pairs[:, 0]] - score[pairs[:, 1]]), 0).sum()
    return jax.grad(loss)(params)
  params = jax.tree.map(np.asarray, variables["params"])
  for step in range(3):
    slopes = jax.tree.map(np.asarray, gradient(params, step))
    momentum = jax.tree.map(lambda m, g, p: 0.9 * m + g + np.float32(0.01) * p, momentum, slopes, params)
    params = jax.tree.map(lambda p, m: np.float32(p - 0.002 * m), params, momentum)
    trainer.advance()
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(trainer.state.params), strict=True):
      np.testing.assert_allclose(theirs[0], ours, atol=1e-5)


def test_random_labels(make, with_maps):
  """About half of the training pairs are turned round, by seed and once for all; the test pairs are as they were."""
  dataset = with_maps(folds=FOLDS[:1])
  pairs = dataset.pairs[dataset.folds[0].train_pairs]

  def tables(changes):
    config = make({"seeds": (0, 1)} | changes)
    return replicas.make_tables(config, dataset, replicas.plan(config, dataset), lambda ids: ids, methods.PAIRS).items
  first, again = (tables({"train.pair_order": "random"}) for _ in range(2))
  np.testing.assert_array_equal(first, again)
  turned = (first != pairs).all(axis=2)
  np.testing.assert_array_equal(np.where(turned[..., None], first[..., ::-1], first), [pairs] * 2)
  assert ((0.2 < turned.mean(axis=1)) & (turned.mean(axis=1) < 0.8)).all() and (turned[0] != turned[1]).any()
  np.testing.assert_array_equal(tables({}), [pairs] * 2)


# One result


@pytest.mark.parametrize("forms", [(("siamese", 8),), pytest.param((("siamese", 1), ("unique", 8)), marks=pytest.mark.slow)])
def test_maps_kept_as_rows_change_nothing(make, with_maps, quick_compile, monkeypatch, forms):
  dataset = with_maps()
  one, _ = trained(make(), dataset)
  answers = jax.tree.leaves(one.assess(everything=True))
  monkeypatch.setattr(batches, "_LANES", 5)
  for encode, devices in forms:
    other, _ = trained(make({"train.encode": encode}), dataset, devices)
    assert isinstance(other.loader.videos["maps"], batches.MapRows)
    assert_close(other.state, one.state)
    for ours, theirs in zip(answers, jax.tree.leaves(other.assess(everything=True))):
      np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_standardised_channels(make, with_maps, quick_compile, monkeypatch):
  """Statistics are of channels, over frames and places; shifted and scaled maps then give the same model."""
  dataset = with_maps()
  scale, shift = np.float32([1, 2, 4, 0.5, 8]), np.float32([3, 0, -5, 2, 1])
  moved = dataclasses.replace(dataset, streams=dict(maps=dataset.streams["maps"] * scale + shift))
  Known().patch(monkeypatch)
  config = make({"model.padding": "same"})                # whose zeros are those of standardised maps
  (first, _), (second, _) = trained(config, dataset), trained(config, moved)
  assert first.state.constants["features"]["maps"]["mean"].shape == (2, 5)
  assert_close(second.state, first.state, atol=1e-3)


VARIANTS = {"paper": {}, "no gru": {"model.attention_gru": False}, "cbam": {"model.attention": "cbam"}}


# That the paper's learns, and that gradients reach all of it, is in `test_spatial_attention_learning.py`; gradients
# without a GRU are in `modules/test_gru_attention.py`.
@pytest.mark.parametrize("variant", [pytest.param("paper", marks=pytest.mark.slow),
                                     pytest.param("no gru", marks=pytest.mark.slow), "cbam"])
def test_variants_train(make, with_maps, quick_compile, variant):
  """Every parameter moves, and training pays."""
  config = make(VARIANTS[variant] | {"train.epochs": 40, "train.steps_per_call": 40, "train.learning_rate": 0.05})
  trainer = train.Trainer(config, with_maps(folds=FOLDS[:1]), Parallel(1))
  before = jax.tree.map(np.asarray, trainer.state.params)
  first, *_, last = [trainer.advance() for _ in range(-(-trainer.total // trainer.per_call))]
  assert (last["loss"] < first["loss"]).all()
  for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(trainer.state.params)):
    assert not np.array_equal(old, new), path


def test_accelerators_get_a_convolution(make, with_maps, nothing_drawn):
  trainer = train.Trainer(make({"model.implementation": "plain"}), with_maps(), Parallel(1))
  function, given = trainer.first_call()
  traced = function.trace(*given)
  for platform in ("tpu", "cuda"):
    assert "stablehlo.convolution" in traced.lower(lowering_platforms=(platform,)).as_text(), platform


# The answer


def test_assessment(make, with_maps, quick_compile, tmp_path):
  """The rank score, a heat map over each shown frame, and when it was seen; maps.npz holds them for the test videos."""
  times = np.cumsum(np.random.default_rng(1).uniform(0.5, 2, (11, 7)), axis=1).astype(np.float32)
  dataset = with_maps(row_times=dict(maps=times))
  trainer = train.Trainer(make(), dataset, Parallel(1))         # the first parameters do as well as trained ones
  answer = trainer.assess(everything=True)
  assert answer.parts == {} and answer.attention == {} and answer.alignment is None
  assert answer.maps["attention"].shape == (2, 11, 3, 4, 3)
  np.testing.assert_allclose(answer.maps["attention"].sum(axis=(3, 4)), 1, atol=1e-5)
  np.testing.assert_array_equal(answer.rows["attention"][0], frame_rows(dataset.lengths["maps"], 3))
  even = np.outer([1, 2, 2, 1], [1, 2, 1])                      # 3 x 2 fused places of equal weight look at 4 x 3
  np.testing.assert_allclose(answer.maps["uniform"], np.broadcast_to(even / even.sum(), (2, 11, 3, 4, 3)), atol=1e-6)
  np.testing.assert_array_equal(answer.score, trainer.assess()[0])
  with np.load(results._save_maps(tmp_path / "maps.npz", trainer, answer)) as saved:
    assert saved["videos"].tolist() == ["v7", "v8", "v9", "v10"] and len(saved["replicas"]) == 2
    np.testing.assert_array_equal(saved["attention"], answer.maps["attention"][:, 7:])
    for seconds, video in zip(saved["attention_seconds"], range(7, 11)):
      np.testing.assert_array_equal(seconds, times[video, answer.rows["attention"][0, video]])


def test_place_mass():
  maps = np.zeros((2, 10, 10))
  maps[0, 2, 7], maps[0, 9, 9], maps[1] = 3, 1, 1
  places = np.array([[0.25, 0.75], [0.5, 0.5]])
  inside = sum((y - 4.5) ** 2 + (x - 4.5) ** 2 <= 4 for y in range(10) for x in range(10)) / 100
  np.testing.assert_allclose(truth.place_mass(maps, places), (0.75 + inside) / 2)
  np.testing.assert_allclose(truth.place_mass(maps, places[:, ::-1]), inside / 2)      # rows are rows


def test_attention_against_the_true_place(make):
  """Measured at the frames that were shown, for the test videos: at the place, elsewhere, and for equal weights."""
  dataset = simulated.simulate(6, num_subjects=6, streams=("maps",), map_frames=8, map_size=10, map_width=4, num_segments=8)
  fold = dataset.folds[0]
  rows = np.tile(np.array([1, 4, 7], np.int32), (6, 1))
  grid = (np.arange(10) + 0.5) / 10
  places = np.take_along_axis(dataset.truth["place"], rows[..., None], axis=1)
  spot = np.argmin(np.abs(grid - places[..., None]), axis=-1)
  maps = np.zeros((6, 3, 10, 10))
  maps[np.arange(6)[:, None], np.arange(3), spot[..., 0], spot[..., 1]] = 1
  finds = dict.fromkeys(("attention", "turned", "even"), ("place", "distractor"))
  found = truth.against_truth(
      dataset, fold, dataset.score, {}, finds, maps=dict(attention=maps, turned=maps.swapaxes(2, 3), even=np.full_like(maps, 0.01)),
      rows=dict.fromkeys(("attention", "turned", "even"), rows))
  assert found["attention_place"] == 1 and found["attention_distractor"] == 0 and found["turned_place"] < 1
  inside = (np.square(grid[:, None] - places[fold.test_videos, ..., 0].reshape(-1, 1, 1))
            + np.square(grid - places[fold.test_videos, ..., 1].reshape(-1, 1, 1))) <= 0.04
  np.testing.assert_allclose(found["even_place"], inside.mean())


# What cannot be used


CONFIG_ERRORS = [
    ({"model.padding": "full"}, "config.model.padding='full' is unknown; use one of valid, same"),
    ({"model.attention": "self"}, "config.model.attention='self' is unknown; use one of gru, cbam"),
    ({"model.implementation": "fast"}, "config.model.implementation='fast' is unknown; use one of auto, plain, stacked"),
    ({"model.guides": ()}, r"config.model.guides=\(\) must be some of frame, skill, at least one, each once"),
    ({"model.guides": ("frame", "frame")}, "must be some of frame, skill, at least one, each once"),
    ({"model.guides": ("past",)}, r"config.model.guides=\('past',\) must be some of frame, skill"),
    ({"loss.margin": -0.5}, "config.loss.margin=-0.5 and config.model.width=0 must not be negative"),
    ({"model.width": -1}, "config.model.width=-1 must not be negative"),
    ({"model.segments": 0}, "config.model.segments=0 must be at least 1"),
    ({"model.hidden": 0}, "config.model.hidden=0 must be at least 1"),
    ({"train.pair_order": "mixed"}, "config.train.pair_order='mixed' is unknown; use one of labelled, random"),
]


@pytest.mark.parametrize("changes,message", CONFIG_ERRORS, ids=[str(changes) for changes, _ in CONFIG_ERRORS])
def test_config_errors(make, changes, message):
  with pytest.raises(ValueError, match=message):
    train.check(make(changes))


DATA_ERRORS = [
    ({"model.segments": 4}, {}, r"random: video 'v\d+' has maps of 3 frames, fewer than config.model.segments=4 \(\d such "
                                "videos\\); extract more frames, or use fewer segments"),
    ({"model.width": 4096}, {}, "random: the maps 'maps' have 5 channels, not config.model.width=4096; extract"),
    ({}, dict(streams=dict(rgb=np.zeros((11, 7, 5), np.float32)), lengths=dict(rgb=np.full(11, 7))),
     "random: there is no stream 'maps', only rgb; give <video>.npz with the maps `rgb` and `flow`"),
    ({}, dict(streams=dict(maps=np.zeros((11, 7, 5), np.float32))),
     r"random: stream 'maps' holds \[5\] a row; spatial attention reads maps \[frames, h, w, channels\]"),
    ({}, dict(streams=dict(maps=np.zeros((11, 7, 1, 3, 5), np.float32))), "have 1 x 3 places; expected at least 2 x 2"),
]


@pytest.mark.parametrize("changes,fields,message", DATA_ERRORS, ids=range(len(DATA_ERRORS)))
def test_data_errors(make, with_maps, changes, fields, message):
  with pytest.raises(ValueError, match=message):
    train.Trainer(make(changes), with_maps(**fields), Parallel(1))


def test_tables_of_the_paper(make):
  """Table 1 and 2 and Fig. 6: each row has shapes or labels of its own, so each is a program."""
  config = make(file="spatial_attention_ablations")
  made = ablations.groups(config)
  assert [group.weight_rows[0][0] for group in made] == list(config.row_order)
  assert [(group.weight_rows[0][0], group.model.attention, group.model.attention_gru, group.model.guides, group.train.pair_order)
          for group in made] == [
      ("CBAM", "cbam", True, ("frame", "skill"), "labelled"),
      ("no attention GRU", "gru", False, ("frame", "skill"), "labelled"),
      ("frame only", "gru", True, ("frame",), "labelled"), ("skill state only", "gru", True, ("skill",), "labelled"),
      ("spatial attention", "gru", True, ("frame", "skill"), "labelled"),
      ("random labels", "gru", True, ("frame", "skill"), "random")]
  for group in made:
    train.check(group)


@pytest.mark.parametrize("row", [pytest.param(name, marks=[pytest.mark.slow] * (name != "skill state only"))
                                 for name in spatial_attention_ablations.get_config().row_order])
def test_every_row_of_the_table_leaves_its_heat_maps(make, with_maps, quick_training, coarse_pictures, tmp_path, monkeypatch, row):
  monkeypatch.setattr(simple_baselines, "pair_rows", lambda *_: {})           # below every table the same
  config = make({"plots": True, "train.epochs": 1}, "spatial_attention_ablations")
  assert spatial_attention_ablations.get_config().plots
  group, = [group for group in ablations.groups(config) if group.weight_rows[0][0] == row]
  train.run(group.lock(), tmp_path, with_maps(folds=FOLDS[:1]))
  assert all((tmp_path / name).exists() for name in ("maps.png", "maps.npz"))


@pytest.mark.parametrize("options, rate", (("epic_skills", 1e-3), ("epic_skills,paper", 1e-3),
                                           ("features,infant_grasp", 5e-4)))
def test_config_of_the_paper(options, rate):
  """What Sec. 3.5 gives."""
  config = spatial_attention.get_config(options)
  model, recipe = config.model, config.train
  assert (model.segments, model.width, model.filters, model.channels) == (25, 4096, 512, 256)
  assert (model.attention_hidden, model.hidden, model.attention_width) == (128, 128, 32)
  assert (recipe.optimizer, recipe.momentum, recipe.learning_rate, recipe.weight_decay) == ("sgd", 0.9, rate, 1e-3)
  assert config.loss.margin == 0.5 and recipe.dtype == "float32" and recipe.reduction == "sum"
  assert recipe.clip_norm == model.update_bias == 0         # the paper has neither


def test_infant_grasp_has_four_folds_and_is_no_other_data_set():
  data = spatial_attention.get_config("features,infant_grasp").data
  assert (data.name, data.split, data.test_share, data.validation_share) == ("features", "folds", 0.25, 0)
  with pytest.raises(ValueError, match="epic_skills is not Infant Grasp, which is not public; use features,infant_grasp"):
    spatial_attention.get_config("epic_skills,infant_grasp")
  with pytest.raises(ValueError, match="data set 'best' is unknown; use simulated, features, epic_skills or jigsaws"):
    spatial_attention.get_config("best")


@pytest.mark.parametrize("options, fps", (("rgb,flow", 10), ("infant_grasp", 60)))
def test_recipe_of_maps(options, fps):
  """Sec. 3.2 and 3.5: ResNet-101, 448 x 448 so that places are 14 x 14, TV-L1 at 10 fps, of Infant Grasp at its own 60."""
  streams = recipe_of_maps.get_config(options).streams
  assert {(one.input, one.network, one.keep, one.crop, one.sampling.segments, one.sampling.fps)
          for one in streams.values()} == {(kind, "resnet101", "maps", 448, 25, fps) for kind in ("rgb", "flow")}
