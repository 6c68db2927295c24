"""The published way of training ACTION-NET, in plain PyTorch: what `jaxskill.benchmark` compares with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import nn
from torch.nn import functional

from jaxskill.benchmark import contenders
from jaxskill.benchmark.peers import timing
from jaxskill.benchmark.systems import action_net


class _Graph(nn.Linear):
  """Graph convolution: adjacency times (instances times kernel), bias last."""

  def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
    x, adjacency = inputs
    return adjacency @ functional.linear(x, self.weight) + self.bias


class _Stream(nn.Module):
  """Embedding, two graph convolutions on positions, attention unit, weighted sum: `[B, T, D]` -> `[B, 2C]`."""

  def __init__(self, width: int, hidden: int, channels: int, attention_hidden: int) -> None:
    super().__init__()
    self.embedding = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.ReLU())
    self.gcn1, self.gcn2 = _Graph(channels, channels), _Graph(channels, channels)
    self.att = nn.Sequential(nn.Linear(2 * channels, attention_hidden), nn.ReLU(), nn.Linear(attention_hidden, 1))

  def forward(self, features: torch.Tensor) -> torch.Tensor:
    place = torch.arange(features.shape[1], device=features.device)
    adjacency = torch.exp(-(place[:, None] - place).abs().float())
    normalizer = adjacency.sum(dim=1).rsqrt()
    adjacency = normalizer[:, None] * adjacency * normalizer
    embedded = self.embedding(features)
    x = torch.relu(self.gcn1(embedded, adjacency))
    x = torch.cat([embedded, torch.relu(self.gcn2(x, adjacency))], dim=2)                 # [B, T, 2C]
    weights = torch.softmax(self.att(x), dim=1)                                           # [B, T, 1]
    return (weights * x).sum(dim=1)


class TorchPeer:
  """ACTION-NET as the published code trains it, in plain PyTorch; written from the paper.

  Adjacency of positions without identity, padding not masked, mean squared error of the sigmoid and score / range,
  SGD with weight decay on every parameter and a higher rate for the head.
  """

  def __init__(self, widths: Mapping[str, int], *, channels: int = 256, attention_hidden: int = 128,
               head_hidden: int = 128, words: Collection[str] = (), dropout: float = 0.5, learning_rate: float = 0.01,
               head_rate: float = 0.05, momentum: float = 0.9, weight_decay: float = 0.0001) -> None:
    """`widths` is {name of a stream: its channels}; `words` are those of the form."""
    self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    self._autocast, self._compute = "autocast" in words, timing.compiled(self.scores, words)
    torch.manual_seed(0)
    self.network = nn.ModuleDict({name: _Stream(width, width // 2, channels, attention_hidden)
                                  for name, width in widths.items()})
    self.network["fc"] = nn.Sequential(nn.Linear(2 * channels * len(widths), head_hidden), nn.ReLU(),
                                       nn.Dropout(dropout), nn.Linear(head_hidden, 1))
    for name, parameter in self.network.named_parameters():
      nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.xavier_uniform_(parameter)
    self.network.to(self.device)
    named = list(self.network.named_parameters())
    groups: list[dict[str, Any]] = [dict(params=[p for name, p in named if name.startswith("fc.")], lr=head_rate),
                                    dict(params=[p for name, p in named if not name.startswith("fc.")])]
    self.optimizer = torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, weight_decay=weight_decay)

  def scores(self, *features: torch.Tensor) -> torch.Tensor:
    """Returns `[B]` scores between 0 and 1 of `[B, T, D]` features of every stream."""
    pooled = [self.network[name](x) for name, x in zip(self.network, features)]
    return torch.sigmoid(self.network["fc"](torch.cat(pooled, dim=1)))[:, 0]

  def step(self, features: Sequence[torch.Tensor], labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Takes one update; returns the loss and `[B]` scores.

    Args:
      features: `[B, T, D]` of every stream; labels: `[B]` score / range.
    """
    self.optimizer.zero_grad()
    with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
      scores = self._compute(*features)
    loss = functional.mse_loss(scores.float(), labels)
    loss.backward()
    self.optimizer.step()
    return loss.detach(), scores.detach()


class TorchContender:
  """Times the peer; the windows of a batch are cut before the clock starts."""

  def __init__(self, config: ConfigDict, shape: action_net.Shape, form: str, num_steps: int) -> None:
    model, data, words = config.model, contenders.data_of(config, shape), form.split("+")
    self._windows = {name: model.windows[name] or shape.streams[name][0] for name in model.streams}
    self._peer = TorchPeer({name: data.streams[name].shape[2] for name in model.streams}, channels=model.channels,
                           attention_hidden=model.attention_hidden, head_hidden=model.head_hidden, words=words,
                           dropout=model.dropout)
    train = torch.tensor(data.folds[0].train_videos)
    self._features = {name: torch.tensor(data.streams[name]) for name in model.streams}
    self._labels, self._train = torch.tensor(data.score) / float(np.asarray(data.score_range).max()), train
    self._size, self._count = config.train.batch_size, num_steps or action_net.SYSTEM.cpu_steps
    begun: dict[str, Any] = timing.first_cycle(lambda: timing.seconds(self._batch, self._peer.step, 2), words)
    self.ready = dict(
        **begun, devices=1, replicas=1, encode="batch", batch_size=self._size,
        dtype="bfloat16" if "autocast" in words else "float32", epochs=action_net.SYSTEM.epochs,
        steps_per_epoch=-(-len(train) // self._size), threads=torch.get_num_threads(), torch=torch.__version__,
        steps_per_round=self._count, model_flops=action_net.flops(config, shape))

  def _batch(self) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Returns (windows `[B, T, D]` of every stream, `[B]` labels) of one step, on the device."""
    ids, features = self._train[torch.randperm(len(self._train))[: self._size]], []
    for name, window in self._windows.items():
      starts = torch.randint(max(self._features[name].shape[1] - window, 1), (len(ids),))
      cut = [self._features[name][i, s: s + window] for i, s in zip(ids, starts)]
      features.append(torch.stack(cut).to(self._peer.device))
    return features, self._labels[ids].to(self._peer.device)

  def round(self) -> float:
    """Returns seconds a step."""
    return timing.seconds(self._batch, self._peer.step, self._count) / self._count

  def finish(self) -> dict[str, int | None]:
    """Returns the memory at its peak, see `timing.memory`."""
    return timing.memory()
