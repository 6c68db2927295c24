"""CoRe's tree and training step, organised as published, in plain PyTorch: what `jaxskill.benchmark` compares with.

Written from the paper and from what is known of the published code: nodes of a level are groups of a 1-d convolution,
labels are found by loops over groups and samples, a test video is compared with one exemplar at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from ml_collections import ConfigDict
from torch import nn

from jaxskill.benchmark import contenders
from jaxskill.benchmark.peers import timing
from jaxskill.benchmark.systems import core
from jaxskill.modules.regression_tree import group_borders


class Tree(nn.Module):
  """The published tree: `[B, D]` -> log-probabilities level by level `[B, 2^i, 2]`, `[B, L]` regressions."""

  def __init__(self, width: int, hidden: int, num_leaves: int) -> None:
    super().__init__()
    levels = num_leaves.bit_length() - 1
    self.first_layer = nn.Sequential(nn.Linear(width, hidden), nn.ReLU())

    def convolution(groups: int, out: int) -> nn.Module:
      return nn.Conv1d(groups * hidden, groups * out, 1, groups=groups)
    self.feature_layers = nn.ModuleList(
        nn.Sequential(convolution(2 ** i, 2 * hidden), nn.ReLU()) for i in range(levels))
    self.clf_layers = nn.ModuleList(convolution(2 ** i, 2) for i in range(levels))
    self.reg_layer = convolution(num_leaves, 1)

  def forward(self, rows: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Returns ([log-probabilities `[B, 2^i, 2]` of each level], `[B, L]` regressions) of `[B, D]` rows."""
    nodes, path, levels = self.first_layer(rows)[..., None], None, []
    for features, branches in zip(self.feature_layers, self.clf_layers):
      choices = torch.log_softmax(branches(nodes)[..., 0].reshape(len(rows), -1, 2), dim=-1)
      path = choices if path is None else choices + path.reshape(len(rows), -1, 1)
      levels.append(path)
      nodes = features(nodes)
    return levels, self.reg_layer(nodes)[..., 0]


class Peer:
  """The published training step and vote on features that are at hand; scores in the unit of the labels."""

  def __init__(self, width: int, hidden: int, num_leaves: int, differences: np.ndarray, span: float, *,
               words: Collection[str] = (), learning_rate: float = 0.001) -> None:
    torch.manual_seed(0)
    self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False               # float32, as for products of matrices
    self.tree, self._span = Tree(2 * width + 1, hidden, num_leaves).to(self.device), span
    self.bounds = group_borders(differences, num_leaves, symmetric=True, limits=(0, span)).tolist()
    self._optimizer = torch.optim.Adam(self.tree.parameters(), lr=learning_rate)
    self._autocast, self._compute = "autocast" in words, timing.compiled(self.tree, words)

  def labels(self, differences: torch.Tensor) -> tuple[list[int], dict[int, tuple[list[int], list[float]]]]:
    """Returns the class of each sample and {group: (samples, targets)}, found by loops over groups and samples."""
    classes, members = [0] * len(differences), {}
    for group, (left, right) in enumerate(self.bounds):
      for sample, value in enumerate(differences.tolist()):
        if (left <= value < right) if value >= 0 else (left < value <= right):
          classes[sample] = group
          samples, targets = members.setdefault(group, ([], []))
          samples.append(sample)
          targets.append((value - left) / (right - left))
    return classes, members

  def loss(self, inputs: torch.Tensor, others: torch.Tensor, scores: torch.Tensor,
           other_scores: torch.Tensor) -> torch.Tensor:
    """Returns the loss of pairs in both directions: `[B, D]`, `[B, D]` features, `[B]`, `[B]` scores."""
    rows = torch.cat([torch.cat([others, inputs, other_scores[:, None] / self._span], 1),
                      torch.cat([inputs, others, scores[:, None] / self._span], 1)])
    with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
      levels, regressions = self._compute(rows)
    log_p, regressions, count = levels[-1].flatten(1).float(), regressions.float(), len(inputs)
    total = log_p.new_zeros(())
    for direction, difference in enumerate((scores - other_scores, other_scores - scores)):
      part = slice(direction * count, (direction + 1) * count)
      classes, members = self.labels(difference)
      total = total + nn.functional.nll_loss(log_p[part], torch.tensor(classes, device=self.device))
      for group, (samples, targets) in members.items():
        target = torch.tensor(targets, device=self.device)
        total = total + nn.functional.mse_loss(regressions[part][samples, group], target)
    return total

  def step(self, *batch: torch.Tensor) -> torch.Tensor:
    """Takes one update on a batch, see `loss`; returns the loss, on the device."""
    loss = self.loss(*batch)
    self._optimizer.zero_grad()
    loss.backward()
    self._optimizer.step()
    return loss.detach()

  @torch.no_grad()
  def vote(self, inputs: torch.Tensor, exemplars: torch.Tensor, scores: torch.Tensor) -> list[float]:
    """Returns `[V]` scores of `[V, D]` videos by `[V, M, D]` exemplars of `[V, M]` scores, one comparison at a time."""
    result = []
    for video, others, known in zip(inputs, exemplars, scores):
      votes = []
      for other, score in zip(others, known):
        row = torch.cat([other, video, score[None] / self._span])[None]
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
          levels, regressions = self._compute(row)
        leaf = int(levels[-1].flatten(1).argmax(dim=1))
        left, right = self.bounds[leaf]
        votes.append(left + float(regressions[0, leaf]) * ((right - left) or 1.0) + float(score))
      result.append(sum(votes) / len(votes))
    return result


