"""Plots of a run as PNG files: training curves; attention, heat maps or alignment of the best and the worst test video."""

from __future__ import annotations

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from jaxskill import evaluate, log_lines


def draw(workdir, trainer, history, assessments):
  """Writes the plots of a finished run; returns their paths."""
  workdir = pathlib.Path(workdir)
  paths = [save(_curves(workdir, history, trainer), workdir / "training.png")]
  if not evaluate.is_tested(trainer.dataset):        # the others show test videos
    return paths
  if any(name.endswith(" attention") for name in assessments.timelines):
    paths.append(save(_timelines(trainer, assessments), workdir / "attention.png"))
  if assessments.alignment:
    paths.append(save(_alignment(trainer, assessments), workdir / "alignment.png"))
  if assessments.maps:
    paths.append(save(_maps(trainer, assessments), workdir / "maps.png"))
  if trainer.metric == "spearman":
    paths.append(save(_scores(trainer, assessments), workdir / "scores.png"))
  if assessments.probabilities:
    paths.append(save(_probabilities(trainer, assessments), workdir / "leaves.png"))
  return paths


def save(figure, path):
  """Writes a figure and closes it; returns the path."""
  figure.savefig(path, dpi=120)
  plt.close(figure)
  return path


def _curves(workdir, history, trainer):
  metrics = log_lines.read_metrics(workdir)
  figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
  steps = [m["step"] for m in metrics]
  kind, pairs = ("pairs", True) if trainer.metric == "accuracy" else ("videos", False)
  for name in [n for n in (metrics or [{}])[0] if n not in ("step", "steps_per_second", "accuracy", "error")]:
    left.plot(steps, _means(metrics, name), label=name, lw=2 if name == "loss" else 1)
  left.set(xlabel="step", ylabel="mean loss of a " + ("pair" if pairs else "video"))
  if metrics:                                          # metrics.jsonl may have been lost
    left.set(yscale="log")
    left.legend(fontsize=7)
  if pairs and metrics:
    right.plot(steps, _means(metrics, "accuracy"), label="training pairs, as drawn")
  for name in ("validation", "test"):
    values = np.array([[r[name] for r in entry["replicas"]] for entry in history], float)
    if np.isfinite(values).all():
      at = [entry["step"] for entry in history]
      line, = right.plot(at, values.mean(axis=1), label=f"{name} {kind}")
      right.fill_between(at, values.min(axis=1), values.max(axis=1), alpha=0.2, color=line.get_color())
  right.set(xlabel="step", ylabel="pairwise accuracy" if pairs else "Spearman's correlation", ylim=(None, 1.02))
  if right.get_legend_handles_labels()[0]:             # a correlation of equal scores is no number
    right.legend(fontsize=8)
  figure.suptitle("Simulated data" if trainer.dataset.simulated else "")
  return figure


def _means(metrics, name):
  """Mean over the replicas that still trained, for each entry; masked where none did."""
  return np.ma.masked_invalid([np.array(m[name], float) for m in metrics]).mean(axis=1)


# What only a simulation knows: the stream whose rows it follows, colour, words.
TRUTHS = dict(relevant_high=("rgb", "tab:green", "high-skill moment"), relevant_low=("rgb", "tab:red", "low-skill moment"),
              posture_error=("static", "tab:orange", "posture error"))


def attention_curves(axis, seconds, curves):
  """Attention {name: `[T]`} over time; a dotted line where even weights lie."""
  for name, values in curves.items():
    axis.plot(seconds, values, label=name, lw=1, marker="o" if len(values) == 1 else "")      # a point is no line
  axis.axhline(1 / len(seconds), color="grey", lw=0.6, ls=":")
  axis.set(ylabel="attention weight")
  axis.legend(fontsize=7, loc="upper right")


def colours_of(segments):
  """Colours of the scores of segments, red to green."""
  scores = [segment["score"] for segment in segments]
  return plt.cm.ScalarMappable(plt.Normalize(min(scores), max(scores)), "RdYlGn")


def aligned_videos(axis, video, reference, colours, start, end):
  """The segments of a video above those of its reference, lines between what is aligned.

  Args:
    video, reference: [{"start", "end", "score"}]; colours: of `colours_of`.
    start, end: `[T]` seconds of the video's rows, and of the places in the reference that show the same.
  """
  for y, segments in ((1.0, video), (0.0, reference)):
    axis.broken_barh([(s["start"], s["end"] - s["start"]) for s in segments], (y - 0.08, 0.16), edgecolor="white",
                     facecolors=[colours.to_rgba(s["score"]) for s in segments])
  axis.plot([start, end], [0.9, 0.1], color="grey", lw=0.4)
  axis.set(yticks=(0, 1), yticklabels=("reference", "video"), ylim=(-0.15, 1.4))


