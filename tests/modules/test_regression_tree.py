"""The tree and its groups against the published code (golden files) and against loops over nodes in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill import interop
from jaxskill.modules import regression_tree
from jaxskill.modules.regression_tree import RegressionTree, decode, group_borders, group_of, within_group

pytestmark = pytest.mark.usefixtures("quick_compile")


def published(data, prefix):
  """The entries below a prefix, without it."""
  return {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}


def tree_of(state, activation="none", dtype=jnp.float32):
  """Our tree and its parameters from a published state."""
  tree = RegressionTree(len(state["reg_layer.bias"]), len(state["first_layer.0.bias"]), activation, dtype)
  return tree, single(interop.regression_tree_from_torch(state))


def single(tree):
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


# The published code


@pytest.mark.golden("core_tree*", without=("real",))
def test_golden_tree(golden, golden_name):
  data = golden(golden_name)
  depths = sorted({key.split("/")[0] for key in data if re.match(r"d\d+/", key)})
  assert len(depths) > 1
  for depth in depths:
    arrays = published(data, f"{depth}/")
    state = published(arrays, "w/")
    tree, params = tree_of(state)
    assert tree.num_leaves == arrays["delta"].shape[1] == 2 ** (int(depth[1:]) - 1)
    for name, value in interop.regression_tree_to_torch(params).items():
      np.testing.assert_array_equal(value, state[name], err_msg=name)
      assert value.shape == state[name].shape and value.dtype == np.float32
    (levels, leaves), back = jax.vjp(jax.jit(lambda p, x, tree=tree: tree.apply({"params": p}, x)), params, data["x"])
    assert len(levels) == sum(name.startswith("logprob") for name in arrays)
    names = [f"logprob{i}" for i in range(len(levels))]
    for name, level in zip(names, levels):
      np.testing.assert_allclose(level.reshape(arrays[name].shape), arrays[name], rtol=0, atol=5e-6, err_msg=name)
    np.testing.assert_allclose(leaves, arrays["delta"], rtol=0, atol=5e-6)
    cotangents = [arrays[f"cot/{name}"].reshape(level.shape) for name, level in zip(names, levels)]
    moved, dx = back((cotangents, arrays["cot/delta"]))
    gradients = interop.regression_tree_to_torch(moved) | {"x": dx}
    assert gradients.keys() == published(arrays, "grad/").keys()
    for name, value in gradients.items():
      np.testing.assert_allclose(value, arrays[f"grad/{name}"], rtol=0, atol=3e-5, err_msg=f"{depth} {name}")


@pytest.mark.golden("core_tree_real*")
def test_golden_real(golden, golden_weights, golden_name):
  data = golden(golden_name)
  state = golden_weights(data)
  rng = np.random.Generator(np.random.PCG64(int(data["input_seed"])))
  rows = rng.standard_normal(tuple(data["input_shape"]), dtype=np.float32)
  np.testing.assert_array_equal(rows.ravel()[:16], data["input_head"])
  tree, params = tree_of(state)
  levels, leaves = jax.jit(tree.apply)({"params": params}, rows)
  assert len(levels) == sum(key.startswith("logprob") for key in data)
  for i, level in enumerate(levels):
    np.testing.assert_allclose(level, data[f"logprob{i}"].reshape(level.shape), rtol=0, atol=5e-6)
  np.testing.assert_allclose(leaves, data["delta"], rtol=0, atol=5e-6)


def mode_options(mode, dataset, span):
  """Options of `group_borders` for a mode of the golden file."""
  symmetric = mode.startswith("sym")
  lowest = -span if dataset == "signed" else 0
  return dict(symmetric=symmetric, limits=(lowest, span) if mode.endswith("minmax") else None)


@pytest.mark.golden("core_group*")
def test_golden_groups(golden, golden_name):
  data, modes = golden(golden_name), set()

  @jax.jit
  def solve(deltas, bounds, logprob, said):
    return (group_of(deltas, bounds, "first").T, within_group(deltas, bounds).T,
            decode(logprob, said, bounds, "offset"))
  found = sorted(key.removesuffix("/bounds") for key in data if key.endswith("/bounds"))
  for place in found:
    dataset, depth, mode = place.split("/")
    arrays = published(data, f"{place}/")
    modes.add(mode)
    bounds = group_borders(data[f"dataset/{dataset}"], 2 ** (int(depth[1:]) - 1),
                           **mode_options(mode, dataset, data["score_range"]))
    np.testing.assert_array_equal(bounds, arrays["bounds"], err_msg=place)
    assert bounds.dtype == np.float32
    group, places, out = map(np.asarray, solve(arrays["deltas"], bounds, arrays["inf_logprob"], arrays["inf_delta"]))
    np.testing.assert_array_equal(group, arrays["onehot"], err_msg=place)
    np.testing.assert_array_equal(group.argmax(axis=0), arrays["class"], err_msg=place)
    places = np.where(arrays["onehot"] == 1, places, -1)
    np.testing.assert_allclose(places, arrays["reg"], rtol=0, atol=1e-6, err_msg=place)
    np.testing.assert_allclose(out, arrays["inf_out"][:, 0], rtol=1e-6, atol=1e-5, err_msg=place)
  assert modes == {"sym_minmax", "sym", "asym_minmax", "asym"} and len(found) > 30


# One node, one branch, one leaf at a time


def naive_tree(params, rows, activation):
  """([`[B, 2]`, `[B, 4]`, ...], `[B, L]`) in float64."""
  depth = sum(name.startswith("level_") for name in params)
  levels, leaves = [[] for _ in range(depth)], []
  for row in rows:
    at = lambda name, node, x: params[name]["kernel"][node] @ x + params[name]["bias"][node]
    nodes = [(0.0, np.maximum(at("first", 0, row), 0))]          # (log-probability, hidden units), left to right
    for level in range(depth):
      children = []
      for node, (path, units) in enumerate(nodes):
        out = at(f"level_{level}", node, units)
        width = (len(out) - 2) // 2
        branch = np.exp(out[2 * width:]) / np.exp(out[2 * width:]).sum()
        for side in (0, 1):
          children.append((path + np.log(branch[side]), np.maximum(out[side * width: (side + 1) * width], 0)))
      nodes = children
      levels[level].append([path for path, _ in nodes])
    said = np.array([at("leaves", leaf, units)[0] for leaf, (_, units) in enumerate(nodes)])
    leaves.append(1 / (1 + np.exp(-said)) if activation == "sigmoid" else said)
  return [np.array(level) for level in levels], np.array(leaves)


def random_params(leaves, width=5, hidden=3, seed=0):
  tree = RegressionTree(leaves, hidden)
  shapes = jax.eval_shape(tree.init, jax.random.key(0), jnp.zeros((1, width)))["params"]
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: rng.normal(size=x.shape), shapes)


@pytest.mark.parametrize("leaves,activation", [(2, "sigmoid"), (8, "sigmoid"), (8, "none")])
def test_tree_and_its_gradient(leaves, activation):
  params, rng = random_params(leaves), np.random.default_rng(1)
  rows = rng.normal(size=(4, 5))
  expected = naive_tree(params, rows, activation)
  weights = jax.tree.map(lambda x: rng.normal(size=x.shape), expected)
  tree = RegressionTree(leaves, 3, activation)
  total = lambda answer: sum((a * w).sum() for a, w in zip(jax.tree.leaves(answer), jax.tree.leaves(weights)))

  def ours(params):
    answer = tree.apply({"params": params}, jnp.asarray(rows, jnp.float32))
    return total(answer), answer
  gradients, answer = jax.tree.map(np.asarray, jax.jit(jax.grad(ours, has_aux=True))(single(params)))
  assert [level.shape for level in answer[0]] == [(4, 2 ** i) for i in range(1, leaves.bit_length())]
  for a, b in zip(jax.tree.leaves(answer), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
  for array, (path, gradient) in zip(jax.tree.leaves(params), jax.tree_util.tree_leaves_with_path(gradients)):
    for i in list(np.ndindex(array.shape))[:: max(1, array.size // 7)]:
      value = array[i]
      array[i] = value + 1e-6
      above = total(naive_tree(params, rows, activation))
      array[i] = value - 1e-6
      difference = (above - total(naive_tree(params, rows, activation))) / 2e-6
      array[i] = value
      np.testing.assert_allclose(gradient[i], difference, atol=5e-5, rtol=1e-5, err_msg=f"{path} {i}")


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_probabilities_of_children_sum_to_their_parents(scale):
  """Also where the logits are in the tens of thousands: log-probabilities and gradients stay finite."""
  params = single(random_params(16))
  for name in params:
    if name.startswith("level_"):
      kernel = params[name]["kernel"]
      params[name]["kernel"] = kernel.at[:, -2:].multiply(scale)
  rows = jnp.asarray(np.random.default_rng(2).normal(size=(6, 5)), jnp.float32)
  tree = RegressionTree(16, 3)

  def total(params):
    levels, leaves = tree.apply({"params": params}, rows)
    uncertain = sum(regression_tree.log_one_minus_exp(level).sum() for level in levels)
    return uncertain + sum(level.sum() for level in levels) + leaves.sum(), (levels, leaves)
  (value, (levels, leaves)), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
  assert np.isfinite(value) and all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
  parent = np.ones((6, 1))
  for level in levels:
    assert np.isfinite(level).all() and (np.asarray(level) <= 0).all()
    np.testing.assert_allclose(np.exp(level).reshape(6, -1, 2).sum(axis=-1), parent, atol=1e-5)
    parent = np.exp(level)
  np.testing.assert_allclose(parent.sum(axis=1), 1, atol=1e-5)
  assert (np.asarray(leaves) >= 0).all() and (np.asarray(leaves) <= 1).all()


def test_bfloat16():
  params = jax.tree.map(lambda x: x / 3, single(random_params(8, width=40, hidden=16)))
  rows = jnp.asarray(np.random.default_rng(3).normal(size=(5, 40)), jnp.float32)
  (whole, exact), (half, rough) = (jax.jit(RegressionTree(8, 16, dtype=dtype).apply)({"params": params}, rows)
                                   for dtype in (jnp.float32, jnp.bfloat16))
  for a, b in zip([*half, rough], [*whole, exact]):
    assert a.dtype == b.dtype == jnp.float32
    np.testing.assert_allclose(a, b, atol=0.02 * max(1.0, float(jnp.abs(b).max())))
  assert not np.array_equal(rough, exact)


def test_initial_weights():
  """Uniform in +-1/sqrt(fan in), every node its own."""
  params = RegressionTree(8, 64).init(jax.random.key(0), jnp.zeros((1, 100)))["params"]
  assert list(params) == ["first", "level_0", "level_1", "level_2", "leaves"]
  for name, nodes, fan_in in (("first", 1, 100), ("level_2", 4, 64), ("leaves", 8, 64)):
    for value in map(np.asarray, params[name].values()):
      assert len(value) == nodes == len(np.unique(value, axis=0))
      assert 0.5 / fan_in ** 0.5 < np.abs(value).max() <= 1 / fan_in ** 0.5
  np.testing.assert_allclose(np.asarray(params["level_2"]["kernel"]).std(), 1 / 64 ** 0.5 / 3 ** 0.5, rtol=0.02)


@pytest.mark.parametrize("leaves,activation,message", [
    (3, "none", "num_leaves=3 must be a power of two, 2 or more"), (1, "none", "num_leaves=1 must be a power"),
    (0, "none", "num_leaves=0 must be"), (4, "tanh", "activation='tanh' is unknown; use 'sigmoid' or 'none'")])
def test_a_tree_that_cannot_be(leaves, activation, message):
  with pytest.raises(ValueError, match=message):
    RegressionTree(leaves, 3, activation).init(jax.random.key(0), jnp.zeros((1, 4)))


# Groups


def draw_differences(kind, seed=0):
  rng = np.random.default_rng(seed)
  scores = rng.normal(size=40) if kind == "distinct" else rng.integers(0, 4, 40) / 2
  return np.subtract.outer(scores, scores)[~np.eye(40, dtype=bool)].astype(np.float32)


@pytest.mark.parametrize("leaves", [2, 8, 32])
def test_borders_cut_equal_counts(leaves):
  """Eq. 5: every group holds the same number of training differences, up to one."""
  differences = np.random.default_rng(0).normal(size=1001).astype(np.float32)
  bounds = group_borders(differences, leaves)
  assert (bounds[1:, 0] == bounds[:-1, 1]).all() and (bounds[:, 0] < bounds[:, 1]).all()
  assert (bounds[0, 0], bounds[-1, 1]) == (differences.min(), differences.max())
  counts = np.asarray(group_of(jnp.asarray(differences), jnp.asarray(bounds))).sum(axis=0)
  equal = np.diff(1000 * np.arange(leaves + 1) // leaves)
  assert equal.max() - equal.min() <= 1
  equal[[0, -1]] += 1                                                     # both ends of the range are inside
  equal[(bounds[:, 0] < 0) & (bounds[:, 1] >= 0)] -= 1                    # where the closed side changes
  np.testing.assert_array_equal(counts, equal)


@pytest.mark.parametrize("kind", ["distinct", "ties"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_difference_is_in_exactly_one_group(kind, symmetric):
  """On borders, beside them, far outside, and where ties leave groups without width."""
  differences = draw_differences(kind)
  bounds = group_borders(differences, 16, symmetric=symmetric, limits=(0, 5) if symmetric else None)
  assert (bounds[:, 0] == bounds[:, 1]).any() == (kind == "ties")
  edges = bounds.ravel()
  beside = np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))
  asked = np.concatenate([differences, edges, *beside, np.float32([-100, -0.0, 0, 1e-30, 100])])
  asked = asked[(asked == 0) | (np.abs(asked) > 1e-37)]         # XLA takes smaller numbers for 0
  group = np.asarray(group_of(jnp.asarray(asked), jnp.asarray(bounds)))
  np.testing.assert_array_equal(group.sum(axis=1), 1)
  chosen = bounds[group.argmax(axis=1)]
  held = (chosen[:, 0] <= asked) & (asked <= chosen[:, 1])
  assert held[np.abs(asked) < np.abs(edges).max()].all()
  first = np.asarray(group_of(jnp.asarray(asked), jnp.asarray(bounds), "first"))
  assert (first <= group).all() and not first[np.abs(asked) == 100].any()
  if symmetric:                                       # of a difference and its negative the groups are mirrored
    np.testing.assert_array_equal(np.asarray(group_of(jnp.asarray(-asked[asked != 0]), jnp.asarray(bounds))),
                                  group[asked != 0][:, ::-1])


def test_ties_on_borders():
  """[left, right) from zero on, (left, right] below."""
  bounds = jnp.array([[-3.0, -1], [-1, -1], [-1, 0], [0, 0], [0, 2], [2, 2], [2, 5]])
  asked = jnp.array([-3.0, -1, 0, -0.0, 2, 5])
  assert group_of(asked, bounds).argmax(axis=1).tolist() == [0, 0, 4, 4, 6, 6]
  assert group_of(asked, bounds, "first").sum(axis=1).tolist() == [0, 1, 1, 1, 1, 0]


def test_places_and_what_a_leaf_says_are_inverse():
  bounds = jnp.asarray(group_borders(draw_differences("distinct"), 8))
  asked = jnp.asarray(draw_differences("distinct", seed=1))
  group, places = group_of(asked, bounds), within_group(asked, bounds)
  np.testing.assert_allclose(decode(jnp.log(group), places, bounds), asked, atol=1e-5)
  inside = (asked >= bounds[0, 0]) & (asked <= bounds[-1, 1])
  within = np.asarray((group * places).sum(axis=1))[inside]
  assert (within >= 0).all() and (within <= 1).all() and within.std() > 0.1


def test_groups_without_width():
  """Finite places and gradients; a leaf says its border, or border + regression as published."""
  bounds = jnp.array([[-1.0, 0], [0, 0], [0, 2]])
  asked = jnp.array([-1.0, 0, 0.5, 7])
  places, back = jax.vjp(lambda d, b: within_group(d, b), asked, bounds)
  np.testing.assert_array_equal(places[:, 1], 0)
  assert all(np.isfinite(x).all() for x in (places, *back(jnp.ones_like(places))))
  log_p, said = jnp.log(jnp.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]])), jnp.full((2, 3), 0.25)
  np.testing.assert_allclose(decode(log_p, said, bounds), [0, -0.75])               # of equal leaves the first
  np.testing.assert_allclose(decode(log_p, said, bounds, "offset"), [0.25, -0.75])


def test_no_differences():
  with pytest.raises(ValueError, match="groups of score differences need training pairs; there is none"):
    group_borders(np.zeros(0, np.float32), 4)


def test_log_one_minus_exp():
  x = np.concatenate([-np.logspace(-6, 2, 50), [-np.log(2)]])
  exact = np.where(x > -1, np.log(-np.expm1(x)), np.log1p(-np.exp(x)))
  solve = jax.jit(jax.vmap(jax.value_and_grad(regression_tree.log_one_minus_exp)))
  value, gradient = solve(np.float32(x))
  np.testing.assert_allclose(value, exact, rtol=1e-5, atol=1e-30)
  np.testing.assert_allclose(gradient, np.exp(x) / np.expm1(x), rtol=1e-4, atol=1e-30)
  value, gradient = solve(np.float32([0.0, -1e-8, -1e4, -np.inf]))
  assert np.isfinite(value).all() and np.isfinite(gradient).all()
  assert -17 < value[0] < -15 and value[2] == 0


@pytest.mark.parametrize("name", ["first_layer.0.weight", "reg_layer.bias", "feature_layers.0.0.weight"])
def test_torch_state_that_lacks_an_entry(name):
  state = interop.regression_tree_to_torch(single(random_params(4)))
  assert sorted(state) == sorted(f"{layer}.{kind}" for kind in ("weight", "bias") for layer in (
      "first_layer.0", "feature_layers.0.0", "feature_layers.1.0", "clf_layers.0", "clf_layers.1", "reg_layer"))
  del state[name]
  with pytest.raises(ValueError, match=f"the tree lacks '{name}'; found clf_layers.0.bias"):
    interop.regression_tree_from_torch(state)
