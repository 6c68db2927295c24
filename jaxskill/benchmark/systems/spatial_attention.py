"""What `jaxskill.benchmark` needs to know of spatial attention: sizes, forms, FLOPs of a step, the naive recurrence."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxskill.benchmark.systems import System
from jaxskill.methods.common import hinge
from jaxskill.modules.gru_attention import FUSION_SIZE, convolve, gru_gates, gru_step
from jaxskill.modules.layers import take
from jaxskill.training.batches import as_maps
from jaxskill.training.parallel import float32_products


class Shape(NamedTuple):
  """Sizes of a benchmark; the tests use the same."""

  batch_size: int       # pairs
  train_videos: int
  test_videos: int
  pairs: int            # training pairs
  places: int           # of a side of the maps
  segments: int
  width: int
  filters: int
  channels: int
  attention_hidden: int
  attention_width: int
  hidden: int


_PAPER = Shape(1, 4, 2, 6, 14, 25, 4096, 512, 256, 128, 32, 128)
SHAPES = {
    "paper": _PAPER,                                                                        # one pair
    "sixteen": _PAPER._replace(batch_size=8, train_videos=16, pairs=120),                   # videos of a step
    "tiny": Shape(2, 5, 2, 6, 4, 3, 8, 6, 4, 3, 2, 5),
}


def flops(config: ConfigDict, shape: Shape, form: str = "") -> float:
  """Returns floating-point operations of one training step: products with maps, forward and gradients.

  The maps themselves have no gradient, for they are data. The recurrence is left out (0.1 %), and so is what the
  stacked form multiplies beyond the border of the maps (16 % of 14 x 14 places).
  """
  del form
  fused = (shape.places - (FUSION_SIZE - 1) * (config.model.padding == "valid")) ** 2
  fusion = 2 * FUSION_SIZE ** 2 * shape.width * shape.filters
  rest = 3 * shape.channels * (shape.filters + shape.attention_width)
  sides = 2 * config.train.batch_size
  videos = min(sides, shape.train_videos) if config.train.encode == "unique" else sides
  return 2.0 * len(config.seeds) * videos * shape.segments * fused * (fusion + rest)


def scores_in_scan(params: Mapping[str, Any], maps: jax.Array, config: ConfigDict) -> jax.Array:
  """Returns `[V]` scores of maps `[V, T, h, w, C]` as the equations read: each frame is fused when its turn comes."""
  model, dtype = config.model, jnp.dtype(config.train.dtype)

  def step(states: tuple[jax.Array, jax.Array], frame: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
    attention, skill = states
    x = convolve(params["fuse_1_kernel"], frame, padding=model.padding, dtype=dtype,
                 implementation=model.implementation)
    x = jax.nn.relu(x + params["fuse_1_bias"][:, None, None, None])
    x = jnp.einsum("ds,svyx->vyxd", params["fuse_2_kernel"].astype(dtype), x.astype(dtype),
                   preferred_element_type=jnp.float32) + params["fuse_2_bias"]
    x = x.reshape(len(frame), -1, x.shape[-1])                                            # [V, P, D]
    guide = jnp.concatenate([x.mean(axis=1) + x.max(axis=1), skill], axis=1)
    attention = gru_step(params["attention_gru"], gru_gates(params["attention_gru"], guide), attention)
    keys = x @ params["key_kernel"].T + params["key_bias"] + (attention @ params["query"].T)[:, None]
    weights = jax.nn.softmax(jnp.tanh(keys) @ params["readout"], axis=1)
    seen = jnp.einsum("vp,vpd->vd", weights, x)
    return (attention, gru_step(params["skill_gru"], gru_gates(params["skill_gru"], seen), skill)), None

  start = (jnp.zeros((len(maps), model.attention_hidden)), jnp.zeros((len(maps), model.hidden)))
  (_, skill), _ = jax.lax.scan(step, start, maps.swapaxes(0, 1))
  return skill @ params["score"]


class InScan:
  """Loss and gradient of a batch of pairs, with all of the network inside the recurrence; no optimizer."""

  def __init__(self, trainer: Any) -> None:
    config, self.size = trainer.config, trainer.config.train.batch_size
    items = trainer.tables.items[0, : self.size]

    def loss(params: Any, maps: Any) -> Any:
      scores = scores_in_scan(params, as_maps(jax.tree.map(lambda x: take(x, items.T.reshape(-1)), maps)), config)
      return hinge(config.loss.margin, scores[: self.size] - scores[self.size:]).mean()
    self._step = jax.jit(float32_products(jax.value_and_grad(loss)))
    self._maps = trainer.loader.videos[config.data.stream]
    self._params = jax.tree.map(lambda x: x[0], trainer.state.params)

  def round(self, repeats: int) -> float:
    """Returns seconds a step."""
    start = time.perf_counter()
    for _ in range(repeats):
      result = self._step(self._params, self._maps)
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / repeats


SYSTEM = System(
    shapes=SHAPES, streams=lambda shape, config: {
        config.data.stream: (shape.segments, shape.places, shape.places, shape.width)},
    flops=flops,
    note="products with maps, by hand; by XLA: cost_analysis() of one step, which knows no lax.conv on CPUs.",
    peak=lambda shape: (2 * shape.segments * shape.places ** 2, shape.width, FUSION_SIZE ** 2 * shape.filters),
    forms=("float32", "bfloat16", "bfloat16+stream", "bfloat16+plain", "bfloat16+inscan"),
    peer_forms=("torch", "torch+compile", "torch+autocast", "torch+compile+autocast"),
    peer="jaxskill.benchmark.peers.spatial_attention", cpu_steps=2, epochs=50,
    settings={"data.standardize": False, "train.encode": "unique"}, others=dict(inscan=InScan),
    words=dict(plain={"model.implementation": "plain"}))
