"""Official PyTorch state_dicts <-> our parameters. Plain arrays on both sides; `weight_files` opens the files.

The published rank-aware attention network saves three networks: `pos` (our "high"), `neg` ("low") and `uniform`, whose
linear layers are `att_net.<filter>.0` (D to H), `att_net.<filter>.2` (H to 1) and `fc.0` (D to 1), weights (out, in);
without the rank-aware loss it has one, `att`, in place of `pos` and `neg`.
ACTION-NET saves one network: streams `d_ct` (our "rgb") and `s_ct` ("static"), and `fc`; all its kernels, those of the
graph convolutions too, are (out, in).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from jaxskill.modules import i3d, resnet

_BRANCHES = {"pos": "high", "neg": "low", "att": "both", "uniform": "uniform"}
_STREAMS = dict(rgb="d_ct", static="s_ct")
_LAYERS = dict(embed_1="embedding.0", embed_2="embedding.2", graph_1="gcn1", graph_2="gcn2", attend_1="att.0",
               attend_2="att.2")
_ACTION_NET = {f"{theirs}.{place}": ("streams", ours, layer) for ours, theirs in _STREAMS.items()
               for layer, place in _LAYERS.items()} | {"fc.0": ("head", "fc_1"), "fc.3": ("head", "fc_2")}


def pros_cons_from_torch(networks: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the parameters of `jaxskill.methods.pros_cons` out of the published networks.

  Args:
    networks: {"pos" | "neg" | "att" | "uniform": {state_dict name: array}}; any of them may be absent.

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

      def stack(name: str) -> np.ndarray:
        return np.stack([state[f"att_net.{k}.{name}"] for k in range(count)])
      filters[branch] = dict(kernel=stack("0.weight"), bias=stack("0.bias"), readout=stack("2.weight")[:, 0],
                             readout_bias=stack("2.bias")[:, 0])
    except KeyError as error:
      raise ValueError(f"network {network!r} lacks {error}; expected att_net.<k>.0|2.weight|bias and fc.0.weight|bias "
                       f"but found {', '.join(sorted(state))}.") from None
  return dict(ranking=ranking) | (dict(filters=filters) if filters else {})


def pros_cons_to_torch(params: Mapping[str, Any]) -> dict[str, Any]:
  """Turns our parameters into {"pos" | "neg" | "att" | "uniform": {state_dict name: float32 array}}: the inverse.

  Raises:
    ValueError: for branches or modules that the published networks have not.
  """
  networks: dict[str, dict] = {}
  branches = {name.removesuffix("_kernel") for name in params["ranking"] if name.endswith("_kernel")}
  if unknown := sorted(branches - set(_BRANCHES.values())):
    raise ValueError(f"it has the branch {unknown[0]!r}, which the published networks have not.")
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


def regression_tree_from_torch(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns the parameters of `jaxskill.modules.regression_tree.RegressionTree` out of the published tree.

  Args:
    state: {state_dict name: array}: `first_layer.0` (D to H), per level i `feature_layers.<i>.0` (rows of the two
      children of each node in turn) and `clf_layers.<i>`, and `reg_layer`, each `.weight` (out, in[, 1]) and `.bias`.

  Returns:
    {"first": ..., "level_0": ..., "leaves": ...}, float32.

  Raises:
    ValueError: if an entry is missing.
  """
  state = {k: np.asarray(v, np.float32) for k, v in state.items()}

  def layer(name: str, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return weight.reshape(nodes, len(bias) // nodes, -1), bias.reshape(nodes, -1)

  def joined(nodes: int, *names: str) -> dict[str, np.ndarray]:
    kernels, biases = zip(*(layer(name, nodes) for name in names))
    return dict(kernel=np.concatenate(kernels, axis=1), bias=np.concatenate(biases, axis=1))
  levels = sum(name.startswith("clf_layers.") and name.endswith(".weight") for name in state)
  try:
    params = dict(first=joined(1, "first_layer.0"), leaves=joined(2 ** levels, "reg_layer"))
    return params | {f"level_{i}": joined(2 ** i, f"feature_layers.{i}.0", f"clf_layers.{i}") for i in range(levels)}
  except KeyError as error:
    raise ValueError(f"the tree lacks {error}; found {', '.join(sorted(state))}.") from None


def regression_tree_to_torch(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Turns our parameters into {state_dict name: float32 array}: the inverse."""
  state = {}

  def put(name: str, kernel: np.ndarray, bias: np.ndarray, convolution: bool = True) -> None:
    weight = np.asarray(kernel).reshape(bias.size, -1)
    state.update({f"{name}.weight": weight[..., None] if convolution else weight, f"{name}.bias": np.ravel(bias)})
  put("first_layer.0", **params["first"], convolution=False)
  for i in range(len(params) - 2):
    kernel, bias = params[f"level_{i}"]["kernel"], np.asarray(params[f"level_{i}"]["bias"])
    put(f"feature_layers.{i}.0", kernel[:, :-2], bias[:, :-2])
    put(f"clf_layers.{i}", kernel[:, -2:], bias[:, -2:])
  put("reg_layer", **params["leaves"])
  return state


def action_net_from_torch(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Returns the parameters of `jaxskill.methods.action_net`, streams "rgb" and "static", out of the published network.

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


def action_net_to_torch(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Turns our parameters of the streams "rgb" and "static" into {state_dict name: float32 array}: the inverse."""
  flat = traverse_util.flatten_dict(params)
  return {f"{theirs}.{entry}": np.asarray(flat[*ours, name]) for theirs, ours in _ACTION_NET.items()
          for entry, name in (("weight", "kernel"), ("bias", "bias"))}


def _i3d_names() -> dict[tuple[str, ...], Any]:
  """Returns {our unit: its names in the two common ports}; both call the convolution `conv3d`."""
  names = {(stage,): (f"{stage}.", f"{stage.capitalize()}.") for stage in
           ("conv3d_1a_7x7", "conv3d_2b_1x1", "conv3d_2c_3x3")}
  names["conv3d_0c_1x1",] = "conv3d_0c_1x1.", "logits."
  branches = dict(branch_0=("branch_0", "b0"), branch_1a=("branch_1.0", "b1a"), branch_1b=("branch_1.1", "b1b"),
                  branch_2a=("branch_2.0", "b2a"), branch_2b=("branch_2.1", "b2b"), branch_3=("branch_3.1", "b3b"))
  return names | {(block, ours): (f"{block}.{first}.", f"{block.capitalize()}.{second}.") for block in i3d.BLOCKS
                  for ours, (first, second) in branches.items()}


_NORMALIZATION = dict(scale="weight", bias="bias", mean="running_mean", var="running_var")


def i3d_from_torch(state: Mapping[str, np.ndarray], num_classes: int | None = None) -> dict[str, Any]:
  """Returns the variables of `jaxskill.modules.i3d.I3D` out of the common ports of the Kinetics weights to PyTorch.

  Args:
    state: {state_dict name: array}, names as in kinetics_i3d_pytorch (and its copies in CoRe and ACTION-NET) or in
      pytorch-i3d; RGB or optical flow.
    num_classes: of the classifier to read; 0 for none, None for as many as there are.

  Returns:
    {"params": ..., "batch_stats": ...}, float32.

  Raises:
    ValueError: for a tensor that is missing or has another shape: which, and what was expected.
  """
  second = "Conv3d_1a_7x7.conv3d.weight" in state
  normalization, first = ("bn", "Conv3d_1a_7x7") if second else ("batch3d", "conv3d_1a_7x7")
  classifier = f"{'logits' if second else 'conv3d_0c_1x1'}.conv3d.weight"
  if num_classes is None:
    num_classes = len(state[classifier]) if classifier in state else 0
  channels = np.shape(state.get(f"{first}.conv3d.weight", np.zeros((0, 3))))[1]
  expected = _shapes(i3d.I3D(num_classes), (1, i3d.MIN_FRAMES, 32, 32, channels if channels in (2, 3) else 3))
  units = _i3d_names()

  def source(path: Sequence[str]) -> str:
    *unit, entry = path
    prefix = units[tuple(unit)][second]
    if entry == "kernel" or unit == ["conv3d_0c_1x1"]:
      return f"{prefix}conv3d.{'weight' if entry == 'kernel' else 'bias'}"
    return f"{prefix}{normalization}.{_NORMALIZATION[entry]}"

  def arrange(path: Sequence[str], value: np.ndarray) -> np.ndarray:
    if path[-1] != "kernel":
      return value
    value = value.transpose(2, 3, 4, 1, 0)                    # (out, in, t, h, w) -> [t, h, w, in, out]
    return value[:, 0, 0] if path[0] == "conv3d_0c_1x1" else value
  return _convert(state, expected, source, arrange, "I3D")


def i3d_to_torch(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Turns variables into {state_dict name: float32 array}, named as in kinetics_i3d_pytorch: the inverse."""
  units, state = _i3d_names(), {}
  for path, value in traverse_util.flatten_dict(variables).items():
    _, *unit, entry = path
    value, (prefix, _) = np.asarray(value), units[tuple(unit)]
    if unit == ["conv3d_0c_1x1"]:
      kernel, name = value.T[..., None, None, None], f"{prefix}conv3d.{'weight' if entry == 'kernel' else 'bias'}"
    else:
      kernel = value.transpose(4, 3, 0, 1, 2) if entry == "kernel" else value
      name = f"{prefix}conv3d.weight" if entry == "kernel" else f"{prefix}batch3d.{_NORMALIZATION[entry]}"
    state[name] = np.ascontiguousarray(kernel if entry == "kernel" else value)
  return state


def resnet_from_torch(state: Mapping[str, np.ndarray], num_classes: int = 0,
                      depth: int | None = None) -> dict[str, Any]:
  """Returns the variables of `jaxskill.modules.resnet.ResNet` out of torchvision's weights; as `i3d_from_torch`.

  `depth` is 50 or 101, or None for what the weights have; the first layer may take any number of channels.
  """
  depth = depth or (101 if "layer3.22.conv1.weight" in state else 50)
  channels = np.shape(state.get("conv1.weight", np.zeros((0, 3))))[1]
  expected = _shapes(resnet.ResNet(depth, num_classes), (1, 32, 32, channels))

  def source(path: Sequence[str]) -> str:
    *unit, entry = path
    if unit == ["fc"]:
      return f"fc.{'weight' if entry == 'kernel' else 'bias'}"
    *blocks, last = unit
    block = "".join(f"{name.replace('_', '.')}." for name in blocks)
    if last == "downsample":
      return f"{block}downsample.0.weight" if entry == "kernel" else f"{block}downsample.1.{_NORMALIZATION[entry]}"
    return f"{block}{last}.weight" if entry == "kernel" else f"{block}bn{last[-1]}.{_NORMALIZATION[entry]}"

  def arrange(path: Sequence[str], value: np.ndarray) -> np.ndarray:
    if path[-1] != "kernel":
      return value
    return value.T if path[0] == "fc" else value.transpose(2, 3, 1, 0)                    # -> [h, w, in, out]
  return _convert(state, expected, source, arrange, f"ResNet-{depth}")


def _shapes(module: i3d.I3D | resnet.ResNet, shape: Sequence[int]) -> dict[str, Any]:
  """Returns {collection: {path: shape}} of a module's variables."""
  variables = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, np.float32))
  return {kind: {path: x.shape for path, x in traverse_util.flatten_dict(tree).items()}
          for kind, tree in variables.items()}


def _convert(state: Mapping[str, np.ndarray], expected: Mapping[str, Any], source: Callable[..., Any],
             arrange: Callable[..., Any], what: str) -> dict[str, Any]:
  """Variables from a state_dict, every tensor checked."""
  result = {}
  for kind in ("params", "batch_stats"):
    flat = {}
    for path, shape in expected[kind].items():
      name = source(path)
      if name not in state:
        raise ValueError(f"the weights lack {name}, which {what} has; they are of another architecture (they begin "
                         f"with {', '.join(sorted(state)[:3])}).")
      value = np.asarray(state[name], np.float32)
      found = value.shape
      try:
        value = arrange(path, value)
      except (ValueError, IndexError):      # another number of axes
        pass
      if value.shape != shape:
        raise ValueError(f"the weights' tensor {name} has the shape {found}, which is not that of {what} (here "
                         f"{shape}, channels last); they are of another architecture.")
      flat[path] = value
    result[kind] = traverse_util.unflatten_dict(flat)
  return result
