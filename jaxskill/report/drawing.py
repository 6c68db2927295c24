"""What pictures of a run and of new videos are drawn with: frames, curves over time, aligned videos, and their text.

T rows of a video.
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import matplotlib.text
import matplotlib.ticker
import numpy as np
from etils import epath
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, FigureBase

from jaxskill import cli, files
from jaxskill.report import wording

COLORS = {1: "tab:blue", 0: "tab:gray", -1: "tab:red"}    # speaks for skill, for neither, against; no red and green
SCALE = "RdYlBu"                                                   # of scores, low to high
INSIDE = (0, 1, 1, 0)                                              # a frame as a unit square, row 0 on top
# Seconds between two labels of a time axis.
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
# Fonts of more scripts than matplotlib's own, taken where they are installed.
FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Hiragino Sans", "Yu Gothic", "Microsoft YaHei",
         "PingFang SC", "Malgun Gothic", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari",
         "Noto Sans Thai", "Arial Unicode MS", "Segoe UI", "Noto Sans Symbols 2", "Noto Emoji")


@functools.cache
def fonts() -> dict[str, frozenset[int]]:
  """Returns {family: the numbers of the characters that it has}, the one that comes with matplotlib first."""
  installed = set(font_manager.fontManager.get_font_names())
  families = ["DejaVu Sans", *(name for name in FONTS if name in installed)]
  return {name: frozenset(font_manager.get_font(font_manager.findfont(name)).get_charmap()) for name in families}


def as_text(artist: matplotlib.text.Text) -> None:
  """Makes a text of a figure show its characters as they are: no mathematics, no TeX, none that no font can draw."""
  artist.set_parse_math(False)
  artist.set_usetex(False)
  text = cli.plain(artist.get_text(), keep="\n")
  known = frozenset("\n".encode()).union(*fonts().values())
  artist.set_text("".join(c if ord(c) in known else c.encode("unicode_escape").decode() for c in text))
  if not text.isascii():
    artist.set_fontfamily(list(fonts()))


def save(figure: Figure, path: epath.Path) -> epath.Path:
  """Writes a figure, its texts as text (see `as_text`), whole or not at all; closes it and returns the path."""
  try:
    for artist in figure.findobj(matplotlib.text.Text):
      as_text(artist)
    with files.writing(path) as file:
      figure.savefig(file, dpi=120, format="png")
  finally:
    plt.close(figure)
  return path


def wrapped(text: str, width: int) -> str:
  """Returns lines of at most so many characters; long names are broken."""
  return "\n".join("\n".join(textwrap.wrap(line, width)) for line in text.splitlines())


def title(figure: FigureBase, text: str, size: float = 9) -> None:
  """Writes a title, in several lines where it is long."""
  figure.suptitle(wrapped(text, 120), fontsize=size)


def legend_below(figure: FigureBase, *sentences: str) -> None:
  """Writes what a picture means below it."""
  figure.supxlabel(wrapped(" ".join(sentences), 170), fontsize=7, color="0.3")


def time_axis(axis: Axes, duration: float) -> None:
  """Makes the x axis one of time from 0 to a duration in seconds."""
  step = next((step for step in STEPS if duration / step <= 10), duration / 10)
  axis.set_xticks(np.arange(0, duration + 1e-6, step))
  axis.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda seconds, _: wording.clock(seconds)))
  axis.set(xlabel="time [m:ss.s]", xlim=(0, duration))


def even_shares(values: np.ndarray | Sequence[float]) -> np.ndarray:
  """Returns attention as multiples of an even share, `[T]`: comparable between videos of different lengths."""
  return np.asarray(values) * len(values) / max(np.sum(values), 1e-12)


def attention_curves(axis: Axes, seconds: np.ndarray, curves: Mapping[str, tuple[np.ndarray, int]]) -> None:
  """Draws attention over time, as multiples of an even share.

  Args:
    seconds: `[T]`; curves: {what the legend says: (`[T]` attention, side)}.
  """
  sides = [side for _, side in curves.values()]
  for label, (values, side) in curves.items():
    color = COLORS[side] if side or sides.count(side) == 1 else None            # None: the next of matplotlib's
    axis.plot(seconds, even_shares(values), label=label, lw=1.2, marker="o" if len(values) == 1 else "", color=color)
  axis.axhline(1, color="grey", lw=0.6, ls=":")
  axis.set(ylabel="attention\n(1 = an even share)")
  axis.legend(fontsize=7, loc="upper right")


def colors_of(segments: Sequence[Mapping[str, float]]) -> ScalarMappable:
  """Returns colours of the scores of segments, low to high: red to blue; without segments nothing has them."""
  scores = [segment["score"] for segment in segments]
  return plt.cm.ScalarMappable(plt.Normalize(min(scores, default=0.0), max(scores, default=1.0)), SCALE)


def aligned_videos(axis: Axes, video: Sequence[Mapping[str, float]], reference: Sequence[Mapping[str, float]],
                   colors: ScalarMappable, start: np.ndarray | Sequence[float], end: np.ndarray | Sequence[float],
                   names: Sequence[str] = ("reference", "video")) -> None:
  """Draws the segments of a video above those of its reference, lines between what is aligned.

  Args:
    video, reference: [{"start", "end", "score"}]; colors: of `colors_of`.
    start, end: `[T]` seconds of the video's rows, and of the places in the reference that show the same.
    names: of the reference and of the video.
  """
  for y, segments in ((1.0, video), (0.0, reference)):
    axis.broken_barh([(s["start"], s["end"] - s["start"]) for s in segments], (y - 0.08, 0.16), edgecolor="0.4",
                     facecolors=list(colors.to_rgba(np.array([s["score"] for s in segments]))))
  axis.plot(np.stack([start, end]), [0.9, 0.1], color="grey", lw=0.4)
  axis.set(yticks=(), ylim=(-0.15, 1.4))
  for y, name in zip((0.0, 1.0), names):
    axis.text(-0.01, y, cli.short(name, 24), ha="right", va="center", fontsize=8,
              transform=axis.get_yaxis_transform())


def offset_curve(axis: Axes, seconds: np.ndarray, offset: np.ndarray) -> None:
  """Draws how much later the reference shows the same: `[T]` shares of the duration at `[T]` seconds."""
  axis.plot(seconds, offset, lw=1)
  axis.axhline(0, color="grey", lw=0.6, ls=":")
  axis.set(ylabel="shown later (+)\nor earlier (-) there\n[share of duration]")
  axis.yaxis.label.set_fontsize(7)


def frame(axis: Axes, picture: np.ndarray, label: str, weights: np.ndarray | None = None, most: float | None = None,
          side: int = 0) -> None:
  """Draws a picture, with a heat map `[h, w]` over it where there is one.

  Args:
    picture: `[H, W, 3]` uint8; label: what stands above it.
    weights: `[h, w]`; most: the weight that is brightest, one for all pictures that are compared.
    side: what the moment speaks for, see `COLORS`; 0 draws no border.
  """
  axis.imshow(picture, extent=INSIDE, cmap="gray" if picture.ndim == 2 else None)
  if weights is not None:
    most = most or weights.max()
    seen = 0.75 * np.clip(weights / most, 0, 1) ** 0.5     # where nothing is looked at the picture stays as it is
    axis.imshow(weights, cmap="autumn", alpha=seen, vmin=0, vmax=most, extent=INSIDE, interpolation="bilinear")
  axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(1, 0), aspect=picture.shape[0] / picture.shape[1])
  axis.set_title(label, fontsize=7, color=COLORS[side] if side else "black")
  if side:
    for spine in axis.spines.values():
      spine.set(color=COLORS[side], linewidth=2)


def probability_bars(axes: Sequence[Axes], found: Mapping[str, tuple[Any, Any]], words: str) -> None:
  """Draws {title: (places `[n]`, probabilities `[n]`)}, one axis each; `words` say what they are."""
  for axis, (title_of, (places, probabilities)) in zip(axes, found.items()):
    named = sorted({0, len(places) // 2, len(places) - 1})
    axis.bar(np.arange(len(places)), probabilities)
    axis.set(ylabel=title_of, ylim=(0, 1))
    axis.set_xticks(named, [f"{places[number]:.3g}" for number in named], fontsize=6)
  axes[-1].set_xlabel(wrapped(words, 70), fontsize=8)


def plain_numbers(axis: Axes) -> None:
  """Makes a logarithmic y axis show its numbers without mathematics."""
  axis.set_yscale("log")
  axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
  axis.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
  axis.yaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
