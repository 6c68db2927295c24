"""Figures of papers that show nothing but numbers: bars or lines over the columns, ours filled, published hollow."""

from __future__ import annotations

import pathlib

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from jaxskill.reproduce.cells import PERCENT, Cells
from jaxskill.reproduce.entries import Table
from jaxskill.reproduce.figures import save


def draw(folder: pathlib.Path, table: Table, cells: Cells) -> list[pathlib.Path]:
  """Draws a table: a group of bars for each column, or, as "lines", a line for each column over the rows.

  Returns:
    The paths of a PNG and a PDF.
  """
  rows = [row for row, own in cells.ours.items() if any(number.get("last") for number in own.values())]
  figure, axes = plt.subplots(figsize=(max(6.0, 1.2 * len(cells.columns) + 2), 4), layout="constrained")
  last = {(row, title): cells.ours[row][title].get("last") or dict(mean=None, std_seeds=None)
          for row in rows for title in cells.columns}
  unit = lambda title: 100 if cells.metrics[title] in PERCENT else 1
  mean = {key: np.nan if one["mean"] is None else one["mean"] * unit(key[1]) for key, one in last.items()}
  spread = {key: (one["std_seeds"] or 0) * unit(key[1]) for key, one in last.items()}
  if table.chart == "bars":
    width, places = 0.8 / max(1, len(rows)), np.arange(len(cells.columns))
    for number, row in enumerate(rows):
      axes.bar(places + (number - (len(rows) - 1) / 2) * width, [mean[row, title] for title in cells.columns], width,
               yerr=[spread[row, title] for title in cells.columns], capsize=2, label=row)
    axes.set_xticks(places, cells.columns, rotation=20, ha="right")
    finite = [value for value in mean.values() if np.isfinite(value)]
    axes.set_ylim(bottom=min([*finite, 0]) if min(finite, default=0) < 50 else 50)
  else:
    for title in cells.columns:
      axes.errorbar(range(len(rows)), [mean[row, title] for row in rows], [spread[row, title] for row in rows],
                    marker="o", capsize=2, label=title)
    axes.set_xticks(range(len(rows)), rows, rotation=20, ha="right")
  metrics = dict.fromkeys(cells.metrics[title] for title in cells.columns)
  axes.set_ylabel(" / ".join(f"{metric}{', %' if metric == 'accuracy' else ''}" for metric in metrics))
  axes.set_title(f"{table.printed} of {table.paper}: {table.title}\n"
                 + ("; ".join(dict.fromkeys(had["data"] for had in cells.had.values() if had))), fontsize=8)
  axes.legend(fontsize=7)
  return save(figure, folder / "table")
