"""Figures of ACTION-NET: what attention weighs most and least, over segments (4, 5) and over single frames (6).

Two videos of the test side stand in each: the best and the worst by their labels, as the first replica sees them. Where
performances are simulated, what each stream should find is marked.

T rows of a stream.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxskill import cli
from jaxskill.evaluate import truth
from jaxskill.report import drawing, wording
from jaxskill.reproduce import stills
from jaxskill.reproduce.runs import Finished

SHOWN = 8                              # segments below the weights of a video, and frames of a segment
SEGMENTS, FRAMES = 2, 4                # of the highest and of the lowest weights of a video
BLANK = np.full((3, 4), 0.9)           # in place of a frame that is not to be had
MARKED = "tab:orange"                  # what a stream should find


class Seen(NamedTuple):
  """How much the rows of one stream of one video weigh.

  Attributes:
    video: its number; title: its name and score.
    weights: `[T]`, 0 outside of the window that was seen; rows: `[W]` numbers of the rows inside.
    start: `[T]` seconds at which each row begins; length: seconds from one row to the next.
    found: `[T]` bool, what the stream should find; None where that is not known.
    words: what that is called.
  """

  video: int
  title: str
  weights: np.ndarray
  rows: np.ndarray
  start: np.ndarray
  length: float
  found: np.ndarray | None
  words: str

  def ordered(self) -> np.ndarray:
    """Returns `[W]` the rows that were seen, the highest weight first."""
    return self.rows[np.argsort(-self.weights[self.rows], kind="stable")]

  def label(self, row: int) -> str:
    """Returns when a row is shown, its weight, and whether it is what the stream should find."""
    marked = f"\n{self.words}" if self.found is not None and self.found[row] else ""
    return f"{wording.clock(self.start[row])}: {self.weights[row]:.4f}{marked}"


def seen(run: Finished, stream: str) -> list[Seen]:
  """Returns what the first replica of a row weighs in a stream of the best and of the worst video of its test side."""
  experiment, replica = run.trainer.experiment, run.replicas[0]
  dataset, name = experiment.dataset, f"{stream} attention"
  scores = np.asarray(dataset.labels(experiment.replicas[replica].criterion))
  test = experiment.fold(replica).test_videos
  known = next((what for what in experiment.method.meanings[name].finds if what in dataset.truth), "")
  both = []
  for video in dict.fromkeys((int(test[np.argmax(scores[test])]), int(test[np.argmin(scores[test])]))):
    length = int(dataset.lengths[stream][video])
    weights = np.asarray(run.assessments.attention[name])[replica, video, 0, :length]
    both.append(Seen(
        video, f"{cli.short(dataset.videos[video])}, score {scores[video]:.4g}", weights, np.flatnonzero(weights > 0),
        dataset.seconds(stream, video), float(dataset.row_seconds[stream][video]),
        dataset.truth[known][video, :length].astype(bool) if known else None,
        truth.MOMENTS.get(known, "").replace("_", " ")))
  return both


def weights(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 4: attention over the segments of two videos; below, what some of them show, with their weights.

  Raises:
    ValueError: for a file of `videos` that is no video.
  """
  run, = runs.values()
  both = seen(run, "rgb")
  figure = plt.figure(figsize=(12, 3.6 * len(both) + 0.5), layout="constrained")
  for part, view in zip(figure.subfigures(len(both), 1, squeeze=False)[:, 0], both):
    grid = part.add_gridspec(2, SHOWN, height_ratios=(1.3, 1))
    axis = part.add_subplot(grid[0, :])
    colors = [MARKED if view.found is not None and view.found[row] else drawing.COLORS[1] for row in view.rows]
    axis.bar(view.start[view.rows] + view.length / 2, view.weights[view.rows], 0.85 * view.length, color=colors)
    axis.axhline(1 / len(view.rows), color="0.4", lw=0.8, ls=":")
    drawing.time_axis(axis, view.start[-1] + view.length)
    axis.set_ylabel("attention weight")
    axis.set_title(view.title, fontsize=9)
    rows = view.rows[np.unique(np.linspace(0, len(view.rows) - 1, SHOWN).round().astype(int))]
    pictures = stills.at(run.trainer.experiment, view.video, view.start[rows] + view.length / 2, videos)
    for column, row in enumerate(rows):
      _still(part.add_subplot(grid[1, column]), pictures, column, view.label(row))
  words = f"; {MARKED.removeprefix('tab:')}: {both[0].words}" if both[0].found is not None else ""
  drawing.legend_below(figure, f"Dotted: equal weights{words}.")
  return {"weights": _titled(figure, run, videos)}


def segments(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 5: the segments of the highest and of the lowest weights of two videos, each as eight frames.

  Raises:
    ValueError: for a file of `videos` that is no video.
  """
  run, = runs.values()
  found = {}
  for view, which in zip(seen(run, "rgb"), ("best", "worst")):
    order = view.ordered()
    count = min(SEGMENTS, len(order) // 2) or 1
    chosen = [*order[:count], *order[-count:]]
    figure, axes = plt.subplots(len(chosen), SHOWN, figsize=(12, 1.3 * len(chosen) + 0.7), layout="constrained",
                                squeeze=False)
    for line, row in zip(axes, chosen):
      times = view.start[row] + (np.arange(SHOWN) + 0.5) / SHOWN * view.length
      pictures = stills.at(run.trainer.experiment, view.video, times, videos)
      for column, axis in enumerate(line):
        _still(axis, pictures, column, view.label(row) if not column else "")
    drawing.legend_below(figure, f"Above: the {count} segments of the highest attention weights; below: the {count} of "
                         f"the lowest. Equal weights are {1 / len(order):.4f}.")
    found[f"segments_of_the_{which}"] = _titled(figure, run, videos, view.title)
  return found


def frames(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 6: the frames of the highest and of the lowest weights of the static stream of two videos.

  Raises:
    ValueError: for a file of `videos` that is no video.
  """
  run, = runs.values()
  both = seen(run, "static")
  figure, axes = plt.subplots(2, FRAMES * len(both), figsize=(12, 3.4), layout="constrained", squeeze=False)
  for number, view in enumerate(both):
    order = view.ordered()
    count = min(FRAMES, len(order) // 2) or 1
    for line, chosen in zip(axes, (order[:count], order[-count:])):
      times = view.start[chosen] + view.length / 2
      ascending = np.argsort(times)
      pictures = stills.at(run.trainer.experiment, view.video, times[ascending], videos)
      for axis in line[number * FRAMES: (number + 1) * FRAMES]:
        axis.set_axis_off()
      for place, index in enumerate(ascending):
        _still(line[number * FRAMES + place], pictures, place, view.label(chosen[index]))
  drawing.legend_below(figure, "Above: the highest attention weights of the static stream; below: the lowest. "
                       f"Left to right: {'; '.join(view.title for view in both)}.")
  return {"frames": _titled(figure, run, videos)}


def _still(axis: Axes, pictures: Sequence, number: int, label: str) -> None:
  """A picture, or an empty one where there is none, with what is to be known above it."""
  axis.set_axis_on()
  drawing.frame(axis, pictures[number] if number < len(pictures) else BLANK, label)


def _titled(figure: Figure, run: Finished, videos: pathlib.Path | None, words: str = "") -> Figure:
  """A figure that says what its data are, and how to have frames where there are none."""
  experiment = run.trainer.experiment
  frameless = videos is None and experiment.config.data.name != "simulated"
  drawing.title(figure, ". ".join(filter(None, (
      experiment.dataset.name, words, "Without frames: give --videos DIR" if frameless else ""))))
  return figure
