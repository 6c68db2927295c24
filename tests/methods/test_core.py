"""CoRe against the published code (golden files), against its equations in float64, and through the training loop."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxskill import interop, methods, train
from jaxskill.modules import regression_tree
from jaxskill.modules.regression_tree import RegressionTree
from jaxskill.training import answers, optimizer
from jaxskill.training.parallel import Parallel

pytestmark = pytest.mark.usefixtures("quick_compile")
TREE = {"model.num_leaves": 4, "model.hidden": 3}
VARIANTS = {
    "paper": {},
    "published": {"model.leaf_activation": "none", "model.classification": "leaf", "model.regression": "leaf_mean",
                  "model.outside": "first", "model.empty_leaf": "offset", "model.groups": "mirrored"},
    "perceptron": {"model.head": "mlp"},
    "tree alone": {"model.contrastive": False},
    "perceptron alone": {"model.head": "mlp", "model.contrastive": False},
}


def single(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def batch(features, lengths=None):
  """Videos as `batches.VideoLoader` hands them over."""
  lengths = [features.shape[1]] * len(features) if lengths is None else lengths
  return dict(rgb=jnp.asarray(features, jnp.float32), lengths=dict(rgb=jnp.asarray(lengths, jnp.int32)),
              position=jnp.arange(len(features)), labels={})


def losses_of(method, variables, encodings, scores):
  """Unreduced loss and terms of `[B, k]` scores, and encodings `[B, ...]` of each side."""
  labels = dict(score=jnp.asarray(scores, jnp.float32))
  labels |= method.relate(variables, labels, jnp.ones(len(scores), bool))
  return method.phases[0].loss(variables, encodings, labels)


# The published code


def stand_in(backbone, video, starts):
  """The golden file's video network: the mean over the 16 frames of a snippet, then a linear map."""
  snippets = jnp.stack([video[:, :, start: start + 16].mean(axis=-1) for start in starts], axis=1)
  return snippets @ backbone["backbone.proj.weight"].T + backbone["backbone.proj.bias"]


