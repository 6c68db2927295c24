"""The training step: the published updates, and the same result however a step is cut up, padded or spread."""

import dataclasses
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import data, interop, methods, train
from jaxskill.training import cost, draws, replicas
from jaxskill.training import step as steps
from jaxskill.training.parallel import Parallel
from tests.assess.own_videos import SIZES
from tests.conftest import undrawn
from tests.known_programs import Known
from tests.places import CONFIGS

NOISY = {"model.noise_std": 0.3, "model.noise": "per_video", "model.branches": ("high", "uniform")}


def flat(params):
  return {"/".join(k.key for k in path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(params)}


def assert_states_close(actual, expected, atol=2e-5, replica=None):
  """Moments of the gradients, and parameters wherever Adam did not step on rounding noise alone.

  Softmax ignores a shift of its logits and a margin one of both scores, so some gradients are zero but for rounding.
  """
  ours, theirs = flat(actual.params), flat(expected.params)
  pick = (lambda x: np.asarray(x)[replica]) if replica is not None else np.asarray
  assert ours.keys() == theirs.keys()
  compared = 0
  for index in (key for key in expected.opt_state if key.isdigit()):
    mine, wanted = (state.opt_state[index][0] for state in (actual, expected))
    for name in wanted.mu:
      single = (lambda x: np.asarray(x)[0]) if replica is not None else np.asarray
      size = max(1.0, np.abs(wanted.mu[name]).max())
      np.testing.assert_allclose(pick(mine.mu[name]), single(wanted.mu[name]), rtol=0, atol=1e-5 * size, err_msg=name)
      real = single(wanted.nu[name]) > 1e-11
      np.testing.assert_allclose(pick(ours[name])[real], single(theirs[name])[real], rtol=0, atol=atol, err_msg=name)
      compared += real.sum()
  assert compared > 0.5 * sum(pick(x).size for x in ours.values())


def assert_identical(actual, expected):
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
    np.testing.assert_array_equal(a, b, err_msg=str(path))


def trained(config, dataset, devices=1, calls=None):
  """A trainer after `calls` calls, or at its end, and the metrics of each."""
  trainer, metrics = train.Trainer(config, dataset, Parallel(devices)), []
  while len(metrics) < calls if calls else int(trainer.state.step) < trainer.total:
    metrics.append(trainer.advance())
  return trainer, metrics


# The published loop


def golden_run(data, config, parallel, epochs):
  """Losses and parameters after the steps of a golden file, for each length of an epoch in `epochs`, in steps."""
  better, worse = data["x1"], data["x2"]
  total, size, segments, width = better.shape
  method = methods.build(config)
  phases = len(method.phases)
  cycles = -(-total // phases)
  pad = lambda x: np.concatenate([x, np.zeros((cycles * phases - total, *x.shape[1:]), x.dtype)])
  videos = np.concatenate([pad(better), pad(worse)], axis=1).astype(np.float32)                # [steps, 2 B, T, D]
  lengths, position = np.full(2 * size, segments, np.int32), np.arange(2 * size, dtype=np.int32)
  place = lambda features: parallel.split(dict(rgb=features, lengths=dict(rgb=lengths), position=position, labels={}))
  pairs = np.stack([np.arange(size), np.arange(size) + size], axis=1).astype(np.int32)
  step = steps.make_step(config, method, parallel, steps_per_call=phases, epochs_per_call=1, num_unique=2 * size)
  key = jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32))
  sample = dict(rgb=videos[0, :1], lengths=dict(rgb=np.array([segments], np.int32)))
  networks = {n: {k.split("/", 2)[2]: v for k, v in data.items() if k.startswith(f"w0/{n}/")}
              for n in ("pos", "neg", "uniform")}
  params = interop.pros_cons_from_torch(networks)
  weights = {name: np.full(1, weight, np.float32) for name, weight in config.loss.weights.items()}
  start = undrawn(step.init, key, sample, dict(loss_weights=weights))
  assert jax.tree.map(jnp.shape, start.params) == jax.tree.map(lambda x: (1, *x.shape), params)
  start = jax.tree.map(np.asarray, start.replace(params=jax.tree.map(lambda x: x[None], params)))
  results = []
  for per_epoch in epochs:
    state, losses = parallel.replicate(jax.tree.map(jnp.array, start)), []
    table = draws.Tables(np.zeros((1, max(epochs) * size, 2), np.int32), np.array([per_epoch * size], np.int32),
                         np.array([total], np.int32), key)
    for cycle in range(cycles):
      numbers = np.arange(cycle * phases, (cycle + 1) * phases)
      mask = np.broadcast_to((numbers < total)[:, None, None], (phases, 1, size))
      batches = draws.Batches(jnp.asarray(np.tile(pairs, (phases, 1, 1, 1))), jnp.asarray(mask))
      state, metrics = step.run_batches(state, tuple(place(videos[i]) for i in numbers), table, batches)
      losses += [float(phase["loss"][0].squeeze()) / max(float(phase["loss"][1].squeeze()), 1) for phase in metrics]
    assert int(state.step) == total
    results.append((losses[:total], jax.tree.map(lambda x: np.asarray(x)[0], state.params)))
  return results


