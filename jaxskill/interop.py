"""Official PyTorch state_dicts <-> our parameters. Plain arrays on both sides; PyTorch is not needed.

The published rank-aware attention network saves three networks: `pos` (our "high"), `neg` ("low") and `uniform`, whose
linear layers are `att_net.<filter>.0` (D to H), `att_net.<filter>.2` (H to 1) and `fc.0` (D to 1), weights (out, in).
"""

from __future__ import annotations

import numpy as np

_BRANCHES = {"pos": "high", "neg": "low", "uniform": "uniform"}


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
