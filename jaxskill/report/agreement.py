"""In how many of a run's models a moment stands out that their mean names: n models, T rows of a video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxskill.methods import Assessment

STANDS_OUT = 1.5            # even shares of attention at the peak: below, a moment counts little more than any other


def of_attention(moment: Mapping[str, Any], line: Mapping[str, Any], weights: ArrayLike) -> int:
  """Returns how many models have `STANDS_OUT` times an even share within the moment.

  Args:
    moment: {"start", "end"} in seconds; line: {"start", "end"} of the rows of its curve.
    weights: `[n, K, T]` attention of the models' filters.
  """
  start, end = np.array(line["start"]), np.array(line["end"])
  within = (start >= moment["start"] - 1e-6) & (end <= moment["end"] + 1e-6)
  each = np.asarray(weights, np.float64).mean(axis=1)[:, : len(start)]
  return int((each[:, within].max(axis=1, initial=0.0) >= STANDS_OUT * each.mean(axis=1)).sum())


def of_segments(moment: Mapping[str, Any], starts: np.ndarray, found: Mapping[str, ArrayLike]) -> int:
  """Returns how many models' own segments moved their score to the same side over the moment.

  Args:
    moment: {"start", "end", "side"}, of whole rows.
    starts: `[T]` seconds from which each row speaks; found: `Assessment.segments` of the models, leading axis n.
  """
  number, score, importance = (np.asarray(found[name]) for name in ("number", "score", "importance"))
  effect = importance * (score - (importance * score).sum(axis=1, keepdims=True))                      # [n, K]
  within = (starts > moment["start"] - 1e-6) & (starts < moment["end"] - 1e-6)
  rows = np.take_along_axis(effect, number[:, : len(starts)][:, within].astype(int), axis=1)
  return int((np.sign(rows.mean(axis=1)) == moment["side"]).sum())


def of_maps(moment: Mapping[str, Any], seconds: np.ndarray, maps: ArrayLike) -> int:
  """Returns how many models look most at the same place of the picture, or beside it.

  Args:
    moment: {"at", "from_left", "from_top"}; seconds: `[N]` of the heat maps; maps: `[n, N, h, w]`.
  """
  each = np.asarray(maps)[:, int(np.argmin(np.abs(seconds - moment["start"])))]
  down, right = np.unravel_index(each.reshape(len(each), -1).argmax(axis=1), each.shape[1:])
  apart = np.maximum(np.abs((right + 0.5) - moment["from_left"] * each.shape[2]),
                     np.abs((down + 0.5) - moment["from_top"] * each.shape[1]))
  return int((apart < 1.01).sum())


def count(moments: list[dict[str, Any]], result: Mapping[str, Any], assessment: Assessment, starts: np.ndarray,
          seen_at: Mapping[str, np.ndarray]) -> None:
  """Adds "models" to moments: in how many of the models each stands out, see above.

  Args:
    moments: of `explain.moments`; result: {"attention"} of `explain.answer`.
    starts: `[T]` seconds from which the rows of segments speak.
    seen_at: {name of heat maps: `[T]` seconds of the rows that they may lie over}.
  """
  for one in moments:
    name = one["what"]
    if name in result["attention"]:
      one["models"] = of_attention(one, result["attention"][name], assessment.attention[name])
    elif "effect" in one:
      one["models"] = of_segments(one, starts, assessment.segments)
    else:
      one["models"] = of_maps(one, seen_at[name][np.asarray(assessment.rows[name][0])], assessment.maps[name])