FORMS = (("chunked", "unique", 2), ("plain", "unique", 1), ("chunked", "unique", 1), ("plain", "siamese", 1))


@pytest.mark.golden("raan_train*")
@pytest.mark.parametrize("some", [(0, 3), pytest.param((1, 2), marks=pytest.mark.slow)])       # each value of each choice
def test_golden_train(golden, golden_name, load_config, quick_compile, some):
  """Both learning rates with and without the gradient leak, each in another form of the step."""
  data = golden(golden_name)
  assert (data["phases"] == np.arange(len(data["phases"])) % 2).all()
  margins = [float(m) for m in (data if "margins_code" in data else golden("raan_small"))["margins_code"]]
  first_layers = [key for key in data if re.fullmatch(r"w0/pos/att_net\.\d+\.0\.weight", key)]
  runs = sorted(key for key in data if key.endswith("/losses"))
  assert len(runs) == len(FORMS)
  for key, (implementation, encode, devices) in [(runs[i], FORMS[i]) for i in some]:
    parallel = Parallel(devices if data["x1"].shape[1] % devices == 0 else 1)
    rate, kind = re.fullmatch(r"lr(.+)/(official|isolated)/losses", key).groups()
    config = load_config(options="simulated,official", changes={
        "loss.margin_rank": margins[0], "loss.margin_disparity": margins[1], "loss.margin_rank_aware": margins[2],
        "train.batch_size": data["x1"].shape[1], "train.learning_rate": float(rate), "model.noise_std": 0.0,
        "train.alternation": dict(official="leaky", isolated="alternate")[kind], "train.encode": encode,
        "model.implementation": implementation, "model.num_filters": len(first_layers),
        "model.hidden": len(data[first_layers[0]])})
    (losses, params), = golden_run(data, config, parallel, epochs=[len(data["x1"])])
    np.testing.assert_allclose(losses, data[key], rtol=0, atol=5e-6, err_msg=key)
    ours = interop.pros_cons_to_torch(params)
    prefix, compared = f"lr{rate}/{kind}/after/", 0
    for name in (k.removeprefix(prefix) for k in data if k.startswith(prefix)):
      network, entry = name.split("/")
      if name not in data["ignore"] and entry in ours[network]:
        np.testing.assert_allclose(ours[network][entry], data[prefix + name], rtol=0, atol=1e-6, err_msg=prefix + name)
        compared += 1
    assert compared == sum(len(entries) for entries in ours.values()) - len(data["ignore"])


