"""How much a video is like those that a run was trained on: how long it lasts, and what its features are like.

The distance of a video from others compares every channel's mean and standard deviation over the rows (of maps, over
the places too), in the others' standard deviations: the 2-Wasserstein distance of normal distributions, root mean
square over channels. A training video is held against all the others, so that a new one can be held against all of
them.

U training videos, D channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxskill.training import batches

UNLIKE = "unlike the training videos: "        # how a warning begins that a page shows above the score
SHARE = 0.99          # of the training videos, within which a distance is nothing to speak of


def distance(sums: tuple[int, np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray]) -> float:
  """Returns how far one video's `batches.channel_sums` lie from (mean, deviation) `[D]` of others."""
  (mean, deviation), scale = batches.mean_and_deviation(*sums), batches.as_scale(others[1])
  squares = ((mean - others[0]) / scale) ** 2 + ((deviation - others[1]) / scale) ** 2
  return float(np.sqrt(squares.mean()))


def of_training(sums: Sequence[tuple[int, np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
  """Returns statistics of U training videos out of the `batches.channel_sums` of each.

  Returns:
    {"mean", "deviation" `[D]` over all rows, "distance" `[U]` of each video from the others (0 for a single one)}.
  """
  total: list[Any] = [sum(x) for x in zip(*sums)]
  mean, deviation = batches.mean_and_deviation(*total)

  def from_others(one: tuple[int, np.ndarray, np.ndarray]) -> float:
    others = (all_ - x for all_, x in zip(total, one))
    return distance(one, batches.mean_and_deviation(*others))

  found = [from_others(one) if len(sums) > 1 else 0.0 for one in sums]
  return dict(mean=mean, deviation=deviation, distance=np.array(found))


def limit(distances: np.ndarray) -> float:
  """Returns the distance that `SHARE` of the training videos do not exceed; of fewer than a hundred, the largest."""
  return float(np.quantile(distances, SHARE, method="higher"))


def of_features(stream: str, far: float, distances: np.ndarray) -> str | None:
  """Returns a warning, or None: a video's distance against those `[U]` of the training videos."""
  if far <= limit(distances):
    return None
  return (f"{UNLIKE}its features {stream!r} lie {far:.3g} standard deviations away from theirs, "
          f"and theirs from one another {np.median(distances):.3g} (median) to {limit(distances):.3g} ({SHARE:.0%} of "
          f"{len(distances)}); another camera, task or way of extraction makes such a difference, and the score "
          "then means little")


def of_duration(seconds: float, training: np.ndarray) -> str | None:
  """Returns a warning, or None: how long a video lasts, against `[U]` training videos; a thousandth is rounding."""
  low, high = float(training.min()), float(training.max())
  if low * 0.999 <= seconds <= high * 1.001:
    return None
  return (f"{UNLIKE}it lasts {seconds:.1f} s, they last {low:.1f} to {high:.1f} s")
