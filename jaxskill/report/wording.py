"""Words for readers who know the task and not the model: names as plain text, times, ranks, cautions and legends.

Nothing here draws, so that pictures, pages and the terminal say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FEW = 20              # training videos below which a rank is told in numbers, and the answer says that they are few
NOT_ALIKE = ("unlike the training videos", "this is ")     # so begin warnings of videos that no range is made for
FEW_MODELS = 3        # below which their spread says little
SIDES = {1: "for", 0: "", -1: "against"}     # what a moment speaks for, beside its time
LEGENDS = dict(
    attention="Each curve shares out the model's attention over the whole video; 1 is an even share. It says where the "
              "model looked, not how good that moment was.",
    shaded="Shaded: the moments that the answer names, with at least half as much again as an even share.",
    segments="Each line is a part of the video, at the height of the score that the model gives it: blue is high, red "
             "is low. The percentage says how much the part counts.",
    maps="Red to yellow: where in the picture the model looked, yellow most, by one scale in all pictures. Shown are "
         "the moments at which it looked most narrowly.",
    alignment="Lines join the moments that show the same step of the task. Bars: the score of each part, blue is high, "
              "red is low.",
    keys="Pictures: the moments that decided, at the dashed lines; blue speaks for skill, red against it.",
    even="The pictures are evenly spaced.",
    none="No moment stands out.",
    frames="Nothing here says which moments decided; the pictures are evenly spaced.")


def clock(seconds: float) -> str:
  """Returns seconds as m:ss.s, the one form of a time in all that people read; files hold seconds."""
  minutes, tenths = divmod(round(float(seconds) * 10), 600)
  return f"{minutes}:{tenths // 10:02d}.{tenths % 10}"


def span(start: float, end: float) -> str:
  """Returns an interval of seconds as m:ss.s-m:ss.s."""
  return f"{clock(start)}-{clock(end)}"


def above(percentiles: Sequence[float], count: int) -> str:
  """Returns how a video stands among the training videos: in numbers where they are few, else in percent.

  Args:
    percentiles: `[n]`, by each model; count: of the training videos.
  """
  if count >= FEW:
    return f"above {np.mean(percentiles):.0f} % of the {count} training videos"
  numbers = np.asarray(percentiles) * count / 100
  low, high = int(np.floor(numbers.min() + 1e-6)), int(np.ceil(numbers.max() - 1e-6))
  number = f"{low}" if low == high else f"{low} to {high}"          # models, or videos of equal scores, leave it open
  return f"above {number} of {count} training video{'s' if count > 1 else ''}"


def score(result: dict[str, Any]) -> str:
  """Returns a video's score with its spread; a rank score is called one, since it cannot be read as a rating.

  Args:
    result: of `explain.answer`.
  """
  spread = f" ± {result['spread']:.3g} over {len(result['models'])} models" if result["spread"] is not None else ""
  if result.get("range"):
    low, high = result["range"]
    spread += f", {exact_percent(result['level'])} range {low:.4g} to {high:.4g}"
  if result["ranked"]:
    return f"rank score {result['score']:.4g}{spread} (no unit)"
  return f"score {result['score']:.4g}{spread}"


def standing(result: dict[str, Any]) -> str:
  """Returns the answer about one video in a line: its place among the training videos, then its score."""
  percentiles = [model["percentile"] for model in result["models"]]
  return f"{above(percentiles, result['training_videos'])}; {score(result)}"


def cautions(*results: dict[str, Any]) -> list[str]:
  """Returns what must be read before a score, the gravest first: a list of phrases, empty where there is nothing."""
  found = ["RANDOM WEIGHTS"] if any(result["random_weights"] for result in results) else []
  found += ["SIMULATED DATA"] if any(result["simulated"] for result in results) else []
  if results[0]["tested"] is False:
    found.append("NOT TESTED: this model was trained on all videos")
  elif results[0]["tested"] is None:
    found.append("NOT TESTED as far as is known: the run has no results.json")
  if results[0]["training_videos"] < FEW:
    found.append(f"ONLY {results[0]['training_videos']} TRAINING VIDEO{'S' * (results[0]['training_videos'] != 1)}")
  if len(results[0]["models"]) < FEW_MODELS:
    found.append(f"ONLY {len(results[0]['models'])} MODEL{'S' * (len(results[0]['models']) > 1)}")
  return found


def warned(text: str, *results: dict[str, Any]) -> str:
  """Returns a line with the `cautions` before it."""
  found = cautions(*results)
  return f"{', '.join(found)}: {text}" if found else text


def curve(result: dict[str, Any], name: str) -> str:
  """Returns the words of a curve or of heat maps in a legend, and the name that the system gives them.

  Args:
    result: {"meanings"} of `explain.answer`.
  """
  meaning = result["meanings"].get(name)
  return f"{meaning['words']} ({name})" if meaning else name


def amount(moment: dict[str, Any]) -> str:
  """Returns how much a moment counts, in words."""
  if "from_left" in moment:
    return (f"{percent(moment['share'])} of it at one place, {percent(moment['from_left'])} from the left and "
            f"{percent(moment['from_top'])} from the top of the picture")
  if "share" in moment:
    return f"{percent(moment['share'])} of the attention"
  return f"score {moment['score']:.3g}, counts {percent(moment['importance'])}"


def exact_percent(level: float) -> str:
  """Returns a level that was asked for as the percentage that it is."""
  return f"{100 * level:.6g} %"


def percent(share: float) -> str:
  """Returns a share as a whole percentage."""
  return f"{100 * share:.0f} %"
