"""What is drawn on the time axis of a video: curves, segments, marks, as numbers of SVG; and its heat maps as bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxskill.assess.page.texts import TEXTS
from jaxskill.report import wording

POINTS = 600          # values of a curve that are drawn
WIDE, HIGH = 1000, 100    # units of the picture of a curve
SHADES = 7            # of segments, from the lowest score to the highest
MAP_BYTES = 400_000   # of all heat maps of a page
EDGE = 12             # units left free above and below a curve


def curves(result: dict[str, Any]) -> list[dict[str, Any]]:
  """Returns the curves of an answer: attention in even shares, other curves, and how far the first reference is ahead.

  Args:
    result: of `explain.answer`.

  Returns:
    [{"words", "side", "note", "path" of SVG, "base" the height of the dotted line or None, "low", "high" the ends of
    the scale, "start", "values": as drawn}].
  """
  found = []
  for name, line in result["attention"].items():
    values = np.asarray(line["values"], np.float64)
    shares = values / (np.mean(values, where=np.isfinite(values)) or 1.0) if np.isfinite(values).any() else values
    found.append(_curve(result, line["start"], line["end"], shares, wording.curve(result, name),
                        result["meanings"].get(name, {}).get("side", 0), even=True))
  for name, line in result["curves"].items():
    found.append(_curve(result, line["start"], line["end"], np.asarray(line["values"], np.float64),
                        wording.curve(result, name), result["meanings"].get(name, {}).get("side", 0)))
  for one in result.get("references", [])[:1]:
    if "seconds" in one:
      start, end = (np.asarray(result["row_times"][side]) for side in ("start", "end"))
      ahead = np.asarray(one["seconds"]) / one["duration_s"] - (start + end) / 2 / result["duration_s"]
      found.append(_curve(result, start, end, ahead, TEXTS["ahead"].format(other=one["video"]), 0))
  return found


def _curve(result: dict[str, Any], start: ArrayLike, end: ArrayLike, values: np.ndarray, words: str, side: int,
           even: bool = False) -> dict[str, Any]:
  """One of `curves`; rows whose value is no number leave a gap."""
  start, end, values = thinned(np.asarray(start, np.float64), np.asarray(end, np.float64), values)
  known = np.isfinite(values)
  low, high = values.min(initial=0.0, where=known), values.max(initial=0.0, where=known)
  low, high = (0.0, max(1.5, high)) if even else (low, high)
  height = lambda value: HIGH - EDGE - (value - low) / ((high - low) or 1.0) * (HIGH - 2 * EDGE)
  across = WIDE / (result["duration_s"] or 1.0)
  path = "".join(f"{'L' if joined else 'M'}{begin * across:.1f} {height(value):.1f}H{stop * across:.1f}"
                 for begin, stop, value, joined, there in zip(start, end, values, [False, *known], known) if there)
  base = "even" if even else "zero" if low < 0 < high else ""
  return dict(words=words, side=side, note=TEXTS[base] if base else "", path=path,
              base=round(height(float(even)), 1) if base else None, low=float(low), high=float(high),
              start=start.round(2).tolist(), values=[float(f"{value:.4g}") for value in values])


def thinned(start: np.ndarray, end: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns (start, end, values) of at most `POINTS` rows: of each stretch of many rows its lowest and its highest."""
  if len(values) <= POINTS:
    return start, end, values
  bounds = np.linspace(0, len(values), POINTS // 2 + 1).astype(int)
  low, high = np.where(np.isfinite(values), values, np.inf), np.where(np.isfinite(values), values, -np.inf)
  kept = np.concatenate([np.sort([a + low[a:b].argmin(), a + high[a:b].argmax()]) for a, b in zip(bounds, bounds[1:])])
  kept = np.unique(kept)
  return start[kept], np.append(start[kept][1:], end[-1]), values[kept]


def segments(result: dict[str, Any], scale: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
  """Returns the segments of an answer as blocks: [{"left", "width" in percent, "shade", "text", "start", "end"}].

  Args:
    scale: segments whose scores span the shades; by default the video's own.
  """
  scores = [one["score"] for one in scale or result["segments"]]
  found = []
  for one in result["segments"]:
    share = (one["score"] - min(scores)) / ((max(scores) - min(scores)) or 1.0)
    found.append(dict(
        left=_across(result, one["start"]), width=_across(result, one["end"] - one["start"]), start=one["start"],
        end=one["end"], shade=round(share * (SHADES - 1)), score=f"{one['score']:.3g}",
        text=f"{wording.span(one['start'], one['end'])}: {one['score']:.3g}, "
             + TEXTS["counts"].format(share=wording.percent(one["importance"]))))
  return found


def marks(result: dict[str, Any], moments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns moments of `downloads.spans` as bars of the time axis: [{"left", "width" in percent, "side"}]."""
  return [dict(left=_across(result, one["from"]), width=_across(result, one["to"] - one["from"]), side=one["side"])
          for one in moments]


def ticks(duration: float) -> list[dict[str, Any]]:
  """Returns the marks of a time axis: [{"left" in percent, "text"}], at most nine."""
  steps = [factor * unit for unit in (0.1, 1, 10, 60, 600, 3600) for factor in (1, 2, 5)]
  step = next((step for step in steps if duration / step <= 8), duration or 1.0)
  return [dict(left=round(100 * at / (duration or 1.0), 2), text=wording.clock(at))
          for at in np.arange(0.0, duration + step / 1000, step)]


def _across(result: dict[str, Any], seconds: float) -> float:
  return round(100 * seconds / (result["duration_s"] or 1.0), 3)


def distributions(result: dict[str, Any]) -> list[dict[str, Any]]:
  """Returns what scores were chosen from as bars: [{"title", "bars": [{"left", "width", "top", "height"}], "ends"}]."""
  found = []
  for title, one in result.get("distribution", {}).items():
    chances, places = np.asarray(one["probabilities"], np.float64), one["places"]
    width = 100 / max(len(chances), 1)
    heights = 100 * chances / (chances.max(initial=0.0) or 1.0)
    found.append(dict(title=title, ends=[f"{places[0]:.3g}", f"{places[-1]:.3g}"] if places else ["", ""],
                      bars=[dict(left=round(number * width, 3), width=round(0.9 * width, 3), top=round(100 - high, 2),
                                 height=round(high, 2)) for number, high in enumerate(heights)]))
  return found


def heat(maps: Mapping[str, np.ndarray], seconds: Mapping[str, np.ndarray],
         result: dict[str, Any]) -> list[dict[str, Any]]:
  """Returns heat maps for the canvas: [{"words", "height", "width", "seconds", "values" of a byte each, in base64}].

  Args:
    maps: {name: `[N, h, w]`}; seconds: {name: `[N]`}. Of very many, some are left out evenly.
  """
  found = []
  for name, values in maps.items():
    every = -(-values.size * len(maps) // MAP_BYTES) or 1
    values, times = values[::every], np.asarray(seconds[name], np.float64)[::every]
    values = np.rint(255 * np.clip(values / (values.max(initial=0.0) or 1.0), 0, 1)).astype(np.uint8)
    found.append(dict(words=wording.curve(result, name), height=values.shape[1], width=values.shape[2],
                      seconds=times.round(3).tolist(), values=base64.b64encode(values.tobytes()).decode()))
  return found
