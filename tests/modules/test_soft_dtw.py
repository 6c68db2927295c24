"""Soft-DTW against published values, slow float64 references, every path, differences, and what must hold anyway."""

import functools
import itertools

import chex
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from jax.test_util import check_grads

from jaxskill.modules.soft_dtw import (
  hard_alignment,
  pairwise_squared_distance,
  passes,
  soft_alignment,
  soft_dtw,
  soft_dtw_divergence,
  wavefront,
)
from tests.programs import rounded

pytestmark = pytest.mark.usefixtures("quick_compile")
IMPLEMENTATIONS = ("scan", "checkpointed")
SIZES = [(1, 1), (1, 6), (6, 1), (5, 7), (33, 20)]


@functools.cache
def value_and_alignment(implementation="scan", banded=False):
  """Compiled (cost [B, N, M], gamma, lengths [B, 2], bandwidth [B] or for all) -> [B], [B, N, M]."""
  def single(cost, gamma, lengths, bandwidth):
    options = dict(lengths=tuple(lengths), bandwidth=bandwidth if banded else None, implementation=implementation)
    return jax.value_and_grad(soft_dtw)(cost, gamma, **options)
  solve = jax.jit(jax.vmap(single, in_axes=(0, None, 0, 0)))
  return lambda cost, gamma, lengths, bandwidth: jax.tree.map(
      np.asarray, solve(cost, gamma, lengths, np.broadcast_to(bandwidth, len(cost))))


@functools.cache
def hard(banded=False):
  """Compiled (cost [B, N, M], lengths [B, 2], bandwidth) -> [B, N, M]."""
  single = lambda cost, lengths, bandwidth: hard_alignment(cost, lengths=tuple(lengths),
                                                           bandwidth=bandwidth if banded else None)
  return jax.jit(jax.vmap(single, in_axes=(0, 0, None)))


def uniform(*shape, seed=0, scale=1.0):
  return (scale * np.random.default_rng(seed).uniform(size=shape)).astype(np.float32)


def whole(cost):
  return np.broadcast_to(np.array(cost.shape[1:]), (len(cost), 2))


def naive(cost, gamma, bandwidth=None, *, hard=False):
  """-> value, expected alignment (hard: best path) of one cost matrix, cell by cell in float64."""
  n, m = cost.shape
  totals = np.full((n + 1, m + 1), np.inf)
  totals[0, 0] = 0
  steps = np.zeros((n + 2, m + 2, 3))         # probabilities of having come diagonally, from above, from the left
  for i, j in itertools.product(range(1, n + 1), range(1, m + 1)):
    if bandwidth is not None and abs(i - j) > bandwidth:
      continue
    before = np.array([totals[i - 1, j - 1], totals[i - 1, j], totals[i, j - 1]])
    weights = np.exp((before.min() - before) / gamma)
    if hard:
      weights = np.eye(3)[before.argmin()]
    totals[i, j] = np.float64(cost[i - 1, j - 1]) + before.min() - gamma * np.log(weights.sum())
    steps[i, j] = weights / weights.sum()
  expected = np.zeros((n + 2, m + 2))
  for i, j in itertools.product(range(n, 0, -1), range(m, 0, -1)):
    expected[i, j] = ((i, j) == (n, m)) + sum(expected[i + a, j + b] * steps[i + a, j + b, s]
                                              for s, (a, b) in enumerate([(1, 1), (1, 0), (0, 1)]))
  return totals[n, m], expected[1:-1, 1:-1]


def paths(n, m):
  """All alignment paths of an N x M matrix, each a 0/1 matrix."""
  if n == m == 1:
    return [np.ones((1, 1))]
  found = []
  for a, b in ((n - 1, m), (n, m - 1), (n - 1, m - 1)):
    for path in paths(a, b) if min(a, b) else ():
      grown = np.pad(path, ((0, n - a), (0, m - b)))
      grown[-1, -1] = 1
      found.append(grown)
  return found


def tolerance(gamma):
  """What golden/README.md allows in float32 for the alignment."""
  return 1e-3 if gamma < 0.1 else 2e-4 if gamma == 0.1 else 3e-5


def assert_values(values, expected, gamma, size):
  """rtol 1e-5, and atol by gamma: a value is a sum of costs less gamma times the logarithm of (softly) the number of
  paths. Where the two cancel, the float32 rounding of the N + M terms of size gamma is left."""
  np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6 * gamma * sum(size))


