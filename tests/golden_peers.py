"""Writes the golden files of what a PyTorch peer alone computes: python -m tests.golden_peers (needs the extra bench).

What the other peers compute is in the files of the published code: raan_train, core_loss, actionnet_sgd, i3d_*, resnet*.
No code was published for spatial attention.
"""

import numpy as np

from jaxskill import cli
from jaxskill.benchmark import contenders
from jaxskill.benchmark.systems import spatial_attention
from tests.places import CONFIGS, GOLDEN

GRU = dict(input="weight_ih", state="weight_hh", input_bias="bias_ih", state_bias="bias_hh")
CONFIG = str(CONFIGS / "spatial_attention.py")
TRAIN = ("learning_rate", "momentum", "weight_decay")


def spatial_attention_from_torch(state):
  """Our parameters from the state_dict of the peer."""
  cell = lambda name: {part: state[f"{name}.{theirs}"] for part, theirs in GRU.items()}
  return dict(fuse_1_kernel=state["fusion.0.weight"].transpose(2, 3, 0, 1), fuse_1_bias=state["fusion.0.bias"],
              fuse_2_kernel=state["fusion.2.weight"][..., 0, 0], fuse_2_bias=state["fusion.2.bias"],
              query=state["query.weight"], key_kernel=state["key.weight"], key_bias=state["key.bias"],
              readout=state["readout.weight"][0], score=state["score.weight"][0],
              attention_gru=cell("attention_gru"), skill_gru=cell("skill_gru"))


def spatial_attention_peer(sizes, train, margin):
  """The peer with a shape of `sizes` {field: value}."""
  from jaxskill.benchmark.peers.spatial_attention import TorchPeer
  return TorchPeer(spatial_attention.SHAPES["tiny"]._replace(**sizes), train, margin)


def weights_of(peer):
  return {name: value.cpu().numpy().copy() for name, value in peer.network.state_dict().items()}


def spatial_attention_file():
  """Scores of four videos; the losses of two updates by two pairs of them, and the weights after both."""
  import torch
  config, official = cli.read_config(CONFIG, [])
  shape = spatial_attention.SHAPES["tiny"]
  config = contenders.configure(config, "float32", shape, official)
  peer = spatial_attention_peer({}, config.train, config.loss.margin)
  rng = np.random.default_rng(0)
  start = {name: (0.5 * rng.normal(size=value.shape)).astype(np.float32) for name, value in weights_of(peer).items()}
  peer.network.load_state_dict({name: torch.tensor(value) for name, value in start.items()})
  maps = rng.normal(size=(4, shape.segments, shape.width, shape.places, shape.places)).astype(np.float32)
  with torch.no_grad():
    scores = peer.network(torch.tensor(maps, device=peer.device)).cpu().numpy()
  losses = [float(peer.step(*torch.tensor(maps, device=peer.device).split(2))) for _ in range(2)]
  data = {f"size/{name}": value for name, value in shape._asdict().items()}
  data |= {name: np.float64(config.train[name]) for name in TRAIN}
  data |= dict(margin=np.float64(config.loss.margin), maps=maps, scores=scores, losses=np.float32(losses))
  data |= {f"w/{name}": value for name, value in start.items()}
  return data | {f"after/{name}": value for name, value in weights_of(peer).items()}


def main():
  np.savez_compressed(GOLDEN / "peer_spatial_attention.npz", **spatial_attention_file())


if __name__ == "__main__":
  main()
