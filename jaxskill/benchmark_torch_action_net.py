"""The published way of training ACTION-NET, in plain PyTorch: what `jaxskill.benchmark` compares with."""

from __future__ import annotations

import contextlib

import torch
from torch import nn
from torch.nn import functional

STREAMS = dict(d_ct=(1024, 512), s_ct=(2048, 1024))     # as published: width, units of embedding


class _Graph(nn.Linear):
  """Graph convolution: adjacency times (instances times kernel), bias last."""

  def forward(self, x, adjacency):
    return adjacency @ functional.linear(x, self.weight) + self.bias


class _Stream(nn.Module):
  """Embedding, two graph convolutions on positions, attention unit, weighted sum: `[B, T, D]` -> `[B, 2C]`."""

  def __init__(self, width, hidden, channels=256, attention_hidden=128):
    super().__init__()
    self.embedding = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.ReLU())
    self.gcn1, self.gcn2 = _Graph(channels, channels), _Graph(channels, channels)
    self.att = nn.Sequential(nn.Linear(2 * channels, attention_hidden), nn.ReLU(), nn.Linear(attention_hidden, 1))

  def forward(self, features):
    place = torch.arange(features.shape[1], device=features.device)
    adjacency = torch.exp(-(place[:, None] - place).abs().float())
    normaliser = adjacency.sum(dim=1).rsqrt()
    adjacency = normaliser[:, None] * adjacency * normaliser
    embedded = self.embedding(features)
    x = torch.relu(self.gcn1(embedded, adjacency))
    x = torch.cat([embedded, torch.relu(self.gcn2(x, adjacency))], dim=2)                 # [B, T, 2C]
    weights = torch.softmax(self.att(x), dim=1)                                           # [B, T, 1]
    return (weights * x).sum(dim=1)


class TorchPeer:
  """ACTION-NET as the published code trains it (PARITY), in plain PyTorch; written from the paper.

  Adjacency of positions without identity, padding not masked, mean squared error of the sigmoid and score / range,
  SGD with weight decay on every parameter and a higher rate for the head.
  """

  def __init__(self, streams=STREAMS, *, autocast=False, dropout=0.5, learning_rate=0.01, head_rate=0.05, momentum=0.9,
               weight_decay=1e-4):
    """`streams` is {name: (width, units of the first embedding layer)}."""
    self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    self._autocast = autocast
    torch.manual_seed(0)
    self.network = nn.ModuleDict({name: _Stream(*sizes) for name, sizes in streams.items()})
    self.network["fc"] = nn.Sequential(nn.Linear(512 * len(streams), 128), nn.ReLU(), nn.Dropout(dropout),
                                       nn.Linear(128, 1))
    for name, parameter in self.network.named_parameters():
      nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.xavier_uniform_(parameter)
    self.network.to(self.device)
    named = list(self.network.named_parameters())
    self.optimiser = torch.optim.SGD(
        [dict(params=[p for name, p in named if name.startswith("fc.")], lr=head_rate),
         dict(params=[p for name, p in named if not name.startswith("fc.")])],
        lr=learning_rate, momentum=momentum, weight_decay=weight_decay)

  def scores(self, *features):
    """`[B, T, D]` of every stream -> `[B]` scores between 0 and 1."""
    pooled = [self.network[name](x) for name, x in zip(self.network, features)]
    return torch.sigmoid(self.network["fc"](torch.cat(pooled, dim=1)))[:, 0]

  def step(self, features, labels):
    """One update; `features` `[B, T, D]` of every stream, `labels` `[B]` score / range. Returns loss, scores `[B]`."""
    self.optimiser.zero_grad()
    context = torch.autocast(self.device.type, dtype=torch.bfloat16) if self._autocast else contextlib.nullcontext()
    with context:
      scores = self.scores(*features)
    loss = functional.mse_loss(scores.float(), labels)
    loss.backward()
    self.optimiser.step()
    return loss.detach(), scores.detach()
