"""Labels far out of line: where a digit too many, or a forgotten decimal point, is likelier than a performance.

V videos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxskill.data.dataset import SkillDataset

_FAR = 15.0          # robust deviations; failed performances reach 10 below the median in published labels
_FAR_UP = 8.0        # where a number is also more than
_TIMES = 4.0         # times the median: nobody is so much better
_FEWEST = 8          # labels that tell what is in line


def audit_labels(data: SkillDataset) -> list[dict]:
  """Returns numbers of the labels that lie far out of line: of all videos, and of those of their category.

  The deviation is the median absolute one about the median, on the scale of a normal distribution, but no less than a
  tenth of the median: where most labels are equal, a neighboring mark is no mistake.

  Args:
    data: the `SkillDataset`.

  Returns:
    For each {"label", "video", "value", "median"}.
  """
  labels = dict(score=data.score, difficulty=data.difficulty) | {
      f"criterion {name}": values for name, values in data.criteria.items()}
  found = []
  for label, values in labels.items():
    if values is None:
      continue
    values = np.asarray(values, np.float64)
    groups = [np.ones(len(values), bool)]
    if data.category is not None:
      groups += [data.category == category for category in np.unique(data.category)]
    median = np.full(len(values), np.nan)
    for group in groups:
      far, middle = _far(values[group])
      median[np.flatnonzero(group)[far]] = middle
    found += [dict(label=label, video=data.videos[video], value=float(values[video]), median=float(median[video]))
              for video in np.flatnonzero(np.isfinite(median))]
  return found


def _far(values: np.ndarray) -> tuple[np.ndarray, float]:
  """Returns (which of some labels lie far out of line, their median)."""
  middle = np.median(values)
  away = np.abs(values - middle)
  scale = max(1.4826 * np.median(away), abs(middle) / 10)
  far = (away > _FAR * scale) | (away > _FAR_UP * scale) & (np.abs(values) > _TIMES * abs(middle))
  return far & (len(values) >= _FEWEST) & (scale > 0), middle


def describe_labels(found: Sequence) -> list[str]:
  """Returns what `audit_labels` found, as sentences; none where there is nothing to say."""
  if not found:
    return []
  shown = [f"{one['label']} of {one['video']} is {one['value']:g}, the median {one['median']:g}" for one in found[:5]]
  more = "; ..." if len(found) > 5 else ""
  return [f"WARNING: {len(found)} label(s) far out of line: {'; '.join(shown)}{more}; a digit or a decimal point may "
          "be wrong"]
