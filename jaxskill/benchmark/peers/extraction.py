"""I3D and ResNet in plain PyTorch: what `jaxskill.benchmark.extraction` compares with.

Written from the papers' figures; the layers have our names, so that both sides compute with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from jaxskill.benchmark.peers import timing
from jaxskill.modules.convolution import same_padding
from jaxskill.modules.i3d import BLOCKS
from jaxskill.modules.resnet import DEPTHS


def pad_same(x: torch.Tensor, size: tuple[int, ...], strides: tuple[int, ...], value: float = 0.0) -> torch.Tensor:
  """Returns `[B, C, S...]` padded as TensorFlow does."""
  pads = same_padding(x.shape[2:], size, strides)
  return F.pad(x, [n for axis in reversed(pads) for n in axis], value=value)        # F.pad begins with the last axis


class Unit(nn.Module):
  """Convolution, batch normalisation, ReLU; "SAME" as TensorFlow pads where `padding` is None."""

  def __init__(self, axes: int, channels: int, count: int, size: int, stride: int = 1, padding: int | None = None,
               relu: bool = True, eps: float = 1e-05) -> None:
    super().__init__()
    self._same = ((size,) * axes, (stride,) * axes) if padding is None and stride > 1 else None
    inside = 0 if self._same else size // 2 if padding is None else padding
    convolution, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[axes - 2]
    self.kernel: Any = convolution(channels, count, size, stride, inside, bias=False)
    self.norm: Any = norm(count, eps=eps)
    self._relu = relu

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Returns `[B, N, S'...]` of `[B, C, S...]`."""
    x = self.norm(self.kernel(pad_same(x, *self._same) if self._same else x))
    return F.relu(x, inplace=True) if self._relu else x


def pool_same(x: torch.Tensor, size: tuple[int, ...], strides: tuple[int, ...]) -> torch.Tensor:
  """Returns the maxima of windows of `[B, C, S...]`, padded as TensorFlow does."""
  if max(strides) == 1:
    return F.max_pool3d(x, size, 1, 1)
  return F.max_pool3d(pad_same(x, size, strides, float("-inf")), size, strides)


