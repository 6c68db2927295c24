"""What `jaxskill.benchmark` needs to know of ACTION-NET: sizes, forms, FLOPs of a step."""

from __future__ import annotations

from typing import NamedTuple

from ml_collections import ConfigDict

from jaxskill.benchmark.systems import System, amount


class Shape(NamedTuple):
  """Sizes of a benchmark; the tests use the same."""

  batch_size: int       # videos
  train_videos: int
  test_videos: int
  streams: dict         # {name: (rows, channels)}
  windows: dict         # rows that a step sees
  channels: int
  attention_hidden: int
  head_hidden: int
  hidden: int = 0


SHAPES = {
    "paper": Shape(32, 200, 50, dict(rgb=(28, 1024), static=(80, 2048)), dict(rgb=26, static=80), 256, 128, 128),
    "tiny": Shape(4, 7, 3, dict(rgb=(6, 12), static=(5, 8)), dict(rgb=4, static=5), 8, 4, 4),
}   # paper: an apparatus of Rhythmic Gymnastics


def flops(config: ConfigDict, shape: Shape, form: str = "") -> float | None:
  """Returns floating-point operations of one training step: matrix products, forward and both gradients.

  The first layer has no gradient of its input, which is data; a graph of time has none at all. None for other contexts
  and poolings than the paper's.
  """
  model, total = config.model, 0
  if (model.context, model.pooling) != ("gcn", "attention"):
    return None
  channels, of_features = model.channels, model.adjacency == "feature"
  for name in model.streams:
    rows, width = shape.streams[name]
    window, hidden = model.windows[name] or rows, model.hidden or width // 2
    kernels = hidden * channels + 2 * channels ** 2 + (2 * channels + 1) * model.attention_hidden
    neighbors = (2 + of_features) * 2 + 3 * of_features      # products of the two propagations and of the distances
    total += window * (2 * width * hidden + 3 * kernels + neighbors * window * channels)
  total += 3 * model.head_hidden * (2 * channels * len(model.streams) + 1)
  replicas = len(config.seeds) * len(config.data.criteria) * amount(form, "F")
  return 2.0 * replicas * config.train.batch_size * total


SYSTEM = System(
    shapes=SHAPES, streams=lambda shape, config: {name: shape.streams[name] for name in config.model.streams},
    flops=flops, note="all matrix products, by hand; by XLA: cost_analysis() of one step.",
    peak=lambda shape: (shape.batch_size * shape.windows["static"], *shape.streams["static"][1:],
                        shape.streams["static"][1] // 2),
    forms=("float32", "bfloat16", "official", "official+bfloat16"),
    peer_forms=("torch", "torch+compile", "torch+autocast", "torch+compile+autocast"),
    peer="jaxskill.benchmark.peers.action_net", cpu_steps=20, epochs=400, items="videos",
    settings={"data.standardize": False, "data.criteria": ("score",), "model.widths.rgb": 0, "model.widths.static": 0})
