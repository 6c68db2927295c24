"""Figures 4 to 6 of spatial attention: where models look in the frames of two test videos, a strip a model."""

from __future__ import annotations

import pathlib
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from jaxskill import cli
from jaxskill.report import drawing, plots, wording
from jaxskill.reproduce import stills
from jaxskill.reproduce.runs import Finished

FRAMES = 6               # of a strip
ATTENTION = "attention"
LEGEND = ("Red to yellow: where in the picture the model looked. Each model has a scale of its own, for one that looks "
          "at everything alike would be dark beside others; the brightest weight is written beside it. Frames are "
          "evenly spaced. A strip is the first model of its row: one fold, one seed.")
MARKED = "Circle: where the action truly is; cross: where the distractor is; shares are means over the test videos."


def draw(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws heat maps over the test videos that the first row scores highest and lowest, the same frames for all rows.

  Args:
    runs: {row: its finished run}, in the order in which strips stand below one another.
    videos: folder of video files that are named as the videos are; None without.
  """
  first = next(iter(runs.values()))
  dataset, replica = first.trainer.experiment.dataset, first.replicas[0]
  test, score = first.trainer.experiment.fold(replica).test_videos, first.assessments.score[replica]
  chosen = {"scored highest": int(test[np.argmax(score[test])]), "scored lowest": int(test[np.argmin(score[test])])}
  count = min(FRAMES, first.assessments.maps[ATTENTION].shape[2])
  figure = plt.figure(figsize=(1.6 * count + 2, 1.9 * len(chosen) * len(runs) + 1.2), layout="constrained")
  for part, (kind, video) in zip(figure.subfigures(len(chosen), squeeze=False)[:, 0], chosen.items()):
    axes = part.subplots(len(runs), count, squeeze=False)
    for strip, (row, run) in zip(axes, runs.items()):
      _strip(strip, run, video, tuple(chosen.values()), videos)
      strip[0].set_ylabel(_said(row, run, tuple(chosen.values())), fontsize=7)
    part.suptitle(f"{kind} by {next(iter(runs))}: {cli.short(dataset.videos[video], 40)}", fontsize=8)
  drawing.title(figure, dataset.name)
  drawing.legend_below(figure, LEGEND, *([MARKED] if "place" in dataset.truth else []))
  return {ATTENTION: figure}


def _strip(axes: np.ndarray, run: Finished, video: int, chosen: Any, videos: pathlib.Path | None) -> None:
  """The frames of one video with the heat maps of the first model of a row."""
  experiment, replica = run.trainer.experiment, run.replicas[0]
  dataset, stream = experiment.dataset, experiment.method.stream_of(ATTENTION)
  maps, rows = run.assessments.maps[ATTENTION][replica, video], run.assessments.rows[ATTENTION][replica, video]
  numbers = np.linspace(0, len(maps) - 1, len(axes)).round().astype(int)
  seconds = dataset.seconds(stream, video)[rows[numbers]]
  kept = "frames" in dataset.streams or videos is None
  films = [] if kept else stills.at(experiment, video, seconds, videos)
  for place, (axis, number) in enumerate(zip(axes, numbers)):
    film = place < len(films)
    picture = films[place] if film else plots.scene(dataset, stream, video, rows[number])
    drawing.frame(axis, picture, wording.clock(seconds[place]), maps[number], _brightest(run, chosen))
    plots.mark_places(axis, dataset, video, rows[number])


def _brightest(run: Finished, chosen: tuple[int, int]) -> float:
  """The highest weight that the first model of a row gives in the chosen videos."""
  return float(run.assessments.maps[ATTENTION][run.replicas[0], list(chosen)].max())


def _said(row: str, run: Finished, chosen: Any) -> str:
  """A row in words: its name, its highest weight and, where the truth is known, how much of it lies there."""
  known = run.results["replicas"][run.replicas[0]]["against_truth"]
  lines = [row, f"brightest {_brightest(run, chosen):.3f}"]
  if "attention_place" in known:
    lines += [f"at the true place {known['attention_place']:.2f}", f"(equal weights {known['uniform_place']:.2f})"]
  return "\n".join(lines)
