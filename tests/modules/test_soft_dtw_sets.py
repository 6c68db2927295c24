"""Soft-DTW of all pairs in tiles against one pair after the other in float64, and means of sets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill.modules.soft_dtw import barycenter, cdist
from tests.modules.test_soft_dtw_free_ends import cell_by_cell
from tests.modules.test_soft_dtw_region import naive, slopes

pytestmark = pytest.mark.usefixtures("quick_compile")
LENGTHS = np.array([4, 1, 3]), np.array([5, 2, 4, 1])


def sets(padding=np.nan):
  draw = np.random.default_rng(0)
  x, y = draw.normal(size=(3, 4, 2)).astype(np.float32), draw.normal(size=(4, 5, 2)).astype(np.float32)
  for series, lengths in zip((x, y), LENGTHS):
    for one, length in zip(series, lengths):
      one[length:] = padding
  return x, y


def squared(x, y):
  return np.square(x[:, None].astype(np.float64) - y).sum(axis=-1)


def values_of(x, y, solve):
  """Of every pair, alone and without its padding."""
  return np.array([[solve(squared(a[:n], b[:m])) for b, m in zip(y, LENGTHS[1])] for a, n in zip(x, LENGTHS[0])])


FORMS = dict(whole=({}, lambda cost: naive(cost, 0.5, np.ones(cost.shape, bool))),
             free=(dict(free_ends=True), lambda cost: cell_by_cell(cost, 0.5)))


@pytest.mark.parametrize("form", FORMS)
def test_all_pairs_are_each_pair_alone_whatever_the_tiles(form):
  (x, y), (options, solve) = sets(), FORMS[form]
  weights = np.random.default_rng(1).normal(size=(3, 4))

  @functools.partial(jax.jit, static_argnames="tile_bytes")
  def total(x, y, lengths, tile_bytes):
    def weighted(x, y):
      values = cdist(x, y, 0.5, lengths=lengths, tile_bytes=tile_bytes, **options)
      return (weights * values).sum(), values
    return jax.value_and_grad(weighted, (0, 1), has_aux=True)(x, y)
  true = values_of(x, y, solve)
  clean = sets(padding=0.0)
  true_slopes = [slopes(lambda x: (weights * values_of(x, clean[1], solve)).sum(), clean[0]),
                 slopes(lambda y: (weights * values_of(clean[0], y, solve)).sum(), clean[1])]
  five = 5 * 4 * 4 * 9 * 4                                    # pairs a tile: twelve are not fives
  for tile_bytes in (1, 2 ** 28) if form == "whole" else (five,):                        # and one, and all at once
    (_, values), found = total(x, y, LENGTHS, tile_bytes)
    np.testing.assert_allclose(values, true, rtol=1e-5, atol=1e-5)
    for slope, true_slope in zip(found, true_slopes):
      np.testing.assert_allclose(slope, true_slope, atol=2e-5)           # zeros on padding too


def test_without_lengths_all_segments_count():
  x, y = sets(padding=1.0)
  whole = cdist(x, y, 0.5, lengths=(np.full(3, 4), np.full(4, 5)))
  np.testing.assert_allclose(cdist(x, y, 0.5), whole, rtol=1e-5)


def test_memory_does_not_grow_with_the_pairs():
  def used(count):
    total = lambda x, y: cdist(x, y, 0.5, tile_bytes=2 ** 20).sum()
    series = jax.ShapeDtypeStruct((count, 32, 2), jnp.float32)
    return jax.jit(jax.grad(total)).lower(series, series).compile().memory_analysis().temp_size_in_bytes
  few, many = used(4), used(32)                                          # 16 and 1024 pairs
  assert many < 4 * few and many < 1024 * 32 * 32 * 4                     # less than E of all pairs


def test_the_mean_that_others_publish():
  """The example in tslearn's documents of its `softdtw_barycenter`: what tslearn 0.10.0 finds with 500 steps."""
  videos = np.array([[1, 2, 3, 4], [1, 2, 4, 5]], np.float32)[..., None]
  found = barycenter(videos, 1.0)
  np.testing.assert_allclose(found[:, 0], [1.25207583, 2.04254103, 3.52171001, 4.36398448], atol=2e-3)


def test_a_mean_is_where_the_weighted_cost_is_least():
  """Against the definition in float64: no direction leads down, and lengths, padding and weights count as stated."""
  _, y = sets()
  weights = np.array([1.0, 3.0, 0.5, 0.0])
  cost_of = lambda mean: sum(w * naive(squared(mean, one[:n]), 0.5, np.ones((3, n), bool)) / n
                             for w, one, n in zip(weights, y, LENGTHS[1])) / weights.sum()
  found = np.asarray(barycenter(y, 0.5, lengths=LENGTHS[1], weights=weights, start=3), np.float64)
  assert found.shape == (3, 2)
  np.testing.assert_allclose(slopes(cost_of, found), 0, atol=2e-4)
  from_linear = np.asarray(barycenter(y, 0.5, lengths=LENGTHS[1], weights=weights, start=3, steps=0))
  assert cost_of(found) < cost_of(from_linear) - 1e-3
  y[3] = 1e3                                                             # what has no weight
  np.testing.assert_allclose(barycenter(y, 0.5, lengths=LENGTHS[1], weights=2 * weights, start=3), found, atol=1e-4)


def test_the_mean_of_one_video_and_of_equal_ones_is_the_video():
  video = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
  for count in (1, 3):
    np.testing.assert_allclose(barycenter(np.stack([video] * count), 1e-3), video, atol=1e-3)


@pytest.mark.parametrize("call,message", [
    (lambda x: cdist(x, x[..., :1], 1.0), "no two sets of series"),
    (lambda x: cdist(x, x, 1.0, lengths=(np.ones(2), np.ones(3))), r"lengths of x have the shape \(2,\); expected .* 3"),
    (lambda x: cdist(x, x, 1.0, lengths=(np.ones(3), np.array([1, 5, 2]))), "lengths of y are 1 to 5; expected 1 to 4"),
    (lambda x: cdist(x, x, 0.0), "gamma=0.0 must be above 0"),
    (lambda x: barycenter(x[0], 1.0), r"videos \(4, 2\) are no set of series"),
    (lambda x: barycenter(x, 1.0, weights=[1, 1]), r"weights \(2,\) must be 3 numbers"),
    (lambda x: barycenter(x, 1.0, weights=[0, 0, 0]), "must be 3 numbers of at least 0, one of them above"),
    (lambda x: barycenter(x, 1.0, start=0), "start=0 segments; a mean has 1 or more"),
    (lambda x: barycenter(x, 1.0, start=np.zeros((4, 3))), r"start \(4, 3\) must be \[L, 2\]"),
])
def test_bad_input_is_named(call, message):
  with pytest.raises(ValueError, match=message):
    call(sets(padding=1.0)[0])
