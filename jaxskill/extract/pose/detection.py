"""Bodies and palms in a whole picture: a detector's anchors, and one detection for each overlapping group of its boxes.

Reference: Bazarevsky et al., BlazePose: On-device Real-time Body Pose Tracking, 2020; Liu et al., SSD, ECCV 2016.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from jaxskill.data.video.decoding import Picture
from jaxskill.extract.pose import crops
from jaxskill.extract.pose.networks import NETWORKS, Networks

STRIDES = dict(pose_detection=(8, 16, 32, 32, 32), palm_detection=(8, 16, 16, 16))     # of a detector's layers
OVERLAP = 0.3              # of the boxes of one body, intersection over union
_CLIP = 100.0              # of a score before the logistic function


class Detection(NamedTuple):
  """What was found.

  Attributes:
    score: in [0, 1].
    box: `[4]` left, top, right and bottom in pixels.
    points: `[K, 2]` key points in pixels.
  """

  score: float
  box: np.ndarray
  points: np.ndarray


@functools.cache
def anchors(side: int, strides: tuple[int, ...]) -> np.ndarray:
  """Returns `[N, 2]` the middles of a detector's anchors in shares of its input: two a cell for each layer.

  Layers of one stride lie in one grid.
  """
  grids = []
  for stride, layers in itertools.groupby(strides):
    cells = -(-side // stride)
    middles = (np.arange(cells) + 0.5) / cells
    grid = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 2)
    grids.append(np.repeat(grid, 2 * len(list(layers)), axis=0))
  return np.concatenate(grids)


def detect(networks: Networks, name: str, picture: Picture, least: float, signed: bool) -> list[Detection]:
  """Returns the detections of a picture, the surest first.

  Args:
    networks: see `Networks`.
    name: of the detector.
    picture: see `jaxskill.data.video.decoding.Picture`.
    least: score of a detection.
    signed: whether the network takes pixels in [-1, 1], else [0, 1].
  """
  side = NETWORKS[name].side
  square, region = crops.letterbox(picture, side)
  raw, scores = networks.run(name, square / np.float32(127.5) - 1 if signed else square / np.float32(255))
  values, scores = decode(raw, scores, anchors(side, STRIDES[name]), side, least)
  merged = merge(values, scores)
  return [Detection(score, region.to_picture(points[:2]).reshape(-1), region.to_picture(points[2:]))
          for score, points in merged]


def decode(raw: np.ndarray, scores: np.ndarray, middles: np.ndarray, side: int,
           least: float) -> tuple[np.ndarray, np.ndarray]:
  """Returns what a detector's outputs say, of the anchors that are sure enough.

  Args:
    raw: `[N, 4 + 2 K]` centre, width and height of a box and K points, in pixels of the input beside the anchor.
    scores: `[N, 1]` logits.
    middles: `[N, 2]` of the anchors, see `anchors`.
    side: of the input.
    least: probability of what is sure enough.

  Returns:
    `[n, 2 + K, 2]` upper left and lower right corner and points in shares of the input; `[n]` probabilities.
  """
  chances = 1 / (1 + np.exp(-np.clip(scores[:, 0].astype(np.float64), -_CLIP, _CLIP)))
  sure = chances >= least
  values = raw[sure].reshape(int(sure.sum()), raw.shape[1] // 2, 2) / side         # [n, 2 + K, 2]
  middle, half, points = values[:, 0] + middles[sure], values[:, 1] / 2, values[:, 2:] + middles[sure][:, None]
  corners = np.stack([middle - half, middle + half], axis=1)
  return np.concatenate([corners, points], axis=1), chances[sure]


def merge(values: np.ndarray, scores: np.ndarray, overlap: float = OVERLAP) -> list[tuple[float, np.ndarray]]:
  """Returns [(score, `[2 + K, 2]`)]: of boxes that overlap with a surer one, the mean weighted by scores.

  Args:
    values, scores: see `decode`.
    overlap: above which they are one.
  """
  left, merged = np.argsort(-scores, kind="stable"), []
  while left.size:
    same = overlaps(values[left[0]], values[left]) > overlap
    same[0] = True                                 # also a box without an area
    group = left[same]
    mean = np.average(values[group], axis=0, weights=scores[group])
    merged.append((float(scores[group[0]]), mean))
    left = left[~same]
  return merged


def overlaps(one: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Returns `[n]` intersection over union of a box `[>= 2, 2]` with `[n, >= 2, 2]` others."""
  common = np.minimum(one[1], others[:, 1]) - np.maximum(one[0], others[:, 0])
  common = np.prod(np.maximum(common, 0), axis=-1)
  areas = np.prod(others[:, 1] - others[:, 0], axis=-1) + np.prod(one[1] - one[0])
  return common / np.maximum(areas - common, 1e-12)