@pytest.mark.golden("core_loss*")
def test_golden_training_and_test_step(golden, golden_name, load_config):
  data = golden(golden_name)
  theta, starts = data["score_range"], data["snippet_starts"].tolist()
  depths = sorted({key.split("/")[0] for key in data if key.startswith("d") and key.split("/")[0][1:].isdigit()})
  assert len(depths) > 1
  for depth in depths:
    arrays = {key.removeprefix(f"{depth}/"): value for key, value in data.items() if key.startswith(f"{depth}/")}
    close = lambda actual, key, atol=1e-5, rtol=0.0: np.testing.assert_allclose(
        actual, arrays[key], rtol=rtol, atol=atol, err_msg=f"{depth}/{key}")        # pylint: disable=cell-var-from-loop
    under = lambda prefix: {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
    state = under("w/tree/")
    bounds = regression_tree.group_borders(data["dataset"], len(state["reg_layer.bias"]), symmetric=True,
                                           limits=(0, theta))
    np.testing.assert_array_equal(bounds, arrays["bounds"])
    config = load_config("core", "mtl_aqa,official", {
        "model.num_leaves": len(bounds), "model.hidden": len(state["first_layer.0.bias"]), "train.learning_rate": 1e-3,
        "model.regression": "leaf_mean"})                 # the batches of the file have several pairs
    method = methods.build(config)
    constants = dict(labels=dict(low=jnp.float32(0), span=jnp.float32(theta), bounds=jnp.asarray(bounds),
                                 by_difficulty=True))
    variables = lambda params: dict(params=dict(head=params["tree"]), constants=constants)
    start = single(dict(tree=interop.regression_tree_from_torch(state), base=under("w/base/")))

    def encode(params, *videos):
      snippets = jnp.concatenate([stand_in(params["base"], video, starts) for video in videos])
      videos_of = dict(rgb=snippets, lengths=dict(rgb=jnp.full(len(snippets), snippets.shape[1], jnp.int32)),
                       position=jnp.arange(len(snippets)), labels={})
      encodings = method.encode(variables(params), videos_of, jax.random.key(0), True)
      return tuple(jnp.split(encodings, len(videos)))

    def total(params, first, second, scores):
      losses, terms = losses_of(method, variables(params), encode(params, first, second), scores)
      return losses.mean(), terms

    @jax.jit
    def of_batch(params, first, second, scores, own_difficulty):
      """Everything that the file says of a batch of pairs: loss, gradients, rows, tree, each direction, and answers."""
      (loss, terms), gradient = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(params, first, second, scores)
      features = encode(params, first, second)
      tree = RegressionTree(len(bounds), config.model.hidden, config.model.leaf_activation)
      rows = [jnp.concatenate([features[i], features[1 - i], scores[:, i: i + 1] / theta], axis=1) for i in (0, 1)]
      levels, said = tree.apply({"params": params["tree"]}, jnp.concatenate(rows))
      sides = []
      for i in (0, 1):
        difference, half = scores[:, 1 - i] - scores[:, i], slice(i * len(scores), (i + 1) * len(scores))
        group = regression_tree.group_of(difference, jnp.asarray(bounds), config.model.outside)
        square = group * (said[half] - regression_tree.within_group(difference, jnp.asarray(bounds))) ** 2
        sides.append((group, square))
      references = dict(encodings=features[1][:, None], score=scores[:, 1:], mask=jnp.ones((len(scores), 1), bool),
                        own_difficulty=own_difficulty)
      answer = jax.vmap(method.assess, (None, 0, 0))(variables(params), features[0], references)
      return loss, terms, gradient, rows, levels, said, sides, answer

    gradients = []
    for name in sorted({key.split("/")[0] for key in data if key.startswith("batch")}):
      put = {key: data[f"{name}/{key}"] for key in ("video1", "video2", "label1", "label2")}
      scores = np.concatenate([put["label1"], put["label2"]], axis=1)
      loss, terms, gradient, rows, levels, said, sides, answer = jax.tree.map(
          np.asarray, of_batch(start, put["video1"], put["video2"], scores, data["difficulty"][:, 0]))
      close(levels[-1], f"{name}/leaf_logprob")
      close(said, f"{name}/delta")
      for i, side in enumerate("12"):                     # each direction of the pair on its own
        close(rows[i], f"{name}/combined{side}")
        half, (group, square) = slice(i * len(scores), (i + 1) * len(scores)), sides[i]
        np.testing.assert_array_equal(group.sum(axis=1), arrays[f"{name}/hit{side}"])
        np.testing.assert_array_equal(group.argmax(axis=1), arrays[f"{name}/class{side}"])
        chosen = levels[-1][half][np.arange(len(scores)), group.argmax(axis=1)]
        close(-chosen.mean(), f"{name}/nll{side}")
        close((square.sum(axis=0) / np.maximum(group.sum(axis=0), 1)).sum(), f"{name}/reg{side}")
      close(loss, f"{name}/loss")
      np.testing.assert_allclose(terms["classification"].mean(), arrays[f"{name}/nll1"] + arrays[f"{name}/nll2"], atol=1e-5)
      np.testing.assert_allclose(terms["regression"].mean(), arrays[f"{name}/reg1"] + arrays[f"{name}/reg2"], atol=1e-5)
      close(gradient[1], f"{name}/grad/video1", 1e-7)
      close(gradient[2], f"{name}/grad/video2", 1e-7)
      gradients.append(gradient[0])
      close(answer.score, f"{name}/train_pred_scores", 1e-4, 1e-6)
      np.testing.assert_allclose(answer.distribution[f"level {len(levels)}"].probabilities,
                                 np.exp(arrays[f"{name}/leaf_logprob"])[len(scores):], atol=1e-5)
    for name, value in interop.regression_tree_to_torch(gradients[0]["tree"]).items():
      close(value, f"grad_after_batch0/tree/{name}")
    for name, value in gradients[0]["base"].items():
      close(value, f"grad_after_batch0/base/{name}")

    optimiser = optimizer.make_optimizer(config.train)
    updates, _ = jax.jit(lambda *gradients: optimiser.update(
        jax.tree.map(jnp.add, *gradients), optimiser.init(start), start))(*gradients)
    (pattern, factor), = config.train.rates
    assert pattern == "^backbone/"
    after = optax.apply_updates(start, updates | dict(base=jax.tree.map(lambda x: factor * x, updates["base"])))
    for name, value in interop.regression_tree_to_torch(after["tree"]).items():
      close(value, f"after/tree/{name}", 1e-6)
    for name, value in after["base"].items():
      close(value, f"after/base/{name}", 1e-6)

    @jax.jit
    def tested(params):
      first, exemplars = encode(params, data["batch0/video1"][:3], data["batch0/video2"][:3])
      references = dict(encodings=exemplars, score=data["batch0/label2"][:3, 0], mask=jnp.ones(3, bool),
                        own_difficulty=data["difficulty"][2, 0])
      return method.assess(variables(params), first[0], references).score
    close(tested(after)[None], "test_pred_score", 1e-4, 1e-6)


# The paper's equations, one row, one node, one leaf at a time


def naive_head(model, params, row):
  """Perceptron: a number. Tree: (log-probabilities, regressions) of the leaves."""
  if model.head == "mlp":
    depth = len(params) // 2
    for layer in range(depth):
      row = params[f"kernel_{layer}"] @ row + params[f"bias_{layer}"]
      row = np.maximum(row, 0) if layer < depth - 1 else row
    return row[0]

  def below(level, node, path, units):
    if f"level_{level}" not in params:
      said = units @ params["leaves"]["kernel"][node, 0] + params["leaves"]["bias"][node, 0]
      return [(path, 1 / (1 + np.exp(-said)) if model.leaf_activation == "sigmoid" else said)]
    weights = params[f"level_{level}"]
    out = weights["kernel"][node] @ units + weights["bias"][node]
    branch = np.log(np.exp(out[-2:]) / np.exp(out[-2:]).sum())
    halves = np.maximum(out[:-2], 0).reshape(2, -1)
    return sum((below(level + 1, 2 * node + side, path + branch[side], halves[side]) for side in (0, 1)), [])
  first = np.maximum(params["first"]["kernel"][0] @ row + params["first"]["bias"][0], 0)
  return tuple(map(np.array, zip(*below(0, 0, 0.0, first))))


def naive_rows(model, constants, features, scores):
  """(row, target) of every comparison of an item: both directions of a pair, or the video alone."""
  if not model.contrastive:
    return [(features[0], scores[0])]
  known = lambda i: (scores[i] - constants["low"]) / constants["span"]
  return [(np.concatenate([features[1 - i], features[i], [known(1 - i)]]), scores[i] - scores[1 - i]) for i in (0, 1)]


def naive_group(model, bounds, target):
  """The leaf of a difference; None if there is none."""
  if model.outside == "nearest" and target >= bounds[-1][1]:
    return len(bounds) - 1
  if model.outside == "nearest" and target <= bounds[0][0]:
    return 0
  for leaf, (left, right) in enumerate(bounds):
    if left <= target < right if target >= 0 else left < target <= right:
      return leaf
  return None


def naive_loss(model, constants, params, features, scores):
  """Sum over the items `[B, k, D]` of classification and regression (Eq. 6), or squared error."""
  terms, by_leaf = dict(classification=0.0, regression=0.0), {}
  for item, labels in zip(features, scores):
    for direction, (row, target) in enumerate(naive_rows(model, constants, item, labels)):
      answer = naive_head(model, params, row)
      if model.head == "mlp":
        shift = 0.0 if model.contrastive else constants["low"]
        terms["regression"] += (answer - (target - shift) / constants["span"]) ** 2
        continue
      leaf = naive_group(model, constants["bounds"], target)
      for other, (path, said) in enumerate(zip(*answer)):
        if other == (leaf or 0):
          terms["classification"] -= path
        elif model.classification == "binary":
          terms["classification"] -= np.log(1 - np.exp(path))
        if other == leaf:
          left, right = constants["bounds"][leaf]
          by_leaf.setdefault((direction, leaf), []).append((said - (target - left) / (right - left)) ** 2)
  for errors in by_leaf.values():
    terms["regression"] += sum(errors) * (len(scores) / len(errors) if model.regression == "leaf_mean" else 1)
  return terms


def random_method(config, width=4, seed=0):
  """The method, and float64 variables: standard normal parameters, groups of width 0.5 around 0."""
  method = methods.build(config)
  bounds = np.linspace(-1.0, 1.0, config.model.num_leaves + 1)
  constants = dict(low=-2.0, span=5.0, by_difficulty=True)
  if config.model.head == "tree":
    constants["bounds"] = np.stack([bounds[:-1], bounds[1:]], axis=1)
  shapes = jax.eval_shape(method.init, jax.random.key(0), batch(np.zeros((1, 3, width))), dict(labels=constants))
  rng = np.random.default_rng(seed)
  return method, jax.tree.map(lambda x: rng.normal(size=x.shape), shapes), constants


@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_and_its_gradient(load_config, variant):
  config = load_config("core", "features", TREE | VARIANTS[variant])
  model, (method, params, constants) = config.model, random_method(config)
  rng = np.random.default_rng(1)
  sides = 2 if model.contrastive else 1
  features, scores = rng.normal(size=(6, sides, 4)), np.float32(rng.normal(size=(6, sides)) * 0.8)
  variables = lambda params: dict(params=params, constants=dict(labels=single(constants)))
  encodings = tuple(jnp.asarray(features[:, i], jnp.float32) for i in range(sides))

  def ours(params):
    losses, terms = losses_of(method, variables(params), encodings, scores)
    return losses.sum(), terms
  (value, terms), gradients = jax.jit(jax.value_and_grad(ours, has_aux=True))(single(params))
  naive = lambda: naive_loss(model, constants, params["head"], features, np.float64(scores))
  for name, expected in naive().items():
    np.testing.assert_allclose(terms[name].sum() if name in terms else 0, expected, rtol=2e-5, err_msg=name)
  np.testing.assert_allclose(value, sum(naive().values()), rtol=2e-5)
  for array, (path, gradient) in zip(jax.tree.leaves(params), jax.tree_util.tree_leaves_with_path(gradients)):
    for i in list(np.ndindex(array.shape))[:: max(1, array.size // 5)]:
      kept = array[i]
      array[i] = kept + 1e-6
      above = sum(naive().values())
      array[i] = kept - 1e-6
      difference = (above - sum(naive().values())) / 2e-6
      array[i] = kept
      np.testing.assert_allclose(gradient[i], difference, atol=2e-4, rtol=1e-4, err_msg=f"{path} {i}")


def test_means_over_a_leaf_are_those_of_a_short_batch(load_config):
  """What fills up the last batch counts in no leaf, and the batch is as large as what is real of it."""
  method, _, constants = random_method(load_config("core", "features", TREE | VARIANTS["published"]))
  scores, mask = np.random.default_rng(4).normal(size=(8, 2)).astype(np.float32) / 2, np.arange(8) < 5
  variables = dict(constants=dict(labels=single(constants)))
  relate = lambda scores, mask: method.relate(variables, dict(score=jnp.asarray(scores)), jnp.asarray(mask))
  whole, short = relate(scores, mask)["regression_weight"], relate(scores[:5], mask[:5])["regression_weight"]
  np.testing.assert_allclose(whole[:5], short)
  assert np.unique(short).size > 1
  assert methods.build(load_config("core", "features", TREE)).relate(variables, dict(score=scores), mask) == {}


@pytest.mark.parametrize("variant", ["paper", "published"])
def test_loss_is_finite_at_the_corners(load_config, variant):
  """Equal scores and features, groups without width, differences far outside, a tree that is certain and wrong."""
  method, params, constants = random_method(load_config("core", "features", TREE | VARIANTS[variant]))
  params, scores = single(params), np.array([[1.0, 1.0], [0.0, 50.0], [0.25, 0.0]])

  @jax.jit
  def slopes(params, known):
    total = lambda params: losses_of(method, dict(params=params, constants=known), (jnp.ones((3, 4)),) * 2, scores)[0].sum()
    return jax.value_and_grad(total)(params)
  for factor in (1.0, 1e4):
    params["head"]["level_0"]["kernel"] = params["head"]["level_0"]["kernel"] * factor
    for bounds in (constants["bounds"], 0 * constants["bounds"], np.repeat(constants["bounds"][1:3], 2, axis=0)):
      known = dict(labels=single(constants | dict(bounds=bounds)))
      assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes(params, known)))


# Assessment


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("with_difficulty", [False, True])
def test_assessment(load_config, variant, with_difficulty):
  """Eq. 3, 8, 9: the mean of what each exemplar says, times the difficulty; what is masked has no vote."""
  config = load_config("core", "features", TREE | VARIANTS[variant] | {"model.with_difficulty": with_difficulty})
  model, (method, params, constants) = config.model, random_method(config)
  rng = np.random.default_rng(2)
  encoding, others, scores = rng.normal(size=4), rng.normal(size=(5, 4)), rng.normal(size=5)
  mask, unit = np.array([True, True, False, True, False]), 2.5 if with_difficulty else 1.0
  votes, leaves = [], []
  for other, score in zip(others[mask], scores[mask]) if model.contrastive else [(None, 0.0)]:
    (row, _), *_ = naive_rows(model, constants, (encoding, other), (0.0, score))
    answer = naive_head(model, params["head"], row)
    if model.head == "tree":
      leaf = np.argmax(answer[0])
      left, right = constants["bounds"][leaf]
      votes.append(left + answer[1][leaf] * (right - left) + score)
      leaves.append(np.exp(answer[0]))
    else:
      votes.append(answer * constants["span"] + score + (0.0 if model.contrastive else constants["low"]))
  variables = dict(params=single(params), constants=dict(labels=single(constants)))

  program = jax.jit(method.assess)

  def assess(order, rubbish=0.0):
    references = dict(own_difficulty=np.float32(2.5))
    if model.contrastive:
      references |= dict(encodings=np.float32(np.where(mask[:, None], others, rubbish))[order], mask=mask[order],
                         score=np.float32(np.where(mask, scores, rubbish))[order])
    return program(variables, np.float32(encoding), references)
  answer = assess(np.arange(5))
  np.testing.assert_allclose(answer.score, unit * np.mean(votes), rtol=1e-5, atol=1e-5)
  assert set(answer.parts) == ({"spread over exemplars"} if model.contrastive else set())
  if model.contrastive:
    np.testing.assert_allclose(answer.parts["spread over exemplars"], unit * np.std(votes), rtol=1e-4, atol=1e-5)
  if model.head == "tree":
    assert list(answer.distribution) == ["level 1", "level 2"]
    np.testing.assert_allclose(answer.distribution["level 2"].probabilities, np.mean(leaves, axis=0), atol=1e-5)
    np.testing.assert_allclose(answer.distribution["level 1"].probabilities,
                               answer.distribution["level 2"].probabilities.reshape(2, 2).sum(axis=1), atol=1e-5)
    middles = constants["bounds"].mean(axis=1)
    np.testing.assert_allclose(answer.distribution["level 2"].places, middles, atol=1e-6)
    np.testing.assert_allclose(answer.distribution["level 1"].places, middles.reshape(2, 2).mean(axis=1), atol=1e-6)
  for other in (assess(rng.permutation(5)), assess(np.arange(5), rubbish=1e3)):
    for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(answer), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_encoding_is_the_mean_over_real_snippets(load_config):
  method = methods.build(load_config("core", "features", TREE))
  rng = np.random.default_rng(3)
  features, lengths = rng.normal(size=(3, 6, 4)), [6, 1, 4]
  features[1, 1:], features[2, 4:] = 1e3, -1e3
  expected = np.stack([x[:n].mean(axis=0) for x, n in zip(features, lengths)])
  encode = lambda constants: method.encode(dict(constants=constants), batch(features, lengths), None, True)
  np.testing.assert_allclose(encode({}), expected, atol=1e-4)
  mean, scale = rng.normal(size=4), np.array([0.5, 1, 2, 4])
  np.testing.assert_allclose(encode(dict(features=dict(rgb=single(dict(mean=mean, scale=scale))))), (expected - mean) / scale,
                             atol=2e-4)


# What is known of the training scores beforehand


def test_prepare(load_config, make_dataset):
  """Borders of the differences within groups of training videos; the range of all scores, or the possible one."""
  dataset = make_dataset(category=np.array(list("aababbabaab")))
  fold = dataset.folds[0]
  found = methods.build(load_config("core", "features", TREE)).prepare(dataset, fold, "score")["labels"]
  score, group = dataset.score[:8], dataset.category[:8]
  differences = [score[i] - score[j] for i, j in itertools.permutations(range(8), 2) if group[i] == group[j]]
  np.testing.assert_array_equal(found["bounds"], regression_tree.group_borders(np.array(differences), 4))
  assert found["low"] == score.min() and found["span"] == pytest.approx(np.ptp(score), abs=1e-4)
  difficulty = np.float32([2, 3] * 5 + [2])
  ranged = dataclasses.replace(dataset, score_range=np.stack([-4 * difficulty, 6 * difficulty], axis=1),
                               difficulty=difficulty)
  changes = TREE | VARIANTS["published"] | {"model.with_difficulty": True}
  method = methods.build(load_config("core", "features", changes))
  found = method.prepare(ranged, fold, "score")["labels"]
  assert (found["low"], found["span"]) == (-4, 10) and found["bounds"][-1, 1] == 10 == -found["bounds"][0, 0]
  np.testing.assert_array_equal(found["bounds"], -found["bounds"][::-1, ::-1])
  np.testing.assert_allclose(method.targets(ranged, "score"), dataset.score / difficulty, rtol=1e-5)
  style = dataclasses.replace(ranged, criteria=dict(style=dataset.score))       # other criteria know no difficulty
  np.testing.assert_array_equal(method.targets(style, "style"), dataset.score)
  assert found["by_difficulty"] and not method.prepare(style, fold, "style")["labels"]["by_difficulty"]
  alone = methods.build(load_config("core", "features", TREE | VARIANTS["tree alone"])).prepare(dataset, fold, "score")
  np.testing.assert_array_equal(alone["labels"]["bounds"], regression_tree.group_borders(score, 4))
  assert set(methods.build(load_config("core", "features", VARIANTS["perceptron"])).prepare(dataset, fold, "score")
             ["labels"]) == {"low", "span", "by_difficulty"}


def test_equal_quotients_are_equal_numbers(load_config, make_dataset):
  """16.8 / 1.6 and 21 / 2 are 10.5 whatever float32 makes of them: such differences lie on borders."""
  score, difficulty = np.float32([16.8, 19.95, 33.6, 34.65] + [21] * 7), np.float32([1.6, 1.9, 3.2, 3.3] + [2] * 7)
  assert len(set((score / difficulty).tolist())) > 1
  method = methods.build(load_config("core", "features", TREE | {"model.with_difficulty": True}))
  dataset = dataclasses.replace(make_dataset(), score=score, difficulty=difficulty)
  assert (method.targets(dataset, "score") == 10.5).all()


# Through the loop


@pytest.fixture
def scored(make_dataset):
  """20 videos of three categories, 14 of them to train on, with two criteria and difficulties."""
  rng = np.random.default_rng(5)
  folds = ((range(14), range(14, 20)), ((0, 1, 2, 3, 4, 5, 6, 15, 16, 17), (8, 9, 10, 11)))
  return make_dataset(videos=20, segments=6, folds=folds, category=np.array(list("aab" * 6 + "ab")),
                      difficulty=np.float32([2, 3, 2, 3] * 5), criteria=dict(style=np.float32(rng.normal(size=20))))


@pytest.fixture
def small(load_config):
  """small({field: value}, options) -> a config that trains in a second."""
  def small(changes=None, options="features"):
    return load_config("core", options, TREE | {"model.exemplars.count": 3, "model.exemplars.same": ("category",),
                                                "data.standardize": True} | (changes or {}))
  return small


def test_votes_are_those_of_one_video_at_a_time(small, scored, monkeypatch):
  """Every video of every replica against its own exemplars, of its category, from the training side of the fold."""
  config = small({"model.with_difficulty": True, "seeds": (0, 7), "data.criteria": ("score", "style")})
  method, expected, rng = methods.build(config), {}, np.random.default_rng(1)
  encode, assess = jax.jit(method.encode, static_argnums=3), jax.jit(method.assess)
  params = None
  for devices, chunk in ((1, 256), (1, 3), (8, 8)):
    monkeypatch.setattr(answers, "CHUNK", chunk)
    trainer = train.Trainer(config, scored, Parallel(devices))
    if params is None:                                    # of replicas that have moved apart
      params = jax.tree.map(lambda x: np.float32(x + 0.1 * rng.normal(size=x.shape)), trainer.state.params)
    trainer.state = trainer.parallel.replicate(trainer.state.replace(params=params))
    state, videos = jax.tree.map(np.asarray, trainer.state.variables()), trainer.loader.host(np.arange(20))
    for draw in (0, 2):
      score, parts = trainer.assess(draw=draw)[:2]
      chosen, mask = trainer.experiment.exemplars(draw)
      assert chosen.shape == mask.shape == (20, 8, 3) and score.shape == (8, 20)
      for r, replica in enumerate(trainer.replicas):
        variables = jax.tree.map(lambda x, r=r: x[r], state)
        if ("encodings", r) not in expected:
          expected["encodings", r] = np.asarray(encode(variables, videos, None, False))[:20]
        targets = trainer.method.targets(scored, replica.criterion)
        for video in (0, 9, 19):
          ids = chosen[video, r][mask[video, r]]
          assert np.isin(ids, scored.folds[replica.fold].train_videos).all() and video not in ids
          assert (scored.category[ids] == scored.category[video]).all()
          if (draw, r, video) not in expected:
            references = dict(encodings=expected["encodings", r][ids], score=targets[ids], mask=np.ones(len(ids), bool),
                              own_difficulty=scored.difficulty[video])
            expected[draw, r, video] = assess(variables, expected["encodings", r][video], references)
          answer = expected[draw, r, video]
          np.testing.assert_allclose(score[r, video], answer.score, atol=1e-4)
          np.testing.assert_allclose(parts["spread over exemplars"][r, video], answer.parts["spread over exemplars"],
                                     atol=1e-4)


# That parameters of the paper's move is in `test_common.py`.
@pytest.mark.parametrize("variant", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("paper", "perceptron")))
                                     for name in VARIANTS])
