"""One model as a StableHLO program, which jax.export reads without jaxskill, on CPUs, GPUs and TPUs."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import jax
from etils import epath
from jax import export as jax_export

from jaxskill import files
from jaxskill.export.one_model import OneModel
from jaxskill.training.finished_run import FinishedRun
from jaxskill.training.precision import single_precision

PLATFORMS = ("cpu", "cuda", "tpu")
_CUT = "jax_hlo_source_file_canonicalization_regex"       # what JAX leaves out of the paths of sources that it notes


@single_precision()
def write(trained: FinishedRun, number: int, file: epath.Path, say: Callable[[str], None]) -> dict[str, Any]:
  """Writes one model as `jax.export` serializes it; returns what goes in and comes out, see `OneModel.describe`.

  Raises:
    ValueError: if flatbuffers, which `jax.export` writes with, is not installed.
  """
  del say
  if importlib.util.find_spec("flatbuffers") is None:
    raise ValueError(f"{file}: writing it needs the package flatbuffers, which is not installed: pip install "
                     "'jaxskill[export]'.")
  model = OneModel(trained, number)
  exported, leasts = lowered(model)
  with files.writing(file) as opened:
    opened.write(exported.serialize())
  outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
  given = jax.tree.unflatten(exported.in_tree, exported.in_avals)[0][0]
  inputs = {name: given[name] for name in model.inputs(model.longest)}                  # in this order, not by name
  return model.describe(inputs, outputs, leasts) | dict(platforms=list(exported.platforms))


def lowered(model: OneModel) -> tuple[jax_export.Exported, dict[str, int] | None]:
  """Returns the program of the most general lengths that it can be written for, and these, see `OneModel.lengths`.

  Raises:
    Exception: of JAX, if there is none for the fixed lengths either.
  """
  for rows, leasts in model.lengths():
    try:
      with _without_paths():
        return jax_export.export(jax.jit(model.answer), platforms=PLATFORMS)(model.inputs(rows)), leasts
    except Exception:           # pylint: disable=broad-except   whatever asks for the number; a fixed one is the last
      if leasts is None:
        raise
  raise AssertionError("lengths end with fixed ones")


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
  """Lets JAX note no paths of sources in programs: they are this machine's."""
  before = getattr(jax.config, _CUT)
  jax.config.update(_CUT, ".*")
  try:
    yield
  finally:
    jax.config.update(_CUT, before)
