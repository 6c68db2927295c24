"""I3D: the Inception network with two-dimensional filters inflated to three, features of clips.

Batch normalisation has frozen statistics, in training too. Padding is that of TensorFlow and JAX ("SAME") at every
size, so odd numbers of frames and sides are right.

B clips, T frames.

Reference: Carreira and Zisserman, Quo Vadis, Action Recognition?, CVPR 2017, Fig. 3.
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

# Channels of an inception block: 1x1; 1x1 and 3x3; 1x1 and 3x3; pool and 1x1.
BLOCKS = dict(
    mixed_3b=(64, 96, 128, 16, 32, 32), mixed_3c=(128, 128, 192, 32, 96, 64), mixed_4b=(192, 96, 208, 16, 48, 64),
    mixed_4c=(160, 112, 224, 24, 64, 64), mixed_4d=(128, 128, 256, 24, 64, 64), mixed_4e=(112, 144, 288, 32, 64, 64),
    mixed_4f=(256, 160, 320, 32, 128, 128), mixed_5b=(256, 160, 320, 32, 128, 128),
    mixed_5c=(384, 192, 384, 48, 128, 128))
FEATURES = 1024
MIN_FRAMES = 9                 # fewer give a single row of mixed_5c, and the average pool wants two


class Inception(nn.Module):
  """One block: four branches side by side."""

  channels: tuple
  unit: functools.partial

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    one, before_a, a, before_b, b, pooled = self.channels
    small, large = functools.partial(self.unit, size=(1, 1, 1)), functools.partial(self.unit, size=(3, 3, 3))
    implementation = self.unit.keywords["implementation"]
    return jnp.concatenate([
        small(one, name="branch_0")(x),
        large(a, name="branch_1b")(small(before_a, name="branch_1a")(x)),
        large(b, name="branch_2b")(small(before_b, name="branch_2a")(x)),
        small(pooled, name="branch_3")(max_pool(x, (3, 3, 3), (1, 1, 1), implementation=implementation))], axis=-1)


class I3D(nn.Module):
  """The network up to its average pool, and the classes of Kinetics.

  Attributes:
    num_classes: 0 leaves the classifier out.
    eps: of the normalisation: 1e-3 where the weights come from, 1e-5 in some copies of the network.
    dtype, implementation: as in `convolution.convolve`.
  """

  num_classes: int = 0
  eps: float = 1e-3
  dtype: DTypeLike = jnp.float32
  implementation: str = "auto"

  @nn.compact
  def __call__(self, clips: jax.Array) -> dict[str, jax.Array]:
    """Returns every stage of the network; what is not used costs nothing once compiled.

    Args:
      clips: `[B, T, H, W, 3]` in [-1, 1] (optical flow: 2 channels), 224 x 224 as published; at least `MIN_FRAMES`.

    Returns:
      {stage: `[B, T', H', W', C]`} for `conv3d_1a_7x7` to `mixed_5c`; "features" `[B, T', 1024]`, averaged over space
      and two steps of time, T' = T / 8 - 1; and "logits" `[B, T', classes]` where there is a classifier. All float32.

    Raises:
      ValueError: for clips of another shape.
    """
    if clips.ndim != 5 or clips.shape[1] < MIN_FRAMES:
      raise ValueError(f"clips must be [clips, frames, height, width, channels] with at least {MIN_FRAMES} frames, got "
                       f"{clips.shape}.")
    unit = functools.partial(ConvUnit, eps=self.eps, dtype=self.dtype, implementation=self.implementation)
    pool = functools.partial(max_pool, implementation=self.implementation)
    stages, x = {}, clips

    def stage(name: str, value: jax.Array) -> jax.Array:
      stages[name] = value
      return value
    x = stage("conv3d_1a_7x7", unit(64, (7, 7, 7), (2, 2, 2), name="conv3d_1a_7x7")(x))
    x = stage("maxpool3d_2a_3x3", pool(x, (1, 3, 3), (1, 2, 2)))
    x = stage("conv3d_2b_1x1", unit(64, (1, 1, 1), name="conv3d_2b_1x1")(x))
    x = stage("conv3d_2c_3x3", unit(192, (3, 3, 3), name="conv3d_2c_3x3")(x))
    x = stage("maxpool3d_3a_3x3", pool(x, (1, 3, 3), (1, 2, 2)))
    for name, channels in BLOCKS.items():
      if name == "mixed_4b":
        x = stage("maxpool3d_4a_3x3", pool(x, (3, 3, 3), (2, 2, 2)))
      elif name == "mixed_5b":
        x = stage("maxpool3d_5a_2x2", pool(x, (2, 2, 2), (2, 2, 2)))
      x = stage(name, Inception(channels, unit, name=name)(x))
    x = x.mean(axis=(2, 3))                                                               # [B, T / 8, 1024]
    x = stage("features", (x[:, :-1] + x[:, 1:]) / 2)
    if self.num_classes:
      classifier = unit(self.num_classes, (1,), relu=False, normalize=False, name="conv3d_0c_1x1")
      stages["logits"] = classifier(x)
    return stages


def clip_features(variables: Mapping[str, Any], clips: jax.Array, *, module: nn.Module | None = None) -> jax.Array:
  """Returns features of clips, `[B, 1024]` float32, averaged over time; see `one_by_one`.

  Args:
    variables: of `I3D`.
    clips: as `I3D` takes them.
    module: an `I3D`; its defaults if None.
  """
  return one_by_one(module or I3D(), variables, clips, lambda stages: stages["features"].mean(axis=1))
