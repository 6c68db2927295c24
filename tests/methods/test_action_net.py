"""ACTION-NET against the published code (golden files), and what the method adds to its modules."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxskill import interop
from jaxskill.evaluate import metrics as evaluate
from jaxskill.methods import action_net
from jaxskill.modules.gcn_context import graph
from jaxskill.training import draws
from jaxskill.training import step as steps
from jaxskill.training.parallel import Parallel
from tests.conftest import undrawn

STREAMS = ("rgb", "static")
RANGE = jnp.array([0.0, 25.0])
GOLDEN_NAMES = dict(rgb="dynamic", static="static")


def make_config(options="rhythmic_gymnastics", **changes):
  """configs/action_net.py for features of any width, of videos of any length."""
  config = importlib.import_module("configs.action_net").get_config(options)
  config.model.update(widths=dict(rgb=0, static=0), may_be_short=("rgb", "static"))
  config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
  return config


OFFICIAL = dict(model__adjacency="time", model__padding="zeros", model__last_start=False,
                model__may_be_short=("static",))


def batch(features, lengths=None):
  """Videos as `batches.VideoLoader` hands them over; `features` {stream: `[V, T, D]`}."""
  count = len(next(iter(features.values())))
  whole = {name: [x.shape[1]] * count for name, x in features.items()} | (lengths or {})
  return ({name: jnp.asarray(x, jnp.float32) for name, x in features.items()}
          | dict(lengths={name: jnp.asarray(whole[name], jnp.int32) for name in features},
                 position=jnp.arange(count), labels={}))


def squared_errors(method, variables, encodings, scores):
  """Losses and metrics of videos, `[V]`."""
  return jax.vmap(method.phases[0].loss, (None, 0, 0))(variables, (encodings,), dict(score=scores[:, None]))


# The published code


def golden_input(seed, shape):
  rng = np.random.Generator(np.random.PCG64(int(seed)))
  return np.float32(0.5) * np.abs(rng.standard_normal(tuple(shape), dtype=np.float32))


@pytest.mark.golden("actionnet*", without=("sgd",))
def test_golden_forward(golden, golden_weights, golden_name, quick_compile):
  data = golden(golden_name)
  params = interop.action_net_from_torch(golden_weights(data))
  features = {}
  for ours, theirs in GOLDEN_NAMES.items():
    features[ours] = x = golden_input(data[f"input_seed_{theirs}"], data[f"{theirs}_shape"])
    np.testing.assert_array_equal(x.ravel()[:16], data[f"{theirs}_head"])
    np.testing.assert_allclose([x.sum(dtype=np.float64), np.abs(x).sum(dtype=np.float64)],
                               data[f"{theirs}_fingerprint_f64"], rtol=1e-12)
  close = lambda actual, key, atol: np.testing.assert_allclose(actual, data[key], rtol=0, atol=atol, err_msg=key)
  method = action_net.build(make_config(model__windows={name: x.shape[1] for name, x in features.items()}, **OFFICIAL))
  variables = dict(params=params, constants=dict(score_range=RANGE))
  encoding = jax.jit(lambda v: method.encode(variables, v, jax.random.key(0), False))(batch(features))
  close(encoding["score"], "score", 1e-6)
  encoder = action_net.StreamEncoder(adjacency="time")
  for ours, theirs in GOLDEN_NAMES.items():
    videos, count, _ = features[ours].shape
    matrix, normalizer = graph("time", np.ones((videos, count), bool), jnp.zeros((1, videos * count)))
    for row in normalizer:
      close(row[:, None] * matrix * row, f"adj_{theirs}", 1e-6)
    close(encoding["attention"][ours][..., None], f"att_{theirs}", 1e-6)
    (pooled, _), captured = jax.jit(lambda x, ours=ours: encoder.apply(
        {"params": params["streams"][ours]}, x, np.ones(x.shape[:2], bool), capture_intermediates=True))(features[ours])
    close(pooled, f"stream_{theirs}", 2e-5)
    layer = lambda name: np.asarray(captured["intermediates"][name]["__call__"][0]).reshape(
        -1, videos, count)[:data[f"embed_{theirs}"].shape[2]].transpose(1, 2, 0)
    close(np.maximum(layer("embed_2"), 0), f"embed_{theirs}", 2e-5)
    close(layer("graph_2"), f"gcn2_{theirs}", 2e-5)


def check_sums(value):
  """[sum, sum of absolute values, first 16 values] of an array."""
  flat = np.asarray(value, np.float64).ravel()
  return np.concatenate([[flat.sum(), np.abs(flat).sum()], np.pad(flat[:16], (0, max(0, 16 - flat.size)))])


def assert_sums(actual, data, kind, start, shared):
  """`actual` {state_dict name: array} against the check sums `kind`/<name>_f64 (tolerances of golden/README.md)."""
  sums, single = shared
  keys = {key for key in data if key.startswith(f"{kind}/")}
  assert keys == {f"{kind}/{name}_f64" for name in start}
  for name in start:
    if name.endswith(".att.2.bias"):
      continue
    ours, theirs = check_sums(actual[name]), data[f"{kind}/{name}_f64"]
    np.testing.assert_allclose(ours[:2], theirs[:2], rtol=0, atol=sums * theirs[1], err_msg=f"{kind} {name}")
    if single:
      mean = theirs[1] / start[name].size
      np.testing.assert_allclose(ours[2:], theirs[2:], rtol=0, atol=single * mean, err_msg=f"{kind} {name}")


def golden_shapes(data, forward):
  """`(rows, width)` of each stream, from the file of the steps or from that of the forward pass."""
  shapes = {ours: f"{theirs}_shape" for ours, theirs in GOLDEN_NAMES.items()}
  return {name: tuple(map(int, (data if key in data else forward)[key][1:])) for name, key in shapes.items()}


def golden_steps(data, shapes):
  """Inputs and labels of every step."""
  labels = data["labels"]
  np.testing.assert_allclose(labels, data["raw_scores"] / 25, rtol=1e-6)
  for step in range(len(labels)):
    yield step, {ours: golden_input(data[f"input_seeds_{theirs}"][step], (int(data["batch"]), *shapes[ours]))
                 for ours, theirs in GOLDEN_NAMES.items()}, labels[step]


@pytest.mark.parametrize("encode", ["batch", *(       # whose gradients are the same: `test_common.py`, `training/test_step.py`
    pytest.param(form, marks=pytest.mark.slow) for form in ("siamese", "unique"))])
@pytest.mark.golden("actionnet*_sgd*")
def test_golden_sgd(golden, golden_weights, golden_name, quick_compile, encode):
  """Two steps of the loop: weight decay is added to the gradient before the momentum; the head has its own rate."""
  data = golden(golden_name)
  forward, size = golden("actionnet"), int(data["batch"])
  start, shapes = golden_weights(data, params=forward["params"]), golden_shapes(data, forward)
  config = make_config("rhythmic_gymnastics,official", model__dropout=0.0, train__batch_size=size, train__encode=encode,
                       model__windows={name: rows for name, (rows, _) in shapes.items()})
  (_, factor), = config.train.rates
  ours = [config.train.learning_rate, factor * config.train.learning_rate, config.train.momentum, config.train.weight_decay]
  np.testing.assert_allclose(ours, [data[name] for name in ("lr_rest", "lr_fc", "momentum", "weight_decay")], rtol=1e-6)
  method, parallel = action_net.build(config), Parallel(1)
  step = steps.make_step(config, method, parallel, steps_per_call=1, epochs_per_call=2, num_unique=size)
  keys = jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32))
  params = jax.tree.map(lambda x: jnp.asarray(x)[None], interop.action_net_from_torch(start))
  sample = batch({name: np.zeros((1, *shape)) for name, shape in shapes.items()})
  state = undrawn(step.init, keys, sample, dict(score_range=RANGE[None]))
  assert jax.tree.map(jnp.shape, state.params) == jax.tree.map(jnp.shape, params)
  state = parallel.replicate(state.replace(params=params))
  tables = draws.Tables(np.zeros((1, size, 1), np.int32), np.array([size], np.int32), np.array([400], np.int32), keys,
                        criterion=np.zeros(1, np.int32))
  batches = draws.Batches(jnp.arange(size)[None, None, :, None], jnp.ones((1, 1, size), bool))
  published = lambda tree: interop.action_net_to_torch(jax.tree.map(lambda x: np.asarray(x)[0], tree))
  before, momentum, losses, scores = start, {name: 0 * value for name, value in start.items()}, [], []
  encode = jax.jit(lambda variables, videos: method.encode(variables, videos, jax.random.key(0), False)["score"])
  for number, features, labels in golden_steps(data, shapes):
    videos = batch(features) | dict(labels=dict(score=jnp.asarray(25 * labels)[:, None]))
    variables = dict(params=jax.tree.map(lambda x: x[0], state.params), constants=dict(score_range=RANGE))
    scores.append(np.asarray(encode(variables, videos)))
    state, (metrics,) = step.run_batches(state, (parallel.split(videos),), tables, batches)
    losses.append(float(metrics["loss"][0].squeeze()) / size)
    np.testing.assert_allclose(losses[-1], data["losses"][number], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores[-1], data["preds"][number], rtol=0, atol=1e-6)
    np.testing.assert_allclose(metrics["error"][0].squeeze() / size, 25 * np.abs(data["preds"][number] - labels).mean(),
                               rtol=1e-4)
    trace = next(part for part in state.opt_state["0"] if hasattr(part, "trace")).trace
    moved, end = published(traverse_util.unflatten_dict(trace, sep="/")), number + 1
    gradients = {k: moved[k] - 0.9 * momentum[k] - 1e-4 * before[k] for k in start}
    before, momentum = published(state.params), moved
    assert_sums(gradients, data, f"grad{number}", start, (3e-4, 2e-3))
    assert_sums(momentum, data, f"momentum{end}", start, (3e-4, 2e-3))
    assert_sums(before, data, f"after{end}", start, (1e-6, 1e-6))
    assert_sums({k: np.float64(before[k]) - start[k] for k in start}, data, f"delta{end}", start, (1e-2, None))
  np.testing.assert_allclose(np.mean(losses), data["epoch_loss_avg"], rtol=0, atol=1e-6)
  correlation = evaluate.spearman(np.concatenate(scores), np.concatenate(data["labels"]))
  np.testing.assert_allclose(correlation, data["epoch_spearman"], rtol=0, atol=1e-6)


@pytest.mark.peers
@pytest.mark.golden("actionnet*_sgd*")
def test_golden_sgd_of_the_torch_peer(golden, golden_weights, golden_name):
  import torch

  from jaxskill.benchmark.peers.action_net import TorchPeer
  data = golden(golden_name)
  forward = golden("actionnet")
  start, shapes = golden_weights(data, params=forward["params"]), golden_shapes(data, forward)
  peer = TorchPeer(dict(d_ct=shapes["rgb"][1], s_ct=shapes["static"][1]), dropout=0.0, learning_rate=float(data["lr_rest"]),
                   head_rate=float(data["lr_fc"]), momentum=float(data["momentum"]),
                   weight_decay=float(data["weight_decay"]))
  peer.network.load_state_dict({k: torch.tensor(v) for k, v in start.items()})
  for number, features, labels in golden_steps(data, shapes):
    loss, scores = peer.step([torch.tensor(features[s]).to(peer.device) for s in STREAMS], torch.tensor(labels))
    np.testing.assert_allclose(float(loss), data["losses"][number], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores.cpu(), data["preds"][number], rtol=0, atol=1e-6)
  assert_sums({k: v.cpu() for k, v in peer.network.state_dict().items()}, data, "after2", start, (1e-6, 1e-6))


# Windows, dropout, masks, answers

SMALL = dict(model__windows=dict(rgb=4, static=5), model__hidden=6, model__channels=5, model__attention_hidden=4,
             model__head_hidden=8, model__num_filters=2, model__filter_hidden=4)


def small(seed=0, **changes):
  """A small method with random parameters: videos of up to 9 segments of width 6 and 12 frames of width 7."""
  config = make_config(**SMALL | changes)
  method = action_net.build(config)
  rng = np.random.default_rng(seed)
  every = dict(rgb=rng.normal(size=(4, 9, 6)), static=rng.normal(size=(4, 12, 7)))
  features = {name: every[name] for name in config.model.streams}
  lengths = dict(rgb=[9, 4, 6, 2], static=[12, 3, 5, 6])
  for name, x in features.items():
    x[np.arange(x.shape[1]) >= np.array(lengths[name])[:, None]] = 0
  first = jax.tree.map(lambda x: x[:1], batch(features))
  shapes = jax.eval_shape(method.init, jax.random.key(0), first, dict(score_range=RANGE))
  params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) / 2, jnp.float32), shapes)
  variables = dict(params=params, constants=dict(score_range=RANGE))
  return method, variables, features, {name: lengths[name] for name in features}


PROGRAMS = {}             # {id of a method: (the method, which so stays, its encoding)}


def run(method, variables, videos, train=False, key=0):
  if id(method) not in PROGRAMS:
    PROGRAMS[id(method)] = method, jax.jit(method.encodings, static_argnums=3)
  return PROGRAMS[id(method)][1](variables, videos, jax.random.key(key), train)


@pytest.mark.parametrize("last", [True, False])
def test_window_starts(quick_compile, last):
  lengths = jnp.array([9, 4, 3, 5, 10])
  np.testing.assert_array_equal(action_net.window_starts(lengths, 4), [2, 0, 0, 0, 3])

  @jax.jit
  def drawn(key):
    keys = jax.vmap(lambda k: jax.random.split(k, 5))(jax.random.split(key, 300))
    return jax.vmap(lambda k: action_net.window_starts(lengths, 4, k, last))(keys)
  starts = np.asarray(drawn(jax.random.key(0)))
  seen = [set(column.tolist()) for column in starts.T]
  assert seen == [set(range(6 if last else 5)), {0}, {0}, {0, 1} if last else {0}, set(range(7 if last else 6))]


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_centred_window(quick_compile, variant):
  """Testing looks at the middle, as if the rest were not there; attention is placed on the rows of the video."""
  method, variables, features, lengths = small(**OFFICIAL if variant == "official" else {})
  whole = run(method, variables, batch(features, lengths))
  starts = dict(rgb=[2, 0, 1, 0], static=[3, 0, 0, 0])
  for v in range(4):
    cut = {name: x[v:v + 1, starts[name][v]:][:, :dict(rgb=4, static=5)[name]] for name, x in features.items()}
    left = {name: [min(lengths[name][v], x.shape[1])] for name, x in cut.items()}
    alone = run(method, variables, batch(cut, left))
    np.testing.assert_allclose(alone["score"][0], whole["score"][v], atol=1e-6)
    for name, weights in whole["attention"].items():
      expected = np.zeros(features[name].shape[1])
      expected[starts[name][v]:][:cut[name].shape[1]] = alone["attention"][name][0]
      np.testing.assert_allclose(weights[v], expected, atol=1e-6)
      np.testing.assert_allclose(np.sum(weights[v]), 1, atol=1e-6)
      beyond = np.asarray(weights)[v, lengths[name][v]:]
      assert beyond.any() == (variant == "official" and lengths[name][v] < dict(rgb=4, static=5)[name])


def test_random_windows_and_dropout_belong_to_the_video(quick_compile):
  method, variables, features, lengths = small()
  videos = batch(features, lengths)
  drawn = lambda key, videos=videos: run(method, variables, videos, True, key)
  first, second = drawn(1), drawn(2)
  assert not np.allclose(first["score"], second["score"], atol=1e-3)
  seen = [drawn(key)["attention"] for key in range(40)]
  starts = {name: {int(np.flatnonzero(np.asarray(attention[name][0]))[0]) for attention in seen} for name in features}
  assert starts == dict(rgb=set(range(6)), static=set(range(8)))
  order = np.array([3, 1, 3, 2])
  turned = jax.tree.map(lambda x: np.asarray(x)[order], videos)
  for actual, expected in zip(jax.tree.leaves(drawn(1, turned)), jax.tree.leaves(first)):
    np.testing.assert_allclose(actual, np.asarray(expected)[order], atol=1e-6)
  np.testing.assert_array_equal(run(method, variables, videos, False, 1)["score"],
                                run(method, variables, videos, False, 2)["score"])
  for dropout in (0.0, 0.5):                                      # whole videos: nothing else is drawn
    method, variables, _, _ = small(model__windows=dict(rgb=0, static=0), model__dropout=dropout)
    if not dropout:
      tested = np.asarray(run(method, variables, videos)["score"])
    assert np.allclose(run(method, variables, videos, True)["score"], tested, atol=1e-6) == (dropout == 0)


def learning(method, variables, videos, train):
  """(encodings, gradient of the loss)."""
  def total(params):
    encodings = method.encode(variables | dict(params=params), videos, jax.random.key(3), train)
    return squared_errors(method, variables, encodings, jnp.array([3.0, 10.0, 24.0, 17.0]))[0].sum(), encodings
  gradient, encodings = jax.grad(total, has_aux=True)(variables["params"])
  return encodings, gradient


@pytest.mark.parametrize("windows, train", [(dict(rgb=4, static=5), True), (dict(rgb=20, static=0), False), *(
    pytest.param(*case, marks=pytest.mark.slow) for case in ((dict(rgb=4, static=5), False), (dict(rgb=20, static=0), True)))])
def test_padding_changes_nothing(quick_compile, windows, train):
  method, variables, features, lengths = small(model__windows=windows)
  padded = {name: np.pad(x, ((0, 0), (0, 7), (0, 0))) for name, x in features.items()}
  for name, x in padded.items():
    x[np.arange(x.shape[1]) >= np.array(lengths[name])[:, None]] = 50.0
  program = jax.jit(lambda variables, videos: learning(method, variables, videos, train))
  (more, steep), (plain, slope) = (program(variables, batch(x, lengths)) for x in (padded, features))
  np.testing.assert_allclose(more["score"], plain["score"], atol=1e-6)
  for actual, expected in zip(jax.tree.leaves(steep), jax.tree.leaves(slope), strict=True):
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_official_keeps_zero_rows(quick_compile):
  """A short static stream is filled up to the window, and the fill is attended over."""
  method, variables, features, lengths = small(**OFFICIAL)
  short = {name: x[:, :3] for name, x in features.items()}
  filled = {name: np.pad(x, ((0, 0), (0, more), (0, 0))) for (name, x), more in zip(short.items(), (1, 2))}
  score = run(method, variables, batch(short))["score"]
  np.testing.assert_allclose(score, run(method, variables, batch(filled))["score"], atol=1e-6)
  masked, _, _, _ = small()
  assert not np.allclose(run(masked, variables, batch(short))["score"], score, atol=1e-4)


@pytest.mark.parametrize("streams", [("rgb", "static"), ("rgb",), ("static",)])
def test_streams_and_standardisation(quick_compile, streams):
  method, variables, features, lengths = small(model__streams=streams)
  assert set(variables["params"]["streams"]) == set(streams) and method.streams == streams
  assert variables["params"]["head"]["fc_1"]["kernel"].shape == (8, 10 * len(streams))
  statistics = {name: dict(mean=jnp.arange(x.shape[2], dtype=jnp.float32), scale=jnp.full(x.shape[2], 2.0))
                for name, x in features.items()}
  ours = run(method, variables | dict(constants=variables["constants"] | dict(features=statistics)),
             batch({name: 2 * x + np.arange(x.shape[2]) for name, x in features.items()}, lengths))
  np.testing.assert_allclose(ours["score"], run(method, variables, batch(features, lengths))["score"], atol=1e-5)


# of four hidden units of the attention, none may see one of the small states of an LSTM
VARIANTS = {"lstm": dict(model__context="lstm", model__attention_hidden=16),
            "bilstm": dict(model__context="bilstm", model__channels=6, model__attention_hidden=16),
            "plain": dict(model__context="none"), "average": dict(model__pooling="average"),
            "max": dict(model__pooling="max"), "filters": dict(model__context="none", model__pooling="filters"),
            "bfloat16": dict(train__dtype="bfloat16"), "official": OFFICIAL, "paper": {}}
# All of them at least once, in few programs.
TOGETHER = {"bilstm, max": VARIANTS["bilstm"] | VARIANTS["max"], "average, bfloat16": VARIANTS["average"] | VARIANTS["bfloat16"]}
QUICK = ("lstm", "filters", "paper", *TOGETHER)        # the gradients of the official one are in `test_golden_sgd`


@pytest.mark.parametrize("variant", [
    pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in VARIANTS | TOGETHER])
def test_variants_learn_and_answer(quick_compile, variant):
  """Loss, its gradient in every layer, and the answer in the unit of the labels."""
  method, variables, features, lengths = small(**(VARIANTS | TOGETHER)[variant])

  @jax.jit
  def everything(variables, videos):
    encodings = method.encodings(variables, videos, jax.random.key(0), False)
    return (learning(method, variables, videos, True)[1], encodings,
            squared_errors(method, variables, encodings, jnp.full(4, 20.0)),
            jax.vmap(method.assess, (None, 0, None))(variables, encodings, None))
  gradients, encodings, (loss, metrics), answer = everything(variables, batch(features, lengths))
  # a softmax has no use for the bias of its logits
  idle = {path for path in traverse_util.flatten_dict(gradients, sep="/")
          if path.endswith(("attend_2/bias", "readout_bias"))}
  for path, value in traverse_util.flatten_dict(gradients, sep="/").items():
    assert np.isfinite(value).all() and (path in idle or np.asarray(value).any()), path
  np.testing.assert_allclose(loss, (np.asarray(encodings["score"]) - 0.8) ** 2, atol=1e-6)
  np.testing.assert_allclose(answer.score, 25 * encodings["score"], rtol=1e-6)
  np.testing.assert_allclose(metrics["error"], np.abs(answer.score - 20), rtol=1e-5)
  assert set(answer.attention) == {"rgb attention", "static attention"}
  assert answer.attention["static attention"].shape == (4, 1, 12)


@pytest.mark.parametrize("low", [0.0, 5.0])
def test_range_of_the_scores(make_dataset, low):
  """The answer lies in the range, the loss is that of shares of it; a criterion may have a range of its own."""
  method, variables, features, lengths = small()
  variables["constants"] = dict(score_range=jnp.array([low, 30.0]))
  encodings = run(method, variables, batch(features, lengths))
  answer = jax.vmap(method.assess, (None, 0, None))(variables, encodings, None)
  np.testing.assert_allclose(answer.score, low + (30 - low) * encodings["score"], rtol=1e-6)
  loss, metrics = squared_errors(method, variables, encodings, jnp.full(4, 20.0))
  np.testing.assert_allclose(loss, (encodings["score"] - (20 - low) / (30 - low)) ** 2, atol=1e-6)
  np.testing.assert_allclose(metrics["error"], np.abs(answer.score - 20), rtol=1e-5)
  data = make_dataset(score=np.linspace(5, 20, 11, dtype=np.float32), score_range=(low, 25.0),
                      criteria=dict(part=np.linspace(6, 8, 11)))
  config = make_config(model__streams=("rgb",), model__windows=dict(rgb=0, static=0))
  range_of = lambda config, name: action_net.build(config).prepare(data, data.folds[0], name)["score_range"].tolist()
  assert range_of(config, "score") == range_of(config, "part") == [low, 25]
  config.model.score_ranges = dict(part=(0.0, 10.0))
  assert (range_of(config, "score"), range_of(config, "part")) == ([low, 25], [0, 10])
  np.testing.assert_array_equal(action_net.build(config).targets(data, "part"), np.float32(data.criteria["part"]))
  config.model.score_ranges = dict(part=(0.0, 7.0))
  with pytest.raises(ValueError, match="video 'v6' has part 7.2, outside 0 to 7 .5 such videos.; correct it, or the ra"):
    action_net.build(config).targets(data, "part")
  config.model.score_ranges = dict(part=(7.0, 7.0))
  with pytest.raises(ValueError, match=r"the range \(7.0, 7.0\) of 'part' must be \(lowest, highest\)"):
    action_net.build(config).targets(data, "part")


def test_bad_data(make_dataset):
  config = make_config(**SMALL)
  good = make_dataset(segments=12)
  data = dataclasses.replace(good, streams=good.streams | dict(static=good.streams["rgb"]),
                             lengths=good.lengths | dict(static=good.lengths["rgb"]), score=np.abs(good.score),
                             score_range=(0, 25))
  targets = lambda config, data: action_net.build(config).targets(data, "score")
  np.testing.assert_array_equal(targets(config, data), data.score)
  with pytest.raises(ValueError, match="random: there is no stream 'static', only rgb; set config.model.streams"):
    targets(config, dataclasses.replace(data, streams=good.streams, lengths=good.lengths))
  config.model.may_be_short = ("static",)
  with pytest.raises(ValueError, match="video 'v[0-9]+' has [1-3] rows of stream 'rgb', fewer than config.model.win"):
    targets(config, data)
  config.model.windows.rgb = 0
  targets(config, data)
  config.model.widths.static = 2048
  with pytest.raises(ValueError, match="stream 'static' has 5 channels, not config.model.widths.static=2048; extract"):
    targets(config, data)
  config.model.widths.static = 5
  targets(config, data)
  frames = dataclasses.replace(data, streams=good.streams | dict(static=np.zeros((11, 12, 2, 2, 3), np.float32)))
  with pytest.raises(ValueError, match=r"stream 'static' holds \[2, 2, 3\] a row; this method reads features"):
    targets(config, frames)
  with pytest.raises(ValueError, match="random: there are no scores to learn from; add them"):
    targets(config, dataclasses.replace(data, score=None, score_range=None))
  with pytest.raises(ValueError, match="the possible range of the scores is not known.*set config.data.score_range, e.g."):
    targets(config, dataclasses.replace(data, score_range=None))


@pytest.mark.parametrize("change,message", [
    (dict(model__context="gru"), "config.model.context='gru' is unknown; use one of gcn, none, lstm, bilstm"),
    (dict(model__context="bilstm", model__channels=5), "config.model.channels=5 must be even with the context 'bilstm'"),
    (dict(model__scale=0.0), "config.model.scale=0.0 must be positive"),
    (dict(model__padding="keep"), "config.model.padding='keep' is unknown; use one of mask, zeros"),
    (dict(model__streams=("rgb", "rgb")), "config.model.streams=.* must name each stream once"),
    (dict(model__streams=()), "config.model.streams=.* must name each stream once"),
    (dict(model__channels=0), "config.model.channels=0 must be at least 1"),
    (dict(model__dropout=1.0), "config.model.dropout=1.0 must be at least 0 and below 1")])
def test_bad_config(change, message):
  with pytest.raises(ValueError, match=message):
    action_net.build(make_config(**change))