def cases(golden):
  """(size, gamma, key) of a golden file."""
  keys = {key.rsplit("/", 1)[0] for key in golden if key.endswith("/E")}
  assert keys
  return sorted((key.split("/")[0], float(key.split("/g")[1]), key) for key in keys)


WHOLE = pytest.mark.golden("softdtw*", without=("band", "brute"))


@WHOLE
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_golden_values_alignments_and_lengths(golden, golden_name, implementation):
  file, solve = golden(golden_name), value_and_alignment(implementation)
  for size, gamma, key in cases(file):
    cost, atol = file[f"{size}/cost"], tolerance(gamma)
    value, alignment = solve(cost, gamma, whole(cost), 0)
    assert_values(value, file[f"{key}/value_f64"], gamma, cost.shape[1:])
    np.testing.assert_allclose(alignment, file[f"{key}/E"], atol=atol)
    np.testing.assert_allclose((alignment * cost).sum(axis=(1, 2)), file[f"{key}/sharp_value_f64"], rtol=1e-4)
    lengths = np.stack([file[f"{size}/len_x"], file[f"{size}/len_y"]], axis=1)
    real = np.arange(cost.shape[1])[:, None] < lengths[:, 0, None, None]
    real = real & (np.arange(cost.shape[2]) < lengths[:, 1, None, None])
    value, alignment = solve(np.where(real, cost, np.nan), gamma, lengths, 0)
    assert_values(value, file[f"{key}/varlen_value_f64"], gamma, cost.shape[1:])
    np.testing.assert_allclose(alignment, file[f"{key}/varlen_E"], atol=atol)


@WHOLE
def test_golden_gradients_by_the_series_and_divergence(golden, golden_name):
  """Series of all sizes are padded to the longest, so that they share two programs."""
  file = golden(golden_name)
  most_rows = max(len(value[0]) for key, value in file.items() if key.endswith(("/x", "/y")))
  by_series = lambda x, y, gamma, lengths: soft_dtw(pairwise_squared_distance(x, y), gamma, lengths=lengths)
  by_divergence = lambda x, y, gamma, lengths: soft_dtw_divergence(x, y, gamma, lengths=lengths)

  def compiled(function, places):
    run = jax.jit(jax.vmap(jax.value_and_grad(function, argnums=places), in_axes=(0, 0, None, None)))

    def call(x, y, gamma):
      wide = [np.pad(one, ((0, 0), (0, most_rows - one.shape[1]), (0, 0))) for one in (x, y)]
      value, slopes = jax.tree.map(np.asarray, run(*wide, gamma, (x.shape[1], y.shape[1])))
      for one, slope in zip((x, y), slopes):
        assert not slope[:, one.shape[1]:].any()
      return value, [slope[:, :one.shape[1]] for one, slope in zip((x, y), slopes)]
    return call
  terms, divergence = compiled(by_series, (0, 1)), compiled(by_divergence, (0,))
  for size in sorted({key.split("/")[0] for key in file}):
    x, y = file[f"{size}/x"], file[f"{size}/y"]
    for form in ("fast", "safe"):
      np.testing.assert_allclose(jax.vmap(functools.partial(pairwise_squared_distance, form=form))(x, y),
                                 file[f"{size}/cost"], rtol=1e-5, atol=1e-5)
    for gamma in sorted({gamma for other, gamma, _ in cases(file) if other == size}):
      key, atol = f"{size}/g{gamma:g}", 4 * tolerance(gamma)
      for gradient, name in zip(terms(x, y, gamma)[1], ("grad_x", "grad_y")):
        np.testing.assert_allclose(gradient, file[f"{key}/{name}"], atol=atol)
      value, (gradient,) = divergence(x, y, gamma)
      most = max(np.abs(terms(a, b, gamma)[0]).max() for a, b in ((x, y), (x, x), (y, y)))
      np.testing.assert_allclose(value, file[f"{key}/divergence_value_f64"], atol=1e-5 * most)
      np.testing.assert_allclose(gradient, file[f"{key}/divergence_grad_x"], atol=2 * atol)
      half, _ = divergence(x / np.sqrt(2), y / np.sqrt(2), gamma)
      np.testing.assert_allclose(half, file[f"{key}/divergence_half_value_f64"], atol=1e-5 * most)


