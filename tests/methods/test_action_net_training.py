"""ACTION-NET in the common loop: criteria as replicas, its recipe, its ablations."""

import dataclasses
import importlib
import itertools

import numpy as np
import pytest

from jaxskill import ablations, train
from jaxskill.evaluate import simple_baselines
from jaxskill.training.parallel import Parallel

FOLDS = ((range(9), (9, 10)), ((2, 3, 4, 5, 6), (7, 8)))
NARROW = {"model.channels": 6, "model.attention_hidden": 5, "model.head_hidden": 7, "model.num_filters": 2,
          "model.filter_hidden": 4, "model.windows.rgb": 5, "model.windows.static": 6,
          "model.may_be_short": ("rgb", "static"), "train.batch_size": 8, "train.epochs": 4, "train.learning_rate": 0.1,
          "train.steps_per_call": 2, "train.decay": ((-1, 0.1),), "data.criteria": ("score", "part"), "plots": False}

PLAIN = {"model.context": "none", "model.pooling": "average"}          # where the networks do not matter


@pytest.fixture
def make(load_config):
  """make({field: value}) -> a small config of two criteria."""
  return lambda changes=None: load_config("action_net", changes=NARROW | (changes or {}))


@pytest.fixture
def two_streams(make_dataset):
  """two_streams(**fields) -> random videos of two streams, two scores of 0 to 25, two folds of unequal size."""
  def two_streams(folds=FOLDS, **fields):
    data, rng = make_dataset(folds=folds), np.random.default_rng(5)
    lengths = dict(data.lengths) | dict(static=rng.integers(1, 15, 11).astype(np.int32))
    static = rng.normal(size=(11, 15, 4)).astype(np.float32)
    static[np.arange(15) >= lengths["static"][:, None]] = 0
    return dataclasses.replace(data, **dict(
        streams=dict(data.streams) | dict(static=static), lengths=lengths, score_range=(0, 25),
        score=rng.uniform(0, 25, 11).astype(np.float32), criteria=dict(part=rng.uniform(0, 12, 11))) | fields)
  return two_streams


def test_folds_and_criteria_have_epochs_and_ranges_of_their_own(make, two_streams, nothing_drawn):
  """Folds of 9 and 5 videos that train for 4 and 2 epochs, two criteria of different range, two seeds: eight replicas."""
  changes = PLAIN | {"train.epochs_share": {"fold1": 0.5}, "model.score_ranges": {"part": (0.0, 12.0)}, "seeds": (0, 3)}
  trainer = train.Trainer(make(changes), two_streams(), Parallel(1))
  assert [(r.criterion, r.fold, r.seed) for r in trainer.replicas] == list(
      itertools.product(("score", "part"), (0, 1), (0, 3)))
  assert trainer.tables.steps.tolist() == [8, 8, 2, 2] * 2 and trainer.total == 8
  assert [r.row for r in trainer.replicas] == ["score"] * 4 + ["part"] * 4
  np.testing.assert_array_equal(trainer.state.constants["score_range"][:, 1], [25] * 4 + [12] * 4)


def test_bad_data_leave_no_workdir(make, two_streams, tmp_path, monkeypatch):
  monkeypatch.setattr(train, "Parallel", lambda _: Parallel(1))
  good = two_streams()
  broken = {
      "there is no stream 'static', only rgb": ({}, dict(
          streams=dict(rgb=good.streams["rgb"]), lengths=dict(rgb=good.lengths["rgb"]))),
      "fewer than config.model.windows.rgb=5": ({"model.may_be_short": ("static",)}, {}),
      "has 5 channels, not config.model.widths.rgb=1024": ({"model.widths.rgb": 1024}, {}),
      "range of the scores is not known": ({}, dict(score_range=None)),
      "has part .* outside 0 to 3": ({"model.score_ranges": {"part": (0.0, 3.0)}}, {}),
      "there is no criterion 'none', only score, part": ({"data.criteria": ("none",)}, {}),
  }
  for message, (changes, fields) in broken.items():
    with pytest.raises(ValueError, match=message):
      train.run(make(changes), tmp_path / "run", dataclasses.replace(good, **fields))
    assert not (tmp_path / "run").exists()


