"""ResNet-50 and -101: features of frames. The stride of a block sits in its 3x3 convolution ("v1.5").

B frames.

Reference: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, Table 1.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxskill.modules.convolution import ConvUnit, max_pool, one_by_one

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}      # blocks of the four stages
FEATURES = 2048


class Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolution, and a way around them."""

  channels: int
  stride: int
  unit: functools.partial

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    strides, wide = (self.stride, self.stride), 4 * self.channels
    y = self.unit(self.channels, (1, 1), name="conv1")(x)
    y = self.unit(self.channels, (3, 3), strides, ((1, 1), (1, 1)), name="conv2")(y)
    y = self.unit(wide, (1, 1), relu=False, name="conv3")(y)
    if x.shape[-1] != wide:
      x = self.unit(wide, (1, 1), strides, relu=False, name="downsample")(x)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """The network.

  Attributes:
    depth: a key of `DEPTHS`.
    num_classes: 0 leaves the classifier out.
    dtype, implementation: as in `convolution.convolve`.
  """

  depth: int = 50
  num_classes: int = 0
  dtype: DTypeLike = jnp.float32
  implementation: str = "auto"

  @nn.compact
  def __call__(self, frames: jax.Array) -> dict[str, jax.Array]:
    """Returns every stage of the network; what is not used costs nothing once compiled.

    Args:
      frames: `[B, H, W, 3]`, normalised as the weights want it.

    Returns:
      {"stem": before its ReLU, "maxpool", "layer1" .. "layer4": `[B, H', W', C]`}, "feature" `[B, 2048]`, the average
      over space, and "logits" `[B, classes]` where there is a classifier. All float32.

    Raises:
      ValueError: for another depth, or frames of another shape.
    """
    if self.depth not in DEPTHS:
      raise ValueError(f"depth={self.depth} is unknown; use one of {', '.join(map(str, DEPTHS))}.")
    if frames.ndim != 4:
      raise ValueError(f"frames must be [frames, height, width, channels], got {frames.shape}.")
    unit = functools.partial(ConvUnit, dtype=self.dtype, implementation=self.implementation)
    stages = {}
    x = stages["stem"] = unit(64, (7, 7), (2, 2), ((3, 3), (3, 3)), relu=False, name="conv1")(frames)
    x = stages["maxpool"] = max_pool(nn.relu(x), (3, 3), (2, 2), [(1, 1), (1, 1)], implementation=self.implementation)
    for number, blocks in enumerate(DEPTHS[self.depth], 1):
      for block in range(blocks):
        stride = 2 if number > 1 and block == 0 else 1
        x = Bottleneck(64 * 2 ** (number - 1), stride, unit, name=f"layer{number}_{block}")(x)
      stages[f"layer{number}"] = x
    x = stages["feature"] = x.mean(axis=(1, 2))
    if self.num_classes:
      stages["logits"] = nn.Dense(self.num_classes, name="fc")(x)
    return stages


def frame_features(variables: Mapping[str, Any], frames: jax.Array, *, module: nn.Module | None = None,
                   stage: str = "feature") -> jax.Array:
  """Returns a stage of frames, `[B, 2048]` by default; see `one_by_one`.

  Args:
    variables: of `ResNet`.
    frames: as `ResNet` takes them.
    module: a `ResNet`; its defaults if None.
    stage: what of its results.
  """
  return one_by_one(module or ResNet(), variables, frames, lambda stages: stages[stage])
