"""I3D and ResNet in plain PyTorch: what `jaxskill.benchmark_extraction` compares with.

Written from the papers' figures; the names of the weights are those of the public files, so that both sides compute
with the same ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from jaxskill.modules.i3d import BLOCKS
from jaxskill.modules.resnet import DEPTHS


def pad_same(x, size, strides, value=0.0):
  """Pads `[B, C, S...]` as TensorFlow does; the odd row comes behind."""
  pads = []
  for n, k, s in zip(x.shape[2:], size, strides):
    total = max((-(-n // s) - 1) * s + k - n, 0)
    pads = [total // 2, total - total // 2, *pads]           # F.pad begins with the last axis
  return F.pad(x, pads, value=value) if any(pads) else x


class Unit(nn.Module):
  """3-D convolution, batch normalisation, ReLU."""

  def __init__(self, channels, count, size, stride=1):
    super().__init__()
    self._size, self._strides = (size,) * 3, (stride,) * 3
    inside = size // 2 if stride == 1 else 0                 # an odd window without strides: equal on both sides
    self.conv3d = nn.Conv3d(channels, count, size, stride, inside, bias=False)
    self.batch3d = nn.BatchNorm3d(count, eps=1e-3)

  def forward(self, x):
    x = pad_same(x, self._size, self._strides) if max(self._strides) > 1 else x
    return F.relu(self.batch3d(self.conv3d(x)), inplace=True)


class Pool(nn.Module):
  """Maxima of windows, padded as TensorFlow does."""

  def __init__(self, size, strides):
    super().__init__()
    self._size, self._strides = size, strides

  def forward(self, x):
    if max(self._strides) == 1:
      return F.max_pool3d(x, self._size, 1, 1)
    return F.max_pool3d(pad_same(x, self._size, self._strides, float("-inf")), self._size, self._strides)


class Inception(nn.Module):

  def __init__(self, width, channels):
    super().__init__()
    one, before_a, a, before_b, b, pooled = channels
    self.branch_0 = Unit(width, one, 1)
    self.branch_1 = nn.Sequential(Unit(width, before_a, 1), Unit(before_a, a, 3))
    self.branch_2 = nn.Sequential(Unit(width, before_b, 1), Unit(before_b, b, 3))
    self.branch_3 = nn.Sequential(Pool((3, 3, 3), (1, 1, 1)), Unit(width, pooled, 1))

  def forward(self, x):
    return torch.cat([self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(x)], 1)


class TorchI3D(nn.Module):
  """`[B, 3, T, H, W]` -> `[B, 1024]`, averaged over space and time as `i3d.clip_features`."""

  def __init__(self):
    super().__init__()
    layers = dict(conv3d_1a_7x7=Unit(3, 64, 7, 2), maxPool3d_2a_3x3=Pool((1, 3, 3), (1, 2, 2)),
                  conv3d_2b_1x1=Unit(64, 64, 1), conv3d_2c_3x3=Unit(64, 192, 3),
                  maxPool3d_3a_3x3=Pool((1, 3, 3), (1, 2, 2)))
    width = 192
    for name, channels in BLOCKS.items():
      if name == "mixed_4b":
        layers["maxPool3d_4a_3x3"] = Pool((3, 3, 3), (2, 2, 2))
      elif name == "mixed_5b":
        layers["maxPool3d_5a_2x2"] = Pool((2, 2, 2), (2, 2, 2))
      layers[name] = Inception(width, channels)
      width = sum(channels[i] for i in (0, 2, 4, 5))
    for name, layer in layers.items():
      self.add_module(name, layer)

  def forward(self, clips):
    x = clips
    for layer in self.children():
      x = layer(x)
    x = x.mean(dim=(3, 4))
    return ((x[:, :, :-1] + x[:, :, 1:]) / 2).mean(dim=2)


class Bottleneck(nn.Module):

  def __init__(self, width, channels, stride):
    super().__init__()
    self.conv1 = nn.Conv2d(width, channels, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(channels)
    self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(channels)
    self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
    self.bn3 = nn.BatchNorm2d(4 * channels)
    self.downsample = None
    if width != 4 * channels:
      self.downsample = nn.Sequential(nn.Conv2d(width, 4 * channels, 1, stride, bias=False), nn.BatchNorm2d(4 * channels))

  def forward(self, x):
    y = F.relu(self.bn1(self.conv1(x)), inplace=True)
    y = F.relu(self.bn2(self.conv2(y)), inplace=True)
    y = self.bn3(self.conv3(y))
    return F.relu(y.add_(self.downsample(x) if self.downsample else x), inplace=True)


class TorchResNet(nn.Module):
  """`[B, 3, H, W]` -> `[B, 2048]`, averaged over space."""

  def __init__(self, depth):
    super().__init__()
    self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
    width, layers = 64, []
    for number, blocks in enumerate(DEPTHS[depth], 1):
      channels, stage = 64 * 2 ** (number - 1), []
      for block in range(blocks):
        stage.append(Bottleneck(width, channels, 2 if number > 1 and block == 0 else 1))
        width = 4 * channels
      self.add_module(f"layer{number}", nn.Sequential(*stage))
      layers.append(f"layer{number}")
    self._layers = layers

  def forward(self, frames):
    x = F.max_pool2d(F.relu(self.bn1(self.conv1(frames)), inplace=True), 3, 2, 1)
    for name in self._layers:
      x = getattr(self, name)(x)
    return x.mean(dim=(2, 3))


def fold(module):
  """Normalisation folded into the convolution before it, everywhere; as ours does it."""
  for parent in list(module.modules()):
    before = None
    for name, child in list(parent.named_children()):
      if isinstance(child, (nn.BatchNorm2d, nn.BatchNorm3d)):
        setattr(parent, before[0], torch.nn.utils.fusion.fuse_conv_bn_eval(before[1], child))
        setattr(parent, name, nn.Identity())
      before = name, child
  return module