class TorchContender:
  """Times the peer; the features are averaged and on the device before the clock starts."""

  def __init__(self, config: ConfigDict, shape: core.Shape, form: str, num_steps: int) -> None:
    words, stream = form.split("+"), config.data.stream
    data = contenders.data_of(config, shape)
    train, score = data.folds[0].train_videos, np.asarray(data.score)
    span = float(np.ptp(np.asarray(data.score_range)[0]))
    differences = np.subtract.outer(score[train], score[train])[~np.eye(len(train), dtype=bool)]
    self._peer = Peer(shape.width, shape.hidden, config.model.num_leaves, differences, span, words=words)
    device, self._size = self._peer.device, config.train.batch_size
    self._features = torch.tensor(data.streams[stream].mean(axis=1), device=device)
    self._score, self._train = torch.tensor(score, device=device), torch.tensor(train)
    self._vote, self._exemplars = "vote" in words, config.model.exemplars.count
    self._count = 1 if self._vote else num_steps or 10
    begun: dict[str, Any] = timing.first_cycle(self.round, words)
    self.ready = dict(
        **begun, devices=1, replicas=1, encode="siamese", dtype="float32",
        epochs=0 if self._vote else core.SYSTEM.epochs,
        batch_size=core.VOTERS if self._vote else self._size, steps_per_epoch=-(-len(train) // self._size),
        threads=torch.get_num_threads(), torch=torch.__version__, steps_per_round=self._count,
        model_flops=core.flops(config, shape, form))

  def _batch(self) -> tuple[torch.Tensor, ...]:
    """Returns the arguments of `Peer.vote`, or of `Peer.step`, on the device."""
    def pick(n: int) -> torch.Tensor:
      return self._train[torch.randint(len(self._train), (n,))]
    if self._vote:
      asked = torch.arange(core.VOTERS)
      chosen = torch.stack([pick(self._exemplars) for _ in asked])
      return self._features[asked], self._features[chosen], self._score[chosen]
    first, second = pick(self._size), pick(self._size)
    return self._features[first], self._features[second], self._score[first], self._score[second]

  def _repeated(self, *batch: torch.Tensor) -> None:
    for _ in range(self._count):
      (self._peer.vote if self._vote else self._peer.step)(*batch)

  def round(self) -> float:
    """Returns seconds a step, or a vote on all voters, the same batch time and again."""
    return timing.seconds(self._batch, self._repeated, 1) / self._count

  def finish(self) -> dict[str, int | None]:
    """Returns the memory at its peak, see `timing.memory`."""
    return timing.memory()
