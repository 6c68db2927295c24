"""What `jaxskill.benchmark` needs to know of SkillDiff: sizes, forms, FLOPs of a step."""

from __future__ import annotations

from typing import NamedTuple

from ml_collections import ConfigDict

from jaxskill.benchmark.systems import System


class Shape(NamedTuple):
  """Sizes of a benchmark; the tests use the same."""

  batch_size: int       # videos, each with its references
  train_videos: int
  test_videos: int
  num_segments: int
  channels: int         # of the features
  hidden: int
  width: int            # of an embedding
  directions: int
  heads: int
  head_hidden: int
  head_outputs: int


SHAPES = {
    "paper": Shape(32, 64, 16, 96, 1024, 512, 512, 128, 4, 64, 32),
    "tiny": Shape(4, 9, 3, 8, 6, 4, 4, 4, 2, 4, 2),
}   # paper: the widths of the config; the preprint tells neither these nor how many rows a video has


def flops(config: ConfigDict, shape: Shape, form: str = "") -> float:
  """Returns floating-point operations of one training step: matrix products, forward and both gradients.

  The first layer has no gradient of its input, which is data. The recurrence of soft-DTW is left out: it has no
  product, and is a few operations a cell.
  """
  del form
  rows, references, units = shape.num_segments, config.model.exemplars.count, shape.heads * shape.head_hidden
  first = shape.channels * shape.hidden
  encoder = shape.hidden * shape.width + shape.width * shape.directions
  heads = 3 * shape.width * units                                   # as query, as reference, and their difference
  videos = min(config.train.batch_size + references + 1, shape.train_videos)
  pair = rows * (shape.directions + units) + units * shape.head_outputs          # a row's distances and its reference
  apart = rows * shape.directions                                   # of a row and all others of its video
  return 2.0 * len(config.seeds) * rows * (
      videos * (2 * first + 3 * (encoder + heads)) + 3 * config.train.batch_size * (references * pair + apart))


SYSTEM = System(
    shapes=SHAPES, streams=lambda shape, config: {config.data.stream: (shape.num_segments, shape.channels)},
    flops=flops, note="matrix products, by hand; by XLA: cost_analysis() of one step, which counts a diagonal once.",
    peak=lambda shape: (shape.train_videos * shape.num_segments, shape.channels, shape.hidden),
    forms=("float32", "bfloat16"), peer_forms=(), peer="", cpu_steps=4, epochs=80, items="videos",
    settings={"data.standardize": False})
