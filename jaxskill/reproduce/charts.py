"""Figures of papers that show nothing but numbers: bars over the columns, or lines over the rows."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from jaxskill.reproduce.cells import PERCENT, Cells
from jaxskill.reproduce.entries import Table
from jaxskill.reproduce.figures import save

NAMES = dict(accuracy="pairs in order [%]", spearman="Spearman's correlation", pearson="Pearson's correlation",
             rl2="R-l2 x 100", mae="mean absolute error")


def draw(folder: pathlib.Path, table: Table, cells: Cells) -> list[pathlib.Path]:
  """Draws a table: a group of bars for each column, or, as "lines", a line for each column over the rows.

  Returns:
    The paths of a PNG and a PDF.
  """
  swept = {row.name for row in table.rows} if table.chart == "lines" else cells.ours.keys()
  rows = [row for row, numbers in cells.ours.items()
          if row in swept and any(number.get("last") for number in numbers.values())]
  last = {(row, title): cells.ours[row][title].get("last") or dict(mean=None, std_seeds=None)
          for row in rows for title in cells.columns}
  unit = lambda title: 100 if cells.metrics[title] in PERCENT else 1
  mean = {key: np.nan if one["mean"] is None else one["mean"] * unit(key[1]) for key, one in last.items()}
  spread = {key: (one["std_seeds"] or 0) * unit(key[1]) for key, one in last.items()}
  panels: dict[str, list[str]] = {}                     # a metric each, for they have units of their own
  for title in cells.columns:
    panels.setdefault(cells.metrics[title], []).append(title)
  width = max(6.0, 1.2 * max(map(len, panels.values())) + 2)
  figure, axes = plt.subplots(1, len(panels), figsize=(width * len(panels), 4), layout="constrained", squeeze=False)
  for axis, (metric, titles) in zip(axes[0], panels.items()):
    (_bars if table.chart == "bars" else _lines)(axis, rows, titles, mean, spread)
    axis.set_ylabel(NAMES[metric])
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)          # over no bar
  data = dict.fromkeys(had["data"] for had in cells.had.values() if had)
  figure.suptitle(f"{table.printed} of {table.paper}: {table.title}\n{'; '.join(data)}", fontsize=8)
  return save(figure, folder / "table")


def _bars(axis: Axes, rows: Sequence[str], titles: Any, mean: Any, spread: Any) -> None:
  """A group of bars for each column; {(row, column): number}."""
  width, places = 0.8 / max(1, len(rows)), np.arange(len(titles))
  for number, row in enumerate(rows):
    axis.bar(places + (number - (len(rows) - 1) / 2) * width, [mean[row, title] for title in titles], width,
             yerr=[spread[row, title] for title in titles], capsize=2, label=row)
  axis.set_xticks(places, titles, rotation=20, ha="right")
  finite = [value for (_, title), value in mean.items() if title in titles and np.isfinite(value)]
  axis.set_ylim(bottom=min([*finite, 0]) if min(finite, default=0) < 50 else 50)


def _lines(axis: Axes, rows: Sequence[str], titles: Any, mean: Any, spread: Any) -> None:
  """A line for each column over the rows; {(row, column): number}."""
  for title in titles:
    axis.errorbar(range(len(rows)), [mean[row, title] for row in rows], [spread[row, title] for row in rows],
                  marker="o", capsize=2, label=title)
  axis.set_xticks(range(len(rows)), rows, rotation=20, ha="right")
