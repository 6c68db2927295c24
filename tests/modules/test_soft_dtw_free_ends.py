"""Free ends: every row is aligned with a piece of the columns, the softly best of all pieces."""

import functools
import itertools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies
from jax.test_util import check_grads

from jaxskill.modules.soft_dtw import hard_alignment, pairwise_squared_distance, soft_alignment, soft_dtw, wavefront
from tests.modules.test_soft_dtw_region import naive, slopes, uniform

pytestmark = pytest.mark.usefixtures("quick_compile")
IMPLEMENTATIONS = ("scan", "checkpointed")
ROOM = 6, 9
LENGTHS = np.array([[6, 9], [3, 9], [6, 3], [1, 7], [5, 1], [1, 1], [4, 4]])


def best_of_pieces(cost, gamma):
  """The definition: the soft minimum over all pieces of soft-DTW with a piece, in float64."""
  n, m = cost.shape
  values = [naive(cost[:, a:b], gamma, np.ones((n, b - a), bool)) for a, b in itertools.combinations(range(m + 1), 2)]
  return -gamma * np.logaddexp.reduce(-np.array(values) / gamma)


def cell_by_cell(cost, gamma):
  """The same by one recursion: a path may start in any cell of the first row, and end in any of the last."""
  n, m = cost.shape
  totals = np.full((n + 1, m + 1), np.inf)
  for i, j in np.ndindex(n, m):
    before = [totals[i, j], totals[i, j + 1], totals[i + 1, j], np.inf if i else 0.0]
    totals[i + 1, j + 1] = np.float64(cost[i, j]) - gamma * np.logaddexp.reduce(-np.array(before) / gamma)
  return -gamma * np.logaddexp.reduce(-totals[n, 1:] / gamma)


@functools.cache
def solver(implementation):
  """Compiled (cost [B, N, M], gamma, lengths [B, 2], weights [B, N, M]) -> value, its slope, soft and hard alignment,
  slope of the weighted alignment."""
  def single(cost, gamma, lengths, weights):
    options = dict(lengths=tuple(lengths), free_ends=True, implementation=implementation)
    weighted = lambda c: (weights * soft_alignment(c, gamma, **options)).sum()
    return (*jax.value_and_grad(soft_dtw)(cost, gamma, **options), soft_alignment(cost, gamma, **options),
            hard_alignment(cost, **options), jax.grad(weighted)(cost))
  return jax.jit(jax.vmap(single, in_axes=(0, None, 0, 0)))


def problem(seed=0):
  cost = np.full((len(LENGTHS), *ROOM), np.nan, np.float32)
  for one, (n, m) in zip(cost, LENGTHS):
    one[:n, :m] = uniform(n, m, seed=seed)
  return cost


