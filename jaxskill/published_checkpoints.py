"""What the trainings of the published code save <-> our variables, bit for bit.

Other networks than those of the published code cannot be read, nor written. What these carry without using it is not
written (I3D's classifier, counts of batches, filters of the uniform network, the fixed graph), so that PyTorch takes
the rest with `load_state_dict(..., strict=False)`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxskill import interop

_STATE = "state_dict_"          # of a network in a checkpoint of rank-aware attention


class Published(NamedTuple):
  """The networks of published code and our variables.

  Attributes:
    read: ({name: array}, or {network: {name: array}}, see `weight_files.read_networks`) -> {"params": all parameters,
      "constants": those of the constants that come with them, if there are any}; raises a `ValueError` for what is
      missing.
    write: (variables) -> the checkpoint that the published code would have left, see `weight_files.write_networks`;
      raises a `ValueError` for networks that it has not.
  """

  read: Callable
  write: Callable


def pros_cons() -> Published:
  """Returns what `jaxskill.methods.pros_cons` reads and writes."""
  return Published(_pros_cons_from, _pros_cons_to)


def core(frames: bool) -> Published:
  """Returns what `jaxskill.methods.core` reads and writes, with the network on frames or without."""
  return Published(functools.partial(_core_from, frames=frames), _core_to)


def action_net() -> Published:
  """Returns what `jaxskill.methods.action_net` reads and writes."""
  return Published(_action_net_from, _action_net_to)


def _pros_cons_from(networks: Mapping[str, Any]) -> dict[str, Any]:
  """Variables of `jaxskill.methods.pros_cons` from a checkpoint of the published training.

  Args:
    networks: {"state_dict_<network>": {state_dict name: array}}, see `weight_files.read_networks`.

  Raises:
    ValueError: if there is no such network; see `pros_cons_from_torch`.
  """
  found = {name.removeprefix(_STATE): state for name, state in networks.items() if name.startswith(_STATE)}
  _expect(found, networks, f"{_STATE}pos, {_STATE}neg and {_STATE}uniform")
  return dict(params=interop.pros_cons_from_torch(found))


def _pros_cons_to(variables: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the checkpoint, every state_dict in a tuple of its own, as the published training leaves it."""
  return {_STATE + name: (state,) for name, state in interop.pros_cons_to_torch(variables["params"]).items()}


def _core_from(networks: Mapping[str, Any], *, frames: bool) -> dict[str, Any]:
  """Variables of `jaxskill.methods.core` from a checkpoint of the published training.

  Args:
    networks: {"regressor": of the tree, "base_model": of I3D, names beginning with "backbone."}, see
      `weight_files.read_networks`.
    frames: whether to read I3D too; else features are given, and it is passed over.

  Raises:
    ValueError: if a network is missing; see `regression_tree_from_torch` and `i3d_from_torch`.
  """
  _expect("regressor" in networks, networks, "the networks regressor and base_model")
  params = dict(head=interop.regression_tree_from_torch(networks["regressor"]))
  if not frames:
    return dict(params=params)
  _expect("base_model" in networks, networks, "the network base_model beside the regressor")
  backbone = {name.removeprefix("backbone."): value for name, value in networks["base_model"].items()}
  variables = interop.i3d_from_torch(backbone, num_classes=0)
  return dict(params=params | dict(backbone=variables["params"]), constants=dict(backbone=variables["batch_stats"]))


def _core_to(variables: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the checkpoint {"regressor", "base_model" where frames are read}: the inverse.

  I3D's classifier, which the published network carries without using it, is not written.

  Raises:
    ValueError: if the head is no tree, as that of the published network is.
  """
  params = variables["params"]
  if "leaves" not in params["head"]:
    raise ValueError("its head is no tree; the published network has no other.")
  networks = dict(regressor=interop.regression_tree_to_torch(params["head"]))
  if "backbone" in params:
    state = interop.i3d_to_torch(dict(params=params["backbone"], batch_stats=variables["constants"]["backbone"]))
    networks["base_model"] = {f"backbone.{name}": value for name, value in state.items()}
  return networks


def _action_net_from(networks: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Variables of `jaxskill.methods.action_net` from the state_dict that the published training leaves."""
  return dict(params=interop.action_net_from_torch(networks))


def _action_net_to(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns the state_dict: the inverse. The graph, which is fixed, is left out.

  Raises:
    ValueError: if the streams or layers are not those of the published network.
  """
  try:
    return interop.action_net_to_torch(variables["params"])
  except KeyError as error:
    raise ValueError(f"it has no {'/'.join(error.args[0])}, as the published network has.") from None


def _expect(found: bool | Mapping[str, Any], networks: Mapping[str, Any], words: str) -> None:
  if not found:
    raise ValueError(f"it holds {', '.join(sorted(networks)[:4])}; expected {words}, as the published training saves "
                     "them.")