@pytest.mark.golden("softdtw_band*")
@pytest.mark.parametrize("implementation", [pytest.param("scan", marks=pytest.mark.slow), "checkpointed"])
def test_golden_band(golden, golden_name, implementation):
  file, solve = golden(golden_name), value_and_alignment(implementation, banded=True)
  for size, gamma, key in cases(file):
    cost = file[f"{size}/cost"]
    value, alignment = solve(cost, gamma, whole(cost), int(key.split("/bw")[1].split("/")[0]))
    assert_values(value, file[f"{key}/value_f64"], gamma, cost.shape[1:])
    np.testing.assert_allclose(alignment, file[f"{key}/E"], atol=tolerance(gamma))


@pytest.mark.golden("softdtw_brute*")
def test_golden_every_path_and_the_best_one(golden, golden_name):
  file = golden(golden_name)
  found = cases(file)
  costs, lengths = padded(*(file[f"{size}/cost"] for size, _, _ in found))
  for gamma in {gamma for _, gamma, _ in found} | {1e6}:
    values, alignments = value_and_alignment()(costs, gamma, lengths, 0)
    for (size, smoothing, key), cost, value, (n, m), alignment in zip(found, costs, values, lengths, alignments):
      if gamma == 1e6:
        np.testing.assert_allclose(alignment[:n, :m], file[f"{size}/mean_alignment"], atol=1e-5)
      if gamma != smoothing:
        continue
      alignment, every = alignment[:n, :m], np.array(paths(n, m))
      assert len(every) == file[f"{size}/n_paths"]
      costs_of = (every * cost[:n, :m].astype(np.float64)).sum(axis=(1, 2))
      weights = np.exp((costs_of.min() - costs_of) / gamma)
      for true_value, true_alignment in (
          (file[f"{key}/value_f64"], file[f"{key}/E"]),
          (costs_of.min() - gamma * np.log(weights.sum()), np.tensordot(weights / weights.sum(), every, 1))):
        assert_values(value, true_value, gamma, (n, m))
        np.testing.assert_allclose(alignment, true_alignment, atol=tolerance(gamma))
  for (size, _, _), path, (n, m) in zip(found, hard()(costs, lengths, 0), lengths):
    np.testing.assert_array_equal(path[:n, :m], file[f"{size}/hard_path"])