def naive_leaky(config, gradient, params, better, worse, per_epoch):
  """The published loop: .grad buffers that add up, and two optimisers that clear their own alone."""
  weights = {k: v.astype(np.float64) for k, v in flat(params).items()}
  buffers, moments = {k: 0.0 for k in weights}, {k: [0.0, 0.0, 0] for k in weights}
  treedef = jax.tree.structure(params)
  for step in range(len(better)):
    phase = step % 2
    if step % per_epoch == 0:
      buffers |= {k: 0.0 for k in weights if k.startswith("ranking/")}
    now = jax.tree.unflatten(treedef, [jnp.float32(x) for x in weights.values()])
    for k, g in flat(gradient(now, phase, better[step], worse[step])).items():
      buffers[k] = buffers[k] + g.astype(np.float64)
    for k in weights:
      if k.startswith(("ranking/", "filters/")[phase]):
        first, second, count = moments[k]
        first, second, count = 0.9 * first + 0.1 * buffers[k], 0.999 * second + 0.001 * buffers[k] ** 2, count + 1
        moments[k] = [first, second, count]
        rate = config.train.learning_rate * (0.1, 1.0)[k.startswith("ranking/")]
        weights[k] = weights[k] - rate * (first / (1 - 0.9 ** count)) / (np.sqrt(second / (1 - 0.999 ** count)) + 1e-8)
        buffers[k] = 0.0
  return jax.tree.unflatten(treedef, weights.values())


def test_leaky_alternation_clears_at_epoch_start(load_config, quick_compile):
  """The first optimiser's buffers alone, whichever phase the epoch begins with."""
  rng = np.random.default_rng(0)
  data = {name: rng.normal(size=(7, 2, 5, 6)).astype(np.float32) for name in ("x1", "x2")}
  config = load_config(options="simulated,official", changes={
      "train.batch_size": 2, "model.num_filters": 2, "model.hidden": 3, "model.noise_std": 0.0,
      "model.score": "linear"})
  method = methods.build(config)
  video = dict(rgb=data["x1"][0, :1], lengths=dict(rgb=np.array([5])))
  weights = {name: jnp.float32(weight) for name, weight in config.loss.weights.items()}
  variables = dict(params=jax.jit(method.init)(jax.random.key(1), video, {}), constants=dict(loss_weights=weights))

  def loss(params, phase, better, worse):
    videos = dict(rgb=jnp.concatenate([better, worse]), lengths=dict(rgb=jnp.full(2 * len(better), better.shape[1])))
    encodings = method.encode(variables | dict(params=params), videos, jax.random.key(0), True)
    pair = tuple(jax.tree.map(lambda x: x[half], encodings) for half in (slice(len(better)), slice(len(better), None)))
    return jax.vmap(method.phases[phase].loss, (None, 0, 0))(variables, pair, {})[0].mean()

  gradient = jax.jit(jax.grad(loss), static_argnums=1)
  for network, state in interop.pros_cons_to_torch(variables["params"]).items():
    data |= {f"w0/{network}/{name}": value for name, value in state.items()}
  epochs, ends = (2, 3, 7), []     # 2: every ranking step is the first of an epoch; 7: no second epoch
  for per_epoch, (_, params) in zip(epochs, golden_run(data, config, Parallel(1), epochs)):
    expected = naive_leaky(config, gradient, variables["params"], data["x1"], data["x2"], per_epoch)
    ends.append(flat(params))
    for name, value in flat(expected).items():
      if not name.endswith("_bias"):                  # linear scores and softmax have no use for them
        np.testing.assert_allclose(ends[-1][name], value, rtol=0, atol=5e-6, err_msg=f"{per_epoch} {name}")
  for one, other in itertools.combinations(ends, 2):
    assert np.abs(one["ranking/high_kernel"] - other["ranking/high_kernel"]).max() > 1e-4


# The optimiser


def toy_method():
  """Half the squared distance of two weight vectors from the features of each video."""
  def loss(variables, videos, labels):
    del labels
    return sum(0.5 * jnp.sum((w - videos[0]) ** 2) for w in variables["params"].values()), {}
  return methods.Method(
      init=lambda key, videos, constants: dict(head=jnp.zeros(3), backbone=jnp.ones(3)),
      encode=lambda variables, videos, key, train: videos["rgb"][:, 0], phases=(methods.Phase(loss, "."),), assess=None,
      items=methods.VIDEOS, streams=("rgb",))


