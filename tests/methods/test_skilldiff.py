"""SkillDiff against its equations written out in float64, and through the training loop."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxskill import assess, compare, data, methods, train
from jaxskill.data import Fold
from jaxskill.methods import skilldiff
from jaxskill.training import answers
from jaxskill.training.parallel import Parallel
from tests.conftest import small_config
from tests.known_programs import Known

pytestmark = pytest.mark.usefixtures("quick_compile")
TINY = {"model.hidden": 4, "model.width": 3, "model.directions": 3, "model.heads": 2, "model.head_hidden": 3,
        "model.head_outputs": 2, "model.segments": 3, "model.exemplars.count": 2, "train.learning_rate": 1e-3,
        "model.gamma": 0.7, "loss.margin": 0.3}
VARIANTS = {"paper": {}, "hard": {"model.alignment": "hard"}, "linear": {"model.alignment": "linear"},
            "random": {"model.exemplars.choose": "random"}, "band": {"model.bandwidth": 5},
            "rows": {"model.differences": "rows"}, "none": {"model.differences": "none"},
            "free query": {"model.free_ends": "query"},
            "as drawn": {"model.directions": 0}, "one segment": {"model.segments": 1}}
# All of them at least once, in few programs.
TOGETHER = {name: functools.reduce(lambda made, one: made | VARIANTS[one], name.split(", "), {}) for name in (
    "hard, band, as drawn, one segment", "random, linear, rows", "none, free query")}
VARIANTS |= TOGETHER
FORMS = {name: VARIANTS[name] for name in ("paper", "hard", "linear", "rows", "none", "as drawn")}
FREE = {"free query": VARIANTS["free query"], "free reference": {"model.free_ends": "reference"},
        "hard free query": {"model.free_ends": "query", "model.alignment": "hard"}}
every_form = pytest.mark.parametrize("form", FORMS)
RANGE = (-2.0, 6.0)


def quick(cases, *names):
  """Parameters of which all but those of these names are slow."""
  return [pytest.param(case, marks=[pytest.mark.slow] * (case not in names)) for case in cases]


# The equations, one video and one number at a time


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def paths(rows, columns):
  """All monotone paths from the first to the last cell."""
  if rows == columns == 1:
    return [[(0, 0)]]
  before = [(r, c) for r, c in ((rows - 1, columns), (rows, columns - 1), (rows - 1, columns - 1)) if r and c]
  return [path + [(rows - 1, columns - 1)] for r, c in before for path in paths(r, c)]


def naive_alignment(cost, gamma, alignment, free_ends="none"):
  """(row-normalised alignment, soft-DTW or the cost of the best path), by listing every path."""
  if free_ends == "query":
    visits, value = naive_visits(cost.T, gamma, alignment, True)
    return visits.T / np.maximum(visits.T.sum(axis=1, keepdims=True), 1), value
  rows, columns = cost.shape
  if alignment == "linear":
    path = np.zeros((rows, columns))
    for t in range(rows):
      place = min(max((t + 0.5) / rows * columns - 0.5, 0), columns - 1)
      low = int(place)
      path[t, low] += 1 - (place - low)
      if place > low:
        path[t, low + 1] += place - low
    return path, 0.0
  visits, value = naive_visits(cost, gamma, alignment, free_ends == "reference")
  return visits / visits.sum(axis=1, keepdims=True), value


def naive_visits(cost, gamma, alignment, free):
  """(how likely each cell is to lie on the path, value), where `free` of all paths from the first to the last row."""
  rows, columns = cost.shape
  every = paths(rows, columns) if not free else [
      [(row, first + column) for row, column in path] for first in range(columns) for last in range(first, columns)
      for path in paths(rows, last - first + 1)]
  costs = np.array([sum(cost[cell] for cell in path) for path in every])
  least = costs.min()
  weights = np.exp(-(costs - least) / gamma)
  value = least - gamma * np.log(weights.sum())
  if alignment == "hard":
    weights, value = (costs == least).astype(float), least
  visits = np.zeros_like(cost)
  for path, weight in zip(every, weights / weights.sum()):
    for cell in path:
      visits[cell] += weight
  return visits, value


def naive_encode(params, rows):
  """(`[n, E]` embeddings, `[n, A]` directions) of the real rows of a video."""
  layer = lambda name, x: x @ params[f"encoder/{name}/kernel"].T + params[f"encoder/{name}/bias"]
  embeddings = layer("embedding", np.maximum(layer("hidden_layer", rows), 0))
  if "encoder/direction/kernel" not in params:            # Sec. 3.2 to the letter: D is of the embeddings
    return embeddings, embeddings
  directions = layer("direction", embeddings)
  return embeddings, directions / np.linalg.norm(directions, axis=1, keepdims=True)


def squared_distances(x, y):
  return ((x[:, None] - y) ** 2).sum(axis=-1)


def naive_difference(params, model, row, aligned, delay):
  """d_i of one row (Sec. 3.3), or what stands in its place in Table 2."""
  if model.differences == "none":
    return row
  if model.differences == "rows":
    return np.concatenate([row - aligned, row, aligned, [delay]])
  units = (params["heads/query/kernel"] @ row + params["heads/query/bias"] + params["heads/reference/kernel"] @ aligned
           + params["heads/residual/kernel"] @ (row - aligned) + params["heads/timing/kernel"][:, 0] * delay)
  units = np.maximum(units, 0).reshape(model.heads, -1)
  outputs = [params["heads/kernel"][h] @ units[h] + params["heads/bias"][h] for h in range(model.heads)]
  return np.maximum(np.concatenate(outputs), 0)


def naive_compare(params, model, query, reference):
  """Score, segment scores, importance, alignment, offset and misfit of one query and one reference."""
  (embedded, own_directions), (other, other_directions) = (naive_encode(params, rows) for rows in (query, reference))
  path, value = naive_alignment(squared_distances(own_directions, other_directions), model.gamma, model.alignment,
                                model.free_ends)
  seen = path.sum(axis=1)                                 # 1 but for rows of a query of which a piece is aligned
  if model.free_ends == "query":
    for t, row in enumerate(path):                        # who is in no piece is beside an end of the reference
      row[-1 if seen[:t + 1].sum() > seen.sum() / 2 else 0] += 1e-6
    path = path / (seen + 1e-6)[:, None]
  aligned = path @ other
  number, differences, offsets = [], [], []
  for t in range(len(embedded)):
    offset = path[t] @ (np.arange(len(other)) + 0.5) / len(other) - (t + 0.5) / len(embedded)
    differences.append(naive_difference(params, model, embedded[t], aligned[t], abs(offset)))      # delta_i, Sec. 3.3
    offsets.append(offset if seen[t] > 0 else 0)
    number.append(int(t * model.segments / len(embedded)))
  scores, logits = np.zeros(model.segments), np.full(model.segments, -np.inf)
  for k in range(model.segments):
    inside = [(d, s) for d, s, n in zip(differences, seen, number) if n == k and s > 0]
    held = sum(s for _, s in inside)
    pooled = sum(d * s for d, s in inside) / max(held, 1) if inside else np.zeros(len(differences[0]))
    scores[k] = sigmoid((params["heads/score/kernel"] @ pooled + params["heads/score/bias"])[0])
    if inside:
      logits[k] = (params["heads/importance/kernel"] @ pooled)[0] + np.log(np.clip(held, 1e-6, 1))
  importance = np.exp(logits - logits.max())
  importance /= importance.sum()
  return dict(score=importance @ scores, segments=scores, importance=importance, path=path, offset=np.array(offsets),
              misfit=value / dict(none=len(embedded) + len(other), query=2 * len(other),
                                  reference=2 * len(embedded))[model.free_ends])


def naive_contrastive(directions, window, margin):
  count = len(directions)
  pulled, pushed = [0.0, 0.0], [0.0, 0.0]
  for i, j in itertools.permutations(range(count), 2):
    distance, gap = ((directions[i] - directions[j]) ** 2).sum(), abs(i - j)
    if gap <= max(window * count, 1):
      pulled[0], pulled[1] = pulled[0] + distance / (gap ** 2 + 1), pulled[1] + 1 / (gap ** 2 + 1)
    else:
      pushed[0], pushed[1] = pushed[0] + max(margin - distance, 0) * (gap ** 2 + 1), pushed[1] + gap ** 2 + 1
  return sum(total / weight for total, weight in (pulled, pushed) if weight)


def naive_losses(params, config, items, videos, scores):
  """{term: `[B]`}: `items` (query, references), a query among its references being no reference."""
  model, loss, weights = config.model, config.loss, config.loss.weights
  low, high = RANGE
  found = [[naive_compare(params, model, videos[q], videos[r]) for r in references if r != q] for q, *references in items]
  score = [np.mean([f["score"] for f in compared]) for compared in found]
  true = [(scores[q] - low) / (high - low) for q, *_ in items]
  terms = dict(squared=[], ranking=[], alignment=[], contrastive=[])
  for i, compared in enumerate(found):
    others = [j for j in range(len(items)) if j != i]
    hinges = [max(0, -(score[i] - score[j]) * (true[i] - true[j]) + loss.margin) for j in others]
    terms["squared"].append((score[i] - true[i]) ** 2)
    terms["ranking"].append(weights.ranking * np.mean(hinges) if others else 0.0)
    terms["alignment"].append(weights.alignment * np.mean([f["misfit"] for f in compared]))
    terms["contrastive"].append(weights.alignment * weights.contrastive * naive_contrastive(
        naive_encode(params, videos[items[i][0]])[1], loss.window, loss.contrastive_margin))
  return {name: np.array(values) for name, values in terms.items()}


# What is compared with them


LENGTHS = [4, 1, 3, 2, 4, 3]
ITEMS = [(0, 4, 1), (1, 2, 4), (2, 2, 4), (3, 3, 1), (5, 0, 5)]     # a query among its own references is a place that is left


class System:
  """A method, its losses and its assessments, which are compiled once for videos and items of one shape.

  Attributes:
    losses: (variables, videos, scores, items, mask) -> losses and terms, `[B]`, as a step computes them.
    assess: (variables, videos, query, references, mask) -> the assessment of one of the videos against others, of which
      `mask` count.
    everything: (variables, videos, scores, items, mask) -> (sum of the losses, its gradient, the assessment of the first
      query against its references, none where no item counts).
  """

  def __init__(self, changes):
    self.config = small_config("skilldiff", "features", TINY | changes)
    self.method = methods.build(self.config)
    self.losses, self.assess, self.everything = map(jax.jit, (self._losses, self._assess, self._everything))

  def _losses(self, variables, videos, scores, items, mask):
    encodings = self.method.encode(variables, videos, None, True)
    labels = dict(score=scores[items])
    labels |= self.method.relate(variables, labels, mask)
    sides = tuple(jax.tree.map(lambda x: x[items[:, side]], encodings) for side in range(items.shape[1]))
    return self.method.phases[0].loss(variables, sides, labels, lambda x: x)

  def _assess(self, variables, videos, query, references, mask):
    encodings = self.method.encode(variables, videos, None, False)
    against = dict(encodings=jax.tree.map(lambda x: x[references], encodings), mask=mask)
    return self.method.assess(variables, jax.tree.map(lambda x: x[query], encodings), against)

  def _everything(self, variables, videos, scores, items, mask):
    total = lambda params: self._losses(variables | dict(params=params), videos, scores, items, mask)[0].sum()
    value, gradient = jax.value_and_grad(total)(variables["params"])
    (query, *references), counts = items[0], mask[:1].repeat(items.shape[1] - 1)
    return value, gradient, self._assess(variables, videos, query, jnp.stack(references), counts)


@functools.cache
def system(**changes):
  return System({name.replace("__", "."): value for name, value in changes.items()})


def small(changes=None, seed=0):
  """Returns system, variables, `[6, 4, 5]` videos of `LENGTHS` rows, `[6]` scores."""
  made, rng = system(**{name.replace(".", "__"): value for name, value in (changes or {}).items()}), np.random.default_rng(seed)
  features = rng.normal(size=(6, 4, 5)).astype(np.float32)
  statistics = dict(score_range=np.float32(RANGE))
  shapes = jax.eval_shape(made.method.init, jax.random.key(0), batch(features[:1]), statistics)
  params = jax.tree.map(lambda x: np.asarray(rng.normal(size=x.shape), np.float32), shapes)
  weights = {name: np.float32(weight) for name, weight in made.config.loss.weights.items()}
  constants = statistics | dict(loss_weights=weights)
  return made, dict(params=params, constants=constants), features, rng.uniform(*RANGE, 6).astype(np.float32)


def batch(features, lengths=None):
  """Videos as `batches.VideoLoader` hands them over."""
  return dict(rgb=np.asarray(features, np.float32), position=np.arange(len(features)), labels={},
              lengths=dict(rgb=np.asarray(lengths or [features.shape[1]] * len(features), np.int32)))


def losses_of(system, variables, features, scores, items, lengths, mask=None):
  """Losses and terms, `[B]`, as a step computes them."""
  mask = np.ones(len(items), bool) if mask is None else np.array(mask)
  return system.losses(variables, batch(features, lengths), np.asarray(scores), np.array(items), mask)


def answer_of(system, variables, features, lengths, query, references, mask=None):
  """The assessment of one of the videos against others, of which `mask` count."""
  mask = [True] * len(references) if mask is None else mask
  return system.assess(variables, batch(features, lengths), query, np.array(references), np.array(mask))


def double(params):
  return {name: np.asarray(x, np.float64) for name, x in traverse_util.flatten_dict(params, sep="/").items()}


def real_rows(features, lengths=LENGTHS):
  return [np.asarray(x[:n], np.float64) for x, n in zip(features, lengths)]


@pytest.mark.parametrize("form", [*FORMS, *FREE])
def test_losses(form):
  for seed in range(3):
    system, variables, features, scores = small((FORMS | FREE)[form], seed)
    losses, terms = losses_of(system, variables, features, scores, ITEMS, LENGTHS)
    expected = naive_losses(double(variables["params"]), system.config, ITEMS, real_rows(features), scores)
    for name, values in expected.items():
      np.testing.assert_allclose(terms[name], values, rtol=2e-4, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(losses, sum(expected.values()), rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(terms["error"], np.sqrt(expected["squared"]) * (RANGE[1] - RANGE[0]), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("alignment", ["soft", "linear"])
def test_gradients(alignment):
  """Through the expected alignment too: along random directions, against differences of the float64 loss."""
  system, variables, features, scores, _ = aligned(alignment, 4)
  items = np.array([(4, 0, 1), *ITEMS])                   # of as many as `aligned` has, no video twice
  everything = system.everything(variables, batch(features, LENGTHS), scores, items, np.ones(len(items), bool))
  gradient = double(everything[1])
  params, rng = double(variables["params"]), np.random.default_rng(0)
  naive = lambda step, direction: sum(naive_losses({k: v + step * direction[k] for k, v in params.items()}, system.config,
                                                   items, real_rows(features), scores).values()).sum()
  for part in ("", "encoder/direction", "encoder", "heads", "heads/timing") if alignment == "soft" else ("", "heads"):
    direction = {k: rng.normal(size=v.shape) * k.startswith(part) for k, v in params.items()}
    slope = (naive(1e-5, direction) - naive(-1e-5, direction)) / 2e-5
    assert abs(slope) > 1e-4
    np.testing.assert_allclose(sum((gradient[k] * direction[k]).sum() for k in params), slope, rtol=2e-3, err_msg=part)


def test_hinge_punishes_the_wrong_order():
  """Its sign: a pair in the right order by more than enough costs nothing, the other way round it does."""
  system, variables, features, _ = small({"loss.margin": 0.0})
  _, terms = losses_of(system, variables, features, np.zeros(6, np.float32), [(0, 1, 4), (2, 1, 4)], LENGTHS)
  assert terms["ranking"].tolist() == [0, 0]
  worst, best = sorted((0, 2), key=lambda video: answer_of(system, variables, features, LENGTHS, video, (1, 4)).score)
  for better, costs in ((best, False), (worst, True)):
    scores = np.where(np.arange(6) == better, np.float32(4), np.float32(0))
    _, terms = losses_of(system, variables, features, scores, [(0, 1, 4), (2, 1, 4)], LENGTHS)
    assert (terms["ranking"] > 0).all() == costs


def test_padded_items_rank_nobody():
  system, variables, features, scores = small()
  _, whole = losses_of(system, variables, features, scores, ITEMS, LENGTHS, [True, True, True, False, False])
  expected = naive_losses(double(variables["params"]), system.config, ITEMS[:3], real_rows(features), scores)
  np.testing.assert_allclose(whole["ranking"], [*expected["ranking"], 0, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", quick(FORMS, "paper", "hard"))      # each form's comparison is in `test_losses`
def test_losses_of_pairs(form):
  """The ranking loss with s*_a - s*_b = 1, and the alignment of both videos; no score is read."""
  system, variables, features, _ = small(FORMS[form] | {"loss.labels": "pairs", "loss.margin": 0.4}, 2)
  method, model, loss, count = system.method, system.config.model, system.config.loss, 2
  params, videos = double(variables["params"]), real_rows(features)
  items = np.array([(0, 2, 4, 1, 4, 1), (3, 5, 1, 3, 0, 5), (1, 4, 1, 1, 2, 0)])        # better, worse, references of either

  @jax.jit
  def losses(variables, videos):
    encodings = method.encode(variables, videos, None, True)
    sides = tuple(jax.tree.map(lambda x: x[column], encodings) for column in items.T)
    return jax.vmap(method.phases[0].loss, (None, 0, None))(variables, sides, {})
  found, terms = losses(variables, batch(features, LENGTHS))
  for number, item in enumerate(items):
    scores, misfits, apart = [], [], []
    for query, references in ((item[0], item[2:2 + count]), (item[1], item[2 + count:])):
      beside = [naive_compare(params, model, videos[query], videos[r]) for r in references if r != query]
      scores.append(np.mean([one["score"] for one in beside]) if beside else 0.0)
      misfits.append(np.mean([one["misfit"] for one in beside]) if beside else 0.0)
      apart.append(naive_contrastive(naive_encode(params, videos[query])[1], loss.window, loss.contrastive_margin))
    expected = dict(ranking=loss.weights.ranking * max(0, -(scores[0] - scores[1]) + loss.margin),
                    alignment=loss.weights.alignment * np.mean(misfits),
                    contrastive=loss.weights.alignment * loss.weights.contrastive * np.mean(apart))
    for name, value in expected.items():
      np.testing.assert_allclose(terms[name][number], value, rtol=2e-4, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(found[number], sum(expected.values()), rtol=2e-4, atol=2e-5)
    assert terms["accuracy"][number] == (scores[0] > scores[1])


@every_form
def test_assessment(form):
  system, variables, features, _ = small(FORMS[form], 1)
  params, videos, (low, high) = double(variables["params"]), real_rows(features), RANGE
  for query, references, mask in ((0, (4, 1), (True, True)), (2, (5, 0), (True, False)), (1, (3, 4), (True, True))):
    answer = answer_of(system, variables, features, LENGTHS, query, references, mask)
    found = [naive_compare(params, system.config.model, videos[query], videos[r]) for r, there in zip(references, mask) if there]
    mean = {name: np.mean([f[name] for f in found], axis=0) for name in ("score", "segments", "importance", "offset")}
    np.testing.assert_allclose(answer.score, low + (high - low) * mean["score"], rtol=1e-4)
    spread = (high - low) * np.std([f["score"] for f in found])
    np.testing.assert_allclose(answer.parts["spread over references"], spread, atol=1e-4)
    count = LENGTHS[query]
    expected = dict(number=np.arange(count) * 3 // count, score=low + (high - low) * mean["segments"],
                    importance=mean["importance"])
    assert answer.segments.keys() == expected.keys()
    close = lambda actual, values: np.testing.assert_allclose(actual, values, rtol=1e-4, atol=1e-5)
    close(answer.segments["number"][:count], expected.pop("number"))
    close(answer.curves["timing offset"][:count], mean["offset"])
    seen = np.unique(np.arange(count) * 3 // count)                    # a short video leaves segments without a row
    for name, values in expected.items():
      close(answer.segments[name][seen], values[seen])
    assert len(answer.alignment) == 2
    for path, f, r in zip(answer.alignment, found, references):
      np.testing.assert_allclose(path[:count, : LENGTHS[r]], f["path"], atol=1e-4)
      assert not np.asarray(path[:count, LENGTHS[r]:]).any()
    several = answers.PICKS[1](jax.tree.map(lambda x: np.stack([x, x]), answer))             # what is kept of many videos
    for places, f in zip(several.alignment[1], found):
      np.testing.assert_allclose(places[:count], f["path"] @ (np.arange(f["path"].shape[1]) + 0.5), atol=1e-3)


def aligned(alignment, seed):
  """As `small`: of videos of up to 7 rows, and items of which the first is whom an assessment is about."""
  system, variables, _, scores = small(FORMS["paper" if alignment == "soft" else alignment], seed)
  features = np.random.default_rng(seed).normal(size=(6, 7, 5)).astype(np.float32)
  return system, variables, features, scores, np.array([(2, 0, 1), *ITEMS])


@pytest.mark.parametrize("alignment", skilldiff.ALIGNMENTS)
def test_padding_changes_nothing(alignment):
  """Neither in losses and gradients nor in answers, whatever it holds."""
  system, variables, features, scores, items = aligned(alignment, 2)
  garbage = np.random.default_rng(1).normal(size=(6, 7, 5)).astype(np.float32) * 9
  real = (np.arange(7) < np.array(LENGTHS)[:, None])[..., None]
  (*first, one), (*second, other) = (system.everything(variables, batch(np.where(real, features, x), LENGTHS), scores, items,
                                                       np.ones(6, bool)) for x in (np.zeros_like(features), garbage))
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(one.score, other.score, atol=1e-4)
  np.testing.assert_allclose(one.curves["timing offset"][:3], other.curves["timing offset"][:3], atol=1e-4)
  for name in ("score", "importance"):
    np.testing.assert_allclose(one.segments[name], other.segments[name], atol=1e-4, err_msg=name)
  np.testing.assert_allclose(one.alignment[0, :3, :4], other.alignment[0, :3, :4], atol=1e-4)
  # however long the streams are: the program of `test_losses`
  short = losses_of(system, variables, features[:, :4], scores, ITEMS, LENGTHS)[0]
  long = losses_of(system, variables, np.where(real, features, garbage), scores, ITEMS, LENGTHS)[0]
  np.testing.assert_allclose(long, short, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alignment", skilldiff.ALIGNMENTS)
def test_finite_at_the_corners(alignment):
  """Value and gradient: rows fewer than segments, features that never vary, no reference at all, numbers far too large."""
  system, variables, features, scores, items = aligned(alignment, 3)
  silent = variables | dict(params=jax.tree.map(lambda x: x * (x.ndim != 1), variables["params"]))
  lengths, alone = [7, *LENGTHS[1:]], np.array([(3, 3, 3)] * 6)
  corners = dict(row=(variables, features, [1] * 6, items), constant=(variables, np.full_like(features, 0.7), lengths, items))
  if alignment == "soft":         # zero: nothing in the biases either, so directions of norm 0
    corners |= dict(zero=(silent, np.zeros_like(features), lengths, items), huge=(variables, features * 1e4, lengths, items),
                    alone=(variables, features, lengths, alone))
  for corner, (numbers, values, lengths, items) in corners.items():
    counts = np.full(6, corner != "alone")
    for x in jax.tree.leaves(system.everything(numbers, batch(values, lengths), scores, items, counts)):
      assert np.isfinite(x).all(), corner


@pytest.mark.parametrize("alignment", quick(skilldiff.ALIGNMENTS, "soft"))
def test_finite_in_streams_of_one_row(alignment):
  """Of a batch of one item, which may have no reference."""
  system, variables, features, scores = small({"model.alignment": alignment}, 3)
  for item, counts in (((3, 0, 1), True), ((3, 3, 3), False)):
    given = batch(features[:, :1], [1] * 6), scores, np.array([item]), np.array([counts])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(system.everything(variables, *given)))


@pytest.mark.parametrize("length", [1, 2, 7, 12])
def test_contrastive_loss(length):
  rng = np.random.default_rng(length)
  directions = rng.normal(size=(12, 4))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  for window, margin in ((0.0, 1.0), (0.3, 2.0), (1.0, 1.5)):
    found = jax.jit(skilldiff.contrastive_loss)(jnp.asarray(directions, jnp.float32), length, window, margin)
    np.testing.assert_allclose(found, naive_contrastive(directions[:length], window, margin), rtol=1e-4, atol=1e-5)
  together = jnp.ones((12, 4)) / 2
  apart = jax.jit(skilldiff.contrastive_loss)(together, length, 0.1, 1.0)
  assert apart == pytest.approx(1.0 if length > 2 else 0.0)          # what keeps embeddings from falling together


def test_first_layer_before_the_alignment_is_the_one_after_it():
  """`project` is exact algebra: the heads see query, aligned reference, difference and offset."""
  system, variables, features, _ = small(seed=5)
  model, encoding = system.config.model, jax.jit(system.method.encode, static_argnums=3)(variables, batch(features), None, True)
  params = double(variables["params"])
  embeddings, _ = naive_encode(params, features[0].astype(np.float64))
  residual = embeddings @ params["heads/residual/kernel"].T
  query = embeddings @ params["heads/query/kernel"].T + params["heads/query/bias"]
  np.testing.assert_allclose(encoding["query"][0], query + residual, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(encoding["reference"][0], embeddings @ params["heads/reference/kernel"].T - residual,
                             rtol=1e-4, atol=1e-4)
  assert encoding["query"].shape[2] == model.heads * model.head_hidden


# Through the loop


@pytest.fixture
def scored(make_dataset):
  """20 videos of three categories, in two folds, with two criteria."""
  rng = np.random.default_rng(5)
  folds = ((range(14), range(14, 20)), ((0, 1, 2, 3, 4, 5, 6, 15, 16, 17), (8, 9, 10, 11)))
  return make_dataset(videos=20, segments=6, folds=folds, category=np.array(list("aab" * 6 + "ab")),
                      score_range=(-4.0, 4.0), criteria=dict(style=np.float32(rng.normal(size=20))))


@pytest.fixture
def configure(load_config):
  """configure({field: value}) -> a config that trains in a second."""
  def configure(changes=None):
    return load_config("skilldiff", "features", TINY | {"data.standardize": True, "model.score_ranges": {
        "style": (-5.0, 5.0)}} | (changes or {}))
  return configure


@pytest.mark.parametrize("choose", ["best", "random"])
def test_references(configure, scored, nothing_drawn, choose):
  """Those of the training side, of the own activity, never the query itself; in training the ones that answer later."""
  trainer = train.Trainer(configure({"model.exemplars.choose": choose, "seeds": (0, 7), "data.criteria": ("score", "style"),
                                     "model.exemplars.count": 3}), scored, Parallel(1))
  chosen, mask = trainer.experiment.exemplars()
  assert chosen.shape == (20, 8, 3)
  for r, replica in enumerate(trainer.replicas):
    fold, labels = scored.folds[replica.fold], scored.labels(replica.criterion)
    for video in range(20):
      ids = chosen[video, r][mask[video, r]]
      allowed = [t for t in fold.train_videos if scored.category[t] == scored.category[video] and t != video]
      assert len(ids) == min(3, len(allowed)) and set(ids) <= set(allowed) and not set(ids) & set(fold.test_videos)
      if choose == "best":
        assert labels[ids].tolist() == sorted(labels[allowed], reverse=True)[: len(ids)]
    items = trainer.loader.train[np.asarray(trainer.tables.items[r, : trainer.tables.count[r]])]
    queries = [v for v in fold.train_videos if mask[v, r].any()]
    assert sorted(items[:, 0]) == queries
    for query, *references in items:
      known = chosen[query, r][mask[query, r]].tolist()
      assert references == known + [query] * (3 - len(known))
  seeds = [chosen[:, [r for r, one in enumerate(trainer.replicas) if one.seed == seed]] for seed in (0, 7)]
  assert np.array_equal(*seeds) == (choose == "best")


@pytest.mark.parametrize("variant", quick(VARIANTS, *TOGETHER))
def test_variants_train(configure, scored, variant):
  """Every parameter moves that has a say, and training pays; one segment is all the more important for nothing."""
  changes = VARIANTS[variant]
  trainer = train.Trainer(configure(changes | {"train.epochs": 20, "train.steps_per_call": 20,
                                               "train.learning_rate": 1e-2}), scored, Parallel(1))
  before = jax.tree.map(np.asarray, trainer.state.params)
  first, *_, last = [trainer.advance() for _ in range(-(-trainer.total // trainer.per_call))]
  assert (last["loss"] < first["loss"]).all() and np.isfinite(last["error"]).all()
  for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(trainer.state.params)):
    assert np.array_equal(old, new) == ("importance" in str(path) and changes.get("model.segments") == 1), path


def test_a_step_encodes_each_video_once(configure, scored, nothing_drawn, monkeypatch):
  """References too; that nothing is traced again is in `test_common.py`."""
  shapes, build = [], methods.build

  def counted(config):
    method = build(config)
    return method._replace(encode=lambda variables, videos, *rest: shapes.append(videos["rgb"].shape)
                           or method.encode(variables, videos, *rest))
  monkeypatch.setattr(methods, "build", counted)
  dataset = dataclasses.replace(scored, folds=scored.folds[:1], category=np.array(["a"] * 20))
  trainer = train.Trainer(configure({"train.batch_size": 4}), dataset, Parallel(1))
  function, given = trainer.first_call()
  function.trace(*given)
  assert shapes == [(4 + 3, 6, 5)]          # the batch, and the best two with the third, which the best two look up to


def test_references_of_pairs_won_most_of_the_training_pairs(load_config, make_dataset, nothing_drawn):
  """Items are (better, worse, references of either); a test pair says nothing of who is best."""
  pairs = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (4, 3), (5, 0), (6, 7)], np.int32)
  fold = Fold("one", np.arange(5), np.arange(5, 8), np.arange(5), np.arange(5, 7))
  dataset = dataclasses.replace(make_dataset(videos=8, folds=((range(5), range(5, 8)),)), pairs=pairs, folds=(fold,))
  config = load_config("skilldiff", "features,pairs", TINY | {"model.exemplars.same": ()})
  trainer = train.Trainer(config, dataset, Parallel(1))
  np.testing.assert_allclose(trainer.experiment.standings()[:, 0], [4 / 5, 2 / 4, 1 / 4, 1 / 4, 2 / 3, .5, .5, .5])
  chosen, mask = trainer.experiment.exemplars()
  assert mask.all() and chosen[5:, 0].tolist() == [[0, 4]] * 3
  assert chosen[[0, 4, 2], 0].tolist() == [[4, 1], [0, 1], [0, 4]]                   # never itself
  items = trainer.loader.train[np.asarray(trainer.tables.items[0, : trainer.tables.count[0]])]
  assert items.tolist() == [[0, 1, 4, 1, 0, 4], [0, 2, 4, 1, 0, 4], [0, 3, 4, 1, 0, 4], [1, 2, 0, 4, 0, 4],
                            [4, 3, 0, 1, 0, 4]]


def test_a_run_on_pairs_and_its_answers(load_config, quick_training, coarse_pictures, monkeypatch, tmp_path):
  """Accuracy in place of correlation, pictures, and the same scores of videos from their features alone."""
  config = load_config("skilldiff", "simulated,pairs", TINY | {"data.simulated.num_videos": 30, "model.exemplars.count": 2})
  del quick_training
  Known().patch(monkeypatch)
  dataset = data.load(config.data)
  results = train.run(config, tmp_path / "run", dataset)
  replica, = results["replicas"]
  assert {"accuracy", "step"} == replica["last"].keys() and replica["against_truth"].keys() >= {"ap_faulty", "alignment_error_s"}
  assert all(0 <= score <= 1 for score in replica["scores"].values()) and replica["branches"] == {}
  assert (tmp_path / "run" / "alignment.png").stat().st_size > 5_000
  test = dataset.folds[0].test_videos[:2]
  for video in test:
    np.save(tmp_path / f"{dataset.videos[video]}.npy", dataset.streams["rgb"][video, : dataset.lengths["rgb"][video]])
  (tmp_path / "labels.csv").write_text("video,category\n" + "".join(
      f"{dataset.videos[video]},{dataset.category[video]}\n" for video in test))
  answers, failed = assess.run(tmp_path / "run", out=tmp_path / "out", labels=tmp_path / "labels.csv",
                               features=[tmp_path / f"{dataset.videos[video]}.npy" for video in test], say=lambda line: None)
  assert not failed and len(answers) == 2
  for name, answer in answers.items():
    assert answer["ranked"] and answer["score"] == pytest.approx(replica["scores"][name], rel=1e-5)
    assert len(answer["references"]) == 2 and all(0 < one["score"] < 1 for one in answer["references"])   # share won
  both = compare.run(tmp_path / "run", out=tmp_path / "two", labels=tmp_path / "labels.csv", say=lambda line: None,
                     features=[tmp_path / f"{dataset.videos[video]}.npy" for video in test])
  assert both["ranked"] and both["better"] == max(answers, key=lambda name: answers[name]["score"]) and both["direct"]


# What must be refused


@pytest.mark.parametrize("changes,message", [
    ({"model.alignment": "dtw"}, r"config\.model\.alignment='dtw' is unknown; use one of soft, hard, linear"),
    ({"model.differences": "all"}, r"config\.model\.differences='all' is unknown; use one of heads, rows, none"),
    ({"loss.labels": "votes"}, r"config\.loss\.labels='votes' is unknown; use one of scores, pairs"),
    ({"loss.labels": "pairs", "data.criteria": ("tes",)}, r"config\.data\.criteria=\('tes',\): pairs know no criteria"),
    ({"model.directions": -1}, r"bandwidth=0 and directions=-1 at least 0"),
    ({"model.gamma": 0.0}, r"config\.model\.gamma=0\.0 must be positive; its limit at 0 is config\.model\.alignment='hard'"),
    ({"model.free_ends": "both"}, r"config\.model\.free_ends='both' is unknown; use one of none, query, reference"),
    ({"model.free_ends": "query", "model.bandwidth": 5}, r"free_ends='query' aligns with a piece, wherever it lies: set"),
    ({"model.free_ends": "query", "model.alignment": "linear"}, r"set config\.model\.bandwidth=0, and config.model.alig"),
    ({"model.heads": 0}, r"config\.model\.heads=0 must be at least 1"),
    ({"model.segments": 0}, r"config\.model\.segments=0 must be at least 1"),
    ({"model.exemplars.count": 0}, r"exemplars\.count=0 must be at least 1, and bandwidth=0 and directions=3 at least 0"),
    ({"model.bandwidth": -1}, r"exemplars\.count=2 must be at least 1, and bandwidth=-1 and directions=3 at least 0"),
    ({"loss.margin": -1.0}, r"config\.loss: margin=-1\.0, window=0\.03 and contrastive_margin=2\.0 must not be negative"),
], ids=str)
def test_config_errors(configure, changes, message):
  with pytest.raises(ValueError, match=message):
    train.check(configure(changes))


@pytest.mark.parametrize("changes,fields,message", [
    ({}, dict(category=np.array(["a"] * 15 + ["b", "b"] + ["a"] * 3)),
     r"there is no exemplar of category b among the training videos for video 'v15' \(2 such videos\)"),
    ({}, dict(category=np.array(list("abcdefghijklmnabcdef"))),     # each training video would be its own reference
     r"fold 'fold0': no training video has an exemplar that agrees in category; set .* \(a video is never its own exemplar\)"),
    ({"model.bandwidth": 3}, {}, r"video 'v\d+' has \d+ rows and one that it is compared with \d+, farther apart than "
                                 r"config\.model\.bandwidth=3 rows can align; widen the band, or set it to 0 for none"),
    ({"model.exemplars.choose": "worst"}, {}, r"config\.model\.exemplars\.choose='worst' is unknown; use one of random, best"),
    ({}, dict(score=None, criteria={}, score_range=None), "there are no scores to learn from; add them"),
    ({}, dict(score_range=None), r"the possible range of the scores is not known.*set config\.data\.score_range"),
    ({"data.criteria": ("style",), "model.score_ranges": {"style": (0.0, 5.0)}}, {}, r"has style -\S+, outside 0 to 5"),
    ({"data.stream": "maps"}, {}, r"there is no stream 'maps', only rgb"),
])
def test_bad_data(configure, scored, changes, fields, message):
  with pytest.raises(ValueError, match=message):
    train.Trainer(configure(changes), dataclasses.replace(scored, **fields), Parallel(1))


@pytest.mark.parametrize("options", ["simulated", "features,paper", "aqa7", "fis_v", "mtl_aqa", "jigsaws", "best",
                                     "epic_skills", "features,pairs"])
def test_options(load_config, options):
  train.check(load_config("skilldiff", options))


@pytest.mark.parametrize("options,message", [("finediving", "data set 'finediving' is unknown; use simulated, features, aqa7, fis_v"),
                                             ("aqa7,official", "variant 'official' is unknown; there is no published code")])
def test_unknown_options(load_config, options, message):
  with pytest.raises(ValueError, match=message):
    load_config("skilldiff", options)
