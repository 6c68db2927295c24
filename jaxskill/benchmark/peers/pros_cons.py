"""The published way of computing rank-aware attention, in plain PyTorch: what `jaxskill.benchmark` compares with."""

from __future__ import annotations

import functools
import pathlib
import time
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict

from jaxskill.benchmark import contenders
from jaxskill.benchmark.peers import timing
from jaxskill.benchmark.systems import pros_cons


class TorchPeer:
  """Rank-aware attention as the published code is organized, in plain PyTorch; written from the paper.

  Both sides of every pair go through three networks (pos, neg, uniform), one module a filter; each filter pools for
  itself, all share one layer, scores are 2 tanh. Losses are means over the batch; one noise sample [T, D] is added to
  the whole batch. Two Adam optimizers take turns, and each clears its own gradients alone, after its step.
  """

  def __init__(self, config: ConfigDict, width: int, *, words: Collection[str] = ()) -> None:
    """`config` is one of the official variant; `words` are those of the form."""
    self._loss, self._noise_std = config.loss, config.model.noise_std
    self._autocast, self._input_gradient = "autocast" in words, "dx" in words
    self._compute = timing.compiled(self.loss, words)
    self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    nn = torch.nn

    def ranker() -> torch.nn.Module:
      return nn.Sequential(nn.Linear(width, 1))

    def filters() -> torch.nn.Module:
      return nn.ModuleList(nn.Sequential(nn.Linear(width, config.model.hidden), nn.ReLU(),
                                         nn.Linear(config.model.hidden, 1))
                           for _ in range(config.model.num_filters))
    self.networks: Any = nn.ModuleDict({
        "pos": nn.ModuleDict(dict(att_net=filters(), fc=ranker())),
        "neg": nn.ModuleDict(dict(att_net=filters(), fc=ranker())),
        "uniform": nn.ModuleDict(dict(fc=ranker()))}).to(self.device)
    named = list(self.networks.named_parameters())
    rate = config.train.learning_rate
    attention_rate = rate * float(np.prod([factor for pattern, factor in config.train.rates if pattern == "^filters/"]))
    self.optimizers = (torch.optim.Adam([p for name, p in named if ".fc." in name], lr=rate),
                       torch.optim.Adam([p for name, p in named if ".att_net." in name], lr=attention_rate))

  def _forward(self, name: str, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`[B, T, D]` -> `[B, K]` scores, `[B, T, K]` attention (None in the uniform network)."""
    network = self.networks[name]
    if name == "uniform":
      pooled, attention = features.mean(dim=1, keepdim=True), None                        # [B, 1, D]
    else:
      attention = torch.softmax(torch.cat([f(features) for f in network["att_net"]], dim=2), dim=1)
      pooled = torch.bmm(attention.transpose(1, 2).to(features.dtype), features)          # [B, K, D]
    return 2 * torch.tanh(network["fc"](pooled)[..., 0]), attention

  def loss(self, better: torch.Tensor, worse: torch.Tensor, phase: int) -> torch.Tensor:
    """Returns [] ranking losses (phase 0), or disparity, rank-aware and diversity losses (phase 1)."""
    loss = self._loss
    scores, attentions = {}, []
    for name in self.networks:
      (s_better, a_better), (s_worse, a_worse) = self._forward(name, better), self._forward(name, worse)
      scores[name] = s_better, s_worse
      attentions += [a for a in (a_better, a_worse) if a is not None]

    def hinge(margin: float, difference: torch.Tensor) -> torch.Tensor:
      return torch.relu(margin - difference).mean()
    if phase == 0:
      ranking = [hinge(loss.margin_rank, b.mean(dim=1) - w.mean(dim=1)) for b, w in scores.values()]
      return functools.reduce(torch.add, ranking)

    def gap(above: str, below: str) -> torch.Tensor:
      return (scores[above][0] - scores[below][1]).min(dim=1).values
    uniform, weights = gap("uniform", "uniform"), loss.weights
    total = weights.disparity * sum(hinge(loss.margin_disparity, gap(name, name) - uniform) for name in ("pos", "neg"))
    total = total + weights.rank_aware * hinge(loss.margin_rank_aware, gap("pos", "neg") - uniform)
    for attention in attentions:
      attention = attention.float()
      overlap = torch.bmm(attention.transpose(1, 2), attention) - torch.eye(attention.shape[2], device=self.device)
      total = total + weights.diversity * torch.linalg.matrix_norm(overlap).mean()
    return total

  def step(self, better: torch.Tensor, worse: torch.Tensor, phase: int, first: bool = False) -> torch.Tensor:
    """Takes one update on `[B, T, D]` videos of pairs; returns the loss, on the device.

    Args:
      better, worse: both sides; phase: 0 or 1, see `loss`; first: whether an epoch begins.
    """
    if first:
      self.optimizers[0].zero_grad()
    if self._noise_std:
      noise = self._noise_std * torch.randn(better.shape[1:], device=self.device)
      better, worse = better + noise, worse + noise
    if self._input_gradient:
      better, worse = (x.detach().requires_grad_() for x in (better, worse))
    with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
      loss = self._compute(better, worse, phase)
    loss.backward()
    self.optimizers[phase].step()
    self.optimizers[phase].zero_grad()
    return loss.detach()


class TorchContender:
  """Times the peer; the two tensors of a batch are made before the clock starts."""

  def __init__(self, config: ConfigDict, shape: pros_cons.Shape, form: str, num_steps: int) -> None:
    words = form.split("+")[1:]
    self._batch_size, self._step = shape.batch_size, 0
    self._peer = TorchPeer(config, shape.width, words=words)
    data = contenders.data_of(config, shape)
    self._features = torch.tensor(data.streams[config.data.stream], device=self._peer.device)
    self._pairs = torch.as_tensor(np.array(data.pairs[data.folds[0].train_pairs]), dtype=torch.long)
    self._per_epoch = -(-len(self._pairs) // shape.batch_size)
    config.train.encode = "siamese"
    cuda = self._peer.device.type == "cuda"
    begun = timing.first_cycle(lambda: timing.seconds(self._batch, self._peer.step, 2), words)
    self.ready: dict[str, Any] = dict(
        **begun, devices=1, replicas=1, batch_size=shape.batch_size, encode="siamese",
        epochs=pros_cons.SYSTEM.epochs,
        steps_per_round=-(-num_steps // 2) * 2 or (64 if cuda else 2), steps_per_epoch=self._per_epoch,
        dtype="bfloat16" if "autocast" in words else "float32", threads=torch.get_num_threads(),
        torch=torch.__version__, device=torch.cuda.get_device_name() if cuda else "cpu",
        model_flops=pros_cons.flops(config, shape, form))

  def _batch(self) -> tuple[torch.Tensor, torch.Tensor, int, bool]:
    """Returns the arguments of `TorchPeer.step` for the next step, on the device."""
    chosen = self._pairs[torch.randperm(len(self._pairs))[: self._batch_size]]
    better, worse = (self._features[ids] for ids in chosen.T.to(self._features.device))
    phase, first = self._step % 2, self._step % self._per_epoch == 0
    self._step += 1
    return better, worse, phase, first

  def round(self) -> float:
    """Returns seconds a step."""
    steps = self.ready["steps_per_round"]
    return timing.seconds(self._batch, self._peer.step, steps) / steps

  def finish(self) -> dict[str, int | None]:
    """Returns the memory at its peak, see `timing.memory`."""
    return timing.memory()


def npz_batch(files: Sequence[pathlib.Path], shape: pros_cons.Shape, repeats: int = 3) -> float:
  """Returns seconds to read and stack both videos of every pair of one batch from npz files in the page cache.

  So the published code does it.
  """
  rng, seconds = np.random.default_rng(0), []
  for _ in range(repeats + 1):                 # the first fills the page cache
    chosen, begun = rng.integers(len(files), size=(2, shape.batch_size)), time.perf_counter()
    for side in chosen:
      np.stack([np.load(files[i])["arr_0"] for i in side])
    seconds.append(time.perf_counter() - begun)
  return float(np.median(seconds[1:]))