def test_every_step_has_a_key_of_its_own(load_config):
  """It follows from the seed and the step alone, however the steps are cut into calls."""
  def loss(variables, videos, labels):
    return 0.0 * sum(jnp.sum(w) for w in variables["params"].values()), dict(drawn=videos[0])
  method = toy_method()._replace(phases=(methods.Phase(loss, "."),), encode=lambda variables, videos, key, train: (
      jnp.full(len(videos["position"]), jax.random.uniform(key))))
  config = load_config("core", "features", {"train.batch_size": 1})
  parallel = Parallel(1)
  videos = parallel.split(dict(rgb=np.zeros((1, 1, 3), np.float32), position=np.zeros(1, np.int32), labels={}))
  step = steps.make_step(config, method, parallel, steps_per_call=4, epochs_per_call=6, num_unique=1)
  key = jax.vmap(jax.random.key)(jnp.full(1, 7, jnp.uint32))
  one = np.ones(1, np.int32)
  table = draws.Tables(np.zeros((1, 1, 1), np.int32), one, 9 * one, key)
  state, drawn = step.init(key, videos, {}), []
  for count in (3, 1, 2):
    state, (metrics,) = step.run(state, videos, table, np.int32(count))
    drawn += np.asarray(metrics["drawn"][0])[:count, 0].tolist()
  of_steps = draws.split_key(key[0])[2]
  np.testing.assert_allclose(drawn, [jax.random.uniform(jax.random.fold_in(of_steps, n)) for n in range(6)], rtol=1e-6)
  assert len(set(drawn)) == 6


