"""Which engine runs the networks of video: JAX, the reference, or on CPUs ONNX Runtime, whose convolutions are faster.

A folder of features is of one engine: their numbers agree to the rounding of float32, not bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxskill.modules import onnx_networks
from jaxskill.pretrained import ONNX

JAX = "jax"
ENGINES = ("auto", JAX, ONNX)


def check(config: ConfigDict) -> None:
  """Raises a `ValueError` for an engine that is unknown, or that does not compute as the recipe says."""
  if config.get("engine", "auto") not in ENGINES:
    raise ValueError(f"config.engine={config.engine!r} is unknown; use one of {', '.join(ENGINES)}.")
  if config.get("engine") == ONNX and config.dtype != "float32":
    raise ValueError(f"config.engine={ONNX} computes in float32; leave config.dtype={config.dtype} out.")


def settle(config: ConfigDict, note: Mapping[str, Any], *, here: bool = True) -> ConfigDict:
  """Names the engine of a recipe that leaves it open.

  Args:
    config: the recipe; "auto" and none mean the engine that made the features of the folder; of a new folder ONNX
      Runtime where it is installed, JAX runs on a CPU and products are of float32, else JAX.
    note: of the folder; features of notes without an engine are JAX's.
    here: whether all networks run on this machine; what others have is not known, so there "auto" means JAX.

  Returns:
    The recipe, with the engine.

  Raises:
    ValueError: if the features of the folder are of another engine, or ONNX Runtime is asked for and missing.
  """
  asked, there = config.get("engine", "auto"), note["recipe"].get("engine", JAX) if note["videos"] else ""
  engine = asked if asked != "auto" else there or (ONNX if here and _suits(config) else JAX)
  if there and engine != there:
    raise ValueError(f"config.engine={engine}: the features that are there were made by {there}, and engines must not "
                     "mix; leave it out, or give a new --out.")
  if asked == ONNX and here and (missing := onnx_networks.missing()):
    raise ValueError(f"config.engine={ONNX}: {missing} Or {'give a new --out' if there else 'leave it out'}.")
  return ConfigDict({**config.to_dict(), "engine": engine})


def _suits(config: ConfigDict) -> bool:
  return config.dtype == "float32" and jax.default_backend() == "cpu" and not onnx_networks.missing()
