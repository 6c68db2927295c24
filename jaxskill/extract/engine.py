"""Which engine runs the networks of video: JAX, the reference, or on CPUs OpenVINO or ONNX Runtime, which are faster.

A folder of features is of one engine: in float32 their numbers agree to its rounding, not bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxskill.modules import onnx_networks
from jaxskill.modules.onnx_networks import ONNX_RUNTIME

JAX = "jax"
ENGINES = ("auto", JAX, *onnx_networks.EXTRAS)


def check(config: ConfigDict) -> None:
  """Raises a `ValueError` for an engine that is unknown, or that does not compute as the recipe says."""
  if config.get("engine", "auto") not in ENGINES:
    raise ValueError(f"config.engine={config.engine!r} is unknown; use one of {', '.join(ENGINES)}.")
  if config.get("engine") == ONNX_RUNTIME and config.dtype != "float32":
    raise ValueError(f"config.engine={ONNX_RUNTIME} computes in float32; leave config.dtype={config.dtype} out.")


def settle(config: ConfigDict, note: Mapping[str, Any], *, here: bool = True) -> ConfigDict:
  """Names the engine of a recipe that leaves it open.

  Args:
    config: the recipe; "auto" and none mean the engine that made the features of the folder; of a new folder, where JAX
      runs on a CPU, OpenVINO if it is installed, or else ONNX Runtime, if they have products of its type; else JAX.
    note: of the folder; features of notes without an engine are JAX's.
    here: whether all networks run on this machine; what others have is not known, so there "auto" means JAX.

  Returns:
    The recipe, with the engine.

  Raises:
    ValueError: if the features of the folder are of another or an unknown engine, or one is asked for that is missing.
  """
  asked, there = config.get("engine", "auto"), note["recipe"].get("engine", JAX) if note["videos"] else ""
  if there and there not in ENGINES:
    raise ValueError(f"the features that are there were made by {there!r}, which this version does not know; take the "
                     "version that made them, or give a new --out.")
  engine = asked if asked != "auto" else there or (_fastest(config) if here else JAX)
  if there and engine != there:
    raise ValueError(f"config.engine={engine}: the features that are there were made by {there}, and engines must not "
                     "mix; leave it out, or give a new --out.")
  if asked in onnx_networks.EXTRAS and here and (missing := onnx_networks.missing(asked)):
    raise ValueError(f"config.engine={asked}: {missing} Or {'give a new --out' if there else 'leave it out'}.")
  return ConfigDict({**config.to_dict(), "engine": engine})


def _fastest(config: ConfigDict) -> str:
  if jax.default_backend() != "cpu":
    return JAX
  there = (name for name in onnx_networks.EXTRAS if not onnx_networks.missing(name))
  return next((name for name in there if config.dtype == "float32" or onnx_networks.multiplies_bfloat16(name)), JAX)