@WHOLE
def test_golden_hard_path(golden, golden_name):
  file = golden(golden_name)
  for size in sorted({key.split("/")[0] for key in file}):
    cost = file[f"{size}/cost"]
    path = hard()(cost, whole(cost), 0)
    np.testing.assert_array_equal(path, file[f"{size}/hard_path"])
    np.testing.assert_allclose((path * cost).sum(axis=(1, 2)), file[f"{size}/hard_value_f64"], rtol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_equals_the_recursion_cell_by_cell(implementation):
  """Pairs of all sizes in one batch."""
  sizes = [size for size in SIZES for _ in range(2)]
  costs = [uniform(n, m, seed=number) for number, (n, m) in enumerate(sizes)]
  batch, lengths = padded(*costs, size=(33, 20))
  widths = np.array([max(2, abs(n - m)) for n, m in sizes])
  for gamma, bandwidths in ((1e-2, None), (1.0, None), (0.1, widths)):
    solve = value_and_alignment(implementation, banded=bandwidths is not None)
    values, alignments = solve(batch, gamma, lengths, 0 if bandwidths is None else bandwidths)
    for pair, ((n, m), cost) in enumerate(zip(sizes, costs)):
      true_value, true_alignment = naive(cost, gamma, None if bandwidths is None else bandwidths[pair])
      np.testing.assert_allclose(values[pair], true_value, rtol=1e-5, atol=1e-6)
      np.testing.assert_allclose(alignments[pair, :n, :m], true_alignment, atol=2e-6)
      assert alignments[pair].sum() == pytest.approx(true_alignment.sum(), rel=1e-5)      # nothing on padding


def test_hard_path_is_the_recursion_s():
  costs = [np.round(uniform(n, m, scale=4)) for n, m in [(1, 1), (1, 6), (6, 1), (5, 7), (12, 12), (12, 9)]]    # ties
  for bandwidth in (None, 5):
    for cost, path in zip(costs, hard(bandwidth is not None)(*padded(*costs), bandwidth)):
      n, m = cost.shape
      path = np.asarray(path)[:n, :m]
      np.testing.assert_allclose((path * cost).sum(), naive(cost, 1.0, bandwidth, hard=True)[0], rtol=1e-6)
      assert path[0, 0] == path[-1, -1] == 1 and set(np.unique(path)) <= {0, 1}
      steps = np.diff(np.stack(np.nonzero(path)), axis=1)      # row by row: a chain of single steps
      assert ((steps >= 0) & (steps <= 1)).all() and (steps.sum(axis=0) > 0).all()
  slope = jax.jit(jax.grad(lambda cost: (hard_alignment(cost) * uniform(5, 7)).sum()))
  assert not np.asarray(slope(uniform(5, 7))).any()


@pytest.mark.parametrize("n", [32, 128, pytest.param(512, marks=pytest.mark.slow)])
def test_gradients_are_exact_where_costs_are_thousands_of_gammas(n):
  """float32 sums alone are off by 1e-4 to 1e-3 here, and peers that rebuild probabilities from them by percents."""
  rng, gamma = np.random.default_rng(n), 0.01
  walks = np.cumsum(rng.standard_normal((2, n)), axis=1)
  costs = np.stack([rng.uniform(0.5, 1.5, (n, n)), (walks[0][:, None] - walks[1]) ** 2,
                    np.round(rng.uniform(0, 3, (n, n))) + 1e-3 * rng.uniform(size=(n, n))])      # noise, walk, ties
  shortest = (np.asarray(hard()(costs, whole(costs), 0)) * costs).sum(axis=(1, 2), keepdims=True)
  scaled = np.concatenate([costs * (total * gamma / shortest) for total in (1e4, 1e5)]).astype(np.float32)   # R / gamma
  values, alignments = value_and_alignment()(scaled, gamma, whole(scaled), 0)
  with jax.enable_x64(True):
    true_values, true_alignments = value_and_alignment()(scaled.astype(np.float64), gamma, whole(scaled), 0)
  assert true_values.dtype == np.float64
  np.testing.assert_allclose(values, true_values, rtol=1e-6)
  np.testing.assert_allclose(alignments, true_alignments, atol=1e-4)


PARTS = dict(lengths=(4, 3), bandwidth=1)


@pytest.mark.parametrize("implementation,options", [
    ("scan", PARTS), ("checkpointed", {}), pytest.param("scan", {}, marks=pytest.mark.slow),
    pytest.param("checkpointed", PARTS, marks=pytest.mark.slow)])
def test_first_and_second_derivatives_are_those_of_differences(implementation, options):
  weights, options = np.random.default_rng(1).standard_normal((5, 4)), options | dict(implementation=implementation)
  with jax.enable_x64(True):
    cost = np.random.default_rng(0).uniform(size=(5, 4))
    check_grads(jax.jit(functools.partial(soft_dtw, **options)), (cost, 0.3), order=2, modes=["rev"])
    weighted = jax.jit(lambda cost, gamma: (weights * soft_alignment(cost, gamma, **options)).sum())
    check_grads(weighted, (cost, 0.3), order=1, modes=["rev"])


def test_a_third_derivative_is_refused():
  with pytest.raises(NotImplementedError, match="differentiable twice"):
    third = jax.grad(lambda c: jax.grad(lambda c: jnp.square(soft_alignment(c, 0.3)).sum())(c).sum())
    jax.eval_shape(third, uniform(3, 2))


def test_more_than_the_exponents_hold_is_not_a_number():
  value = jax.jit(lambda cost: soft_dtw(cost, 1.0))
  np.testing.assert_allclose(value(np.full((20, 20), 3e7, np.float32)), 6e8, rtol=1e-6)
  assert np.isnan(value(np.full((20, 20), 4e7, np.float32)))


SPOILED = {np.nan: np.nan, -np.inf: -np.inf, -1e30: np.nan}        # a cost: what soft-DTW then is
ENDS, WIDTH = (5, 6), 4                                             # lengths and band of 7 x 8 costs
INSIDE = [(0, 0), (4, 5), (2, 3), (0, 4), (4, 0)]                   # places that paths can visit


def check_spoiled_pairs(implementation, cases=tuple(itertools.product(SPOILED, INSIDE))):
  """Bad costs at several places: value, slopes and alignments of their pairs are spoiled, those of the last are its own."""
  rows, columns = np.indices((7, 8))
  real = (rows < ENDS[0]) & (columns < ENDS[1]) & (abs(rows - columns) <= WIDTH)
  cost = np.where(real, uniform(len(cases) + 1, 7, 8), np.float32(np.nan))
  for costs, (bad, place) in zip(cost, cases):
    costs[place] = bad
  options = dict(lengths=ENDS, bandwidth=WIDTH, implementation=implementation)

  @jax.jit
  @jax.vmap
  def solve(cost):
    value, slopes = jax.value_and_grad(lambda c, gamma: soft_dtw(c, gamma, **options), (0, 1))(cost, 0.1)

    def squared(cost):
      soft = soft_alignment(cost, 0.1, **options)
      return jnp.square(soft).sum(), soft
    second, soft = jax.grad(squared, has_aux=True)(cost)
    return soft_dtw(cost, 0.1, **options), value, slopes, soft, second, hard_alignment(cost, **options)
  forward, value, (slope, by_gamma), soft, second, hard = solve(cost)
  for values in (forward, value):
    np.testing.assert_array_equal(values[:-1], [SPOILED[bad] for bad, _ in cases])
  assert np.isnan(by_gamma[:-1]).all()
  finite = np.array([np.isfinite(bad) for bad, _ in cases])         # a hard path needs no gamma, and is exact
  for matrix in (slope, soft, second, np.where(finite[:, None, None], np.where(real, np.nan, 0), hard[:-1])):
    np.testing.assert_array_equal(np.isnan(matrix[:len(cases)]), np.broadcast_to(real, (len(cases), 7, 8)))
    assert not np.asarray(matrix)[:, ~real].any() and np.isfinite(matrix[len(cases):]).all()
  true_value, true_slope = naive(cost[-1, :5, :6], 0.1, WIDTH)
  np.testing.assert_allclose(value[-1], true_value, rtol=1e-5)
  np.testing.assert_allclose(slope[-1, :5, :6], true_slope, atol=1e-5)
  np.testing.assert_array_equal(hard[-1, :5, :6], naive(cost[-1, :5, :6], 1.0, WIDTH, hard=True)[1])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_cost_that_is_no_number_spoils_its_pair_alone(implementation):
  check_spoiled_pairs(implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_no_path_visits_an_infinite_cost(implementation):
  """And it is no fault; where none is left, there is no value."""
  cost = uniform(6, 5)
  solve = jax.jit(jax.value_and_grad(functools.partial(soft_dtw, gamma=0.3, implementation=implementation)))
  for place in ((2, 2), (0, 4), (3, 3)):
    cost[place] = np.inf
    value, slope = solve(cost)
    true_value, true_slope = naive(cost, 0.3)
    np.testing.assert_allclose(value, true_value, rtol=1e-6)
    np.testing.assert_allclose(slope, true_slope, atol=1e-6)
    path = hard()(*padded(cost), 0)[0, :6, :5]
    np.testing.assert_array_equal(path, naive(cost, 1.0, hard=True)[1])
  cost[0, 0] = np.inf
  value, slope = solve(cost)
  assert np.isnan(value) and np.isnan(slope).any()


def test_segments_that_are_no_numbers_spoil_the_divergence():
  x, y = uniform(9, 4), uniform(7, 4, seed=1)
  divergence = jax.jit(jax.value_and_grad(soft_dtw_divergence, (0, 1)), static_argnames=("form",))
  for bad in (np.nan, np.inf, -np.inf):
    x[3, 1] = bad
    for form in ("fast", "safe"):
      value, slopes = divergence(x, y, 0.1, form=form)
      assert np.isnan(value) and all(np.isnan(slope).any() for slope in slopes)
  value, slopes = divergence(x, y, 0.1, lengths=(3, 6))           # beyond the length it may be anything
  assert np.isfinite(value) and all(np.isfinite(slope).all() for slope in slopes)


def test_many_pairs_in_turns_and_long_ones_in_parts_are_each_pair_alone(monkeypatch):
  cost = uniform(5, 33, 40)
  lengths = np.array([[33, 40], [1, 40], [33, 1], [20, 13], [7, 39]])
  solve = lambda: jax.tree.map(np.asarray, jax.jit(jax.vmap(
      lambda c, l: jax.value_and_grad(soft_dtw)(c, 0.1, lengths=tuple(l))))(cost, lengths))
  whole_values, whole_slopes = solve()
  for module, name, size in ((passes, "_CELLS", 0), (passes, "_ROWS", 70), (wavefront, "_LONG", 20)):
    monkeypatch.setattr(module, name, size)
  for (value, slope), other, alignment in zip(zip(*solve()), whole_values, whole_slopes):
    np.testing.assert_allclose(value, other, rtol=1e-6)
    np.testing.assert_allclose(slope, alignment, atol=1e-6)


SLOW = pytest.mark.slow
CORNERS = [(1, 1, None, None), (1, 9, None, None), (9, 9, (1, 1), None), (9, 7, (1, 7), 6), (9, 9, None, 0),
           (9, 40, (9, 40), 31)]


@pytest.mark.parametrize("n,m,lengths,bandwidth,implementation", [
    *((*corner, "scan") for corner in CORNERS),
    *(pytest.param(*corner, "checkpointed", marks=() if corner in (CORNERS[0], CORNERS[3]) else SLOW)
      for corner in CORNERS)])
def test_corners_are_finite_and_exact(n, m, lengths, bandwidth, implementation):
  options = dict(lengths=lengths, bandwidth=bandwidth, implementation=implementation)
  rows, columns = lengths or (n, m)
  costs = np.stack([np.zeros((n, m)), np.full((n, m), 1e4), uniform(n, m, scale=1e4)]).astype(np.float32)
  outside = np.full(costs.shape, np.nan, np.float32)
  outside[:, :rows, :columns] = costs[:, :rows, :columns]

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None))
  def solve(cost, gamma):
    weighted = lambda c: (soft_alignment(c, gamma, **options) * uniform(n, m)).sum()
    value = functools.partial(soft_dtw, **options)
    return jax.value_and_grad(value, argnums=(0, 1))(cost, gamma), jax.grad(weighted)(cost)
  (values, (slopes, by_gamma)), second = jax.tree.map(np.asarray, solve(outside, 0.01))
  assert np.isfinite(by_gamma).all() and np.isfinite(second).all()
  for cost, value, slope in zip(costs, values, slopes):
    true_value, true_slope = naive(cost[:rows, :columns], 0.01, bandwidth)
    np.testing.assert_allclose(value, true_value, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slope[:rows, :columns], true_slope, atol=1e-5)
    assert not slope[rows:].any() and not slope[:, columns:].any()


