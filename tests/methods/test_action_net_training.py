"""ACTION-NET in the common loop: one result however a step is cut up, criteria as replicas, its recipe, its ablations."""

import dataclasses
import functools
import importlib
import itertools
import signal

import jax
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


def trained(config, dataset, devices=1):
  trainer, metrics = train.Trainer(config, dataset, Parallel(devices)), []
  while int(trainer.state.step) < trainer.total:
    metrics.append(trainer.advance())
  return trainer, metrics


def assert_close(actual, expected, replica=None, atol=2e-5):
  pick = (lambda x: np.asarray(x)[[replica]]) if replica is not None else np.asarray
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual.params), jax.tree.leaves(expected.params), strict=True):
    np.testing.assert_allclose(pick(a), b, rtol=0, atol=atol, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("encode,devices,budget", [("unique", 1, 0.5), ("batch", 8, 0.5), ("unique", 8, 0.5),
                                                   ("unique", 1, 0.0), ("batch", 1, 0.0)])
def test_one_result_on_any_devices(make, two_streams, quick_compile, encode, devices, budget):
  """Random windows and dropout belong to the video: neither the form of the step nor its devices change them."""
  dataset = two_streams()
  one, metrics = trained(make({"data.standardize": True}), dataset)
  assert one.config.train.encode == "batch" and one.total == 8
  changes = {"train.encode": encode, "data.device_budget": budget, "data.standardize": True}
  other, expected = trained(make(changes), dataset, devices)
  assert other.feed.resident == (budget > 0)
  assert_close(other.state, one.state)
  for ours, theirs in zip(metrics, expected, strict=True):
    for name in ours:
      np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-4, err_msg=name)
  for ours, theirs in zip(jax.tree.leaves(one.assess(everything=True)), jax.tree.leaves(other.assess(everything=True))):
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_a_replica_equals_a_run_of_its_own(make, two_streams, quick_compile):
  """Folds of 9 and 5 videos that train for 4 and 2 epochs, two criteria of different range, two seeds: eight replicas."""
  dataset = two_streams()
  changes = {"train.epochs_share": {"fold1": 0.5}, "model.score_ranges": {"part": (0.0, 12.0)}}
  together, _ = trained(make(changes | {"seeds": (0, 3)}), dataset)
  assert [(r.criterion, r.fold, r.seed) for r in together.replicas] == list(
      itertools.product(("score", "part"), (0, 1), (0, 3)))
  assert together.tables.steps.tolist() == [8, 8, 2, 2] * 2 and together.total == 8
  assert [r.row for r in together.replicas] == ["score"] * 4 + ["part"] * 4
  np.testing.assert_array_equal(together.state.constants["score_range"][:, 1], [25] * 4 + [12] * 4)
  scores = together.assess()[0]
  for i in (0, 3, 5, 6):
    replica = together.replicas[i]
    own = make(changes | {"seeds": (replica.seed,), "data.criteria": (replica.criterion,)})
    alone, _ = trained(own, dataclasses.replace(dataset, folds=dataset.folds[replica.fold:replica.fold + 1]))
    assert alone.total == together.tables.steps[i]
    assert_close(together.state, alone.state, replica=i)
    np.testing.assert_allclose(scores[i], alone.assess()[0][0], atol=1e-3)
  kernels = np.asarray(together.state.params["head"]["fc_1"]["kernel"])
  assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.combinations(kernels, 2))


def test_rates_decay_before_the_end(make, two_streams, quick_compile):
  """With a factor of 0 from the last epoch but one on, only the epochs before it move anything."""
  dataset = two_streams(folds=FOLDS[:1])
  still, _ = trained(make({"train.decay": ((-2, 0.0),)}), dataset)
  short, _ = trained(make({"train.decay": (), "train.epochs": 2}), dataset)
  assert (still.total, short.total) == (8, 4)
  assert_close(still.state, short.state, atol=1e-6)
  counted, _ = trained(make({"train.decay": ((2, 0.0),)}), dataset)
  assert_close(counted.state, still.state, atol=1e-6)


def test_padding_changes_nothing(make, two_streams, quick_compile):
  dataset = two_streams()
  garbage = {}
  for name, x in dataset.streams.items():
    more = np.random.default_rng(9).normal(size=(11, 20, x.shape[2])).astype(np.float32)
    real = (np.arange(x.shape[1]) < dataset.lengths[name][:, None])[..., None]
    more[:, :x.shape[1]] = np.where(real, x, more[:, :x.shape[1]])
    garbage[name] = more
  config = make({"data.standardize": True})
  (first, _), (second, _) = trained(config, dataset), trained(config, dataclasses.replace(dataset, streams=garbage))
  assert_close(second.state, first.state)
  np.testing.assert_allclose(second.assess()[0], first.assess()[0], atol=1e-4)


def test_stopped_run_ends_in_the_same_bits(make, two_streams, quick_compile, tmp_path, monkeypatch):
  monkeypatch.setattr(train, "Parallel", functools.partial(Parallel, 1))
  config, dataset = make({"train.eval_steps": 2, "train.checkpoint_steps": 2}), two_streams()
  whole = train.run(config, tmp_path / "whole", dataset)

  class StopAtOnce(train.StopSignal):
    def __enter__(self):
      super().__enter__().number = signal.SIGTERM
      return self
  with monkeypatch.context() as patch:
    patch.setattr(train, "StopSignal", StopAtOnce)
    for _ in range(2):
      with pytest.raises(train.Stopped):
        train.run(config, tmp_path / "run", dataset)
  resumed = train.run(config, tmp_path / "run", dataset)
  for key in ("params_sha256", "rows", "replicas"):
    assert resumed[key] == whole[key], key
  assert {r["criterion"] for r in whole["replicas"]} == {"score", "part"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lowers_for_accelerators(make, two_streams, dtype):
  trainer = train.Trainer(make({"train.dtype": dtype}), two_streams(), Parallel(1))
  for platform in ("tpu", "cuda"):
    exported = jax.export.export(trainer.step.run, platforms=[platform])(
        trainer.state, trainer.feed.videos, trainer.tables, np.int32(1))
    assert exported.platforms == (platform,)
    assert ("bf16" in exported.mlir_module()) == (dtype == "bfloat16")


def test_bad_data_leave_no_workdir(make, two_streams, tmp_path, monkeypatch):
  monkeypatch.setattr(train, "Parallel", functools.partial(Parallel, 1))
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
  for data in ("simulated", "features", "rhythmic_gymnastics", "fis_v", "mit_skating"):
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
  assert [row for own in made for row, _ in own.weight_rows] == list(order)
  assert tuple(made[-1].model.streams) == ("rgb", "static")       # whose floors the table shows
  for own in made:
    ablations.train.check(own)


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


def test_siamese_names_only_its_own_videos(make, two_streams, quick_compile):
  """Per replica, the siamese step costs a batch; the unique one the videos of all replicas' batches."""
  dataset = two_streams(folds=FOLDS[:1])
  flops = {}
  for encode in ("batch", "unique"):
    trainer = train.Trainer(make({"train.encode": encode, "train.batch_size": 2, "seeds": (0, 1, 2)}), dataset, Parallel(1))
    lowered = trainer.step.run.lower(trainer.state, trainer.feed.videos, trainer._tables, np.int32(1))
    flops[encode] = lowered.compile().cost_analysis()["flops"]
  assert flops["batch"] < 0.6 * flops["unique"]
