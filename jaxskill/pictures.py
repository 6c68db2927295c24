"""Pictures of what was said of one's own videos: curves under a strip of key frames, heat maps, alignments."""

from __future__ import annotations

import numpy as np

from jaxskill import evidence, plots
from jaxskill.data import video as video_files
from jaxskill.plots import plt

KEYS = 8              # frames of a strip
HEIGHT = 160          # of a frame


def frames(own, seconds):
  """What a video shows at some ascending times: [(picture, seconds)]; fewer where it ends early, none without frames."""
  if own.frames is not None:
    pictures, times = own.frames
    return [(pictures[np.argmin(np.abs(times - at))], at) for at in seconds]
  if not has_frames(own):
    return []
  try:
    return list(zip(video_files.frames_at(own.file, seconds, video_files.scale_short_side(HEIGHT)), seconds))
  except ValueError:                      # its features are at hand, the file has gone
    return []


def has_frames(own):
  """Whether there is something to be seen of a video, not only its features."""
  return own.frames is not None or own.file.suffix not in (".npy", ".npz")


def spread(duration, count=KEYS):
  """The middles of `count` equal parts of a video."""
  return (np.arange(count) + 0.5) * duration / count


def under_strip(figure, own, heights, duration):
  """Axes over the time of a video, below a strip of its key frames where there are frames."""
  keys = frames(own, spread(duration))
  if not keys and not heights:
    return []
  grid = figure.add_gridspec(len(heights) + bool(keys), KEYS, height_ratios=([1.4] if keys else []) + list(heights))
  for column, (picture, at) in enumerate(keys):
    plots.frame(figure.add_subplot(grid[0, column]), picture, evidence.clock(at, duration < 60))
  axes = [figure.add_subplot(grid[row + bool(keys), :]) for row in range(len(heights))]
  for axis in axes:
    axis.set(xlim=(0, duration))
  if axes:
    axes[-1].set(xlabel="time [s]")
  return axes


def evidence_of(figure, own, result, maps, map_seconds, beside=()):
  """Draws what one video's answer rests on, on a figure or a part of one; `beside` are segments of the same colours."""
  attention = by_start(result)
  heights = [2.2] * (len(attention) + bool(result["segments"]))
  axes = [] if maps else under_strip(figure, own, heights, result["duration_s"])
  for axis, (at, curves) in zip(axes, attention):
    plots.attention_curves(axis, at, curves)
    for one in result["moments"]:
      if one["what"] in curves:
        axis.axvspan(one["start"], one["end"], alpha=0.08, color="tab:red" if "low" in one["what"] else "tab:green")
  if result["segments"]:
    segment_scores(axes[-1], result["segments"], beside or result["segments"])
  for name, values in maps.items():
    if name != "uniform":
      _heat(figure, own, values, map_seconds[name])


def height_of(own, result, maps):
  """Inches that `evidence_of` needs."""
  return 2.2 if maps else 1.6 * has_frames(own) + 2.2 * (len(by_start(result)) + bool(result["segments"]))


def kind_of(result, maps):
  """What `evidence_of` shows."""
  return "maps" if maps else "segments" if result["segments"] else "attention" if by_start(result) else "frames"


def draw(folder, own, result, maps, map_seconds):
  """Writes the pictures of one video's answer; returns their paths.

  Args:
    result: of `evidence.answer`; maps, map_seconds: of `evidence.maps`.
  """
  paths, title = [], title_of(result)
  if height_of(own, result, maps):
    figure = plt.figure(figsize=(10, height_of(own, result, maps) + 0.4), layout="constrained")
    evidence_of(figure, own, result, maps, map_seconds)
    figure.suptitle(title, fontsize=9)
    paths.append(plots.save(figure, folder / f"{kind_of(result, maps)}.png"))
  aligned = next((one for one in result.get("references", []) if one.get("segments")), None)
  if aligned:
    figure = plt.figure(figsize=(10, 5.4), layout="constrained")
    what = f"reference {aligned['video']} ({aligned['score']:.3g})"
    alignment(figure, result, aligned["segments"], aligned["seconds"], what)
    figure.suptitle(title, fontsize=9)
    paths.append(plots.save(figure, folder / "alignment.png"))
  if result.get("probabilities"):
    figure = plt.figure(figsize=(8, 1.3 * len(result["probabilities"]) + 0.8), layout="constrained")
    leaves(figure, result["probabilities"])
    figure.suptitle(title, fontsize=9)
    paths.append(plots.save(figure, folder / "leaves.png"))
  return paths