def test_one_pair_of_segments_costs_their_distance():
  assert float(soft_dtw(np.full((1, 1), 4.0), 1.0)) == 4                         # not 8


def test_equal_series_have_no_slope():
  same = np.ones((9, 3), np.float32)
  for form in ("fast", "safe"):
    slope = jax.jit(jax.grad(lambda x, f=form: soft_dtw(pairwise_squared_distance(x, same, form=f), 0.01)))
    np.testing.assert_allclose(slope(same), 0, atol=1e-4)


def test_distance_is_never_negative_and_the_safe_form_exact_at_equal_segments():
  x = 100 + uniform(20, 64)
  assert (pairwise_squared_distance(x, x) >= 0).all()
  safe = functools.partial(pairwise_squared_distance, form="safe")
  assert not np.diag(safe(x, x)).any()
  true = np.square(x[:, None].astype(np.float64) - x[None]).sum(axis=-1)
  np.testing.assert_allclose(safe(x, x), true, rtol=1e-5)
  np.testing.assert_allclose(pairwise_squared_distance(x, x), true, atol=1e-6 * np.square(x).sum(axis=1).max())
  gradient = jax.grad(lambda x: safe(x, x).sum())(x)
  assert np.isfinite(gradient).all()
  half = pairwise_squared_distance(x, x + 3, dtype=jnp.bfloat16)
  assert half.dtype == jnp.float32 and not np.array_equal(half, pairwise_squared_distance(x, x + 3))


