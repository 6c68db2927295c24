"""Pickles of strangers: numbers, strings, builtin containers and NumPy arrays are read; anything else is refused."""

from __future__ import annotations

import pickle

import numpy as np
from numpy._core import multiarray

# All that a pickle may name. Lists, tuples, dicts, numbers and strings need no name; a pickle that names anything else
# could run any program when it is loaded.
_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype,
    **{(f"numpy.{core}.multiarray", name): getattr(multiarray, name)
       for core in ("core", "_core") for name in ("_reconstruct", "scalar")},
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__")
       for kind in (dict, frozenset, list, set, tuple)},
}


def _array_of_buffer(buffer, dtype, shape, order):
  return np.frombuffer(buffer, dtype).reshape(shape, order=order)


class _Refused(Exception):
  pass


class _Unpickler(pickle.Unpickler):

  def find_class(self, module, name):
    if (module, name) in (("numpy._core.numeric", "_frombuffer"), ("numpy.core.numeric", "_frombuffer")):
      return _array_of_buffer   # of an array in protocol 5
    if (module, name) not in _ADMITTED:
      raise _Refused(f"{module}.{name}")
    return _ADMITTED[module, name]


def load(path):
  """Reads a pickle without running anything that it names.

  Args:
    path: the file.

  Returns:
    Its content.

  Raises:
    ValueError: if it wants anything but NumPy arrays, numbers, strings and builtin containers, or is damaged.
  """
  try:
    with open(path, "rb") as file:
      return _Unpickler(file, encoding="latin1").load()   # latin1: the arrays of Python 2
  except _Refused as error:
    raise ValueError(f"{path}: wants {error}, which is refused: only NumPy arrays, numbers, strings and builtin "
                     "containers are read. Download it again from its authors, and do not open this file with "
                     "pickle.load.") from None
  except Exception as error:   # a damaged pickle can fail in any way
    raise ValueError(f"{path}: is no readable pickle ({type(error).__name__}: {error}); download it again.") from error