def offset_curve(axis, seconds, offset):
  """How much later the reference shows the same, as a share of the duration."""
  axis.plot(seconds, offset, lw=1)
  axis.axhline(0, color="grey", lw=0.6, ls=":")
  axis.set(xlabel="time [s]", ylabel="timing offset")


INSIDE = (0, 1, 1, 0)            # a frame as a unit square, row 0 on top


def frame(axis, picture, title, weights=None):
  """A picture, with a heat map `[h, w]` over it where there is one."""
  gray = dict(cmap="gray") if picture.ndim == 2 else {}
  axis.imshow(picture, extent=INSIDE, aspect="auto" if weights is None else "equal", **gray)
  if weights is not None:
    axis.imshow(weights, cmap="inferno", alpha=0.5, vmin=0, extent=INSIDE, interpolation="bilinear")
  axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0))
  axis.set_title(title, fontsize=7)


def probability_bars(axes, levels):
  """Probabilities {level: `[n]`} of a tree, one axis each."""
  for axis, (name, values) in zip(axes, levels.items()):
    axis.bar(np.arange(len(values)), values)
    axis.set(ylabel=name, ylim=(0, 1), xticks=[])
  axes[-1].set_xlabel("groups of score differences, mean over exemplars")


def _timelines(trainer, assessments):
  """Attention of the first replica on the test videos that it scores highest and lowest, a column for each stream."""
  dataset, replica = trainer.dataset, trainer.replicas[0]
  test = evaluate.tested_videos(dataset, dataset.folds[replica.fold])
  scores = assessments.score[0]
  by_stream = {}
  for name, values in assessments.timelines.items():
    if name.endswith(" attention"):
      by_stream.setdefault(trainer.method.stream_of(name), {})[name] = values
  figure, axes = plt.subplots(2, len(by_stream), figsize=(10, 5), squeeze=False, layout="constrained")
  chosen = dict(best=test[np.argmax(scores[test])], worst=test[np.argmin(scores[test])])
  for row, (kind, video) in zip(axes, chosen.items()):
    for axis, (stream, timelines) in zip(row, by_stream.items()):
      real = dataset.lengths[stream][video]
      seconds = dataset.seconds(stream, video)
      attention_curves(axis, seconds, {name: values[0, video, :real] for name, values in timelines.items()})
      for truth, (of, colour, label) in TRUTHS.items():
        relevant = dataset.truth.get(truth)
        if relevant is not None and of == stream:
          axis.fill_between(seconds, 0, 1, where=relevant[video, :real], transform=axis.get_xaxis_transform(), step="mid",
                            alpha=0.12, color=colour, label=f"truth: {label}")
      axis.legend(fontsize=7, loc="upper right")
    row[0].set(title=f"{kind} test video by score: {dataset.videos[video]} ({scores[video]:.2f})")
  for axis in axes[1]:
    axis.set(xlabel="time [s]")
  return figure


def _alignment(trainer, assessments):
  """The test videos that the first replica scores highest and lowest, each above its first reference: lines join what
  is aligned, segments are coloured by score; below, how much later the references show the same (share of duration)."""
  dataset, stream = trainer.dataset, trainer.method.streams[0]
  lengths, seconds = dataset.lengths[stream], dataset.row_seconds[stream]
  replica, scores = trainer.replicas[0], assessments.score[0]
  fold, labels = dataset.folds[replica.fold], dataset.labels(replica.criterion)
  timelines = {name: values[0] for name, values in assessments.timelines.items()}
  places = next(iter(assessments.alignment.values()))[0]
  test = evaluate.tested_videos(dataset, fold)
  chosen = dict(best=test[np.argmax(scores[test])], worst=test[np.argmin(scores[test])])
  figure, axes = plt.subplots(2, 2, figsize=(11, 5), sharex="col", height_ratios=(3, 1), layout="constrained")
  shown = [(video, trainer.exemplars()[0][video, 0, 0]) for video in chosen.values()]
  of = lambda video: evaluate.segments(timelines, video, lengths[video], seconds[video])
  colours = colours_of([segment for videos in shown for video in videos for segment in of(video)])
  for kind, (video, reference), (above, below) in zip(chosen, shown, axes.T):
    start = (np.arange(lengths[video]) + 0.5) * seconds[video]
    end = places[video, : lengths[video]] * seconds[reference]
    aligned_videos(above, of(video), of(reference), colours, start, end)
    faults = dataset.truth.get("relevant_low")
    if faults is not None and faults.shape == dataset.streams[stream].shape[:2]:
      moments = start[faults[video, : len(start)]]
      above.plot(moments, np.full(len(moments), 1.14), "v", color="tab:red", ms=4, label="truth: low-skill moment")
      above.legend(fontsize=7, loc="upper right")
    above.set_title(f"{kind} test video by score: {dataset.videos[video]} ({scores[video]:.2f}), reference "
                    f"{dataset.videos[reference]} ({labels[reference]:.2f})", fontsize=8)
    offset_curve(below, start, timelines["timing offset"][video, : len(start)])
  figure.colorbar(colours, ax=axes, label="score of a segment")
  figure.suptitle("Simulated data" if dataset.simulated else "")
  return figure


