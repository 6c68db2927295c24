"""The skeleton of the person who is followed, for the canvas over a video: few bytes a row, whatever the video's size.

A row is three bytes a joint: 12 bits of x, 11 of y, both in `REACH` of the picture, and whether it is hardly visible.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from jaxskill.extract.pose.body import LANDMARKS
from jaxskill.extract.pose.overlay import LINES
from jaxskill.extract.pose.points import Points

MOST_BYTES = 650_000       # of all skeletons of a page, before they become text
REACH = (-0.25, 1.5)       # where the range of x and y begins and how wide it is, in widths and heights of the picture
HIDDEN = 0.5               # visibility below which a line is faint
NOBODY = 0xFFFFFF          # of all joints of a row that shows nobody
JOINTS = tuple(dict.fromkeys(name for line in LINES for name in line))


def pack(points: Points, most: int = MOST_BYTES) -> dict[str, Any]:
  """Returns what the script draws.

  Args:
    points: of the person.
    most: bytes; where there are more rows, some are left out evenly, and a stretch with a gap shows nobody.

  Returns:
    {"lines": [[joint, joint, side]], "reach", "joints": their number, "times" in seconds, "rows" in base64, "step" and
    "longest": seconds that a row stays, and between two rows that are joined}.
  """
  every = max(1, -(-3 * len(JOINTS) * len(points.times) // most))
  kept = np.arange(0, len(points.times), every)
  seen = np.logical_and.reduceat(points.seen, kept)
  chosen = [LANDMARKS.index(name) for name in JOINTS]
  begin, wide = REACH
  shares = (points.places[kept][:, chosen] / points.size - begin) / wide
  x, y = (np.rint(np.clip(shares[..., axis], 0, 1) * (2 ** bits - 2)).astype(np.uint32)
          for axis, bits in enumerate((12, 11)))
  faint = points.visibility[kept][:, chosen] < HIDDEN
  values = np.where(seen[:, None], x | y << 12 | faint.astype(np.uint32) << 23, NOBODY)
  rows = np.ascontiguousarray(values, "<u4")
  bytes_of = rows.view(np.uint8).reshape(*rows.shape, 4)[..., :3]
  step = float(np.median(np.diff(points.times))) if len(points.times) > 1 else 0.0
  return dict(lines=[[JOINTS.index(one), JOINTS.index(other), _side(one, other)] for one, other in LINES], reach=REACH,
              joints=len(JOINTS), times=points.times[kept].round(3).tolist(),
              rows=base64.b64encode(bytes_of.tobytes()).decode(), step=round(1.5 * step, 3),
              longest=round(1.5 * step * every, 3))


def _side(one: str, other: str) -> str:
  """The side of the body that a line is on, "middle" if on none or both."""
  sides = {name.partition("_")[0] for name in (one, other)}
  return sides.pop() if len(sides) == 1 else "middle"
