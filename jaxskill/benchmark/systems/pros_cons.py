"""What `jaxskill.benchmark` needs to know of Pros & Cons: sizes, forms, FLOPs of a step."""

from __future__ import annotations

from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from jaxskill.benchmark.systems import System, Task


class Shape(NamedTuple):
  """Sizes of a benchmark; the tests use the same."""

  batch_size: int       # pairs
  train_videos: int
  test_videos: int
  pairs: int            # training pairs
  num_segments: int
  width: int            # channels
  num_filters: int
  hidden: int


SHAPES = {
    "paper": Shape(128, 75, 25, 2115, 400, 1024, 3, 256),   # a task of BEST
    "small": Shape(32, 40, 10, 480, 100, 256, 3, 64),
    "tiny": Shape(8, 6, 3, 12, 10, 32, 2, 16),
}
# EPIC-Skills: mean over the four published folds of a task, which differ by a few videos.
EPIC_SKILLS = dict(chopstick_using=Task(40, 30, 298, 4), dough_rolling=Task(33, 25, 100, 4),
                   drawing=Task(40, 30, 136, 4), surgery=Task(103, 77, 926, 4))


def flops(config: ConfigDict, shape: Shape, form: str = "") -> float:
  """Returns floating-point operations of one step: matrix products with features alone, mean over a cycle.

  Forward products of all filters and ranking layers, and the weight gradients of what a step trains (leaky: of both
  groups). Shared noise is one more video. Where ranking and attention steps alternate, filters stand still in between,
  and shared noise is apart from the product: XLA computes it once for both, but for bfloat16 in the chunked form for
  CPUs. Noise of each video changes the features: then every step has its product.
  The peer computes the gradient of the features too where its form says "dx".
  """
  model, siamese, alternation = config.model, config.train.encode == "siamese", config.train.alternation
  shared_noise = bool(model.noise_std) and model.noise == "shared"
  sides = 2 * shape.batch_size
  videos = (sides if siamese else min(sides, shape.train_videos)) + shared_noise
  modules = sum(branch not in ("uniform", "last") for branch in model.branches)
  rows = 2 * shape.num_segments * videos
  filters = rows * (shape.width + 1) * modules * model.num_filters * model.hidden
  ranking = rows * shape.width * len(model.branches)
  chunked = model.implementation == "chunked" or (model.implementation == "auto" and jax.default_backend() == "cpu")
  shared = (not (siamese or (chunked and config.train.dtype == "bfloat16")) and model.noise == "shared"
            and sides >= shape.train_videos)
  in_turn = modules > 0 and alternation != "joint"
  trained = 0.5 if in_turn and alternation == "alternate" else 1.0
  forward = 0.5 if in_turn and shared else 1.0
  input_gradient = "dx" in form.split("+")
  return float(len(config.seeds)) * (filters * (forward + trained + input_gradient)
                                     + ranking * (1 + trained + input_gradient))


SYSTEM = System(
    shapes=SHAPES, streams=lambda shape, config: {config.data.stream: (shape.num_segments, shape.width)}, flops=flops,
    note="products with features, by hand; by XLA: cost_analysis() of one cycle, plain form, where with shared noise\n"
    "both phases share the filters' forward product; bfloat16 on a CPU computes it twice.",
    peak=lambda shape: (shape.train_videos * shape.num_segments, shape.width, 2 * shape.num_filters * shape.hidden),
    words=dict(per_video={"model.noise": "per_video"}),
    forms=("float32", "float32+per_video", "siamese", "bfloat16", "bfloat16+per_video", "bfloat16+R2",
           "bfloat16+R4"),
    peer_forms=("official", "official+bfloat16", "torch", "torch+compile", "torch+dx", "torch+autocast",
                "torch+compile+autocast"),
    peer="jaxskill.benchmark.peers.pros_cons", cpu_steps=8, epochs=2000, start_up=True,
    tables=dict(epic_skills=EPIC_SKILLS))
