"""Everything is learnt and answered in float32, whatever JAX is told elsewhere in the process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def single_precision() -> Iterator[None]:
  """Computes without 64-bit types, also where JAX_ENABLE_X64 or a caller asks for them; a decorator too.

  With them, integers are drawn otherwise and what is given no type is float64: what is learnt would hang on a variable
  of the environment. Holds for the thread that enters it alone.
  """
  with jax.enable_x64(False):
    yield
