"""Parameters that training begins with, or that are measured as they are: those of a file that published code wrote.

All replicas begin with the same. The file is read once; a run that goes on has them in its checkpoints, and only the
digest of the file is compared, if it is still there.

R replicas.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import traverse_util
from ml_collections import ConfigDict

from jaxskill import pretrained, weight_files
from jaxskill.methods import Method
from jaxskill.training import archives
from jaxskill.training.parallel import on_first_process
from jaxskill.training.step import TrainState


def begun(workdir: epath.Path) -> bool:
  """Returns whether a folder holds a checkpoint, so that a run there goes on from it."""
  return bool(archives.steps(epath.Path(workdir) / "checkpoints"))


def record(config: ConfigDict, workdir: epath.Path, evaluate_only: bool) -> ConfigDict:
  """Returns a config that also says which file `init_from` was, and whether a step is taken.

  Args:
    config: its field `init_from` names the file; "" draws parameters, and the config is returned as it is.
    workdir: of the run; one that goes on does not need the file any more.
    evaluate_only: whether the parameters are measured as they are.

  Returns:
    A copy with `init_from_sha256` and `evaluate_only`, so that a folder is refused to another file, or to training.

  Raises:
    ValueError: if there is no such file, or nothing to evaluate.
  """
  if not config.get("init_from"):
    if evaluate_only:
      raise ValueError("--evaluate-only measures parameters that are there already, but config.init_from names no file "
                       "of them; give --config.init_from=FILE.")
    return config
  recorded = config.copy_and_resolve_references()
  with recorded.unlocked():
    recorded.init_from_sha256 = on_first_process(lambda: _digest(config.init_from, epath.Path(workdir)))
    recorded.evaluate_only = evaluate_only
  return recorded


def _digest(file: str, workdir: epath.Path) -> str:
  """Returns the SHA-256 of a file, or, without the file, what a run of it that goes on has recorded."""
  if pathlib.Path(file).is_file():
    return pretrained.digest(file)
  try:
    stored = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    if stored["init_from"] == file and begun(workdir):
      return stored["init_from_sha256"]
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    pass                                  # there is no such run, or it is damaged, which is said where it is claimed
  raise ValueError(f"config.init_from={file}: there is no such file of weights.")


def put(state: TrainState, config: ConfigDict, method: Method) -> TrainState:
  """Returns a state in which all replicas have the parameters of the file `config.init_from`.

  Args:
    state: a `step.TrainState` at step 0.
    config: as `record` returned it.
    method: of the config.

  Raises:
    ValueError: if the file cannot be read, or does not fit: which parameter, its shape there and here, what to do.
  """
  variables = on_first_process(lambda: _read(config, method))
  params, constants = variables["params"], variables.get("constants", {})
  known = {name: state.constants[name] for name in constants}
  _check_fit(config, dict(params=params, constants=constants), dict(params=state.params, constants=known))
  return dataclasses.replace(state, params=_for_all(params, state.params),
                             constants=state.constants | _for_all(constants, known))


def _read(config: ConfigDict, method: Method) -> dict[str, Any]:
  """Returns {"params", "constants"} of the file, without the axis of replicas."""
  file = config.init_from
  networks = weight_files.read_networks(file)
  try:
    assert method.published               # as `config_checks.check` has seen
    variables = method.published.read(networks)
  except ValueError as error:
    raise ValueError(f"{file}: {error}") from error
  except (LookupError, TypeError, AttributeError) as error:
    raise ValueError(f"{file}: is not what the published training of config.method={config.method!r} saves; it holds "
                     f"{', '.join(sorted(networks)[:4])}.") from error
  if pretrained.digest(file) != config.init_from_sha256:
    raise ValueError(f"{file}: has changed while it was read; start again when it is whole.")
  return variables


def _check_fit(config: ConfigDict, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
  """Raises a `ValueError` unless two trees have the same arrays, but for the leading axis of `expected`."""
  there = {name: np.shape(leaf) for name, leaf in traverse_util.flatten_dict(found, sep="/").items()}
  here = {name: np.shape(leaf)[1:] for name, leaf in traverse_util.flatten_dict(expected, sep="/").items()}
  wrong = [name for name in {**here, **there} if there.get(name) != here.get(name)]
  if not wrong:
    return

  def shape(known: Mapping[str, Any]) -> str:
    return f"of shape {list(known[wrong[0]])}" if wrong[0] in known else "missing"
  if config.get("variant") != "official":
    remedy = (f"published code has the network of the option official: --config configs/{config.method}.py:"
              f"{config.data.name},official")
  else:
    remedy = "give features as wide as those it was trained on, and set the sizes in config.model to its own"
  more = f" ({len(wrong) - 1} more differ)" if len(wrong) > 1 else ""
  raise ValueError(f"config.init_from={config.init_from}: does not fit this config: {wrong[0]} is {shape(there)} there "
                   f"and {shape(here)} here{more}; {remedy}.")


def _for_all(tree: Any, replicas: Mapping[str, Any]) -> dict[str, Any]:
  """Returns a tree as arrays with the leading axis and the types of another."""
  return jax.tree.map(lambda one, all_: np.array(np.broadcast_to(one, all_.shape), all_.dtype), tree, replicas)
