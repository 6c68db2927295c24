"""Spatial attention as its equations read, in plain PyTorch: what `jaxskill.benchmark` compares with.

No code was published; this is a port of our own that does frame after frame what the paper says.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from ml_collections import ConfigDict
from torch import nn

from jaxskill.benchmark import contenders
from jaxskill.benchmark.peers import timing
from jaxskill.benchmark.systems import spatial_attention


class TorchNetwork(nn.Module):
  """`[V, T, C, h, w]` -> `[V]` scores."""

  def __init__(self, shape: spatial_attention.Shape) -> None:
    super().__init__()
    self.fusion = nn.Sequential(nn.Conv2d(shape.width, shape.filters, spatial_attention.FUSION_SIZE), nn.ReLU(),
                                nn.Conv2d(shape.filters, shape.channels, 1))
    self.attention_gru = nn.GRUCell(shape.channels + shape.hidden, shape.attention_hidden)
    self.query = nn.Linear(shape.attention_hidden, shape.attention_width, bias=False)
    self.key = nn.Linear(shape.channels, shape.attention_width)
    self.readout = nn.Linear(shape.attention_width, 1, bias=False)
    self.skill_gru = nn.GRUCell(shape.channels, shape.hidden)
    self.score = nn.Linear(shape.hidden, 1, bias=False)

  def forward(self, maps: torch.Tensor) -> torch.Tensor:
    """Returns `[V]` scores of maps `[V, T, C, h, w]`."""
    attention = maps.new_zeros(len(maps), self.attention_gru.hidden_size)
    skill = maps.new_zeros(len(maps), self.skill_gru.hidden_size)
    for frame in maps.unbind(1):
      places = self.fusion(frame).flatten(2).transpose(1, 2)                              # [V, P, D]
      glance = places.mean(dim=1) + places.amax(dim=1)
      attention = self.attention_gru(torch.cat([glance, skill], dim=1), attention)
      logits = self.readout(torch.tanh(self.query(attention)[:, None] + self.key(places)))
      skill = self.skill_gru((torch.softmax(logits, dim=1) * places).sum(dim=1), skill)
    return self.score(skill)[:, 0]


class TorchPeer:
  """The network and its optimizer."""

  def __init__(self, shape: spatial_attention.Shape, train: ConfigDict, margin: float, *,
               words: Collection[str] = ()) -> None:
    self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False               # float32, as for products of matrices
    self._autocast, self._margin = "autocast" in words, margin
    torch.manual_seed(0)
    self.network = TorchNetwork(shape).to(self.device)
    self._compute = timing.compiled(self.network, words)
    self.optimizer = torch.optim.SGD(self.network.parameters(), lr=train.learning_rate, momentum=train.momentum,
                                     weight_decay=train.weight_decay)

  def step(self, better: torch.Tensor, worse: torch.Tensor) -> torch.Tensor:
    """Takes one update on the maps `[B, T, C, h, w]` of pairs; returns the loss."""
    self.optimizer.zero_grad()
    with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
      scores = self._compute(torch.cat([better, worse]))
    loss = torch.relu(self._margin - (scores[: len(better)] - scores[len(better):]).float()).mean()
    loss.backward()
    self.optimizer.step()
    return loss.detach()


class TorchContender:
  """Times the peer; the maps of a batch are on its device before the clock starts."""

  def __init__(self, config: ConfigDict, shape: spatial_attention.Shape, form: str, num_steps: int) -> None:
    data, words, train = contenders.data_of(config, shape), form.split("+"), config.train
    self._peer = TorchPeer(shape, train, config.loss.margin, words=words)
    self._maps = torch.tensor(data.streams[config.data.stream]).movedim(-1, 2).contiguous()
    self._pairs = torch.tensor(data.pairs[data.folds[0].train_pairs])
    self._size, self._count = train.batch_size, num_steps or spatial_attention.SYSTEM.cpu_steps
    begun: dict[str, Any] = timing.first_cycle(lambda: timing.seconds(self._batch, self._peer.step, 1), words)
    self.ready = dict(
        **begun, devices=1, replicas=1, encode="batch", batch_size=self._size,
        dtype="bfloat16" if "autocast" in words else "float32", epochs=spatial_attention.SYSTEM.epochs,
        steps_per_epoch=-(-len(self._pairs) // self._size), threads=torch.get_num_threads(), torch=torch.__version__,
        steps_per_round=self._count, model_flops=spatial_attention.flops(config, shape))

  def _batch(self) -> tuple[torch.Tensor, ...]:
    """Returns the maps of the better and of the worse videos of one step, on the device."""
    pairs = self._pairs[torch.randperm(len(self._pairs))[: self._size]]
    return tuple(self._maps[ids].to(self._peer.device) for ids in pairs.T)

  def round(self) -> float:
    """Returns seconds a step."""
    return timing.seconds(self._batch, self._peer.step, self._count) / self._count

  def finish(self) -> dict[str, int | None]:
    """Returns the memory at its peak, see `timing.memory`."""
    return timing.memory()