def test_recipe():
  """The published numbers of epochs, and every option of a config builds."""
  load = importlib.import_module("configs.action_net").get_config
  assert load("rhythmic_gymnastics").data.criteria == ("difficulty", "execution", "total")
  published = load("rhythmic_gymnastics").train
  assert {name: published.epochs * share for name, share in published.epochs_share.items()} == dict(
      ball=400, clubs=300, hoop=500, ribbon=300)
  skating = load("mit_skating")                      # Sec. 5.1 and 5.2
  assert skating.data.criteria == ("total",) and skating.model.score_ranges["total"] == (0, 100)
  assert skating.model.windows.to_dict() == dict(rgb=48, static=150)
  assert (skating.train.batch_size, skating.train.epochs, skating.train.decay) == (16, 200, ((150, 0.1), (180, 0.1)))
  assert load("rhythmic_gymnastics").model.windows.to_dict() == dict(rgb=26, static=80)
  for data in ("simulated", "features", "rhythmic_gymnastics", "fis_v", "mit_skating"):
    assert load(data).model.scale == 1               # K, below Eq. 1
    for variant in ("paper", "official"):
      config = load(f"{data},{variant}")
      assert (config.model.adjacency, config.model.padding, config.model.last_start) == dict(
          paper=("feature", "mask", True), official=("time", "zeros", False))[variant]
      train.check(config.lock())
  for options, message in (("rg", "data set 'rg' is unknown; use simulated,"), ("fis_v,old", "variant 'old' is unknown")):
    with pytest.raises(ValueError, match=message):
      load(options)


def test_table_of_the_paper(load_config):
  pytest.importorskip("sklearn")
  made = ablations.groups(load_config("action_net_ablations"))
  order = importlib.import_module("configs.action_net_ablations").get_config().row_order
  assert [row for group in made for row, _ in group.weight_rows] == list(order)
  assert tuple(made[-1].model.streams) == ("rgb", "static")       # whose baselines the table shows
  for group in made:
    ablations.train.check(group)


def test_linear_svr(monkeypatch, load_config, two_streams):
  monkeypatch.setattr(simple_baselines.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match="config.evaluate.svr needs scikit-learn: pip install 'jaxskill.baselines.', or set"):
    train.check(load_config("action_net_ablations"))
  pytest.importorskip("sklearn")
  rng = np.random.default_rng(0)
  features = rng.normal(size=(60, 5)) * [1, 10, 1, 1, 0]
  labels = 3 * features[:, 0] - features[:, 1] + 20
  np.testing.assert_allclose(simple_baselines.linear_svr(features[:40], labels[:40], features)[40:], labels[40:], atol=2.5)
  dataset = two_streams()
  found = simple_baselines.predict(dataset, dataset.folds[0], dataset.score, dataset.score, ("rgb", "static"), svr=True)
  assert {"linear SVR on mean features", "linear SVR on max features"} < found.keys()
  assert all(np.isfinite(values).all() and values.shape == (11,) for values in found.values())
  one = simple_baselines.predict(dataset, dataset.folds[0], dataset.score, dataset.score, "rgb")
  assert "linear SVR on mean features" not in one
  assert not np.allclose(one["ridge on mean features"], found["ridge on mean features"])      # which reads both streams
  assert simple_baselines.max_features(dataset, "static")[3].tolist() == dataset.streams["static"][
      3, :dataset.lengths["static"][3]].max(axis=0).tolist()


def test_siamese_names_only_its_own_videos(make, two_streams, nothing_drawn):
  """Where replicas train at once, the siamese step costs each a batch; the unique one the videos of all batches."""
  dataset = two_streams(folds=FOLDS[:1])
  flops = {}
  for encode in ("batch", "unique"):
    config = make(PLAIN | {"train.encode": encode, "train.batch_size": 2, "seeds": (0, 1, 2)})
    trainer = train.Trainer(config, dataset, Parallel(1), at_once=3)
    lowered = trainer.step.run.lower(trainer.state, trainer.loader.videos, trainer._tables, np.int32(1))
    flops[encode] = lowered.cost_analysis()["flops"]
  assert flops["batch"] < 0.6 * flops["unique"]
