"""The leaves of a state by their names: what they are, and one digest of all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def digest(tree: object) -> str:
  """Returns the SHA-256 of all leaves of a tree: names, dtypes, shapes and bytes, ordered by name.

  Args:
    tree: arrays, NumPy or JAX; containers count by the names of their leaves only (`params/head/kernel`).

  Returns:
    64 hexadecimal digits.
  """
  sha = hashlib.sha256()
  for name, leaf in sorted(leaves_by_name(tree).items()):
    leaf = np.asarray(leaf)
    sha.update(json.dumps([name, *kind(leaf)]).encode())
    sha.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
  return sha.hexdigest()


def leaves_by_name(tree: Any) -> dict[str, Any]:
  """Returns {name: leaf} of a tree; raises a `ValueError` if two leaves have one name."""
  leaves = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
  by_name = dict(leaves)
  if len(by_name) < len(leaves):
    names = [name for name, _ in leaves]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f"two leaves of the state are both called {twice!r}; rename one, without a slash in its key.")
  return by_name


def kind(leaf: Any) -> tuple[str, list[int]]:
  """Returns the dtype and the shape of a leaf."""
  leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
  return leaf.dtype.name, list(leaf.shape)


def difference(stored: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
  """Returns the first leaf that a checkpoint and a template do not share, in words; None if they agree."""
  describe = lambda kinds, name: "{}{}".format(*kinds[name]) if name in kinds else "nothing"
  for name in [*expected, *stored]:
    if describe(stored, name) != describe(expected, name):
      return f"it holds {describe(stored, name)} as {name!r} where the state has {describe(expected, name)}"
  return None
