"""Fig. 2 of SkillDiff: segment scores of an expert and of a novice at the same activity.

K segments of a video.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes

from jaxskill import cli
from jaxskill.data import exemplars
from jaxskill.data.dataset import Fold
from jaxskill.evaluate import truth
from jaxskill.report import drawing, wording
from jaxskill.reproduce import stills
from jaxskill.reproduce.runs import Finished
from jaxskill.training.experiment import Experiment

ROW = "SkillDiff"     # of the config
MARKED = 2            # segments, as the paper marks
COLORS = dict(expert="tab:blue", novice="tab:red")


def draw(runs: dict[str, Finished], videos: pathlib.Path | None) -> dict:
  """Draws the scores of the segments of two test videos, and frames of them where there are films.

  Args:
    runs: {row: `Finished`}, of which the whole is drawn.
    videos: folder of video files by id, or None; simulated performances are drawn.

  Returns:
    {"segments": figure}.

  Raises:
    ValueError: for a file of `videos` that is no video.
  """
  run = runs[ROW]
  experiment = run.trainer.experiment
  first = experiment.replicas[run.replicas[0]]
  models = [i for i in run.replicas if (experiment.replicas[i].fold, experiment.replicas[i].criterion)
            == (first.fold, first.criterion)]
  chosen = dict(zip(("expert", "novice"), expert_and_novice(experiment, experiment.dataset.folds[first.fold],
                                                            first.criterion)))
  by_person = {who: [_segments(experiment, run.assessments, model, video) for model in models]
               for who, video in chosen.items()}
  strips = {who: pictures for who, video in chosen.items()
            if (pictures := stills.at(experiment, video, _middles(by_person[who][0]), videos))}
  number = run.assessments.segments["number"][models[0]]
  faults = {who: found for who, video in chosen.items()
            if (found := faulty_shares(experiment, video, number[video])) is not None}
  plt = drawing.plt
  figure = plt.figure(figsize=(10, 4 + 1.3 * len(strips) + 1.2 * bool(faults)), layout="constrained")
  heights = [1.3] * len(strips) + [3.2] + [1.2] * bool(faults)
  columns = max(len(segments) for segments, *_ in by_person.values())
  grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
  for row, (who, pictures) in enumerate(strips.items()):
    for column, picture in enumerate(pictures):
      label = f"{who}, {wording.clock(_middles(by_person[who][0])[column])}"
      drawing.frame(figure.add_subplot(grid[row, column]), picture, label)
  names = {who: cli.short(experiment.dataset.videos[video], 24) for who, video in chosen.items()}
  _scores(figure.add_subplot(grid[len(strips), :]), by_person, names)
  if faults:
    _truth(figure.add_subplot(grid[-1, :]), faults)
  drawing.title(figure, f"Fig. 2 of SkillDiff on {experiment.dataset.name}, {len(models)} "
                f"model{'s' * (len(models) > 1)}")
  drawing.legend_below(figure, "Scores of the segments of the test videos of the highest and of the lowest label of",
                       "one activity, mean over the models (bars: standard deviation). Shaded: where the novice is",
                       "farthest below the expert.")
  return dict(segments=figure)


def expert_and_novice(experiment: Experiment, fold: Fold, criterion: str) -> tuple[int, int]:
  """Returns the test videos of the highest and the lowest label, of the activity that most test videos show.

  Where there are no scores, labels are shares of the test pairs that a video won.
  """
  dataset, groups, tested = experiment.dataset, experiment.groups, fold.test_videos
  assert groups is not None              # of a method that compares
  labels = (exemplars.share_won(dataset.pairs[fold.test_pairs], dataset.num_videos) if experiment.method.items.ranks
            else dataset.labels(criterion))
  activity = np.bincount(groups[tested]).argmax()
  same = tested[groups[tested] == activity]
  order = same[np.argsort(labels[same], kind="stable")]
  return int(order[-1]), int(order[0])


def faulty_shares(experiment: Experiment, video: int, number: np.ndarray) -> np.ndarray | None:
  """Returns `[K]` the share of rows of each segment that truly show a mistake; None where it is not known.

  Args:
    number: `[T]` the segment that each row is in.
  """
  dataset, stream = experiment.dataset, experiment.method.streams[0]
  faulty = dataset.truth.get("relevant_low")
  if faulty is None or faulty.shape != dataset.streams[stream].shape[:2]:
    return None
  rows = dataset.lengths[stream][video]
  return np.array([faulty[video, :rows][number[:rows] == segment].mean() for segment in np.unique(number[:rows])])


def _segments(experiment: Any, assessments: Any, model: int, video: int) -> list[dict[str, Any]]:
  """[{"start", "end" in seconds, "score", "importance"}] of a video by one model."""
  stream = experiment.method.streams[0]
  of_video = jax.tree.map(lambda x: x[model, video], dict(assessments.segments))
  dataset = experiment.dataset
  return truth.segments(of_video, dataset.lengths[stream][video], dataset.row_seconds[stream][video])


def _middles(segments: Sequence[Mapping[str, Any]]) -> Any:
  """`[K]` seconds of the middles of segments."""
  return np.array([(segment["start"] + segment["end"]) / 2 for segment in segments])


def _scores(axis: Axes, by_person: Any, names: Any) -> None:
  """Scores over the numbers of the segments, those marked where the novice is farthest below the expert."""
  mean = {}
  for who, models in by_person.items():
    scores = np.array([[segment["score"] for segment in segments] for segments in models])
    mean[who], spread = scores.mean(axis=0), scores.std(axis=0, ddof=1) if len(scores) > 1 else None
    axis.errorbar(np.arange(scores.shape[1]) + 1, mean[who], spread, marker="o", capsize=3, color=COLORS[who],
                  label=f"{who}: {names[who]}")
  count = min(map(len, mean.values()))
  behind = mean["expert"][:count] - mean["novice"][:count]
  for number in np.argsort(-behind, kind="stable")[:MARKED]:
    if behind[number] > 0:
      axis.axvspan(number + 0.5, number + 1.5, alpha=0.12, color=COLORS["novice"])
  _number(axis, max(map(len, mean.values())))
  axis.set(ylabel="score of the segment")
  axis.legend(fontsize=8)


def _truth(axis: Axes, faults: Any) -> None:
  """Bars of the share of rows that show a mistake, of either video."""
  for place, (who, shares) in zip((-0.2, 0.2), faults.items()):
    axis.bar(np.arange(len(shares)) + 1 + place, shares, 0.4, color=COLORS[who], label=who)
  _number(axis, max(map(len, faults.values())))
  axis.set(ylabel="truth: share of\nrows with a mistake")
  axis.yaxis.label.set_fontsize(7)


def _number(axis: Axes, count: int) -> None:
  """Makes the x axis one of the numbers of segments."""
  axis.set(xlabel="segment", xticks=np.arange(count) + 1, xlim=(0.5, count + 0.5))
