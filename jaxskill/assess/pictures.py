"""Pictures of what was said of new videos: curves under pictures of the moments that decided, heat maps, alignments.

Every picture says below itself, in plain words, what it shows; two videos in one picture have the same scales.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from jaxskill import cli
from jaxskill.assess import new_videos
from jaxskill.data.video import decoding as video_files
from jaxskill.report import drawing, explain, wording
from jaxskill.report.drawing import plt

HEIGHT = 160          # of a frame


def frames(video: new_videos.NewVideo, seconds: Sequence[float]) -> list[np.ndarray]:
  """Returns what a video shows at some ascending times: [picture]; fewer where it ends early, none without frames."""
  if not has_frames(video):
    return []
  if video.frames is not None:
    pictures, times = video.frames
    return [pictures[np.argmin(np.abs(times - at))] for at in seconds]
  size, found = video_files.scale_short_side(HEIGHT), []
  try:
    for picture in video_files.pictures_at(video.file, seconds):
      image = picture.image(*size(*picture.size))
      found.append(video.faces.hidden(image, picture.time) if video.faces else image)
    return found
  except (ValueError, OSError):           # its features are at hand, the file has gone
    return []


def has_frames(video: new_videos.NewVideo) -> bool:
  """Returns whether there is something to be seen of a video, and may be, not only its features."""
  of_file = video.file.suffix not in (".npy", ".npz") and video.file.is_file()
  return video.shown and (video.frames is not None or of_file)


def scales_of(results: Sequence[dict[str, Any]], maps: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
  """Returns the ends of all axes, the same for all videos of a picture.

  Args:
    results: of `explain.answer`; maps: {name: `[N, h, w]`} of each.

  Returns:
    {"duration" in seconds, "attention" the highest in even shares, "segments" all of them, "maps" {name: highest}}.
  """
  curves = [values for result in results for _, of_curves in by_start(result) for values in of_curves.values()]
  names = [name for heat in maps for name in heat]
  return dict(duration=max(result["duration_s"] for result in results),
              attention=max((drawing.even_shares(values).max() for values in curves), default=1.0),
              segments=[segment for result in results for segment in result["segments"]],
              maps={name: max(heat[name].max() for heat in maps) for name in names})


def under_strip(figure: FigureBase, video: new_videos.NewVideo, heights: Sequence[float],
                keys: Sequence[dict[str, Any]], duration: float) -> list[Axes]:
  """Adds axes over the time of a video, below a strip of its key frames where there are frames.

  Args:
    keys: of `explain.key_moments`; duration: where the axes end, in seconds.
  """
  shown = frames(video, [key["at"] for key in keys])
  if not shown and not heights:
    return []
  ratios = ([1.4] if shown else []) + list(heights)
  grid = figure.add_gridspec(len(ratios), len(keys), height_ratios=ratios)
  for column, (picture, key) in enumerate(zip(shown, keys)):
    side = sum(key["sides"])                             # 0 where it is for and against
    words = " and ".join(filter(None, (wording.SIDES[side] for side in sorted(key["sides"], reverse=True))))
    label = f"{wording.clock(key['at'])} {words}".strip()
    drawing.frame(figure.add_subplot(grid[0, column]), picture, label, side=side)
  axes = [figure.add_subplot(grid[row + bool(shown), :]) for row in range(len(heights))]
  for axis in axes:
    drawing.time_axis(axis, duration)
    axis.label_outer()
    for key in keys if shown else ():
      if key["decided"]:
        axis.axvline(key["at"], color="0.5", lw=0.6, ls="--")
  return axes


def draw_answer(figure: FigureBase, video: new_videos.NewVideo, result: dict[str, Any], maps: Mapping[str, np.ndarray],
                map_seconds: Mapping[str, np.ndarray], scales: dict[str, Any], keys: Sequence[dict[str, Any]]) -> None:
  """Draws what one video's answer rests on, on a figure or a part of one.

  Args:
    scales: of `scales_of`; keys: of `explain.key_moments`.
  """
  attention = by_start(result)
  heights = [2.2] * (len(attention) + bool(result["segments"]))
  axes = [] if maps else under_strip(figure, video, heights, keys, scales["duration"])
  for axis, (at, curves) in zip(axes, attention):
    sides = {name: result["meanings"].get(name, {"side": 0})["side"] for name in curves}
    drawing.attention_curves(axis, at, {wording.curve(result, name): (values, sides[name])
                                        for name, values in curves.items()})
    axis.set(ylim=(0, 1.3 * max(scales["attention"], 1.0)))                                # room for the legend
    for one in result["moments"]:
      if one["what"] in curves:
        axis.axvspan(one["start"], one["end"], alpha=0.1, color=drawing.COLORS[one["side"]])
  if result["segments"] and not maps:
    segment_scores(axes[-1], result["segments"], scales["segments"])
  for name, values in maps.items():
    _heat(figure, video, values, map_seconds[name], scales["maps"][name])


def legend(result: dict[str, Any], maps: Mapping[str, Any], keys: Sequence[dict[str, Any]], seen: bool) -> list[str]:
  """Returns the sentences that say what `draw_answer` shows; `seen` where there are frames."""
  kind, decided = kind_of(result, maps), any(key["decided"] for key in keys)
  said = [kind] if kind != "frames" or seen else []
  if kind in ("attention", "segments"):
    said += ["shaded"] * (decided and kind == "attention") + ["none"] * (not decided)
    said += ["keys" if decided else "even"] * seen
  return [wording.LEGENDS[name] for name in said]


def height_of(video: new_videos.NewVideo, result: dict[str, Any], maps: Mapping[str, Any]) -> float:
  """Returns inches that `draw_answer` needs."""
  return 1.5 if maps else 1.6 * has_frames(video) + 2.2 * (len(by_start(result)) + bool(result["segments"]))


def kind_of(result: dict[str, Any], maps: Mapping[str, Any]) -> str:
  """Returns what `draw_answer` shows: "maps", "segments", "attention" or "frames"."""
  return "maps" if maps else "segments" if result["segments"] else "attention" if by_start(result) else "frames"


def draw(folder: pathlib.Path, video: new_videos.NewVideo, result: dict[str, Any], maps: Mapping[str, np.ndarray],
         map_seconds: Mapping[str, np.ndarray]) -> list[pathlib.Path]:
  """Writes the pictures of one video's answer; returns their paths.

  Args:
    result: of `explain.answer`; maps, map_seconds: of `explain.maps`.
  """
  paths, title = [], title_of(result)
  aligned = next((one for one in result.get("references", []) if "seconds" in one), None)
  scales = scales_of([result], [maps])
  scales["segments"] = scales["segments"] + (aligned["segments"] if aligned else [])
  if height_of(video, result, maps):
    figure = plt.figure(figsize=(10, height_of(video, result, maps) + 0.9), layout="constrained")
    keys = explain.key_moments(result)
    draw_answer(figure, video, result, maps, map_seconds, scales, keys)
    drawing.legend_below(figure, *legend(result, maps, keys, has_frames(video)))
    drawing.title(figure, title)
    paths.append(drawing.save(figure, folder / f"{kind_of(result, maps)}.png"))
  if aligned:
    figure = plt.figure(figsize=(10, 5.8), layout="constrained")
    alignment(figure, result, aligned, aligned["seconds"], scales["segments"], (
        f"reference {cli.short(aligned['video'], 12)}", "this video"))
    drawing.title(figure, f"{title}\nabove: this video; below: {cli.short(aligned['video'])}, a training video of "
                  f"score {aligned['score']:.3g} that it was compared with")
    paths.append(drawing.save(figure, folder / "alignment.png"))
  if result.get("distribution"):
    figure = plt.figure(figsize=(8, 1.3 * len(result["distribution"]) + 1.1), layout="constrained")
    distribution(figure, result, result["distribution"])
    drawing.title(figure, title)
    paths.append(drawing.save(figure, folder / "distribution.png"))
  return paths


def draw_comparison(path: pathlib.Path, videos: Sequence[new_videos.NewVideo], results: Sequence[dict[str, Any]],
                    maps: Sequence[tuple], extra: dict[str, Any], title: str,
                    keys: Sequence[list[dict[str, Any]]]) -> pathlib.Path:
  """Writes the picture of two videos, the better one above; returns its path.

  Args:
    videos, results: of both; maps: their (maps, seconds) of `explain.maps`; keys: of `explain.key_moments`.
    extra: {"alignment": seconds, row by row of the first} and {"distribution"} of the direct comparison, where there
      are.
  """
  heights = [height_of(video, result, heat[0]) + 0.7 for video, result, heat in zip(videos, results, maps)]
  heights += [4.2] * ("alignment" in extra) + [1.2 * len(extra.get("distribution", {}))] * ("distribution" in extra)
  figure = plt.figure(figsize=(10, sum(heights) + 0.6), layout="constrained")
  parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
  scales = scales_of(results, [heat for heat, _ in maps])
  for part, video, result, (heat, seconds), key in zip(parts, videos, results, maps, keys):
    draw_answer(part, video, result, heat, seconds, scales, key)
    drawing.title(part, f"{cli.short(result['video'], 32)}: {wording.standing(result)}")
  if "alignment" in extra:
    alignment(parts[2], results[0], results[1], extra["alignment"], scales["segments"],
              [cli.short(result["video"], 24) for result in results[::-1]])
  if "distribution" in extra:
    distribution(parts[-1], results[0], extra["distribution"])
  drawing.title(figure, title, 10)
  drawing.legend_below(figure, *dict.fromkeys(line for video, result, (heat, _), key in zip(videos, results, maps, keys)
                                              for line in legend(result, heat, key, has_frames(video))))
  return drawing.save(figure, path)


def title_of(result: dict[str, Any]) -> str:
  """Returns what must be known first; then the video, its place among the training videos, and its score."""
  cautions = ", ".join(wording.cautions(result))
  return (f"{cautions}\n" if cautions else "") + f"{cli.short(result['video'], 32)}: {wording.standing(result)}"


def by_start(result: dict[str, Any]) -> list[tuple[np.ndarray, dict[str, Any]]]:
  """Returns [(`[T]` middles of the rows, {name: `[T]` attention})], curves of one stream together."""
  found = {}
  for name, line in result["attention"].items():
    found.setdefault(tuple(line["start"]), (np.add(line["start"], line["end"]) / 2, {}))[1][name] = line["values"]
  return list(found.values())


def segment_scores(axis: Axes, segments: Sequence[dict[str, Any]], scale: Sequence[dict[str, Any]]) -> None:
  """Draws scores of segments over time, red to blue over those of `scale`; the number says how much each counts."""
  colors, scores = drawing.colors_of(scale), [segment["score"] for segment in scale]
  room = 0.15 * (max(scores) - min(scores)) or 1.0
  for width, edge in ((9, "0.4"), (7, None)):              # no bars: their height would be read from 0
    axis.hlines([s["score"] for s in segments], [s["start"] for s in segments], [s["end"] for s in segments], lw=width,
                colors=edge or list(colors.to_rgba(np.array([s["score"] for s in segments]))))
  for s in segments:
    axis.annotate(wording.percent(s["importance"]), ((s["start"] + s["end"]) / 2, s["score"]), (0, 6), ha="center",
                  textcoords="offset points", fontsize=7)
  axis.set(ylabel="score of each part\n(% = how much it counts)", ylim=(min(scores) - room, max(scores) + 2 * room))


def alignment(figure: FigureBase, result: dict[str, Any], other: dict[str, Any], aligned: Sequence[float],
              scale: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
  """Draws a video's segments above those of another, joined where they show the same, and how much later it does.

  Args:
    result, other: {"segments", which may be none, "duration_s"} of this and of the other video; of this, "row_times".
    aligned: `[T]` seconds of the other video; scale: segments whose scores span the colours.
    names: of the other and of this video.
  """
  above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
  colors = drawing.colors_of(scale)
  start = np.mean([result["row_times"]["start"], result["row_times"]["end"]], axis=0)          # middles of the rows
  drawing.aligned_videos(above, result["segments"], other["segments"], colors, start, aligned, names)
  offset = np.array(aligned) / other["duration_s"] - start / result["duration_s"]
  drawing.offset_curve(below, start, offset)
  drawing.time_axis(below, max(result["duration_s"], other["duration_s"]))
  if scale:
    figure.colorbar(colors, ax=(above, below), label="score of a part")
  drawing.legend_below(figure, wording.LEGENDS["alignment"])


def distribution(figure: FigureBase, result: dict[str, Any], found: Mapping[str, dict[str, Any]]) -> None:
  """Draws what the score was chosen from, {title: {"places", "probabilities": `[n]`}}."""
  meaning = result["meanings"].get("distribution", {"words": "probabilities of what the score was chosen from"})
  bars = {title: (one["places"], one["probabilities"]) for title, one in found.items()}
  drawing.probability_bars(figure.subplots(len(found), 1, squeeze=False)[:, 0].tolist(), bars, meaning["words"])


def _heat(figure: FigureBase, video: new_videos.NewVideo, maps: np.ndarray, seconds: np.ndarray, most: float) -> None:
  """The narrowest heat maps `[N, h, w]` over what the video shows then, its middle square; without frames, alone."""
  shown = explain.narrowest(maps)
  pictures = frames(video, seconds[shown])
  for place, (axis, number) in enumerate(zip(figure.subplots(1, len(shown), squeeze=False)[0], shown)):
    picture = pictures[place] if place < len(pictures) else np.zeros((8, 8))
    picture = video_files.center_crop(picture, min(picture.shape[:2]))
    drawing.frame(axis, picture, wording.clock(seconds[number]), maps[number], most)