def test_variants_train(small, scored, variant):
  """Every parameter moves, and training pays."""
  trainer = train.Trainer(small(VARIANTS[variant] | {"train.epochs": 40, "train.steps_per_call": 40,
                                                     "train.learning_rate": 1e-2}), scored, Parallel(1))
  before = jax.tree.map(np.asarray, trainer.state.params)
  first, *_, last = [trainer.advance() for _ in range(-(-trainer.total // trainer.per_call))]
  assert (last["loss"] < first["loss"]).all() and np.isfinite(last["error"]).all()
  for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(trainer.state.params)):
    assert not np.array_equal(old, new), path


# What must be refused


OPTIONS = [
    ({"model.head": "forest"}, r"config.model.head='forest' is unknown; use one of tree, mlp"),
    ({"model.groups": "even"}, r"config.model.groups='even' is unknown; use one of equal_count, mirrored"),
    ({"model.classification": "softmax"}, r"config.model.classification='softmax' is unknown; use one of binary, leaf"),
    ({"model.regression": "mean"}, r"config.model.regression='mean' is unknown; use one of sum, leaf_mean"),
    ({"model.outside": "last"}, r"config.model.outside='last' is unknown; use one of nearest, first"),
    ({"model.empty_leaf": "zero"}, r"config.model.empty_leaf='zero' is unknown; use one of border, offset"),
    ({"model.num_leaves": 6}, r"config.model: num_leaves=6 must be a power of two, 2 or more"),
    ({"model.leaf_activation": "tanh"}, r"config.model: activation='tanh' is unknown; use 'sigmoid' or 'none'"),
    ({"model.hidden": 0}, r"config.model: hidden=0 and exemplars.count=10 must be at least 1"),
    ({"model.exemplars.count": 0}, r"config.model: hidden=4 and exemplars.count=0 must be at least 1"),
]


@pytest.mark.parametrize("changes,message", OPTIONS, ids=[str(changes) for changes, _ in OPTIONS])
def test_config_errors(load_config, changes, message):
  with pytest.raises(ValueError, match=message):
    methods.build(load_config("core", "features", {"model.num_leaves": 8} | changes))


def test_nothing_is_demanded_of_a_tree_that_is_not_there(load_config):
  methods.build(load_config("core", "features", {"model.head": "mlp", "model.num_leaves": 6}))


@pytest.mark.parametrize("changes,fields,message", [
    ({}, dict(score=None, criteria={}), r"random: there are no scores to learn from; add them \(scores.csv\), or use a "
                                        r"method that learns from pairs, e.g. configs/pros_cons.py"),
    ({}, dict(score=None), r"random: there is no score to learn from, only style; set config.data.criteria, e.g. "),
    ({}, dict(score=np.full(20, 7.0, np.float32)), r"fold 'fold0': all training scores are equal \(7\); there is no"),
    ({"model.with_difficulty": True}, dict(difficulty=None),
     r"config.model.with_difficulty needs the difficulty of every video, but the labels have none; add it, or set"),
    ({"model.with_difficulty": True, "data.criteria": ("style",)}, dict(difficulty=None),
     r"config.model.with_difficulty needs the difficulty of every video, but the labels have none; add it, or set"),
    ({"model.with_difficulty": True}, dict(difficulty=np.float32([2] * 5 + [0] + [2] * 14)),
     r"video 'v5' has difficulty 0; it must be positive to divide by, or set config.model.with_difficulty=False"),
    ({}, dict(category=np.array(["a"] * 15 + ["b", "b"] + ["a"] * 3)),
     r"there is no exemplar of category b among the training videos for video 'v15' \(2 such videos\); set config.m"),
    ({"model.exemplars.same": ("category", "difficulty")}, dict(difficulty=np.arange(1, 21).astype(np.float32)),
     r"fold 'fold0': no training video has an exemplar that agrees in category and difficulty; set config.model.exem"),
    ({"model.exemplars.same": ("subject",)}, {},
     r"config.model.exemplars.same: 'subject' is unknown; use some of category, difficulty"),
    ({"data.criteria": ("score", "speed")}, {}, r"there is no criterion 'speed', only score, style; set config.d"),
    ({"data.stream": "maps"}, {}, r"there is no stream 'maps', only rgb"),
])
def test_bad_labels(small, scored, changes, fields, message):
  with pytest.raises(ValueError, match=message):
    train.Trainer(small(changes), dataclasses.replace(scored, **fields), Parallel(1))


@pytest.mark.parametrize("changes,message", [
    ({"evaluate.rl2_range": "train"}, r"config\.evaluate\.rl2_range='train' is unknown; use one of class, test"),
    ({"evaluate.draws": 0}, r"config\.evaluate\.draws=0 must be at least 1"),
    ({"data.criteria": ()}, r"config.data.criteria is empty; give at least one"),
    ({"train.optimizer": "lion"}, r"config\.train\.optimizer='lion' is unknown; use one of adam, sgd"),
])
def test_bad_options_are_refused_before_training(small, changes, message):
  with pytest.raises(ValueError, match=message):
    train.check(small(changes))


def test_score_out_of_its_range(scored):
  with pytest.raises(ValueError, match=r"video 'v3' has the score 12, outside the possible 0 to 10; correct the score"):
    dataclasses.replace(scored, score=np.float32([5, 6, 7, 12] + [5] * 16), score_range=(0, 10))