def draw_comparison(path, videos, results, maps, extra, title):
  """Writes the picture of two videos, the better one above; returns its path.

  Args:
    videos, results: of both; maps: their (maps, seconds) of `evidence.maps`.
    extra: {"alignment": seconds, row by row of the first} and {"probabilities"} of the direct comparison, where there are.
  """
  heights = [height_of(own, result, heat[0]) + 0.4 for own, result, heat in zip(videos, results, maps)]
  heights += [4.0] * ("alignment" in extra) + [1.0 * len(extra.get("probabilities", {}))] * ("probabilities" in extra)
  figure = plt.figure(figsize=(10, sum(heights) + 0.4), layout="constrained")
  parts = figure.subfigures(len(heights), 1, height_ratios=heights)
  for part, own, result, heat in zip(parts, videos, results, maps):
    evidence_of(part, own, result, *heat, [segment for one in results for segment in one["segments"]])
    part.suptitle(title_of(result), fontsize=9)
  if "alignment" in extra:
    alignment(parts[2], results[0], results[1]["segments"], extra["alignment"], f"{results[0]['video']} aligned with "
              f"{results[1]['video']}", (results[1]["video"], results[0]["video"]))
  if "probabilities" in extra:
    leaves(parts[-1], extra["probabilities"])
  figure.suptitle(title, fontsize=10)
  return plots.save(figure, path)


def title_of(result):
  """Score and rank, and what the figure must not be taken for."""
  return (f"{result['video']}: score {result['score']:.3g}, above {result['percentile']:.0f} % of the training videos"
          + (f" - {flags}" if (flags := evidence.flags(result)) else ""))


def by_start(result):
  """[(`[T]` middles of the rows, {name: `[T]` attention})], curves of one stream together."""
  found = {}
  for name, line in result["timelines"].items():
    if name.endswith(" attention"):
      found.setdefault(tuple(line["start"]), (np.add(line["start"], line["end"]) / 2, {}))[1][name] = line["values"]
  return list(found.values())


def segment_scores(axis, segments, scale):
  """Scores of segments over time, red to green over those of `scale`; the number says how much each counts."""
  colours, scores = plots.colours_of(scale), [segment["score"] for segment in scale]
  room = 0.15 * (max(scores) - min(scores)) or 1.0
  axis.bar([s["start"] for s in segments], [s["score"] for s in segments], [s["end"] - s["start"] for s in segments],
           align="edge", edgecolor="white", color=[colours.to_rgba(s["score"]) for s in segments])
  for s in segments:
    axis.text((s["start"] + s["end"]) / 2, s["score"], f"{s['importance']:.0%}", ha="center", va="bottom", fontsize=7)
  axis.set(ylabel="score of a segment\n(its importance)", ylim=(min(scores) - room, max(scores) + room))


def alignment(figure, result, other, aligned, title, names=("reference", "video")):
  """A video's segments above those of another, joined where they show the same, and how much later that one shows it."""
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
  colours = plots.colours_of(result["segments"] + other)
  line = result["timelines"]["timing offset"]
  start = np.add(line["start"], line["end"]) / 2
  plots.aligned_videos(above, result["segments"], other, colours, start, aligned)
  above.set(yticklabels=names)
  above.set_title(title, fontsize=8)
  offset = np.array(aligned) / other[-1]["end"] - start / result["duration_s"]
  plots.offset_curve(below, start, offset)
  figure.colorbar(colours, ax=(above, below), label="score of a segment")


def leaves(figure, levels):
  """Probabilities {level: `[n]`} of a tree."""
  plots.probability_bars(figure.subplots(len(levels), 1, squeeze=False)[:, 0], levels)


def _heat(figure, own, maps, seconds):
  """Heat maps `[N, h, w]` over what the video shows then, its middle square; without frames, alone."""
  count = min(KEYS, len(maps))
  shown = np.linspace(0, len(maps) - 1, count).round().astype(int)
  pictures = [picture for picture, _ in frames(own, seconds[shown])]
  for place, (axis, number) in enumerate(zip(figure.subplots(1, count, squeeze=False)[0], shown)):
    picture = pictures[place] if place < len(pictures) else np.zeros((8, 8))
    picture = video_files.centre_crop(picture, min(picture.shape[:2]))
    plots.frame(axis, picture, evidence.clock(seconds[number], seconds[-1] < 60), maps[number])