SHOWN = 8      # frames of a video


def _maps(trainer, assessments):
  """Heat maps of the first replica over the frames of the test videos that it scores highest and lowest.

  They lie over what the stream `frames` shows nearest in time, or without it over the mean of the feature maps; simulated
  scenes have the true place of the action and of the distractor marked.
  """
  dataset, replica = trainer.dataset, trainer.replicas[0]
  test, scores = evaluate.tested_videos(dataset, dataset.folds[replica.fold]), assessments.score[0]
  (name, maps), *_ = assessments.maps.items()
  stream = trainer.method.stream_of(name)
  chosen = dict(best=test[np.argmax(scores[test])], worst=test[np.argmin(scores[test])])
  count = min(SHOWN, maps.shape[2])
  figure, axes = plt.subplots(2, count, figsize=(1.6 * count + 1, 4.4), squeeze=False, layout="constrained")
  for row, (kind, video) in zip(axes, chosen.items()):
    seconds = dataset.seconds(stream, video)
    for axis, number in zip(row, np.linspace(0, maps.shape[2] - 1, count).round().astype(int)):
      shown = assessments.rows[name][0, video, number]
      if "frames" in dataset.streams:
        picture = dataset.streams["frames"][video, np.argmin(np.abs(dataset.seconds("frames", video) - seconds[shown]))]
      else:
        picture = dataset.streams[stream][video, shown].mean(axis=-1)
      frame(axis, picture, f"{seconds[shown]:.0f} s", maps[0, video, number])
      for truth, marker, colour in (("place", "o", "tab:green"), ("distractor", "x", "tab:red")):
        if truth in dataset.truth:
          down, right = dataset.truth[truth][video, shown]
          axis.plot(right, down, marker, color=colour, fillstyle="none", label=f"truth: {truth}")
    row[0].set_ylabel(f"{kind} test video\n{dataset.videos[video]}\nscore {scores[video]:.2f}", fontsize=7)
  if handles := axes[0, 0].get_legend_handles_labels()[0]:
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=7)
  figure.suptitle("Simulated scene" if dataset.simulated else "")
  return figure


def _scores(trainer, assessments):
  """Predicted against true scores of the test videos, and the share of them within an error (CoRe, Fig. 6 and 7)."""
  dataset, replica = trainer.dataset, trainer.replicas[0]
  fold = dataset.folds[replica.fold]
  true, predicted = dataset.labels(replica.criterion)[fold.test_videos], assessments.score[0][fold.test_videos]
  figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
  left.plot([true.min(), true.max()], [true.min(), true.max()], color="grey", lw=0.8)
  left.scatter(true, predicted, s=10)
  left.set(xlabel=f"true {replica.criterion}", ylabel="predicted", title=f"test videos, fold {fold.name}")
  error = np.sort(np.abs(predicted - true))
  right.step(error, 100 * np.arange(1, len(error) + 1) / len(error), where="post")
  right.set(xlabel="absolute error", ylabel="test videos within it [%]", ylim=(0, 102), title="cumulative score curve")
  figure.suptitle("Simulated data" if dataset.simulated else "")
  return figure


def _probabilities(trainer, assessments):
  """Probabilities of the tree, level by level, for the test video with the least error and the one with the largest."""
  dataset, replica = trainer.dataset, trainer.replicas[0]
  test = dataset.folds[replica.fold].test_videos
  error = np.abs(assessments.score[0] - dataset.labels(replica.criterion))[test]
  chosen = dict(least=test[np.argmin(error)], largest=test[np.argmax(error)])
  levels = assessments.probabilities
  figure, axes = plt.subplots(len(levels), 2, figsize=(10, 1.4 * len(levels)), squeeze=False, layout="constrained")
  for column, (kind, video) in zip(axes.T, chosen.items()):
    probability_bars(column, {name: values[0, video] for name, values in levels.items()})
    column[0].set_title(f"{kind} error: {dataset.videos[video]}, {assessments.score[0][video]:.2f} predicted, "
                        f"{dataset.labels(replica.criterion)[video]:.2f} true", fontsize=8)
  return figure
