"""Pictures of what was said of one's own videos: curves under a strip of key frames, heat maps, alignments."""

from __future__ import annotations

import numpy as np

from jaxskill import plots
from jaxskill.data import video as video_files
from jaxskill.plots import plt

KEYS = 8              # frames of a strip
HEIGHT = 160          # of a frame


def frames(own, seconds):
  """What a video shows at some ascending times: [(picture, seconds)]; fewer where it ends early, none without frames."""
  if own.frames is not None:
    pictures, times = own.frames
    return [(pictures[np.argmin(np.abs(times - at))], at) for at in seconds]
  if own.file.suffix in (".npy", ".npz"):
    return []
  try:
    return list(zip(video_files.frames_at(own.file, seconds, video_files.scale_short_side(HEIGHT)), seconds))
  except ValueError:                      # its features are at hand, the file has gone
    return []


def spread(duration, count=KEYS):
  """The middles of `count` equal parts of a video."""
  return (np.arange(count) + 0.5) * duration / count


def figure_with_strip(own, duration, heights, title):
  """(figure, axes below a strip of key frames); the strip is left out where there are no frames."""
  keys = frames(own, spread(duration))
  figure = plt.figure(figsize=(10, sum(heights) + (1.6 if keys else 0) + 0.6), layout="constrained")
  grid = figure.add_gridspec(len(heights) + bool(keys), KEYS, height_ratios=([1.4] if keys else []) + list(heights))
  for column, (picture, at) in enumerate(keys):
    plots.frame(figure.add_subplot(grid[0, column]), picture, f"{at:.0f} s")
  axes = [figure.add_subplot(grid[row + bool(keys), :]) for row in range(len(heights))]
  for axis in axes:
    axis.set(xlim=(0, duration))
  axes[-1].set(xlabel="time [s]")
  figure.suptitle(title, fontsize=9)
  return figure, axes


def draw(folder, own, result, maps, map_seconds):
  """Writes the pictures of one video's answer; returns their paths.

  Args:
    result: of `evidence.answer`; maps, map_seconds: of `evidence.maps`.
  """
  paths, title, duration = [], title_of(result), result["duration_s"]
  attention = by_start(result)
  if attention:
    figure, axes = figure_with_strip(own, duration, [2.2] * len(attention), title)
    for axis, curves in zip(axes, attention):
      plots.attention_curves(axis, *curves)
      for one in result["moments"]:
        if one["what"] in curves[1]:
          axis.axvspan(one["start"], one["end"], alpha=0.08, color="tab:green" if "low" not in one["what"] else "tab:red")
    paths.append(plots.save(figure, folder / "attention.png"))
  if result["segments"]:
    figure, axes = figure_with_strip(own, duration, [2.2], title)
    segment_scores(axes[0], result["segments"])
    paths.append(plots.save(figure, folder / "segments.png"))
    paths.append(plots.save(_alignment(own, result, title), folder / "alignment.png"))
  for name, values in maps.items():
    if name != "uniform":
      paths.append(plots.save(_heat(own, values, map_seconds[name], title), folder / f"{name}_maps.png"))
  if result.get("probabilities"):
    levels = result["probabilities"]
    figure, axes = plt.subplots(len(levels), 1, figsize=(7, 1.4 * len(levels) + 0.5), squeeze=False, layout="constrained")
    plots.probability_bars(axes[:, 0], levels)
    figure.suptitle(title, fontsize=9)
    paths.append(plots.save(figure, folder / "leaves.png"))
  return paths


def title_of(result):
  """Score and rank, and what the figure must not be taken for."""
  flags = [word for word, on in (("SIMULATED data", result["simulated"]), ("RANDOM weights", result["random_weights"])) if on]
  return (f"{result['video']}: score {result['score']:.3g}, above {result['percentile']:.0f} % of the training videos"
          + (f" - {', '.join(flags)}" if flags else ""))


def by_start(result):
  """[(`[T]` middles of the rows, {name: `[T]` attention})], curves of one stream together."""
  found = {}
  for name, line in result["timelines"].items():
    if name.endswith(" attention"):
      found.setdefault(tuple(line["start"]), (np.add(line["start"], line["end"]) / 2, {}))[1][name] = line["values"]
  return list(found.values())


def segment_scores(axis, segments, label=None, colour=None):
  """Scores of segments as steps over time; where they count more, the line is no thicker, but the number says it."""
  if colour is None:
    colours = plots.colours_of(segments)
    axis.bar([s["start"] for s in segments], [s["score"] for s in segments], [s["end"] - s["start"] for s in segments],
             align="edge", edgecolor="white", color=[colours.to_rgba(s["score"]) for s in segments])
    for s in segments:
      axis.text((s["start"] + s["end"]) / 2, 0, f"{s['importance']:.0%}", ha="center", va="bottom", fontsize=7)
  else:
    axis.stairs([s["score"] for s in segments], [*(s["start"] for s in segments), segments[-1]["end"]], label=label, lw=1.5,
                color=colour)
  axis.set(ylabel="score of a segment\n(its importance)" if colour is None else "score of a segment")


def _alignment(own, result, title):
  reference = next(one for one in result["references"] if "seconds" in one)
  figure, (above, below) = plt.subplots(2, 1, figsize=(10, 5), sharex=True, height_ratios=(3, 1), layout="constrained")
  colours = plots.colours_of(result["segments"] + reference["segments"])
  line = result["timelines"]["timing offset"]
  start = np.add(line["start"], line["end"]) / 2
  plots.aligned_videos(above, result["segments"], reference["segments"], colours, start, reference["seconds"])
  above.set_title(f"reference {reference['video']} ({reference['score']:.3g})", fontsize=8)
  plots.offset_curve(below, start, line["values"])
  figure.colorbar(colours, ax=(above, below), label="score of a segment")
  figure.suptitle(title, fontsize=9)
  return figure


def _heat(own, maps, seconds, title):
  """Heat maps `[N, h, w]` over what the video shows then, its middle square; without frames, alone."""
  count = min(KEYS, len(maps))
  shown = np.linspace(0, len(maps) - 1, count).round().astype(int)
  pictures = [picture for picture, _ in frames(own, seconds[shown])]
  figure, axes = plt.subplots(1, count, figsize=(1.6 * count + 0.5, 2.6), squeeze=False, layout="constrained")
  for place, (axis, number) in enumerate(zip(axes[0], shown)):
    picture = pictures[place] if place < len(pictures) else np.zeros((8, 8))
    if picture.shape[0] != picture.shape[1]:
      picture = video_files.centre_crop(picture, min(picture.shape[:2]))
    plots.frame(axis, picture, f"{seconds[number]:.0f} s", maps[number])
  figure.suptitle(title, fontsize=9)
  return figure
