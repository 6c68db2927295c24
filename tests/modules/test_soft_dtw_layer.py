"""The temporal alignment of SkillDiff as a layer, against the functions that it is made of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxskill.modules.soft_dtw import (
  TemporalAlignment,
  hard_alignment,
  pairwise_squared_distance,
  soft_alignment,
  soft_dtw,
)

pytestmark = pytest.mark.usefixtures("quick_compile")
LENGTHS = (5, 7)


@pytest.fixture
def rows():
  draw = np.random.default_rng(0)
  return draw.normal(size=(6, 3)).astype(np.float32), draw.normal(size=(9, 3)).astype(np.float32)


def align(query, reference, **options):
  return TemporalAlignment(**options).apply({}, query, reference, LENGTHS)


def compiled(function, *arguments):
  return jax.tree.map(np.asarray, jax.jit(function)(*arguments))


def test_soft_is_the_expected_alignment_and_its_cost(rows):
  options = dict(lengths=LENGTHS, bandwidth=4)

  def both(query, reference):
    cost = pairwise_squared_distance(query, reference)
    return (align(query, reference, gamma=0.5, bandwidth=4), soft_alignment(cost, 0.5, **options),
            soft_dtw(cost, 0.5, **options))
  (weights, misfit), visits, value = compiled(both, *rows)
  np.testing.assert_allclose(weights[:5], visits[:5] / visits[:5].sum(axis=1, keepdims=True), rtol=1e-5)
  np.testing.assert_allclose(misfit, value / sum(LENGTHS), rtol=1e-6)
  assert not weights[5:].any() and not weights[:, 7:].any()


def test_gradients_are_those_of_soft_dtw(rows):
  def naive(query):
    cost = pairwise_squared_distance(query, rows[1])
    visits = soft_alignment(cost, 0.5, lengths=LENGTHS)
    places = visits[:5] @ jnp.arange(9.0) / visits[:5].sum(axis=1)
    return soft_dtw(cost, 0.5, lengths=LENGTHS) / sum(LENGTHS) + jnp.sin(places).sum()

  def layer(query):
    weights, misfit = align(query, rows[1], gamma=0.5)
    return misfit + jnp.sin(weights[:5] @ jnp.arange(9.0)).sum()
  slopes = [compiled(jax.grad(function), rows[0]) for function in (layer, naive)]
  np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-5)


def test_hard_is_the_best_path(rows):
  weights, misfit = compiled(functools.partial(align, kind="hard"), *rows)
  cost = np.asarray(pairwise_squared_distance(*rows))
  path = compiled(functools.partial(hard_alignment, lengths=LENGTHS), cost)
  np.testing.assert_allclose(weights[:5], path[:5] / path[:5].sum(axis=1, keepdims=True), rtol=1e-6)
  np.testing.assert_allclose(misfit, (path * cost).sum() / sum(LENGTHS), rtol=1e-6)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_piece_of_the_one_or_of_the_other(rows, kind):
  """A piece that lies in the other is found; both ways are one alignment turned over."""
  query, reference = rows[0][:3] + 5, rows[1]
  longer = np.concatenate([reference[:2], query, reference[2:]])
  there = np.zeros((3, 12), np.float32)
  there[:, 2:5] = np.eye(3)
  align = lambda free_ends, *both: compiled(lambda *both: TemporalAlignment(kind, 1e-2, free_ends=free_ends).apply(
      {}, *both, tuple(map(len, both))), *both)
  weights, misfit = align("reference", query, longer)
  np.testing.assert_allclose(weights, there, atol=1e-5)
  turned, same = align("query", longer, query)
  np.testing.assert_allclose(turned, there.T, atol=1e-5)
  np.testing.assert_allclose(misfit, same, atol=1e-6)
  assert abs(float(misfit)) < 1e-4


def test_linear_scales_time_alone(rows):
  weights, misfit = align(*rows, kind="linear")
  np.testing.assert_allclose(weights[:5].sum(axis=1), 1, rtol=1e-6)
  np.testing.assert_allclose(weights[:5] @ np.arange(9), (np.arange(5) + 0.5) / 5 * 7 - 0.5, rtol=1e-5)
  assert misfit == 0


def test_has_no_parameters_and_maps_over_pairs(rows):
  layer = TemporalAlignment()
  assert not jax.eval_shape(lambda: layer.init(jax.random.key(0), *rows, LENGTHS))
  queries, references = (np.stack([x, x[::-1]]) for x in rows)
  lengths = np.array([[5, 7], [6, 2]])
  run = lambda query, reference, lengths: layer.apply({}, query, reference, tuple(lengths))
  weights, misfit = compiled(jax.vmap(run), queries, references, lengths)
  one = jax.jit(run)
  for i in range(2):
    alone = one(queries[i], references[i], lengths[i])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), (weights[i], misfit[i]), alone)


@pytest.mark.parametrize("options,message", [(dict(kind="none"), "kind='none' is unknown; use one of soft, hard"),
                                             (dict(free_ends="x"), "free_ends='x' is unknown; use one of none, query"),
                                             (dict(free_ends="query", kind="linear"), "scales time alone"),
                                             (dict(gamma=0.0), "gamma=0.0"), (dict(bandwidth=1), "bandwidth=1 leaves")])
def test_refused(rows, options, message):
  with pytest.raises(ValueError, match=message):
    align(*rows, **options)