class Inception(nn.Module):
  """One block: four branches side by side."""

  def __init__(self, width: int, channels: Sequence[int]) -> None:
    super().__init__()
    one, before_a, a, before_b, b, pooled = channels

    def unit(channels: int, count: int, size: int) -> Unit:
      return Unit(3, channels, count, size, eps=1e-3)
    self.branch_0 = unit(width, one, 1)
    self.branch_1a, self.branch_1b = unit(width, before_a, 1), unit(before_a, a, 3)
    self.branch_2a, self.branch_2b = unit(width, before_b, 1), unit(before_b, b, 3)
    self.branch_3 = unit(width, pooled, 1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Returns `[B, N, T, H, W]`, the channels of all branches."""
    return torch.cat([self.branch_0(x), self.branch_1b(self.branch_1a(x)), self.branch_2b(self.branch_2a(x)),
                      self.branch_3(pool_same(x, (3, 3, 3), (1, 1, 1)))], 1)


class TorchI3D(nn.Module):
  """`[B, 3, T, H, W]` -> `[B, 1024]`, averaged as `i3d.clip_features` does."""

  def __init__(self) -> None:
    super().__init__()
    self.conv3d_1a_7x7 = Unit(3, 3, 64, 7, 2, eps=1e-3)
    self.conv3d_2b_1x1, self.conv3d_2c_3x3 = Unit(3, 64, 64, 1, eps=1e-3), Unit(3, 64, 192, 3, eps=1e-3)
    width = 192
    for name, channels in BLOCKS.items():
      self.add_module(name, Inception(width, channels))
      width = sum(channels[i] for i in (0, 2, 4, 5))

  def forward(self, clips: torch.Tensor) -> torch.Tensor:
    """Returns `[B, 1024]` features of `[B, 3, T, H, W]` clips."""
    x = pool_same(self.conv3d_1a_7x7(clips), (1, 3, 3), (1, 2, 2))
    x = pool_same(self.conv3d_2c_3x3(self.conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
    for name in BLOCKS:
      if name == "mixed_4b":
        x = pool_same(x, (3, 3, 3), (2, 2, 2))
      elif name == "mixed_5b":
        x = pool_same(x, (2, 2, 2), (2, 2, 2))
      x = getattr(self, name)(x)
    x = x.mean(dim=(3, 4))
    return ((x[:, :, :-1] + x[:, :, 1:]) / 2).mean(dim=2)


class Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolution, and a way around them."""

  def __init__(self, width: int, channels: int, stride: int) -> None:
    super().__init__()
    self.conv1 = Unit(2, width, channels, 1)
    self.conv2 = Unit(2, channels, channels, 3, stride, padding=1)
    self.conv3 = Unit(2, channels, 4 * channels, 1, relu=False)
    if width != 4 * channels:
      self.downsample = Unit(2, width, 4 * channels, 1, stride, padding=0, relu=False)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Returns `[B, N, H', W']` of `[B, C, H, W]`."""
    y = self.conv3(self.conv2(self.conv1(x)))
    return F.relu(y.add_(self.downsample(x) if hasattr(self, "downsample") else x), inplace=True)


class TorchResNet(nn.Module):
  """`[B, 3, H, W]` -> `[B, 2048]`, averaged over space."""

  def __init__(self, depth: int) -> None:
    super().__init__()
    self.conv1, width = Unit(2, 3, 64, 7, 2, padding=3), 64
    for number, blocks in enumerate(DEPTHS[depth], 1):
      for block in range(blocks):
        channels = 64 * 2 ** (number - 1)
        self.add_module(f"layer{number}_{block}", Bottleneck(width, channels, 2 if number > 1 and block == 0 else 1))
        width = 4 * channels

  def forward(self, frames: torch.Tensor) -> torch.Tensor:
    """Returns `[B, 2048]` features of `[B, 3, H, W]` frames."""
    x = F.max_pool2d(self.conv1(frames), 3, 2, 1)
    for name, layer in self.named_children():
      if name != "conv1":
        x = layer(x)
    return x.mean(dim=(2, 3))


def load(network: nn.Module, variables: Mapping[str, Any]) -> None:
  """Gives a network the variables of ours, `{"params", "batch_stats"}`."""

  def walk(module: nn.Module, params: Any, stats: Mapping[str, Any]) -> None:
    if "kernel" in params:
      kernel = np.asarray(params["kernel"])
      entries = {"kernel.weight": np.moveaxis(kernel, (-1, -2), (0, 1)), "norm.weight": params["scale"],
                 "norm.bias": params["bias"], "norm.running_mean": stats["mean"], "norm.running_var": stats["var"]}
      module.load_state_dict({name: torch.tensor(np.array(value)) for name, value in entries.items()})
    else:
      for name, _ in module.named_children():
        walk(getattr(module, name), params[name], stats[name])
  walk(network, variables["params"], variables["batch_stats"])


def make(network: nn.Module, variables: Mapping[str, Any],
         words: set[str]) -> tuple[Callable[..., Any], Callable[..., Any]]:
  """Returns (function of channels-last NumPy clips or frames that gives tensors ready to use, function of those that
  gives features).

  Args:
    words: of the contender: "tuned" folds normalisation into the convolutions and keeps channels last; "bfloat16" does
      that with weights and activations of this type; "compile" compiles the network, with weights as constants.
  """
  device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
  torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
  load(network, variables)
  network.eval().to(device)
  dtype = torch.bfloat16 if "bfloat16" in words else torch.float32
  memory = torch.contiguous_format
  if words & {"tuned", "bfloat16"}:
    for module in list(network.modules()):
      if isinstance(module, Unit):
        module.kernel = torch.nn.utils.fusion.fuse_conv_bn_eval(module.kernel, module.norm)
        module.norm = nn.Identity()
    memory = torch.channels_last_3d if isinstance(network, TorchI3D) else torch.channels_last
    form: dict[str, Any] = dict(dtype=dtype, memory_format=memory)      # PyTorch's types do not know the second
    network.to(**form)

  network = timing.compiled(network, words, freezing=device.type == "cpu")

  def place(items: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.moveaxis(items, -1, 1)).to(device, dtype).contiguous(memory_format=memory)

  def run(items: torch.Tensor) -> np.ndarray:
    with torch.no_grad():                  # what is frozen when it is compiled must not be of inference mode
      features = network(items)
    if device.type == "cuda":
      torch.cuda.synchronize()
    return features.float().cpu().numpy()
  return place, run