def test_derivatives_of_the_fast_distance_are_those_of_the_distance():
  x, y, weights = 10 + uniform(7, 3), 10 + uniform(5, 3), uniform(7, 5)
  x[2] = y[1]
  x[4] = y[3] + 3e-3                              # where the fast form rounds to zero or below, it has a slope too
  total = lambda x, y, form: (weights * pairwise_squared_distance(x, y, form=form)).sum()
  slopes = {form: jax.jit(jax.grad(functools.partial(total, form=form), (0, 1)))(x, y) for form in ("fast", "safe")}
  for fast, safe in zip(slopes["fast"], slopes["safe"]):
    np.testing.assert_allclose(fast, safe, atol=5e-5)
  with jax.enable_x64(True):
    x, y = x.astype(np.float64), y.astype(np.float64)
    curved = jax.jit(lambda x, y: jnp.sin(pairwise_squared_distance(x, y)))
    check_grads(curved, (x, y), order=2, modes=["rev"])
  assert not rounded(jax.grad(lambda x, y: jnp.sin(pairwise_squared_distance(x, y)).sum()), uniform(7, 3), uniform(5, 3))


def test_vmap_is_the_loop_and_traces_once():
  cost, lengths = uniform(2, 3, 8, 6), np.array([[[8, 6], [1, 6], [5, 2]], [[8, 1], [1, 1], [7, 6]]])
  bands = np.array([[0, 6, 3], [2, 0, 0]])

  @chex.assert_max_traces(n=1)
  def single(cost, lengths, bandwidth):
    return soft_dtw(cost, 0.1, lengths=tuple(lengths), bandwidth=bandwidth)
  mapped = jax.jit(jax.vmap(jax.vmap(jax.value_and_grad(single))))
  for _ in range(2):
    values, slopes = mapped(cost, lengths, bands)
  for index in np.ndindex(2, 3):
    n, m = map(int, lengths[index])
    value, slope = naive(cost[index][:n, :m], 0.1, max(bands[index], abs(n - m)))      # a narrow band is widened
    np.testing.assert_allclose(values[index], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slopes[index][:n, :m], slope, atol=1e-6)
    np.testing.assert_allclose(slopes[index].sum(), slope.sum(), rtol=1e-5)


