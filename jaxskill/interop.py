"""Official PyTorch state_dicts <-> our parameters. Plain arrays on both sides; PyTorch is not needed.

The published rank-aware attention network saves three networks: `pos` (our "high"), `neg` ("low") and `uniform`, whose
linear layers are `att_net.<filter>.0` (D to H), `att_net.<filter>.2` (H to 1) and `fc.0` (D to 1), weights (out, in).
ACTION-NET saves one network: streams `d_ct` (our "rgb") and `s_ct` ("static"), and `fc`; all its kernels, those of the
graph convolutions too, are (out, in).
"""

from __future__ import annotations

import numpy as np
from flax import traverse_util

_BRANCHES = {"pos": "high", "neg": "low", "uniform": "uniform"}
_STREAMS = dict(rgb="d_ct", static="s_ct")
_LAYERS = dict(embed_1="embedding.0", embed_2="embedding.2", graph_1="gcn1", graph_2="gcn2", attend_1="att.0",
               attend_2="att.2")
_ACTION_NET = {f"{theirs}.{place}": ("streams", ours, layer) for ours, theirs in _STREAMS.items()
               for layer, place in _LAYERS.items()} | {"fc.0": ("head", "fc_1"), "fc.3": ("head", "fc_2")}


def pros_cons_from_torch(networks):
  """Parameters of `jaxskill.methods.pros_cons` from the published networks.

  Args:
    networks: {"pos" | "neg" | "uniform": {state_dict name: array}}; any of the three may be absent.

  Returns:
    {"filters": {module: arrays}, "ranking": {...}}, float32.

  Raises:
    ValueError: if a network has another name or lacks an entry.
  """
  filters, ranking = {}, {}
  for network, state in networks.items():
    if network not in _BRANCHES:
      raise ValueError(f"network {network!r} is unknown; expected some of {', '.join(_BRANCHES)}.")
    branch, state = _BRANCHES[network], {k: np.asarray(v, np.float32) for k, v in state.items()}
    try:
      ranking[f"{branch}_kernel"], ranking[f"{branch}_bias"] = state["fc.0.weight"][0], state["fc.0.bias"][0]
      if branch == "uniform":                     # the published uniform network carries filters that it never uses
        continue
      count = sum(name.endswith(".0.weight") and name.startswith("att_net.") for name in state)
      stack = lambda name: np.stack([state[f"att_net.{k}.{name}"] for k in range(count)])
      filters[branch] = dict(kernel=stack("0.weight"), bias=stack("0.bias"), readout=stack("2.weight")[:, 0],
                             readout_bias=stack("2.bias")[:, 0])
    except KeyError as error:
      raise ValueError(f"network {network!r} lacks {error}; expected att_net.<k>.0|2.weight|bias and fc.0.weight|bias "
                       f"but found {', '.join(sorted(state))}.") from None
  return dict(ranking=ranking) | (dict(filters=filters) if filters else {})


def pros_cons_to_torch(params):
  """The inverse: {"pos" | "neg" | "uniform": {state_dict name: float32 array}} from our parameters."""
  networks = {}
  for network, branch in _BRANCHES.items():
    if f"{branch}_kernel" not in params["ranking"]:
      continue
    state = {"fc.0.weight": np.asarray(params["ranking"][f"{branch}_kernel"])[None],
             "fc.0.bias": np.asarray(params["ranking"][f"{branch}_bias"])[None]}
    module = params.get("filters", {}).get(branch)
    for k in range(len(module["kernel"]) if module else 0):
      state |= {f"att_net.{k}.0.weight": np.asarray(module["kernel"][k]),
                f"att_net.{k}.0.bias": np.asarray(module["bias"][k]),
                f"att_net.{k}.2.weight": np.asarray(module["readout"][k])[None],
                f"att_net.{k}.2.bias": np.asarray(module["readout_bias"][k])[None]}
    networks[network] = state
  return networks


def regression_tree_from_torch(state):
  """Parameters of `jaxskill.modules.regression_tree.RegressionTree` from the published tree.

  Args:
    state: {state_dict name: array}: `first_layer.0` (D to H), per level i `feature_layers.<i>.0` (rows of the two children
      of each node in turn) and `clf_layers.<i>`, and `reg_layer`, each `.weight` (out, in[, 1]) and `.bias`.

  Returns:
    {"first": ..., "level_0": ..., "leaves": ...}, float32.

  Raises:
    ValueError: if an entry is missing.
  """
  state = {k: np.asarray(v, np.float32) for k, v in state.items()}

  def layer(name, nodes):
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return weight.reshape(nodes, len(bias) // nodes, -1), bias.reshape(nodes, -1)

  def joined(nodes, *names):
    kernels, biases = zip(*(layer(name, nodes) for name in names))
    return dict(kernel=np.concatenate(kernels, axis=1), bias=np.concatenate(biases, axis=1))
  levels = sum(name.startswith("clf_layers.") and name.endswith(".weight") for name in state)
  try:
    params = dict(first=joined(1, "first_layer.0"), leaves=joined(2 ** levels, "reg_layer"))
    return params | {f"level_{i}": joined(2 ** i, f"feature_layers.{i}.0", f"clf_layers.{i}") for i in range(levels)}
  except KeyError as error:
    raise ValueError(f"the tree lacks {error}; found {', '.join(sorted(state))}.") from None


def regression_tree_to_torch(params):
  """The inverse: {state_dict name: float32 array} from our parameters."""
  state = {}

  def put(name, kernel, bias, convolution=True):
    weight = np.asarray(kernel).reshape(bias.size, -1)
    state.update({f"{name}.weight": weight[..., None] if convolution else weight, f"{name}.bias": np.ravel(bias)})
  put("first_layer.0", **params["first"], convolution=False)
  for i in range(len(params) - 2):
    kernel, bias = params[f"level_{i}"]["kernel"], np.asarray(params[f"level_{i}"]["bias"])
    put(f"feature_layers.{i}.0", kernel[:, :-2], bias[:, :-2])
    put(f"clf_layers.{i}", kernel[:, -2:], bias[:, -2:])
  put("reg_layer", **params["leaves"])
  return state


def action_net_from_torch(state):
  """Parameters of `jaxskill.methods.action_net`, of the streams "rgb" and "static", from the published network.

  Args:
    state: {state_dict name: array}; what is no parameter of ours is passed over.

  Returns:
    {"streams": {stream: {layer: arrays}}, "head": {...}}, float32.

  Raises:
    ValueError: if an entry is missing.
  """
  flat = {}
  try:
    for theirs, ours in _ACTION_NET.items():
      flat[*ours, "kernel"] = np.asarray(state[f"{theirs}.weight"], np.float32)
      flat[*ours, "bias"] = np.asarray(state[f"{theirs}.bias"], np.float32)
  except KeyError as error:
    raise ValueError(f"the network lacks {error}; found {', '.join(sorted(state))}.") from None
  return traverse_util.unflatten_dict(flat)


def action_net_to_torch(params):
  """The inverse: {state_dict name: float32 array} from our parameters of the streams "rgb" and "static"."""
  flat = traverse_util.flatten_dict(params)
  return {f"{theirs}.{entry}": np.asarray(flat[*ours, name]) for theirs, ours in _ACTION_NET.items()
          for entry, name in (("weight", "kernel"), ("bias", "bias"))}
