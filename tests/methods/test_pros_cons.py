"""Pros & Cons against the published code (golden files) and against its equations written out in float64."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import interop, methods, train
from jaxskill.evaluate import metrics as evaluate
from jaxskill.methods import pros_cons
from jaxskill.training.parallel import Parallel
from tests.conftest import small_config
from tests.gradients import difference

OURS = dict(pos="high", neg="low", uniform="uniform")     # names of the published networks


def batch(features, lengths=None):
  """Videos as `batches.VideoLoader` hands them over."""
  lengths = [features.shape[1]] * len(features) if lengths is None else lengths
  return dict(rgb=jnp.asarray(features, jnp.float32), lengths=dict(rgb=jnp.asarray(lengths, jnp.int32)),
              position=jnp.arange(len(features)), labels={})


def pair_losses(method, encode, variables, better, worse, phase):
  """Unreduced loss and terms of pairs of videos, `[B]`."""
  videos = jax.tree.map(lambda *x: jnp.concatenate(x), better, worse)
  encodings = encode(variables, videos)
  count = len(better["rgb"])
  pairs = tuple(jax.tree.map(lambda x: x[half], encodings) for half in (slice(count), slice(count, None)))
  return jax.vmap(method.phases[phase].loss, (None, 0, 0))(variables, pairs, {})


def evaluation(method):
  return lambda variables, videos: method.encode(variables, videos, jax.random.key(0), False)


# The published code


def official(load_config, margins, weight, implementation, **changes):
  margins = [float(m) for m in margins]
  return load_config(options="simulated,official", changes={
      "loss.margin_rank": margins[0], "loss.margin_disparity": margins[1], "loss.margin_rank_aware": margins[2],
      "loss.weights.diversity": float(weight), "model.implementation": implementation} | changes)


@pytest.mark.golden("raan_small*")           # the plain form is quick in `golden_real` and in `training/test_step.py`
@pytest.mark.parametrize("implementation", [pytest.param("plain", marks=pytest.mark.slow), "chunked"])
def test_golden_small(golden, golden_name, load_config, request, implementation):
  if implementation == "plain":     # the chunked form is compiled as it is used
    request.getfixturevalue("quick_compile")
  data = golden(golden_name)
  close = lambda actual, key: np.testing.assert_allclose(actual, data[key], rtol=0, atol=5e-6, err_msg=key)
  networks = {n: {k.split("/", 2)[2]: v for k, v in data.items() if k.startswith(f"w/{n}/")} for n in OURS}
  _, _, hidden, filters, count = data["dims_T_D_fc_K_B"]
  params = jax.tree.map(jnp.asarray, interop.pros_cons_from_torch(networks))
  videos = [batch(data["x1"]), batch(data["x2"])]
  margins = sorted(key for key in data if key.startswith("margins_"))
  assert margins
  for name in margins:
    kind = name.removeprefix("margins_")
    config = official(load_config, data[name], data["lambda"], implementation,
                      **{"model.num_filters": int(filters), "model.hidden": int(hidden)})
    method = methods.build(config)
    weights = {k: jnp.float32(v) for k, v in config.loss.weights.items()}
    variables = dict(params=params, constants=dict(loss_weights=weights))
    encode = jax.jit(evaluation(method))

    if name == margins[0]:
      encodings = [encode(variables, v) for v in videos]
      for side, encoding in zip("12", encodings):
        for network in ("pos", "neg"):
          close(encoding["scores"][OURS[network]], f"out/{network}/scores{side}")
          close(encoding["attention"][OURS[network]].transpose(0, 2, 1)[..., None], f"out/{network}/att{side}")
        close(encoding["scores"]["uniform"], f"out/uniform/scores{side}")
      answers = [jax.vmap(method.assess, (None, 0, None))(variables, e, None) for e in encodings]
      for side, answer in zip("12", answers):
        close(answer.score, f"eval/score{side}")
      pairs = np.stack([np.arange(count), np.arange(count) + count], axis=1)
      accuracy = lambda pick: evaluate.pairwise_accuracy(np.concatenate([pick(a) for a in answers]), pairs, "wrong")[0]
      close(accuracy(lambda a: a.score), "eval/accuracy")
      close(accuracy(lambda a: a.parts["uniform"]), "eval/accuracy_uniform")

    found = set()
    for phase in (0, 1):
      def total(params):
        losses, terms = pair_losses(method, evaluation(method), variables | dict(params=params), *videos, phase)
        return losses.mean(), terms
      (loss, terms), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
      terms = {k: float(v.mean()) for k, v in terms.items()}
      close(loss, f"loss/{kind}/phase{phase}_total")
      ours = interop.pros_cons_to_torch(gradients)
      prefix = f"grad/{kind}/phase{phase}/"
      expected = {k: v for k, v in data.items() if k.startswith(prefix)}
      assert expected
      for key, value in expected.items():
        network, entry = key.removeprefix(prefix).split("/")
        if entry in ours[network]:
          close(ours[network].pop(entry), key)
        else:
          assert not value.any(), key            # the filters that the uniform network carries and never uses
      assert not any(ours.values())
      if phase == 0:
        for network, branch in OURS.items():
          close(terms[f"rank_{branch}"], f"loss/{kind}/rank/{network}")
          found.add(f"loss/{kind}/rank/{network}")
      else:
        close(terms["rank_aware"], f"loss/{kind}/rank_aware")
        found.add(f"loss/{kind}/rank_aware")
        for network in ("pos", "neg"):
          close(terms[f"disparity_{OURS[network]}"], f"loss/{kind}/disparity/{network}")
          found.add(f"loss/{kind}/disparity/{network}")
          for side, encoding in zip("12", encodings):
            value = jax.vmap(pros_cons.diversity, (0, None))(encoding["attention"][OURS[network]], "frobenius").mean()
            close(value, f"loss/{kind}/diversity/{network}/{side}")
            found.add(f"loss/{kind}/diversity/{network}/{side}")
          both = float(data["lambda"]) * sum(data[f"loss/{kind}/diversity/{network}/{side}"] for side in "12")
          np.testing.assert_allclose(terms[f"diversity_{OURS[network]}"], both, atol=5e-6)
    assert found | {f"loss/{kind}/phase{p}_total" for p in (0, 1)} == {k for k in data if k.startswith(f"loss/{kind}/")}


@pytest.mark.golden("raan_real*")
@pytest.mark.parametrize("implementation", ["plain", "chunked"])
def test_golden_real(golden, golden_weights, golden_name, load_config, implementation):
  data = golden(golden_name)
  weights = golden_weights(data)
  rng = np.random.Generator(np.random.PCG64(int(data["input_seed"])))
  features = rng.standard_normal(tuple(data["input_shape"]), dtype=np.float32)
  np.testing.assert_array_equal(features.ravel()[:16], data["input_head"])
  np.testing.assert_allclose([features.sum(dtype=np.float64), np.abs(features).sum(dtype=np.float64)],
                             data["input_fingerprint_f64"], rtol=1e-12)
  config = load_config(options="simulated,official", changes={
      "model.branches": ("high", "uniform"), "model.num_filters": sum(name.endswith("0.weight") for name in weights) - 1,
      "model.hidden": len(weights["att_net.0.0.weight"]), "model.implementation": implementation})
  params = interop.pros_cons_from_torch(dict(pos=weights, uniform=weights))
  encodings = jax.jit(evaluation(methods.build(config)))(dict(params=params, constants={}), batch(features))
  np.testing.assert_allclose(encodings["scores"]["high"], data["scores"], rtol=0, atol=2e-6)
  np.testing.assert_allclose(encodings["scores"]["uniform"], data["uniform_scores"], rtol=0, atol=2e-6)
  attention = encodings["attention"]["high"].transpose(0, 2, 1)[..., None]
  np.testing.assert_allclose(attention, data["att"], rtol=0, atol=2e-7)
  diversity = jax.vmap(pros_cons.diversity, (0, None))(encodings["attention"]["high"], "frobenius").mean()
  np.testing.assert_allclose(diversity, data["diversity"], rtol=0, atol=2e-6)


# The paper's equations, one video, one filter, one segment at a time


def naive_encoding(model, params, features, length):
  """Scores `[S]` and attention `[K, T]` of one video."""
  segments, scores, attention = features[:length], {}, {}
  for branch in model.branches:
    fc = lambda pooled: params["ranking"][f"{branch}_kernel"] @ pooled + params["ranking"][f"{branch}_bias"]
    if branch == "uniform":
      pooled = [segments.mean(axis=0)]
    elif branch == "last":
      pooled = [segments[-1]]
    else:
      p, weights = params["filters"][branch], []
      for k in range(model.num_filters):
        units = [np.maximum(p["kernel"][k] @ x + p["bias"][k], 0) for x in segments]
        logits = np.array([p["readout"][k] @ unit + p["readout_bias"][k] for unit in units])
        weights.append(np.exp(logits) / np.exp(logits).sum() if model.normalize == "softmax"
                       else 1 / (1 + np.exp(-logits)) / length)
      attention[branch] = np.array(weights)
      pooled = [sum(w * x for w, x in zip(row, segments)) for row in weights]
      if model.filter_scores == "merged":
        pooled = [sum(pooled)]
    scores[branch] = np.array([2 * np.tanh(fc(p)) if model.score == "tanh" else fc(p) for p in pooled])
  return scores, attention


def naive_losses(config, better, worse):
  """{term: value} of the ranking losses and of the attention losses of one pair of encodings."""
  model, loss = config.model, config.loss
  above = lambda margin, gap: max(0.0, margin - gap)
  score = lambda video, branch: video[0][branch].mean()
  ranking = {f"rank_{b}": above(loss.margin_rank, score(better, b) - score(worse, b)) for b in model.branches}
  attention = {}
  smallest = lambda a, b: min(s - w for s, w in zip(better[0][a], worse[0][b]))
  if "uniform" in model.branches:
    uniform = better[0]["uniform"][0] - worse[0]["uniform"][0]
  for module in better[1]:
    if "uniform" in model.branches:
      attention[f"disparity_{module}"] = loss.weights.disparity * above(
          loss.margin_disparity, smallest(module, module) - uniform)
    squares = []
    for _, weights in (better, worse):
      overlap = [[sum(x * y for x, y in zip(a, b)) - (i == j) for j, b in enumerate(weights[module])]
                 for i, a in enumerate(weights[module])]
      squares.append(sum(o ** 2 for row in overlap for o in row))
    powers = squares if loss.diversity_norm == "squared" else np.sqrt(squares)
    attention[f"diversity_{module}"] = loss.weights.diversity * sum(powers)
    if model.normalize == "sigmoid":
      attention[f"sparsity_{module}"] = loss.weights.sparsity * (better[1][module].sum() + worse[1][module].sum())
  if {"high", "low", "uniform"} <= set(model.branches):
    attention["rank_aware"] = loss.weights.rank_aware * above(loss.margin_rank_aware, smallest("high", "low") - uniform)
  return ranking, attention


VARIANTS = {
    "paper": {},
    "official": {"model.filter_scores": "each", "model.score": "tanh", "loss.diversity_norm": "frobenius"},
    "one filter": {"model.num_filters": 1, "model.score": "tanh"},
    "sigmoid": {"model.normalize": "sigmoid", "loss.weights.sparsity": 0.3},
    "both": {"model.branches": ("both", "uniform"), "model.num_filters": 4, "model.filter_scores": "each",
             "loss.weights.diversity": 2.0},
    "all": {"model.branches": ("high", "last", "low", "uniform"), "loss.weights.disparity": 0.5,
            "loss.weights.rank_aware": 3.0},
    "uniform": {"model.branches": ("uniform",)},
    "last": {"model.branches": ("last",), "model.score": "tanh"},
    "joint": {"model.branches": ("attention",), "train.alternation": "joint", "model.num_filters": 2},
}


def random_method(config, width=5, seed=0):
  """The method, and variables of standard normal parameters."""
  method = methods.build(config)
  shapes = jax.eval_shape(method.init, jax.random.key(0), batch(np.zeros((1, 4, width))), {})
  rng = np.random.default_rng(seed)
  params = jax.tree.map(lambda x: rng.normal(size=x.shape), shapes)
  weights = {k: jnp.float32(v) for k, v in config.loss.weights.items()}
  return method, params, dict(loss_weights=weights)


def single(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses(load_config, quick_compile, variant):
  """Values of every term, and gradients of every phase against central differences of the equations."""
  config = load_config(changes={"model.num_filters": 2, "model.hidden": 3} | VARIANTS[variant])
  method, params, constants = random_method(config)
  rng = np.random.default_rng(1)
  features, lengths, count = rng.normal(size=(6, 4, 5)), (4, 2, 3, 1, 4, 3), 3
  better, worse = (batch(features[half], lengths[half]) for half in (slice(count), slice(count, None)))

  def naive(params):
    videos = [naive_encoding(config.model, params, x, t) for x, t in zip(features, lengths)]
    return [naive_losses(config, b, w) for b, w in zip(videos[:count], videos[count:])]

  merged = [ranking | attention for ranking, attention in naive(params)]
  expected = [[ranking for ranking, _ in naive(params)], [attention for _, attention in naive(params)]]
  if len(method.phases) == 1:
    expected = [merged]

  def losses(params, phase):
    result = pair_losses(method, evaluation(method), dict(params=params, constants=constants), better, worse, phase)
    return result[0].sum(), result
  found = jax.jit(lambda params: [jax.grad(losses, has_aux=True)(params, phase) for phase in range(len(expected))])(single(params))
  for phase, (by_pair, (gradients, (values, terms))) in enumerate(zip(expected, found, strict=True)):
    assert set(terms) == set(by_pair[0]) | {"accuracy"}
    for name in by_pair[0]:
      np.testing.assert_allclose(terms[name], [pair[name] for pair in by_pair], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(values, [sum(pair.values()) for pair in by_pair], atol=2e-5)
    flat, unflatten = jax.tree.flatten(params)
    total = lambda: sum(sum((r | a if len(expected) == 1 else (r, a)[phase]).values()) for r, a in naive(params))
    for array, (path, gradient) in zip(flat, jax.tree_util.tree_leaves_with_path(gradients)):
      for i in itertools.islice(np.ndindex(array.shape), 0, None, max(1, array.size // 7)):     # every seventh or so
        slope = difference(total, array, i, 1e-6)
        np.testing.assert_allclose(gradient[i], slope, atol=3e-5, rtol=1e-5, err_msg=f"{path} {i}")


def encoded(scores, attention=None):
  """An encoding whose attention, if there is some, the diversity loss has nothing against."""
  return dict(scores={k: jnp.array(v, jnp.float32) for k, v in scores.items()}, attention=attention or {},
              diversity={k: jnp.float32(0) for k in attention or {}})


def test_hinges(load_config):
  """Zero from the margin on, falling below it by as much as the gap grows, and larger with the videos swapped."""
  config = load_config(changes={"model.num_filters": 1})
  method = methods.build(config)
  variables = dict(constants=dict(loss_weights=dict(config.loss.weights)))
  peak = jnp.array([[1.0, 0.0]])
  video = lambda high, low, uniform: encoded(dict(high=[high], low=[low], uniform=[uniform]), dict(high=peak, low=peak))
  ranking = lambda *pair: method.phases[0].loss(variables, pair, {})
  attention = lambda *pair: method.phases[1].loss(variables, pair, {})
  zero = video(0.0, 0.0, 0.0)
  assert ranking(video(1.0, 1.0, 1.0), zero)[0] == 0 and ranking(video(7.0, 1.5, 1.0), zero)[0] == 0
  # the rank-aware margin of 0.3 is the widest
  assert attention(video(0.5, 0.5, 0.125), zero)[0] == 0 and attention(video(0.25, 0.25, 0.125), zero)[0] > 0
  gaps = np.linspace(-2, 0.9, 8)
  values = [float(ranking(video(g, 1.0, 1.0), zero)[0]) for g in gaps]
  np.testing.assert_allclose(values, 1 - gaps, atol=1e-6)
  for g in gaps[gaps != 0]:
    one, other = video(abs(g), abs(g), abs(g)), zero
    assert ranking(one, other)[0] < ranking(other, one)[0]
    assert ranking(one, other)[1]["accuracy"] == 1 and ranking(other, one)[1]["accuracy"] == 0
  assert ranking(zero, zero)[1]["accuracy"] == 0.5
  # Eq. 14: high-skill moments of the better against low-skill moments of the worse, not the other way round
  terms = attention(video(2.0, 0.0, 0.0), video(2.0, 0.0, 0.0))[1]
  assert terms["rank_aware"] == 0
  np.testing.assert_allclose(terms["disparity_high"], 0.1, atol=1e-6)
  np.testing.assert_allclose(attention(video(0.0, 2.0, 0.0), video(0.0, 2.0, 0.0))[1]["rank_aware"], 2.3, atol=1e-6)


def test_each_filter_is_paired_with_itself(load_config):
  """min_k (s_k+ - s_k-), which is not min s+ - max s-."""
  config = load_config(changes={"model.filter_scores": "each", "model.num_filters": 2, "loss.weights.diversity": 0.0})
  attention = {name: jnp.eye(2, 4) for name in ("high", "low")}
  better = encoded(dict(high=[3.0, 1.0], low=[0.0, 0.0], uniform=[0.0]), attention)
  worse = encoded(dict(high=[3.05, 0.0], low=[2.8, -9.0], uniform=[0.0]), attention)
  variables = dict(constants=dict(loss_weights=dict(config.loss.weights)))
  _, terms = methods.build(config).phases[1].loss(variables, (better, worse), {})
  np.testing.assert_allclose(terms["disparity_high"], 0.1 + 0.05, atol=1e-6)
  np.testing.assert_allclose(terms["rank_aware"], 0.3 - 0.2, atol=1e-6)
  _, terms = methods.build(config).phases[0].loss(variables, (better, worse), {})
  np.testing.assert_allclose(terms["rank_high"], 1 - (2.0 - 1.525), atol=1e-6)         # ranking: means over filters


@pytest.mark.parametrize("norm", ["squared", "frobenius"])
def test_diversity(norm):
  weights = np.random.default_rng(0).dirichlet(np.ones(5), 3)
  expected = np.linalg.norm(weights @ weights.T - np.eye(3)) ** (2 if norm == "squared" else 1)
  np.testing.assert_allclose(pros_cons.diversity(jnp.float32(weights), norm), expected, rtol=1e-5)
  same, apart = jnp.full((2, 4), 0.25), jnp.eye(2, 4)
  value, gradient = jax.value_and_grad(pros_cons.diversity)(apart, norm)    # nothing to gain: no nan from the root
  assert value == 0 and (gradient == 0).all()
  assert pros_cons.diversity(same, norm) > pros_cons.diversity(0.5 * same + 0.5 * apart, norm) > 0


CORNERS = ("identical videos", "zeros", "one segment", "saturated")


@functools.cache
def slopes_of(variant):
  """(program, parameters): the program gives value, terms and gradient of the losses of a pair."""
  method, params, constants = random_method(small_config(changes={"model.num_filters": 2, "model.hidden": 3} | VARIANTS[variant]))

  def total(params, first, second):
    variables = dict(params=params, constants=constants)
    results = [pair_losses(method, evaluation(method), variables, first, second, phase) for phase in (0, 1)]
    return sum(losses.sum() for losses, _ in results), results[1][1]
  return jax.jit(jax.value_and_grad(total, has_aux=True)), params


@pytest.mark.parametrize("variant,corner", [("official", c) for c in CORNERS] + [("paper", c) for c in CORNERS[2:]]
                         + [("sigmoid", "zeros")])
def test_finite_at_the_corners(quick_compile, variant, corner):
  program, params = slopes_of(variant)
  params = single(params)
  features = np.random.default_rng(2).normal(size=(2, 4, 5))
  lengths = [4, 4]
  if corner == "identical videos":
    features[1] = features[0]
  elif corner == "zeros":
    features[:] = 0
  elif corner == "one segment":
    lengths = [1, 1]
  else:     # attention falls on one segment, a different one for each filter: the Frobenius norm is 0
    features[:] = 0
    features[:, :, :2] = np.eye(4, 2)
    kernel = np.zeros((2, 3, 5), np.float32)
    kernel[0, :, 0] = kernel[1, :, 1] = 1000.0
    for module in params["filters"].values():
      module.update(kernel=jnp.array(kernel), readout=jnp.ones((2, 3)))
  first, second = batch(features[:1], lengths[:1]), batch(features[1:], lengths[1:])
  (value, terms), gradients = program(params, first, second)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves((value, terms, gradients)))
  if corner == "saturated" and variant != "sigmoid":
    assert terms["diversity_high"] == 0


ERRORS = [
    ({"model.filter_scores": "mean"}, r"config.model.filter_scores='mean' is unknown; use one of merged, each"),
    ({"model.score": "sigmoid"}, r"config.model.score='sigmoid' is unknown; use one of linear, tanh"),
    ({"model.noise": "none"}, r"config.model.noise='none' is unknown; use one of shared, per_video"),
    ({"model.normalize": "max"}, r"config.model.normalize='max' is unknown; use one of softmax, sigmoid"),
    ({"loss.diversity_norm": "l1"}, r"config.*diversity_norm='l1' is unknown; use one of squared, frobenius"),
    ({"train.alternation": "never"}, r"config.*alternation='never' is unknown; use one of alternate, leaky, joint"),
    ({"model.branches": ()}, r"config.model.branches=\(\) must name each branch once, at least one"),
    ({"model.branches": ("high", "high")}, r"config.model.branches=\('high', 'high'\) must name each branch once"),
    ({"model.num_filters": 0}, r"config.model: num_filters=0 and hidden=4 must be at least 1"),
    ({"model.hidden": 0}, r"config.model: num_filters=3 and hidden=0 must be at least 1"),
    ({"model.branches": ("high", "low")}, r"config.train.alternation: without a uniform branch .* use config.train."
                                          r"alternation='joint'"),
    ({"method": "cons_pros"}, r"config.method='cons_pros' is unknown; use one of .*pros_cons"),
]


@pytest.mark.parametrize("changes,message", ERRORS, ids=[str(changes) for changes, _ in ERRORS])
def test_config_errors(load_config, changes, message):
  with pytest.raises(ValueError, match=message):
    methods.build(load_config(changes=changes))


def test_nothing_is_demanded_of_filters_that_are_not_there(load_config):
  method = methods.build(load_config(changes={"model.branches": ("uniform",), "model.num_filters": 0}))
  assert [phase.trains for phase in method.phases] == ["."]


@pytest.mark.parametrize("variant", ["paper", "official", "both", "all", "uniform", "last"])
def test_assessment(load_config, quick_compile, variant):
  config = load_config(changes={"model.num_filters": 2} | VARIANTS[variant])
  method, params, constants = random_method(config)
  features, lengths = np.random.default_rng(3).normal(size=(3, 4, 5)), [4, 1, 3]
  variables = dict(params=single(params), constants=constants)
  encodings = jax.jit(evaluation(method))(variables, batch(features, lengths))
  answer = jax.vmap(method.assess, (None, 0, None))(variables, encodings, None)
  modules = [b for b in config.model.branches if b not in ("uniform", "last")]
  assert set(answer.parts) == set(config.model.branches) and method.stream_of("high attention") == "rgb"
  scored = modules or config.model.branches
  for v in range(3):
    scores, attention = naive_encoding(config.model, params, features[v], lengths[v])
    np.testing.assert_allclose(answer.score[v], sum(scores[b].mean() for b in scored), atol=1e-5)
    for branch in config.model.branches:
      np.testing.assert_allclose(answer.parts[branch][v], scores[branch].mean(), atol=1e-5)
    for module in modules:
      np.testing.assert_allclose(answer.attention[f"{module} attention"][v, :, :lengths[v]], attention[module], atol=1e-6)
  assert set(answer.attention) == {f"{module} attention" for module in modules}
  for weights in answer.attention.values():
    assert weights.shape == (3, config.model.num_filters, 4)
    np.testing.assert_allclose(weights.sum(axis=2), 1, atol=1e-6)
    assert not np.asarray(weights.sum(axis=1))[np.arange(4) >= np.array(lengths)[:, None]].any()
  assert answer.maps == {} and answer.alignment is None


@pytest.mark.parametrize("noise", ["shared", "per_video"])
def test_noise(load_config, quick_compile, noise):
  """In training, and then only: one draw a step for all videos, or one for each that follows its number."""
  config = load_config(changes={"model.noise": noise, "model.noise_std": 0.5})
  method, params, constants = random_method(config)
  rng = np.random.default_rng(4)
  features = rng.normal(size=(3, 4, 5))
  statistics = dict(mean=jnp.float32(rng.normal(size=5)), scale=jnp.float32([0.5, 1, 2, 3, 4]))
  variables = dict(params=single(params), constants=constants | dict(features=dict(rgb=statistics)))
  key, videos = jax.random.key(7), batch(features) | dict(position=jnp.array([4, 0, 2]))
  encode = jax.jit(method.encode, static_argnums=3)
  normal = lambda key: 0.5 * np.asarray(jax.random.normal(key, (4, 5)))
  draws = np.stack([normal(key if noise == "shared" else jax.random.fold_in(key, p)) for p in (4, 0, 2)])
  noisy = batch(features + draws * np.asarray(statistics["scale"]))       # in units of the standardised features
  for actual, expected in zip(jax.tree.leaves(encode(variables, videos, key, True)),
                              jax.tree.leaves(encode(variables, noisy, key, False))):
    np.testing.assert_allclose(actual, expected, atol=2e-5)
  first, second = (encode(variables, videos, jax.random.key(k), False)["scores"]["high"] for k in (0, 1))
  np.testing.assert_array_equal(first, second)
  assert not np.allclose(encode(variables, videos, key, True)["scores"]["high"], first, atol=1e-3)
  alone = encode(variables, jax.tree.map(lambda x: x[2:], videos), key, True)["scores"]["high"]
  np.testing.assert_allclose(alone, encode(variables, videos, key, True)["scores"]["high"][2:], atol=1e-5)


@pytest.mark.parametrize("variant, alike", [("paper", False), ("official", True)])
def test_noise_of_the_variants(load_config, quick_compile, variant, alike):
  """Sec. 5.1: N(0, 0.01^2) is added per dimension; the published code adds the same to all videos of a batch."""
  config = load_config(options=f"best,{variant}")
  assert config.model.noise_std == 0.01
  method, params, constants = random_method(config)
  same = batch(np.tile(np.random.default_rng(0).normal(size=(1, 4, 5)), (2, 1, 1)))
  first, second = jax.jit(method.encode, static_argnums=3)(
      dict(params=single(params), constants=constants), same, jax.random.key(0), True)["scores"]["uniform"]
  assert np.array_equal(first, second) == alike


def test_initial_variables(load_config, quick_compile):
  config = load_config(changes={"loss.weights.disparity": 0.25})
  method = methods.build(config)
  params = jax.jit(method.init)(jax.random.key(0), batch(np.zeros((1, 4, 5))), {})
  assert set(params["ranking"]) == {f"{b}_{n}" for b in config.model.branches for n in ("kernel", "bias")}
  paths = ["/".join(k.key for k in path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  owners = [[i for i, phase in enumerate(method.phases) if re.search(phase.trains, path)] for path in paths]
  assert all(len(phases) == 1 for phases in owners) and {phases[0] for phases in owners} == {0, 1}


BASELINES = {
    "uniform": {"model.branches": ("uniform",)},
    "last": {"model.branches": ("last",)},
    "attention": {"model.branches": ("attention",), "model.num_filters": 1, "train.alternation": "joint"},
    "sigmoid": {"model.branches": ("attention",), "model.num_filters": 1, "train.alternation": "joint",
                "model.normalize": "sigmoid", "loss.weights.sparsity": 0.1},
    "six filters": {"model.branches": ("both", "uniform"), "model.num_filters": 6},
}


# That gradients of all of them are those of the equations is in `test_losses`.
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("last", "attention")))
                                  for name in BASELINES])
def test_baselines_train(load_config, make_dataset, quick_compile, name):
  """Two steps move every parameter that the loss depends on."""
  config = load_config(changes=BASELINES[name] | {"train.steps_per_call": 2, "model.noise_std": 0.0})
  trainer = train.Trainer(config, make_dataset(), Parallel(1))
  before = jax.tree.map(np.asarray, trainer.state.params)
  metrics = trainer.advance()
  assert np.isfinite(metrics["loss"]).all() and int(trainer.state.step) == 2
  for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(trainer.state.params)):
    # better minus worse: a linear score has no use for its bias, nor a softmax for that of its logits
    idle = path[-1].key.endswith("_bias") and not (path[-1].key == "readout_bias" and name == "sigmoid")
    assert idle or not np.array_equal(old, new), path
