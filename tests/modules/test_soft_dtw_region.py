"""Itakura's band against the recursion cell by cell in float64, and what must hold of it."""

import functools
import itertools

import jax
import numpy as np
import pytest

from jaxskill.modules.soft_dtw import hard_alignment, soft_alignment, soft_dtw, soft_dtw_divergence
from jaxskill.modules.soft_dtw.region import parallelogram

pytestmark = pytest.mark.usefixtures("quick_compile")
LENGTHS = np.array([[7, 9], [5, 9], [7, 3], [1, 6], [6, 1], [1, 1], [6, 6]])


def uniform(*shape, seed=0):
  return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def naive(cost, gamma, allowed):
  """Soft-DTW of one cost matrix, cell by cell in float64."""
  n, m = cost.shape
  totals = np.full((n + 1, m + 1), np.inf)
  totals[0, 0] = 0
  for i, j in itertools.product(range(n), range(m)):
    before = [totals[i, j], totals[i, j + 1], totals[i + 1, j]]
    if allowed[i, j]:
      totals[i + 1, j + 1] = np.float64(cost[i, j]) - gamma * np.logaddexp.reduce(-np.array(before) / gamma)
  return totals[n, m]


def slopes(function, array):
  """The derivative of a function of float64 by differences."""
  found, array = np.zeros(array.shape), array.astype(np.float64)
  for index in np.ndindex(array.shape):
    moved = [array.copy(), array.copy()]
    moved[0][index] += 1e-5
    moved[1][index] -= 1e-5
    found[index] = (function(moved[0]) - function(moved[1])) / 2e-5
  return found


def in_band(n, m, slope):
  """The definition, cell by cell: where one can go from corner to corner, and what is nearest to the straight line."""
  found = np.zeros((n, m), bool)
  for i, j in np.ndindex(n, m):
    up, along = i * (m - 1), j * (n - 1)
    reach = lambda one, other: one <= slope * other + 1e-4 and other <= slope * one + 1e-4
    whole = (n - 1) * (m - 1)
    found[i, j] = reach(up, along) and reach(whole - up, whole - along) or 2 * abs(up - along) <= max(n, m) - 1
  return found


def test_the_band_of_equal_lengths_is_the_one_that_others_draw():
  """tslearn's example of its `itakura_mask(6, 6)`."""
  rows = ["x.....", ".xx...", ".xxx..", "..xxx.", "...xx.", ".....x"]
  np.testing.assert_array_equal(parallelogram(6, 6, (6, 6), 2.0), [[cell == "x" for cell in row] for row in rows])


@pytest.mark.parametrize("slope", [1.0, 1.5, 2.0, 1e3])
def test_the_band_is_its_definition_and_always_holds_a_path(slope):
  lengths = np.array([*LENGTHS, (30, 3), (13, 29), (30, 30), (30, 29)])
  draw = jax.jit(jax.vmap(lambda lengths: parallelogram(31, 31, tuple(lengths), slope)))
  for (n, m), band, turned in zip(lengths, draw(lengths), draw(lengths[:, ::-1])):
    np.testing.assert_array_equal(band[:n, :m], in_band(n, m, slope))
    np.testing.assert_array_equal(band[:n, :m].T, turned[:m, :n])
    assert np.isfinite(naive(np.zeros((n, m)), 1.0, np.asarray(band)))


@pytest.mark.parametrize("implementation,bandwidth", [
    ("scan", None), ("checkpointed", 2), pytest.param("scan", 2, marks=pytest.mark.slow),
    pytest.param("checkpointed", None, marks=pytest.mark.slow)])
def test_value_and_alignment_in_the_band_of_each_pair(implementation, bandwidth):
  cost = np.full((len(LENGTHS), 7, 9), np.nan, np.float32)
  for one, (n, m) in zip(cost, LENGTHS):
    one[:n, :m] = uniform(n, m)

  @jax.jit
  @jax.vmap
  def solve(cost, lengths):
    options = dict(lengths=tuple(lengths), bandwidth=bandwidth, max_slope=2.0)
    value, alignment = jax.value_and_grad(soft_dtw)(cost, 0.1, implementation=implementation, **options)
    return value, alignment, soft_alignment(cost, 0.1, **options), hard_alignment(cost, **options)
  for one, (n, m), value, *alignments in zip(cost, LENGTHS, *map(np.asarray, solve(cost, LENGTHS))):
    allowed = in_band(n, m, 2.0)
    if bandwidth is not None:
      allowed &= abs(np.arange(n)[:, None] - np.arange(m)) <= max(bandwidth, abs(n - m))
    truth = functools.partial(naive, allowed=allowed)
    np.testing.assert_allclose(value, truth(one[:n, :m], 0.1), rtol=1e-5, atol=1e-6)
    true_slope = slopes(lambda cost: truth(cost, 0.1), one[:n, :m])
    for alignment in alignments[:2]:
      np.testing.assert_allclose(alignment[:n, :m], true_slope, atol=1e-5)
      assert not alignment[n:].any() and not alignment[:, m:].any()
    path = np.asarray(alignments[2])[:n, :m]
    assert not path[~allowed].any()
    np.testing.assert_allclose((path * one[:n, :m]).sum(), truth(one[:n, :m], 1e-6), atol=1e-4)


def test_a_slope_of_one_leaves_the_straight_line_and_the_divergence_takes_it():
  x, y = uniform(2, 6, 3)
  diagonal = np.square(x.astype(np.float64) - y).sum()
  divergence = jax.jit(lambda x, y: soft_dtw_divergence(x, y, 0.1, max_slope=1.0))
  np.testing.assert_allclose(divergence(x, y), diagonal, rtol=1e-5)


@pytest.mark.parametrize("slope", [0.5, 0.0, float("nan")])
def test_a_slope_below_one_is_named(slope):
  with pytest.raises(ValueError, match=f"max_slope={slope} must be 1 or more"):
    soft_dtw(uniform(4, 5), 1.0, max_slope=slope)
