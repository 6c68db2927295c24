"""Gradients by central differences, which those of the code are compared with."""

import jax
import numpy as np


def difference(function, array, place, step=1e-5):
  """Returns the derivative of `function()` by one number of a float64 array that it reads."""
  value = array[place]
  array[place] = value + step
  above = function()
  array[place] = value - step
  below = function()
  array[place] = value
  return (above - below) / (2 * step)


def differences(function, tree, step=1e-5):
  """Returns the gradient of `function(tree)`, a tree of float64 arrays."""
  result = jax.tree.map(np.zeros_like, tree)
  for array, gradient in zip(jax.tree.leaves(tree), jax.tree.leaves(result)):
    for place in np.ndindex(array.shape):
      gradient[place] = difference(lambda: function(tree), array, place, step)
  return result


def assert_trees_close(actual, expected, **tolerance):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, err_msg=jax.tree_util.keystr(path), **tolerance)
