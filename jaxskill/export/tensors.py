"""The parameters of one model and its constants, as safetensors: {path of names: array}."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath
from flax import traverse_util

from jaxskill import files
from jaxskill.export import one_model
from jaxskill.training.finished_run import FinishedRun


def write(trained: FinishedRun, number: int, file: epath.Path, say: Callable[[str], None]) -> dict[str, Any]:
  """Writes "params/..." (trained) and "constants/..." (statistics of features, ranges of scores) of one model.

  Returns:
    {"model": which it is, "tensors": {name: {"shape", "dtype"}}}, for a file beside it.

  Raises:
    ValueError: if safetensors is not installed.
  """
  del say
  if importlib.util.find_spec("safetensors") is None:
    raise ValueError(f"{file}: writing it needs the package safetensors, which is not installed: pip install "
                     "'jaxskill[export]'.")
  from safetensors.numpy import save
  tensors = traverse_util.flatten_dict(one_model.variables_of(trained, number), sep="/")
  with files.writing(file) as opened:
    opened.write(save({name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in tensors.items()},
                      metadata=dict(format="np")))       # one entry: several are in no certain order
  shapes = {name: dict(shape=list(np.shape(value)), dtype=str(value.dtype)) for name, value in sorted(tensors.items())}
  return one_model.which(trained, number) | dict(tensors=shapes)
