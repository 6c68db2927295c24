"""What `jaxskill.benchmark` needs to know of CoRe: FLOPs of a step, and the time of a vote."""

from __future__ import annotations

import time

import jax

VOTERS = 64       # videos of one vote, each against config.model.exemplars.count exemplars


def flops(config, shape, *, rows=None):
  """Floating-point operations of one training step: matrix products of the tree, forward and both gradients.

  The first layer has no gradient of its input, which is data.

  Args:
    rows: number of rows that go through the tree forward alone (a vote); None for a training step, both directions.
  """
  model, count = config.model, rows or 2 * config.train.batch_size
  first = (2 * shape.width + 1) * model.hidden
  rest = ((model.num_leaves - 1) * model.hidden * (2 * model.hidden + 2) + model.num_leaves * model.hidden
          if model.head == "tree" else model.hidden * (model.hidden + 1))
  return 2.0 * len(config.seeds) * count * (first + rest if rows else 2 * first + 3 * rest)


class Vote:
  """The vote of all exemplars on some videos that are encoded already: one call of the compiled assessment."""

  def __init__(self, trainer):
    panel, self._state = trainer.panel, trainer.state
    self._answer = panel.answers[0]
    _, self._inputs = next(panel.comparisons(trainer.state, 0, VOTERS))

  def round(self, repeats):
    """Seconds a vote."""
    start = time.perf_counter()
    for _ in range(repeats):
      answer = self._answer(self._state, *self._inputs)
    jax.block_until_ready(answer)
    return (time.perf_counter() - start) / repeats