def test_what_the_alignment_promises():
  solve = jax.jit(jax.vmap(lambda c: soft_alignment(c, 0.3, lengths=(5, 6))))
  alignment = np.asarray(solve(uniform(4, 7, 6)))
  np.testing.assert_allclose(alignment[:, 0, 0], 1, rtol=1e-5)
  np.testing.assert_allclose(alignment[:, 4, 5], 1)
  assert alignment.min() >= 0 and alignment.max() <= 1 + 1e-6
  assert (alignment[:, :5].sum(axis=2) > 1 - 1e-5).all() and (alignment[:, :5].sum(axis=1) > 1 - 1e-5).all()
  assert not alignment[:, 5:].any()


def test_types():
  cost = uniform(4, 5)
  of = lambda function, *arguments: jax.eval_shape(function, *arguments).dtype
  assert of(soft_dtw, cost.astype(jnp.bfloat16), 0.1) == jnp.float32
  assert of(soft_dtw, np.round(cost).astype(int), 0.1) == jnp.float32
  assert of(soft_alignment, cost, np.float64(0.1)) == jnp.float32


def problem(most=9):
  """hypothesis: a cost matrix and a gamma."""
  def build(n, m, seed, gamma):
    return uniform(n, m, seed=seed, scale=3), gamma
  size, seed = strategies.integers(1, most), strategies.integers(0, 2 ** 16)
  return strategies.builds(build, size, size, seed, strategies.sampled_from([0.01, 0.3, 2.0]))


def padded(*costs, size=(12, 12)):
  """Costs as one batch of fixed size (NaN on padding), so that all examples share one compiled program; lengths."""
  batch = np.full((max(3, len(costs)), *size), np.nan, np.float32)
  lengths = np.ones((len(batch), 2), np.int32)
  for i, cost in enumerate(costs):
    batch[i, : cost.shape[0], : cost.shape[1]], lengths[i] = cost, cost.shape
  batch[len(costs):, 0, 0] = 0
  return batch, lengths


def solve(*costs, gamma):
  batch, lengths = padded(*costs)
  return value_and_alignment()(batch, gamma, lengths, 0)


SETTINGS = hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)


@SETTINGS
@hypothesis.given(problem(), strategies.floats(-2, 2, width=32))
def test_properties_of_the_value(case, added):
  cost, gamma = case
  n, m = cost.shape
  (value, turned, _), _ = solve(cost, cost.T, gamma=gamma)
  assert np.isclose(value, turned, rtol=1e-5, atol=1e-5)                    # symmetry
  softer = solve(cost, gamma=1.5 * gamma)[0][0]
  assert softer <= value + 1e-5                                             # monotone in gamma
  hard = naive(cost, 1.0, hard=True)[0]
  most_paths = (n + m - 1) * np.log(3)                                      # a bound on the log of their number
  assert hard - gamma * most_paths - 1e-4 <= value <= hard + 1e-4
  shortest, longest = max(n, m) * added, (n + m - 1) * added                # all costs shifted: by steps of a path
  shifted = solve(cost + np.float32(added), gamma=gamma)[0][0]
  assert min(shortest, longest) - 1e-3 <= shifted - value <= max(shortest, longest) + 1e-3


