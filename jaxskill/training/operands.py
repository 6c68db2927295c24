"""The type of the operands of matrix products: decided once a run, by what the device multiplies faster, and recorded.

bfloat16 is several times as fast as float32 on accelerators and on processors with instructions for it, and half as
fast on others.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxskill import measured
from jaxskill.modules.layers import dot
from jaxskill.training import run_folder
from jaxskill.training.parallel import float32_products, on_first_process

TYPES = ("float32", "bfloat16")
_SIDES = dict(cpu=512)           # of the square matrices that are multiplied
_SIDE, _TIMES = 4096, 5


def decide(config: ConfigDict, workdir: epath.Path, device: jax.Device) -> tuple[ConfigDict, str]:
  """Decides `config.train.dtype` where it is "auto"; one that is named stays.

  Args:
    config: of the run.
    workdir: of the run; one that goes on keeps what it began with.
    device: whose speed is measured, on the first host. The figure is kept beside the compiled programs.

  Returns:
    The config, a copy where something was decided, and what there is to say of it in words, "" where nothing is.
  """
  asked = config.train.dtype
  if asked == "float32":
    return config, ""
  if asked == "auto" and (before := on_first_process(lambda: _recorded(workdir))):
    return _with(config, before), f"operands of products: {before}, as this run began"
  ratio = on_first_process(lambda: speed(device))
  times = f"products of bfloat16 are {ratio:.2g} times as fast as those of float32 here"
  if asked == "auto":
    chosen = TYPES[ratio >= measured.FASTER]
    return _with(config, chosen), f"operands of products: {chosen} ({times}; config.train.dtype names one)"
  return config, f"{times}: config.train.dtype=float32, or auto, trains faster" if ratio < 1 else ""


def speed(device: jax.Device) -> float:
  """Returns how many times as fast a product of bfloat16 is as one of float32, measured once and kept."""
  name = measured.kind(device)
  ratio = measured.recall(measured.OPERANDS, name)
  if ratio is None:
    ratio = _measure(device)
    measured.keep(measured.OPERANDS, name, ratio)
  return ratio


def _measure(device: jax.Device) -> float:
  side = _SIDES.get(device.platform, _SIDE)
  taken = {}
  for name in TYPES:
    product = jax.jit(float32_products(lambda x, name=name: dot(x, x, jnp.dtype(name))))
    operand = jax.device_put(np.ones((side, side), jnp.dtype(name)), device)       # of NumPy: nothing to compile
    jax.block_until_ready(product(operand))              # compiled
    times = []
    for _ in range(_TIMES):
      begun = time.perf_counter()
      jax.block_until_ready(product(operand))
      times.append(time.perf_counter() - begun)
    taken[name] = min(times)                             # others may be at work on the machine
  return taken["float32"] / taken["bfloat16"]


def _recorded(workdir: epath.Path) -> str:
  """Returns the type that a run in `workdir` began with, "" where there is none."""
  train = (run_folder.recorded(workdir) or {}).get("train")
  stored = train.get("dtype") if isinstance(train, dict) else ""
  return stored if stored in TYPES else ""


def _with(config: ConfigDict, dtype: str) -> Any:
  decided = config.copy_and_resolve_references()         # ConfigDict(config) would share its fields
  decided.train.dtype = dtype
  return decided