@pytest.mark.parametrize("optimizer,clip", [("adam", 0.0), ("sgd", 1.7)])           # which not every step is longer than
def test_optimiser(load_config, optimizer, clip):
  """Momentum, weight decay in the gradient, rates by path and by epoch, as PyTorch has them (MUSDL's, ACTION-NET's).

  Of two replicas, which take eight and six steps; an epoch below 0 is counted from the end of each.
  """
  rate, momentum, decay = 0.1, 0.8, 0.3
  config = load_config("core", "features", {
      "train.optimizer": optimizer, "train.momentum": momentum, "train.weight_decay": decay, "train.batch_size": 2,
      "train.learning_rate": rate, "train.rates": (("^backbone", 0.5),), "train.decay": ((1, 0.1), (-1, 0.5)),
      "train.clip_norm": clip})
  features = np.random.default_rng(0).normal(size=(3, 1, 3)).astype(np.float32)
  parallel = Parallel(1)
  videos = parallel.split(dict(rgb=features, position=np.arange(3, dtype=np.int32), labels={}))
  step = steps.make_step(config, toy_method(), parallel, steps_per_call=8, epochs_per_call=6, num_unique=3)
  key = jax.vmap(jax.random.key)(jnp.zeros(2, jnp.uint32))
  count, last = np.array([3, 3], np.int32), np.array([8, 6], np.int32)
  table = draws.Tables(np.tile(np.arange(3, dtype=np.int32)[:, None], (2, 1, 1)), count, last, key)
  batches = step.draw(table, np.int32(0))
  state, _ = step.run(step.init(key, videos, {}), videos, table, np.int32(8))

  for replica, epochs in enumerate((4, 3)):                                           # two steps an epoch
    weights = dict(head=np.zeros(3), backbone=np.ones(3))
    first, second = ({name: np.zeros(3) for name in weights} for _ in range(2))
    norms = []
    for t in range(2 * epochs):
      now = rate * (0.1 if t // 2 >= 1 else 1) * (0.5 if t // 2 >= epochs - 1 else 1)
      ids = np.asarray(batches.items[t, replica, :, 0])[np.asarray(batches.mask[t, replica])]
      gradients = {name: (w - features[ids, 0]).mean(axis=0) for name, w in weights.items()}
      norms.append(np.linalg.norm(np.concatenate([*gradients.values()])))             # of all parameters together
      for name, w in weights.items():
        gradient = gradients[name] * (min(1, clip / norms[-1]) if clip else 1) + decay * w
        if optimizer == "sgd":
          first[name] = momentum * first[name] + gradient
          update = first[name]
        else:
          first[name] = 0.9 * first[name] + 0.1 * gradient
          second[name] = 0.999 * second[name] + 0.001 * gradient ** 2
          update = first[name] / (1 - 0.9 ** (t + 1)) / (np.sqrt(second[name] / (1 - 0.999 ** (t + 1))) + 1e-8)
        weights[name] = w - now * (0.5 if name == "backbone" else 1) * update
    for name, expected in weights.items():
      np.testing.assert_allclose(np.asarray(state.params[name])[replica], expected, rtol=1e-4, atol=1e-5, err_msg=name)
    assert not clip or min(norms) < clip < max(norms)


# The pieces


def pieces(config, encode, num_unique=2):
  config = config.copy_and_resolve_references()
  config.train.encode = encode
  method = toy_method()._replace(encode=lambda variables, videos, key, train: 10 * videos["rgb"][:, 0])
  return steps.Pieces(config, method, Parallel(1), steps_per_call=1, epochs_per_call=1, num_unique=num_unique)


@pytest.mark.parametrize("encode", ["unique", "batch", "siamese"])
def test_encodings_of_items(load_config, encode):
  """One tree a video of the item, whichever videos are encoded together."""
  videos = dict(rgb=jnp.arange(4.0)[:, None, None] * jnp.ones((1, 1, 3)), position=jnp.arange(4), labels={})
  items = jnp.array([[3, 0], [1, 3], [2, 2]])
  found = pieces(load_config("core", "features"), encode).encode(dict(params={}, constants={}), videos, items, None)
  np.testing.assert_array_equal(found, 10.0 * np.broadcast_to(items.T[..., None], (2, 3, 3)))


def test_videos_that_a_step_names(load_config):
  """Each once, and items by their new numbers: also where fewer are named than there is room, and number 0 is not."""
  videos = dict(rgb=10 * jnp.arange(6), position=jnp.arange(6), labels={})
  for items in ([[[[5, 2], [2, 5]]]], [[[[4, 4], [4, 1]]]], [[[[0, 3], [3, 0]]]]):
    share, renumbered = pieces(load_config("core", "features"), "unique", num_unique=3).narrow(videos, jnp.array(items))
    assert len(share["rgb"]) == 3
    np.testing.assert_array_equal(share["rgb"][renumbered], 10 * np.array(items))


# One result, however it is computed


@pytest.mark.parametrize("forms", [((1, 0.0), (8, 0.5)), pytest.param(((1, 0.5), (8, 0.0)), marks=pytest.mark.slow)])
def test_narrow_and_streaming_steps(load_config, make_dataset, quick_compile, forms):
  """Where a step cannot name all videos, only those it can are encoded, gathered on the device or read by the host."""
  dataset = make_dataset(videos=40, folds=((range(37), (37, 38, 39)), ((1, 2, 4), (5, 6))))
  changes = NOISY | {"train.batch_size": 8, "train.steps_per_call": 6}
  wide = train.Trainer(load_config(changes=changes), dataset, Parallel(1))
  wide.step = steps.make_step(wide.config, wide.method, wide.parallel, steps_per_call=wide.per_call, epochs_per_call=8,
                              num_unique=len(wide.loader.train))
  expected = [wide.advance() for _ in range(3)]
  scores = wide.assess()[0]
  for devices, budget in forms:
    config = load_config(changes=changes | {"data.device_budget": budget})
    trainer, metrics = trained(config, dataset, devices, calls=3)
    assert trainer.num_unique == 32 < len(trainer.loader.train) == 37 and trainer.loader.resident == (budget > 0)
    assert_states_close(trainer.state, wide.state)
    for name, value in expected[-1].items():
      np.testing.assert_allclose(metrics[-1][name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(trainer.assess()[0], scores, atol=1e-3)


def test_replicas_in_turn_on_streamed_videos_of_two_devices(load_config, make_dataset, quick_compile):
  """One names fewer videos than are read for all of them, of which each device is given a part."""
  dataset = make_dataset(videos=20, folds=((range(8), (8, 9)), (range(10, 18), (18, 19))))
  changes = {"train.epochs": 1, "train.batch_size": 2, "seeds": (0, 1)}
  (resident, _), (streamed, _) = [trained(load_config("whos_better", changes=changes | {"data.device_budget": budget}),
                                          dataset, devices) for devices, budget in ((1, 0.5), (2, 0.0))]
  assert streamed.at_once == 1 and not streamed.loader.resident and streamed.num_unique == len(streamed.loader.train) == 16
  assert_states_close(streamed.state, resident.state)


@pytest.mark.parametrize("some", [(6,), pytest.param((0, 3, 5), marks=pytest.mark.slow)])
def test_a_replica_equals_a_run_of_its_own(load_config, make_dataset, quick_compile, some):
  """Folds of 28 and 10 pairs, two seeds, two rows of loss weights: eight replicas, eight runs."""
  folds = ((range(8), (8, 9, 10)), ((4, 5, 7, 9, 10), (0, 1)))
  rows = (("all", {}), ("no disparity", {"disparity": 0.0, "diversity": 1.0}))
  changes = NOISY | {"train.epochs": 3}
  dataset = make_dataset(folds=folds)
  config = load_config(changes=changes | {"seeds": (0, 3)})
  with config.unlocked():
    config.weight_rows = rows
  together, _ = trained(config, dataset)
  assert len(together.replicas) == 8 and together.tables.count.tolist() == [28, 28, 10, 10] * 2
  assert together.total == 12 and together.tables.steps.tolist() == [12, 12, 6, 6] * 2
  scores = together.assess()[0]
  for i in some:
    replica = together.replicas[i]
    config = load_config(changes=changes | {"seeds": (replica.seed,)})
    with config.unlocked():
      config.weight_rows = tuple(row for row in rows if row[0] == replica.row)
    alone, _ = trained(config, dataclasses.replace(dataset, folds=dataset.folds[replica.fold:replica.fold + 1]))
    assert alone.total == together.tables.steps[i]
    assert_states_close(together.state, alone.state, replica=i)
    np.testing.assert_allclose(scores[i], alone.assess()[0][0], atol=1e-3)
  kernels = flat(together.state.params)["filters/high/kernel"]
  assert all(np.abs(a - b).max() > 1e-3 for a, b in itertools.combinations(kernels, 2))


def test_models_two_after_two_are_those_at_once(load_config, make_dataset, quick_compile):
  """Folds that train on some of the videos, end at other steps, and have two seeds each; in calls of a few steps."""
  dataset = make_dataset(videos=16, folds=((range(9), (9, 10, 11)), ((4, 5, 12, 13, 14), (0, 1))))
  config = load_config("whos_better", changes={"train.epochs": 3, "train.steps_per_call": 4, "seeds": (0, 3)})
  ends = []
  for at_once in (4, 2):
    trainer, metrics = train.Trainer(config, dataset, Parallel(1), at_once=at_once), []
    while int(trainer.state.step) < trainer.total:
      metrics.append(trainer.advance())
    ends.append((trainer, metrics))
  (together, expected), (trainer, metrics) = ends
  assert together.tables.steps[0] > together.tables.steps[2] > together.per_call == 4
  assert_states_close(trainer.state, together.state)
  assert int(trainer.state.step) == together.total
  for ours, theirs in zip(metrics, expected, strict=True):
    for name, value in theirs.items():
      np.testing.assert_allclose(ours[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_models_at_once_divide_their_number():
  assert [replicas.at_once(6, *given) for given in (("cpu",), ("gpu",), ("cpu", 3), ("tpu", 1))] == [1, 6, 3, 1]
  with pytest.raises(ValueError, match="4 models at once do not divide 6; use a divisor, e.g. 2"):
    replicas.at_once(6, "cpu", 4)


def test_seeds_and_calls(load_config, make_dataset, quick_compile, monkeypatch):
  """The same seed gives the same bits, in calls of 4 steps and of 8; another seed does not."""
  Known().patch(monkeypatch)
  dataset = make_dataset()
  changes = NOISY | {"train.epochs": 4}
  runs = [trained(load_config(changes=changes | {"seeds": (seed,), "train.steps_per_call": size}), dataset)[0]
          for seed, size in ((0, 4), (0, 4), (0, 8), (1, 4))]
  assert [run.per_call for run in runs] == [4, 4, 8, 4] and runs[0].total == 16
  assert_identical(runs[1].state, runs[0].state)
  assert_identical(runs[2].state, runs[0].state)
  kernels = [flat(run.state.params)["filters/high/kernel"] for run in runs]
  assert np.abs(kernels[3] - kernels[0]).max() > 0.01


SYSTEMS = sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem != "common" and not path.stem.endswith("_ablations"))


def cut_into_calls(config):
  """Parameters, moments and metrics must be the same bits in one call of all steps, in calls of about 7 and of a cycle."""
  trainer = train.Trainer(config, data.load(config.data), Parallel(1))
  cycle, count = len(trainer.method.phases), min(64, trainer.per_call)
  start, found = jax.tree.map(np.array, trainer.state), []
  for size in (count, 7, 1):
    trainer.state, calls = trainer.parallel.replicate(start), []
    size = -(-size // cycle) * cycle
    while int(trainer.state.step) < count:
      calls.append(trainer.take(min(size, count - int(trainer.state.step))))
    assert size == count or len(calls) > 1
    found.append((jax.tree.map(np.array, trainer.state), jax.tree.map(lambda *x: np.concatenate(x), *calls)))
  for other in found[1:]:
    assert_identical(other, found[0])
  changed = [np.any(a != b) for a, b in zip(jax.tree.leaves(start.params), jax.tree.leaves(found[0][0].params))]
  assert any(changed)


def of_many_steps(load_config, file, steps=16, **changes):
  few = SIZES | dict(ms_lstm={"model.scales": ((4, 2),)})
  return load_config(file, changes=few.get(file, {}) | {"train.epochs": 40, "train.steps_per_call": steps} | changes)


@pytest.mark.parametrize("file", SYSTEMS)
def test_every_cut_into_calls_gives_the_same_bits(load_config, quick_compile, file):
  cut_into_calls(of_many_steps(load_config, file))


def test_every_cut_of_streamed_videos_gives_the_same_bits(load_config, quick_compile):
  cut_into_calls(of_many_steps(load_config, "pros_cons", **{"data.device_budget": 0.0, "train.epochs": 8}))


@pytest.mark.slow
@pytest.mark.parametrize("file", SYSTEMS)
def test_every_cut_with_all_optimisations_gives_the_same_bits(load_config, file):
  cut_into_calls(of_many_steps(load_config, file, steps=64))


# What a step costs


def test_a_phase_moves_only_what_it_trains(load_config, make_dataset, quick_compile):
  """Masking the batch of one phase leaves its half as it was, bit for bit; a step without pairs leaves all."""
  trainer = train.Trainer(load_config(changes={"model.noise_std": 0.0}), make_dataset(), Parallel(1))
  table = trainer.tables
  batches = jax.tree.map(lambda x: x[:2], trainer.step.draw(table, 0))
  start = jax.tree.map(np.asarray, trainer.state)
  for active in ((True, False), (False, True), (False, False)):
    masked = batches._replace(mask=batches.mask & np.array(active)[:, None, None])
    state = jax.tree.map(jnp.array, start)
    state, metrics = trainer.step.run_batches(state, (trainer.loader.videos,) * 2, table, masked)
    before, after = flat(start.params), flat(state.params)
    for name in before:
      trains = active[0] if name.startswith("ranking/") else active[1]
      idle = name.startswith("ranking/") and name.endswith("_bias")     # a linear score has no use for it
      assert np.array_equal(before[name], after[name]) != (trains and not idle), (active, name)
    for phase, on in enumerate(active):
      assert float(metrics[phase]["loss"][1].squeeze()) == (8 if on else 0)
      for a, b in zip(jax.tree.leaves(start.opt_state[str(phase)]), jax.tree.leaves(state.opt_state[str(phase)])):
        assert on or np.array_equal(a, b)


def test_gradient_of_a_short_batch(load_config, make_dataset, quick_compile):
  """The sum over its real pairs or their mean, which is not one over the places of a full batch."""
  changes, dataset = {"model.noise_std": 0.0, "train.learning_rate": 0.0}, make_dataset()
  for reduction in ("sum", "mean"):
    trainer = train.Trainer(load_config(changes=changes | {"train.reduction": reduction}), dataset, Parallel(1))
    batches = trainer.step.draw(trainer.tables, 0)
    batches = batches._replace(mask=batches.mask & (np.arange(8) < 3))
    videos = trainer.loader.videos
    if reduction == "sum":
      summed = summed_gradients(trainer, batches.items[:, 0, :3])
    state, metrics = trainer.step.run_batches(trainer.state, (videos, videos), trainer.tables, batches)
    for phase in (0, 1):
      moments = state.opt_state[str(phase)][0].mu         # a tenth of the first gradient
      for name, value in moments.items():
        expected = summed[phase][name] / (3 if reduction == "mean" else 1)
        np.testing.assert_allclose(value[0], 0.1 * expected, rtol=0, atol=1e-5, err_msg=name)
      assert metrics[phase]["loss"][1].squeeze() == 3


def summed_gradients(trainer, items):
  """Of the losses of all pairs of each phase."""
  variables, videos = jax.tree.map(lambda x: jnp.array(x[0]), trainer.state.variables()), trainer.loader.videos

  def loss(params, phase):
    encodings = trainer.method.encode(variables | dict(params=params), videos, jax.random.key(0), True)
    pairs = [jax.tree.map(lambda x: x[items[phase, :, side]], encodings) for side in (0, 1)]
    return jax.vmap(trainer.method.phases[phase].loss, (None, 0, 0))(variables, pairs, {})[0].sum()
  gradients = jax.jit(lambda params: [jax.grad(loss)(params, phase) for phase in (0, 1)])(variables["params"])
  return [flat(of_phase) for of_phase in gradients]


def test_a_phase_computes_only_the_gradients_it_uses(load_config, make_dataset, nothing_drawn):
  """The ranking phase needs the filters' forward product alone: half of the work of the attention phase."""
  config = load_config(changes={"model.hidden": 32, "model.implementation": "plain", "model.noise_std": 0.0,
                                "train.batch_size": 4, "train.steps_per_call": 1})
  dataset = make_dataset(segments=16, width=64)
  trainer = train.Trainer(config, dataset, Parallel(1))
  flops = []
  for index, phase in enumerate(trainer.method.phases):
    step = steps.make_step(config, trainer.method._replace(phases=(phase,)), trainer.parallel, steps_per_call=1,
                           epochs_per_call=2, num_unique=len(trainer.loader.train))
    state = trainer.state.replace(opt_state={"0": trainer.state.opt_state[str(index)]})
    flops.append(cost.products(jax.make_jaxpr(step.run)(state, trainer.loader.videos, trainer.tables, np.int32(1)).jaxpr))
  product = 2 * len(trainer.loader.train) * 16 * 64 * 32 * 6      # V T D H filters
  assert product < flops[0] < 0.65 * flops[1], (product, flops)
  assert flops[1] < 3 * product


# What can go wrong


def test_a_loss_that_is_not_finite(load_config, make_dataset, quick_compile):
  dataset = make_dataset(folds=((range(8), (8, 9, 10)), ((2, 3, 4), (5, 6))))
  config = load_config("whos_better", changes={"train.learning_rate": 1e38, "seeds": (0, 4)})
  trainer = train.Trainer(config, dataset, Parallel(1))
  start = jax.tree.map(np.array, trainer.state)
  with pytest.raises(FloatingPointError, match=r"not finite at step [23] \(fold fold0, seed 0\); lower config.train.l"):
    trainer.advance()
  jax.tree.leaves(start.params)[0][3] = np.nan
  trainer.state = jax.tree.map(jnp.asarray, start)
  with pytest.raises(FloatingPointError, match=r"not finite at step 1 \(fold fold1, seed 4\)"):
    trainer.advance()


def test_metrics_count_every_pair_once(load_config, make_dataset, quick_compile):
  """Means over the pairs of a call; a replica that is done says nan."""
  dataset = make_dataset(folds=((range(8), (8, 9, 10)), ((2, 3, 4), (5, 6))))
  config = load_config(changes={"train.learning_rate": 0.0, "train.epochs": 1, "train.alternation": "joint",
                                "model.branches": ("uniform",)})
  trainer, (first, *rest) = trained(config, dataset)
  assert trainer.tables.count.tolist() == [28, 3] and trainer.tables.steps.tolist() == [4, 1] and not rest
  scores = trainer.assess()[0]
  for replica, fold in enumerate(dataset.folds):
    better, worse = scores[replica][dataset.pairs[fold.train_pairs].T]
    np.testing.assert_allclose(first["accuracy"][replica], (better > worse).mean(), atol=1e-6)