@SETTINGS
@hypothesis.given(problem(), strategies.integers(0, 3), strategies.integers(0, 3))
def test_padding_with_lengths_is_slicing(case, more_rows, more_columns):
  cost, gamma = case
  n, m = cost.shape
  wide = np.pad(cost, ((0, more_rows), (0, more_columns)), constant_values=np.inf)
  (sliced, *_), (alignment, *_) = solve(cost, gamma=gamma)
  batch, lengths = padded(wide)
  lengths[0] = n, m
  values, alignments = value_and_alignment()(batch, gamma, lengths, 0)
  assert values[0] == sliced
  np.testing.assert_array_equal(alignments[0], alignment)
  true_value, true_alignment = naive(cost, gamma)
  np.testing.assert_allclose(sliced, true_value, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(alignment[:n, :m], true_alignment, atol=1e-5)


def test_divergence_is_zero_at_equal_series_and_ignores_padding():
  x, y = uniform(9, 4), uniform(7, 4, seed=1)
  divergence = jax.jit(jax.value_and_grad(soft_dtw_divergence), static_argnames=("form",))
  assert abs(float(divergence(x, x, 0.1, form="safe")[0])) < 1e-6
  there = divergence(x, y, 0.1)[0]
  assert float(there) > 0
  np.testing.assert_allclose(there, divergence(y, x, 0.1)[0], rtol=1e-4)
  value, slope = divergence(x[:5], y[:6], 0.1)
  x[5:], y[6:] = np.nan, np.inf
  padded_value, padded_slope = divergence(x, y, 0.1, lengths=(5, 6), bandwidth=9)
  np.testing.assert_allclose(padded_value, value, rtol=1e-5)
  np.testing.assert_allclose(padded_slope[:5], slope, atol=1e-5)
  assert not padded_slope[5:].any()


def test_checkpoints_need_less_memory():
  cost = jax.ShapeDtypeStruct((4, 256, 256), jnp.float32)
  used = {}
  for implementation in IMPLEMENTATIONS:
    total = lambda cost, i=implementation: jax.vmap(lambda c: soft_dtw(c, 0.1, implementation=i))(cost).sum()
    used[implementation] = jax.jit(jax.grad(total)).lower(cost).compile().memory_analysis().temp_size_in_bytes
  assert used["checkpointed"] < 0.9 * used["scan"]


@pytest.mark.parametrize("call,message", [
    (lambda c: soft_dtw(c[0], 1.0), r"shape \(5,\); expected a matrix"),
    (lambda c: soft_dtw(c[:0], 1.0), "not empty"),
    (lambda c: soft_dtw(c, 0.0), "gamma=0.0 must be above 0"),
    (lambda c: soft_dtw(c, float("nan")), "gamma=nan must be above 0"),
    (lambda c: soft_alignment(c, 1.0, lengths=(5, 5)), "n=5 of a series of 4 segments; expected 1 to 4"),
    (lambda c: soft_alignment(c, 1.0, lengths=(4, 0)), "m=0 of a series of 5"),
    (lambda c: hard_alignment(c, bandwidth=0), "bandwidth=0 leaves no path.* use 1 or more"),
    (lambda c: soft_dtw(c, 1.0, lengths=(1, 4), bandwidth=2), "differ by 3 segments"),
    (lambda c: soft_dtw(c[:, :4], 1.0, bandwidth=-1), "bandwidth=-1 leaves no path"),
    (lambda c: soft_dtw(c, 1.0, implementation="cuda"), "implementation='cuda' is unknown"),
    (lambda c: soft_dtw(c, 1.0, implementation="pallas"), "no kernel for a cpu"),
    (lambda c: pairwise_squared_distance(c, c, form="exact"), "form='exact' is unknown"),
    (lambda c: pairwise_squared_distance(c, c.T), r"x \(4, 5\) and y \(5, 4\)"),
    (lambda c: soft_dtw_divergence(c, c, 1.0, lengths=(4, 6)), "m=6 of a series of 4"),
    (lambda c: soft_dtw_divergence(c, c, -1.0), "gamma=-1.0"),
])
def test_bad_input_is_named(call, message, monkeypatch):
  monkeypatch.setattr(wavefront, "_device", lambda: ("cpu", ""))
  with pytest.raises(ValueError, match=message):
    call(uniform(4, 5))


@pytest.mark.parametrize("capability", ["8.0", "gfx90a"])
def test_a_gpu_without_a_kernel_is_named(capability, monkeypatch):
  monkeypatch.setattr(wavefront, "_device", lambda: ("gpu", capability))
  with pytest.raises(ValueError, match=f"no kernel for a GPU of compute capability {capability}"):
    soft_dtw(uniform(4, 5), 1.0, implementation="pallas")