def test_both_references_agree():
  for (n, m), gamma in itertools.product(LENGTHS, (0.01, 1.0)):
    cost = uniform(n, m)
    np.testing.assert_allclose(cell_by_cell(cost, gamma), best_of_pieces(cost, gamma), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_value_alignment_and_lengths(implementation):
  cost = problem()
  for gamma in (1e-2, 1.0):
    solved = jax.tree.map(np.asarray, solver(implementation)(cost, gamma, LENGTHS, np.zeros_like(cost)))
    for one, (n, m), value, *alignments in zip(cost, LENGTHS, *solved):
      real = one[:n, :m]
      np.testing.assert_allclose(value, cell_by_cell(real, gamma), rtol=1e-5, atol=1e-6)
      true_slope = slopes(lambda cost: cell_by_cell(cost, gamma), real)
      for alignment in alignments[:2]:
        np.testing.assert_allclose(alignment[:n, :m], true_slope, atol=1e-5)
        assert not alignment[n:].any() and not alignment[:, m:].any()
      assert (alignments[0][:n].sum(axis=1) > 1 - 1e-5).all()


def test_hard_path_is_of_the_best_piece():
  cost = problem(1)
  solved = solver("scan")(cost, 1.0, LENGTHS, np.zeros_like(cost))[3]
  for one, (n, m), path in zip(cost, LENGTHS, np.asarray(solved)):
    real, path = one[:n, :m], path[:n, :m]
    np.testing.assert_allclose((path * real).sum(), cell_by_cell(real, 1e-7), atol=1e-5)
    steps = np.diff(np.stack(np.nonzero(path)), axis=1)           # row by row: a chain of single steps
    assert path[0].any() and path[-1].any() and set(np.unique(path)) <= {0, 1}
    assert ((steps >= 0) & (steps <= 1)).all() and (steps.sum(axis=0) > 0).all()


@pytest.mark.parametrize("implementation", ["scan", pytest.param("checkpointed", marks=pytest.mark.slow)])
def test_first_and_second_derivatives_are_those_of_differences(implementation):
  weights = np.random.default_rng(1).standard_normal((4, 5))
  with jax.enable_x64(True):
    cost = np.random.default_rng(0).uniform(size=(4, 5))
    options = dict(lengths=(3, 5), free_ends=True, implementation=implementation)
    check_grads(jax.jit(functools.partial(soft_dtw, **options)), (cost, 0.3), order=2, modes=["rev"])
    weighted = jax.jit(lambda cost, gamma: (weights * soft_alignment(cost, gamma, **options)).sum())
    check_grads(weighted, (cost, 0.3), order=1, modes=["rev"])


@pytest.mark.parametrize("n,m", [(24, 40), pytest.param(40, 24, marks=pytest.mark.slow)])
def test_long_series_in_parts_are_exact_and_so_are_costs_of_thousands_of_gammas(monkeypatch, n, m):
  monkeypatch.setattr(wavefront, "_LONG", 16)
  solve, exact = (jax.jit(jax.value_and_grad(functools.partial(soft_dtw, free_ends=True, **options)))
                  for options in ({}, dict(implementation="checkpointed")))
  cost = uniform(n, m, seed=n)
  for gamma in (0.1, 1e-4):
    value, alignment = solve(cost, gamma)
    with jax.enable_x64(True):
      true_value, true_alignment = exact(cost.astype(np.float64), gamma)
    np.testing.assert_allclose(value, cell_by_cell(cost, gamma), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value, true_value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(alignment, true_alignment, atol=1e-4)


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True, database=None)
@hypothesis.given(strategies.integers(1, 6), strategies.integers(1, 9), strategies.integers(0, 2 ** 16),
                  strategies.sampled_from([0.01, 0.3, 2.0]))
def test_what_free_ends_promise(n, m, seed, gamma):
  cost = np.full((len(LENGTHS), *ROOM), np.nan, np.float32)
  cost[:] = uniform(*ROOM, seed=seed)
  lengths = np.array([[n, m], [n, m], [n, 1], *[[1, 1]] * 4])
  cost[1] = cost[0, :, ::-1]
  cost[1, :n, :m] = cost[0, :n, :m][::-1, ::-1]
  values, alignments, *_ = map(np.asarray, solver("scan")(cost, gamma, lengths, np.zeros_like(cost)))
  whole = naive(cost[0, :n, :m], gamma, np.ones((n, m), bool))
  assert values[0] <= whole + 1e-5                                       # all of the columns are a piece of them
  np.testing.assert_allclose(values[0], values[1], rtol=1e-4, atol=1e-5)                    # time may run backwards
  np.testing.assert_allclose(values[2], cost[2, :n, 0].sum(), rtol=1e-5)
  more = cell_by_cell(cost[0, :n, :max(1, m - 1)], gamma)
  assert values[0] <= more + 1e-5                                        # more to choose from costs no more
  assert alignments.min() >= -1e-6 and alignments.max() <= 1 + 1e-5


def test_a_clip_is_found_in_a_longer_one():
  y = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
  cost = pairwise_squared_distance(y[4:9], y, form="safe")
  hard, soft, value = jax.jit(lambda cost: (
      hard_alignment(cost, free_ends=True), soft_alignment(cost, 1e-3, free_ends=True),
      soft_dtw(cost, 1e-3, free_ends=True)))(cost)
  np.testing.assert_array_equal(hard, np.eye(12)[4:9])
  np.testing.assert_allclose(soft, np.eye(12)[4:9], atol=1e-5)
  assert abs(float(value)) < 1e-5


def test_bad_costs_and_bands_are_refused_or_spoil():
  cost = uniform(4, 5)
  for options in (dict(bandwidth=3), dict(max_slope=2.0)):
    with pytest.raises(ValueError, match="free_ends aligns with any piece .* leave bandwidth and max_slope out"):
      soft_dtw(cost, 0.1, free_ends=True, **options)
  solve = jax.jit(functools.partial(soft_dtw, free_ends=True))
  cost[1] = np.inf
  assert np.isnan(solve(cost, 0.1))
  cost[1, 2] = 0.5
  np.testing.assert_allclose(solve(cost, 0.1), cell_by_cell(cost, 0.1), rtol=1e-5)
  cost[0, 0] = np.nan
  assert np.isnan(solve(cost, 0.1))
