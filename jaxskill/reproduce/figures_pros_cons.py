"""Figures of Pros & Cons that are drawn: Fig. 7, which filters attend alike, and Fig. 8, attention with frames.

K filters of a module, T segments of a video.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure, FigureBase

from jaxskill import cli
from jaxskill.report import drawing
from jaxskill.reproduce import stills
from jaxskill.reproduce.runs import Finished

ROW = "rank-aware"
HIGH, LOW = "high attention", "low attention"
PAIRS = 2                 # of Fig. 8
MOMENTS = 4               # of a video, for skill and against it


def correlation(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 7: the correlation of each filter of the high with each of the low module, mean over all videos.

  Filters have no order that models share, so that the matrix is one model's, the first; what all say is their mean.
  """
  del videos
  run = runs[ROW]
  found = [run.results["replicas"][index]["filter_correlation"].get(HIGH, {}).get(LOW) for index in run.replicas]
  matrices = np.array([matrix for matrix in found if matrix is not None])
  figure, axis = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
  if len(matrices):
    picture = axis.imshow(matrices[0], vmin=-1, vmax=1, cmap="RdBu_r")
    for (row, column), value in np.ndenumerate(matrices[0]):
      axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9)
    figure.colorbar(picture, label="correlation over the segments of a video")
    numbers = np.arange(len(matrices[0]))
    axis.set_xticks(numbers, numbers + 1)
    axis.set_yticks(numbers, numbers + 1)
    each = matrices.mean(axis=(1, 2))
    several = f"; of {len(each)} models, {each.min():.2f} to {each.max():.2f}" if len(each) > 1 else ""
    axis.set_title(f"mean of the matrix: {each.mean():.2f}{several}", fontsize=8)
  axis.set(xlabel="filter of the low-skill module", ylabel="filter of the high-skill module")
  drawing.title(figure, f"{cli.plain(run.results['data'])}, mean over all videos")
  return dict(correlation=figure)


def examples(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws Fig. 8: pairs of test videos, the better one above, with frames where the two modules look most."""
  run = runs[ROW]
  dataset = run.trainer.experiment.dataset
  chosen = (dataset.pairs[pair].tolist() for pair in _chosen(run))
  return {f"pair_{number}": _pair(run, better, worse, videos) for number, (better, worse) in enumerate(chosen, 1)}


def _chosen(run: Finished) -> list[int]:
  """Test pairs that the first model has in order by the widest margins, no video in two of them."""
  experiment = run.trainer.experiment
  dataset, first = experiment.dataset, run.replicas[0]
  fold = dataset.folds[experiment.replicas[first].fold]
  score, taken, found = run.assessments.score[first], set(), []
  better, worse = dataset.pairs[fold.test_pairs].T
  for pair in fold.test_pairs[np.argsort(score[worse] - score[better], kind="stable")]:
    videos = set(dataset.pairs[pair].tolist())
    if len(found) < PAIRS and not videos & taken:
      found.append(pair)
      taken |= videos
  return found


def _pair(run: Finished, better: int, worse: int, videos: Any) -> Figure:
  """One pair: for each video a strip of frames above the attention of both modules."""
  figure = plt.figure(figsize=(1.5 * 2 * MOMENTS, 6.6), layout="constrained")
  parts: Any = figure.subfigures(2)
  for part, (kind, video) in zip(parts, (("better", better), ("worse", worse))):
    _video(part, run, kind, video, videos)
  drawing.legend_below(figure, "Frames stand where one module looks most, and have its colour: blue the high-skill "
                       "module, red the low-skill module. Curves: how much a segment counts, 1 where all count alike.")
  drawing.title(figure, cli.plain(run.results["data"]))
  return figure


def _video(part: FigureBase, run: Finished, kind: str, video: int, videos: Any) -> None:
  dataset, first = run.trainer.experiment.dataset, run.replicas[0]
  stream = run.trainer.experiment.method.streams[0]
  real, said = dataset.lengths[stream][video], run.assessments
  curves = {name: np.mean(said.attention[name][first, video, :, :real], axis=0) for name in (HIGH, LOW)}
  moments = _moments(curves)
  times = (np.array([at for at, _ in moments]) + 0.5) * dataset.row_seconds[stream][video]
  shown = stills.at(run.trainer.experiment, video, times, videos)
  grid = part.add_gridspec(2 if shown else 1, max(len(moments), 1), height_ratios=(1, 1.3) if shown else (1,))
  step = dataset.row_seconds[stream][video]
  for column, ((at, side), picture) in enumerate(zip(moments, shown)):
    drawing.frame(part.add_subplot(grid[0, column]), picture, f"segment {at + 1}", side=side)
  axis = part.add_subplot(grid[-1, :])
  drawing.attention_curves(axis, (np.arange(real) + 0.5) * step,
                           {"high-skill module": (curves[HIGH], 1), "low-skill module": (curves[LOW], -1)})
  for at, side in moments:
    axis.axvline((at + 0.5) * step, color=drawing.COLORS[side], lw=0.6, ls="--")
  drawing.time_axis(axis, float(real * step))
  parts = {name: said.parts[name][first, video] for name in ("high", "low")}
  axis.set_title(f"{kind}: {cli.short(dataset.videos[video], 40)}, " + ", ".join(
      f"{name}-skill score {value:.2f}" for name, value in parts.items()), fontsize=8)


def _moments(curves: Mapping[str, np.ndarray]) -> list[tuple[int, int]]:
  """[(segment, side)] in time: those that each module weights most, each side's apart from one another."""
  found = {}
  for name, side in ((HIGH, 1), (LOW, -1)):
    values, apart = curves[name].copy(), max(1, len(curves[name]) // (4 * MOMENTS))
    for _ in range(MOMENTS):
      at = int(np.argmax(values))
      if values[at] > 0:
        found.setdefault(at, side)
      values[max(0, at - apart): at + apart + 1] = 0
  return sorted(found.items())
