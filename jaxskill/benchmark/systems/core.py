"""What `jaxskill.benchmark` needs to know of CoRe: sizes, forms, FLOPs of a step, and the time of a vote."""

from __future__ import annotations

import time

import jax
from ml_collections import ConfigDict

from jaxskill.benchmark.systems import System
from jaxskill.benchmark.systems.pros_cons import Shape
from jaxskill.train import Trainer

VOTERS = 64       # videos of one vote, each against config.model.exemplars.count exemplars
SHAPES = {
    "paper": Shape(64, 1059, 353, 0, 10, 1024, 0, 256),     # MTL-AQA
    "tiny": Shape(4, 70, 9, 0, 3, 8, 0, 8),
}


def flops(config: ConfigDict, shape: Shape, form: str = "") -> float:
  """Returns floating-point operations of one training step: matrix products of the tree, forward and both gradients.

  The first layer has no gradient of its input, which is data. Of a vote: of its rows, forward alone.
  """
  model, vote = config.model, "vote" in form.split("+")
  count = VOTERS * model.exemplars.count if vote else 2 * config.train.batch_size
  first = (2 * shape.width + 1) * model.hidden
  rest = ((model.num_leaves - 1) * model.hidden * (2 * model.hidden + 2) + model.num_leaves * model.hidden
          if model.head == "tree" else model.hidden * (model.hidden + 1))
  return 2.0 * len(config.seeds) * count * (first + rest if vote else 2 * first + 3 * rest)


class Vote:
  """The vote of all exemplars on some videos that are encoded already: one call of the compiled assessment."""

  size = VOTERS

  def __init__(self, trainer: Trainer) -> None:
    everyone, self._state = trainer.all_videos, trainer.state
    self._answer = everyone.answers.compiled[0]
    _, self._inputs = next(everyone.comparisons(trainer.state, 0, VOTERS))

  def round(self, repeats: int) -> float:
    """Returns seconds a vote."""
    start = time.perf_counter()
    for _ in range(repeats):
      answer = self._answer(self._state, *self._inputs)
    jax.block_until_ready(answer)
    return (time.perf_counter() - start) / repeats


SYSTEM = System(
    shapes=SHAPES, streams=lambda shape, config: {config.data.stream: (shape.num_segments, shape.width)}, flops=flops,
    note="products of the tree, by hand; by XLA: cost_analysis() of one step.",
    peak=lambda shape: (shape.train_videos * shape.num_segments, shape.width, 2 * shape.hidden),
    forms=("float32", "bfloat16", "bfloat16+R4", "vote", "vote+bfloat16"),
    peer_forms=("official", "official+bfloat16", "torch", "torch+compile", "official+B512", "official+B512+bfloat16",
                "torch+B512", "torch+compile+B512", "official+vote", "official+vote+bfloat16", "torch+vote",
                "torch+compile+vote"),
    peer="jaxskill.benchmark.peers.core", cpu_steps=10, epochs=200, settings={"model.with_difficulty": False},
    others=dict(vote=Vote))
