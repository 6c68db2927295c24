"""Plots of a run as PNG files: training curves; attention, heat maps or alignment of the best and the worst video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxskill import cli
from jaxskill.data.dataset import Fold, SkillDataset
from jaxskill.evaluate import truth
from jaxskill.evaluate.metrics import tested_videos
from jaxskill.methods import Assessment
from jaxskill.report import drawing, explain, wording
from jaxskill.report.drawing import plt
from jaxskill.training import log_lines
from jaxskill.training.experiment import Experiment

SHOWN = 8      # frames of a video


def draw(workdir: epath.PathLike, experiment: Experiment, history: list[dict[str, Any]],
         assessments: Assessment, say: Callable[[str], None] = print) -> list[epath.Path]:
  """Writes the plots of a finished run and returns their paths; says which cannot be drawn, and goes on."""
  workdir, named = epath.Path(workdir), dict(training=lambda: _curves(workdir, history, experiment))
  if assessments.attention:
    named["attention"] = lambda: _attention(experiment, assessments)
  if assessments.alignment is not None:
    named["alignment"] = lambda: _alignment(experiment, assessments)
  if assessments.maps:
    named["maps"] = lambda: _maps(experiment, assessments)
  if experiment.metric == "spearman" and len(experiment.dataset.folds[experiment.replicas[0].fold].test_videos):
    named["scores"] = lambda: _scores(experiment, assessments)
  if assessments.distribution:
    named["distribution"] = lambda: _distribution(experiment, assessments)
  paths = []
  for name, make in named.items():
    try:
      paths.append(drawing.save(make(), workdir / f"{name}.png"))
    except Exception as error:            # pylint: disable=broad-except   the numbers must not be lost for a picture
      plt.close("all")
      say(f"warning: {workdir / name}.png cannot be drawn ({type(error).__name__}: {error}); all numbers are complete.")
  return paths


def _asked(dataset: SkillDataset, fold: Fold) -> tuple[np.ndarray, str]:
  """(videos of the test side, "test"), or, where nothing was kept apart, those trained on, which are no test."""
  test = tested_videos(dataset, fold)
  return (test, "test") if len(test) else (fold.train_videos, "training")


def _extremes(experiment: Any, scores: np.ndarray) -> dict[str, int]:
  """{words: video} of the videos that the first replica scores highest and lowest."""
  dataset, replica = experiment.dataset, experiment.replicas[0]
  videos, side = _asked(dataset, dataset.folds[replica.fold])
  best, worst = videos[np.argmax(scores[videos])], videos[np.argmin(scores[videos])]
  return {f"best {side} video": best, f"worst {side} video": worst}


def _score(experiment: Any, value: float) -> str:
  """A score in words."""
  return f"rank score {value:.2f}, no unit" if experiment.metric == "accuracy" else f"score {value:.2f}"


def _curves(workdir: epath.Path, history: Sequence[dict[str, Any]], experiment: Any) -> Figure:
  metrics = log_lines.read_metrics(workdir)
  figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
  steps = [m["step"] for m in metrics]
  kind, pairs = ("pairs", True) if experiment.metric == "accuracy" else ("videos", False)
  for name in [n for n in (metrics or [{}])[0] if n not in ("step", "steps_per_second", "accuracy", "error")]:
    left.plot(steps, _means(metrics, name), label=name, lw=2 if name == "loss" else 1, marker=_dot(steps))
  left.set(xlabel="step", ylabel="mean loss of a " + ("pair" if pairs else "video"))
  if metrics:                                          # metrics.jsonl may have been lost
    drawing.plain_numbers(left)
    left.legend(fontsize=7)
  if pairs and metrics:
    right.plot(steps, _means(metrics, "accuracy"), label="training pairs, as drawn", marker=_dot(steps))
  for name in ("validation", "test"):
    values = np.array([[r[name] for r in entry["replicas"]] for entry in history], float)
    if np.isfinite(values).all():
      at = [entry["step"] for entry in history]
      line, = right.plot(at, values.mean(axis=1), label=f"{name} {kind}", marker=_dot(at))
      right.fill_between(at, values.min(axis=1), values.max(axis=1), alpha=0.2, color=line.get_color())
  right.set(xlabel="step", ylabel="pairwise accuracy" if pairs else "Spearman's correlation", ylim=(None, 1.02))
  if right.get_legend_handles_labels()[0]:             # a correlation of equal scores is no number
    right.legend(fontsize=8)
  figure.suptitle("Simulated data" if experiment.dataset.simulated else "")
  return figure


def _dot(points: Sequence[int]) -> str:
  """The marker of a curve: a single point is no line."""
  return "o" if len(points) == 1 else ""


def _means(metrics: Sequence[dict[str, Any]], name: str) -> np.ndarray:
  """Mean over the replicas that still trained, for each entry; masked where none did."""
  return np.ma.masked_invalid([np.array(m[name], float) for m in metrics]).mean(axis=1)


# What only a simulation knows: the stream whose rows it follows, colour, words.
TRUTHS = dict(relevant_high=("rgb", "tab:blue", "high-skill moment"),
              relevant_low=("rgb", "tab:red", "low-skill moment"),
              posture_error=("static", "tab:orange", "posture error"))


def _attention(experiment: Any, assessments: Assessment) -> Figure:
  """Attention of the first replica on the test videos that it scores highest and lowest, a column for each stream."""
  dataset, scores, meanings = experiment.dataset, assessments.score[0], experiment.method.meanings
  by_stream = {}
  for name, values in assessments.attention.items():
    by_stream.setdefault(experiment.method.stream_of(name), {})[name] = values[0].mean(axis=1)
  options: Any = dict(sharex="col", sharey="col")
  figure, axes = plt.subplots(2, len(by_stream), figsize=(10, 5.4), squeeze=False, layout="constrained", **options)
  chosen, known = _extremes(experiment, scores), dict(meanings={name: one._asdict() for name, one in meanings.items()})
  for row, (kind, video) in zip(axes, chosen.items()):
    for axis, (stream, curves) in zip(row, by_stream.items()):
      real, seconds = dataset.lengths[stream][video], dataset.seconds(stream, video)
      drawing.attention_curves(axis, seconds, {
          wording.curve(known, name): (values[video, :real], known["meanings"].get(name, {"side": 0})["side"])
          for name, values in curves.items()})
      for name, (of, color, label) in TRUTHS.items():
        relevant = dataset.truth.get(name)
        if relevant is not None and of == stream:
          axis.fill_between(seconds, 0, 1, where=relevant[video, :real], transform=axis.get_xaxis_transform(),
                            step="mid", alpha=0.12, color=color, label=f"truth: {label}")
      axis.legend(fontsize=7, loc="upper right")
      longest = max(dataset.seconds(stream, v)[-1] for v in chosen.values())
      drawing.time_axis(axis, float(longest) or 1.0)
      axis.label_outer()
    row[0].set(title=f"{kind} by score: {cli.short(dataset.videos[video])} ({_score(experiment, scores[video])})")
  figure.suptitle("Simulated data" if dataset.simulated else "")
  drawing.legend_below(figure, wording.LEGENDS["attention"])
  return figure


def _alignment(experiment: Any, assessments: Assessment) -> Figure:
  """The test videos that the first replica scores highest and lowest, each above its first reference: lines join what
  is aligned, segments are coloured by score; below, how much later the references show the same (share of duration)."""
  dataset, stream = experiment.dataset, experiment.method.streams[0]
  lengths, seconds = dataset.lengths[stream], dataset.row_seconds[stream]
  scores, labels = assessments.score[0], experiment.standings()[:, 0]
  places = assessments.alignment[0, :, 0]                              # [V, T] in the first reference
  chosen = _extremes(experiment, scores)
  figure, axes = plt.subplots(2, 2, figsize=(11, 5.4), sharex=True, sharey="row", height_ratios=(3, 1),
                              layout="constrained")
  shown = [(video, experiment.exemplars()[0][video, 0, 0]) for video in chosen.values()]

  def of(video: int) -> Any:
    of_video = {name: values[0, video] for name, values in assessments.segments.items()}
    return truth.segments(of_video, lengths[video], seconds[video]) if of_video else []
  colors = drawing.colors_of([segment for videos in shown for video in videos for segment in of(video)])
  for kind, (video, reference), (above, below) in zip(chosen, shown, axes.T):
    start = (np.arange(lengths[video]) + 0.5) * seconds[video]
    end = places[video, : lengths[video]] * seconds[reference]
    drawing.aligned_videos(above, of(video), of(reference), colors, start, end)
    faults = dataset.truth.get("relevant_low")
    if faults is not None and faults.shape == dataset.streams[stream].shape[:2]:
      moments = start[faults[video, : len(start)]]
      above.plot(moments, np.full(len(moments), 1.14), "v", color="tab:red", ms=4, label="truth: low-skill moment")
      above.legend(fontsize=7, loc="upper right")
    above.set_title(f"{kind} by score: {cli.short(dataset.videos[video], 24)} ({scores[video]:.2f}),\nreference "
                    f"{cli.short(dataset.videos[reference], 24)} ({labels[reference]:.2f})", fontsize=8)
    lasts, other = lengths[video] * seconds[video], lengths[reference] * seconds[reference]
    drawing.offset_curve(below, start, end / other - start / lasts)
    drawing.time_axis(below, max(float(lengths[v] * seconds[v]) for pair in shown for v in pair))
  figure.colorbar(colors, ax=axes, label="score of a part")
  drawing.legend_below(figure, wording.LEGENDS["alignment"])
  figure.suptitle("Simulated data" if dataset.simulated else "")
  return figure


def _maps(experiment: Any, assessments: Assessment) -> Figure:
  """Heat maps of the first replica over the frames of the test videos that it scores highest and lowest.

  They lie over `scene`, with the true places marked where these are known.
  """
  dataset, scores = experiment.dataset, assessments.score[0]
  meanings = experiment.method.meanings
  name, maps = next(one for one in assessments.maps.items() if one[0] not in meanings or meanings[one[0]].shown)
  stream = experiment.method.stream_of(name)
  chosen, count = _extremes(experiment, scores), min(SHOWN, maps.shape[2])
  most = max(maps[0, video].max() for video in chosen.values())
  figure, axes = plt.subplots(2, count, figsize=(1.6 * count + 1, 4.4), squeeze=False, layout="constrained")
  for row, (kind, video) in zip(axes, chosen.items()):
    seconds = dataset.seconds(stream, video)
    for axis, number in zip(row, explain.narrowest(maps[0, video], count)):
      shown = assessments.rows[name][0, video, number]
      picture = scene(dataset, stream, video, shown)
      drawing.frame(axis, picture, wording.clock(seconds[shown]), maps[0, video, number], most)
      mark_places(axis, dataset, video, shown)
    row[0].set_ylabel(f"{kind}\n{cli.short(dataset.videos[video], 24)}\n{_score(experiment, scores[video])}",
                      fontsize=7)
  if handles := axes[0, 0].get_legend_handles_labels()[0]:
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=7)
  figure.suptitle("Simulated scene" if dataset.simulated else "")
  drawing.legend_below(figure, wording.LEGENDS["maps"])
  return figure


def scene(dataset: SkillDataset, stream: str, video: int, row: int) -> np.ndarray:
  """Returns what the heat map of a row lies over: what the stream `frames` shows nearest in time, `[H, W, 3]`.

  Without frames it is the mean of the feature map over its channels, `[h, w]`.
  """
  if "frames" in dataset.streams:
    apart = np.abs(dataset.seconds("frames", video) - dataset.seconds(stream, video)[row])
    return dataset.streams["frames"][video, np.argmin(apart)]
  return dataset.streams[stream][video, row].mean(axis=-1)


def mark_places(axis: Axes, dataset: SkillDataset, video: int, row: int) -> None:
  """Marks the true place of the action and of the distractor on a frame, where they are known."""
  for place, marker in (("place", "o"), ("distractor", "x")):
    if place in dataset.truth:
      down, right = dataset.truth[place][video, row]
      axis.plot(right, down, marker, color="white", fillstyle="none", markersize=8, markeredgewidth=1.5,
                path_effects=[patheffects.withStroke(linewidth=3.5, foreground="black")],    # seen on any picture
                label=f"truth: {place}")


def _scores(experiment: Any, assessments: Assessment) -> Figure:
  """Predicted against true scores of the test videos, and the share of them within an error (CoRe, Fig. 6 and 7)."""
  dataset, replica = experiment.dataset, experiment.replicas[0]
  fold = dataset.folds[replica.fold]
  true, predicted = dataset.labels(replica.criterion)[fold.test_videos], assessments.score[0][fold.test_videos]
  figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
  left.plot([true.min(), true.max()], [true.min(), true.max()], color="grey", lw=0.8)
  left.scatter(true, predicted, s=10)
  left.set(xlabel=f"true {cli.short(replica.criterion)}", ylabel="predicted",
           title=f"test videos, fold {cli.short(fold.name)}")
  error = np.sort(np.abs(predicted - true))
  right.step(error, 100 * np.arange(1, len(error) + 1) / len(error), where="post")
  right.set(xlabel="absolute error", ylabel="test videos within it [%]", ylim=(0, 102), title="cumulative score curve")
  figure.suptitle("Simulated data" if dataset.simulated else "")
  return figure


def _distribution(experiment: Any, assessments: Assessment) -> Figure:
  """What the score was chosen from, for the test video with the least error and the one with the largest."""
  dataset, replica = experiment.dataset, experiment.replicas[0]
  videos, side = _asked(dataset, dataset.folds[replica.fold])
  error = np.abs(assessments.score[0] - dataset.labels(replica.criterion))[videos]
  chosen = dict(least=videos[np.argmin(error)], largest=videos[np.argmax(error)])
  levels, meaning = assessments.distribution, experiment.method.meanings.get("distribution")
  figure, axes = plt.subplots(len(levels), 2, figsize=(10, 1.4 * len(levels) + 0.4), squeeze=False,
                              layout="constrained")
  for column, (kind, video) in zip(axes.T, chosen.items()):
    bars = {title: (one.places[0, video], one.probabilities[0, video]) for title, one in levels.items()}
    drawing.probability_bars(column, bars, meaning.words if meaning else "")
    column[0].set_title(f"{kind} error of a {side} video: {cli.short(dataset.videos[video], 24)},\n"
                        f"{assessments.score[0][video]:.2f} predicted, "
                        f"{dataset.labels(replica.criterion)[video]:.2f} true", fontsize=8)
  return figure
